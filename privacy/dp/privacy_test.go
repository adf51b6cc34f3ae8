package dp_test

import (
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// These tests check the privacy claims themselves, by summing over exact
// probabilities of every output that matters on domains small enough for it.
// They sample nothing. Sums in float64 may be off by slack, relatively.
const slack = 1e-9

var alphas = []float64{1.01, 1.5, 2, 4, 16, 64}

// renyi returns D_α of the discrete Gaussian moved by shift from the one at 0,
// from the definition: ln Σ P(x)^α Q(x)^(1-α) / (α-1). The terms peak near
// α·shift, so the sum reaches far beyond it.
func renyi(sigma2, alpha, shift float64) float64 {
	reach := int64(math.Abs(alpha*shift) + 14*math.Sqrt(sigma2) + 14)
	total, norm := 0.0, 0.0
	for i := -reach; i <= reach; i++ {
		x := float64(i)
		norm += math.Exp(-x * x / (2 * sigma2))
	}
	// The largest term is exp(top) at x = α·shift; it is taken out so that no
	// other overflows.
	top := alpha * (alpha - 1) * shift * shift / (2 * sigma2)
	for i := -reach; i <= reach; i++ {
		x := float64(i)
		total += math.Exp((-alpha*(x-shift)*(x-shift)-(1-alpha)*x*x)/(2*sigma2) - top)
	}
	return (top + math.Log(total/norm)) / (alpha - 1)
}

// Catches a discrete Gaussian that is worth more ρ than the theorem says, for
// the variances where the lattice shows most.
func TestRenyiDivergenceOfGaussian(t *testing.T) {
	for _, text := range []string{"1/3", "1/2", "1", "5/2", "9"} {
		sigma2, _ := mustVariance(t, text).Rat().Float64()
		for shift := -5.0; shift <= 5; shift++ {
			for _, alpha := range alphas {
				limit := alpha * shift * shift / (2 * sigma2)
				if d := renyi(sigma2, alpha, shift); d > limit*(1+slack)+slack {
					t.Errorf("σ² = %s, shift %v: D_%v = %v above %v", text, shift, alpha, d, limit)
				}
			}
		}
	}
}

// day is one contributor's vector of two intervals.
type day = [2]int64

// days are all contributors of a tiny domain: every vector of two elements from
// -3 to 3, longer than any bound tried below.
func days() (all []day) {
	for a := int64(-3); a <= 3; a++ {
		for b := int64(-3); b <= 3; b++ {
			all = append(all, day{a, b})
		}
	}
	return all
}

// worst returns the greatest D_α/α by which adding or removing one day's
// clipped vector moves the law of two noised sums. By translation the other
// contributors do not matter, and coordinates with noise of their own add up.
func worst(clip func(day) day, sigma2 float64) float64 {
	most := 0.0
	for _, d := range days() {
		x := clip(d)
		for _, alpha := range alphas {
			added := renyi(sigma2, alpha, float64(x[0])) + renyi(sigma2, alpha, float64(x[1]))
			removed := renyi(sigma2, alpha, float64(-x[0])) + renyi(sigma2, alpha, float64(-x[1]))
			most = max(most, added/alpha, removed/alpha)
		}
	}
	return most
}

// hockeyStick returns the least δ with which two noised sums, one with x more in
// it than the other, satisfy (ε, δ) in that direction:
// Σ max(0, P - exp(ε)·Q) over all pairs of outputs.
func hockeyStick(l law, x day, epsilon float64) float64 {
	at := func(i int) float64 {
		if i < 0 || i >= len(l.p) {
			return 0
		}
		return l.p[i]
	}
	delta, e := 0.0, math.Exp(epsilon)
	for i := -3; i < len(l.p)+3; i++ {
		for j := -3; j < len(l.p)+3; j++ {
			p := at(i-int(x[0])) * at(j-int(x[1]))
			q := at(i) * at(j)
			delta += max(0, p-e*q)
		}
	}
	return delta
}

func clipTo(t *testing.T, c int64) func(day) day {
	return func(d day) day {
		if err := dp.ClipL2(d[:], c); err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// Catches any break in the chain clip, variance, charge, (ε, δ): on every
// neighbour of a tiny domain the release is worth no more than RhoOf charges,
// and Epsilon states no less than the truth.
func TestGaussianMechanismOnTinyDomain(t *testing.T) {
	for _, c := range []struct {
		bound int64
		rho   string
	}{{1, "0.018"}, {1, "1.5"}, {2, "0.5"}, {2, "2"}, {3, "0.5"}, {3, "0.7"}} {
		budget, err := dp.ParseRho(c.rho)
		if err != nil {
			t.Fatal(err)
		}
		v, err := dp.GaussianVariance(c.bound, budget)
		if err != nil {
			t.Fatal(err)
		}
		charged, err := dp.RhoOf(c.bound, v)
		if err != nil {
			t.Fatal(err)
		}
		sigma2, _ := v.Rat().Float64()
		rho := float64(charged) / float64(dp.RhoUnit)
		if w := worst(clipTo(t, c.bound), sigma2); w > rho*(1+slack) {
			t.Errorf("C = %d, σ² = %v: charged %v, worth %v", c.bound, v, charged, w)
		}

		l := gaussianLaw(v)
		for _, delta := range []float64{1e-2, 1e-6} {
			epsilon, err := dp.Epsilon(charged, delta)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range []day{clipTo(t, c.bound)(day{3, 0}), clipTo(t, c.bound)(day{-2, 3})} {
				added, removed := hockeyStick(l, x, epsilon), hockeyStick(l, day{-x[0], -x[1]}, epsilon)
				if max(added, removed) > delta*(1+slack) {
					t.Errorf("C = %d, ρ = %v: (%v, %v) stated, δ is %v or %v", c.bound, charged, epsilon, delta, added, removed)
				}
			}
		}
	}
}

// Catches a TestGaussianMechanismOnTinyDomain that would pass anything: clipping
// that breaks the bound, and noise planned for the wrong neighbours, must
// exceed the charge.
func TestTinyDomainHasTeeth(t *testing.T) {
	v, err := dp.GaussianVariance(1, dp.RhoUnit/2)
	if err != nil {
		t.Fatal(err)
	}
	sigma2, _ := v.Rat().Float64()
	each := func(f func(float64) float64) func(day) day {
		return func(d day) day { return day{int64(f(float64(d[0]))), int64(f(float64(d[1])))} }
	}
	scaled := func(round func(float64) float64) func(day) day {
		return func(d day) day {
			norm := max(1, math.Hypot(float64(d[0]), float64(d[1])))
			return each(func(x float64) float64 { return round(x / norm) })(d)
		}
	}
	for name, c := range map[string]struct {
		clip   func(day) day
		sigma2 float64
	}{
		"not clipped":             {func(d day) day { return d }, sigma2},
		"each reading clipped":    {each(func(x float64) float64 { return max(-1, min(1, x)) }), sigma2},
		"rounded to nearest":      {scaled(math.Round), sigma2},
		"negative not clipped":    {each(func(x float64) float64 { return min(1, x) }), sigma2},
		"σ too small by root 2":   {clipTo(t, 1), sigma2 / 2},
		"σ² too small by 1 in 99": {clipTo(t, 1), sigma2 * 0.99},
	} {
		if w := worst(c.clip, c.sigma2); w <= 0.5*(1+slack) {
			t.Errorf("%s: worth only %v", name, w)
		}
	}
	if w := worst(scaled(math.Trunc), sigma2); w > 0.5*(1+slack) {
		t.Errorf("truncation toward zero is worth %v", w)
	}
}

// Catches a Laplace scale the wrong way up: on neighbours 1 … 3 apart no output
// is likelier by more than exp(distance/scale).
func TestLaplaceMechanismOnTinyDomain(t *testing.T) {
	for _, scale := range [][2]uint64{{1, 2}, {1, 1}, {7, 3}} {
		l := laplaceLaw(scale[0], scale[1])
		for shift := 1; shift <= 3; shift++ {
			limit := math.Exp(float64(shift) * float64(scale[1]) / float64(scale[0]))
			for i := shift; i < len(l.p); i++ {
				if p, q := l.p[i-shift], l.p[i]; p > q*limit*(1+slack) || q > p*limit*(1+slack) {
					t.Fatalf("scale %v, shift %d, output %d: %v against %v", scale, shift, l.lo+int64(i), p, q)
				}
			}
		}
	}
}
