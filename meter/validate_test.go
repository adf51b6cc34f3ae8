package meter_test

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

func TestCapValue(t *testing.T) {
	for _, c := range []struct{ watts, seconds, want int64 }{
		{meter.DefaultCapWatts, 900, 17250},
		{meter.DefaultCapWatts, 3600, 69000},
		{meter.DefaultCapWatts, 86400, 1656000},
		{1, 3599, 0}, // rounds down: a whole Wh would be more than 1 W carries
		{1, 7201, 2},
		{0, 900, 0},
		{-69000, 900, 0},
		{69000, -900, 0},
		{math.MaxInt64, 3600, math.MaxInt64},
		{math.MaxInt64, 7200, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64},
		{math.MaxInt64, 1800, math.MaxInt64 / 2},
	} {
		if got := meter.CapValue(c.watts, c.seconds); got != c.want {
			t.Errorf("CapValue(%d, %d) = %d, want %d", c.watts, c.seconds, got, c.want)
		}
	}
}

// now is the end of the last of the ten quarter hours that policy tests use.
const now = 9000 + 10*900

var household = meter.Limits{CapWatts: meter.DefaultCapWatts, Now: now, FutureSlack: 0}

// with returns ten quarter hours of 500 Wh, changed by f.
func with(f func(*meter.Series)) meter.Series {
	s := meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: 9000, Length: 900}
	for range 10 {
		s.Values = append(s.Values, 500)
	}
	f(&s)
	return s
}

func register(code string) meter.Register {
	r, err := meter.ParseRegister(code)
	if err != nil {
		panic(err)
	}
	return r
}

// The policy, interval by interval: what is refused, what is not, and that a
// refusal takes one interval and no more. A rule that is lost, or one that
// refuses its own limit, fails here.
func TestValidateIntervals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*meter.Series)
		limits meter.Limits
		want   map[int]meter.Reason // by interval
	}{
		{"an ordinary series", func(*meter.Series) {}, household, nil},
		{"no values", func(s *meter.Series) { s.Values = nil }, household, nil},
		{"zero is a value", func(s *meter.Series) { s.Values[3] = 0 }, household, nil},
		{"import below zero", func(s *meter.Series) { s.Values[3] = -1 }, household, map[int]meter.Reason{3: meter.NegativeDelivered}},
		{"export below zero", func(s *meter.Series) { s.Register, s.Values[9] = meter.ActiveExport, math.MinInt64 }, household, map[int]meter.Reason{9: meter.NegativeDelivered}},
		{"net below zero", func(s *meter.Series) { s.Register, s.Values[3] = register("1-0:16.29.0*255"), -17250 }, household, nil},
		{"net far below zero", func(s *meter.Series) { s.Register, s.Values[3] = register("1-0:16.29.0*255"), -17251 }, household, map[int]meter.Reason{3: meter.AboveCap}},
		{"net at the end of int64", func(s *meter.Series) { s.Register, s.Values[3] = register("1-0:16.29.0*255"), math.MinInt64 }, household, map[int]meter.Reason{3: meter.AboveCap}},
		{"at the cap", func(s *meter.Series) { s.Values[0] = 17250 }, household, nil},
		{"above the cap, twice", func(s *meter.Series) { s.Values[0], s.Values[7] = 17251, math.MaxInt64 }, household, map[int]meter.Reason{0: meter.AboveCap, 7: meter.AboveCap}},
		{"a counter state has no cap", func(s *meter.Series) { s.Register, s.Values[0] = register("1-0:1.8.0*255"), 98765432 }, household, nil},
		{"power is held against the watts", func(s *meter.Series) {
			s.Register, s.Values[0], s.Values[1] = register("1-0:1.7.0*255"), 69000, 69001
		}, household, map[int]meter.Reason{1: meter.AboveCap}},
		{"a smaller connection", func(*meter.Series) {}, meter.Limits{CapWatts: 1999, Now: now}, all(meter.AboveCap)},
		{"ends now", func(*meter.Series) {}, meter.Limits{CapWatts: 69000, Now: now}, nil},
		{"ends a second from now", func(*meter.Series) {}, meter.Limits{CapWatts: 69000, Now: now - 1}, map[int]meter.Reason{9: meter.Future}},
		{"ends within the slack", func(*meter.Series) {}, meter.Limits{CapWatts: 69000, Now: now - 300, FutureSlack: 300}, nil},
		{"ends after the slack", func(*meter.Series) {}, meter.Limits{CapWatts: 69000, Now: now - 301, FutureSlack: 300}, map[int]meter.Reason{9: meter.Future}},
		{"no clock to fear", func(*meter.Series) {}, meter.Limits{CapWatts: 69000, Now: math.MaxInt64, FutureSlack: math.MaxInt64}, nil},
		{"every assigned quality", func(s *meter.Series) {
			s.Quality = []meter.Quality{0, 1, 2, 3, 0, 0, 0, 0, 0, 0}
		}, household, nil},
		{"unassigned quality", func(s *meter.Series) {
			s.Quality = make([]meter.Quality, 10)
			s.Quality[4], s.Quality[5] = 4, 16
		}, household, map[int]meter.Reason{4: meter.BadQuality, 5: meter.BadQuality}},
		{"missing is never refused", func(s *meter.Series) {
			s.Quality = make([]meter.Quality, 10)
			s.Quality[4], s.Values[4] = meter.Missing, -7
			s.Quality[9] = meter.Missing
		}, meter.Limits{CapWatts: 69000, Now: now - 1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := with(c.change)
			before := slices.Clone(s.Values)
			given := s

			refused := s.Validate(c.limits)

			if len(refused) != len(c.want) {
				t.Errorf("%d refused, want %d: %v", len(refused), len(c.want), refused)
			}
			for _, r := range refused {
				i := int((r.Start - s.Start) / s.Length)
				if r.UsagePoint != "up-1" || r.Register != s.Register || r.Reason != c.want[i] {
					t.Errorf("interval %d refused as %+v, want %q", i, r, c.want[i])
				}
			}
			for i, v := range s.Values {
				_, wasRefused := c.want[i]
				wasMissing := given.QualityAt(i) == meter.Missing
				switch {
				case wasRefused || wasMissing:
					if v != 0 || s.QualityAt(i) != meter.Missing {
						t.Errorf("interval %d: %d %s, want 0 missing", i, v, s.QualityAt(i))
					}
				case v != before[i] || s.QualityAt(i) != given.QualityAt(i):
					t.Errorf("interval %d: %d %s, want it unchanged", i, v, s.QualityAt(i))
				}
			}
			if !slices.Equal(given.Values, before) {
				t.Error("the sender's array was written to")
			}
			if again := s.Validate(c.limits); len(again) != 0 {
				t.Errorf("a validated series is refused again: %v", again)
			}
		})
	}
}

func all(r meter.Reason) map[int]meter.Reason {
	m := make(map[int]meter.Reason)
	for i := range 10 {
		m[i] = r
	}
	return m
}

// A wrong frame leaves no interval that could be believed: all are refused and
// none is left to be stored by mistake.
func TestValidateFrame(t *testing.T) {
	frame := func(start, length int64) func(*meter.Series) {
		return func(s *meter.Series) { s.Start, s.Length = start, length }
	}
	for _, c := range []struct {
		name   string
		change func(*meter.Series)
		want   meter.Reason // "" if the frame is good
	}{
		{"a minute", frame(60, 60), ""},
		{"a day", frame(86400, 86400), ""},
		{"before 1970", frame(-900, 900), ""},
		{"seven and a half minutes", frame(9000, 450), ""},
		{"ninety minutes", frame(5400, 5400), ""},
		{"a start off the grid", frame(9001, 900), meter.MisalignedStart},
		{"a start off the grid before 1970", frame(-899, 900), meter.MisalignedStart},
		{"a local day", frame(cetMidnight, 86400), meter.MisalignedStart},
		{"no length", frame(9000, 0), meter.BadLength},
		{"negative length", frame(9000, -900), meter.BadLength},
		{"half a minute", frame(9000, 30), meter.BadLength},
		{"seven hours", frame(0, 25200), meter.BadLength},
		{"two days", frame(0, 172800), meter.BadLength},
		{"length at the end of int64", frame(0, math.MaxInt64), meter.BadLength},
		{"start at the end of int64", frame(math.MaxInt64-math.MaxInt64%900, 900), meter.TimeOverflow},
		{"start at the beginning of int64", frame(math.MinInt64, 900), meter.TimeOverflow},
		{"ends after the year 9999", frame(253402300800-9*900, 900), meter.TimeOverflow},
		{"ends with the year 9999", frame(253402300800-10*900, 900), ""},
		{"too few quality codes", func(s *meter.Series) { s.Quality = make([]meter.Quality, 9) }, meter.BadQuality},
		{"too many quality codes", func(s *meter.Series) { s.Quality = make([]meter.Quality, 11) }, meter.BadQuality},
		{"no quality codes, but not nil", func(s *meter.Series) { s.Quality = []meter.Quality{} }, meter.BadQuality},
		{"a register without a unit", func(s *meter.Series) { s.Register = meter.Register{} }, meter.UnknownRegister},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := with(c.change)
			given := s
			refused := s.Validate(meter.Limits{CapWatts: meter.DefaultCapWatts, Now: math.MaxInt64})
			if c.want == "" {
				if len(refused) != 0 || !reflect.DeepEqual(s, given) {
					t.Errorf("refused %v", refused)
				}
				return
			}
			if len(refused) != 10 || len(s.Values) != 0 || s.Quality != nil || s.Present() != 0 {
				t.Fatalf("%d refused, %d values left; want 10 and none", len(refused), len(s.Values))
			}
			for i, r := range refused {
				if want := (meter.Refusal{UsagePoint: "up-1", Register: s.Register, Start: given.StartAt(i), Reason: c.want}); r != want {
					t.Errorf("interval %d: %+v, want %+v", i, r, want)
				}
			}
		})
	}

	missing := with(func(s *meter.Series) {
		s.Start = 9001
		s.Quality = slices.Repeat([]meter.Quality{meter.Missing}, 10)
		s.Quality[2] = meter.Measured
	})
	if refused := missing.Validate(household); len(refused) != 1 || refused[0].Start != 9001+2*900 {
		t.Errorf("only the interval that states something is refused: %v", refused)
	}
}

// The words are a contract with every client: this catches a renamed reason.
func TestReasonWords(t *testing.T) {
	want := []string{
		"negative_delivered", "above_physical_cap", "bad_quality", "future", "misaligned_start", "bad_interval_length",
		"time_overflow", "unknown_register", "conflicting_revision", "unknown_usage_point",
	}
	got := []meter.Reason{
		meter.NegativeDelivered, meter.AboveCap, meter.BadQuality, meter.Future, meter.MisalignedStart, meter.BadLength,
		meter.TimeOverflow, meter.UnknownRegister, meter.ConflictingRevision, meter.UnknownUsagePoint,
	}
	for i := range want {
		if string(got[i]) != want[i] {
			t.Errorf("reason %d is %q, want %q", i, got[i], want[i])
		}
	}
}
