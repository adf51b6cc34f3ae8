package estimate

import (
	"errors"
	"fmt"
)

// ErrWeight reports a weight that is not positive and finite.
var ErrWeight = errors.New("estimate: weight out of range")

// Isotonic returns the nondecreasing sequence closest to x in squared distance
// weighted by weights (nil: equal), by pooling adjacent violators, in
// linear time. It never moves a value farther from a nondecreasing truth than
// the worst value of x already is. It returns [ErrShape], [ErrValue] or
// [ErrWeight].
func Isotonic(x, weights []float64) ([]float64, error) {
	if weights != nil && len(weights) != len(x) {
		return nil, fmt.Errorf("%d weights for %d values: %w", len(weights), len(x), ErrShape)
	}
	type pool struct {
		mean, weight float64
		size         int
	}
	var pools []pool
	for i, v := range x {
		next := pool{mean: v, weight: 1, size: 1}
		if weights != nil {
			next.weight = weights[i]
		}
		if !(v >= -maxValue && v <= maxValue) {
			return nil, fmt.Errorf("value %v at %d: %w", v, i, ErrValue)
		}
		if !(next.weight >= minVariance && next.weight <= maxVariance) {
			return nil, fmt.Errorf("weight %v at %d: %w", next.weight, i, ErrWeight)
		}
		for len(pools) > 0 && pools[len(pools)-1].mean >= next.mean {
			last := pools[len(pools)-1]
			pools = pools[:len(pools)-1]
			next.weight += last.weight
			next.size += last.size
			// Stays between the two means, which a quotient of sums may not.
			next.mean += (last.mean - next.mean) * (last.weight / next.weight)
		}
		pools = append(pools, next)
	}
	fitted := make([]float64, 0, len(x))
	for _, p := range pools {
		for range p.size {
			fitted = append(fitted, p.mean)
		}
	}
	return fitted, nil
}
