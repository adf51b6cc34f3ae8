package release_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
)

// at1 orders that do runs once, when a step is reached for the n-th time.
func (w *world) at1(step releasetest.Step, n int64, do func()) {
	var seen atomic.Int64
	f := func(s releasetest.Step) ledgertest.Fault {
		if s == step && seen.Add(1) == n {
			do()
		}
		return ledgertest.None
	}
	w.store.OnStep(f)
	w.keys.OnStep(f)
}

// Another process closes the whole day while this one stands before a step: this
// one publishes nothing, undoes nothing, and takes the day for closed. Each row
// would catch a step that goes by what was true before: a second release, a spool
// found empty and published as such, a day given up after it was published.
func TestAnotherProcessIsFaster(t *testing.T) {
	for _, test := range []struct {
		step  releasetest.Step
		n     int64
		spent int
	}{
		{releasetest.LastWindow, 1, 1},
		{releasetest.ListWindows, 1, 1},
		{releasetest.BeginClosing, 1, 1},
		{releasetest.ReadWindow, 1, 1},
		{releasetest.ListWindows, 2, 1},
		{releasetest.ReadNodes, 1, 1},
		{releasetest.Unwrap, 1, 1},
		{releasetest.SpoolKeys, 1, 1},
		{releasetest.WriterKeys, 1, 1},
		{releasetest.RunningSets, 1, 1},
		{releasetest.ReadHouseholds, 1, 1},
		{releasetest.SpoolRecords, 1, 1},
		{releasetest.PublishedAmong, 1, 1},
		{releasetest.CountAttempt, 1, 1},
		{releasetest.SpoolRecords, 2, 2}, // both have paid, one has published
		{releasetest.PutConflict, 1, 2},
		{releasetest.ReadWindow, 2, 2},
		{releasetest.ReadSpent, 1, 2},
		{releasetest.EndPublishing, 1, 1},
		{releasetest.ReadWindow, 3, 1},
		{releasetest.DestroyKey, 1, 1},
		{releasetest.EndClosing, 1, 1},
		{releasetest.ReadWindow, 4, 1},
	} {
		for _, cap := range []uint64{9, 1} {
			t.Run(fmt.Sprintf("before %s %d, budget for %d", test.step, test.n, cap), func(t *testing.T) {
				w := waiting(t)
				w.plan = capped(cap)
				w.restart(t)
				other, met := w.another(), false
				var first release.Published
				w.at1(test.step, test.n, func() {
					met = true
					w.store.OnStep(nil)
					w.keys.OnStep(nil)
					if _, err := other.CloseDue(context.Background()); err != nil {
						t.Errorf("the other process: %v", err)
					}
					first, _ = w.store.Published(id(today))
				})
				_, err := w.engine.CloseDue(t.Context())
				if err != nil || !met {
					t.Fatalf("closing: %v (the other process ran: %v)", err, met)
				}
				w.settled(t, today)
				if test.spent > int(cap) && test.step != releasetest.ReadSpent { // summed before the spool was gone
					// The other one found the budget spent, by this one, and gave the
					// day up: what is spent is spent, and nothing was published.
					if w.store.Releases() != 0 || w.log.Verify(t).Classes[ledger.ClassRelease] != uint64(len(w.store.Reservations())) {
						t.Errorf("%d releases of a day that was given up", w.store.Releases())
					}
					return
				}
				w.body(t, today)
				if now, _ := w.store.Published(id(today)); test.spent <= int(cap) && string(now.Body) != string(first.Body) {
					t.Error("the day was published again")
				}
				if report := w.log.Verify(t); report.Classes[ledger.ClassRelease] != 1+uint64(len(w.store.Reservations())) || w.store.Releases() != 1 {
					t.Errorf("%d leaves and %d rows of one release", report.Classes[ledger.ClassRelease], w.store.Releases())
				}
				if got := len(w.store.Reservations()); got != min(test.spent, int(cap)) {
					t.Errorf("%d reservations, want %d", got, test.spent)
				}
			})
		}
	}
}

// When another process takes the last of a year's budget for the very day, this
// one, refused, does not give the day up under its hands.
func TestTheLastBudgetIsLeftToWhoPaid(t *testing.T) {
	w := waiting(t)
	w.plan = capped(1)
	w.restart(t)
	other := w.another()
	w.at1(releasetest.SpoolRecords, 1, func() { // all but the payment is ready
		w.store.OnStep(func(s releasetest.Step) ledgertest.Fault { // the other has paid, and is not done
			if s == releasetest.PutRelease {
				return ledgertest.Failed
			}
			return ledgertest.None
		})
		if _, err := other.CloseDue(context.Background()); !errors.Is(err, ledgertest.ErrFault) {
			t.Errorf("the other process: %v", err)
		}
		w.store.OnStep(nil)
	})
	if closed, err := w.engine.CloseDue(t.Context()); !errors.Is(err, release.ErrOverBudget) || len(closed) != 0 {
		t.Fatalf("closed %v, %v; want none, and ErrOverBudget", closed, err)
	}
	if closed, err := other.CloseDue(t.Context()); err != nil || len(closed) != 1 {
		t.Fatalf("the other closed %v, %v", closed, err)
	}
	w.body(t, today)
	w.settled(t, today)
}

// Two processes close the same days at once, each with its own sequencer: every
// day is published once, whoever wins, and budget is spent at most twice. It
// would catch (with -race) state that two closings share.
func TestTwoProcessesPublishOnce(t *testing.T) {
	const n = 6
	w := newWorld(t, oneDay())
	w.home("home", "feeder-1", "up-1")
	for day := today; day < today+n; day++ {
		w.now.Store(day.Start() + 43200)
		w.send(t, day, halves("home", "up-1", day, 0, 5))
	}
	w.due(today + n - 1)
	engines := []*release.Engine[*releasetest.Tx]{w.engine}
	w.log = ledgertest.Start(t, w.store)
	engines = append(engines, w.another())
	var wg sync.WaitGroup
	for _, e := range engines {
		for range 2 { // in one process closings follow one another
			wg.Go(func() {
				// A loser may be told that its reservation is taken: it comes again.
				_, _ = e.CloseDue(t.Context())
			})
		}
	}
	wg.Wait()
	for _, e := range engines {
		if _, err := e.CloseDue(t.Context()); err != nil {
			t.Fatalf("closing again: %v", err)
		}
	}
	for day := today; day < today+n; day++ {
		w.body(t, day)
		w.settled(t, day)
	}
	if got := len(w.store.Reservations()); got < n || got > 2*n {
		t.Errorf("%d reservations for %d days", got, n)
	}
	w.restart(t)
	if report := w.log.Verify(t); report.Classes[ledger.ClassRelease] != n+uint64(len(w.store.Reservations())) || w.store.Releases() != n {
		t.Errorf("%d leaves and %d rows for %d days", report.Classes[ledger.ClassRelease], w.store.Releases(), n)
	}
}

// A caller who leaves ends the run between two days, and leaves nothing half done
// that the next run does not finish.
func TestACallerMayLeave(t *testing.T) {
	w := waiting(t)
	w.open(t, today+1)
	w.due(today + 1)
	ctx, leave := context.WithCancel(t.Context())
	w.at1(releasetest.EndClosing, 1, leave)
	closed, err := w.engine.CloseDue(ctx)
	if !errors.Is(err, context.Canceled) || len(closed) != 1 {
		t.Fatalf("closed %v, %v; want one day, and Canceled", closed, err)
	}
	w.close(t, today+1)
	for _, day := range days(today, today+1) {
		w.body(t, day)
		w.settled(t, day)
	}
}
