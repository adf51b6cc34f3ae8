package consent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// MaxRange is the longest range of one access, in seconds: 400 days.
const MaxRange = 400 * 24 * 3600

// ErrAccess reports an access that is malformed: it cannot be written into a
// leaf, so there is none.
var ErrAccess = errors.New("consent: access is malformed")

// ErrRefused is what every *Refused is.
var ErrRefused = errors.New("consent: access refused")

// Reason is why an access was refused. The words are in leaves, on the wire and
// in clients' code: they are only ever added.
type Reason string

// The reasons. A recipient learns no more from them than it knew: a consent that
// does not exist, is another's, was never granted or was denied are one reason,
// and a household that has moved is the same as a range that was not granted.
const (
	ReasonRangeEmpty   Reason = "range_empty"             // until is not after from
	ReasonRangeTooLong Reason = "range_too_long"          // more than MaxRange
	ReasonRangeFuture  Reason = "range_in_future"         // begins after now
	ReasonNotConsented Reason = "not_consented"           // no such consent that was ever granted to this recipient
	ReasonRevoked      Reason = "revoked"                 // the household took it back
	ReasonExpired      Reason = "expired"                 // the permission has ended by time
	ReasonEnded        Reason = "ended"                   // it was for one reading, or somebody else than the household ended it, or it has moved out
	ReasonSuspended    Reason = "suspended"               // on hold
	ReasonPurpose      Reason = "purpose_not_granted"     // asked for another purpose
	ReasonUsagePoint   Reason = "usage_point_not_granted" // asked for another usage point
	ReasonRegister     Reason = "register_not_granted"    // asked for another register
	ReasonRange        Reason = "range_not_granted"       // outside the data range, or nothing of it is the household's
)

// Refused is the error of an access that was decided, and recorded, with no.
// errors.Is(err, ErrRefused) holds.
type Refused struct { //nolint:errname // a refusal is an outcome with a receipt before it is an error
	Reason  Reason
	Receipt ledger.Receipt // the leaf access.denied
}

// Error names the reason.
func (r *Refused) Error() string { return ErrRefused.Error() + ": " + string(r.Reason) }

// Is makes every Refused an ErrRefused.
func (r *Refused) Is(target error) bool { return target == ErrRefused }

// Access is what a recipient asks for.
type Access struct {
	RequestID   string // 1 to 64 characters of A-Z a-z 0-9 . _ : - ; opens at most once
	Recipient   Recipient
	Consent     ID
	Purpose     string             // code; must be the consent's
	UsagePoints []meter.UsagePoint // empty: all that the consent covers
	Registers   []meter.Register   // empty: all that the consent covers
	From, Until int64              // unix seconds UTC: intervals that start in [From, Until)
}

// Gate is the only way to readings. It decides and records in one call, so that
// a caller cannot have the one without the other. Safe for concurrent use.
type Gate[T Tx] struct {
	ledger Ledger[T]
	now    func() time.Time
}

// NewGate returns a Gate that records in l and dates its permits by now.
func NewGate[T Tx](l Ledger[T], now func() time.Time) *Gate[T] {
	return &Gate[T]{ledger: l, now: now}
}

// Admit decides whether the access is covered by the consent, writes the answer
// into the ledger, and then gives it: a Permit that is valid for PermitLifetime,
// or a *Refused.
//
// Every check is made inside the transaction that sequences the leaf, on the
// locked consent and at the leaf's own time. So of an access and a revocation
// the one with the smaller leaf index came first, and no access leaf ever
// follows the revocation of its consent.
//
// The permit's scopes are the asked range cut to the times the household lived
// at each usage point; the leaf names the asked range, and the whole UTC days
// (to which keys are cut) that the scopes touch. A consent whose time is up is
// ended with a leaf of its own before the leaf of the refusal, and one that includes
// future usage points extended to new ones before that of the access. A crash between
// any two steps leaves leaves without an opening, never the reverse.
//
// A leaf about a consent that was never granted to the recipient names no
// household. A repeated request id returns the first refusal again, and
// ErrReplayed if the first answer was a permit or the question was another.
// Other errors: ErrAccess, or what the ledger returns; then nothing is opened.
func (g *Gate[T]) Admit(ctx context.Context, a Access) (Permit, error) {
	if err := a.validate(); err != nil {
		return Permit{}, err
	}
	a.UsagePoints, a.Registers = sortedPoints(a.UsagePoints), sortedRegisters(a.Registers)

	var d decision
	key := requestKey("access", string(a.Recipient), a.RequestID)
	decide := func(ctx context.Context, tx T, at ledger.Position) (_ ledger.Payload, err error) {
		d, err = a.decide(ctx, tx, at)
		return d.payload, err
	}
	ctx = ledger.WithAhead(ctx, Ahead{Consent: a.Consent, From: a.From, Until: min(a.Until, meter.DayOf(g.now().Unix()).End())})
	rec, err := propose(ctx, g.ledger, key, decide)
	for n := 0; n < 2 && (errors.Is(err, errDue) || errors.Is(err, errGrown)); n++ { // one leaf before this one, or two
		if errors.Is(err, errDue) {
			err = expire(ctx, g.ledger, a.Consent)
		} else {
			err = extend(ctx, g.ledger, a)
		}
		if err != nil {
			return Permit{}, err
		}
		rec, err = propose(ctx, g.ledger, key, decide)
	}
	switch {
	case err != nil:
		return Permit{}, err
	case rec.payload.Kind == ledger.KindAccessDenied && (rec.fresh || a.wasAsked(rec.payload)):
		return Permit{}, &Refused{Reason: Reason(rec.payload.Reason), Receipt: rec.receipt}
	case !rec.fresh:
		return Permit{}, ErrReplayed
	case rec.payload.Kind != ledger.KindAccess:
		return Permit{}, fmt.Errorf("consent: leaf of an access came back as another kind")
	}
	return d.permit(rec, g.now()), nil
}

func (a Access) validate() error {
	for _, s := range [...]string{a.RequestID, string(a.Recipient), string(a.Consent)} {
		if !identifier(s) {
			return fmt.Errorf("%w: identifier", ErrAccess)
		}
	}
	switch {
	case !purposeCode(a.Purpose):
		return fmt.Errorf("%w: purpose code", ErrAccess)
	case !validPoints(sortedPoints(a.UsagePoints)):
		return fmt.Errorf("%w: usage points", ErrAccess)
	case !validRegisters(sortedRegisters(a.Registers)):
		return fmt.Errorf("%w: registers", ErrAccess)
	case a.From < 0 || a.From > maxTime || a.Until < 0 || a.Until > maxTime:
		return fmt.Errorf("%w: time", ErrAccess)
	}
	return nil
}

// question is the part of the leaf that repeats what was asked.
func (a Access) question(at ledger.Position) ledger.Payload {
	return ledger.Payload{
		Time:        at.Time,
		Recipient:   string(a.Recipient),
		Purpose:     a.Purpose,
		Consent:     string(a.Consent),
		UsagePoints: texts(a.UsagePoints),
		Registers:   registerTexts(a.Registers),
		From:        a.From,
		Until:       a.Until,
	}
}

// wasAsked reports whether p, a refusal, answers the same question as a.
func (a Access) wasAsked(p ledger.Payload) bool {
	q := a.question(ledger.Position{})
	return p.Purpose == q.Purpose && p.Consent == q.Consent && p.From == q.From && p.Until == q.Until &&
		slices.Equal(p.UsagePoints, q.UsagePoints) && slices.Equal(p.Registers, q.Registers)
}

// decision is what a leaf says and, if it admits, what the permit will cover.
type decision struct {
	payload     ledger.Payload
	household   Household
	granularity Granularity
	scopes      []Scope
	first, last meter.Day
}

// permit mints. It is called after the leaf of the decision is in the record.
func (d decision) permit(rec record, now time.Time) Permit {
	return Permit{
		household:   d.household,
		scopes:      d.scopes,
		granularity: d.granularity,
		first:       d.first,
		last:        d.last,
		leafTime:    rec.payload.Time / 1e6,
		receipt:     rec.receipt,
		minted:      now,
	}
}

// decide makes every check, in an order in which an earlier reason never tells
// what a later one would hide. Its only errors besides the store's are errDue and
// errGrown.
func (a Access) decide(ctx context.Context, tx Tx, at ledger.Position) (decision, error) {
	now := seconds(at)
	d := decision{payload: a.question(at)}
	refuse := func(why Reason) (decision, error) {
		d.payload.Kind, d.payload.Reason = ledger.KindAccessDenied, string(why)
		return d, nil
	}

	switch {
	case a.Until <= a.From:
		return refuse(ReasonRangeEmpty)
	case a.Until-a.From > MaxRange:
		return refuse(ReasonRangeTooLong)
	case a.From > now:
		return refuse(ReasonRangeFuture)
	}

	c, err := tx.Consent(ctx, a.Consent)
	switch {
	case errors.Is(err, ErrNotFound):
		return refuse(ReasonNotConsented)
	case err != nil:
		return decision{}, err
	case c.Recipient != a.Recipient:
		return refuse(ReasonNotConsented)
	case c.due(now):
		return decision{}, errDue
	case c.DecidedAt == 0 || c.State == Denied:
		return refuse(ReasonNotConsented)
	}

	// From here on the recipient knows the household's consent, and the
	// household finds the access, or the refusal, in its own chain.
	d.household, d.granularity = c.Household, c.Terms.Granularity
	d.payload.Subject = string(c.Household)
	d.payload.Terms = c.Terms.Hash()
	occupancies, err := tx.Occupancies(ctx, c.Household)
	if err != nil {
		return decision{}, err
	}
	if c.grown(occupancies, now) {
		return decision{}, errGrown
	}
	points, registers := a.UsagePoints, a.Registers
	if len(points) == 0 {
		points = c.Terms.UsagePoints
	}
	if len(registers) == 0 {
		registers = c.Terms.Registers
	}
	switch {
	case c.State == Revoked:
		return refuse(ReasonRevoked)
	case c.State == Suspended:
		return refuse(ReasonSuspended)
	case c.State == Expired:
		return refuse(ReasonExpired)
	case c.State != Granted:
		return refuse(ReasonEnded)
	case a.Purpose != c.Terms.Purpose.Code:
		return refuse(ReasonPurpose)
	case !subset(points, c.Terms.UsagePoints):
		return refuse(ReasonUsagePoint)
	case !subset(registers, c.Terms.Registers):
		return refuse(ReasonRegister)
	case a.From < c.Terms.DataFrom || a.Until > c.Terms.DataUntil:
		return refuse(ReasonRange)
	}

	today := meter.DayOf(now)
	d.scopes = cut(occupancies, points, registers, a.From, min(a.Until, today.End()))
	if len(d.scopes) == 0 {
		return refuse(ReasonRange)
	}
	d.payload.Kind = ledger.KindAccess
	d.payload.PurposeText = c.Terms.Purpose.hash()
	d.payload.Granularity = c.Terms.Granularity.String()
	d.payload.PermissionUntil = c.Terms.PermissionUntil
	if c.Terms.Once && c.FirstReadAt == 0 {
		c.FirstReadAt = now
		if err := tx.PutConsent(ctx, c); err != nil {
			return decision{}, err
		}
	}
	return d.nameKeys(ctx, tx, registers)
}

// nameKeys writes into the leaf what may be opened: the usage points and whole
// UTC days of the scopes, the registers, and how many intervals are stored there.
func (d decision) nameKeys(ctx context.Context, tx Tx, registers []meter.Register) (decision, error) {
	from, until := hull(d.scopes)
	d.first, d.last = meter.DayOf(from), meter.DayOf(until-1)
	points := pointsOf(d.scopes)
	n, err := tx.StoredIntervals(ctx, d.household, points, registers, d.first.Start(), d.last.End())
	if err != nil {
		return decision{}, err
	}
	d.payload.UsagePoints = texts(points)
	d.payload.Registers = registerTexts(registers)
	d.payload.KeyFrom, d.payload.KeyUntil = int32(d.first), int32(d.last)
	d.payload.Intervals = n
	return d, nil
}
