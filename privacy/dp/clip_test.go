package dp_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// The vectors another implementation must reproduce.
func TestClipL2(t *testing.T) {
	for _, c := range []struct {
		name string
		x    []int64
		c    int64
		want []int64
	}{
		{"no elements", nil, 5, nil},
		{"inside stays", []int64{3, -4}, 6, []int64{3, -4}},
		{"on the bound stays", []int64{3, -4}, 5, []int64{3, -4}},
		{"just outside", []int64{3, -4}, 4, []int64{2, -3}},
		{"direction kept", []int64{30, -40}, 5, []int64{3, -4}},
		{"irrational norm", []int64{1, 1}, 1, []int64{0, 0}},
		{"irrational norm, large", []int64{1000000, 1000000}, 1000000, []int64{707106, 707106}},
		{"exact where the norm's integer part would not do", []int64{2, 2, 1, 1, 1, 1}, 3, []int64{1, 1, 0, 0, 0, 0}},
		{"one element", []int64{-7000}, 3000, []int64{-3000}},
		{"bound zero", []int64{1, 0, -9}, 0, []int64{0, 0, 0}},
		{"least int64", []int64{math.MinInt64, 0}, 3000, []int64{-3000, 0}},
		{"all extreme", []int64{math.MinInt64, math.MinInt64, math.MinInt64, math.MinInt64}, 100, []int64{-50, -50, -50, -50}},
		{"extreme and small", []int64{math.MaxInt64, 1}, 10, []int64{9, 0}},
		{"greatest bound", []int64{3 << 40, 4 << 40}, dp.MaxBound, []int64{659706976665, 879609302220}},
	} {
		x := slices.Clone(c.x)
		if err := dp.ClipL2(x, c.c); err != nil || !slices.Equal(x, c.want) {
			t.Errorf("%s: ClipL2(%v, %d) = %v, %v; want %v", c.name, c.x, c.c, x, err, c.want)
		}
	}
	for _, bound := range []int64{-1, math.MinInt64, dp.MaxBound + 1} {
		x := []int64{1, 2}
		if err := dp.ClipL2(x, bound); !errors.Is(err, dp.ErrBound) || !slices.Equal(x, []int64{1, 2}) {
			t.Errorf("ClipL2 to %d: %v, %v", bound, x, err)
		}
	}
}

// checkClip verifies the definition itself, in unbounded integers: nothing
// changes inside the bound; outside, each result q is the greatest integer with
// q²·S ≤ x²·c², of the sign of x; and the norm is at most c.
func checkClip(t *testing.T, x []int64, c int64) {
	t.Helper()
	got := slices.Clone(x)
	if err := dp.ClipL2(got, c); err != nil {
		t.Fatalf("ClipL2(%v, %d): %v", x, c, err)
	}
	bound := square(c)
	s, after := new(big.Int), new(big.Int)
	for i := range x {
		s.Add(s, square(x[i]))
		after.Add(after, square(got[i]))
	}
	if after.Cmp(bound) > 0 {
		t.Fatalf("ClipL2(%v, %d) = %v of norm² %v", x, c, got, after)
	}
	if s.Cmp(bound) <= 0 {
		if !slices.Equal(got, x) {
			t.Fatalf("ClipL2(%v, %d) changed a vector inside the bound to %v", x, c, got)
		}
		return
	}
	for i, v := range got {
		size := new(big.Int).Abs(big.NewInt(v))
		limit := new(big.Int).Mul(square(x[i]), bound)
		low := new(big.Int).Mul(size, size)
		size.Add(size, big.NewInt(1))
		high := size.Mul(size, size)
		if low.Mul(low, s).Cmp(limit) > 0 || high.Mul(high, s).Cmp(limit) <= 0 || v != 0 && (v < 0) != (x[i] < 0) {
			t.Fatalf("ClipL2(%v, %d): element %d is %d", x, c, i, v)
		}
	}
}

func square(v int64) *big.Int {
	b := big.NewInt(v)
	return b.Mul(b, b)
}

// Catches a norm above the bound, an element off by one, and an overflow, over
// every size of element and bound.
func TestClipL2IsTheExactRadialClip(t *testing.T) {
	s := stream{label: "clip"}
	for range 4000 {
		x := make([]int64, 1+s.word()%6)
		for i := range x {
			x[i] = s.sized()
			if s.word()%4 == 0 { // neighbours of a repeated value: near ties
				x[i] = x[0] + int64(s.word()%3) - 1
			}
		}
		checkClip(t, x, int64(s.word()>>(24+s.word()%40)))
	}
	// Every small vector, where a tie or an off-by-one has nowhere to hide.
	for a := int64(-8); a <= 8; a++ {
		for b := int64(-8); b <= 8; b++ {
			for d := int64(0); d <= 8; d++ {
				for c := int64(0); c <= 12; c++ {
					checkClip(t, []int64{a, b, d}, c)
				}
			}
		}
	}
}

// Catches what TestClipL2IsTheExactRadialClip catches, where nobody thought of
// looking.
func FuzzClipL2(f *testing.F) {
	for _, x := range [][]int64{{3, -4}, {1, 1, 1}, {math.MinInt64, math.MaxInt64}, {1 << 57, 1 << 62, 1}} {
		var b []byte
		for _, v := range x {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		f.Add(b, uint64(5))
	}
	f.Fuzz(func(t *testing.T, b []byte, c uint64) {
		var x []int64
		for ; len(b) >= 8; b = b[8:] {
			x = append(x, int64(binary.LittleEndian.Uint64(b)))
		}
		checkClip(t, x, int64(c%(dp.MaxBound+1)))
	})
}
