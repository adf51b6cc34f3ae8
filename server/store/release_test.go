package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// Both stores keep what publishing needs of one.
func TestRelease(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		releasetest.TestStore(t, func(t *testing.T) releasetest.Store[*store.Tx] {
			s := open(t, url(t))
			var batches atomic.Int64
			return releasetest.Store[*store.Tx]{
				Store:    s,
				Transact: s.Transact,
				AddNodes: func(t *testing.T, nodes []release.Node) { must(t, s.PutGridNodes(t.Context(), nodes)) },
				AddPoint: func(t *testing.T, point meter.UsagePoint, node string) {
					must(t, s.PutUtilities(t.Context(), []store.Utility{{ID: "utility", Name: "Utility"}}))
					must(t, s.PutUsagePoints(t.Context(), []store.UsagePoint{{ID: point, Utility: "utility", Node: node, CapWatts: 69_000, Zone: "UTC"}}))
				},
				Occupy: func(t *testing.T, o consent.Occupancy) { settle(t, s, o) },
				Erase: func(t *testing.T, h consent.Household) {
					erase(t, s, h)
				},
				AddWriter: func(t *testing.T, id seal.WriterID, key []byte) {
					do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.PutWriter(ctx, id, key, 1, 0) })
				},
				AddSpool: func(t *testing.T, keys []seal.SpoolKeyWrap, r seal.SpoolRecord) bool {
					b := batch(fmt.Sprint("spool", batches.Add(1)))
					b.SpoolKeys, b.Spool = keys, []seal.SpoolRecord{r}
					outcomes, err := s.CommitBatches(t.Context(), []store.Batch{b})
					if err != nil {
						t.Errorf("adding to the spool: %v", err)
						return false
					}
					return len(outcomes[0].LateDays) == 0
				},
				Published: func(t *testing.T, id string) (p release.Published, found bool) {
					err := s.QueryRow(t.Context(), `SELECT id, product, day, body, signature, public_key, leaf_index FROM releases WHERE id = $1`, []any{id},
						&p.ID, &p.Product, &p.Day, &p.Body, &p.Signature, &p.PublicKey, &p.LeafIndex)
					if errors.Is(err, sql.ErrNoRows) {
						return p, false
					}
					must(t, err)
					return p, true
				},
			}
		})
	})
}

// closing makes a window that is closing.
func closing(t testing.TB, s *store.Store, day meter.Day) {
	t.Helper()
	window(t, s, day)
	must(t, s.BeginClosing(t.Context(), day))
}

func reservation(id string, day meter.Day, rho, limit dp.Rho) release.Reservation {
	return release.Reservation{ID: id, Product: "day-curve", Day: day, Year: 2018, Rho: rho, Cap: limit}
}

func reserve(t testing.TB, s *store.Store, r release.Reservation) error {
	t.Helper()
	return s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Reserve(ctx, r) })
}

// However many reserve at once, a year never spends more than its cap, and spends
// all of it that fits. It would catch a sum that is read before it is locked.
func TestBudgetAtOnce(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		const callers, each, rho, limit = 8, 8, 18_000_000, 500_000_000 // room for 27 of 64
		var granted atomic.Int64
		for d := range callers {
			closing(t, s, day0+meter.Day(d))
		}
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					err := reserve(t, s, reservation(fmt.Sprintf("%d/%d", c, i), day0+meter.Day(c), rho, limit))
					switch {
					case err == nil:
						granted.Add(1)
					case !errors.Is(err, release.ErrOverBudget):
						t.Errorf("reserving: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if n := granted.Load(); n != limit/rho {
			t.Errorf("%d reservations, want %d", n, limit/rho)
		}
		charges, err := s.ChargesOf(t.Context(), 2018)
		must(t, err)
		if int64(len(charges)) != granted.Load() || charges[0].Rho != rho {
			t.Errorf("%d charges, want what was granted", len(charges))
		}
	})
}

// The rules of a reservation, in order: each line may have spent what the lines
// before it left.
func TestBudgetRules(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		for d := range meter.Day(4) {
			closing(t, s, day0+d)
		}
		window(t, s, day0+9)
		for _, test := range []struct {
			name string
			r    release.Reservation
			want error
		}{
			{"first", reservation("a", day0, 100, 1000), nil},
			{"the same again", reservation("a", day0, 100, 1000), store.ErrConflict},
			{"another attempt", reservation("b", day0, 100, 1000), nil},
			{"nothing", reservation("c", day0, 0, 1000), store.ErrConflict},
			{"more than is left", reservation("d", day0, 801, 1000), release.ErrOverBudget},
			{"the cap does not rise", reservation("d", day0, 801, 5000), release.ErrOverBudget},
			{"all that is left under a lower cap", reservation("d", day0+1, 300, 500), nil},
			{"nothing left under the lower cap", reservation("e", day0+1, 1, 500), release.ErrOverBudget},
			{"a cap below what was spent", reservation("e", day0+1, 1, 100), release.ErrOverBudget},
			{"more than the cap", reservation("e", day0+1, dp.Rho(1<<63), 1000), release.ErrOverBudget},
			{"open window", reservation("f", day0+9, 1, 1000), release.ErrWindowClosed},
			{"no window", reservation("g", day0+10, 1, 1000), release.ErrWindowClosed},
			{"the rest", reservation("h", day0+2, 500, 1000), nil},
			{"one too many", reservation("i", day0+2, 1, 1000), release.ErrOverBudget},
			{"another year", release.Reservation{ID: "j", Product: "other", Day: day0 + 3, Year: 2019, Rho: 7, Cap: 7}, nil},
		} {
			if err := reserve(t, s, test.r); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
		charges, err := s.ChargesOf(t.Context(), 2018)
		must(t, err)
		var got []string
		for _, c := range charges {
			got = append(got, fmt.Sprint(c.ID, " ", c.Product, " ", int(c.Day-day0), " ", uint64(c.Rho)))
		}
		want := []string{"a day-curve 0 100", "b day-curve 0 100", "d day-curve 1 300", "h day-curve 2 500"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("charged (-want +got):\n%s", d)
		}
		// What was charged before charges were recorded opens no leaf.
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.Exec(ctx, `UPDATE budget_spends SET leaf_index = NULL`)
		})
		if old, err := s.ChargesOf(t.Context(), 2018); err != nil || len(old) != len(charges) || old[0].Payload != nil {
			t.Errorf("%d charges without a leaf, %v", len(old), err)
		}
		w, err := s.Window(t.Context(), day0)
		must(t, err)
		if w.Attempts != 2 {
			t.Errorf("%d attempts, want those that were granted: 2", w.Attempts)
		}
	})
}

// A window only moves forward, one step at a time, and what it held is gone when
// it is closed. It would catch a day that is published twice, or a key that
// outlives its window.
func TestWindowLife(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		if _, err := s.Window(ctx, day0); !errors.Is(err, release.ErrNotFound) {
			t.Errorf("a window that is not there: %v", err)
		}
		if _, err := s.LastWindow(ctx); !errors.Is(err, release.ErrNotFound) {
			t.Errorf("the last of no windows: %v", err)
		}
		if err := s.BeginClosing(ctx, day0); !errors.Is(err, release.ErrNotFound) {
			t.Errorf("closing a window that is not there: %v", err)
		}
		window(t, s, day0)
		window(t, s, day0+1)
		must(t, s.PutWindow(ctx, release.Window{Day: day0, State: release.WindowOpen, PublicKey: []byte("another"), WrappedPrivate: []byte("x")}))
		w, err := s.Window(ctx, day0)
		must(t, err)
		want := release.Window{Day: day0, State: release.WindowOpen, PublicKey: []byte{1}, WrappedPrivate: []byte{2}}
		if d := cmp.Diff(want, w); d != "" {
			t.Errorf("window (-first put +read):\n%s", d)
		}
		wr := newWriter(1)
		b := batch("a")
		for d := day0; d < day0+2; d++ {
			b.Spool = append(b.Spool, wr.spool(d))
			b.SpoolKeys = append(b.SpoolKeys, wr.spoolKey(d))
		}
		stored(t, s, b)

		move := func(from, to release.WindowState) error {
			return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.MoveWindow(ctx, day0, from, to) })
		}
		for _, step := range []struct {
			name string
			do   func() error
			want error
		}{
			{"giving up an open window", func() error { return s.GiveUp(ctx, day0) }, release.ErrWindowClosed},
			{"publishing an open window", func() error { return move(release.WindowClosing, release.WindowPublished) }, release.ErrWindowClosed},
			{"closing", func() error { return s.BeginClosing(ctx, day0) }, nil},
			{"closing again", func() error { return s.BeginClosing(ctx, day0) }, nil},
			{"ending before publishing", func() error { return s.EndClosing(ctx, day0) }, release.ErrWindowClosed},
			{"publishing", func() error { return move(release.WindowClosing, release.WindowPublished) }, nil},
			{"publishing again", func() error { return move(release.WindowClosing, release.WindowPublished) }, release.ErrWindowClosed},
			{"closing a published window", func() error { return s.BeginClosing(ctx, day0) }, release.ErrWindowClosed},
			{"ending", func() error { return s.EndClosing(ctx, day0) }, nil},
			{"ending again", func() error { return s.EndClosing(ctx, day0) }, nil},
		} {
			if err := step.do(); !errors.Is(err, step.want) {
				t.Errorf("%s: %v, want %v", step.name, err, step.want)
			}
		}
		w, err = s.Window(ctx, day0)
		must(t, err)
		if w.State != release.WindowClosed || w.WrappedPrivate != nil {
			t.Errorf("a closed window: %+v, want no private key", w)
		}
		keys, err := s.SpoolKeys(ctx, day0)
		must(t, err)
		if len(keys) != 0 || len(spooled(t, s, day0)) != 0 || len(spooled(t, s, day0+1)) != 1 {
			t.Error("the closed window's spool, and it alone, should be gone")
		}
		live, err := s.Windows(ctx)
		must(t, err)
		last, err := s.LastWindow(ctx)
		must(t, err)
		if len(live) != 1 || live[0].Day != day0+1 || last != day0+1 {
			t.Errorf("live windows %+v, last %s, want the second alone", live, last)
		}
	})
}

// SpoolRecords ends with its reader's error.
func TestSpoolReaderStops(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		window(t, s, day0)
		w := newWriter(1)
		b := batch("a")
		b.Spool = []seal.SpoolRecord{w.spool(day0), w.spool(day0)}
		stored(t, s, b)
		stop, n := errors.New("stop"), 0
		err := s.SpoolRecords(t.Context(), day0, func(seal.SpoolRecord) error { n++; return stop })
		if !errors.Is(err, stop) || n != 1 {
			t.Errorf("%d records, %v, want one and the reader's error", n, err)
		}
	})
}

// Releases are listed newest first, in pages, and opened with what proves them.
func TestReleases(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.CreateLedger(ctx, origin))
		nonce := ledger.Hash{7}
		for i := range 5 {
			day := day0 + meter.Day(i/2)
			p := release.Published{
				ID: fmt.Sprintf("p%d/%s", i%2, day), Product: fmt.Sprint("p", i%2), Day: day,
				Body: []byte(`{"x":1}`), Signature: []byte{1}, PublicKey: []byte{2}, LeafIndex: uint64(i),
			}
			append2(t, s, ledger.Entry{RequestID: p.ID, Payload: fmt.Append(nil, "payload ", i), Nonce: nonce, Kind: ledger.KindRelease})
			do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.PutRelease(ctx, p) })
			err := s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.PutRelease(ctx, p) })
			if !errors.Is(err, store.ErrConflict) {
				t.Errorf("publishing again: %v, want ErrConflict", err)
			}
		}
		id := "p1/" + (day0 + 1).String()
		got, err := s.PublishedRelease(ctx, id)
		must(t, err)
		want := store.Release{
			Published: release.Published{
				ID: id, Product: "p1", Day: day0 + 1, Body: []byte(`{"x":1}`), Signature: []byte{1}, PublicKey: []byte{2}, LeafIndex: 3,
			},
			Payload: []byte("payload 3"), Nonce: nonce,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("release (-want +got):\n%s", d)
		}
		if _, err := s.PublishedRelease(ctx, "nothing"); !errors.Is(err, release.ErrNotFound) {
			t.Errorf("a release that is not there: %v", err)
		}
		var ids []uint64
		for page, more := "", true; more; more = page != "" {
			list, next, err := s.ListReleases(ctx, page, 2)
			must(t, err)
			for _, r := range list {
				ids = append(ids, r.LeafIndex)
			}
			page = next
		}
		if d := cmp.Diff([]uint64{4, 3, 2, 1, 0}, ids); d != "" {
			t.Errorf("listed (-want +got):\n%s", d)
		}
	})
}
