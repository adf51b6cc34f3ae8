package release

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/big"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// CloseDue closes every day whose watermark has passed, oldest first, and
// returns those that it closed. Days between the first and the last window that
// got no readings are published too: the schedule is public, what arrived is
// not. It stops at the first error; calling it again goes on where it stopped.
func (e *Engine[T]) CloseDue(ctx context.Context) ([]meter.Day, error) {
	e.closing.Lock()
	defer e.closing.Unlock()
	if err := e.fillSchedule(ctx); err != nil {
		return nil, err
	}
	windows, err := e.Store.Windows(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing windows: %w", err)
	}
	var closed []meter.Day
	for _, w := range windows {
		if w.State == WindowOpen && !e.due(w.Day, e.Now()) {
			continue
		}
		if err := e.close(ctx, w); err != nil {
			return closed, fmt.Errorf("closing %s: %w", w.Day, err)
		}
		closed = append(closed, w.Day)
	}
	return closed, nil
}

// fillSchedule makes the windows of due days after the last one there is.
func (e *Engine[T]) fillSchedule(ctx context.Context) error {
	last, err := e.Store.LastWindow(ctx)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding last window: %w", err)
	}
	for day := last.Next(); e.due(day, e.Now()); day = day.Next() {
		if _, err := e.ensure(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// close takes one window from whatever state it is in to closed.
func (e *Engine[T]) close(ctx context.Context, w Window) error {
	defer e.forget(w.Day)
	if w.State == WindowOpen {
		if err := e.Store.BeginClosing(ctx, w.Day); err != nil {
			return fmt.Errorf("ending contributions: %w", err)
		}
		w.State = WindowClosing
	}
	if w.State == WindowClosing {
		err := e.publish(ctx, w)
		if errors.Is(err, ErrOverBudget) {
			e.Log.LogAttrs(ctx, slog.LevelWarn, "not published: over budget", slog.String("day", w.Day.String()))
			err = e.Store.GiveUp(ctx, w.Day)
		}
		if err != nil {
			return err
		}
	}
	// The key dies before the state says so: a crash in between repeats this.
	if err := e.Keys.DestroyKey(ctx, KeyName(w.Day)); err != nil {
		return fmt.Errorf("destroying window key: %w", err)
	}
	return e.Store.EndClosing(ctx, w.Day)
}

// publish reserves, draws, sums, and commits the signed release with its leaf.
func (e *Engine[T]) publish(ctx context.Context, w Window) error {
	cost, err := e.Plan.DayRho()
	if err != nil {
		return fmt.Errorf("pricing a day: %w", err)
	}
	// Only budget that is committed may be spent: an attempt that dies after this
	// line has paid for noise that nobody saw.
	if err := e.Store.Reserve(ctx, Reservation{
		ID: fmt.Sprintf("%s/%d", ID(w.Day), w.Attempts+1), Product: Product, Day: w.Day, Year: yearOf(w.Day), Rho: cost, Cap: e.Plan.YearlyCap,
	}); err != nil {
		return fmt.Errorf("reserving budget: %w", err)
	}
	tree, err := e.Store.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("reading grid tree: %w", err)
	}
	c, err := newCurves(e.Plan, tree)
	if err != nil {
		return err
	}
	defer c.erase()
	if err := e.fill(ctx, w, c, c.places(tree)); err != nil {
		return err
	}
	noisy, err := c.take()
	if err != nil {
		return err
	}
	body, err := e.body(w.Day, noisy)
	if err != nil {
		return err
	}
	encoded, err := body.Encode()
	if err != nil {
		return err
	}
	p := Published{ID: body.ID, Product: Product, Day: w.Day, Body: encoded, Signature: Sign(e.Signer, encoded), PublicKey: e.Signer.Public().(ed25519.PublicKey)}
	_, err = e.Ledger.Propose(ctx, "release/"+p.ID, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		p.LeafIndex = at.Index
		if err := tx.PutRelease(ctx, p); err != nil {
			return ledger.Payload{}, fmt.Errorf("storing release: %w", err)
		}
		if err := tx.MoveWindow(ctx, w.Day, WindowClosing, WindowPublished); err != nil {
			return ledger.Payload{}, fmt.Errorf("moving window: %w", err)
		}
		return ledger.Payload{
			Kind: ledger.KindRelease, Product: Product, Day: int32(w.Day), Nodes: uint32(len(body.Nodes)),
			RhoNano: uint64(cost), Digest: sha256.Sum256(encoded),
		}, nil
	})
	if err != nil {
		return fmt.Errorf("recording release: %w", err)
	}
	return nil
}

// fill opens the window's spool and adds every household's day.
func (e *Engine[T]) fill(ctx context.Context, w Window, c *curves, places map[string][]int) error {
	homes, err := e.Store.HouseholdNodes(ctx, w.Day)
	if err != nil {
		return fmt.Errorf("reading households: %w", err)
	}
	contributions, err := e.openSpool(ctx, w)
	if err != nil {
		return err
	}
	for household, opened := range contributions {
		node, lives := homes[household]
		if !lives { // erased since: its contributions are dropped
			continue
		}
		series, conflicts := seal.Merge(opened)
		x, err := vector(w.Day, series)
		if err != nil {
			return err
		}
		err = c.add(x, places[node])
		clear(x)
		if err != nil {
			return err
		}
		if conflicts > 0 {
			if err := e.Store.PutConflict(ctx, opened[0].Series.UsagePoint, w.Day, conflicts, e.Now().Unix()); err != nil {
				return fmt.Errorf("reporting conflict: %w", err)
			}
		}
	}
	return nil
}

// openSpool opens all records of a window, by household. Records of writers
// that are not registered, or that do not open, end the closing: a total
// without them would be published for good.
func (e *Engine[T]) openSpool(ctx context.Context, w Window) (map[consent.Household][]seal.Opened, error) {
	private, err := e.open(ctx, w)
	if err != nil {
		return nil, err
	}
	wraps, err := e.Store.SpoolKeys(ctx, w.Day)
	if err != nil {
		return nil, fmt.Errorf("reading spool keys: %w", err)
	}
	writers := make([]seal.WriterID, len(wraps))
	for i, k := range wraps {
		writers[i] = k.Writer
	}
	registered, err := e.Store.WriterKeys(ctx, writers)
	if err != nil {
		return nil, fmt.Errorf("reading writers: %w", err)
	}
	keys := make(map[seal.WriterID]seal.SpoolKey, len(wraps))
	defer clear(keys)
	for _, k := range wraps {
		if keys[k.Writer], err = seal.OpenSpoolKey(private, k, registered[k.Writer]); err != nil {
			return nil, fmt.Errorf("opening spool key: %w", err)
		}
	}
	out := make(map[consent.Household][]seal.Opened)
	err = e.Store.SpoolRecords(ctx, w.Day, func(r seal.SpoolRecord) error {
		key, ok := keys[r.Writer]
		if !ok {
			return fmt.Errorf("opening spool: %w", seal.ErrKeyGone)
		}
		spooled, err := seal.OpenSpool(key, r)
		if err != nil {
			return fmt.Errorf("opening spool: %w", err)
		}
		for _, s := range spooled {
			out[s.Household] = append(out[s.Household], s.Opened)
		}
		return nil
	})
	return out, err
}

// body states the noisy curves.
func (e *Engine[T]) body(day meter.Day, levels []level) (Body, error) {
	cost, err := e.Plan.DayRho()
	if err != nil {
		return Body{}, fmt.Errorf("pricing a day: %w", err)
	}
	b := Body{
		Version: 1, ID: ID(day), Origin: e.Origin, Product: Product, Day: day.String(), Unit: "Wh", IntervalSeconds: IntervalSeconds,
		Guarantee: Guarantee{
			PrivacyUnit: "household-day (UTC)", Neighbours: "add/remove", Mechanism: "discrete Gaussian on L2-clipped integer vectors",
			RhoNano: uint64(cost), Delta: e.Plan.Delta, YearlyCapRhoNano: uint64(e.Plan.YearlyCap), Statement: statement,
		},
	}
	if b.Guarantee.Epsilon, err = e.Plan.Epsilon(cost); err != nil {
		return Body{}, fmt.Errorf("stating epsilon: %w", err)
	}
	if b.Guarantee.YearlyCapEpsilon, err = e.Plan.Epsilon(e.Plan.YearlyCap); err != nil {
		return Body{}, fmt.Errorf("stating epsilon: %w", err)
	}
	for _, l := range levels {
		b.Levels = append(b.Levels, LevelBody{
			Level: l.depth, Kind: l.plan.Kind, RhoNano: uint64(l.plan.Rho), ClipWh: l.plan.ClipWh, Sigma2: l.variance, SigmaWh: rootUp(l.variance.Rat()),
		})
		for i, n := range l.nodes {
			b.Nodes = append(b.Nodes, NodeBody{
				ID: n.ID, Parent: n.Parent, Level: n.Level, UsagePointsPublic: n.UsagePoints, Wh: l.sums[i*Intervals : (i+1)*Intervals],
			})
		}
	}
	return b, nil
}

// rootUp is the least integer whose square is at least r.
func rootUp(r *big.Rat) int64 {
	n := new(big.Int).Quo(new(big.Int).Sub(new(big.Int).Add(r.Num(), r.Denom()), big.NewInt(1)), r.Denom())
	root := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(root, root).Cmp(n) < 0 {
		root.Add(root, big.NewInt(1))
	}
	return root.Int64()
}

// yearOf is the calendar year, UTC, whose budget a day is charged to.
func yearOf(day meter.Day) int {
	var y int
	if _, err := fmt.Sscanf(day.String(), "%d-", &y); err != nil {
		panic("release: day without a year") // Day.String always has one
	}
	return y
}
