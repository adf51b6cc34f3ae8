package estimate

import (
	"errors"
	"fmt"
	"math"
)

// Errors of shrinkage.
var (
	ErrNode  = errors.New("estimate: node has no parent to be drawn to")
	ErrShare = errors.New("estimate: share outside 0 to 1")
	ErrPrior = errors.New("estimate: prior out of range")
)

// Prior says how far a node's true curve lies from its share of its parent's, on
// average over the nodes it is used for. It is part of what is claimed of the
// result, so it must be public and is published with it: fitted to a public
// reference population, never to the readings at hand.
type Prior struct {
	// Between is the mean square of the distance at each interval, in the square
	// of the values' unit, or one value for all intervals. For curves in
	// another basis (the coefficients of a cosine transform, say) it is the
	// diagonal of the covariance there.
	Between []float64 `json:"between"`

	// Source names where the numbers come from, for whoever reads the result.
	Source string `json:"source"`
}

// Shrunk is curves drawn toward their parents': biased on purpose, toward Prior.
type Shrunk struct {
	Prior     Prior
	Nodes     []int
	Shares    []float64 // of the parent's curve, by entry of Nodes
	Intervals int
	Values    []float64 // of Nodes[k]: Values[k*Intervals : (k+1)*Intervals]

	// MSE is the mean squared error of each value, over the noise and over nodes
	// for which the prior is true. It is no statement on a single node: one
	// that is unlike its parent is off by up to the whole difference.
	MSE []float64
}

// Shrink returns the curves of some nodes, each drawn toward its share of its
// parent's curve: λ·own + (1-λ)·share·parent, with the λ between 0 and 1 of
// least mean squared error under the prior, interval by interval. The parent's
// own noise and its correlation with the node's are taken into account. shares
// holds a public share for each entry of nodes; nil divides each parent equally
// among its children.
//
// Shrunk curves need not add up to the parent: they do among siblings whose
// shares add up to one and that have the same share and variance. Publish the
// unshrunk estimates with them.
//
// It returns [ErrNode] for a root, [ErrShare] for a share that is negative or
// above one, [ErrPrior] for a prior that is negative, a NaN or without a source,
// and [ErrShape].
func (e *Estimates) Shrink(nodes []int, shares []float64, prior Prior) (*Shrunk, error) {
	if shares == nil {
		shares = e.tree.equalShares(nodes)
	}
	if len(shares) != len(nodes) || len(prior.Between) != 1 && len(prior.Between) != e.Intervals {
		return nil, fmt.Errorf("%d shares for %d nodes, %d prior variances for %d intervals: %w",
			len(shares), len(nodes), len(prior.Between), e.Intervals, ErrShape)
	}
	if prior.Source == "" {
		return nil, fmt.Errorf("no source is stated: %w", ErrPrior)
	}
	for j, v := range prior.Between {
		if !(v >= 0) {
			return nil, fmt.Errorf("variance %v at interval %d: %w", v, j, ErrPrior)
		}
	}
	s := &Shrunk{
		Prior:     Prior{Between: append([]float64(nil), prior.Between...), Source: prior.Source},
		Nodes:     append([]int(nil), nodes...),
		Shares:    append([]float64(nil), shares...),
		Intervals: e.Intervals,
		Values:    make([]float64, len(nodes)*e.Intervals),
		MSE:       make([]float64, len(nodes)*e.Intervals),
	}
	for k, i := range nodes {
		if i < 0 || i >= e.tree.Len() || e.tree.parent[i] == NoParent {
			return nil, fmt.Errorf("node %d: %w", i, ErrNode)
		}
		share := shares[k]
		if !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("node %d has share %v: %w", i, share, ErrShare)
		}
		p := e.tree.parent[i]
		own, parent := e.Node(i), e.Node(p)
		for j, x := range own {
			between := prior.Between[j%len(prior.Between)]
			b := share*share*e.Variance[p] + between
			if share == 0 {
				b = between // whatever the parent's variance
			}
			weight, mse := blend(e.Variance[i], b, share*e.WithParent[i])
			s.Values[k*e.Intervals+j] = weight*x + (1-weight)*share*parent[j]
			s.MSE[k*e.Intervals+j] = mse
		}
	}
	return s, nil
}

// blend returns the weight in [0, 1] of the first of two estimates of one
// quantity that makes the mean squared error of their mean least, and that error;
// a and b are their mean squared errors and c the mean product of their errors.
func blend(a, b, c float64) (weight, mse float64) {
	switch {
	case math.IsInf(b, 1):
		return 1, a
	case math.IsInf(a, 1):
		return 0, b
	}
	weight = 1
	if apart := a + b - 2*c; apart > 0 { // otherwise the two are one and the same
		weight = min(1, max(0, (b-c)/apart))
	}
	rest := 1 - weight
	return weight, weight*weight*a + rest*rest*b + 2*weight*rest*c
}

func (t *Tree) equalShares(nodes []int) []float64 {
	children := make([]float64, t.inners)
	for _, p := range t.parent {
		if p != NoParent {
			children[t.inner[p]]++
		}
	}
	shares := make([]float64, len(nodes))
	for k, i := range nodes {
		if i >= 0 && i < t.Len() && t.parent[i] != NoParent {
			shares[k] = 1 / children[t.inner[t.parent[i]]]
		}
	}
	return shares
}
