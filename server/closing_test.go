package server

import (
	"context"
	"crypto/ed25519"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// pastWatermark is when the day before the tests' morning has closed.
var pastWatermark = yesterday.AddDate(0, 0, 1).Add(36*time.Hour + time.Minute)

// writersOf lists the writers of a household's blocks, in the order of blocks.
func (w *town) writersOf(point string) map[seal.WriterID]ed25519.PublicKey {
	w.t.Helper()
	blocks, err := w.store.Blocks(w.t.Context(), consent.Household(w.homes[point].GetHousehold()), []meter.UsagePoint{meter.UsagePoint(point)}, nil, 0, meter.DayOf(pastWatermark.Unix()))
	ok(w.t, err)
	out := map[seal.WriterID]ed25519.PublicKey{}
	for _, b := range blocks {
		out[b.Writer] = b.WriterKey
	}
	return out
}

// A day closes: it is published with its leaf and its signature, once. What comes
// for it later is the household's all the same, sealed by another writer since
// the first has forgotten the day, and changes nothing of what is public.
func TestLateData(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.keep(batch("b-1", day(home, yesterday, 1)))
		w.clock.set(pastWatermark)
		ok(t, w.hub.Tend(t.Context()))
		id := "day-curve/" + meter.DayOf(yesterday.Unix()).String()
		published, err := w.public().GetRelease(t.Context(), &wattveilv1.GetReleaseRequest{Id: id})
		ok(t, err)
		if _, err := release.Verify(ed25519.PublicKey(published.GetPublicKey()), []byte(published.GetBody()), published.GetSignature()); err != nil {
			t.Error(err)
		}
		budget, err := w.public().GetBudget(t.Context(), &wattveilv1.GetBudgetRequest{Year: 2026})
		ok(t, err)
		w.paid(budget, published, meter.DayOf(yesterday.Unix()))

		w.keep(batch("b-2", day(nextDoor, yesterday, 500), revised(1, series(home, yesterday, 77))))
		if a, b := w.writersOf(home), w.writersOf(nextDoor); len(a) != 2 || len(b) != 1 {
			t.Errorf("%d writers sealed for one home, %d for the other; want 2 and 1", len(a), len(b))
		}
		c, _ := w.signIn(w.homes[nextDoor])
		if got := w.own(c, nextDoor, yesterday, morning); len(got) != 96 || got[yesterday.Unix()] != 500 {
			t.Errorf("read %d of 96 intervals", len(got))
		}
		c, _ = w.signIn(w.homes[home])
		if got := w.own(c, home, yesterday, morning); got[yesterday.Unix()] != 77 || got[yesterday.Unix()+900] != 2 {
			t.Errorf("read %d and %d", got[yesterday.Unix()], got[yesterday.Unix()+900])
		}

		ok(t, w.hub.Tend(t.Context()))
		w.restart()
		ok(t, w.hub.Tend(t.Context()))
		again, err := w.public().GetRelease(t.Context(), &wattveilv1.GetReleaseRequest{Id: id})
		ok(t, err)
		if again.GetBody() != published.GetBody() || again.GetLeafIndex() != published.GetLeafIndex() {
			t.Error("a closed day was published again")
		}
		if b, err := w.public().GetBudget(t.Context(), &wattveilv1.GetBudgetRequest{Year: 2026}); err != nil || b.GetSpentNanoRho() != budget.GetSpentNanoRho() {
			t.Errorf("budget spent %d, was %d (%v)", b.GetSpentNanoRho(), budget.GetSpentNanoRho(), err)
		}
	})
}

// paid fails unless everybody can see that a release was paid for, once, before it
// was published, and that the charges are all that the year has spent.
func (w *town) paid(budget *wattveilv1.GetBudgetResponse, published *wattveilv1.GetReleaseResponse, day meter.Day) {
	w.t.Helper()
	var sum uint64
	times := 0
	for _, c := range budget.GetCharges() {
		sum += c.GetNanoRho()
		leaves, err := w.store.ReadLeaves(w.t.Context(), c.GetLeafIndex(), c.GetLeafIndex()+1)
		ok(w.t, err)
		p, err := ledger.DecodePayload(c.GetPayload())
		ok(w.t, err)
		if ledger.Commit(ledger.Hash(c.GetNonce()), c.GetPayload()) != leaves[0].Commitment || leaves[0].Class != ledger.ClassRelease ||
			p.Kind != ledger.KindBudgetSpend || meter.Day(p.Day).String() != c.GetDay() || p.RhoNano != c.GetNanoRho() ||
			len(c.GetDays()) == 0 || c.GetDayNanoRho() == 0 {
			w.t.Errorf("charge %v opens to %+v", c, p)
		}
		if meter.Day(p.Day) == day && c.GetLeafIndex() < published.GetLeafIndex() {
			times++
		}
	}
	if times != 1 || sum != budget.GetSpentNanoRho() {
		w.t.Errorf("the day was paid for %d times; %d charged of %d spent", times, sum, budget.GetSpentNanoRho())
	}
}

// Every writer stands in the ledger, with its key, before its first block is
// stored; one that cannot be written there seals nothing. It catches blocks of
// which nobody can say who sealed them.
func TestWritersAreRegisteredFirst(t *testing.T) {
	w := newTown(t, onSQLite(t))
	digests := func() (ds []ledger.Hash) {
		for _, e := range w.events(w.regulator, string(ledger.KindAdmin)) {
			got, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
			ok(t, err)
			if p := w.proven(got.GetReceipt()); strings.HasPrefix(p.Detail, "writer ") {
				ds = append(ds, p.Digest)
			}
		}
		return ds
	}
	if n := len(digests()); n != 1 {
		t.Fatalf("%d writers registered before the first reading, want 1", n)
	}
	w.keep(batch("b-1", series(home, yesterday, 1)))
	w.clock.set(pastWatermark)
	ok(t, w.hub.Tend(t.Context()))
	w.keep(batch("b-2", series(home, yesterday, 1)))
	registered := digests()
	if len(registered) != 2 {
		t.Errorf("%d writers registered, want 2", len(registered))
	}
	for id, key := range w.writersOf(home) {
		if !slices.Contains(registered, writerDigest(id, key)) {
			t.Errorf("writer %x is not in the ledger", id)
		}
	}

	// The ledger is closed: the next writer cannot be registered.
	w.hub.sequencer.Close()
	w.hub.writers.current.Forget(1 << 30)
	answers, err := submit(t.Context(), w.utility, batch("b-3", series(home, yesterday, 2)))
	if err == nil || len(answers) != 0 {
		t.Errorf("acknowledged without a writer that is registered: %v", err)
	}
	if n := w.slots(w.utility, home); n != 2 {
		t.Errorf("%d slots", n)
	}
}

// What is forgotten when the watermark has passed, and how often: a hub that takes
// in a backlog does not begin a writer each time it looks at the clock.
func TestForgetsOnceADay(t *testing.T) {
	w := newTown(t, onSQLite(t))
	old := yesterday.AddDate(0, 0, -20) // long closed: no window, keys all the same
	writers := map[seal.WriterID]bool{}
	sendOld := func(id string) {
		w.keep(batch(id, series(home, old, 1)))
		writers[w.hub.writers.current.ID()] = true
	}
	sendOld("b-1")
	ok(t, w.hub.Tend(t.Context()))
	sendOld("b-2") // the first was forgotten: a new one
	for _, id := range []string{"b-3", "b-4", "b-5"} {
		w.clock.add(30 * time.Second)
		ok(t, w.hub.Tend(t.Context()))
		sendOld(id)
	}
	if len(writers) != 2 {
		t.Errorf("%d writers, want 2", len(writers))
	}
	w.clock.add(24 * time.Hour)
	ok(t, w.hub.Tend(t.Context()))
	sendOld("b-6")
	if len(writers) != 3 {
		t.Errorf("%d writers on the next day, want 3", len(writers))
	}
}

// The first accepted stays first when another writer takes over, though the clock
// stands still.
func TestAcceptanceIsOrderedAcrossWriters(t *testing.T) {
	w := newTown(t, onSQLite(t))
	for _, id := range []string{"b-1", "b-2", "b-3"} {
		w.keep(batch(id, series(home, yesterday, 1)))
	}
	w.keep(batch("b-4", series(home, yesterday.Add(time.Hour), 10)))
	w.hub.writers.current.Forget(1 << 30)
	w.keep(batch("b-5", series(home, yesterday.Add(time.Hour), 20)))
	c, _ := w.signIn(w.homes[home])
	if got := w.own(c, home, yesterday.Add(time.Hour), morning); !maps.Equal(got, map[int64]int64{yesterday.Unix() + 3600: 10}) {
		t.Errorf("read %v, want what was accepted first", got)
	}
}

// closesUnder forgets a day's keys when the window of a later one is asked for:
// after the blocks of both are sealed.
type closesUnder struct {
	windowKeys
	writers *writers
	day     meter.Day
	times   int
}

func (c *closesUnder) WindowFor(ctx context.Context, day meter.Day) (meter.Day, seal.PublicKey, error) {
	if day > c.day && c.times > 0 {
		c.times--
		c.writers.current.Forget(c.day + 1)
	}
	return c.windowKeys.WindowFor(ctx, day)
}

// A day closes and its keys are forgotten between the sealing of a batch and its
// storing: the batch is sealed again, by another writer, and stored once. It
// catches a stream that ends because a day did.
func TestDayClosesUnderABatch(t *testing.T) {
	w := newTown(t, onSQLite(t))
	old := yesterday.AddDate(0, 0, -5)
	b := batch("b-1", series(home, old, 1), series(home, yesterday, 2))
	w.hub.meter.preparer.windows = &closesUnder{w.hub.releases, w.hub.writers, meter.DayOf(old.Unix()), sealAttempts}
	_, err := submit(t.Context(), w.utility, b)
	refused(t, err, codes.Unavailable, "store_busy") // days do not close as fast as that
	w.hub.meter.preparer.windows = &closesUnder{w.hub.releases, w.hub.writers, meter.DayOf(old.Unix()), 1}
	w.keep(b)
	c, _ := w.signIn(w.homes[home])
	if got := w.own(c, home, movedIn, morning); !maps.Equal(got, map[int64]int64{old.Unix(): 1, yesterday.Unix(): 2}) {
		t.Errorf("read %v", got)
	}
	if n := w.slots(w.utility, home); n != 2 {
		t.Errorf("%d slots", n)
	}
}

// closesAfter begins to close a day's window when ingest has asked for it: after the
// batch's contributions are sealed to it, and before they are stored.
type closesAfter struct {
	windowKeys
	close func(meter.Day)
	times int
}

func (c *closesAfter) WindowFor(ctx context.Context, day meter.Day) (meter.Day, seal.PublicKey, error) {
	window, key, err := c.windowKeys.WindowFor(ctx, day)
	if err == nil && c.times > 0 {
		c.times--
		c.close(window)
	}
	return window, key, err
}

// closesAfter lets windows close under the next batch, so many times.
func (w *town) closesAfter(times int) {
	begin := func(day meter.Day) { ok(w.t, w.store.BeginClosing(w.t.Context(), day)) }
	w.hub.meter.preparer.windows = &closesAfter{w.hub.releases, begin, times}
}

// Where windows close faster than a batch is sealed again, which only broken clocks can
// make them do, nothing of it is stored and its sender is told to come back.
func TestWindowsCloseAsFastAsABatch(t *testing.T) {
	w := newTown(t, onSQLite(t))
	b := batch("b-1", series(home, yesterday, 1))
	w.closesAfter(sealAttempts)
	_, err := submit(t.Context(), w.utility, b)
	refused(t, err, codes.Unavailable, "store_busy")
	if n := w.slots(w.utility, home); n != 0 {
		t.Errorf("%d slots are stored of a batch that was not", n)
	}
	w.keep(b)
	if n := w.slots(w.utility, home); n != 1 {
		t.Errorf("%d slots, want 1", n)
	}
}

// A window closes between the preparing of a batch and its storing: its readings are
// stored once, and what they contribute to the month goes to the next window that is
// open, and to none twice. It catches a home that is in no total, though its readings
// came in time.
func TestAWindowClosesUnderABatch(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		b := batch("b-1", series(home, yesterday, 1))
		w.closesAfter(1)
		w.keep(b)
		if resp, err := submit(t.Context(), w.utility, b); err != nil || !resp["b-1"].GetDuplicate() {
			t.Errorf("sent again: %v, %v", resp, err)
		}
		spooled := map[meter.Day]int{}
		for d := meter.DayOf(yesterday.Unix()); d < meter.DayOf(morning.Unix())+2; d++ {
			ok(t, w.store.SpoolRecords(t.Context(), d, func(seal.SpoolRecord) error { spooled[d]++; return nil }))
		}
		if want := map[meter.Day]int{meter.DayOf(yesterday.Unix()) + 1: 1}; !maps.Equal(spooled, want) {
			t.Errorf("spooled %v, want %v", spooled, want)
		}
		if n := w.slots(w.utility, home); n != 1 {
			t.Errorf("%d slots, want 1", n)
		}
	})
}

// One batch in a transaction that cannot be stored does not take the others with
// it, and neither does a panic.
func TestOneBadBatchInAGroup(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		prepare := func(id string, s *wattveilv1.Series) *waiting {
			p, err := w.hub.meter.preparer.prepare(t.Context(), utility, batch(id, s))
			ok(t, err)
			return &waiting{ctx: t.Context(), p: p, result: make(chan committed, 1)}
		}
		good, bad, fine := prepare("b-1", series(home, yesterday, 1)), prepare("b-2", series(home, yesterday, 2)), prepare("b-3", series(nextDoor, yesterday, 3))
		bad.p.batch.Blocks = append(bad.p.batch.Blocks, bad.p.batch.Blocks[0]) // one nonce twice
		panics := prepare("b-4", series(home, yesterday, 4))
		panics.p.writer = nil
		w.hub.committer.storeGroup([]*waiting{good, bad, fine, panics})
		for what, c := range map[string]struct {
			w    *waiting
			kept bool
		}{"good": {good, true}, "bad": {bad, false}, "fine": {fine, true}, "panics": {panics, false}} {
			r := <-c.w.result
			if kept := r.err == nil && r.outcome.Result == store.Stored; kept != c.kept {
				t.Errorf("%s: %v", what, r.err)
			}
			if out, _ := toStatus(r.err); !c.kept {
				refused(t, out, codes.Internal, "internal")
			}
		}
		if n := w.slots(w.utility, home) + w.slots(w.utility, nextDoor); n != 2 {
			t.Errorf("%d slots", n)
		}
	})
}
