package estimate

import "math"

// Estimates are curves that add up: the children of a node sum to the node, but
// for the rounding of floats. Variance is exact, given the variances of the
// measurements.
//
// A node of variance +Inf is undetermined: the measurements fix it together
// with others but not alone. Its values are one way to make the curves add up
// and say nothing else.
type Estimates struct {
	Curves

	// WithParent is the covariance of node i's estimate with its parent's, at the
	// same interval; 0 for a root, +Inf where node i is undetermined. Intervals
	// are independent of each other as the measurements are.
	WithParent []float64

	tree *Tree
}

// LeastSquares returns the estimates that fit the measurements best, weighted by
// the inverse of their variances: of all unbiased linear estimates those of
// least variance (generalized least squares, exact), in time and memory
// linear in the number of nodes. The measurements must be independent, and
// unbiased or their bias will spread: see [Tree.CommonMode] for clipped sums.
//
// It returns [ErrShape], [ErrVariance] for a variance that is not positive (a
// NaN included), or [ErrValue].
func (t *Tree) LeastSquares(m Curves) (*Estimates, error) {
	if err := m.check(t.Len()); err != nil {
		return nil, err
	}
	g := t.gains(m.Variance, false)
	return &Estimates{
		Curves:     Curves{Intervals: m.Intervals, Values: g.fit(m.Values, m.Intervals), Variance: g.variance},
		WithParent: g.withParent,
		tree:       t,
	}, nil
}

// gains are the weights of the two passes over a tree. They depend on the
// variances alone, so one set serves every interval.
type gains struct {
	tree       *Tree
	own        []float64 // weight of a node's measurement against the sum of its children
	share      []float64 // what a node takes of its parent's disagreement with its children
	variance   []float64 // of the final estimate
	withParent []float64 // its covariance with the parent's final estimate
}

// siblings is what a node knows of its children's variances. The greatest is
// kept apart: what the others add up to would be lost in their difference, and
// is lost for certain if the greatest is infinite.
type siblings struct {
	greatest, others float64
	at               int // the child of the greatest variance
	undetermined     int // children of infinite variance
}

func (s *siblings) add(child int, variance float64) {
	if math.IsInf(variance, 1) {
		s.undetermined++
	}
	if s.at == NoParent || variance > s.greatest {
		s.others += s.greatest
		s.greatest, s.at = variance, child
	} else {
		s.others += variance
	}
}

// gains computes the weights. If rootsAlone, a root's estimate is its own
// measurement whatever its children say.
func (t *Tree) gains(measured []float64, rootsAlone bool) *gains {
	n := t.Len()
	g := &gains{
		tree: t, own: make([]float64, n), share: make([]float64, n),
		variance: make([]float64, n), withParent: make([]float64, n),
	}
	children := make([]siblings, t.inners)
	for k := range children {
		children[k].at = NoParent
	}

	up := make([]float64, n) // variance given a node's own subtree
	for _, i := range t.order {
		below := math.Inf(1) // variance of the children's sum
		if k := t.inner[i]; k != NoParent && !(rootsAlone && t.parent[i] == NoParent) {
			below = children[k].greatest + children[k].others
		}
		g.own[i], up[i] = combine(measured[i], below)
		if p := t.parent[i]; p != NoParent {
			children[t.inner[p]].add(i, up[i])
		}
	}

	for k := n - 1; k >= 0; k-- {
		i := t.order[k]
		p := t.parent[i]
		if p == NoParent {
			g.variance[i] = up[i]
			continue
		}
		s := &children[t.inner[p]]
		rest := s.others // variance of the sum of the siblings
		if s.at != i {
			rest = s.greatest + (s.others - up[i])
		}
		switch {
		case math.IsInf(up[i], 1) && s.undetermined > 1:
			g.share[i] = 1 / float64(s.undetermined)
			g.variance[i], g.withParent[i] = math.Inf(1), math.Inf(1)
		case math.IsInf(up[i], 1): // what its siblings leave of the parent
			g.share[i] = 1
			g.variance[i], g.withParent[i] = rest+g.variance[p], g.variance[p]
		case s.undetermined > 0: // another child takes all disagreement
			g.variance[i] = up[i]
		default:
			g.share[i] = up[i] / (s.greatest + s.others)
			g.withParent[i] = g.share[i] * g.variance[p]
			g.variance[i] = g.share[i]*rest + g.share[i]*g.withParent[i]
		}
	}
	return g
}

// combine returns the weight of a measurement against an independent second
// one, and the variance of their weighted mean.
func combine(first, second float64) (weight, variance float64) {
	switch {
	case math.IsInf(first, 1):
		return 0, second
	case math.IsInf(second, 1):
		return 1, first
	default:
		weight = second / (first + second)
		return weight, weight * first
	}
}

// fit runs the two passes over measurements of some intervals per node.
func (g *gains) fit(measured []float64, intervals int) []float64 {
	t := g.tree
	fitted := make([]float64, len(measured))
	node := func(i int) []float64 { return fitted[i*intervals : (i+1)*intervals] }
	sums := make([]float64, t.inners*intervals) // of an inner node's children
	below := func(k int) []float64 { return sums[k*intervals : (k+1)*intervals] }

	for _, i := range t.order {
		x, own := node(i), g.own[i]
		if own > 0 { // otherwise it may hold anything
			copy(x, measured[i*intervals:])
		}
		if k := t.inner[i]; k != NoParent && own < 1 {
			for j, sum := range below(k) {
				x[j] = own*x[j] + (1-own)*sum
			}
		}
		if p := t.parent[i]; p != NoParent {
			total := below(t.inner[p])
			for j := range x {
				total[j] += x[j]
			}
		}
	}
	for n := len(t.order) - 1; n >= 0; n-- {
		i := t.order[n]
		x := node(i)
		if p := t.parent[i]; p != NoParent {
			share := g.share[i]
			for j, missing := range below(t.inner[p]) {
				x[j] += share * missing
			}
		}
		if k := t.inner[i]; k != NoParent { // from now on: what the children lack
			sum := below(k)
			for j := range sum {
				sum[j] = x[j] - sum[j]
			}
		}
	}
	return fitted
}
