package release_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
)

// Totals by public tariff group stand beside those by node: a household counts in its
// group wherever it lives, in none if its group is not one of the catalogue's, and all
// groups are published, empty ones too. It would catch a group that takes the whole
// tree's ρ twice, and one that appears because somebody is in it.
func TestTotalsByTariffGroup(t *testing.T) {
	c := plain()
	c.Tariffs = []string{"flat", "day-night", "nobody"}
	c.Products[0].Levels = append(c.Products[0].Levels[:1:1], release.LevelPlan{Kind: "tariff", Rho: 1e6, ClipWh: 1 << 30})
	c.Products[0].Levels[0].ClipWh = 1 << 30
	w := newWorld(t, c)
	for _, h := range []struct {
		name, feeder, tariff string
	}{{"a", "feeder-1", "flat"}, {"b", "feeder-3", "flat"}, {"c", "feeder-3", "day-night"}, {"d", "feeder-1", ""}, {"e", "feeder-1", "gone"}} {
		p := meter.UsagePoint("up-" + h.name)
		w.store.AddPoint(p, release.Place{Node: h.feeder, Tariff: h.tariff})
		w.store.Occupy(consent.Occupancy{UsagePoint: p, Household: consent.Household(h.name), From: -1 << 40})
	}
	w.open(t, today)
	for i, h := range []string{"a", "b", "c", "d", "e"} {
		w.send(t, today, halves(consent.Household(h), meter.UsagePoint("up-"+h), today, 0, 1<<i))
	}
	raw, err := w.raw(t, today)
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]int64{"region": 31, "tariff/flat": 3, "tariff/day-night": 4, "tariff/nobody": 0} {
		if got := raw[node]; len(got) != 48 || got[0] != want {
			t.Errorf("%s is %v, want %d first", node, got, want)
		}
	}
	if len(raw) != 4 {
		t.Errorf("%d nodes, want the region and three groups", len(raw))
	}
	w.due(today)
	w.close(t, days(today-1, today)...)
	b := w.body(t, today)
	if len(b.Nodes) != 4 || b.Nodes[3].ID != "tariff/nobody" || b.Nodes[3].Parent != "" || b.Guarantee.RhoNano != 12_000_000+1_000_000 {
		t.Errorf("nodes %+v at %d nano-rho", b.Nodes, b.Guarantee.RhoNano)
	}
}

// A curve of quarter hours takes what states them, and a half-hour does not say which.
func TestACurveOfQuarterHours(t *testing.T) {
	c := wide()
	c.Products[0].IntervalSeconds = 900
	w := newWorld(t, c)
	w.home("a", "feeder-1", "up-a", "up-b")
	w.open(t, today)
	w.send(t, today, quarters("a", "up-a", today, 95, 7), halves("a", "up-b", today, 0, 100))
	raw, err := w.raw(t, today)
	if err != nil {
		t.Fatal(err)
	}
	if got := raw["feeder-1"]; len(got) != 96 || got[95] != 7 || got[0] != 0 {
		t.Errorf("the feeder is %v", got)
	}
}

// A local day of 23 or 25 hours is cut at UTC midnight like any other: every interval
// enters one UTC day, once, and no UTC day has more than 24 hours. It would catch an
// hour that is lost in spring and counted twice in autumn.
func TestDaysWhenClocksChange(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	for local, hours := range map[string]int{"2018-10-28": 25, "2018-03-25": 23, "2018-10-29": 24} {
		start, err := time.ParseInLocation(time.DateOnly, local, zone)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, wide())
		w.home("a", "feeder-1", "up-a")
		first := meter.DayOf(start.Unix())
		w.now.Store(first.Start() + 43200)
		w.open(t, first)
		w.now.Store((first + 1).Start() + 43200)
		w.open(t, first+1)
		c := quarters("a", "up-a", first, 0, repeated(1, 4*hours)...)
		c.Series.Start = start.Unix()
		total := int64(0)
		for _, piece := range c.Series.SplitUTCDays() {
			c.Series = piece
			w.send(t, meter.DayOf(piece.Start), c)
		}
		for _, day := range []meter.Day{first, first + 1} {
			raw, err := w.raw(t, day)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range raw["feeder-1"] {
				if v != 0 && v != 2 {
					t.Errorf("%s: half-hour %d of %s is %d", local, i, day, v)
				}
				total += v
			}
		}
		if total != int64(4*hours) {
			t.Errorf("%s: %d quarters arrived, want %d", local, total, 4*hours)
		}
	}
}

// A node of a million homes that all draw what they can adds up exactly, beside one of
// a single home and an empty one. It would catch a sum that wraps or saturates.
func TestNodesOfEverySize(t *testing.T) {
	p := plain().Products[0]
	for i := range p.Levels {
		p.Levels[i].ClipWh, p.Levels[i].Rho = 1<<40, 1e9
	}
	s, err := release.NewSums(p, today, grid)
	if err != nil {
		t.Fatal(err)
	}
	spike := at(map[int]int64{7: math.MaxInt64})
	const homes = 1_000_000
	for range homes {
		if err := s.Add(release.Place{Node: "feeder-1"}, spike); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(release.Place{Node: "feeder-3"}, spike); err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]int64{"feeder-1": homes, "feeder-3": 1, "feeder-4": 0, "region": homes + 1} {
		if got := s.Raw()[node][7]; got != want<<40 {
			t.Errorf("%s is %d, want %d times 2^40", node, got, want)
		}
	}
}

// A clock that jumps, ahead over weeks or back behind what was published, publishes
// nothing twice and charges nothing twice; spans it jumped over are published once,
// empty as they are. It would catch a week that is summed again because its Monday came
// again.
func TestClocksThatJump(t *testing.T) {
	w := begun(t, spans())
	w.home("a", "feeder-1", "up-a")
	for _, jump := range []meter.Day{today, today + 8, today + 1, today + 40, today + 3, today + 41} {
		w.now.Store(jump.Start() + 43200)
		_, _ = w.engine.Window(t.Context(), jump) // behind what is closed there is none
		if _, err := w.engine.CloseDue(t.Context()); err != nil {
			t.Fatalf("at %s: %v", jump, err)
		}
		w.restart(t)
	}
	seen := map[string]bool{}
	for _, r := range w.store.Reservations() {
		name := r.ID[:len(r.ID)-2]
		if seen[name] {
			t.Errorf("%s was charged twice", name)
		}
		seen[name] = true
	}
	published := 0
	for d := today; d < today+40; d++ {
		if _, ok := w.store.Published(id(d)); ok {
			published++
		}
	}
	if published < 40 || w.store.Releases() != len(w.store.Reservations()) {
		t.Errorf("%d of 40 days, %d releases for %d charges", published, w.store.Releases(), len(w.store.Reservations()))
	}
	if _, ok := w.store.Published("week-energy/2018-W46"); !ok {
		t.Error("a week that the clock jumped over is not published")
	}
}

// Readings that are late by days reach the window that is open, as long as something
// their day is part of is; then their household alone has them. It would catch a late
// reading sealed to a window that nothing takes it up from.
func TestWhereLateReadingsGo(t *testing.T) {
	w := begun(t, spans())
	for d := today; d < today+6; d++ {
		w.day(t, d)
	}
	w.take(t, today+6)
	for day, want := range map[meter.Day]meter.Day{today: today + 6, today + 5: today + 6, today + 6: today + 6} {
		window, key, err := w.engine.WindowFor(t.Context(), day)
		if err != nil || window != want {
			t.Errorf("readings of %s go to %s, %v; want %s", day, window, err, want)
			continue
		}
		if own, err := w.engine.Window(t.Context(), want); err != nil || !own.Equal(key) {
			t.Errorf("readings of %s are sealed to another key than their window's, %v", day, err)
		}
	}
	w.due(today + 6)
	w.close(t, today+6)
	w.take(t, today+7)
	if window, _, err := w.engine.WindowFor(t.Context(), today+3); err == nil {
		t.Errorf("readings of a week that is over go to %s", window)
	}
}

// No record of running sums makes its reader panic, and what it takes is what is
// written again.
func FuzzRunningSums(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0})
	one := append([]byte{1, 1}, make([]byte, 32)...)
	one = append(one, 0, 0, 0x45, 0xb0, 0, 2, 0, 0, 0, 1, 4, 'h', 'o', 'm', 'e', 0, 0, 0, 3, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xfe)
	f.Add(one)
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := release.ReadRunning(b)
		if err == nil && !slices.Equal(again, b) {
			t.Errorf("%x was taken and is written %x", b, again)
		}
	})
}
