package estimate_test

import (
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

func prior(between ...float64) estimate.Prior {
	return estimate.Prior{Between: between, Source: "test"}
}

// Catches a prior that is not stated with the result, or that is none, and nodes
// without a parent.
func TestShrinkRefuses(t *testing.T) {
	e, err := newTree(t, regular(2)).LeastSquares(estimate.Curves{Intervals: 2, Values: make([]float64, 6), Variance: []float64{1, 1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(want error, nodes []int, shares []float64, p estimate.Prior) {
		t.Helper()
		if s, err := e.Shrink(nodes, shares, p); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", s, err, want)
		}
	}
	refuse(estimate.ErrNode, []int{0}, nil, prior(1))
	refuse(estimate.ErrNode, []int{3}, nil, prior(1))
	refuse(estimate.ErrNode, []int{-1}, nil, prior(1))
	refuse(estimate.ErrShape, []int{1}, []float64{0.5, 0.5}, prior(1))
	refuse(estimate.ErrShape, []int{1}, nil, prior(1, 1, 1))
	refuse(estimate.ErrShare, []int{1}, []float64{1.1}, prior(1))
	refuse(estimate.ErrShare, []int{1}, []float64{math.NaN()}, prior(1))
	refuse(estimate.ErrPrior, []int{1}, nil, prior(-1))
	refuse(estimate.ErrPrior, []int{1}, nil, prior(1, math.NaN()))
	refuse(estimate.ErrPrior, []int{1}, nil, estimate.Prior{Between: []float64{1}})

	s, err := e.Shrink([]int{2}, nil, prior(1, 4))
	if err != nil {
		t.Fatal(err)
	}
	if s.Prior.Source != "test" || len(s.Prior.Between) != 2 || s.Prior.Between[1] != 4 || s.Shares[0] != 0.5 {
		t.Errorf("the result states %+v, shares %v", s.Prior, s.Shares)
	}
}

// Catches shrinkage that goes on where there is nothing to gain, or is missing
// where all is known: a prior of no distance gives the parent's share, one of
// any distance gives the estimate, a node that is undetermined gives the prior,
// and with one share and variance for all siblings they still add up.
func TestShrinkLimits(t *testing.T) {
	m := estimate.Curves{Intervals: 1, Values: []float64{100, 10, 50}, Variance: []float64{1, 9, 9}}
	tree := newTree(t, regular(2))
	e, err := tree.LeastSquares(m)
	if err != nil {
		t.Fatal(err)
	}
	shrink := func(e *estimate.Estimates, p estimate.Prior) *estimate.Shrunk {
		t.Helper()
		s, err := e.Shrink([]int{1, 2}, nil, p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	none := shrink(e, prior(0))
	near(t, "no distance", none.Values[0], e.Values[0]/2, 1e-12)
	near(t, "no distance, error", none.MSE[0], e.Variance[0]/4, 1e-12)
	far := shrink(e, prior(math.Inf(1)))
	near(t, "any distance", far.Values[0], e.Values[1], 1e-12)
	near(t, "any distance, error", far.MSE[0], e.Variance[1], 1e-12)
	some := shrink(e, prior(7))
	near(t, "sum of siblings", some.Values[0]+some.Values[1], e.Values[0], 1e-12)
	if some.MSE[0] >= e.Variance[1] || some.MSE[0] >= e.Variance[0]/4+7 {
		t.Errorf("error %v is no better than %v of the estimate and %v of the prior", some.MSE[0], e.Variance[1], e.Variance[0]/4+7)
	}

	m.Variance = []float64{1, math.Inf(1), math.Inf(1)}
	if e, err = tree.LeastSquares(m); err != nil {
		t.Fatal(err)
	}
	unknown := shrink(e, prior(7))
	near(t, "undetermined", unknown.Values[1], 50, 1e-12)
	near(t, "undetermined, error", unknown.MSE[1], 0.25+7, 1e-12)
}

// Catches a mean squared error that is not the one made. 4 000 trees are drawn
// from the prior, a curve of 2 intervals whose shapes vary differently, measured
// and shrunk, with unequal shares; the mean of 4 000 squared normal errors has
// a relative standard error of √(2/4000) = 2.2 %, and the limit of 6 of those is
// passed with odds of 2e-9 for each of 8.
func TestShrinkMeanSquaredError(t *testing.T) {
	const trees = 4000
	r := newNormals(t, "shrink")
	tree := newTree(t, regular(4))
	shares := []float64{0.1, 0.2, 0.3, 0.4}
	nodes := []int{1, 2, 3, 4}
	between := []float64{2, 30}
	m := estimate.Curves{Intervals: 2, Values: make([]float64, 10), Variance: []float64{9, 4, 5, 6, 7}}
	sum := make([]float64, 8)
	var s *estimate.Shrunk
	for range trees {
		truth := make([]float64, 10)
		for j, v := range between {
			// Distances sum to zero, so that the parent is 1000: independent ones
			// projected, with the variance that leaves, v, for equal nodes.
			var d [4]float64
			mean := 0.0
			for k := range d {
				d[k] = r.draw(math.Sqrt(v * 4 / 3))
				mean += d[k] / 4
			}
			truth[j] = 1000
			for k, share := range shares {
				truth[2*(k+1)+j] = 1000*share + d[k] - mean
			}
		}
		for i, x := range truth {
			m.Values[i] = x + r.draw(math.Sqrt(m.Variance[i/2]))
		}
		e, err := tree.LeastSquares(m)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = e.Shrink(nodes, shares, prior(between...)); err != nil {
			t.Fatal(err)
		}
		for k, x := range s.Values {
			sum[k] += (x - truth[2+k]) * (x - truth[2+k]) / trees
		}
	}
	for k, got := range sum {
		if want := s.MSE[k]; math.Abs(got-want) > 6*math.Sqrt(2.0/trees)*want {
			t.Errorf("value %d: mean squared error %v, stated %v", k, got, want)
		}
	}
}
