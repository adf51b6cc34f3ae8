package release

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/seal"
)

// outcome is a closing on its way into the store. It holds nothing but what is to be
// public, and what is sealed; its budget is spent: it may be put there as often as
// needed.
type outcome struct {
	releases []signed
	set      *seal.RunningKeyWrap // nil if nothing runs on
	replaced []seal.RunningID
}

// signed is a release.
type signed struct {
	published Published
	days      []meter.Day
	part      int // of live load, from 1
	nodes     int
	cost      dp.Rho
	dayCost   dp.Rho
}

// publish makes the day's releases and commits each with its leaf, then moves the
// window on.
func (e *Engine[T]) publish(ctx context.Context, w Window, s schedule) error {
	o, made := e.unrecorded[w.Day]
	if !made {
		var err error
		if o, err = e.produce(ctx, w, s); err != nil {
			return err
		}
		e.unrecorded[w.Day] = o
	}
	for _, r := range o.releases {
		if err := e.record(ctx, r); err != nil {
			return err
		}
	}
	err := e.Store.EndPublishing(ctx, w.Day, o.set, o.replaced)
	if errors.Is(err, ErrWindowClosed) {
		delete(e.unrecorded, w.Day) // another day has moved on, or taken up the sums that these are made of: seal them anew
	}
	if err != nil {
		return fmt.Errorf("moving window: %w", err)
	}
	return nil
}

// produce checks that the day can be summed, leaves the running sums of what is not
// over, reserves the budget of what is, draws noise, sums, and signs.
func (e *Engine[T]) produce(ctx context.Context, w Window, s schedule) (outcome, error) {
	tree, err := e.Store.Nodes(ctx)
	if err != nil {
		return outcome{}, reading("grid tree", err)
	}
	in, err := e.inputs(ctx, w, s)
	if err != nil {
		return outcome{}, err
	}
	defer in.erase()
	due, err := e.ending(ctx, in, tree)
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		for _, t := range due {
			t.sums.erase()
		}
	}()
	o := outcome{replaced: in.setIDs()}
	var conflicts map[conflict]int
	if o.set, conflicts, err = e.leave(ctx, in, s); err != nil {
		return outcome{}, err
	}
	// Only budget that is committed may be spent: an attempt that dies after this
	// line has paid for noise that nobody saw.
	if due, err = e.pay(ctx, w, due); err != nil {
		return outcome{}, err
	}
	if len(due) == 0 {
		e.report(ctx, conflicts)
		return o, nil
	}
	for _, t := range due {
		delete(e.payments, t.releaseID()) // good for one draw
		if err := t.sums.draw(); err != nil {
			return outcome{}, err
		}
	}
	if err := e.sum(ctx, in); err != nil {
		return outcome{}, err
	}
	// Another process may have closed the day meanwhile, and deleted what was summed.
	if now, err := e.Store.Window(ctx, w.Day); err != nil || now.State != WindowClosing {
		return outcome{}, errors.Join(ErrWindowClosed, reading("window", err))
	}
	for _, t := range due {
		r, err := e.sign(ctx, t)
		if err != nil {
			return outcome{}, err
		}
		o.releases = append(o.releases, r)
	}
	return o, nil
}

// ending lays out the sums of the tracks that end with this day, but for those that were
// published already: an earlier attempt got so far.
func (e *Engine[T]) ending(ctx context.Context, in *inputs, tree []Node) ([]*track, error) {
	var due []*track
	var ids []string
	for _, t := range in.tracks {
		if t.due {
			due, ids = append(due, t), append(ids, t.releaseID())
		}
	}
	done, err := e.Store.PublishedAmong(ctx, ids)
	if err != nil {
		return nil, reading("releases", err)
	}
	var left []*track
	for _, t := range due {
		if done[t.releaseID()] {
			continue
		}
		if t.sums, err = newSums(t.measure, tree, e.Catalogue.Tariffs); err != nil {
			return nil, err
		}
		left = append(left, t)
	}
	return left, nil
}

// leave seals the running sums of the tracks that go on to the next window that is not
// published, and returns what was stated twice in what it read.
func (e *Engine[T]) leave(ctx context.Context, in *inputs, s schedule) (*seal.RunningKeyWrap, map[conflict]int, error) {
	var going []*track
	var at []int
	for i, t := range in.tracks {
		if !t.due {
			going, at = append(going, t), append(at, i)
		}
	}
	if len(going) == 0 {
		return nil, nil, nil
	}
	next, err := e.next(ctx, in.window.Day, s)
	if err != nil {
		return nil, nil, err
	}
	set, err := e.newSet(in.window.Day, going)
	if err != nil {
		return nil, nil, err
	}
	defer set.erase()
	states := make([]state, len(going))
	conflicts, err := e.each(ctx, in, func(household consent.Household, _ *resident, all []state) error {
		for i, track := range at {
			states[i] = all[track]
		}
		return set.add(ctx, household, states)
	})
	if err != nil {
		return nil, nil, err
	}
	wrap, err := set.end(ctx, next)
	return wrap, conflicts, err
}

// next is the first window after a day's that is open or closing.
func (e *Engine[T]) next(ctx context.Context, day meter.Day, s schedule) (Window, error) {
	for d := day.Next(); d <= s.latest(); d = d.Next() {
		if state, pending := s.pending[d]; pending && state < WindowPublished {
			w, err := e.Store.Window(ctx, d)
			return w, reading("window", err)
		}
	}
	return Window{}, fmt.Errorf("leaving running sums: %w", ErrNotFound)
}

// sum adds every household to the releases that are due, and reports conflicts.
func (e *Engine[T]) sum(ctx context.Context, in *inputs) error {
	conflicts, err := e.each(ctx, in, func(_ consent.Household, r *resident, states []state) error {
		for i, t := range in.tracks {
			if t.sums == nil || !r.counts[i] || states[i].days == 0 {
				continue
			}
			if err := t.sums.add(states[i].sum, states[i].stated(), r.places[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	e.report(ctx, conflicts)
	return nil
}

// sign states a release and signs it.
func (e *Engine[T]) sign(ctx context.Context, t *track) (signed, error) {
	levels, nodes, err := t.sums.take()
	if err != nil {
		return signed{}, err
	}
	body, err := e.body(ctx, t, levels, nodes)
	if err != nil {
		return signed{}, err
	}
	encoded, err := body.Encode()
	if err != nil {
		return signed{}, err
	}
	return signed{
		published: Published{
			ID: body.ID, Product: body.Product, Day: t.last(), Body: encoded,
			Signature: Sign(e.Signer, encoded), PublicKey: e.signerPublic(),
		},
		days: t.blocks, part: t.part, nodes: len(body.Nodes), cost: dp.Rho(body.Guarantee.RhoNano), dayCost: dp.Rho(body.Guarantee.DayRhoNano),
	}, nil
}

func (e *Engine[T]) signerPublic() ed25519.PublicKey {
	return e.Signer.Public().(ed25519.PublicKey) //nolint:forcetypeassert // what it is documented to be
}

// record commits a release with its ledger leaf.
func (e *Engine[T]) record(ctx context.Context, s signed) error {
	p := s.published
	_, err := e.Ledger.Propose(ctx, "release/"+p.ID, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		p.LeafIndex = at.Index
		if err := tx.PutRelease(ctx, p); err != nil {
			return ledger.Payload{}, fmt.Errorf("storing release: %w", err)
		}
		payload := spanPayload(ledger.KindRelease, p.Product, s.days, s.cost, s.dayCost)
		payload.Intervals = uint64(s.part)
		payload.Nodes, payload.Digest = uint32(s.nodes), sha256.Sum256(p.Body)
		return payload, nil
	})
	if err != nil {
		return fmt.Errorf("recording release: %w", err)
	}
	return nil
}

// spanPayload states what concerns some days.
func spanPayload(kind ledger.Kind, product string, days []meter.Day, rho, dayRho dp.Rho) ledger.Payload {
	p := ledger.Payload{Kind: kind, Product: product, Day: int32(days[0]), RhoNano: uint64(rho)}
	for _, d := range days[1:] {
		p.Days |= 1 << (d - days[0] - 1)
	}
	if dayRho != rho {
		p.DayRhoNano = uint64(dayRho)
	}
	return p
}

// report tells the utilities which of their usage points were stated twice. A
// report that fails is not worth the day: budget is spent by now, and the
// intervals are counted again wherever they are read.
func (e *Engine[T]) report(ctx context.Context, conflicts map[conflict]int) {
	for c, n := range conflicts {
		if err := e.Store.PutConflict(ctx, c.point, c.day, n, e.Now().Unix()); err != nil {
			e.Log.LogAttrs(ctx, slog.LevelWarn, "conflict not reported", slog.String("day", c.day.String()), slog.String("cause", err.Error()))
		}
	}
}

// yearOf is the calendar year, UTC, whose budget a day is charged to.
func yearOf(day meter.Day) int { return time.Unix(day.Start(), 0).UTC().Year() }
