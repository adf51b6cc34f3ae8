package meter_test

import (
	"math"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// cetMidnight is 2018-10-29 00:00 CET: a local day from here spans two UTC days.
const cetMidnight = 1540767600

// counted returns n quarter hours from start with the values 0, 1, 2 …
func counted(start int64, n int) meter.Series {
	s := meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: start, Length: 900, Revision: 3}
	for i := range n {
		s.Values = append(s.Values, int64(i))
	}
	return s
}

func TestSeriesAt(t *testing.T) {
	s := counted(cetMidnight, 3)
	s.Quality = []meter.Quality{meter.Measured, meter.Estimated, meter.Missing}
	got := s.At(1)
	want := meter.Reading{
		UsagePoint: "up-1", Register: meter.ActiveImport,
		Start: time.Date(2018, 10, 28, 23, 15, 0, 0, time.UTC), Length: 15 * time.Minute,
		Value: 1, Unit: meter.Wh, Quality: meter.Estimated, Revision: 3,
	}
	if got != want {
		t.Errorf("At(1) = %+v, want %+v", got, want)
	}
	if s.End() != cetMidnight+3*900 || s.Present() != 2 || counted(0, 3).Present() != 3 {
		t.Errorf("End %d, Present %d", s.End(), s.Present())
	}
}

// A local day is sealed under two UTC day keys: this catches an interval that
// falls between the pieces, into both, or into the wrong day.
func TestSplitUTCDays(t *testing.T) {
	for _, c := range []struct {
		name   string
		series meter.Series
		pieces []int // intervals in each
	}{
		{"nothing", counted(cetMidnight, 0), nil},
		{"one UTC day", counted(0, 96), []int{96}},
		{"up to the last interval of a day", counted(86400-900, 1), []int{1}},
		{"a day in central Europe", counted(cetMidnight, 96), []int{4, 92}},
		{"three days", counted(cetMidnight, 4+96+1), []int{4, 96, 1}},
		{"before 1970", counted(-900, 3), []int{1, 2}},
		{"an interval over midnight counts where it starts", counted(86400-1000, 3), []int{2, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pieces := c.series.SplitUTCDays()
			if len(pieces) != len(c.pieces) {
				t.Fatalf("%d pieces, want %d", len(pieces), len(c.pieces))
			}
			next := int64(0)
			for k, p := range pieces {
				if len(p.Values) != c.pieces[k] {
					t.Errorf("piece %d has %d intervals, want %d", k, len(p.Values), c.pieces[k])
				}
				for i := range p.Values {
					if p.Values[i] != next || p.StartAt(i) != c.series.StartAt(int(next)) {
						t.Fatalf("piece %d, interval %d: value %d starts at %d", k, i, p.Values[i], p.StartAt(i))
					}
					if meter.DayOf(p.StartAt(i)) != meter.DayOf(p.Start) {
						t.Errorf("piece %d spans two days", k)
					}
					next++
				}
			}
		})
	}
}

// An append to one piece must not write into the next.
func TestPiecesAreFenced(t *testing.T) {
	s := counted(cetMidnight, 96)
	s.Quality = make([]meter.Quality, 96)
	first := s.SplitUTCDays()[0]
	_ = append(first.Values, -1)
	_ = append(first.Quality, meter.Suspect)
	if s.Values[4] != 4 || s.Quality[4] != meter.Measured {
		t.Error("append to the first piece changed the second")
	}
}

// An answer is trimmed to what the household granted: this catches an interval
// outside the range handed out, at either end and at extreme bounds.
func TestTrim(t *testing.T) {
	s := counted(9000, 10) // starts 9000, 9900 … 17100
	for _, c := range []struct {
		name        string
		from, until int64
		first, n    int64
	}{
		{"all", math.MinInt64, math.MaxInt64, 0, 10},
		{"exact", 9000, 18000, 0, 10},
		{"an interval belongs where it starts", 9001, 17101, 1, 9},
		{"until is excluded", 9900, 10800, 1, 1},
		{"none: before", 0, 9000, 0, 0},
		{"none: after", 17101, 99999, 10, 0},
		{"none: empty range", 10000, 10000, 2, 0},
		{"none: reversed range", 12000, 9000, 4, 0},
		{"none: reversed extremes", math.MaxInt64, math.MinInt64, 10, 0},
	} {
		got := s.Trim(c.from, c.until)
		if int64(len(got.Values)) != c.n || c.n > 0 && (got.Values[0] != c.first || got.Start != s.StartAt(int(c.first))) {
			t.Errorf("%s: Trim(%d, %d) starts at %d with %d values", c.name, c.from, c.until, got.Start, len(got.Values))
		}
	}
	s.Quality = make([]meter.Quality, 10)
	s.Quality[5] = meter.Suspect
	if got := s.Trim(s.StartAt(5), s.End()); got.QualityAt(0) != meter.Suspect || len(got.Quality) != 5 {
		t.Error("quality was not trimmed with the values")
	}
}

// Decoders hand over what meters send: frames that no calendar holds must not
// bring the process down before Validate refuses them.
func TestAbsurdFramesDoNotPanic(t *testing.T) {
	extremes := []int64{math.MinInt64, -1, 0, 1, 59, 900, 86400, 86401, 1 << 40, math.MaxInt64}
	for _, start := range extremes {
		for _, length := range extremes {
			for n := range 3 {
				s := counted(start, n)
				s.Length = length
				total := 0
				for _, p := range s.SplitUTCDays() {
					total += len(p.Values)
				}
				if total != n {
					t.Errorf("start %d, length %d: %d of %d intervals kept", start, length, total, n)
				}
				for _, from := range extremes {
					s.Trim(from, start)
					s.Trim(start, from)
				}
			}
		}
	}
}

// What a sum is worth is said by its worst value, in one order everywhere. It would catch
// an estimate that hides behind a substitute, and a mark of tomorrow that counts as none.
func TestWorse(t *testing.T) {
	order := []meter.Quality{meter.Measured, meter.Substituted, meter.Estimated, meter.Suspect}
	for i, a := range order {
		for j, b := range order {
			if got := meter.Worse(a, b); got != order[max(i, j)] {
				t.Errorf("of %v and %v: %v", a, b, got)
			}
		}
	}
	if got := meter.Worse(meter.Estimated, 9); got != meter.Suspect {
		t.Errorf("of an estimate and what is not assigned: %v", got)
	}
}
