package consent

import (
	"context"
	"errors"

	"github.com/wattveil/wattveil/ledger"
)

var (
	// errDue ends a proposal that met a consent whose time is up.
	errDue = errors.New("consent: due to end")
	// errNotDue ends a proposal to end what is not, or no longer, due.
	errNotDue = errors.New("consent: not due to end")
)

// ExpireDue writes the end of every consent and request whose time is up, as
// [Consent.Deadline] has it, a leaf each, and returns how many it wrote. It may run at any time, in any number of
// processes; one that is interrupted leaves the rest to the next.
func (s *Service[T]) ExpireDue(ctx context.Context) (int, error) {
	for n := 0; ; n++ {
		key, err := newID(s.random)
		if err != nil {
			return n, err
		}
		err = end(ctx, s.ledger, requestKey("expire due", string(key)), func(ctx context.Context, tx T, now int64) (Consent, error) {
			c, err := tx.DueConsent(ctx, now)
			if errors.Is(err, ErrNotFound) {
				return Consent{}, errNotDue
			}
			return c, err
		})
		switch {
		case errors.Is(err, errNotDue):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

// expire writes the end of one consent that was met after its time was up. If
// someone else ended it meanwhile there is nothing left to do.
func expire[T Tx](ctx context.Context, l Ledger[T], id ID) error {
	err := end(ctx, l, requestKey("expire", string(id)), func(ctx context.Context, tx T, _ int64) (Consent, error) {
		return tx.Consent(ctx, id)
	})
	if errors.Is(err, errNotDue) {
		return nil
	}
	return err
}

func end[T Tx](ctx context.Context, l Ledger[T], key string, find func(ctx context.Context, tx T, now int64) (Consent, error)) error {
	_, err := propose(ctx, l, key, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		now := seconds(at)
		c, err := find(ctx, tx, now)
		if err != nil {
			return ledger.Payload{}, err
		}
		if !c.due(now) {
			return ledger.Payload{}, errNotDue
		}
		kind, by := c.ending()
		if c, err = c.step(kind, now, by); err != nil {
			return ledger.Payload{}, err
		}
		return c.payload(kind, at), tx.PutConsent(ctx, c)
	})
	return err
}
