package release_test

import (
	"maps"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// at is a curve that is zero but for some half-hours.
func at(values map[int]int64) []int64 {
	x := make([]int64, 48)
	for i, v := range values {
		x[i] = v
	}
	return x
}

// raw returns the raw sums of a day's curve by node.
func (w *world) raw(t *testing.T, day meter.Day) (map[string][]int64, error) {
	t.Helper()
	raw, err := w.engine.Raw(t.Context(), day)
	return raw[id(day)], err
}

// rawFeeder returns the raw sums of one feeder, after checking that every other
// feeder has none and that the levels above hold the same.
func rawFeeder(t *testing.T, w *world, day meter.Day, feeder string) []int64 {
	t.Helper()
	raw, err := w.raw(t, day)
	if err != nil {
		t.Fatal(err)
	}
	above := map[string]bool{"region": true, feeder: true}
	for _, n := range grid {
		if n.ID == feeder {
			above[n.Parent] = true
		}
	}
	for id, sums := range raw {
		want := make([]int64, 48)
		if above[id] {
			want = raw[feeder]
		}
		if !slices.Equal(sums, want) {
			t.Errorf("%s is %v, want %v", id, sums, want)
		}
	}
	return raw[feeder]
}

// What of a day's contributions counts, and where. Each row would catch the
// mistake that it names: a reading that enters two half-hours, another day's
// total, or a total it was never meant for; or one that is lost.
func TestContributions(t *testing.T) {
	const h, p = consent.Household("home"), meter.UsagePoint("up-1")
	exported := quarters(h, p, today, 0, 100, 100)
	exported.Series.Register = meter.ActiveExport
	missing := quarters(h, p, today, 0, 10, 0, 30, 40)
	missing.Series.Quality = []meter.Quality{meter.Measured, meter.Missing, meter.Suspect, meter.Estimated}
	length := func(seconds int64, values ...int64) seal.Contribution {
		c := quarters(h, p, today, 0, values...)
		c.Series.Length = seconds
		return c
	}
	for name, test := range map[string]struct {
		send []seal.Contribution
		want map[int]int64
	}{
		"nothing":                              {},
		"quarter hours add up in pairs":        {[]seal.Contribution{quarters(h, p, today, 0, 1, 2, 4, 8, 16)}, map[int]int64{0: 3, 1: 12, 2: 16}},
		"a series may begin in mid half-hour":  {[]seal.Contribution{quarters(h, p, today, 3, 1, 2, 4)}, map[int]int64{1: 1, 2: 6}},
		"half-hours are themselves":            {[]seal.Contribution{halves(h, p, today, 46, 5, 6)}, map[int]int64{46: 5, 47: 6}},
		"minutes":                              {[]seal.Contribution{length(60, repeated(1, 45)...)}, map[int]int64{0: 30, 1: 15}},
		"five minutes":                         {[]seal.Contribution{length(300, repeated(1, 9)...)}, map[int]int64{0: 6, 1: 3}},
		"an hour does not say which half":      {[]seal.Contribution{length(3600, 9, 9)}, nil},
		"nor do 25 minutes":                    {[]seal.Contribution{length(1500, 9, 9)}, nil},
		"nor a day":                            {[]seal.Contribution{length(86400, 9)}, nil},
		"a first day may be partial":           {[]seal.Contribution{quarters(h, p, today, 92, 1, 1, 1, 1)}, map[int]int64{46: 2, 47: 2}},
		"a last day may be partial":            {[]seal.Contribution{quarters(h, p, today, 0, 1, 1)}, map[int]int64{0: 2}},
		"a gap is zero":                        {[]seal.Contribution{quarters(h, p, today, 0, 1, 1), quarters(h, p, today, 6, 1, 1)}, map[int]int64{0: 2, 3: 2}},
		"missing is zero, doubted is not":      {[]seal.Contribution{missing}, map[int]int64{0: 10, 1: 70}},
		"export is another register":           {[]seal.Contribution{exported}, nil},
		"yesterday's last quarter":             {[]seal.Contribution{quarters(h, p, today-1, 95, 7)}, nil},
		"yesterday":                            {[]seal.Contribution{quarters(h, p, today-1, 0, repeated(7, 96)...)}, nil},
		"tomorrow":                             {[]seal.Contribution{quarters(h, p, today+1, 0, repeated(7, 96)...)}, nil},
		"last year":                            {[]seal.Contribution{quarters(h, p, today-365, 0, 7)}, nil},
		"a stranger":                           {[]seal.Contribution{quarters("nobody", "up-9", today, 0, 7)}, nil},
		"the newest revision":                  {[]seal.Contribution{revised(halves(h, p, today, 0, 5), 2), revised(halves(h, p, today, 0, 4, 4), 1), revised(halves(h, p, today, 0, 6), 3)}, map[int]int64{0: 6, 1: 4}},
		"the newest revision, downwards":       {[]seal.Contribution{revised(halves(h, p, today, 0, 1), 9), halves(h, p, today, 0, 50)}, map[int]int64{0: 1}},
		"a missing value takes nothing back":   {[]seal.Contribution{quarters(h, p, today, 0, 1, 2, 3, 4), revised(missing, 1)}, map[int]int64{0: 12, 1: 70}},
		"the same again":                       {[]seal.Contribution{halves(h, p, today, 0, 5), halves(h, p, today, 0, 5)}, map[int]int64{0: 5}},
		"two usage points are one home":        {[]seal.Contribution{halves(h, p, today, 0, 5), halves(h, "up-2", today, 0, 7, 7)}, map[int]int64{0: 12, 1: 7}},
		"two points, in different granularity": {[]seal.Contribution{halves(h, p, today, 0, 5), quarters(h, "up-2", today, 1, 7, 7)}, map[int]int64{0: 12, 1: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, wide())
			w.home(h, "feeder-2", p, "up-2")
			w.open(t, today)
			for _, c := range test.send { // a batch each
				w.send(t, today, c)
			}
			if got, want := rawFeeder(t, w, today, "feeder-2"), at(test.want); !slices.Equal(got, want) {
				t.Errorf("the day is %v, want %v", got, want)
			}
		})
	}
}

// Contributes is what ingest asks before it spools anything. It would catch an
// export or an hourly series in the spool, and a length that makes it panic.
func TestContributesSaysWhatTheSpoolTakes(t *testing.T) {
	net := meter.Register{1, 0, 16, 8, 0, 255}
	for _, test := range []struct {
		register meter.Register
		length   int64
		want     bool
	}{
		{meter.ActiveImport, 60, true},
		{meter.ActiveImport, 900, true},
		{meter.ActiveImport, 1800, true},
		{meter.ActiveImport, 3600, false},
		{meter.ActiveImport, 86400, false},
		{meter.ActiveImport, 1201, false},
		{meter.ActiveImport, 0, false},
		{meter.ActiveImport, -900, false},
		{meter.ActiveImport, math.MinInt64, false},
		{meter.ActiveExport, 900, false},
		{net, 900, false},
		{meter.Register{}, 900, false},
	} {
		if got := plain().Contributes(meter.Series{Register: test.register, Length: test.length}); got != test.want {
			t.Errorf("%s in %d s: %v, want %v", test.register, test.length, got, test.want)
		}
	}
}

// Where two batches disagree at one revision, the one that was accepted first
// counts, in whatever order they lie in the spool, and the usage point that was
// contradicted is reported: that one alone, however many the household has. It
// would catch a total that depends on row order, and a utility that is told of
// the wrong meter.
func TestFirstAcceptedWinsAndTheConflictIsReported(t *testing.T) {
	w := newWorld(t, wide())
	w.home("home", "feeder-1", "up-a", "up-b", "up-c")
	w.open(t, today)
	first, second := w.writer.Begin(), w.writer.Begin()
	exported := quarters("home", "up-c", today, 0, 8)
	exported.Series.Register = meter.ActiveExport
	w.store1(t, today, second, halves("home", "up-b", today, 0, 90, 2, 91), halves("home", "up-a", today, 0, 1000), exported)
	exported.Series.Values = []int64{9} // contradicts, in a register that enters nothing
	w.store1(t, today, first, halves("home", "up-b", today, 0, 1, 2, 3), halves("home", "up-a", today, 0, 1000), exported)
	w.store1(t, today, w.writer.Begin(), halves("stranger", "up-z", today, 0, 1))
	w.store1(t, today, w.writer.Begin(), halves("stranger", "up-z", today, 0, 2))
	if got, want := rawFeeder(t, w, today, "feeder-1"), at(map[int]int64{0: 1001, 1: 2, 2: 3}); !slices.Equal(got, want) {
		t.Errorf("the day is %v, want %v", got, want)
	}
	w.due(today)
	w.close(t, days(today-1, today)...)
	for point, want := range map[meter.UsagePoint]int{"up-a": 0, "up-b": 2, "up-c": 0, "up-z": 0} {
		if got := w.store.Conflicts(releasetest.Conflict{Point: point, Day: today}); got != want {
			t.Errorf("%s: %d intervals were reported, want %d", point, got, want)
		}
	}
}

// A household is one vector whatever it is metered by, and one home's people:
// two usage points are clipped together, two households that follow each other at
// one meter apart. It would catch a clip by usage point, which lets a home count
// several times its bound.
func TestAHouseholdIsClippedOnce(t *testing.T) {
	plan := plain()
	for i := range plan.Products[0].Levels {
		plan.Products[0].Levels[i].ClipWh = 1000
	}
	w := newWorld(t, plan)
	w.home("home", "feeder-1", "up-a", "up-b")
	w.store.AddPoint("up-c", release.Place{Node: "feeder-3"})
	noon := today.Start() + 43200
	w.store.Occupy(consent.Occupancy{UsagePoint: "up-c", Household: "before", From: -1 << 40, Until: noon})
	w.store.Occupy(consent.Occupancy{UsagePoint: "up-c", Household: "after", From: noon})
	w.open(t, today)
	w.send(t, today,
		halves("home", "up-a", today, 0, 1000), halves("home", "up-b", today, 0, 1000),
		halves("before", "up-c", today, 10, 1000), halves("after", "up-c", today, 30, 1000))
	raw, err := w.raw(t, today)
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string][]int64{
		"feeder-1": at(map[int]int64{0: 1000}), // and not 2000
		"feeder-3": at(map[int]int64{10: 1000, 30: 1000}),
		"region":   at(map[int]int64{0: 1000, 10: 1000, 30: 1000}), // and not 707 twice
	} {
		if !slices.Equal(raw[node], want) {
			t.Errorf("%s is %v, want %v", node, raw[node], want)
		}
	}
}

// The register decides who counts and where: an erased household's readings enter
// no total although they lie in the spool, nor do those of a household that lives
// nowhere that day; one fed from an inner node counts in it and above.
func TestTheRegisterDecidesWhoCounts(t *testing.T) {
	w := newWorld(t, wide())
	w.home("stays", "feeder-1", "up-1")
	w.home("erased", "feeder-1", "up-2")
	w.home("inner", "sub-2", "up-3")
	w.store.AddPoint("up-4", release.Place{Node: "feeder-1"})
	w.store.Occupy(consent.Occupancy{UsagePoint: "up-4", Household: "moved-out", From: -1 << 40, Until: today.Start()})
	w.open(t, today)
	for i, h := range []consent.Household{"stays", "erased", "inner", "moved-out"} {
		w.send(t, today, halves(h, meter.UsagePoint("up-"+string(rune('1'+i))), today, i, 10))
	}
	w.store.Erase("erased")
	raw, err := w.raw(t, today)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int64{"region": at(map[int]int64{0: 10, 2: 10}), "sub-1": at(map[int]int64{0: 10}), "feeder-1": at(map[int]int64{0: 10}), "sub-2": at(map[int]int64{2: 10})}
	for id, sums := range raw {
		if x := want[id]; !slices.Equal(sums, append(x, make([]int64, 48-len(x))...)) {
			t.Errorf("%s is %v, want %v", id, sums, x)
		}
	}
}

// A window with more households than are held at once, and a register with more than are
// read at once, give the same sums, and count nobody twice, whatever the shares. It would
// catch a household that falls between two parts.
func TestSharesOfALargeWindowAddUp(t *testing.T) {
	w := newWorld(t, wide())
	w.open(t, today)
	for i := range 25 {
		h, p := consent.Household([]byte{'h', byte('a' + i)}), meter.UsagePoint([]byte{'u', byte('a' + i)})
		w.home(h, "feeder-1", p)
		w.send(t, today, halves(h, p, today, i, int64(i+1)))
		w.send(t, today, revised(halves(h, p, today, i, int64(100*(i+1))), 1), halves(h, p, today, 40, 1))
	}
	whole, err := w.raw(t, today)
	if err != nil {
		t.Fatal(err)
	}
	if got := whole["region"][40]; got != 25 {
		t.Fatalf("%d households count, want 25", got)
	}
	for _, n := range []int{1, 2, 7, 24, 25, 26} {
		w.engine.HoldAtOnce(n)
		got, err := w.raw(t, today)
		if err != nil || !maps.EqualFunc(got, whole, func(a, b []int64) bool { return slices.Equal(a, b) }) {
			t.Errorf("%d households at once: other sums, %v", n, err)
		}
		for _, registered := range []int{3, 12, 24} {
			w.engine.RegisterAtOnce(registered)
			got, err := w.raw(t, today)
			if err != nil || !maps.EqualFunc(got, whole, func(a, b []int64) bool { return slices.Equal(a, b) }) {
				t.Errorf("%d households at once, %d of the register: other sums, %v", n, registered, err)
			}
		}
		w.engine.RegisterAtOnce(25)
	}
}

// Readings at the end of the range stop nothing: they saturate, and are clipped
// like any other. It would catch a wrapped sum, and an overflow that lets one
// household decide whether anybody's day is published.
func TestExtremeReadingsStopNoRelease(t *testing.T) {
	w := newWorld(t, plain())
	w.home("home", "feeder-1", "up-1", "up-2", "up-3")
	w.open(t, today)
	most := meter.CapValue(math.MaxInt64, 900) // 2^61 - 1: six of them overflow
	for _, p := range []meter.UsagePoint{"up-1", "up-2", "up-3"} {
		c := quarters("home", p, today, 0, most, most, 0, 0, most, most)
		c.CapWatts = math.MaxInt64
		w.send(t, today, c)
	}
	raw, err := w.raw(t, today)
	if err != nil {
		t.Fatal(err)
	}
	c := w.plan.Products[0].Levels[0].ClipWh
	half := new(big.Int).Sqrt(big.NewInt(c * c / 2)).Int64() // two equal half-hours of norm C
	if got, want := raw["region"], at(map[int]int64{0: half, 2: half}); !slices.Equal(got, want) {
		t.Errorf("the region's day is %v, want %v", got, want)
	}
	w.due(today)
	w.close(t, days(today-1, today)...)
	w.body(t, today)
}
