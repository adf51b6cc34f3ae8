package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// day0 is a UTC day; the store does not care which.
const day0 meter.Day = 17832

// writer counts like seal.Writer: a number of its own for all it makes. What it
// makes is not sealed: the store looks into nothing.
type writer struct {
	id  seal.WriterID
	seq uint64
}

func newWriter(n byte) *writer { return &writer{id: seal.WriterID{0: n, 15: 0xff}} }

func (w *writer) next() uint64 { w.seq++; return w.seq }

func (w *writer) block(h consent.Household, p meter.UsagePoint, day meter.Day) seal.Block {
	return seal.Block{
		Household: h, Generation: 1, UsagePoint: p, Register: meter.ActiveImport,
		Start: day.Start(), Length: 900, Count: 96, Revision: 4_000_000_000, Day: day,
		Writer: w.id, Seq: w.next(), Ciphertext: text("block", w.seq), Signature: text("signature", w.seq),
	}
}

func (w *writer) wrap(h consent.Household, day meter.Day) seal.DayKeyWrap {
	return seal.DayKeyWrap{Household: h, Generation: 1, Day: day, Writer: w.id, Seq: w.next(), Sealed: text("wrap", w.seq), Signature: text("signature", w.seq)}
}

func (w *writer) spoolKey(day meter.Day) seal.SpoolKeyWrap {
	return seal.SpoolKeyWrap{Day: day, Writer: w.id, Seq: w.next(), Sealed: text("spool key", w.seq), Signature: text("signature", w.seq)}
}

func (w *writer) spool(day meter.Day) seal.SpoolRecord {
	return seal.SpoolRecord{Day: day, Writer: w.id, Seq: w.next(), Ciphertext: text("spool", w.seq)}
}

// text is bytes that no text column would bear, told apart by n.
func text(what string, n uint64) []byte {
	return fmt.Appendf([]byte{0, 0xff, '\\', '\n', '\t'}, "%s %d", what, n)
}

// register makes the writer known, so that its blocks are found.
func (w *writer) register(t testing.TB, s *store.Store) {
	do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.PutWriter(ctx, w.id, make([]byte, 32), 1, 0) })
}

// batch names a batch by its content.
func batch(id string) store.Batch {
	return store.Batch{Utility: "utility", ID: id, MAC: [32]byte{1}, AcceptedAt: 1_540_000_000_000_000, Intervals: 96, Refused: 2}
}

func window(t testing.TB, s *store.Store, day meter.Day) {
	t.Helper()
	must(t, s.PutWindow(t.Context(), release.Window{Day: day, State: release.WindowOpen, PublicKey: []byte{1}, WrappedPrivate: []byte{2}}))
}

func results(outcomes []store.BatchOutcome) (out []store.Result) {
	for _, o := range outcomes {
		out = append(out, o.Result)
	}
	return out
}

// What is committed is read back, whole. It would catch a column that is
// forgotten, cut short, mangled on its way through COPY, or mapped to its
// neighbour.
func TestBatchIsReadBack(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		w.register(t, s)
		window(t, s, day0)
		b := batch("one")
		// Days far back have a partition, too, and days before 1970.
		for _, day := range []meter.Day{-3, 400, day0, day0 + 40} {
			b.Blocks = append(b.Blocks, w.block("h", "p", day))
			b.Wraps = append(b.Wraps, w.wrap("h", day))
		}
		b.Spool = []seal.SpoolRecord{w.spool(day0)}
		b.SpoolKeys = []seal.SpoolKeyWrap{w.spoolKey(day0)}
		stored(t, s, b)

		blocks, err := s.Blocks(t.Context(), "h", []meter.UsagePoint{"p"}, nil, -100, day0+100)
		must(t, err)
		var got []seal.Block
		for _, b := range blocks {
			got = append(got, b.Block)
		}
		if d := cmp.Diff(b.Blocks, got); d != "" {
			t.Errorf("blocks (-stored +read):\n%s", d)
		}
		wraps, err := s.DayKeyWraps(t.Context(), "h", -100, day0+100)
		must(t, err)
		if d := cmp.Diff(b.Wraps, wraps); d != "" {
			t.Errorf("wraps (-stored +read):\n%s", d)
		}
		keys, err := s.SpoolKeys(t.Context(), day0)
		must(t, err)
		if d := cmp.Diff(b.SpoolKeys, keys); d != "" {
			t.Errorf("spool keys (-stored +read):\n%s", d)
		}
		if d := cmp.Diff(b.Spool, spooled(t, s, day0)); d != "" {
			t.Errorf("spool (-stored +read):\n%s", d)
		}
	})
}

func spooled(t testing.TB, s *store.Store, day meter.Day) (records []seal.SpoolRecord) {
	t.Helper()
	must(t, s.SpoolRecords(t.Context(), day, func(r seal.SpoolRecord) error {
		records = append(records, r)
		return nil
	}))
	slices.SortFunc(records, func(a, b seal.SpoolRecord) int { return int(a.Seq) - int(b.Seq) })
	return records
}

// count returns how many rows a table has.
func count(t testing.TB, s *store.Store, table string) (n int) {
	t.Helper()
	must(t, s.QueryRow(t.Context(), `SELECT count(*) FROM `+table, nil, &n))
	return n
}

// A batch is stored once, whoever sends it how often; its name with other content
// is told apart; the wraps are kept whatever comes of it. It would catch readings
// that count twice, and a group whose later batch loses the key that its first,
// repeated, batch carried.
func TestBatchOnce(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		window(t, s, day0)
		full := func(id string, mac byte) store.Batch {
			b := batch(id)
			b.MAC = [32]byte{31: mac}
			b.Blocks = []seal.Block{w.block("h", "p", day0)}
			b.Wraps = []seal.DayKeyWrap{w.wrap("h", day0)}
			b.SpoolKeys = []seal.SpoolKeyWrap{w.spoolKey(day0)}
			b.Spool = []seal.SpoolRecord{w.spool(day0)}
			return b
		}
		stored(t, s, full("a", 1))

		elsewhere := full("a", 1)
		elsewhere.Utility = "other" // another utility's names are its own
		otherwise := full("a", 1)
		otherwise.AnswerMAC = [32]byte{1} // something is refused that was not, or the reverse
		outcomes, err := s.CommitBatches(t.Context(), []store.Batch{
			full("b", 1), full("a", 1), full("b", 1), full("a", 2), full("b", 2), full("c", 1), elsewhere, full("a", 2), otherwise,
		})
		must(t, err)
		want := []store.Result{
			store.Stored, store.Duplicate, store.Duplicate, store.Differs, store.Differs, store.Stored, store.Stored, store.Differs, store.Changed,
		}
		if got := results(outcomes); !slices.Equal(got, want) {
			t.Errorf("results %v, want %v", got, want)
		}
		for table, want := range map[string]int{"batches": 4, "blocks": 4, "spool": 4, "day_keys": 10, "spool_keys": 10} {
			if got := count(t, s, table); got != want {
				t.Errorf("%s holds %d rows, want %d", table, got, want)
			}
		}
	})
}

// The same call again, as after an unknown outcome, is found out and stores
// nothing, not even the wraps that are there already. It would catch a retry that
// trips over its own first attempt.
func TestBatchSentAgainAsItWas(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		window(t, s, day0)
		b := batch("a")
		b.Blocks = []seal.Block{w.block("h", "p", day0)}
		b.Wraps = []seal.DayKeyWrap{w.wrap("h", day0)}
		b.SpoolKeys = []seal.SpoolKeyWrap{w.spoolKey(day0)}
		b.Spool = []seal.SpoolRecord{w.spool(day0)}
		stored(t, s, b)
		for range 2 {
			outcomes, err := s.CommitBatches(t.Context(), []store.Batch{b})
			must(t, err)
			if outcomes[0].Result != store.Duplicate {
				t.Errorf("result %d, want Duplicate", outcomes[0].Result)
			}
		}
		for _, table := range []string{"batches", "blocks", "spool", "day_keys", "spool_keys"} {
			if got := count(t, s, table); got != 1 {
				t.Errorf("%s holds %d rows, want 1", table, got)
			}
		}
	})
}

// Calls that run at once and share batches store each once. It would catch a
// look-up that is not a lock, and locks taken in different orders.
func TestBatchesAtOnce(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		const callers, names = 8, 40
		window(t, s, day0)
		var mu sync.Mutex
		storedBy := map[string]int{}
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				w := newWriter(byte(c))
				var batches []store.Batch
				for i := range names {
					b := batch(fmt.Sprintf("b%02d", (i*7+c*13)%names)) // every caller in another order
					b.Blocks = []seal.Block{w.block("h", "p", day0)}
					b.Wraps = []seal.DayKeyWrap{w.wrap("h", day0)}
					b.SpoolKeys = []seal.SpoolKeyWrap{w.spoolKey(day0)}
					b.Spool = []seal.SpoolRecord{w.spool(day0)}
					batches = append(batches, b)
				}
				for group := range slices.Chunk(batches, 5) {
					outcomes, err := s.CommitBatches(t.Context(), group)
					if err != nil {
						t.Errorf("committing: %v", err)
						return
					}
					mu.Lock()
					for i, o := range outcomes {
						if o.Result == store.Stored {
							storedBy[group[i].ID]++
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for id, n := range storedBy {
			if n != 1 {
				t.Errorf("batch %s was stored %d times", id, n)
			}
		}
		for table, want := range map[string]int{"batches": names, "blocks": names, "spool": names, "day_keys": callers * names} {
			if got := count(t, s, table); got != want {
				t.Errorf("%s holds %d rows, want %d", table, got, want)
			}
		}
	})
}

// A nonce used twice is refused by the key of the table, whatever the program
// did. It would catch a writer whose counter went back.
func TestNonceTwice(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		first, second := batch("a"), batch("b")
		first.Blocks = []seal.Block{w.block("h", "p", day0)}
		w.seq--
		second.Blocks = []seal.Block{w.block("h", "p", day0)}
		stored(t, s, first)
		if _, err := s.CommitBatches(t.Context(), []store.Batch{second}); err == nil {
			t.Error("a second block under one nonce was stored")
		}
		if n := count(t, s, "batches"); n != 1 {
			t.Errorf("%d batches, want that nothing of the refused one remains", n)
		}
	})
}

// Contributions enter open windows and no other: a batch with one for a window that
// is not open is given back whole, with all that bear its name, and its name is free.
// It would catch a late reading in a day that is being summed up, and one that is
// stored and lost for the month that is still open.
func TestLateContributions(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		for d := day0; d < day0+3; d++ {
			window(t, s, d)
		}
		must(t, s.BeginClosing(t.Context(), day0+1))
		b := batch("a")
		for _, d := range []meter.Day{day0 + 3, day0, day0 + 1, day0 + 2} { // the last has no window at all
			b.Blocks = append(b.Blocks, w.block("h", "p", d))
			b.SpoolKeys = append(b.SpoolKeys, w.spoolKey(d))
			b.Spool = append(b.Spool, w.spool(d))
		}
		other := batch("other")
		other.Blocks = []seal.Block{w.block("h", "p", day0)}
		outcomes, err := s.CommitBatches(t.Context(), []store.Batch{b, b, other})
		must(t, err)
		late := store.BatchOutcome{Result: store.Late, LateDays: []meter.Day{day0 + 1, day0 + 3}}
		if d := cmp.Diff([]store.BatchOutcome{late, late, {Result: store.Stored}}, outcomes); d != "" {
			t.Errorf("outcome (-want +got):\n%s", d)
		}
		wantRows := func(records, blocks, batches int) {
			t.Helper()
			for d, want := range map[meter.Day]int{day0: records, day0 + 1: 0, day0 + 2: records, day0 + 3: 0} {
				keys, err := s.SpoolKeys(t.Context(), d)
				must(t, err)
				if got := len(spooled(t, s, d)); got != want || len(keys) > 1 {
					t.Errorf("%s: %d records and %d keys, want %d", d, got, len(keys), want)
				}
			}
			if b, n := count(t, s, "blocks"), count(t, s, "batches"); b != blocks || n != batches {
				t.Errorf("%d blocks of %d batches, want %d of %d", b, n, blocks, batches)
			}
		}
		wantRows(0, 1, 1)
		b.Spool = []seal.SpoolRecord{w.spool(day0), w.spool(day0 + 2)} // sealed again
		b.SpoolKeys = nil
		stored(t, s, b)
		wantRows(1, 5, 2)
	})
}

// While batches are being stored a window closes: the sum it gives is what the
// spool holds when BeginClosing returns, for good. It would catch a contribution
// that slips in behind the closing.
func TestClosingWhileStoring(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		window(t, s, day0)
		started := make(chan struct{}, 100)
		closed := make(chan struct{})
		var late int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for c := range 4 {
			wg.Go(func() {
				w := newWriter(byte(c))
				for i := 0; ; i++ {
					select {
					case <-closed:
						if i > 0 {
							return
						}
					default:
					}
					b := batch(fmt.Sprintf("%d-%d", c, i))
					b.Spool = []seal.SpoolRecord{w.spool(day0)}
					outcomes, err := s.CommitBatches(t.Context(), []store.Batch{b})
					if err != nil {
						t.Errorf("committing: %v", err)
						return
					}
					mu.Lock()
					if outcomes[0].Result == store.Late {
						late++
					}
					mu.Unlock()
					select {
					case started <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 20 {
			<-started
		}
		must(t, s.BeginClosing(t.Context(), day0))
		atClosing := len(spooled(t, s, day0))
		close(closed)
		wg.Wait()
		if n := len(spooled(t, s, day0)); n != atClosing {
			t.Errorf("%d records when closing began, %d later", atClosing, n)
		}
		if n := count(t, s, "batches"); n != atClosing {
			t.Errorf("%d batches, but %d contributions stored and %d late", n, atClosing, late)
		}
	})
}

// More rows than one statement takes, and many days at once, go in whole.
func TestLargeBatch(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		w.register(t, s)
		var batches []store.Batch
		for i := range 700 { // more than one statement's worth of names
			b := batch(fmt.Sprint(i))
			for j := range 3 {
				b.Blocks = append(b.Blocks, w.block("h", "p", day0+meter.Day(i+j)))
			}
			batches = append(batches, b)
		}
		stored(t, s, batches...)
		blocks, err := s.Blocks(t.Context(), "h", []meter.UsagePoint{"p"}, nil, day0, day0+2000)
		must(t, err)
		if len(blocks) != 2100 {
			t.Errorf("%d blocks, want 2100", len(blocks))
		}
		stored(t, s) // no batch at all
	})
}

// Blocks are chosen by household, usage point, register and day, both days
// included, and by nothing else.
func TestBlocksAreChosen(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		w.register(t, s)
		b := batch("a")
		for _, h := range []consent.Household{"h1", "h2"} {
			for _, p := range []meter.UsagePoint{"p1", "p2"} {
				for _, r := range []meter.Register{meter.ActiveImport, meter.ActiveExport} {
					for d := day0; d < day0+3; d++ {
						block := w.block(h, p, d)
						block.Register = r
						b.Blocks = append(b.Blocks, block)
					}
				}
			}
		}
		unknown := newWriter(2)
		b.Blocks = append(b.Blocks, unknown.block("h1", "p1", day0))
		stored(t, s, b)
		both := []meter.UsagePoint{"p1", "p2"}
		for _, test := range []struct {
			name        string
			points      []meter.UsagePoint
			registers   []meter.Register
			first, last meter.Day
			want        int
		}{
			{"one", both[:1], []meter.Register{meter.ActiveImport}, day0, day0, 1},
			{"both ends", both[:1], []meter.Register{meter.ActiveExport}, day0, day0 + 2, 3},
			{"all registers", both[:1], nil, day0, day0 + 2, 6},
			{"two of both", both, []meter.Register{meter.ActiveImport, meter.ActiveExport}, day0 + 1, day0 + 1, 4},
			{"no point", nil, nil, day0, day0 + 2, 0},
			{"no day", both, nil, day0 + 1, day0, 0},
			{"another point", []meter.UsagePoint{"p3"}, nil, day0, day0, 0},
		} {
			blocks, err := s.Blocks(t.Context(), "h1", test.points, test.registers, test.first, test.last)
			must(t, err)
			if len(blocks) != test.want {
				t.Errorf("%s: %d blocks, want %d", test.name, len(blocks), test.want)
			}
			for _, b := range blocks {
				if b.Household != "h1" || len(b.WriterKey) != 32 {
					t.Errorf("%s: a block of another household, or without its writer's key", test.name)
				}
			}
		}
		first, last, ok, err := s.DataDays(t.Context(), "h1")
		if err != nil || !ok || first != day0 || last != day0+2 {
			t.Errorf("days with data: %v to %v, %v, %v", first, last, ok, err)
		}
		if _, _, ok, err := s.DataDays(t.Context(), "nobody"); ok || err != nil {
			t.Errorf("days of nobody: %v, %v", ok, err)
		}
	})
}

// A utility is told what is stored of its own usage points and of no other's.
func TestCompleteness(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		occupy(t, s, consent.Occupancy{UsagePoint: "p1", Household: "h1", From: 0, Until: 100, Zone: "UTC", Node: "n"})
		occupy(t, s, consent.Occupancy{UsagePoint: "p1", Household: "h2", From: 100, Zone: "UTC", Node: "n"})
		must(t, s.PutUtilities(t.Context(), []store.Utility{{ID: "other", Name: "Other"}}))
		must(t, s.PutUsagePoints(t.Context(), []store.UsagePoint{{ID: "p2", Utility: "other", Node: "n", CapWatts: 1, Zone: "UTC"}}))
		w := newWriter(1)
		b := batch("a")
		b.Blocks = []seal.Block{
			w.block("h1", "p1", day0), w.block("h1", "p1", day0), w.block("h2", "p1", day0), w.block("h2", "p1", day0+1), w.block("h2", "p1", day0+2),
		}
		b.Blocks[1].Revision, b.Blocks[1].Count = 7, 4
		stored(t, s, b)
		for _, n := range []int{3, 5, 4} {
			must(t, s.PutConflict(t.Context(), "p1", day0, n, 1))
		}
		must(t, s.PutConflict(t.Context(), "p2", day0, 1, 1))
		must(t, s.PutConflict(t.Context(), "p1", day0+9, 1, 1))

		points := []meter.UsagePoint{"p1", "p2", "unknown"}
		days, conflicts, err := s.Completeness(t.Context(), "utility", points, day0, day0+1)
		must(t, err)
		wantDays := []store.DayCompleteness{
			{UsagePoint: "p1", Register: meter.ActiveImport, Day: day0, Slots: 96 + 4 + 96, Revision: 4_000_000_000},
			{UsagePoint: "p1", Register: meter.ActiveImport, Day: day0 + 1, Slots: 96, Revision: 4_000_000_000},
		}
		if d := cmp.Diff(wantDays, days); d != "" {
			t.Errorf("days (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]store.Conflict{{UsagePoint: "p1", Day: day0, Intervals: 5}}, conflicts); d != "" {
			t.Errorf("conflicts (-want +got):\n%s", d)
		}
		days, conflicts, err = s.Completeness(t.Context(), "other", points, day0, day0+1)
		must(t, err)
		if len(days) != 0 || len(conflicts) != 1 {
			t.Errorf("the other utility sees %d days and %d conflicts, want 0 and 1", len(days), len(conflicts))
		}
	})
}

// Writers are registered once, and their keys are found by id.
func TestWriters(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w := newWriter(1)
		w.register(t, s)
		err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.PutWriter(ctx, w.id, []byte("another key of thirty-two bytes."), 1, 0)
		})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("registering a writer again: %v, want ErrConflict", err)
		}
		keys, err := s.WriterKeys(t.Context(), []seal.WriterID{w.id, {9}, w.id})
		must(t, err)
		if d := cmp.Diff(map[seal.WriterID][]byte{w.id: make([]byte, 32)}, keys); d != "" {
			t.Errorf("keys (-want +got):\n%s", d)
		}
	})
}
