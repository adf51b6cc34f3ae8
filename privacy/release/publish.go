package release

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// signed is a release on its way into the store. It holds nothing but what is
// to be public, and its budget is spent: it may be proposed as often as needed.
type signed struct {
	published Published
	nodes     int
	cost      dp.Rho
}

// publish makes the day's release and commits it with its leaf.
func (e *Engine[T]) publish(ctx context.Context, w Window) error {
	s, made := e.unrecorded[w.Day]
	if !made {
		var err error
		if s, err = e.produce(ctx, w); err != nil {
			return err
		}
		e.unrecorded[w.Day] = s
	}
	return e.record(ctx, s)
}

// produce checks that the day can be summed, reserves its budget, draws its
// noise, sums, and signs.
func (e *Engine[T]) produce(ctx context.Context, w Window) (signed, error) {
	cost, err := e.Plan.DayRho()
	if err != nil {
		return signed{}, fmt.Errorf("pricing a day: %w", err)
	}
	in, c, err := e.prepare(ctx, w)
	if err != nil {
		return signed{}, err
	}
	defer c.erase()
	// Only budget that is committed may be spent: an attempt that dies after this
	// line has paid for noise that nobody saw.
	if err := e.pay(ctx, w, cost); err != nil {
		return signed{}, err
	}
	if err := c.draw(); err != nil {
		return signed{}, err
	}
	conflicts, err := e.sum(ctx, in, c)
	if err != nil {
		return signed{}, err
	}
	e.report(ctx, w.Day, conflicts)
	levels, nodes, err := c.take()
	if err != nil {
		return signed{}, err
	}
	body, err := e.body(w.Day, levels, nodes)
	if err != nil {
		return signed{}, err
	}
	encoded, err := body.Encode()
	if err != nil {
		return signed{}, err
	}
	return signed{
		published: Published{
			ID: body.ID, Product: Product, Day: w.Day, Body: encoded,
			Signature: Sign(e.Signer, encoded), PublicKey: e.Signer.Public().(ed25519.PublicKey),
		},
		nodes: len(body.Nodes), cost: cost,
	}, nil
}

// payment is a reservation with the name under which the ledger is asked for it.
type payment struct {
	reservation Reservation
	request     string
}

// pay spends budget on a day and puts that on record. When it returns nil, both are
// committed and signed, and the payment is good for one draw of noise. One that may
// have been recorded is asked for again under its name the next time, instead of
// paying twice.
func (e *Engine[T]) pay(ctx context.Context, w Window, cost dp.Rho) error {
	p, asked := e.unpaid[w.Day]
	if !asked {
		var err error
		if p, err = e.payment(w, cost); err != nil {
			return err
		}
		e.unpaid[w.Day] = p
	}
	_, err := e.Ledger.Propose(ctx, p.request, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		r := p.reservation
		r.LeafIndex = at.Index
		if err := tx.Reserve(ctx, r); err != nil {
			return ledger.Payload{}, err
		}
		return ledger.Payload{Kind: ledger.KindBudgetSpend, Product: r.Product, Day: int32(r.Day), RhoNano: uint64(r.Rho)}, nil
	})
	if !errors.Is(err, ledger.ErrUnsigned) && !errors.Is(err, ledger.ErrUnknownOutcome) {
		delete(e.unpaid, w.Day) // used now, or never made
	}
	if err != nil {
		return fmt.Errorf("reserving budget: %w", err)
	}
	return nil
}

// payment names what one attempt costs. The ledger answers a request that it knows
// with what was recorded then, and two engines may attempt one day at once: asking
// under a name that both know, each would take the other's payment for its own.
func (e *Engine[T]) payment(w Window, cost dp.Rho) (payment, error) {
	r := Reservation{
		ID: fmt.Sprintf("%s/%d", ID(w.Day), w.Attempts+1), Product: Product, Day: w.Day, Year: yearOf(w.Day), Rho: cost, Cap: e.Plan.YearlyCap,
	}
	var own [16]byte
	if _, err := io.ReadFull(e.Rand, own[:]); err != nil {
		return payment{}, fmt.Errorf("naming a reservation: %w", err)
	}
	return payment{r, fmt.Sprintf("budget/%s/%x", r.ID, own)}, nil
}

// prepare reads everything that a day is summed from but the readings, lays out
// the curves, and tries whether every record of the spool opens: all that can
// fail for long fails here, before budget is spent on it.
func (e *Engine[T]) prepare(ctx context.Context, w Window) (inputs, *curves, error) {
	tree, err := e.Store.Nodes(ctx)
	if err != nil {
		return inputs{}, nil, reading("grid tree", err)
	}
	c, err := newCurves(e.Plan, tree)
	if err != nil {
		return inputs{}, nil, err
	}
	in, err := e.inputs(ctx, w)
	if err != nil {
		return inputs{}, nil, err
	}
	if err := e.rehearse(ctx, in); err != nil {
		return inputs{}, nil, err
	}
	return in, c, nil
}

// record commits the release, its ledger leaf and the window's state.
func (e *Engine[T]) record(ctx context.Context, s signed) error {
	p := s.published
	_, err := e.Ledger.Propose(ctx, "release/"+p.ID, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		p.LeafIndex = at.Index
		if err := tx.PutRelease(ctx, p); err != nil {
			return ledger.Payload{}, fmt.Errorf("storing release: %w", err)
		}
		if err := tx.MoveWindow(ctx, p.Day, WindowClosing, WindowPublished); err != nil {
			return ledger.Payload{}, fmt.Errorf("moving window: %w", err)
		}
		return ledger.Payload{
			Kind: ledger.KindRelease, Product: p.Product, Day: int32(p.Day), Nodes: uint32(s.nodes),
			RhoNano: uint64(s.cost), Digest: sha256.Sum256(p.Body),
		}, nil
	})
	if err != nil {
		return fmt.Errorf("recording release: %w", err)
	}
	return nil
}

// report tells the utilities which of their usage points were stated twice. A
// report that fails is not worth the day: budget is spent by now, and the
// intervals are counted again wherever they are read.
func (e *Engine[T]) report(ctx context.Context, day meter.Day, conflicts map[meter.UsagePoint]int) {
	for point, n := range conflicts {
		if err := e.Store.PutConflict(ctx, point, day, n, e.Now().Unix()); err != nil {
			e.Log.LogAttrs(ctx, slog.LevelWarn, "conflict not reported", slog.String("day", day.String()), slog.String("cause", err.Error()))
		}
	}
}

// yearOf is the calendar year, UTC, whose budget a day is charged to.
func yearOf(day meter.Day) int { return time.Unix(day.Start(), 0).UTC().Year() }
