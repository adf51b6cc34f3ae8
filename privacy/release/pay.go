package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/wattveil/wattveil/ledger"
)

// payment is a reservation that was asked for and not used yet. One that may have been
// recorded is asked for again under its name, instead of paying twice; one that is
// known to be is good for one draw of noise.
type payment struct {
	reservation Reservation
	made        bool
}

// pay spends budget on every release and puts that on record, and returns those that
// it could pay for. When it returns nil, all of it is committed and signed. A release
// that no budget is left for is given up, for good: its caps never rise.
func (e *Engine[T]) pay(ctx context.Context, w Window, due []*track) ([]*track, error) {
	var attempt int
	var paid []*track
	for _, t := range due {
		p := e.payments[t.releaseID()]
		if p == nil {
			if attempt == 0 {
				var err error
				if attempt, err = e.Store.CountAttempt(ctx, w.Day); err != nil {
					return nil, fmt.Errorf("counting an attempt: %w", err)
				}
			}
			r, err := e.reservation(t, w, attempt)
			if err != nil {
				return nil, err
			}
			p = &payment{reservation: r}
			e.payments[t.releaseID()] = p
		}
		switch err := e.reserve(ctx, p); {
		case err == nil:
			paid = append(paid, t)
		case errors.Is(err, ErrOverBudget):
			if alone, checked := e.alone(ctx, w, attempt); checked != nil || !alone {
				return nil, errors.Join(err, checked)
			}
			e.Log.LogAttrs(ctx, slog.LevelWarn, "not published: over budget", slog.String("release", t.releaseID()))
			delete(e.payments, t.releaseID())
			t.sums.erase()
			t.sums = nil
		case errors.Is(err, ledger.ErrUnsigned) || errors.Is(err, ledger.ErrUnknownOutcome):
			return nil, err
		default:
			delete(e.payments, t.releaseID()) // never made
			return nil, err
		}
	}
	return paid, nil
}

// alone reports whether nobody else has attempted the day since its window was read.
// Another process that has may have paid with what was left; giving the day up would
// delete the spool under its hands.
func (e *Engine[T]) alone(ctx context.Context, w Window, attempt int) (bool, error) {
	now, err := e.Store.Window(ctx, w.Day)
	return now.State == w.State && now.Attempts == w.Attempts+min(attempt, 1), reading("window", err)
}

// reserve asks for a payment, unless it is made.
func (e *Engine[T]) reserve(ctx context.Context, p *payment) error {
	if p.made {
		return nil
	}
	_, err := e.Ledger.Propose(ctx, "budget/"+p.reservation.ID, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		r := p.reservation
		r.LeafIndex = at.Index
		if err := tx.Reserve(ctx, r); err != nil {
			return ledger.Payload{}, err
		}
		return spanPayload(ledger.KindBudgetSpend, r.Product, r.Days, r.Rho, r.DayRho), nil
	})
	if err != nil {
		return fmt.Errorf("reserving budget: %w", err)
	}
	p.made = true
	return nil
}

// reservation names what one attempt costs. Attempts are counted in the store, so that
// two engines which attempt one day at once never take each other's payment for their
// own: the ledger answers a request that it knows with what was recorded then.
func (e *Engine[T]) reservation(t *track, w Window, attempt int) (Reservation, error) {
	rho, err := t.product().Rho()
	if err != nil {
		return Reservation{}, fmt.Errorf("pricing a release: %w", err)
	}
	dayRho, err := t.product().DayRho()
	if err != nil {
		return Reservation{}, fmt.Errorf("pricing a release: %w", err)
	}
	return Reservation{
		ID: fmt.Sprintf("%s/%d", t.releaseID(), attempt), Product: t.product().Name, Window: w.Day, Days: t.blocks,
		Rho: rho, DayRho: dayRho, Cap: e.Catalogue.YearlyCap, DayCap: e.Catalogue.DailyCap,
	}, nil
}
