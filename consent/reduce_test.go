package consent_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

func zurich(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// run is a series of n intervals of the same value.
func run(start, length int64, n int, value int64) meter.Series {
	return meter.Series{UsagePoint: up1, Register: meter.ActiveImport, Start: start, Length: length, Values: slices.Repeat([]int64{value}, n)}
}

// with marks one interval.
func with(s meter.Series, i int, q meter.Quality) meter.Series {
	s.Quality = make([]meter.Quality, len(s.Values))
	copy(s.Quality[i:], []meter.Quality{q})
	return s
}

// Sums follow the clocks of the place: 92 quarters on a spring day, 100 on an
// autumn day, and a new series where the length changes. It would catch a sum by
// UTC days, or one that loses or doubles the hour of the change.
func TestReduceDaysOverClockChange(t *testing.T) {
	zone := zurich(t)
	for _, test := range []struct {
		date  time.Time // local midnight of the change
		hours int64
	}{
		{time.Date(2024, 3, 31, 0, 0, 0, 0, zone), 23},
		{time.Date(2024, 10, 27, 0, 0, 0, 0, zone), 25},
	} {
		from, until := test.date.AddDate(0, 0, -2), test.date.AddDate(0, 0, 3)
		s := run(from.Unix(), 900, int(until.Unix()-from.Unix())/900, 1)
		got, err := consent.Reduce([]meter.Series{s}, consent.Day, zone, from.Unix(), until.Unix())
		if err != nil {
			t.Fatal(err)
		}
		want := []meter.Series{
			run(from.Unix(), day, 2, 96),
			run(test.date.Unix(), test.hours*3600, 1, test.hours*4),
			run(test.date.AddDate(0, 0, 1).Unix(), day, 2, 96),
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v, want %+v", test.date, got, want)
		}
	}
}

// A year by month is twelve sums that hold everything. It would catch months of
// 30 days.
func TestReduceMonths(t *testing.T) {
	zone := zurich(t)
	from, until := time.Date(2024, 1, 1, 0, 0, 0, 0, zone).Unix(), time.Date(2025, 1, 1, 0, 0, 0, 0, zone).Unix()
	s := run(from, 1800, int(until-from)/1800, 7)
	got, err := consent.Reduce([]meter.Series{s}, consent.Month, zone, from, until)
	if err != nil {
		t.Fatal(err)
	}
	n, sum := 0, int64(0)
	for _, m := range got {
		n += len(m.Values)
		for i, v := range m.Values {
			sum += v
			if start := time.Unix(m.StartAt(i), 0).In(zone); start.Day() != 1 || start.Hour() != 0 {
				t.Errorf("a month begins %v", start)
			}
			if v != m.Length/1800*7 {
				t.Errorf("sum %d over %d s", v, m.Length)
			}
		}
	}
	if n != 12 || sum != int64(len(s.Values))*7 {
		t.Errorf("%d months with %d in all, want 12 with %d", n, sum, int64(len(s.Values))*7)
	}
}

// What is missing, doubted or given twice shows in the sum's quality; nothing
// present is no sum. It would catch a gap that passes for saving energy.
func TestReduceQuality(t *testing.T) {
	const h = int64(3600)
	at := t0
	hole := run(at, 900, 4, 5)
	hole.Values[2] = 0
	for _, test := range []struct {
		name   string
		series []meter.Series
		want   []meter.Series
	}{
		{"complete", []meter.Series{run(at, 900, 4, 5)}, []meter.Series{run(at, h, 1, 20)}},
		{"in two pieces", []meter.Series{run(at+1800, 900, 2, 5), run(at, 900, 2, 5)}, []meter.Series{run(at, h, 1, 20)}},
		{"mixed lengths", []meter.Series{run(at, 1800, 1, 10), run(at+1800, 900, 2, 5)}, []meter.Series{run(at, h, 1, 20)}},
		{"estimated", []meter.Series{with(run(at, 900, 4, 5), 1, meter.Estimated)}, []meter.Series{with(run(at, h, 1, 20), 0, meter.Estimated)}},
		{"substituted", []meter.Series{with(run(at, 900, 4, 5), 3, meter.Substituted)}, []meter.Series{with(run(at, h, 1, 20), 0, meter.Substituted)}},
		{
			"the worst of them",
			[]meter.Series{with(run(at, 900, 2, 5), 1, meter.Estimated), with(run(at+1800, 900, 2, 5), 1, meter.Substituted)},
			[]meter.Series{with(run(at, h, 1, 20), 0, meter.Estimated)},
		},
		{"a hole", []meter.Series{with(hole, 2, meter.Missing)}, []meter.Series{with(run(at, h, 1, 15), 0, meter.Suspect)}},
		{"not all there", []meter.Series{run(at, 900, 3, 5)}, []meter.Series{with(run(at, h, 1, 15), 0, meter.Suspect)}},
		{"told twice", []meter.Series{run(at, 900, 4, 5), run(at, 1800, 2, 11)}, []meter.Series{with(run(at, h, 1, 20), 0, meter.Suspect)}},
		{"nothing", []meter.Series{with(run(at, 900, 1, 0), 0, meter.Missing)}, nil},
		{
			"an hour missing between two",
			[]meter.Series{run(at, 900, 4, 5), run(at+2*h, 900, 4, 5)},
			[]meter.Series{{
				UsagePoint: up1, Register: meter.ActiveImport, Start: at, Length: h,
				Values: []int64{20, 0, 20}, Quality: []meter.Quality{meter.Measured, meter.Missing, meter.Measured},
			}},
		},
		{"already as coarse", []meter.Series{run(at, h, 2, 5)}, []meter.Series{run(at, h, 2, 5)}},
		{"coarser", []meter.Series{run(at, day, 1, 5)}, []meter.Series{run(at, day, 1, 5)}},
	} {
		got, err := consent.Reduce(test.series, consent.Hour, time.UTC, at, at+day)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// Usage points and registers are summed each for itself, and come in order.
func TestReduceKeepsChannelsApart(t *testing.T) {
	export := run(t0, 900, 4, 2)
	export.Register = meter.ActiveExport
	second := run(t0, 900, 4, 3)
	second.UsagePoint = up2
	got, err := consent.Reduce([]meter.Series{second, export, run(t0, 900, 4, 1)}, consent.Hour, time.UTC, t0, t0+day)
	if err != nil {
		t.Fatal(err)
	}
	var values []int64
	for _, s := range got {
		values = append(values, s.Values...)
	}
	if want := []int64{4, 8, 12}; !slices.Equal(values, want) {
		t.Errorf("sums %v, want %v", values, want)
	}
}

// What cannot be summed is an error, never a wrong number.
func TestReduceRefuses(t *testing.T) {
	watts := run(t0, 900, 4, 1)
	watts.Register = power
	for name, s := range map[string]meter.Series{
		"power":          watts,
		"overflow above": run(t0, 900, 4, math.MaxInt64/3),
		"overflow below": run(t0, 900, 4, math.MinInt64/3),
	} {
		if _, err := consent.Reduce([]meter.Series{s}, consent.Hour, time.UTC, t0, t0+day); !errors.Is(err, consent.ErrSum) {
			t.Errorf("%s: %v, want ErrSum", name, err)
		}
	}
	if got, err := consent.Reduce([]meter.Series{watts}, consent.Interval, time.UTC, t0, t0+1800); err != nil || len(got) != 1 || len(got[0].Values) != 2 {
		t.Errorf("as metered: %+v, %v", got, err)
	}
}

// Someone with a consent for days cannot learn an hour: not by asking for a
// short range, nor by two ranges that differ by an interval, nor by asking while
// the day runs, nor from a day that was cut by a move. It would catch a sum over
// a part of a day.
func TestNoFinerThanGranted(t *testing.T) {
	w := newWorld(t)
	terms := advice()
	terms.Granularity = consent.Day
	id := w.granted(terms)
	data := []meter.Series{run(t0-40*day, 900, 96*50, 1)}
	local := func(d int64) int64 { return t0 - 2*3600 + d*day } // local midnight in summer
	ask := func(from, until int64) []meter.Series {
		t.Helper()
		got, err := w.allow(w.asks(id, span(from, until))).Disclose(data)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	whole := func(name string, got []meter.Series, start int64, days int) {
		t.Helper()
		var want []meter.Series
		if days > 0 {
			want = []meter.Series{run(start, day, days, 96)}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	whole("an interval", ask(t0-5*day, t0-5*day+900), 0, 0)
	whole("a day but a quarter", ask(local(-5), local(-4)-900), 0, 0)
	whole("a day", ask(local(-5), local(-4)), local(-5), 1)
	whole("a day and a quarter", ask(local(-5), local(-4)+900), local(-5), 1)
	whole("a UTC day", ask(t0-5*day, t0-4*day), 0, 0)

	w.now = t0 + 3*day
	whole("while the day runs", ask(local(0), local(6)), local(0), 3)
	w.now = local(4)
	whole("as the day ends", ask(local(0), local(6)), local(0), 4)

	// Home moved in at UTC midnight, two hours into the local day.
	whole("the day of the move", ask(local(-32), local(-28)), local(-29), 1)
	w.ledger.Occupy(consent.Occupancy{UsagePoint: up1, Household: home, From: movedIn, Until: t0 + 12*3600, Zone: "Europe/Zurich"})
	whole("the day of moving out", ask(local(-1), local(4)), local(-1), 1)
}

// The sum over a day is the same whatever range it is asked in, though intervals of
// two lengths overlap at its beginning. It would catch a day whose first quarters
// count or not by whether the day before was asked for too: the difference of the
// two answers is a sum over an hour.
func TestSumsDependOnNoRange(t *testing.T) {
	zone := zurich(t)
	midnight := time.Date(2024, 1, 10, 0, 0, 0, 0, zone).Unix()
	data := []meter.Series{
		run(midnight-day-3600, 7200, 24, 1000), // one of them lies across local midnight
		run(midnight, 900, 96, 1),
	}
	sums := map[int64][]int64{}
	for _, from := range []int64{midnight - day, midnight} {
		got, err := consent.Reduce(data, consent.Day, zone, from, midnight+day)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got {
			for i, v := range s.Values {
				sums[s.StartAt(i)] = append(sums[s.StartAt(i)], v)
			}
		}
	}
	if s := sums[midnight]; len(s) != 2 || s[0] != s[1] {
		t.Errorf("the same day sums to %v, want twice the same", s)
	}
}

// At the finest granularity what leaves is exact to the interval, by point,
// register and range. It would catch a whole day's block that leaves untrimmed.
func TestDiscloseIntervals(t *testing.T) {
	w := newWorld(t)
	p := w.allow(w.asks(w.granted(advice()), span(movedIn-day, movedIn+1800)))
	export := run(movedIn-day, 900, 200, 2)
	export.Register = meter.ActiveExport
	second := run(movedIn-day, 900, 200, 3)
	second.UsagePoint = up2
	got, err := p.Disclose([]meter.Series{run(movedIn-day, 900, 200, 1), export, second})
	if err != nil {
		t.Fatal(err)
	}
	if want := []meter.Series{run(movedIn, 900, 2, 1)}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A zone that nobody knows is an error, not a guess at UTC.
func TestDiscloseUnknownZone(t *testing.T) {
	w := newWorld(t)
	w.ledger.Occupy(consent.Occupancy{UsagePoint: up1, Household: home, From: movedIn, Zone: "Europe/Nowhere"})
	terms := advice()
	terms.Granularity = consent.Month
	if _, err := w.allow(w.asks(w.granted(terms))).Disclose(nil); err == nil {
		t.Error("no error")
	}
}
