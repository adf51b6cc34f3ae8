package dp

import (
	"fmt"
	"math/big"
)

// GaussianVariance returns the least σ² with which a sum of vectors clipped to
// norm c spends no more than rho: exactly C²/(2ρ), so that [RhoOf] of it is
// rho again. Which ρ a variance means for other neighbours, see the package
// comment.
//
// c is in the unit of the data (Wh), the result in its square. It returns
// [ErrBound] for c outside 1 … [MaxBound], and [ErrVariance] for a rho of zero
// or one that needs a variance beyond the limits of [Variance] (σ above 2^40,
// or ρ above 68).
func GaussianVariance(c int64, rho Rho) (Variance, error) {
	if c < 1 || c > MaxBound {
		return Variance{}, ErrBound
	}
	// rho counts units of 1e-9: σ² = C²·1e9 / (2·rho).
	v, err := newVariance(halfUnits(c), new(big.Int).SetUint64(uint64(rho)))
	if err != nil {
		return Variance{}, fmt.Errorf("planning gaussian noise: %w", err)
	}
	return v, nil
}

// RhoOf returns what a sum of vectors clipped to norm c spends when discrete
// Gaussian noise of the given variance is added to each coordinate: C²/(2σ²),
// rounded up to a whole 1e-9. One release of the sum spends it once, however
// many coordinates there are; sums of disjoint sets of contributors spend it
// once together.
//
// It returns [ErrBound] for c outside 0 … [MaxBound], [ErrVariance] for the
// zero Variance, and [ErrOverflow] if the result is no [Rho].
func RhoOf(c int64, variance Variance) (Rho, error) {
	if c < 0 || c > MaxBound {
		return 0, ErrBound
	}
	if variance.den == 0 {
		return 0, ErrVariance
	}
	num := halfUnits(c)
	num.Mul(num, new(big.Int).SetUint64(variance.den))
	rho, rest := num.QuoRem(num, variance.num.big(), new(big.Int))
	if rest.Sign() != 0 {
		rho.Add(rho, big.NewInt(1))
	}
	if !rho.IsUint64() {
		return 0, fmt.Errorf("accounting for gaussian noise: %w", ErrOverflow)
	}
	return Rho(rho.Uint64()), nil
}

// halfUnits returns C²·1e9/2.
func halfUnits(c int64) *big.Int {
	z := big.NewInt(c)
	return z.Mul(z, z).Mul(z, big.NewInt(int64(RhoUnit/2)))
}
