package release_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// spans publishes some products of a week, with bounds that clip nothing that a test
// sends unless it wants to, beside the day's curve.
func spans() release.Catalogue {
	c := plain()
	c.Watermark = 3600e9
	levels := func(clip int64) []release.LevelPlan {
		return []release.LevelPlan{{Kind: "region", Rho: 1_000_000, ClipWh: clip}, {Kind: "feeder", Rho: 1_000_000, ClipWh: clip}}
	}
	add := func(name string, kind release.Kind, days release.Weekdays, clip int64, more func(*release.Product)) {
		p := release.Product{Name: name, Kind: kind, Register: meter.ActiveImport, Span: release.Week, Days: days, Levels: levels(clip)}
		if more != nil {
			more(&p)
		}
		c.Products = append(c.Products, p)
	}
	add("workday-curve", release.Curve, release.Workdays, 1_000_000, func(p *release.Product) { p.IntervalSeconds = 1800 })
	add("weekend-curve", release.Curve, release.Weekend, 1_000_000, func(p *release.Product) { p.IntervalSeconds = 1800 })
	add("week-energy", release.Energy, release.AllDays, 1_000_000, nil)
	add("week-export", release.Energy, release.AllDays, 1_000_000, func(p *release.Product) { p.Register = meter.ActiveExport })
	add("week-households", release.Households, release.AllDays, 0, nil)
	add("week-histogram", release.Histogram, release.AllDays, 0, func(p *release.Product) { p.EdgesWh = []int64{0, 10, 20, 30} })
	add("week-peak", release.PeakTime, release.AllDays, 0, func(p *release.Product) { p.IntervalSeconds = 6 * 3600 })
	return c
}

// begun is a world whose schedule begins on a Monday.
func begun(t *testing.T, c release.Catalogue) *world {
	t.Helper()
	w := newWorld(t, c)
	w.open(t, today)
	w.wantScheduled(t, today)
	return w
}

// day lives through one day: contributions arrive, and it is closed.
func (w *world) day(t *testing.T, day meter.Day, contributions ...seal.Contribution) {
	t.Helper()
	w.take(t, day, contributions...)
	w.due(day)
	w.close(t, day)
}

// take sends what arrives on a day, each in a batch of its own.
func (w *world) take(t *testing.T, day meter.Day, contributions ...seal.Contribution) {
	t.Helper()
	w.now.Store(max(w.now.Load(), day.Start()+43200))
	w.open(t, day)
	for _, c := range contributions {
		w.send(t, day, c)
	}
}

// last is the raw sums of what the last day of a week publishes, before it is closed.
func (w *world) last(t *testing.T, day meter.Day) map[string]map[string][]int64 {
	t.Helper()
	raw, err := w.engine.Raw(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What each product sums is what households did on its days, whatever order they come
// in: a week's energy and its workdays' curve by node, in its own register, and one
// vote a household. It would catch a day that is lost or counted twice between two
// windows, a weekend in the workdays, an import among exports, and a vote a day.
func TestProductsOverAWeek(t *testing.T) {
	w := begun(t, spans())
	w.home("a", "feeder-1", "up-a")
	w.home("b", "feeder-3", "up-b")
	w.home("silent", "feeder-3", "up-c")
	export := func(c seal.Contribution) seal.Contribution {
		c.Series.Register = meter.ActiveExport
		return c
	}
	want := map[string]map[string][]int64{
		"workday-curve/2018-W45": {"feeder-1": at(map[int]int64{0: 1 + 2 + 3 + 4 + 5}), "feeder-3": at(map[int]int64{40: 100}), "feeder-2": at(nil)},
		"weekend-curve/2018-W45": {"feeder-1": at(map[int]int64{0: 6 + 7}), "feeder-3": at(map[int]int64{40: 40}), "feeder-2": at(nil)},
		"week-energy/2018-W45":   {"feeder-1": {28}, "feeder-3": {140}, "feeder-2": {0}},
		"week-export/2018-W45":   {"feeder-1": {0}, "feeder-3": {9}, "feeder-2": {0}},
		"week-households/2018-W45": {
			"feeder-1": {1}, "feeder-3": {1}, "feeder-2": {0}, "region": {2},
		},
		"week-histogram/2018-W45": {"feeder-1": {1, 0, 0}, "feeder-3": {0, 0, 1}, "region": {1, 0, 1}},
		"week-peak/2018-W45":      {"feeder-1": {1, 0, 0, 0}, "feeder-3": {0, 0, 0, 1}},
	}
	compared := 0
	for d := range meter.Day(7) {
		day := today + d
		sent := []seal.Contribution{halves("a", "up-a", day, 0, int64(d+1))}
		if d != 1 && d != 3 { // on five days: 28 a day
			sent = append(sent, halves("b", "up-b", day, 40, map[bool]int64{true: 20, false: 33}[d > 4]))
		}
		if d == 4 {
			sent[1].Series.Values[0] = 34
			sent = append(sent, export(halves("b", "up-b", day, 20, 9)))
		}
		if d == 3 {
			w.restart(t)
		}
		w.take(t, day, sent...)
		if d == 4 || d == 6 { // what ends on Friday, and on Sunday
			for release, sums := range w.last(t, day) {
				for node, want := range want[release] {
					if got := sums[node]; !slices.Equal(got, want) {
						t.Errorf("%s at %s sums %v, want %v", release, node, got, want)
					}
					compared++
				}
			}
		}
		w.due(day)
		w.close(t, day)
	}
	if compared != 21 {
		t.Errorf("%d sums were compared, want 21", compared)
	}
	for id := range want {
		b := w.released(t, id)
		for _, n := range b.Nodes {
			if len(n.Raw) == 0 || slices.Equal(n.Raw, want[id][n.ID]) && len(n.Raw) > 2 {
				t.Errorf("%s of %s left without noise", id, n.ID)
			}
		}
	}
	if sets, err := w.store.RunningSets(t.Context()); err != nil || len(sets) != 0 {
		t.Errorf("%d sets of running sums are left after all is over, %v", len(sets), err)
	}
}

// released returns any release, after checking it as a stranger would.
func (w *world) released(t *testing.T, id string) release.Body {
	t.Helper()
	p, ok := w.store.Published(id)
	if !ok {
		t.Fatalf("%s is not published", id)
	}
	b, err := release.Verify(w.signer.Public().(ed25519.PublicKey), p.Body, p.Signature)
	if err != nil || b.ID != id {
		t.Fatalf("%s: it calls itself %s, %v", id, b.ID, err)
	}
	if err := b.Check(); err != nil {
		t.Errorf("%s does not hold against itself: %v", id, err)
	}
	return b
}

// A release of a span is charged once to each year that its days touch, to each of its
// days, and to no other day; votes cost a day twice. It would catch a week over New
// Year that is paid by one year alone, and a Saturday charged for workdays.
func TestWhatASpanIsCharged(t *testing.T) {
	w := newWorld(t, spans())
	monday := dayOf(t, "2018-12-31")
	w.now.Store(monday.Start() + 43200)
	w.open(t, monday)
	for d := monday; d < monday+7; d++ {
		w.day(t, d)
	}
	// a day's curve 0.018; four products of 0.002 on any day, two of them votes.
	const once, day = 2_000_000, 18_000_000
	for year, want := range map[int]uint64{2018: day + 6*once, 2019: 6*day + 7*once} {
		if got := uint64(w.spent(year)); got != want {
			t.Errorf("%d has spent %d nano-rho, want %d", year, got, want)
		}
	}
	for d := monday - 1; d < monday+8; d++ {
		_, got, err := w.store.Spent(t.Context(), 2018, d)
		want := uint64(0)
		if d >= monday && d < monday+7 {
			want = day + once /* one of the curves */ + 2*once /* energy */ + once /* households */ + 2*2*once /* votes */
		}
		if err != nil || uint64(got) != want {
			t.Errorf("%s was charged %d nano-rho, want %d, %v", d, got, want, err)
		}
	}
}

// A span that began before the hub did is not published; the first whole one is. It
// would catch a month's mean that is made of its last day.
func TestNoSpanBeginsInTheMiddle(t *testing.T) {
	w := newWorld(t, spans())
	w.home("a", "feeder-1", "up-a")
	wednesday := today + 2
	w.now.Store(wednesday.Start() + 43200)
	w.open(t, wednesday)
	for d := wednesday; d < today+14; d++ {
		w.day(t, d, halves("a", "up-a", d, 0, 1))
	}
	for id, want := range map[string]bool{
		"workday-curve/2018-W45": false, "week-energy/2018-W45": false, "weekend-curve/2018-W45": true,
		"workday-curve/2018-W46": true, "week-energy/2018-W46": true, "weekend-curve/2018-W46": true,
	} {
		if _, got := w.store.Published(id); got != want {
			t.Errorf("%s: published %v, want %v", id, got, want)
		}
	}
}

// Readings that come after their day was closed enter the spans that are open, once: a
// day that has had its share has no other. It would catch a day that is stated twice
// to count twice, and readings that are lost because they were late.
func TestLateReadingsEnterWhatIsOpen(t *testing.T) {
	w := begun(t, spans())
	w.home("a", "feeder-1", "up-a")
	w.home("b", "feeder-1", "up-b")
	w.day(t, today, halves("a", "up-a", today, 0, 5))
	w.take(t, today+1)
	w.send(t, today+1, halves("a", "up-a", today, 0, 500), halves("a", "up-a", today+1, 0, 7)) // Monday again, larger
	w.send(t, today+1, halves("b", "up-b", today, 1, 40))                                      // Monday, late
	w.due(today + 1)
	w.close(t, today+1)
	for d := today + 2; d < today+6; d++ {
		w.day(t, d)
	}
	w.take(t, today+6, halves("b", "up-b", today, 1, 40)) // and late again
	raw := w.last(t, today+6)
	if got := raw["week-energy/2018-W45"]["feeder-1"]; !slices.Equal(got, []int64{5 + 7 + 40}) {
		t.Errorf("the week's energy is %v, want 52", got)
	}
}

// A household counts at one node in a span, where it lived last, with all its days; one
// that was erased counts nowhere, and one that came or left in the middle with its own
// days. It would catch a household that counts at two feeders, and one that is still in
// a total after it was forgotten.
func TestWhereAHouseholdCountsInASpan(t *testing.T) {
	w := begun(t, spans())
	w.store.AddPoint("up-1", release.Place{Node: "feeder-1"})
	w.store.AddPoint("up-3", release.Place{Node: "feeder-3"})
	moving := (today + 3).Start()
	w.store.Occupy(consent.Occupancy{UsagePoint: "up-1", Household: "moves", From: -1 << 40, Until: moving})
	w.store.Occupy(consent.Occupancy{UsagePoint: "up-3", Household: "moves", From: moving})
	w.store.Occupy(consent.Occupancy{UsagePoint: "up-1", Household: "comes", From: moving})
	w.home("leaves", "feeder-2", "up-2")
	w.home("forgotten", "feeder-2", "up-4")
	for d := range meter.Day(7) {
		day := today + d
		sent := []seal.Contribution{halves("forgotten", "up-4", day, 0, 10_000)}
		if d < 3 {
			sent = append(sent, halves("moves", "up-1", day, 0, 1), halves("leaves", "up-2", day, 0, 100))
		} else {
			sent = append(sent, halves("moves", "up-3", day, 0, 1), halves("comes", "up-1", day, 0, 10))
		}
		if d == 6 {
			w.take(t, day, sent...)
		} else {
			w.day(t, day, sent...)
		}
	}
	w.store.Erase("forgotten")
	raw := w.last(t, today+6)["week-energy/2018-W45"]
	for node, want := range map[string]int64{"feeder-1": 40, "feeder-2": 300, "feeder-3": 7, "region": 347} {
		if raw[node][0] != want {
			t.Errorf("%s is %d, want %d", node, raw[node][0], want)
		}
	}
}

// However extreme one of its days, a household moves a level's sum by at most the
// bound that its noise is made for; and so does one of its days, given the others. It
// would catch a span that clips its days alone, or its sum alone.
func TestNeitherAHouseholdNorADayMovesASpanByMoreThanItsBound(t *testing.T) {
	p := spans().Products[1]
	p.Levels = []release.LevelPlan{{Kind: "region", Rho: 1e6, ClipWh: 900}, {Kind: "feeder", Rho: 1e6, ClipWh: 400}}
	calm, wild := repeated(50, 48), append(repeated(1<<40, 24), repeated(-1<<40, 24)...)
	spike := at(map[int]int64{3: 1 << 62})
	for name, days := range map[string][2][][]int64{
		"a household":                  {nil, {calm, calm, wild, calm, calm}},
		"a wild household":             {nil, {wild, wild, wild, wild, wild}},
		"one calm day":                 {{calm, calm, calm, calm}, {calm, calm, calm, calm, calm}},
		"one wild day":                 {{calm, calm, calm, calm}, {calm, calm, calm, calm, wild}},
		"one spike":                    {{calm, calm, calm, calm}, {calm, calm, calm, calm, spike}},
		"a day that turns it round":    {{spike, calm, calm, calm}, {spike, calm, calm, calm, wild}},
		"the first of opposite spikes": {{at(map[int]int64{3: -1 << 62})}, {spike, at(map[int]int64{3: -1 << 62})}},
	} {
		var raw [2]map[string][]int64
		var bounds map[string]int64
		for i, days := range days {
			s, err := release.NewSums(p, today, grid)
			if err != nil {
				t.Fatal(err)
			}
			if len(days) > 0 {
				if err := s.Add(release.Place{Node: "feeder-1"}, days...); err != nil {
					t.Fatal(err)
				}
			}
			raw[i], bounds = s.Raw(), s.Bounds()
		}
		for kind, bound := range bounds {
			if want := map[string]int64{"region": 5 * 900, "feeder": 5 * 400}[kind]; bound != want {
				t.Errorf("the bound of a %s is %d, want %d", kind, bound, want)
			}
			allowed := bound
			if !strings.Contains(name, "household") {
				allowed += 14 // ⌈2√48⌉
			}
			if moved := norm2(raw[1], raw[0], grid, kind); moved.Int64() > allowed*allowed {
				t.Errorf("%s moves the %s by √%d, more than %d", name, kind, moved, allowed)
			}
		}
	}
}

// A day that is stuck holds up nobody: the others go on, with the running sums that
// were sealed to it; mended, it enters what is open and is published itself. It would
// catch running sums that wait in a window that does not close.
func TestAStuckDayHoldsUpNoSpan(t *testing.T) {
	for _, mended := range []meter.Day{today + 5, today + 8} {
		t.Run(mended.String(), func(t *testing.T) {
			w := begun(t, spans())
			w.home("a", "feeder-1", "up-a")
			flip := func(_ *release.Window, _ []seal.SpoolKeyWrap, records []seal.SpoolRecord) {
				records[0].Ciphertext[40] ^= 1
			}
			stuck := today + 2
			for d := today; d < today+7; d++ {
				w.take(t, d, halves("a", "up-a", d, 0, 1<<(d-today)))
				if d == stuck {
					w.store.Damage(stuck, flip)
				}
				if d == mended {
					w.store.Damage(stuck, flip)
				}
				w.due(d)
				closed, err := w.engine.CloseDue(t.Context())
				switch {
				case d >= stuck && d < mended:
					if !errors.Is(err, seal.ErrOpen) || slices.Contains(closed, stuck) || d > stuck && !slices.Contains(closed, d) {
						t.Fatalf("%s: closed %v, %v", d, closed, err)
					}
				case err != nil || !slices.Contains(closed, d):
					t.Fatalf("%s: closed %v, %v", d, closed, err)
				}
			}
			w.released(t, "week-energy/2018-W45")
			if mended > today+6 {
				w.store.Damage(stuck, flip)
				w.close(t, stuck)
			}
			w.released(t, id(stuck))
			w.settled(t, stuck)
			if sets, _ := w.store.RunningSets(t.Context()); len(sets) != 0 {
				t.Errorf("%d sets are left", len(sets))
			}
		})
	}
}

// What a stuck day held back counts in its span when it is mended in time: the sums of
// the days before it went on without it, and its own join them.
func TestAMendedDayJoinsItsSpan(t *testing.T) {
	w := begun(t, spans())
	w.home("a", "feeder-1", "up-a")
	flip := func(_ *release.Window, _ []seal.SpoolKeyWrap, records []seal.SpoolRecord) {
		records[0].Ciphertext[40] ^= 1
	}
	for d := today; d < today+6; d++ {
		w.take(t, d, halves("a", "up-a", d, 0, 1<<(d-today)))
		if d == today+2 {
			w.store.Damage(d, flip)
		}
		w.due(d)
		if _, err := w.engine.CloseDue(t.Context()); (err != nil) != (d >= today+2) {
			t.Fatal(err)
		}
	}
	w.store.Damage(today+2, flip)
	w.close(t, today+2)
	w.take(t, today+6, halves("a", "up-a", today+6, 0, 64))
	if got := w.last(t, today+6)["week-energy/2018-W45"]["feeder-1"][0]; got != 127 {
		t.Errorf("the week's energy is %d, want 127", got)
	}
}

// Running sums that do not open end without a release what ran in them, and nothing
// else: days go on being published. It would catch a week without its beginning, and
// one bad row that stops the hub.
func TestDamagedRunningSumsEndTheirSpansAlone(t *testing.T) {
	for name, damage := range map[string]func(w *world){
		"a record": func(w *world) {
			w.store.DamageRunning(func(_ *seal.RunningKeyWrap, r []seal.RunningRecord) []seal.RunningRecord {
				r[0].Ciphertext[50] ^= 1
				return r
			})
		},
		"a record that is gone": func(w *world) {
			w.store.DamageRunning(func(_ *seal.RunningKeyWrap, r []seal.RunningRecord) []seal.RunningRecord { return r[1:] })
		},
		"a record twice": func(w *world) {
			w.store.DamageRunning(func(_ *seal.RunningKeyWrap, r []seal.RunningRecord) []seal.RunningRecord { return append(r, r[0]) })
		},
		"a wrap": func(w *world) {
			w.store.DamageRunning(func(k *seal.RunningKeyWrap, r []seal.RunningRecord) []seal.RunningRecord {
				k.Sealed[300] ^= 1
				return r
			})
		},
		"another window": func(w *world) {
			w.store.DamageRunning(func(k *seal.RunningKeyWrap, r []seal.RunningRecord) []seal.RunningRecord { k.Window++; return r })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := begun(t, spans())
			w.home(secretHome, "feeder-1", secretPoint)
			for d := today; d < today+14; d++ {
				if d == today+3 {
					damage(w)
				}
				w.day(t, d, halves(secretHome, secretPoint, d, 0, secretValue))
				w.released(t, id(d))
			}
			for id, want := range map[string]bool{"week-energy/2018-W45": false, "weekend-curve/2018-W45": true, "week-energy/2018-W46": true} {
				if _, got := w.store.Published(id); got != want {
					t.Errorf("%s: published %v, want %v", id, got, want)
				}
			}
			w.discreet(t, nil)
		})
	}
}

// A catalogue entry that changes in the middle of a span ends it; the next begins under
// the new one. It would catch sums of two clip norms in one release.
func TestAnEntryThatChangesBeginsANewSpan(t *testing.T) {
	w := begun(t, spans())
	w.home("a", "feeder-1", "up-a")
	for d := today; d < today+14; d++ {
		if d == today+3 {
			c := spans()
			c.Products[3].Levels[0].ClipWh++ // of a week's energy
			w.plan = c
			w.restart(t)
		}
		w.day(t, d, halves("a", "up-a", d, 0, 1))
	}
	for id, want := range map[string]bool{"week-energy/2018-W45": false, "week-energy/2018-W46": true, "workday-curve/2018-W45": true} {
		if _, got := w.store.Published(id); got != want {
			t.Errorf("%s: published %v, want %v", id, got, want)
		}
	}
}

// A product that no budget is left for is given up, and only that one. It would catch a
// cap that is passed by the second product of a closing, and one that takes the others
// with it.
func TestOnlyWhatIsOverBudgetIsGivenUp(t *testing.T) {
	c := spans()
	c.YearlyCap = 7*18_000_000 + 3*2_000_000 + 1_999_999 // seven days, and three of seven
	w := begun(t, c)
	for d := today; d < today+7; d++ {
		w.day(t, d)
	}
	published := 0
	for _, p := range c.Products[1:] {
		if _, ok := w.store.Published(p.Name + "/2018-W45"); ok {
			published++
		}
	}
	if published != 3 || w.spent(2018) != 7*18_000_000+3*2_000_000 {
		t.Errorf("%d products of the week for %s, want 3", published, w.spent(2018))
	}
	w.settled(t, today+6)
}

// The last day of a week, with eight releases and running sums behind it, fails at
// every step in turn, in a process that goes on and in one that is replaced. Whatever
// happened, in the end there is one release of each, the sums of the week are whole,
// budget was never over-spent, and nothing is left. It would catch an attempt that
// publishes some releases again, or loses the running sums of the others.
func TestTheEndOfASpanSurvivesEveryFault(t *testing.T) {
	var met sync.Map // steps that a closing takes
	prepare := func(t *testing.T) *world {
		t.Helper()
		c := spans()
		c.Products = append(c.Products, release.Product{ // goes on after the week
			Name: "month-energy", Kind: release.Energy, Register: meter.ActiveImport, Span: release.Month, Days: release.AllDays,
			Levels: []release.LevelPlan{{Kind: "region", Rho: 1_000_000, ClipWh: 1_000_000}},
		})
		w := newWorld(t, c)
		w.home(secretHome, "feeder-1", secretPoint)
		monday := dayOf(t, "2018-10-01")
		w.now.Store(monday.Start() + 43200)
		w.open(t, monday)
		for d := monday; d < monday+6; d++ {
			w.day(t, d, halves(secretHome, secretPoint, d, 0, 5))
		}
		w.take(t, monday+6, halves(secretHome, secretPoint, monday+6, 0, 5))
		w.due(monday + 6)
		return w
	}
	w := prepare(t)
	w.store.OnStep(func(s releasetest.Step) ledgertest.Fault { met.Store(s, true); return ledgertest.None })
	w.close(t, dayOf(t, "2018-10-07"))
	w.store.OnStep(nil)
	var steps []releasetest.Step
	met.Range(func(s, _ any) bool { steps = append(steps, s.(releasetest.Step)); return true })
	if len(steps) < 20 {
		t.Fatalf("a closing takes %d kinds of steps", len(steps))
	}
	for _, step := range steps {
		for _, n := range []int64{1, 2, 5} {
			for _, fault := range []ledgertest.Fault{ledgertest.Failed, ledgertest.FailedPersisted} {
				t.Run(fmt.Sprintf("%s %d/%d", step, n, fault), func(t *testing.T) {
					w := prepare(t)
					sunday := dayOf(t, "2018-10-07")
					x := &watch{step: step, fault: fault, n: n}
					x.order(w)
					_, failure := w.engine.CloseDue(t.Context())
					x.end(w)
					w.discreet(t, failure)
					if n == 2 {
						w.restart(t)
					}
					if _, err := w.engine.CloseDue(t.Context()); err != nil {
						t.Fatalf("closing again: %v", err)
					}
					w.settled(t, sunday)
					for _, p := range w.plan.Products[1:8] {
						w.released(t, p.Name+"/2018-W40")
					}
					if got := w.store.Releases(); got != 7+7 {
						t.Errorf("%d releases, want 14", got)
					}
					w.take(t, sunday+1)
					for d := sunday + 1; d < dayOf(t, "2018-10-31"); d++ {
						w.day(t, d)
					}
					w.take(t, dayOf(t, "2018-10-31"))
					if got := w.last(t, dayOf(t, "2018-10-31"))["month-energy/2018-10"]["region"]; !slices.Equal(got, []int64{35}) {
						t.Errorf("the month's energy is %v, want 35", got)
					}
				})
			}
		}
	}
}
