package meter_test

import (
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

// said returns quarter hours of up-1 from start, revision 0, with these values.
func said(start int64, values ...int64) meter.Series {
	return meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: start, Length: 900, Values: values}
}

func altered(s meter.Series, f func(*meter.Series)) meter.Series {
	f(&s)
	return s
}

// Policy for a batch that speaks twice about the same interval. It catches a
// conflict let through (two truths stored at one revision), a correction at a
// higher revision refused, and a repeat counted as an error.
func TestRefuseConflicts(t *testing.T) {
	const gone = -1 // in want: the slot was made Missing
	type series = []meter.Series
	for _, c := range []struct {
		name     string
		batch    []meter.Series
		want     [][]int64
		refused  []int64 // starts
		repeated int
	}{
		{"nothing", nil, nil, nil, 0},
		{"one series", series{said(0, 1, 2)}, [][]int64{{1, 2}}, nil, 0},
		{"neighbours", series{said(0, 1, 2), said(1800, 3)}, [][]int64{{1, 2}, {3}}, nil, 0},
		{"repeated", series{said(0, 1, 2), said(0, 1, 2)}, [][]int64{{1, 2}, {gone, gone}}, nil, 2},
		{"one differs", series{said(0, 1, 2), said(0, 1, 9)}, [][]int64{{1, 2}, {gone, gone}}, []int64{900}, 1},
		{"the first in the batch stands, not the earliest", series{said(900, 5, 6), said(0, 1, 2, 6)}, [][]int64{{5, 6}, {1, gone, gone}}, []int64{900}, 1},
		{"three speak", series{said(0, 1), said(0, 2), said(0, 1)}, [][]int64{{1}, {gone}, {gone}}, []int64{0}, 1},
		{"overlaps in a chain", series{said(0, 1, 2, 3), said(1800, 3, 4), said(2700, 9, 5)}, [][]int64{{1, 2, 3}, {gone, 4}, {gone, 5}}, []int64{2700}, 1},
		{"a short one inside a long one", series{said(0, 1, 2, 3, 4), said(900, 2), said(2700, 7)}, [][]int64{{1, 2, 3, 4}, {gone}, {gone}}, []int64{2700}, 1},
		{"other revision", series{said(0, 1), altered(said(0, 2), func(s *meter.Series) { s.Revision = 1 })}, [][]int64{{1}, {2}}, nil, 0},
		{"other register", series{said(0, 1), altered(said(0, 2), func(s *meter.Series) { s.Register = meter.ActiveExport })}, [][]int64{{1}, {2}}, nil, 0},
		{"other length", series{said(0, 1), altered(said(0, 2), func(s *meter.Series) { s.Length = 1800 })}, [][]int64{{1}, {2}}, nil, 0},
		{"other usage point", series{said(0, 1), altered(said(0, 2), func(s *meter.Series) { s.UsagePoint = "up-2" })}, [][]int64{{1}, {2}}, nil, 0},
		{"other quality", series{said(0, 1), altered(said(0, 1), func(s *meter.Series) { s.Quality = []meter.Quality{meter.Estimated} })}, [][]int64{{1}, {gone}}, []int64{0}, 0},
		{"missing does not stand", series{
			altered(said(0, 0, 2), func(s *meter.Series) { s.Quality = []meter.Quality{meter.Missing, meter.Measured} }),
			said(0, 1, 2),
		}, [][]int64{{gone, 2}, {1, gone}}, nil, 1},
		{"missing does not conflict", series{
			said(0, 1, 2),
			altered(said(0, 0, 2), func(s *meter.Series) { s.Quality = []meter.Quality{meter.Missing, meter.Measured} }),
		}, [][]int64{{1, 2}, {gone, gone}}, nil, 1},
		{"a frame that Validate would refuse is passed over", series{
			said(0, 1, 2),
			altered(said(0, 3, 4), func(s *meter.Series) { s.Quality = []meter.Quality{meter.Measured} }),
			altered(said(0, 5, 6), func(s *meter.Series) { s.Length = 0 }),
		}, [][]int64{{1, 2}, {3, 4}, {5, 6}}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused, repeated := meter.RefuseConflicts(c.batch)
			var starts []int64
			for _, r := range refused {
				starts = append(starts, r.Start)
				if r.UsagePoint != "up-1" || r.Register != meter.ActiveImport || r.Reason != meter.ConflictingRevision {
					t.Errorf("refusal %+v", r)
				}
			}
			if !slices.Equal(starts, c.refused) || repeated != c.repeated {
				t.Errorf("refused %v, repeated %d; want %v, %d", starts, repeated, c.refused, c.repeated)
			}
			for k, s := range c.batch {
				for i, v := range s.Values {
					want := c.want[k][i]
					if want == gone && (v != 0 || s.QualityAt(i) != meter.Missing) || want != gone && v != want {
						t.Errorf("series %d, interval %d: %d, want %d", k, i, v, want)
					}
				}
			}
		})
	}
}

// The same series given twice shares its arrays: clearing the second must not
// clear the first, or a value is lost that was acknowledged.
func TestRefuseConflictsOfSharedArrays(t *testing.T) {
	s := said(0, 1, 2)
	s.Quality = make([]meter.Quality, 2)
	batch := []meter.Series{s, s}
	refused, repeated := meter.RefuseConflicts(batch)
	if len(refused) != 0 || repeated != 2 || batch[0].Present() != 2 || batch[0].Values[1] != 2 || batch[1].Present() != 0 {
		t.Errorf("refused %v, repeated %d, kept %d and %d", refused, repeated, batch[0].Present(), batch[1].Present())
	}
}

// The common batch, households by day, must cost no look at its values: with
// none to settle, nothing but the order of the series is allocated.
func TestRefuseConflictsCommonCase(t *testing.T) {
	var batch []meter.Series
	for _, up := range []meter.UsagePoint{"up-1", "up-2", "up-3"} {
		for d := range int64(30) {
			s := counted(d*86400, 96)
			s.UsagePoint = up
			batch = append(batch, s)
		}
	}
	if n := testing.AllocsPerRun(10, func() { meter.RefuseConflicts(batch) }); n > 1 {
		t.Errorf("%v allocations for a batch without overlaps, want 1", n)
	}
}

// Whatever two series claim, what is left states each interval once, and
// nothing is lost: kept + refused + repeated = stated.
func FuzzRefuseConflicts(f *testing.F) {
	f.Add(uint8(0), []byte{1, 2, 3}, uint8(1), []byte{2, 3, 4}, uint8(2), []byte{3, 9})
	f.Add(uint8(5), []byte{1}, uint8(0), []byte{0, 0, 0, 0, 0, 1}, uint8(0), []byte{})
	f.Fuzz(func(t *testing.T, a uint8, av []byte, b uint8, bv []byte, c uint8, cv []byte) {
		series := func(start uint8, values []byte) meter.Series {
			s := said(int64(start) * 900)
			for _, v := range values {
				s.Values = append(s.Values, int64(v))
			}
			return s
		}
		batch := []meter.Series{series(a, av), series(b, bv), series(c, cv)}
		refused, repeated := meter.RefuseConflicts(batch)
		kept, starts := 0, make(map[int64]bool)
		for _, s := range batch {
			kept += s.Present()
			for i := range s.Values {
				if s.QualityAt(i) == meter.Missing {
					continue
				}
				if starts[s.StartAt(i)] {
					t.Errorf("interval %d is stated twice", s.StartAt(i))
				}
				starts[s.StartAt(i)] = true
			}
		}
		if stated := len(av) + len(bv) + len(cv); kept+len(refused)+repeated != stated {
			t.Errorf("%d kept + %d refused + %d repeated, of %d", kept, len(refused), repeated, stated)
		}
	})
}
