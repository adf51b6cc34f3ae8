package consent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// MaxOpenRequests is how many undecided requests one recipient may have at a
// time.
const MaxOpenRequests = 10000

// Errors of Service.
var (
	// ErrTooManyRequests says that the recipient has MaxOpenRequests undecided ones.
	ErrTooManyRequests = errors.New("consent: too many undecided requests")
	// ErrNothingToGrant says that no usage point of the request is the household's.
	ErrNothingToGrant = errors.New("consent: request names no usage point of the household")
	// ErrSameTerms says that a narrowing would take nothing back.
	ErrSameTerms = errors.New("consent: terms are in force already")
)

// Service carries consents through their life. Every step is one leaf, which
// commits together with the new state or not at all, and is signed when the
// method returns. A call repeated with the same request id has no further
// effect. Safe for concurrent use.
type Service[T Tx] struct {
	ledger Ledger[T]
	random io.Reader
}

// NewService returns a Service that records in l and draws identifiers from
// random, which must be cryptographic and safe for concurrent use.
func NewService[T Tx](l Ledger[T], random io.Reader) *Service[T] {
	return &Service[T]{ledger: l, random: random}
}

// Request asks the household that lives at the usage point now, and returns the
// identifier under which it will decide. Terms that name usage points must name
// this one.
//
// A usage point that is unknown, or where no one lives, is answered alike, and
// leaves alike traces: a leaf in the recipient's chain and a consent that is
// Requested and expires in its time, which nobody can decide. It costs what any
// request costs, so unknown usage points offer no cheaper way to fill the store;
// MaxOpenRequests bounds both. The receipt is kept back because its payload
// names the household where there is one.
//
// Errors: ErrIdentifier, ErrTerms, ErrTooManyRequests, ErrReplayed if the
// request id stands for another request, or what the ledger returns.
func (s *Service[T]) Request(ctx context.Context, requestID string, r Recipient, up meter.UsagePoint, terms Terms) (ID, error) {
	if !identifier(requestID) || !identifier(string(r)) || !identifier(string(up)) {
		return "", ErrIdentifier
	}
	terms = terms.Normalize()
	if err := terms.Validate(); err != nil {
		return "", err
	}
	if len(terms.UsagePoints) > 0 && !slices.Contains(terms.UsagePoints, up) {
		return "", fmt.Errorf("%w: usage points leave out the one that is asked about", ErrTerms)
	}
	if terms.Future && len(terms.UsagePoints) > 0 {
		return "", fmt.Errorf("%w: usage points are named though future ones are included", ErrTerms)
	}
	id, err := newID(s.random)
	if err != nil {
		return "", err
	}
	asked := Consent{ID: id, Recipient: r, Asked: terms, Terms: terms}
	rec, err := propose(ctx, s.ledger, requestKey("request", string(r), requestID), func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		return asked.request(ctx, tx, up, at)
	})
	if err != nil {
		return "", err
	}
	if rec.payload.Terms != terms.Hash() || !slices.Contains(rec.payload.UsagePoints, string(up)) {
		return "", ErrReplayed
	}
	return ID(rec.payload.Consent), nil
}

func (c Consent) request(ctx context.Context, tx Tx, up meter.UsagePoint, at ledger.Position) (ledger.Payload, error) {
	now := seconds(at)
	if c.Terms.PermissionUntil <= now {
		return ledger.Payload{}, fmt.Errorf("%w: end of permission is past", ErrTerms)
	}
	open, err := tx.OpenRequests(ctx, c.Recipient)
	if err != nil {
		return ledger.Payload{}, err
	}
	if open >= MaxOpenRequests {
		return ledger.Payload{}, ErrTooManyRequests
	}
	c.Household, err = tx.OccupantOf(ctx, up, now)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return ledger.Payload{}, err
	}
	if c.Household != "" {
		occupancies, err := tx.Occupancies(ctx, c.Household)
		if err != nil {
			return ledger.Payload{}, err
		}
		c.VacatedAt = vacated(occupancies)
	}
	if c, err = c.step(ledger.KindConsentRequest, now, ""); err != nil {
		return ledger.Payload{}, err
	}
	p := c.payload(ledger.KindConsentRequest, at)
	if len(p.UsagePoints) == 0 {
		p.UsagePoints = []string{string(up)} // the leaf says where was asked
	}
	return p, tx.PutConsent(ctx, c)
}

// Grant agrees to a request, as asked or, with narrowed, to less. The grant
// names usage points: those of the terms that are the household's at this
// moment, or all of them if the terms name none.
//
// Errors: ErrIdentifier, ErrNotFound also for another household's consent,
// ErrTransition unless it is requested and not expired, ErrTerms, ErrWider if
// narrowed allows anything that was not asked for, ErrNothingToGrant,
// ErrReplayed, or what the ledger returns.
func (s *Service[T]) Grant(ctx context.Context, requestID string, h Household, id ID, narrowed *Terms) (Consent, ledger.Receipt, error) {
	return s.decide(ctx, ledger.KindConsentGrant, requestID, h, id, func(ctx context.Context, tx T, c Consent, now int64) (Consent, error) {
		return c.agree(ctx, tx, narrowed, now)
	})
}

// agree sets the terms of a grant.
func (c Consent) agree(ctx context.Context, tx Tx, narrowed *Terms, now int64) (Consent, error) {
	if narrowed != nil {
		terms := narrowed.Normalize()
		if err := terms.Validate(); err != nil {
			return Consent{}, err
		}
		if !terms.NarrowerThan(c.Terms) {
			return Consent{}, ErrWider
		}
		c.Terms = terms
	}
	if c.Terms.PermissionUntil <= now {
		return Consent{}, fmt.Errorf("%w: end of permission is past", ErrTerms)
	}
	occupancies, err := tx.Occupancies(ctx, c.Household)
	if err != nil {
		return Consent{}, err
	}
	c.VacatedAt = vacated(occupancies)
	// A point moved into later is not in a grant made today: the household has
	// not seen it in the text it agrees to.
	theirs := c.Terms.theirs(occupancies, now)
	if len(c.Terms.UsagePoints) > 0 && !c.Terms.Future {
		theirs = slices.DeleteFunc(theirs, func(p meter.UsagePoint) bool { return !slices.Contains(c.Terms.UsagePoints, p) })
	}
	switch {
	case len(theirs) == 0:
		return Consent{}, ErrNothingToGrant
	case c.Terms.Future && len(c.Terms.UsagePoints) > 0 && !slices.Equal(c.Terms.UsagePoints, theirs):
		return Consent{}, fmt.Errorf("%w: usage points are left out though future ones are included", ErrTerms)
	}
	c.Terms.UsagePoints = theirs
	return c, c.Terms.Validate()
}

// Deny refuses a request. Errors as for Grant.
func (s *Service[T]) Deny(ctx context.Context, requestID string, h Household, id ID) (Consent, ledger.Receipt, error) {
	return s.decide(ctx, ledger.KindConsentDeny, requestID, h, id, unchanged)
}

// Revoke ends a grant. It is effective for the very next access: any leaf of an
// access under this consent after the returned one would be a provable
// violation. Errors as for Grant.
func (s *Service[T]) Revoke(ctx context.Context, requestID string, h Household, id ID) (Consent, ledger.Receipt, error) {
	return s.decide(ctx, ledger.KindConsentRevoke, requestID, h, id, unchanged)
}

// Narrow takes back a part of a grant: from the returned leaf on narrowed is what
// the consent allows, whole. It is effective for the very next access, as the end
// of the permission may be: an access leaf under this consent after the returned
// one that goes beyond narrowed would be a provable violation. The consent stays
// Granted, and what was taken back does not return; to take back everything, use
// Revoke.
//
// It is not checked that anything of what remains is the household's now: a
// permit never covers more than that.
//
// Errors as for Grant, with ErrTransition unless the consent is granted and not
// expired, and ErrWider if narrowed allows anything that the consent does not or
// names another purpose; ErrSameTerms if it allows the same; ErrReplayed also if
// the request id stands for other terms.
func (s *Service[T]) Narrow(ctx context.Context, requestID string, h Household, id ID, narrowed Terms) (Consent, ledger.Receipt, error) {
	narrowed = narrowed.Normalize()
	if err := narrowed.Validate(); err != nil {
		return Consent{}, ledger.Receipt{}, err
	}
	c, receipt, err := s.decide(ctx, ledger.KindConsentNarrow, requestID, h, id, func(_ context.Context, _ T, c Consent, now int64) (Consent, error) {
		return c.narrow(narrowed, now)
	})
	if err != nil {
		return Consent{}, ledger.Receipt{}, err
	}
	recorded, err := ledger.DecodePayload(receipt.Payload)
	if err != nil {
		return Consent{}, ledger.Receipt{}, fmt.Errorf("consent: reading the leaf back: %w", err)
	}
	if recorded.Terms != narrowed.Hash() {
		return Consent{}, ledger.Receipt{}, ErrReplayed
	}
	return c, receipt, nil
}

// narrow sets the terms of a narrowing.
func (c Consent) narrow(to Terms, now int64) (Consent, error) {
	switch {
	case !to.NarrowerThan(c.Terms):
		return Consent{}, ErrWider
	case to.Hash() == c.Terms.Hash():
		return Consent{}, ErrSameTerms
	case to.PermissionUntil <= now:
		return Consent{}, fmt.Errorf("%w: end of permission is past", ErrTerms)
	case to.Future && !slices.Equal(to.UsagePoints, c.Terms.UsagePoints):
		return Consent{}, fmt.Errorf("%w: usage points are left out though future ones are included", ErrTerms)
	}
	c.Terms = to
	return c, nil
}

func unchanged[T Tx](_ context.Context, _ T, c Consent, _ int64) (Consent, error) { return c, nil }

// decide is one step that a household takes.
func (s *Service[T]) decide(ctx context.Context, kind ledger.Kind, requestID string, h Household, id ID,
	change func(ctx context.Context, tx T, c Consent, now int64) (Consent, error),
) (Consent, ledger.Receipt, error) {
	return s.take(ctx, step{kind, ByHousehold, string(h), requestID, id, func(c Consent) bool { return c.Household == h }}, change)
}

// step is one that somebody takes, in the life of one consent.
type step struct {
	kind      ledger.Kind
	by        Cause
	who       string // takes it
	requestID string
	id        ID
	may       func(Consent) bool // whether the consent is of those that the taker can see
}

// take takes a step. A consent whose time is up is ended instead, with its own leaf,
// and the step refused.
func (s *Service[T]) take(ctx context.Context, by step, change func(ctx context.Context, tx T, c Consent, now int64) (Consent, error)) (Consent, ledger.Receipt, error) {
	if !identifier(by.requestID) || !identifier(by.who) || !identifier(string(by.id)) {
		return Consent{}, ledger.Receipt{}, ErrIdentifier
	}
	var decided Consent
	key := requestKey(string(by.kind), by.who, by.requestID)
	rec, err := propose(ctx, s.ledger, key, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		c, err := by.find(ctx, tx)
		if err != nil {
			return ledger.Payload{}, err
		}
		now := seconds(at)
		if c.due(now) {
			return ledger.Payload{}, errDue
		}
		if c, err = c.step(by.kind, now, by.by); err != nil {
			return ledger.Payload{}, err
		}
		if c, err = change(ctx, tx, c, now); err != nil {
			return ledger.Payload{}, err
		}
		decided = c
		return c.payload(by.kind, at), tx.PutConsent(ctx, c)
	})
	switch {
	case errors.Is(err, errDue):
		if err := expire(ctx, s.ledger, by.id); err != nil {
			return Consent{}, ledger.Receipt{}, err
		}
		return Consent{}, ledger.Receipt{}, ErrTransition
	case err != nil:
		return Consent{}, ledger.Receipt{}, err
	case rec.payload.Consent != string(by.id):
		return Consent{}, ledger.Receipt{}, ErrReplayed
	case !rec.fresh: // the consent as it stands
		err = view(ctx, s.ledger, func(ctx context.Context, tx T) (err error) {
			decided, err = by.find(ctx, tx)
			return err
		})
		if err != nil {
			return Consent{}, ledger.Receipt{}, err
		}
	}
	return decided, rec.receipt, nil
}

// find returns the consent; another's is as absent as none.
func (by step) find(ctx context.Context, tx Tx) (Consent, error) {
	c, err := tx.Consent(ctx, by.id)
	if err == nil && !by.may(c) {
		return Consent{}, ErrNotFound
	}
	return c, err
}
