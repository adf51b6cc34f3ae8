package estimate_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// ramp returns weights from one to n.
func ramp(n int) []uint64 {
	weights := make([]uint64, n)
	for j := range weights {
		weights[j] = dp.WeightOne * uint64(1+j)
	}
	return weights
}

func mustBasis(t testing.TB, weights []uint64, precision, shift uint) *dp.Basis {
	t.Helper()
	b, err := dp.NewBasis(weights, precision, shift)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Catches an inverse of another matrix: a day comes back from what was measured of
// it, to within what truncation took. An error of one lattice unit a coefficient
// is one of 2^(s-k)·√T Wh at the most.
func TestEnergyComesBack(t *testing.T) {
	for _, c := range []struct {
		weights          []uint64
		precision, shift uint
	}{
		{ramp(1), 32, 20},
		{ramp(2), 32, 28},
		{ramp(48), 32, 28},
		{ramp(48), 15, 0}, // the coarsest matrix that a Basis may have
		{slices.Repeat([]uint64{dp.WeightOne}, 96), 32, 20},
		{ramp(300), 40, 30},
	} {
		b := mustBasis(t, c.weights, c.precision, c.shift)
		day := make([]int64, b.Intervals())
		for i := range day {
			day[i] = int64(i*i*7919%11500) - 500
		}
		z, err := b.Measure(day)
		if err != nil {
			t.Fatal(err)
		}
		got, err := estimate.NewBasisInverse(b).Energy(z)
		if err != nil {
			t.Fatal(err)
		}
		allowed := math.Ldexp(math.Sqrt(float64(len(day))), int(c.shift)-int(c.precision)) + 1e-7
		if c.shift == 0 {
			allowed = 1e-7 // nothing was truncated
		}
		for i, x := range day {
			if math.Abs(got[i]-float64(x)) > allowed {
				t.Fatalf("%d intervals, precision %d: interval %d came back as %v, want %v", len(day), c.precision, i, got[i], x)
			}
		}
	}
	b := mustBasis(t, ramp(2), 32, 28)
	if _, err := estimate.NewBasisInverse(b).Energy(make([]int64, 3)); !errors.Is(err, dp.ErrLength) {
		t.Errorf("three coefficients in a basis of two: %v", err)
	}
}

// Catches variances that are not those of the energies: each is the squared length
// of what unit noise in every coefficient does to it.
func TestBasisVariancesAreThoseOfTheEnergies(t *testing.T) {
	noise, err := dp.NewVariance(9, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		weights   []uint64
		precision uint
	}{
		{ramp(7), 32},
		{ramp(48), 32},
		{ramp(48), 15},
	} {
		const shift, step = 10, 1 << 40
		v := estimate.NewBasisInverse(mustBasis(t, c.weights, c.precision, shift))
		want := make([]float64, len(c.weights))
		for j := range want {
			unit := make([]int64, len(want))
			unit[j] = step
			response, err := v.Energy(unit)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range response {
				want[i] += 4.5 * (r / step) * (r / step)
			}
		}
		tolerance := 4.5 * math.Ldexp(4*float64(len(want)), 2*shift-3*int(c.precision)) // the least weight is one
		for i, got := range v.Variances(noise) {
			if math.Abs(got-want[i]) > tolerance+1e-12*want[i] {
				t.Errorf("%d intervals, precision %d: variance %v of interval %d, want %v", len(want), c.precision, got, i, want[i])
			}
		}
	}
}

// Catches a lattice unit lost on the way: with weights of one every interval gets
// noise of the variance (σ·2^(s-k))² Wh².
func TestBasisVarianceOfASphere(t *testing.T) {
	b := mustBasis(t, slices.Repeat([]uint64{dp.WeightOne}, 48), 32, 28)
	noise, err := dp.NewVariance(1_000_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range estimate.NewBasisInverse(b).Variances(noise) {
		if want := 1e6 / 256; math.Abs(v/want-1) > 1e-6 {
			t.Errorf("interval %d: variance %v, want %v", i, v, want)
		}
	}
}

// Catches an ellipsoid that brings nothing: with moments that fall as days' do, the
// noise of the whole day at the same share of clipped norm must be well below
// that of a sphere. For second moments s it is (Σ √s)² against T·Σ s.
func TestEllipsoidNeedsLessNoise(t *testing.T) {
	const n, precision, shift = 48, 32, 28
	moments := make([]uint64, n)
	sum := 0.0
	for j := range moments {
		moments[j] = 1 << 40 / uint64((1+j)*(1+j))
		sum += float64(moments[j])
	}
	b, err := dp.NewBasisFromMoments(moments, precision, shift)
	if err != nil {
		t.Fatal(err)
	}
	// Root mean square weighted norm, in lattice units: the clip both would have.
	weighted := 0.0
	for j, w := range b.Weights() {
		scale := math.Ldexp(float64(w)/dp.WeightOne, precision-shift)
		weighted += scale * scale * float64(moments[j])
	}
	total := func(b *dp.Basis, norm float64) (variance float64) {
		noise, err := dp.GaussianVariance(int64(norm), dp.RhoUnit/2)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range estimate.NewBasisInverse(b).Variances(noise) {
			variance += v
		}
		return variance
	}
	sphere := mustBasis(t, slices.Repeat([]uint64{dp.WeightOne}, n), precision, shift)
	got := total(b, math.Sqrt(weighted)) / total(sphere, math.Ldexp(math.Sqrt(sum), precision-shift))
	roots := 0.0
	for _, m := range moments {
		roots += math.Sqrt(float64(m))
	}
	if want := roots * roots / (n * sum); math.Abs(got/want-1) > 0.001 || got > 0.5 {
		t.Errorf("variance %v of a sphere's, want %v", got, want)
	}
}
