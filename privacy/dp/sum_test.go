package dp_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Catches a sum that wraps, and one that is half changed after an error.
func TestAdd(t *testing.T) {
	const least, most = math.MinInt64, math.MaxInt64
	for _, c := range []struct {
		name         string
		sum, x, want []int64
		err          error
	}{
		{"plain", []int64{1, -2, 0}, []int64{-5, 2, 0}, []int64{-4, 0, 0}, nil},
		{"to the ends", []int64{most - 1, least + 1}, []int64{1, -1}, []int64{most, least}, nil},
		{"across", []int64{least, most}, []int64{most, least}, []int64{-1, -1}, nil},
		{"zero at the ends", []int64{least, most}, []int64{0, 0}, []int64{least, most}, nil},
		{"above", []int64{7, 8, most}, []int64{1, 1, 1}, []int64{7, 8, most}, dp.ErrOverflow},
		{"below", []int64{7, 8, least}, []int64{-1, most, -1}, []int64{7, 8, least}, dp.ErrOverflow},
		{"least twice", []int64{least}, []int64{least}, []int64{least}, dp.ErrOverflow},
		{"short", []int64{1, 2}, []int64{1}, []int64{1, 2}, dp.ErrLength},
		{"long", []int64{1}, []int64{1, 2}, []int64{1}, dp.ErrLength},
	} {
		if err := dp.Add(c.sum, c.x); !errors.Is(err, c.err) || !slices.Equal(c.sum, c.want) {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, c.sum, err, c.want, c.err)
		}
	}
}
