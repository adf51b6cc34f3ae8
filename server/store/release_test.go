package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
				AddPoint: func(t *testing.T, point meter.UsagePoint, at release.Place) {
					must(t, s.PutUtilities(t.Context(), []store.Utility{{ID: "utility", Name: "Utility"}}))
					must(t, s.PutUsagePoints(t.Context(), []store.UsagePoint{{ID: point, Utility: "utility", Node: at.Node, CapWatts: 69_000, Zone: "UTC", Tariff: at.Tariff}}))
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
					return outcomes[0].Result == store.Stored
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

// reservation charges one day of 2018, and as much to its year.
func reservation(id string, day meter.Day, rho, limit dp.Rho) release.Reservation {
	return release.Reservation{
		ID: id, Product: "day-curve", Window: day, Days: []meter.Day{day}, Rho: rho, DayRho: rho, Cap: limit, DayCap: limit,
	}
}

func reserve(t testing.TB, s *store.Store, r release.Reservation) error {
	t.Helper()
	return s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Reserve(ctx, r) })
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

		publish := func() error { return s.EndPublishing(ctx, day0, nil, nil) }
		for _, step := range []struct {
			name string
			do   func() error
			want error
		}{
			{"publishing an open window", publish, release.ErrWindowClosed},
			{"closing", func() error { return s.BeginClosing(ctx, day0) }, nil},
			{"closing again", func() error { return s.BeginClosing(ctx, day0) }, nil},
			{"ending before publishing", func() error { return s.EndClosing(ctx, day0) }, release.ErrWindowClosed},
			{"publishing", publish, nil},
			{"publishing again", publish, release.ErrWindowClosed},
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

// Releases are listed newest first, in pages, all or a product's, and opened with what proves them.
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
		for product, want := range map[string][]uint64{"": {4, 3, 2, 1, 0}, "p0": {4, 2, 0}, "p1": {3, 1}, "p2": nil} {
			var ids []uint64
			for page, more := "", true; more; more = page != "" {
				list, next, err := s.ListReleases(ctx, product, page, 2)
				must(t, err)
				for _, r := range list {
					ids = append(ids, r.LeafIndex)
				}
				page = next
			}
			if d := cmp.Diff(want, ids); d != "" {
				t.Errorf("listed of %q (-want +got):\n%s", product, d)
			}
		}
	})
}
