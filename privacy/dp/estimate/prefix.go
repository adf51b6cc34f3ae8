package estimate

import (
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
)

// PrefixEstimator turns the published sums of a [dp.Strategy] into prefix sums:
// at bin t, how many contributors are in bins 0 … t. It does not change and may
// be used by many goroutines at once.
type PrefixEstimator struct {
	strategy *dp.Strategy
}

// NewPrefixEstimator prepares estimates from what s measured.
func NewPrefixEstimator(s *dp.Strategy) *PrefixEstimator {
	return &PrefixEstimator{strategy: s}
}

// Sums returns the prefix sums that y, noise included, stands for. It solves for
// the counts by forward substitution through the very integers that were added,
// so that truncating them biases nothing, and adds the counts up: time n²,
// memory n. It returns [dp.ErrLength] for a y of another length than n.
//
// The sums are unbiased and therefore neither rounded, monotone nor
// non-negative.
func (p *PrefixEstimator) Sums(y []int64) ([]float64, error) {
	n := p.strategy.Bins()
	if len(y) != n {
		return nil, dp.ErrLength
	}
	sums := make([]float64, n)
	for i, v := range y {
		sums[i] = float64(v)
	}
	column := make([]int64, 0, n)
	total := 0.0
	for j := range sums {
		var err error
		if column, err = p.strategy.AppendColumn(column[:0], j); err != nil {
			return nil, err
		}
		count := sums[j] / float64(column[0])
		for i, e := range column {
			sums[j+i] -= count * float64(e)
		}
		total += count
		sums[j] = total
	}
	return sums, nil
}

// Variances returns the variance that noise of the given variance in each
// coordinate of y gives to each of [PrefixEstimator.Sums]: σ²/4^k times the
// squared row norms of R = A·B^-1 = A·D·C^-1, in time n². Sums inverts the
// truncated entries instead of B, which is off by less than 6n/2^k, relatively:
// 0.01 % for a year of half hours at a precision of 30.
func (p *PrefixEstimator) Variances(noise dp.Variance) []float64 {
	_, inverse := p.strategy.Factors()
	n := len(inverse)
	// C^-1 is Toeplitz with the coefficients of √(1-z).
	g := make([]float64, n)
	for m := range g {
		g[m] = 1
		if m > 0 {
			g[m] = g[m-1] * (float64(m) - 1.5) / float64(m)
		}
	}
	sigma2, _ := noise.Rat().Float64()
	unit := math.Ldexp(1, -int(p.strategy.Precision()))
	row, variances := make([]float64, n), make([]float64, n)
	for t := range variances {
		// Row t of R is row t-1 plus row t of D·C^-1.
		d := math.Ldexp(1/float64(inverse[t]), 63)
		squares := 0.0
		for i := range t + 1 {
			row[i] += d * g[t-i]
			squares += row[i] * row[i]
		}
		variances[t] = sigma2 * unit * unit * squares
	}
	return variances
}
