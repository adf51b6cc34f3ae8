package consent

import (
	"errors"
	"slices"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// PermitLifetime is how long a Permit opens anything after it was minted.
const PermitLifetime = 60 * time.Second

// Errors of Permit.Valid.
var (
	ErrNoPermit      = errors.New("consent: no permit")
	ErrPermitExpired = errors.New("consent: permit expired")
)

// Permit is the proof, inside one process, that an access was decided and is in
// the ledger. Only [Gate.Admit] and [Gate.AdmitSelf] make one that is valid,
// after the leaf is committed and its checkpoint signed; the zero Permit opens
// nothing. It is a value, safe for concurrent use, and never crosses the wire:
// another process is shown the Receipt.
type Permit struct {
	household   Household
	scopes      []Scope // sorted by usage point and time; never handed out without a copy
	granularity Granularity
	first, last meter.Day
	leafTime    int64 // unix seconds
	receipt     ledger.Receipt
	minted      time.Time
}

// Valid returns nil while the permit opens: ErrNoPermit for the zero Permit,
// ErrPermitExpired from PermitLifetime after it was minted, or if now is that
// long before (a clock that was set back must not lengthen it).
func (p Permit) Valid(now time.Time) error {
	if p.minted.IsZero() {
		return ErrNoPermit
	}
	if age := now.Sub(p.minted); age >= PermitLifetime || age <= -PermitLifetime {
		return ErrPermitExpired
	}
	return nil
}

// Household returns whose readings the permit opens.
func (p Permit) Household() Household { return p.household }

// Scopes returns what the permit covers, by usage point and time.
func (p Permit) Scopes() []Scope {
	scopes := slices.Clone(p.scopes)
	for i := range scopes {
		scopes[i].Registers = slices.Clone(scopes[i].Registers)
	}
	return scopes
}

// Granularity returns the finest step in which the data may leave the hub.
func (p Permit) Granularity() Granularity { return p.granularity }

// KeyDays returns the first and the last UTC day whose blocks the permit
// touches; the leaf names the same two.
func (p Permit) KeyDays() (first, last meter.Day) { return p.first, p.last }

// Receipt returns the leaf that was written for this access, for the keyguard
// and for the answer. Its bytes must not be changed.
func (p Permit) Receipt() ledger.Receipt { return p.receipt }

// Covers reports whether every interval of the household's usage point and
// register that starts in [start, end), unix seconds, is in scope; false for an
// empty range.
func (p Permit) Covers(h Household, up meter.UsagePoint, r meter.Register, start, end int64) bool {
	return start < end && p.any(h, up, r, func(s Scope) bool { return s.From <= start && end <= s.Until })
}

// CoversDay reports whether any interval that starts on the UTC day is in scope:
// then the day's whole blocks may be opened, and Trim or Disclose cuts what was
// opened to the scope.
func (p Permit) CoversDay(h Household, up meter.UsagePoint, r meter.Register, d meter.Day) bool {
	return p.any(h, up, r, func(s Scope) bool { return s.From < d.End() && d.Start() < s.Until })
}

func (p Permit) any(h Household, up meter.UsagePoint, r meter.Register, match func(Scope) bool) bool {
	if p.minted.IsZero() || h != p.household {
		return false
	}
	return slices.ContainsFunc(p.scopes, func(s Scope) bool { return s.holds(up, r) && match(s) })
}

func (s Scope) holds(up meter.UsagePoint, r meter.Register) bool {
	return s.UsagePoint == up && (len(s.Registers) == 0 || slices.Contains(s.Registers, r))
}
