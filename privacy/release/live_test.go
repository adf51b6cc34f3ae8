package release_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// liveClip bounds a household's day in these tests, and liveSigma is the noise that
// goes with it at ρ = 50: small enough that what crowd homes do together stands out.
const (
	liveClip  = 1000
	liveSigma = 100
	crowd     = 100
)

// liveLoad publishes every six hours what was drawn in them, an hour later.
func liveLoad() release.Catalogue {
	c := plain()
	c.YearlyCap, c.DailyCap = 1<<62, 1<<62
	c.Products = append(c.Products, release.Product{
		Name: "live-load", Kind: release.Live, Register: meter.ActiveImport, Span: release.Day, Days: release.AllDays, IntervalSeconds: 21_600, LatenessSeconds: 3600,
		Levels: []release.LevelPlan{{Kind: "region", Rho: 50_000_000_000, ClipWh: liveClip}},
	})
	return c
}

// crowded is a world of liveLoad with many homes.
func crowded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, liveLoad())
	for i := range crowd {
		w.home(crowdHome(i), "feeder-1", crowdPoint(i))
	}
	w.now.Store(today.Start() + 60)
	w.open(t, today)
	return w
}

func crowdHome(i int) consent.Household   { return consent.Household(fmt.Sprintf("home-%02d", i)) }
func crowdPoint(i int) meter.UsagePoint   { return meter.UsagePoint(fmt.Sprintf("up-%02d", i)) }
func hour(day meter.Day, h float64) int64 { return day.Start() + int64(h*3600) }

// all is one value of every home in a quarter of the day.
func all(quarter int, wh int64) []seal.Contribution {
	var out []seal.Contribution
	for i := range crowd {
		out = append(out, halves(crowdHome(i), crowdPoint(i), today, 12*quarter, wh))
	}
	return out
}

// live publishes what is due at an instant, and returns how many.
func (w *world) live(t *testing.T, at int64) int {
	t.Helper()
	w.now.Store(at)
	ids, err := w.engine.PublishLive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		w.released(t, id)
	}
	return len(ids)
}

// said is what a release of the day says of the region, in units of the crowd: rounded,
// the noise is a tenth of what one Wh a home comes to.
func (w *world) said(t *testing.T, quarter int) int64 {
	t.Helper()
	at := time.Unix(hour(today, 6*float64(quarter)), 0).UTC().Format("2006-01-02T15:04Z")
	b := w.released(t, "live-load/"+at)
	if b.From != at || len(b.Nodes) != 1 || len(b.Nodes[0].Raw) != 1 {
		t.Fatalf("%s: from %s, %d nodes", at, b.From, len(b.Nodes))
	}
	return b.Nodes[0].Raw[0]
}

// near reports whether a sum is within 8 σ of what is meant: odds of 1e-15.
func near(got, want int64) bool { return got > want-8*liveSigma && got < want+8*liveSigma }

// Each interval is published once, when it has ended and waited for its readings, from
// what has arrived; what comes later counts in no other interval, and in the day's
// curve as ever. A household's day is clipped as it goes by. One charge pays for the
// day. It would catch an interval published early, twice, or with the next one's
// readings, and a household that may add its bound in every interval.
func TestLiveLoadGoesWithTheDay(t *testing.T) {
	w := crowded(t)
	w.send(t, today, all(0, 300)...)
	w.send(t, today, all(1, 50)...) // arrives early
	if n := w.live(t, hour(today, 7)-1); n != 0 {
		t.Fatalf("%d intervals before the first had its hour", n)
	}
	if n := w.live(t, hour(today, 7)); n != 1 || !near(w.said(t, 0), 300*crowd) {
		t.Errorf("%d intervals, the first is %d", n, w.said(t, 0))
	}
	w.send(t, today, all(0, 9000)...)
	if n := w.live(t, hour(today, 12.9)); n != 0 {
		t.Errorf("%d intervals again", n)
	}
	w.restart(t)
	w.send(t, today, all(2, 5000)...) // more than is left: √(1000² - 300² - 50²) = 952
	if n := w.live(t, hour(today, 19)); n != 2 || !near(w.said(t, 1), 50*crowd) || !near(w.said(t, 2), 952*crowd) {
		t.Errorf("%d intervals, the second is %d, the third %d", n, w.said(t, 1), w.said(t, 2))
	}
	w.send(t, today, all(3, 700)...)
	// √(1000² - 300² - 50² - 952²) = 34
	if n := w.live(t, hour(today+1, 1)); n != 1 || !near(w.said(t, 3), 34*crowd) {
		t.Errorf("%d intervals, the fourth is %d", n, w.said(t, 3))
	}
	if n := w.live(t, hour(today+1, 3)); n != 0 {
		t.Errorf("%d intervals after the last", n)
	}
	if got := len(w.store.Reservations()); got != 1 {
		t.Errorf("%d charges for a day of live load, want 1", got)
	}
	w.due(today)
	w.close(t, days(today-2, today)...)
	raw, _ := w.store.Published(id(today))
	if raw.ID == "" {
		t.Error("the day's curve is not published")
	}
	if _, _, err := w.store.Live(t.Context(), today); !errors.Is(err, release.ErrNotFound) {
		t.Errorf("the live state outlives its day: %v", err)
	}
	report := w.log.Verify(t)
	if report.Classes[ledger.ClassRelease] != 4+1+3*2 {
		t.Errorf("%d leaves of releases and charges, want 4 live ones, their charge, and three days with theirs", report.Classes[ledger.ClassRelease])
	}
}

// However a household's day goes, all its intervals of a level together add at most
// the level's bound, negative and extreme ones too. It would catch a clip that is begun
// anew in each interval.
func TestNoHouseholdMovesADayOfLiveLoadByMoreThanItsBound(t *testing.T) {
	p := liveLoad().Products[1]
	p.Levels = []release.LevelPlan{{Kind: "region", Rho: 1e9, ClipWh: 1000}, {Kind: "feeder", Rho: 1e9, ClipWh: 300}}
	for name, day := range map[string][]int64{
		"flat": {400, 400, 400, 400}, "spike": {0, 1 << 62, 5, 5}, "least": {-1 << 63, -1 << 63, 1, 1}, "both ways": {900, -900, 900, -900}, "small": {1, 1, 1, 1},
	} {
		moved := map[string]*big.Int{"region": new(big.Int), "feeder": new(big.Int)}
		first, err := release.NewSums(p, today, grid)
		if err != nil {
			t.Fatal(err)
		}
		clips, err := first.Clips()
		if err != nil {
			t.Fatal(err)
		}
		for _, wh := range day {
			s, err := release.NewSums(p, today, grid)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Admit(release.Place{Node: "feeder-1"}, wh, clips); err != nil {
				t.Fatal(err)
			}
			for kind, sum := range moved {
				for _, n := range grid {
					if n.Kind == kind {
						v := big.NewInt(s.Raw()[n.ID][0])
						sum.Add(sum, v.Mul(v, v))
					}
				}
			}
		}
		for kind, c := range map[string]int64{"region": 1000, "feeder": 300} {
			if moved[kind].Cmp(big.NewInt(c*c)) > 0 {
				t.Errorf("%s moves the %s by √%s, more than %d", name, kind, moved[kind], c)
			}
		}
	}
}

// Whatever step fails, no interval is published twice or from a state that was set
// back, the day is charged once in a process that lives on, and the next day is live
// again. A crash may lose an interval, and nothing else.
func TestLiveLoadSurvivesEveryFault(t *testing.T) {
	steps := []releasetest.Step{
		releasetest.ListWindows, releasetest.Unwrap, releasetest.SpoolKeys, releasetest.WriterKeys, releasetest.ReadLive, releasetest.ReadNodes,
		releasetest.ReadHouseholds, releasetest.Reserve, ledgertest.Append, ledgertest.Commit, ledgertest.PutCheckpoint, releasetest.SpoolRecords,
		releasetest.PutLive, releasetest.ReadSpent, releasetest.PutRelease,
	}
	for _, step := range steps {
		for _, fault := range []ledgertest.Fault{ledgertest.Failed, ledgertest.FailedPersisted} {
			for _, replaced := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/replaced=%v", step, fault, replaced), func(t *testing.T) {
					w := crowded(t)
					w.send(t, today, all(0, 900)...)
					w.send(t, today, all(1, 900)...)
					w.now.Store(hour(today, 7))
					x := &watch{step: step, fault: fault, n: 1}
					x.order(w)
					_, _ = w.engine.PublishLive(t.Context())
					x.end(w)
					if x.seen.Load() == 0 {
						t.Fatal("the fault was never met")
					}
					if replaced {
						w.restart(t)
					}
					w.live(t, hour(today, 13))
					if _, lost := w.store.Published("live-load/2018-11-05T00:00Z"); lost {
						if !near(w.said(t, 0), 900*crowd) {
							t.Errorf("the first interval is %d", w.said(t, 0))
						}
					} else if !replaced && step != releasetest.PutLive && step != releasetest.ReadSpent {
						t.Error("the first interval was lost in a process that lives on")
					}
					// √(1000² - 900²) = 435 is left, whatever became of the first.
					if got := w.said(t, 1); !near(got, 435*crowd) {
						t.Errorf("the second interval is %d: a household added more than its bound", got)
					}
					most := 1
					if replaced || step == releasetest.SpoolRecords || step == releasetest.PutLive {
						most = 2
					}
					if got := len(w.store.Reservations()); got > most {
						t.Errorf("%d charges for a day", got)
					}
				})
			}
		}
	}
}

// Two processes never let a household add twice: the one that comes second finds the
// state replaced, and publishes nothing from what it read.
func TestTwoProcessesAreLiveOnce(t *testing.T) {
	w := crowded(t)
	w.send(t, today, all(0, 900)...)
	w.now.Store(hour(today, 7))
	other := w.another()
	w.at1(releasetest.PutLive, 1, func() {
		w.store.OnStep(nil)
		if _, err := other.PublishLive(context.Background()); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	if _, err := w.engine.PublishLive(t.Context()); !errors.Is(err, release.ErrWindowClosed) {
		t.Errorf("the slower process: %v, want ErrWindowClosed", err)
	}
	if !near(w.said(t, 0), 900*crowd) || w.store.Releases() != 1 {
		t.Errorf("%d releases, the first interval is %d", w.store.Releases(), w.said(t, 0))
	}
}

// A product that no budget is left for is not live that day; nothing says so but its
// absence and the log, and nobody's readings decide it.
func TestLiveLoadOverBudget(t *testing.T) {
	w := crowded(t)
	c := liveLoad()
	c.DailyCap = 50_000_000_000 - 1
	w.plan = c
	w.restart(t)
	w.send(t, today, all(0, 900)...)
	if n := w.live(t, hour(today, 7)) + w.live(t, hour(today, 13)); n != 0 || len(w.store.Reservations()) != 0 {
		t.Errorf("%d intervals over budget", n)
	}
	w.plan = liveLoad()
	w.restart(t)
	if n := w.live(t, hour(today, 19)); n != 3 {
		t.Errorf("%d intervals, want all three that have ended", n)
	}
}

// A catalogue that changes in the course of a day ends its live load; the next day has
// the new one.
func TestLiveLoadOfAnotherCatalogueBeginsTomorrow(t *testing.T) {
	w := crowded(t)
	w.live(t, hour(today, 7))
	c := liveLoad()
	c.Products[1].Levels[0].ClipWh++
	w.plan = c
	w.restart(t)
	if n := w.live(t, hour(today, 23)); n != 0 {
		t.Errorf("%d intervals under another bound than the day began with", n)
	}
	w.open(t, today+1)
	if n := w.live(t, hour(today+1, 7)); n != 1 {
		t.Errorf("%d intervals of the next day, want 1", n)
	}
	if ids := slices.Collect(func(yield func(string) bool) {
		for _, r := range w.store.Reservations() {
			if !yield(r.Product) {
				return
			}
		}
	}); len(ids) != 2 {
		t.Errorf("charges %v, want one a day", ids)
	}
}
