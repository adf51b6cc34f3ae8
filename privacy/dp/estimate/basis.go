package estimate

import (
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
)

// BasisInverse turns published sums of measurements in a [dp.Basis] back into
// energy by interval. It does not change and may be used by many goroutines at
// once.
type BasisInverse struct {
	rows    [][]float64 // the matrix over its row norms: nearly orthonormal
	norms   []float64
	perUnit float64 // 2^s
}

// NewBasisInverse prepares the inverse of b.
func NewBasisInverse(b *dp.Basis) *BasisInverse {
	v := &BasisInverse{perUnit: math.Ldexp(1, int(b.Shift()))}
	for _, entries := range b.Matrix() {
		row, squares := make([]float64, len(entries)), 0.0
		for t, e := range entries {
			row[t] = float64(e)
			squares += row[t] * row[t]
		}
		norm := math.Sqrt(squares)
		for t := range row {
			row[t] /= norm
		}
		v.rows, v.norms = append(v.rows, row), append(v.norms, norm)
	}
	return v
}

// refinements is how often a solution is corrected by what it leaves over. The
// entries of a Basis are rounded so little that one step divides the error by
// 2^8 or more.
const refinements = 6

// Energy returns the Wh by interval that a sum z of measurements, noise
// included, stands for: the solution of M·energy = 2^s·z, to the precision of a
// float64. It is linear in z, hence unbiased for the sum of what was measured;
// what clipping took away it cannot know, nor the lattice unit by which each
// contributor's coefficients were truncated. It returns [dp.ErrLength] for a z
// of another length than the basis.
func (v *BasisInverse) Energy(z []int64) ([]float64, error) {
	if len(z) != len(v.rows) {
		return nil, dp.ErrLength
	}
	want, left := make([]float64, len(z)), make([]float64, len(z))
	for j, c := range z {
		want[j] = float64(c) * v.perUnit / v.norms[j]
		left[j] = want[j]
	}
	energy := make([]float64, len(z))
	for range refinements {
		for j, row := range v.rows {
			for t, r := range row {
				energy[t] += r * left[j]
			}
		}
		for j, row := range v.rows {
			left[j] = want[j]
			for t, r := range row {
				left[j] -= r * energy[t]
			}
		}
	}
	return energy, nil
}

// Variances returns the variance, in Wh², that noise of the given variance in
// each coordinate of z gives to each interval of [BasisInverse.Energy]:
// σ²·4^s·Σ_j (M^-1)_tj². Intervals are correlated unless the weights are equal.
//
// M^-1 is taken from the transpose of M. With w the least weight that is off by
// less than 4T/(2^k·w) times (σ·2^(s-k)/w)², the variance of that coefficient: by
// 10^-5 of it at a precision of 32.
func (v *BasisInverse) Variances(noise dp.Variance) []float64 {
	sigma2, _ := noise.Rat().Float64()
	variances := make([]float64, len(v.rows))
	for j, row := range v.rows {
		scale := v.perUnit / v.norms[j]
		for t, r := range row {
			variances[t] += sigma2 * (r * scale) * (r * scale)
		}
	}
	return variances
}
