package dp

import (
	"errors"
	"fmt"
)

// ErrLength reports two vectors of different lengths.
var ErrLength = errors.New("dp: vectors of different lengths")

// Add adds x to sum, element by element; the two must not overlap. It returns [ErrLength], or
// [ErrOverflow] if any element would not fit, and then sum is unchanged: a sum
// never wraps. A sum of fewer than 2^23 vectors clipped to [MaxBound] cannot
// overflow.
func Add(sum, x []int64) error {
	if len(sum) != len(x) {
		return ErrLength
	}
	for i, v := range x {
		if total := sum[i] + v; (total > sum[i]) != (v > 0) {
			for j := range i { // undo, so that the common case is one pass
				sum[j] -= x[j]
			}
			return fmt.Errorf("adding to a sum: %w", ErrOverflow)
		}
		sum[i] += v
	}
	return nil
}
