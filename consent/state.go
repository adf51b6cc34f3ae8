package consent

import (
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/ledger"
)

// State is where a consent stands. The numbers are stored and never change.
type State uint8

// The states. Only Granted opens anything.
const (
	Requested State = 1 // asked, not decided
	Granted   State = 2 // agreed to by the household
	Denied    State = 3 // refused by the household
	Revoked   State = 4 // agreed to, then taken back by the household
	Expired   State = 5 // ended by time, as a request or as a grant
)

// transitions is the whole machine: state × kind of leaf → state. A pair that
// is not here is refused. The state 0 is that of a consent not yet asked for.
var transitions = map[State]map[ledger.Kind]State{
	0:         {ledger.KindConsentRequest: Requested},
	Requested: {ledger.KindConsentGrant: Granted, ledger.KindConsentDeny: Denied, ledger.KindConsentExpire: Expired},
	Granted:   {ledger.KindConsentNarrow: Granted, ledger.KindConsentRevoke: Revoked, ledger.KindConsentExpire: Expired},
	Denied:    {},
	Revoked:   {},
	Expired:   {},
}

var stateNames = [...]string{
	Requested: "requested", Granted: "granted", Denied: "denied", Revoked: "revoked", Expired: "expired",
}

// Known reports whether s is one of the five states.
func (s State) Known() bool { return Requested <= s && s <= Expired }

// String returns the lower-case English name, or "state(n)" for any other number.
func (s State) String() string {
	if s.Known() {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Errors of a consent's life.
var (
	// ErrNotFound says that there is no such consent, or that it is not the
	// caller's; the two look the same.
	ErrNotFound = errors.New("consent: not found")
	// ErrTransition says that the consent's state does not allow the step.
	ErrTransition = errors.New("consent: not possible in this state")
)

// RequestLifetime is how long a request waits for a decision, in seconds; then
// it expires, or before, when the permission it asks for would have ended.
const RequestLifetime = 30 * 24 * 3600

// Consent is one agreement between a household and a recipient, or the wish
// for one. Times are unix seconds UTC, 0 for what has not happened.
type Consent struct {
	ID        ID
	Household Household // empty if nobody known lives at the usage point asked about: no one can decide it
	Recipient Recipient
	State     State
	Terms     Terms // as asked; from the grant on, as granted; from each narrowing on, as narrowed

	RequestedAt int64
	DecidedAt   int64 // granted or denied
	EndedAt     int64 // revoked or expired
}

// Deadline returns the instant from which on the consent is expired unless it
// ended before, in unix seconds; 0 if it has ended.
func (c Consent) Deadline() int64 {
	switch c.State {
	case Requested:
		return min(c.RequestedAt+RequestLifetime, c.Terms.PermissionUntil)
	case Granted:
		return c.Terms.PermissionUntil
	case Denied, Revoked, Expired:
	}
	return 0
}

// due reports whether c has to expire at the instant at.
func (c Consent) due(at int64) bool {
	d := c.Deadline()
	return d != 0 && d <= at
}

// step returns c after a leaf of the given kind at the instant at, or ErrTransition.
func (c Consent) step(kind ledger.Kind, at int64) (Consent, error) {
	next, ok := transitions[c.State][kind]
	if !ok {
		return Consent{}, ErrTransition
	}
	c.State = next
	switch kind {
	case ledger.KindConsentRequest:
		c.RequestedAt = at
	case ledger.KindConsentGrant, ledger.KindConsentDeny:
		c.DecidedAt = at
	case ledger.KindConsentRevoke, ledger.KindConsentExpire:
		c.EndedAt = at
	default: // a narrowed consent stays as old as its grant
	}
	return c, nil
}
