package estimate_test

import (
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// newTree returns a tree, or ends the test.
func newTree(t testing.TB, parents []int) *estimate.Tree {
	t.Helper()
	tree, err := estimate.NewTree(parents)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// regular returns the parents of a tree with one root and the given fan-out at
// each level.
func regular(fanouts ...int) []int {
	parents := []int{estimate.NoParent}
	first, last := 0, 1
	for _, f := range fanouts {
		for p := first; p < last; p++ {
			for range f {
				parents = append(parents, p)
			}
		}
		first, last = last, len(parents)
	}
	return parents
}

// randomTree returns the parents of up to 14 nodes in random order: ragged,
// with single children and sometimes several roots.
func randomTree(r *normals) []int {
	n := 1 + r.below(14)
	name := make([]int, n) // a node's place in the order
	for i := range name {
		j := r.below(i + 1)
		name[i] = name[j]
		name[j] = i
	}
	parents := make([]int, n)
	for i := range n {
		parents[name[i]] = estimate.NoParent
		if i > 0 && r.below(8) > 0 {
			parents[name[i]] = name[r.below(i)]
		}
	}
	return parents
}

// dense solves the same problem by the normal equations on the leaves, with no
// thought for its being a tree: fitted values by node, and their covariance.
// It reports whether the measurements determine every leaf.
func dense(parents []int, m estimate.Curves) (values []float64, covariance [][]float64, ok bool) {
	n := len(parents)
	leaf := make([]bool, n)
	for i := range leaf {
		leaf[i] = true
	}
	for _, p := range parents {
		if p >= 0 {
			leaf[p] = false
		}
	}
	var design [][]float64 // node by leaf
	for range n {
		design = append(design, nil)
	}
	leaves := 0
	for i := range n {
		if !leaf[i] {
			continue
		}
		for k := range n {
			design[k] = append(design[k], 0)
		}
		for k := i; k >= 0; k = parents[k] {
			design[k][leaves] = 1
		}
		leaves++
	}

	// [ normal matrix | right-hand sides | identity ]
	width := leaves + m.Intervals + leaves
	rows := make([][]float64, leaves)
	for a := range rows {
		rows[a] = make([]float64, width)
		rows[a][leaves+m.Intervals+a] = 1
		for i := range n {
			if !m.Measured(i) || design[i][a] == 0 {
				continue
			}
			for b := range leaves {
				rows[a][b] += design[i][b] / m.Variance[i]
			}
			for j, x := range m.Node(i) {
				rows[a][leaves+j] += x / m.Variance[i]
			}
		}
	}
	for a := range rows {
		pivot := a
		for b := a; b < leaves; b++ {
			if math.Abs(rows[b][a]) > math.Abs(rows[pivot][a]) {
				pivot = b
			}
		}
		rows[a], rows[pivot] = rows[pivot], rows[a]
		if math.Abs(rows[a][a]) < 1e-9 {
			return nil, nil, false
		}
		for b := range rows {
			if b == a {
				continue
			}
			factor := rows[b][a] / rows[a][a]
			for k := a; k < width; k++ {
				rows[b][k] -= factor * rows[a][k]
			}
		}
	}
	values = make([]float64, n*m.Intervals)
	covariance = make([][]float64, n)
	for i := range n {
		covariance[i] = make([]float64, n)
		for a := range rows {
			if design[i][a] == 0 {
				continue
			}
			for j := range m.Intervals {
				values[i*m.Intervals+j] += rows[a][leaves+j] / rows[a][a]
			}
			for k := range n {
				for b := range leaves {
					covariance[i][k] += rows[a][leaves+m.Intervals+b] / rows[a][a] * design[k][b]
				}
			}
		}
	}
	return values, covariance, true
}

// units returns measurements whose fit is the matrix of the estimator itself: at
// interval j only node j measures anything, and that is one.
func units(variance []float64) estimate.Curves {
	n := len(variance)
	m := estimate.Curves{Intervals: n, Values: make([]float64, n*n), Variance: variance}
	for i := range n {
		m.Node(i)[i] = 1
	}
	return m
}

// propagated returns the covariance of two rows of an estimator's matrix under
// independent measurements.
func propagated(fit estimate.Curves, variance []float64, i, j int) float64 {
	c := 0.0
	for k, v := range variance {
		if !math.IsInf(v, 1) {
			c += fit.Node(i)[k] * fit.Node(j)[k] * v
		}
	}
	return c
}
