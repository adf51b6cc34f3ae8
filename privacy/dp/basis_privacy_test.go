package dp_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// These tests do for vectors measured in a basis what privacy_test.go does for
// plain ones: they enumerate, and sample nothing.

// planned returns σ² for a sensitivity at ρ = 1/2, and the ρ that RhoOf charges.
func planned(t *testing.T, sensitivity int64) (sigma2, rho float64) {
	t.Helper()
	v, err := dp.GaussianVariance(sensitivity, dp.RhoUnit/2)
	if err != nil {
		t.Fatal(err)
	}
	charged, err := dp.RhoOf(sensitivity, v)
	if err != nil {
		t.Fatal(err)
	}
	sigma2, _ = v.Rat().Float64()
	return sigma2, float64(charged) / float64(dp.RhoUnit)
}

func measured(t *testing.T, b *dp.Basis) func(day) day {
	return func(d day) day {
		z, err := b.Measure(d[:])
		if err != nil {
			t.Fatal(err)
		}
		return day(z)
	}
}

// ellipses are bases of two intervals: weights 1 and 3, and 5/2 and 1, on
// lattices of one, four and a half units to a Wh.
func ellipses(t *testing.T) []*dp.Basis {
	const w = dp.WeightOne
	return []*dp.Basis{
		mustBasis(t, []uint64{w, 3 * w}, 10, 10),
		mustBasis(t, []uint64{w, 3 * w}, 12, 10),
		mustBasis(t, []uint64{5 * w / 2, w}, 10, 11),
	}
}

// Catches any break in the chain measure, clip, variance, charge: on every day of
// a tiny domain one contributor moves the law by no more than is charged.
func TestBasisMechanismOnTinyDomain(t *testing.T) {
	for _, b := range ellipses(t) {
		for _, c := range []int64{1, 2, 3, 9} {
			sigma2, rho := planned(t, c)
			release := func(d day) day { return clipTo(t, c)(measured(t, b)(d)) }
			if w := worst(release, sigma2); w > rho*(1+slack) {
				t.Errorf("C = %d, shift %d: charged %v, worth %v", c, b.Shift(), rho, w)
			}
		}
	}
}

// Catches a TestBasisMechanismOnTinyDomain that would pass anything: each of
// these ways to get the clip wrong must exceed the charge.
func TestBasisMechanismHasTeeth(t *testing.T) {
	const c = 1
	b := ellipses(t)[0]
	sigma2, rho := planned(t, c)
	scaled := func(round func(float64) float64) func(day) day {
		return func(d day) day {
			z := measured(t, b)(d)
			norm := max(1, math.Hypot(float64(z[0]), float64(z[1]))/c)
			return day{int64(round(float64(z[0]) / norm)), int64(round(float64(z[1]) / norm))}
		}
	}
	for name, broken := range map[string]func(day) day{
		"not clipped":               measured(t, b),
		"clipped before measured":   func(d day) day { return measured(t, b)(clipTo(t, c)(d)) },
		"rounded to nearest":        scaled(math.Round),
		"each coefficient clipped":  func(d day) day { z := measured(t, b)(d); return day{min(c, max(-c, z[0])), min(c, max(-c, z[1]))} },
		"clipped to the wrong unit": func(d day) day { return clipTo(t, 3*c)(measured(t, b)(d)) },
	} {
		if w := worst(broken, sigma2); w <= rho*(1+slack) {
			t.Errorf("%s: worth only %v", name, w)
		}
	}
	if w := worst(scaled(math.Trunc), sigma2); w > rho*(1+slack) {
		t.Errorf("truncation towards zero is worth %v", w)
	}
}

// squaredDistance returns ‖x - y‖².
func squaredDistance(x, y day) int64 {
	return (x[0]-y[0])*(x[0]-y[0]) + (x[1]-y[1])*(x[1]-y[1])
}

// Catches the belief that what truncates brings no two inputs further apart: of
// sums that differ by one day of norm C the clipped ones may differ by more than
// C, though by less than C + √T, and by less than C/n + 2√T if they are divided
// by n first. Every sum and every day of a tiny domain.
func TestClippedSpansDifferByTruncationToo(t *testing.T) {
	const c = 8
	root := math.Sqrt2 // √T
	beyond := false
	for _, sum := range square2(12) {
		for _, d := range square2(c) {
			if d[0]*d[0]+d[1]*d[1] > c*c {
				continue
			}
			other := day{sum[0] + d[0], sum[1] + d[1]}
			x, y := clipTo(t, c)(sum), clipTo(t, c)(other)
			moved := math.Sqrt(float64(squaredDistance(x, y)))
			if moved >= c+root {
				t.Fatalf("day %v moves the clipped span %v by %v", d, sum, moved)
			}
			beyond = beyond || moved > c

			for n := int64(2); n <= 3; n++ {
				x, y := clipTo(t, 2)(day{sum[0] / n, sum[1] / n}), clipTo(t, 2)(day{other[0] / n, other[1] / n})
				if moved := math.Sqrt(float64(squaredDistance(x, y))); moved >= c/float64(n)+2*root {
					t.Fatalf("day %v moves the clipped mean of %v over %d by %v", d, sum, n, moved)
				}
			}
		}
	}
	if !beyond {
		t.Error("no day moves a clipped span by more than C: the allowance is not tested")
	}
}

// square2 returns all vectors of two elements from -reach to reach.
func square2(reach int64) (all []day) {
	for a := -reach; a <= reach; a++ {
		for b := -reach; b <= reach; b++ {
			all = append(all, day{a, b})
		}
	}
	return all
}

// Catches a clip in lattice units that does not keep its promise on real days: in
// a basis of 48 intervals nothing measured and clipped is longer than C.
func TestBasisClipKeepsItsBound(t *testing.T) {
	moments := make([]uint64, 48)
	for j := range moments {
		moments[j] = 1 << 40 / uint64(1+j*j)
	}
	b, err := dp.NewBasisFromMoments(moments, 32, 28)
	if err != nil {
		t.Fatal(err)
	}
	s := stream{label: "ellipsoid"}
	for range 200 {
		x := make([]int64, 48)
		for i := range x {
			x[i] = s.sized() >> 24
		}
		z, err := b.Measure(x)
		if err != nil {
			t.Fatal(err)
		}
		c := int64(s.word() >> 44)
		if err := dp.ClipL2(z, c); err != nil {
			t.Fatal(err)
		}
		sum := new(big.Int)
		for _, v := range z {
			sum.Add(sum, square(v))
		}
		if sum.Cmp(square(c)) > 0 {
			t.Fatalf("clipped to %d, norm² %v", c, sum)
		}
	}
}
