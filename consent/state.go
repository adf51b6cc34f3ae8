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
	Requested  State = 1 // asked, not decided
	Granted    State = 2 // agreed to by the household
	Denied     State = 3 // refused by the household
	Revoked    State = 4 // agreed to, then taken back by the household
	Expired    State = 5 // ended by time, as a request or as a grant
	Suspended  State = 6 // agreed to and on hold: it opens nothing until it is resumed
	Terminated State = 7 // agreed to, then ended by somebody else than the household, or by its moving out
	Fulfilled  State = 8 // agreed to for one reading, which has been
	Invalid    State = 9 // ended before it was decided: taken back by who asked, or nobody is left to decide
)

// transitions is the whole machine: state × kind of leaf → state. A pair that
// is not here is refused. The state 0 is that of a consent not yet asked for.
var transitions = map[State]map[ledger.Kind]State{
	0: {ledger.KindConsentRequest: Requested},
	Requested: {
		ledger.KindConsentGrant: Granted, ledger.KindConsentDeny: Denied, ledger.KindConsentExpire: Expired, ledger.KindConsentInvalidate: Invalid,
	},
	Granted: {
		ledger.KindConsentNarrow: Granted, ledger.KindConsentExtend: Granted, ledger.KindConsentSuspend: Suspended,
		ledger.KindConsentRevoke: Revoked, ledger.KindConsentExpire: Expired, ledger.KindConsentTerminate: Terminated, ledger.KindConsentFulfil: Fulfilled,
	},
	Suspended: {
		ledger.KindConsentResume: Granted,
		ledger.KindConsentRevoke: Revoked, ledger.KindConsentExpire: Expired, ledger.KindConsentTerminate: Terminated, ledger.KindConsentFulfil: Fulfilled,
	},
	Denied:     {},
	Revoked:    {},
	Expired:    {},
	Terminated: {},
	Fulfilled:  {},
	Invalid:    {},
}

var stateNames = [...]string{
	Requested: "requested", Granted: "granted", Denied: "denied", Revoked: "revoked", Expired: "expired",
	Suspended: "suspended", Terminated: "terminated", Fulfilled: "fulfilled", Invalid: "invalid",
}

// Known reports whether s is one of the nine states.
func (s State) Known() bool { return Requested <= s && s <= Invalid }

// Ended reports whether nothing comes after s.
func (s State) Ended() bool { return s.Known() && len(transitions[s]) == 0 }

// String returns the lower-case English name, or "state(n)" for any other number.
func (s State) String() string {
	if s.Known() {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Cause is who or what ended a consent, or put it on hold. The words are in leaves, on
// the wire and in clients' code: they are only ever added.
type Cause string

// The causes.
const (
	ByHousehold      Cause = "household"       // denied, revoked
	ByRecipient      Cause = "third_party"     // who asked takes it back, or has read what was for one reading
	ByOperator       Cause = "operator"        // of the hub
	ByOccupantChange Cause = "occupant_change" // the household has moved out
	ByExpiry         Cause = "expiry"          // its time is up
	ByRegulator      Cause = "regulator"
)

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
	Asked     Terms // as asked
	Terms     Terms // as asked; from the grant on, as granted; from each change on, as changed
	Cause     Cause // of its end, or of the hold; empty while it has neither

	RequestedAt int64
	DecidedAt   int64 // granted or denied
	EndedAt     int64 // of the four ways of a grant to end and the two of a request that was not decided
	FirstReadAt int64 // first access under it; kept only if it is for one reading
	VacatedAt   int64 // from when on none of the usage points is the household's any more; set when that is known, and may lie ahead
}

// Deadline returns the instant from which on the consent has to end unless it
// ended before, in unix seconds; 0 if it has ended.
func (c Consent) Deadline() int64 {
	d := c.Terms.PermissionUntil
	switch c.State {
	case Requested:
		d = min(d, c.RequestedAt+RequestLifetime)
	case Granted, Suspended:
		if c.Terms.Once && c.FirstReadAt != 0 {
			d = min(d, c.FirstReadAt+ledger.OnceWindow)
		}
	case Denied, Revoked, Expired, Terminated, Fulfilled, Invalid:
		return 0
	default:
		return 0
	}
	if c.VacatedAt != 0 {
		d = min(d, c.VacatedAt)
	}
	return d
}

// due reports whether c has to end at the instant at.
func (c Consent) due(at int64) bool {
	d := c.Deadline()
	return d != 0 && d <= at
}

// ending returns how c ends at its deadline.
func (c Consent) ending() (ledger.Kind, Cause) {
	d := c.Deadline()
	switch {
	case d == c.VacatedAt && c.State == Requested:
		return ledger.KindConsentInvalidate, ByOccupantChange
	case d == c.VacatedAt:
		return ledger.KindConsentTerminate, ByOccupantChange
	case c.State != Requested && c.Terms.Once && c.FirstReadAt != 0 && d == c.FirstReadAt+ledger.OnceWindow:
		return ledger.KindConsentFulfil, ByRecipient
	}
	return ledger.KindConsentExpire, ByExpiry
}

// step returns c after a leaf of the given kind at the instant at, or ErrTransition.
func (c Consent) step(kind ledger.Kind, at int64, by Cause) (Consent, error) {
	next, ok := transitions[c.State][kind]
	if !ok {
		return Consent{}, ErrTransition
	}
	c.State, c.Cause = next, by
	switch kind {
	case ledger.KindConsentRequest:
		c.RequestedAt, c.Cause = at, ""
	case ledger.KindConsentGrant:
		c.DecidedAt, c.Cause = at, ""
	case ledger.KindConsentDeny:
		c.DecidedAt = at
	case ledger.KindConsentSuspend:
	default:
		if next == Granted { // as old as its grant
			c.Cause = ""
		} else {
			c.EndedAt = at
		}
	}
	return c, nil
}
