package dp

import (
	"errors"
	"math"
)

// This file alone computes in floating point. Its results are statements for
// people; none is ever stored, charged, compared with a budget or used in
// drawing noise.

// ErrDelta reports a δ that is not strictly between 0 and 1.
var ErrDelta = errors.New("dp: delta out of range")

// Epsilon returns an ε for which everything that is rho-zCDP is also
// (ε, delta)-differentially private, by the bound of CKS20, section 2.3, which
// for every α > 1 gives
//
//	ε = αρ + (ln(1/δ) - ln α)/(α-1) + ln(1 - 1/α).
//
// The result is the least of these rounded up to a multiple of 0.0001, so that
// it can be printed as it is. It is valid for any mechanism accounted in ρ,
// the discrete Gaussian in any number of dimensions included. It returns
// [ErrDelta] for delta outside (0, 1); choose delta well below one in the
// number of contributors.
func Epsilon(rho Rho, delta float64) (float64, error) {
	if !(delta > 0 && delta < 1) {
		return 0, ErrDelta
	}
	if rho == 0 {
		return 0, nil
	}
	r, l := rho.float(), -math.Log(delta)
	// With u = α-1 the derivative in α is ρ - (l - ln α)/u²: negative up to
	// the one root of ρu² + ln(1+u) = l, then positive. Every u > 0 gives a
	// valid bound, so the error of the bisection costs nothing but accuracy.
	u := bisect(0, math.Sqrt(l/r), func(u float64) bool { return r*u*u+math.Log1p(u) < l })
	eps := (1+u)*r + (l-math.Log1p(u))/u + math.Log(u) - math.Log1p(u)
	if !(eps > 0) {
		return 0, nil
	}
	// The rounding errors of the line above are below 1e-9 of its largest
	// term; take them as upward before rounding up what is printed.
	const places = 1e4
	return math.Ceil((eps+1e-9*(1+eps))*places) / places, nil
}

// EpsilonGaussian returns the exact ε at delta of one continuous Gaussian
// mechanism that spends rho (Balle and Wang, ICML 2018, arXiv:1805.06530,
// Theorem 8): what a tight accountant could state at best. It is for
// comparison with [Epsilon], which is never below it; it is no guarantee for
// other mechanisms of the same ρ. It returns [ErrDelta] for delta outside
// (0, 1).
func EpsilonGaussian(rho Rho, delta float64) (float64, error) {
	if !(delta > 0 && delta < 1) {
		return 0, ErrDelta
	}
	mu := math.Sqrt(2 * rho.float()) // sensitivity over σ
	if mu == 0 || deltaGaussian(mu, 0) <= delta {
		return 0, nil
	}
	high := 1.0
	for deltaGaussian(mu, high) > delta {
		high *= 2
	}
	return bisect(0, high, func(eps float64) bool { return deltaGaussian(mu, eps) > delta }), nil
}

// deltaGaussian returns Φ(μ/2 - ε/μ) - exp(ε)·Φ(-μ/2 - ε/μ).
func deltaGaussian(mu, eps float64) float64 {
	a, b := (eps/mu-mu/2)/math.Sqrt2, (eps/mu+mu/2)/math.Sqrt2
	return (math.Erfc(a) - math.Exp(eps+logErfc(b))) / 2
}

// logErfc returns ln erfc(x), by its asymptotic series where erfc underflows.
func logErfc(x float64) float64 {
	if x < 25 {
		return math.Log(math.Erfc(x))
	}
	q := 1 / (2 * x * x)
	return -x*x - math.Log(x*math.Sqrt(math.Pi)) + math.Log1p(-q+3*q*q)
}

// bisect returns where before turns from true to false between low and high,
// to the last bit, on the side where it is false.
func bisect(low, high float64, before func(float64) bool) float64 {
	for {
		mid := low + (high-low)/2
		if mid <= low || mid >= high {
			return high
		}
		if before(mid) {
			low = mid
		} else {
			high = mid
		}
	}
}

// Sigma returns σ, to print.
func (v Variance) Sigma() float64 {
	f, _ := v.Rat().Float64()
	return math.Sqrt(f)
}

func (r Rho) float() float64 { return float64(r) / float64(RhoUnit) }
