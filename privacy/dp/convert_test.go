package dp_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Known answers, computed apart from this package in 40 decimal digits (the
// bound) and with erfc (the exact Gaussian). Catches a wrong formula, and a
// bound rounded the wrong way.
func TestEpsilonKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		rho          string
		delta        float64
		bound, exact float64
	}{
		{"0.0005", 1e-6, 0.126558, 0.115928},
		{"0.005", 1e-6, 0.429941, 0.396857},
		{"0.01", 1e-6, 0.621693, 0.575055},
		{"0.018", 1e-6, 0.850655, 0.788200},
		{"0.028", 1e-6, 1.077559, 0.999721},
		{"0.1", 1e-6, 2.141939, 1.994527},
		{"0.5", 1e-6, 5.221534, 4.886554},
		{"1", 1e-6, 7.766217, 7.286081},
		{"2", 1e-6, 11.688596, 10.997151},
		{"10.22", 1e-6, 32.691675, 31.029302}, // 0.028 a day for a year
		{"0.01", 1e-9, 0.810174, 0.768212},
		{"1", 1e-9, 9.521464, 9.092558},
	} {
		rho, err := dp.ParseRho(c.rho)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := dp.Epsilon(rho, c.delta); err != nil || got != math.Ceil(c.bound*1e4)/1e4 {
			t.Errorf("Epsilon(%v, %v) = %v, %v; want %v rounded up", rho, c.delta, got, err, c.bound)
		}
		if got, err := dp.EpsilonGaussian(rho, c.delta); err != nil || math.Abs(got-c.exact) > 1e-6 {
			t.Errorf("EpsilonGaussian(%v, %v) = %v, %v; want %v", rho, c.delta, got, err, c.exact)
		}
	}
}

// Catches a stated ε that no mechanism could have (below the exact Gaussian's),
// that misses the best α, that is rounded down, or that does not print in four
// places.
func TestEpsilonIsTheLeastBoundRoundedUp(t *testing.T) {
	for _, delta := range []float64{0.5, 1e-2, 1e-6, 1e-9, 1e-15, 1e-300} {
		last := 0.0
		for rho := dp.Rho(1); rho < 1e12; rho = rho*3 + 1 {
			eps, err := dp.Epsilon(rho, delta)
			if err != nil {
				t.Fatal(err)
			}
			if eps < last {
				t.Errorf("δ = %v: ε falls to %v at ρ = %v", delta, eps, rho)
			}
			last = eps
			if exact, err := dp.EpsilonGaussian(rho, delta); err != nil || eps < exact {
				t.Errorf("ρ = %v, δ = %v: ε = %v below the exact %v, %v", rho, delta, eps, exact, err)
			}
			least := math.Inf(1)
			r := float64(rho) / float64(dp.RhoUnit)
			for u := 1e-9; u < 1e12; u *= 1.001 {
				least = min(least, (1+u)*r+(-math.Log(delta)-math.Log1p(u))/u+math.Log(u/(1+u)))
			}
			if least = max(least, 0); eps < least*(1-1e-5)-1e-9 || eps > least*(1+1e-5)+0.0001+1e-8 {
				t.Errorf("ρ = %v, δ = %v: ε = %v, least over a grid %v", rho, delta, eps, least)
			}
			if text := strconv.FormatFloat(eps, 'f', -1, 64); len(text)-strings.IndexByte(text+".", '.') > 5 {
				t.Errorf("ρ = %v, δ = %v: ε prints as %s", rho, delta, text)
			}
		}
	}
}

// Catches a guarantee stated for no δ at all, and an ε for spending nothing.
func TestEpsilonAtTheEnds(t *testing.T) {
	for _, delta := range []float64{0, 1, -1, 2, math.NaN(), math.Inf(1)} {
		if eps, err := dp.Epsilon(1, delta); !errors.Is(err, dp.ErrDelta) {
			t.Errorf("Epsilon at δ = %v: %v, %v", delta, eps, err)
		}
		if eps, err := dp.EpsilonGaussian(1, delta); !errors.Is(err, dp.ErrDelta) {
			t.Errorf("EpsilonGaussian at δ = %v: %v, %v", delta, eps, err)
		}
	}
	if eps, err := dp.Epsilon(0, 1e-6); eps != 0 || err != nil {
		t.Errorf("Epsilon(0) = %v, %v", eps, err)
	}
	if eps, err := dp.EpsilonGaussian(0, 1e-6); eps != 0 || err != nil {
		t.Errorf("EpsilonGaussian(0) = %v, %v", eps, err)
	}
	if eps, err := dp.Epsilon(math.MaxUint64, 1e-6); err != nil || math.IsInf(eps, 0) || math.IsNaN(eps) || eps < 1.8e10 {
		t.Errorf("Epsilon of the greatest ρ = %v, %v", eps, err)
	}
}
