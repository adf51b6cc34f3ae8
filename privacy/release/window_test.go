package release_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// scheduled returns the days that have a window which is not closed.
func (w *world) scheduled(t *testing.T) []meter.Day {
	t.Helper()
	ws, err := w.store.Windows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := []meter.Day{}
	for _, x := range ws {
		out = append(out, x.Day)
	}
	return out
}

func (w *world) wantScheduled(t *testing.T, want ...meter.Day) {
	t.Helper()
	if got := w.scheduled(t); !slices.Equal(got, want) {
		t.Errorf("windows %v, want %v", got, want)
	}
}

func (w *world) deny(t *testing.T, day meter.Day) {
	t.Helper()
	if _, err := w.engine.Window(t.Context(), day); !errors.Is(err, release.ErrWindowClosed) {
		t.Errorf("window of %s: %v, want ErrWindowClosed", day, err)
	}
}

// The schedule follows the clock, not what arrives: whatever day the first
// readings are of, it begins with the first one that is not due, has no gap, and
// goes on when nothing comes. It would catch a day that is published because a
// reading came for it, or is not because none did: either would tell of the one
// household that sent it.
func TestTheScheduleFollowsTheClock(t *testing.T) {
	for name, first := range map[string]meter.Day{"yesterday's": today - 1, "today's": today, "tomorrow's": today + 1} {
		t.Run(name+" readings come first", func(t *testing.T) {
			w := newWorld(t, plain()) // 36 h after its end, at noon: the day before yesterday is due just now
			w.open(t, first)
			w.wantScheduled(t, days(today-1, first)...)
			w.deny(t, today-2) // due
			w.open(t, today+1)
			w.wantScheduled(t, days(today-1, today+1)...)
			w.deny(t, today+2) // too far ahead
			w.due(today + 4)   // and nothing came
			w.close(t, days(today-1, today+4)...)
			if w.store.Releases() != 6 {
				t.Errorf("%d releases, want 6", w.store.Releases())
			}
			w.wantScheduled(t, days(today+5, today+13)...) // ahead, seven days from the clock's
			w.open(t, today+6)
			w.deny(t, today+8) // too far ahead, though its window is made
			w.wantScheduled(t, days(today+5, today+13)...)
		})
	}
}

// A hub that never took a reading publishes nothing, and spends nothing.
func TestWithoutReadingsThereIsNoSchedule(t *testing.T) {
	w := newWorld(t, plain())
	for range 100 {
		w.now.Add(86400)
		w.close(t)
	}
	w.wantScheduled(t)
	if len(w.store.Reservations()) != 0 || w.keys.Count() != 0 {
		t.Errorf("%d reservations and %d keys, want none", len(w.store.Reservations()), w.keys.Count())
	}
}

// A day from before the schedule began stays closed, though its watermark has not
// passed: a clock that was set back must not add days at the front.
func TestDaysBeforeTheScheduleStayClosed(t *testing.T) {
	w := newWorld(t, plain())
	w.open(t, today)
	w.now.Add(-3 * 86400)
	w.deny(t, today-2)
	w.deny(t, today-3)
	w.wantScheduled(t, today-1, today)
}

// A window takes contributions until its watermark to the second, and never
// again, whatever the clock does afterwards and whoever asks.
func TestAWindowClosesOnce(t *testing.T) {
	w := newWorld(t, oneDay())
	w.open(t, today)
	w.now.Store(today.End() + 3600 - 1)
	w.open(t, today)
	w.close(t)
	w.now.Add(1)
	w.deny(t, today)
	w.close(t, today)
	w.now.Add(-1)
	w.deny(t, today)
	w.restart(t)
	w.deny(t, today)
	w.close(t)
	w.wantScheduled(t, days(today+1, today+8)...) // ahead, seven days from the clock's
}

// The windows of the next seven days are made today, so that readings go on when the key
// service is away for as long. It would catch a hub that can take nothing of a new day
// until its keys are back.
func TestANewDayNeedsNoKeyService(t *testing.T) {
	w := newWorld(t, oneDay())
	w.open(t, today)
	w.close(t)
	w.keys.OnStep(func(releasetest.Step) ledgertest.Fault { return ledgertest.Failed })
	w.restart(t)
	for day := today; day < today+7; day++ {
		w.now.Store(day.End())
		w.open(t, day+1)
	}
}

// A closing window that another process has begun to close takes no more, as
// soon as its key is not in this one's memory; and the store refuses what is
// sealed to a key that was.
func TestClosingElsewhere(t *testing.T) {
	w := newWorld(t, oneDay())
	w.open(t, today)
	key, err := w.engine.Window(t.Context(), today)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.BeginClosing(t.Context(), today); err != nil {
		t.Fatal(err)
	}
	if _, err := w.another().Window(t.Context(), today); !errors.Is(err, release.ErrWindowClosed) {
		t.Errorf("window: %v, want ErrWindowClosed", err)
	}
	record, err := w.writer.Begin().Spool(today, key, []seal.Contribution{halves("home", "up-1", today, 0, 5)})
	if err != nil {
		t.Fatal(err)
	}
	if w.store.AddSpool(nil, record) {
		t.Error("a closing window took a contribution")
	}
	w.open(t, today) // from memory
	w.engine.Closed(today)
	w.deny(t, today)
}

// What is stored for a day goes to its own window; once that is closed, by whatever
// clock, to the first that is open, as long as a span is open that the day is in. It
// would catch a share that is sealed to a window which will not take it, or sealed at
// all when no release can be made of it.
func TestWhereLateContributionsGo(t *testing.T) {
	plan := oneDay()
	month := plan.Products[0]
	month.Name, month.Span = "month-curve", release.Month
	plan.Products = append(plan.Products, month)
	w := newWorld(t, plan)
	last := today
	for last.Next().String()[8:] != "01" {
		last++
	}
	want := func(day, window meter.Day) {
		t.Helper()
		got, key, err := w.engine.WindowFor(t.Context(), day)
		switch {
		case window == 0 && !errors.Is(err, release.ErrWindowClosed):
			t.Errorf("%s goes to %s: %v; want nowhere", day, got, err)
		case window == 0:
		case err != nil || got != window:
			t.Errorf("%s goes to %s: %v; want %s", day, got, err, window)
		default:
			if own, err := w.engine.Window(t.Context(), window); err != nil || !own.Equal(key) {
				t.Errorf("the key for %s is not its window's: %v", day, err)
			}
		}
	}
	w.now.Store(last.Start() - 86400) // the day before the last of the month begins
	w.open(t, last-2)
	want(last-1, last-1)
	want(last+1, 0)                                 // ahead of the clock
	for _, d := range []meter.Day{last - 1, last} { // closed by a clock that is ahead
		w.open(t, d)
		if err := w.store.BeginClosing(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		w.engine.Closed(d)
		if d == last-1 {
			want(last-1, last)
			want(last-5, last-2)
		}
	}
	want(last-1, 0)
	want(last, 0)
	w.now.Store(last.End() + 3600)
	want(last-5, 0) // their month is closed
}

// Many callers at midnight make one window, with one key, and agree on it: in one
// process and in two. It would catch contributions that are sealed to a key which
// lost the race, and a key service that is asked a thousand times.
func TestManyCallersMakeOneWindow(t *testing.T) {
	w := newWorld(t, oneDay())
	var wraps sync.Map
	w.keys.OnStep(func(s releasetest.Step) ledgertest.Fault {
		if s == releasetest.Wrap {
			wraps.Store(new(int), true)
		}
		return ledgertest.None
	})
	engines := []*release.Engine[*releasetest.Tx]{w.engine, w.another()}
	var wg sync.WaitGroup
	got := make(chan seal.PublicKey, 100)
	for i := range cap(got) {
		wg.Go(func() {
			key, err := engines[i%2].Window(t.Context(), today)
			if err != nil {
				t.Errorf("window: %v", err)
			}
			got <- key
		})
	}
	wg.Wait()
	close(got)
	window, err := w.store.Window(t.Context(), today)
	if err != nil {
		t.Fatal(err)
	}
	want, err := seal.ParsePublicKey(window.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for key := range got {
		if !key.Equal(want) {
			t.Fatal("a caller was given a key that is not the window's")
		}
	}
	made := 0
	wraps.Range(func(any, any) bool { made++; return true })
	if made > len(engines) {
		t.Errorf("%d keys were wrapped for one window, want one an engine at most", made)
	}
	w.wantScheduled(t, today)
}

// What goes wrong while a window is made leaves either no window or a good one,
// and no gap in the schedule. It would catch a window whose key is not there, and
// a day that is passed over.
func TestMakingAWindowSurvivesEveryFault(t *testing.T) {
	for _, step := range []releasetest.Step{
		releasetest.ReadWindow, releasetest.LastWindow, releasetest.CreateKey, releasetest.Wrap, releasetest.PutWindow,
	} {
		for _, fault := range []ledgertest.Fault{ledgertest.Failed, ledgertest.FailedPersisted} {
			if fault == ledgertest.FailedPersisted && (step == releasetest.ReadWindow || step == releasetest.LastWindow) {
				continue // reading leaves nothing
			}
			for _, replaced := range []bool{false, true} {
				w := newWorld(t, plain())
				w.home("home", "feeder-1", "up-1")
				x := &watch{step: step, fault: fault, n: 1}
				x.order(w)
				_, err := w.engine.Window(t.Context(), today)
				x.end(w)
				if !errors.Is(err, ledgertest.ErrFault) {
					t.Fatalf("%s: %v, want the fault", step, err)
				}
				if replaced {
					w.restart(t)
				}
				w.send(t, today, halves("home", "up-1", today, 0, 5))
				w.wantScheduled(t, today-1, today)
				w.due(today)
				w.close(t, today-1, today)
				w.body(t, today)
			}
		}
	}
}
