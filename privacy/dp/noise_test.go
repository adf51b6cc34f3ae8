package dp_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// stocks makes noise of every law, so wide that a draw is zero, or equal to another,
// with probability below 1e-11: a Gaussian of variance 2^80 and a Laplace of scale
// 2^50. Its draws are never negligible beside a sum, nor alike.
var stocks = map[string]func(t *testing.T, n int) (*dp.Noise, error){
	"gaussian": func(t *testing.T, n int) (*dp.Noise, error) {
		t.Helper()
		return dp.DrawNoise(n, mustVariance(t, "1208925819614629174706176"))
	},
	"laplace": func(_ *testing.T, n int) (*dp.Noise, error) { return dp.DrawLaplaceNoise(n, 1<<50, 1) },
}

// Catches a draw added twice, one left in memory, and sums released with less
// noise than was asked for.
func TestNoiseIsUsedOnce(t *testing.T) {
	for law, draw := range stocks {
		t.Run(law, func(t *testing.T) { usedOnce(t, draw) })
	}
}

func usedOnce(t *testing.T, draw func(t *testing.T, n int) (*dp.Noise, error)) {
	t.Helper()
	n, err := draw(t, 5)
	if err != nil {
		t.Fatal(err)
	}
	memory := n.Draws()
	first, second := slices.Clone(memory[:2]), slices.Clone(memory[2:4])

	a, b := []int64{100, 100}, []int64{0, 0}
	if err := n.AddTo(a); err != nil {
		t.Fatal(err)
	}
	if a[0] != 100+first[0] || a[1] != 100+first[1] || n.Len() != 3 {
		t.Errorf("sums %v, %d draws left", a, n.Len())
	}
	if err := n.AddTo(b); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b, second) || slices.Contains(first, b[0]) {
		t.Errorf("second sum got %v", b)
	}
	if !slices.Equal(memory[:4], make([]int64, 4)) || memory[4] == 0 {
		t.Errorf("memory after use: %v", memory)
	}

	if err := n.AddTo(b); !errors.Is(err, dp.ErrSpent) || !slices.Equal(b, second) || n.Len() != 1 {
		t.Errorf("more than is left: %v, %v", b, err)
	}
	n.Erase()
	if memory[4] != 0 || n.Len() != 0 {
		t.Errorf("after Erase: %v, %d left", memory, n.Len())
	}
	if err := n.AddTo(b[:1]); !errors.Is(err, dp.ErrSpent) {
		t.Errorf("after Erase: %v", err)
	}
}

// Catches an overflow that publishes a wrapped sum, or that lets the same draws
// be tried again on other sums.
func TestNoiseOverflow(t *testing.T) {
	for law, draw := range stocks {
		t.Run(law, func(t *testing.T) { overflows(t, draw) })
	}
}

func overflows(t *testing.T, draw func(t *testing.T, n int) (*dp.Noise, error)) {
	t.Helper()
	for {
		n, err := draw(t, 1)
		if err != nil {
			t.Fatal(err)
		}
		memory := n.Draws()
		if memory[0] <= 0 { // half of the time it does not overflow
			continue
		}
		sums := []int64{math.MaxInt64}
		if err := n.AddTo(sums); !errors.Is(err, dp.ErrOverflow) || sums[0] != math.MaxInt64 {
			t.Errorf("%v, %v", sums, err)
		}
		if memory[0] != 0 || n.Len() != 0 {
			t.Errorf("the draw survives: %v", memory)
		}
		return
	}
}
