package plan_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// lone is two households over a span, of which the second uses nothing.
type lone struct{ days [][]int64 }

func (lone) Households() int { return 2 }
func (l lone) Days() int     { return len(l.days) }

func (l lone) FillDays(household int, wh []int64) {
	clear(wh)
	if household == 0 {
		for day, curve := range l.days {
			copy(wh[day*plan.Intervals:], curve)
		}
	}
}

func (l lone) Fill(household int, wh []int64) {
	all := make([]int64, len(l.days)*plan.Intervals)
	l.FillDays(household, all)
	clear(wh)
	for i, v := range all {
		wh[i%plan.Intervals] += v / int64(len(l.days))
	}
}

// without is the same household without one of its days.
func (l lone) without(day int) lone {
	days := append([][]int64(nil), l.days...)
	days[day] = make([]int64, plan.Intervals)
	return lone{days}
}

// wild are days of every kind: quiet ones, and loads far beyond a clip norm in a few
// intervals or in all, on one day or on many.
func wild(days int, seed uint64) lone {
	var l lone
	for day := range days {
		h := sha256.Sum256(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, seed), uint64(day)))
		curve := make([]int64, plan.Intervals)
		for i := range curve {
			switch {
			case seed%4 == 0 && day > 0 || h[0]%4 == 0:
				curve[i] = int64(h[i%32] & 3)
			case h[0]%4 == 1:
				if i == int(h[1])%plan.Intervals {
					curve[i] = 10_000_000
				}
			case h[0]%4 == 2:
				curve[i] = int64(h[i%32]) * 1_000
			default:
				curve[i] = int64(h[i%32]&1) * 300_000
			}
		}
		l.days = append(l.days, curve)
	}
	return l
}

// heavy is a population of great loads: its levels are clipped to different norms.
type heavy struct{ plan.Source }

func (h heavy) Fill(household int, wh []int64) {
	h.Source.Fill(household, wh)
	for i := range wh {
		wh[i] *= 40
	}
}

func norm(a, b []int64) float64 {
	s := 0.0
	for i := range a {
		s += float64(a[i]-b[i]) * float64(a[i]-b[i])
	}
	return math.Sqrt(s)
}

// The noise of a mean covers a household's whole span, and any one of its days, on every
// level. It would catch days that join unclipped, which turn the sum of the others
// from one side of the ball to another, a day clipped to the norm of another level, and
// noise for the mean where the sum of days is published.
func TestOneDayOfASpan(t *testing.T) {
	for _, days := range []int{2, 7, 20} {
		product := plan.Product(days)
		p, err := population.Generate(population.Default(), [32]byte{1}, 2)
		if err != nil {
			t.Fatal(err)
		}
		d := fit(t, heavy{p.Mean(days)}, product, []int{2, 1}, []dp.Rho{100 * dp.RhoUnit, dp.RhoUnit / 1000})
		if d.Levels[0].Clip == d.Levels[1].Clip {
			t.Fatalf("%d days: both levels clip to %d", days, d.Levels[0].Clip)
		}
		farthest := make([]float64, len(d.Levels))
		for seed := range uint64(200) {
			whole := wild(days, seed)
			sums, err := plan.Sums(d, whole)
			if err != nil {
				t.Fatal(err)
			}
			for day := range days {
				rest, err := plan.Sums(d, whole.without(day))
				if err != nil {
					t.Fatal(err)
				}
				for i, l := range d.Levels {
					sigma2, _ := l.Variance.Rat().Float64()
					sensitivity := math.Sqrt(2 * sigma2 * float64(l.Rho) / 1e9)
					if moved := norm(sums[i], rest[i]); moved > sensitivity {
						t.Fatalf("%d days, level %d, seed %d: day %d moves %.1f lattice units, the noise is for %.1f", days, i, seed, day, moved, sensitivity)
					} else {
						farthest[i] = max(farthest[i], moved/sensitivity)
					}
				}
			}
			for i, l := range d.Levels {
				if moved := norm(sums[i], make([]int64, len(sums[i]))); moved > float64(l.Clip) {
					t.Fatalf("%d days, level %d, seed %d: the household moves %.1f lattice units, its norm is %d", days, i, seed, moved, l.Clip)
				}
			}
		}
		finest := farthest[len(farthest)-1]
		if finest < 0.9 {
			t.Errorf("%d days: no day moved more than %.2f of what the noise is for: this tests nothing", days, finest)
		}
	}
}

// A mean through the clips of its days errs hardly more than through the second one
// alone, at any budget: a home hardly ever has a day that meets its clip, and what that
// takes is at most 0.15 % of the load. It would catch a day that
// is clipped to what its mean is, and a plan that lets the noise of the finest level
// clip the days of all.
func TestDaysRarelyMeetTheirClip(t *testing.T) {
	p, err := population.Generate(population.Default(), [32]byte{2}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, days := range []int{7, population.MeanDays} {
		s, err := plan.NewStudy(p.Mean(days), plan.Product(days), []int{10_000, 1_000, 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, split := range [][]dp.Rho{rhos(dp.RhoUnit / 2), rhos(dp.RhoUnit / 50), {dp.RhoUnit, dp.RhoUnit / 10, dp.RhoUnit / 10_000}} {
			d, err := s.Design(split)
			if err != nil {
				t.Fatal(err)
			}
			both, one := squares(t, d, p.Span(days)), squares(t, d, p.Mean(days))
			for i, l := range d.Levels {
				if more := math.Sqrt(both[i]) - math.Sqrt(one[i]); more > 0.0015*l.Load {
					t.Errorf("mean of %d days, ρ = %v, nodes of %d: an error of %.0f Wh, with one clip %.0f Wh, noise left out", days, split, l.Size, math.Sqrt(both[i]), math.Sqrt(one[i]))
				}
			}
		}
	}
}

// squares are the mean squared errors of the levels without noise, in Wh².
func squares(t *testing.T, d *plan.Design, population plan.Source) (means []float64) {
	t.Helper()
	off, err := plan.Off(d, population)
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range off {
		sum := 0.0
		for _, v := range level {
			sum += v * v / float64(len(level))
		}
		means = append(means, sum)
	}
	return means
}

// A product of days that are none, or of others than a population's, is refused by
// name.
func TestSpanRefuses(t *testing.T) {
	for _, days := range []plan.Product{-1, 0, 367} {
		if _, err := plan.NewStudy(nobody(100), days, []int{100}); !errors.Is(err, plan.ErrDays) {
			t.Errorf("%d days: %v", days, err)
		}
	}
	d := fit(t, wild(3, 1), 3, []int{2, 1}, []dp.Rho{100 * dp.RhoUnit, dp.RhoUnit / 1000})
	if _, err := d.Try(wild(4, 1)); !errors.Is(err, plan.ErrDays) {
		t.Errorf("4 days for a mean of 3: %v", err)
	}
}
