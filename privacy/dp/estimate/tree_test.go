package estimate_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Catches a malformed tree that is taken, or refused under another name.
func TestNewTreeRefuses(t *testing.T) {
	root := estimate.NoParent
	refuse := func(want error, parents ...int) {
		t.Helper()
		if _, err := estimate.NewTree(parents); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", parents, err, want)
		}
	}
	refuse(estimate.ErrParent, root, 2)
	refuse(estimate.ErrParent, root, -2)
	refuse(estimate.ErrCycle, 0)
	refuse(estimate.ErrCycle, 1, 0)
	refuse(estimate.ErrCycle, root, 0, 3, 4, 2)

	for _, parents := range [][]int{nil, {root}, {root, root}, {1, 2, root}, {root, 0, 1, 2}} {
		if tree, err := estimate.NewTree(parents); err != nil || tree.Len() != len(parents) {
			t.Errorf("%v: refused: %v", parents, err)
		}
	}
}

// Catches measurements that would turn every estimate into a NaN, or that belong
// to another tree.
func TestLeastSquaresRefuses(t *testing.T) {
	tree := newTree(t, regular(2))
	refuse := func(want error, m estimate.Curves) {
		t.Helper()
		if _, err := tree.LeastSquares(m); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", m, err, want)
		}
	}
	one := []float64{1, 1, 1}
	refuse(estimate.ErrShape, estimate.Curves{})
	refuse(estimate.ErrShape, estimate.Curves{Intervals: 1, Values: one, Variance: one[:2]})
	refuse(estimate.ErrShape, estimate.Curves{Intervals: 2, Values: one, Variance: one})
	refuse(estimate.ErrShape, estimate.Curves{Intervals: -1, Values: one, Variance: one})
	for _, v := range []float64{0, -1, math.NaN(), 1e-300, 1e300, math.Inf(-1)} {
		refuse(estimate.ErrVariance, estimate.Curves{Intervals: 1, Values: one, Variance: []float64{1, v, 1}})
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300} {
		refuse(estimate.ErrValue, estimate.Curves{Intervals: 1, Values: []float64{1, v, 1}, Variance: one})
	}
	// A node that was not measured has no value to object to.
	e, err := tree.LeastSquares(estimate.Curves{Intervals: 1, Values: []float64{math.NaN(), 1, 2}, Variance: []float64{math.Inf(1), 1, 1}})
	if err != nil || e.Values[0] != 3 || e.Variance[0] != 2 {
		t.Errorf("a NaN that was not measured: %v, %v", e, err)
	}
}

// Catches a builder that accepts a tree it cannot walk, and a fit of an accepted
// tree that does not add up: any bytes make parents, variances and values.
func FuzzTree(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 1, 0, 40, 0, 1, 3, 41, 0, 9, 7, 0})
	f.Add([]byte{255, 9, 0, 0, 0, 1, 0, 0, 1, 250, 0, 0, 1, 7, 0, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := len(data) / 4
		parents := make([]int, n)
		m := estimate.Curves{Intervals: 1, Values: make([]float64, n), Variance: make([]float64, n)}
		for i := range n {
			parents[i] = int(int8(data[4*i]))
			m.Variance[i] = math.Exp(float64(data[4*i+1]) / 8)
			if data[4*i+1] == 0 {
				m.Variance[i] = math.Inf(1)
			}
			m.Values[i] = float64(int16(binary.LittleEndian.Uint16(data[4*i+2:])))
		}
		tree, err := estimate.NewTree(parents)
		if err != nil {
			if !errors.Is(err, estimate.ErrParent) && !errors.Is(err, estimate.ErrCycle) {
				t.Fatal(err)
			}
			return
		}
		for i, p := range parents {
			switch {
			case p == estimate.NoParent && tree.Depth(i) != 0,
				p != estimate.NoParent && (tree.Depth(i) != tree.Depth(p)+1 || tree.Leaf(p)):
				t.Fatalf("node %d of %v at depth %d", i, parents, tree.Depth(i))
			}
		}
		e, err := tree.LeastSquares(m)
		if err != nil {
			t.Fatal(err)
		}
		addUp(t, parents, e.Curves, 1e-9*float64(1+n)*math.MaxInt16)
		for i, v := range e.Variance {
			if !(v > 0) || math.IsNaN(e.WithParent[i]) || v > m.Variance[i]*(1+1e-9) {
				t.Fatalf("node %d measured to %v has variance %v, %v with its parent", i, m.Variance[i], v, e.WithParent[i])
			}
		}
	})
}

// addUp fails unless children sum to their parent within a tolerance, and
// everything is a number.
func addUp(t *testing.T, parents []int, c estimate.Curves, tolerance float64) {
	t.Helper()
	inner := make(map[int]bool)
	missing := append([]float64(nil), c.Values...)
	for i, p := range parents {
		if p < 0 {
			continue
		}
		inner[p] = true
		for j, x := range c.Node(i) {
			missing[p*c.Intervals+j] -= x
		}
	}
	for i := range parents {
		for j := range c.Intervals {
			x := missing[i*c.Intervals+j]
			if math.IsNaN(x) || inner[i] && math.Abs(x) > tolerance {
				t.Fatalf("children of node %d miss %v of %v", i, x, c.Node(i)[j])
			}
		}
	}
}
