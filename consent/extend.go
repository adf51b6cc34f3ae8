package consent

import (
	"context"
	"errors"
	"slices"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// errGrown ends a proposal that met a consent with future usage points, of which some
// have come.
var errGrown = errors.New("consent: the household has more usage points")

// theirs returns the usage points that a grant of t is for at the instant now: those
// that the household has moved into by then and that the data range touches.
func (t Terms) theirs(occupancies []Occupancy, now int64) []meter.UsagePoint {
	occupancies = slices.DeleteFunc(slices.Clone(occupancies), func(o Occupancy) bool { return o.From > now })
	return occupied(occupancies, t.DataFrom, t.DataUntil)
}

// grown reports whether usage points have come to the household that the consent
// includes and does not name. A consent with future points named all at its grant, and
// a narrowing that leaves one out ends that.
func (c Consent) grown(occupancies []Occupancy, now int64) bool {
	return c.State == Granted && c.Terms.Future && !subset(c.Terms.theirs(occupancies, now), c.Terms.UsagePoints)
}

// extend names the usage points that have come to the household in a consent that
// includes them, with a leaf of its own: whoever checks a read finds the terms that
// name its points. a is the access that met it. If someone else did so meanwhile there is nothing left to do.
func extend[T Tx](ctx context.Context, l Ledger[T], a Access) error {
	id := a.Consent
	_, err := propose(ctx, l, requestKey("extend", string(a.Recipient), a.RequestID), func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		c, err := tx.Consent(ctx, id)
		if err != nil {
			return ledger.Payload{}, err
		}
		occupancies, err := tx.Occupancies(ctx, c.Household)
		if err != nil {
			return ledger.Payload{}, err
		}
		now := seconds(at)
		if !c.grown(occupancies, now) {
			return ledger.Payload{}, errNotDue
		}
		if c, err = c.step(ledger.KindConsentExtend, now, ""); err != nil {
			return ledger.Payload{}, err
		}
		c.Terms.UsagePoints = sortedPoints(append(c.Terms.UsagePoints, c.Terms.theirs(occupancies, now)...))
		if err := c.Terms.Validate(); err != nil {
			return ledger.Payload{}, err
		}
		return c.payload(ledger.KindConsentExtend, at), tx.PutConsent(ctx, c)
	})
	if errors.Is(err, errNotDue) {
		return nil
	}
	return err
}
