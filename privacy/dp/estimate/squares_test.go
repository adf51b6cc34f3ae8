package estimate_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Catches any error of the two passes, in values, variances or covariances: they
// must give what a dense solver of the normal equations gives, on trees of every
// shape, with variances over four decades and nodes that were not measured. Where
// the dense system is singular, some node must be called undetermined, and the
// others must agree with the limit of a very bad measurement.
func TestLeastSquaresAgainstNormalEquations(t *testing.T) {
	r := newNormals(t, "normal equations")
	determined, partial := 0, 0
	for range 600 {
		parents := randomTree(r)
		n := len(parents)
		m := estimate.Curves{Intervals: 2, Values: make([]float64, 2*n), Variance: make([]float64, n)}
		for i := range n {
			m.Variance[i] = math.Exp(9 * (r.uniform() - 0.5))
			if r.below(5) == 0 {
				m.Variance[i] = math.Inf(1)
			}
			m.Node(i)[0], m.Node(i)[1] = r.draw(100), r.draw(100)
		}
		e, err := newTree(t, parents).LeastSquares(m)
		if err != nil {
			t.Fatal(err)
		}
		undetermined := false
		for _, v := range e.Variance {
			undetermined = undetermined || math.IsInf(v, 1)
		}
		values, covariance, ok := dense(parents, m)
		if ok == undetermined {
			t.Fatalf("%v, variances %v: dense solvable %v, undetermined %v", parents, m.Variance, ok, e.Variance)
		}
		tolerance := 1e-9
		if !ok {
			partial++
			tolerance = 1e-4
			bad := m
			bad.Variance = append([]float64(nil), m.Variance...)
			bad.Values = append([]float64(nil), m.Values...)
			for i := range n {
				if !m.Measured(i) {
					bad.Variance[i] = 1e8
				}
			}
			if values, covariance, ok = dense(parents, bad); !ok {
				continue // too nearly singular for the dense solver
			}
		} else {
			determined++
		}
		for i, v := range e.Variance {
			if math.IsInf(v, 1) {
				continue
			}
			for j, x := range e.Node(i) {
				near(t, fmt.Sprintf("%v, %v: node %d", parents, m.Variance, i), x/100, values[2*i+j]/100, tolerance)
			}
			near(t, fmt.Sprintf("%v, %v: variance %d", parents, m.Variance, i), v, covariance[i][i], tolerance)
			if p := parents[i]; p >= 0 && !math.IsInf(e.Variance[p], 1) {
				near(t, fmt.Sprintf("%v, %v: covariance %d", parents, m.Variance, i), e.WithParent[i], covariance[i][p], tolerance)
			}
		}
		addUp(t, parents, e.Curves, 1e-9)
	}
	if determined < 100 || partial < 100 {
		t.Errorf("only %d and %d cases", determined, partial)
	}
}

// Catches a formula that is not the design's: its table of noise alone, C = 1 and
// ρ = 0.5 in all, fan-out 10/10/10, to its two or three figures.
func TestLeastSquaresTable(t *testing.T) {
	parents := regular(10, 10, 10)
	for _, c := range []struct {
		split [4]float64
		std   [4]string
	}{
		{[4]float64{0.25, 0.25, 0.25, 0.25}, [4]string{"1.90", "1.81", "1.82", "1.91"}},
		{[4]float64{0, 0, 0, 1}, [4]string{"31.6", "10.0", "3.16", "1.00"}},
		{[4]float64{0.01, 0.02, 0.12, 0.85}, [4]string{"8.4", "4.8", "2.1", "1.05"}},
		{[4]float64{0.02, 0.05, 0.18, 0.75}, [4]string{"6.0", "3.5", "1.9", "1.11"}},
	} {
		tree := newTree(t, parents)
		m := estimate.Curves{Intervals: 1, Values: make([]float64, len(parents)), Variance: make([]float64, len(parents))}
		for i := range parents {
			m.Variance[i] = 1 / c.split[tree.Depth(i)] // C²/(2ρ_l), and +Inf for no budget
		}
		e, err := tree.LeastSquares(m)
		if err != nil {
			t.Fatal(err)
		}
		for i := range parents {
			want := c.std[tree.Depth(i)]
			_, decimals, _ := strings.Cut(want, ".")
			if got := strconv.FormatFloat(math.Sqrt(e.Variance[i]), 'f', len(decimals), 64); got != want {
				t.Fatalf("split %v, depth %d: std %s, want %s", c.split, tree.Depth(i), got, want)
			}
		}
	}
}

// Catches the corners of a tree: what is not measured and can be told from its
// relatives, what cannot, single children, leaves that are roots, no node.
func TestLeastSquaresCorners(t *testing.T) {
	inf, root := math.Inf(1), estimate.NoParent
	fit := func(parents []int, values, variance []float64) *estimate.Estimates {
		t.Helper()
		e, err := newTree(t, parents).LeastSquares(estimate.Curves{Intervals: 1, Values: values, Variance: variance})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	want := func(what string, got, want []float64) {
		t.Helper()
		for i := range want {
			if got[i] != want[i] && !(math.Abs(got[i]-want[i]) < 1e-12) {
				t.Errorf("%s: %v, want %v", what, got, want)
				return
			}
		}
	}
	e := fit(nil, nil, nil)
	if len(e.Values) != 0 {
		t.Errorf("no node has estimates %v", e.Values)
	}
	e = fit([]int{root, root}, []float64{5, 7}, []float64{2, inf})
	want("two roots", e.Values[:1], []float64{5})
	want("two roots, variance", e.Variance, []float64{2, inf})

	e = fit([]int{root, 0}, []float64{10, 20}, []float64{1, 3})
	want("single child", e.Values, []float64{12.5, 12.5})
	want("single child, variance", e.Variance, []float64{0.75, 0.75})

	e = fit([]int{root, 0, 0}, []float64{10, 4, 0}, []float64{1, 2, inf})
	want("one child not measured", e.Values, []float64{10, 4, 6})
	want("one child not measured, variance", e.Variance, []float64{1, 2, 3})
	want("one child not measured, covariance", e.WithParent, []float64{0, 0, 1})

	e = fit([]int{root, 0, 0, 0}, []float64{10, 4, 0, 0}, []float64{1, 2, inf, inf})
	want("two children not measured", e.Values, []float64{10, 4, 3, 3})
	want("two children not measured, variance", e.Variance, []float64{1, 2, inf, inf})

	e = fit([]int{root, 0, 0, 1, 1}, []float64{0, 9, 0, 3, 4}, []float64{inf, 1, inf, 1, 1})
	want("nothing known of the root", e.Variance, []float64{inf, 2.0 / 3, inf, 2.0 / 3, 2.0 / 3})
}

// Catches what a difference of sums would lose: one child that is a billion times
// worse than its siblings is what they leave of the parent, with their variance.
func TestLeastSquaresKeepsSmallVariances(t *testing.T) {
	e, err := newTree(t, regular(3)).LeastSquares(estimate.Curves{
		Intervals: 1, Values: []float64{10, 2, 3, 0}, Variance: []float64{1e-9, 1e-9, 1e-9, 1e12},
	})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "value", e.Values[3], 5, 1e-9)
	near(t, "variance", e.Variance[3]*1e9, 3, 1e-9)
}

// Catches a recursion that ends the stack and an addition that loses its figures:
// a chain of a hundred thousand nodes, and as many leaves of one parent.
func TestLeastSquaresExtremeShapes(t *testing.T) {
	const n = 100_000
	chain, star := make([]int, n), make([]int, n)
	m := estimate.Curves{Intervals: 1, Values: make([]float64, n), Variance: make([]float64, n)}
	for i := range n {
		chain[i], star[i] = i-1, 0
		m.Values[i], m.Variance[i] = float64(i%1000), 1
	}
	star[0] = estimate.NoParent
	e, err := newTree(t, chain).LeastSquares(m)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "chain", e.Values[n-1], 499.5, 1e-9) // n measurements of one quantity
	near(t, "chain, variance", e.Variance[0]*n, 1, 1e-9)
	if e, err = newTree(t, star).LeastSquares(m); err != nil {
		t.Fatal(err)
	}
	addUp(t, star, e.Curves, 1e-3) // of 5e7
}
