package estimate

import (
	"errors"
	"fmt"
)

// Errors of the common-mode correction.
var (
	ErrLevel = errors.New("estimate: level cannot be compared with its region")
	ErrCount = errors.New("estimate: count out of range")
)

// Aligned is measurements after the common-mode correction: every level of a
// region adds up to what the region measured. Variance is the exact variance of
// each shifted value. The shift ties the nodes of a level together, so these are
// no input for [Tree.LeastSquares]; [Aligned.LeastSquares] knows of the ties.
type Aligned struct {
	Curves
	Levels []Level // by region, then by depth; levels that were not measured are left out

	tree   *Tree
	before []float64 // variances of the measurements before the shift
	level  []int     // node's index in Levels, NoParent for a root or an unmeasured node
	part   []float64 // of its level's shift that the node took
}

// Level is one level of one region: the nodes at one depth below a root.
type Level struct {
	Region, Depth int
	Nodes         int

	// Excess is the level's sum less the region's value, before the shift:
	// negative where the level lost more to its clip than the region. It is an
	// unbiased estimate of the difference of the two biases, and its variance
	// is Variance at each interval.
	Excess   []float64
	Variance float64

	sum float64 // variance of the level's sum
}

// CommonMode takes out the bias that clipping gives to all nodes of a level
// alike. The sum of vectors clipped to a norm is too low, the more so the
// tighter the clip, and leaves have the tightest. Least squares would take that
// for independent noise: a thousand leaves that are each a little low are
// overwhelming evidence that the region is too high, and drag it down. So each
// level is first shifted, interval by interval, until its sum is the region's
// value: node i moves by
//
//	-(level sum - region value) · counts[i] / (sum of counts on the level).
//
// Without counts (nil) every node of a level moves by the same amount. With
// counts, one per node, it moves in proportion: the clip takes its share from
// every household, so a node of twice as many loses twice as much, and a level
// of unequal nodes shifted equally would be wrong in each of them. Give
// counts where nodes differ in size. They must be public, as are the usage
// points of an asset register; how many households took part is private.
//
// The region itself is not moved. It has the loosest clip, and its remaining
// bias is all that the levels still share. For that, the levels no longer say
// anything of the region's sum, and its estimate is as noisy as its measurement:
// spend on the region what it needs by itself.
//
// Every root must be measured, and of each level below it all nodes or none;
// a measured level must have no leaf above it, or its sum is of something else
// than the region: otherwise [ErrLevel]. Counts that are negative, not finite
// or all zero on a level are [ErrCount]. Other errors are those of
// [Tree.LeastSquares].
func (t *Tree) CommonMode(m Curves, counts []float64) (*Aligned, error) {
	if err := m.check(t.Len()); err != nil {
		return nil, err
	}
	if counts != nil && len(counts) != t.Len() {
		return nil, fmt.Errorf("%d counts for %d nodes: %w", len(counts), t.Len(), ErrShape)
	}
	a := &Aligned{tree: t, before: append([]float64(nil), m.Variance...)}
	if err := a.findLevels(m); err != nil {
		return nil, err
	}
	if err := a.divide(counts); err != nil {
		return nil, err
	}
	a.shift(m)
	return a, nil
}

// findLevels sorts nodes into levels and refuses what cannot be compared.
func (a *Aligned) findLevels(m Curves) error {
	t := a.tree
	type place struct{ region, depth int }
	region := a.regions()
	nodes := make(map[place]int)
	shallow := make(map[int]int) // least depth of a region's leaves
	for i, r := range region {
		nodes[place{r, t.depth[i]}]++
		if least, ok := shallow[r]; t.Leaf(i) && (!ok || t.depth[i] < least) {
			shallow[r] = t.depth[i]
		}
	}

	at := make(map[place]int)
	for i := range t.Len() { // a region's levels, by depth
		for d := 0; t.parent[i] == NoParent; d++ {
			n, ok := nodes[place{i, d}]
			if !ok {
				break
			}
			if d == 0 {
				if !m.Measured(i) {
					return fmt.Errorf("region %d was not measured: %w", i, ErrLevel)
				}
				continue
			}
			at[place{i, d}] = len(a.Levels)
			a.Levels = append(a.Levels, Level{Region: i, Depth: d, Nodes: n})
		}
	}

	measured := make([]int, len(a.Levels))
	a.level = make([]int, t.Len())
	for i, d := range t.depth {
		a.level[i] = NoParent
		if d > 0 && m.Measured(i) {
			a.level[i] = at[place{region[i], d}]
			measured[a.level[i]]++
		}
	}
	kept := make([]int, len(a.Levels))
	levels := a.Levels[:0]
	for k, l := range a.Levels {
		kept[k] = len(levels)
		switch {
		case measured[k] == 0:
		case measured[k] < l.Nodes:
			return fmt.Errorf("region %d: %d of %d nodes at depth %d were measured: %w", l.Region, measured[k], l.Nodes, l.Depth, ErrLevel)
		case shallow[l.Region] < l.Depth:
			return fmt.Errorf("region %d: depth %d lies below a leaf at depth %d: %w", l.Region, l.Depth, shallow[l.Region], ErrLevel)
		default:
			levels = append(levels, l)
		}
	}
	a.Levels = levels
	for i, k := range a.level {
		if k != NoParent {
			a.level[i] = kept[k]
		}
	}
	return nil
}

// divide says what part of its level's shift each node takes.
func (a *Aligned) divide(counts []float64) error {
	a.part = make([]float64, len(a.level))
	totals := make([]float64, len(a.Levels))
	for i, k := range a.level {
		if k == NoParent {
			continue
		}
		a.part[i] = 1
		if counts != nil {
			a.part[i] = counts[i]
		}
		if !(a.part[i] >= 0 && a.part[i] <= maxValue) {
			return fmt.Errorf("node %d has count %v: %w", i, counts[i], ErrCount)
		}
		totals[k] += a.part[i]
	}
	for k, total := range totals {
		if total == 0 {
			return fmt.Errorf("region %d: all counts at depth %d are zero: %w", a.Levels[k].Region, a.Levels[k].Depth, ErrCount)
		}
	}
	for i, k := range a.level {
		if k != NoParent {
			a.part[i] /= totals[k]
		}
	}
	return nil
}

// shift moves the nodes, and works out the variances: of y - p·(Y - r), where Y
// is the sum of y and its level, and r the region's.
func (a *Aligned) shift(m Curves) {
	a.Curves = Curves{
		Intervals: m.Intervals,
		Values:    append([]float64(nil), m.Values...),
		Variance:  append([]float64(nil), m.Variance...),
	}
	for k := range a.Levels {
		l := &a.Levels[k]
		l.Excess = make([]float64, m.Intervals)
		for j, x := range m.Node(l.Region) {
			l.Excess[j] = -x
		}
	}
	for i, k := range a.level {
		if k == NoParent {
			continue
		}
		l := &a.Levels[k]
		l.sum += m.Variance[i]
		for j, x := range m.Node(i) {
			l.Excess[j] += x
		}
	}
	for k := range a.Levels {
		l := &a.Levels[k]
		l.Variance = l.sum + m.Variance[l.Region]
	}
	for i, k := range a.level {
		if k == NoParent {
			continue
		}
		p, v := a.part[i], m.Variance[i]
		a.Variance[i] = (1-p)*(1-p)*v + p*p*(a.Levels[k].Variance-v)
		for j, x := range a.Levels[k].Excess {
			a.Node(i)[j] -= p * x
		}
	}
}

// LeastSquares returns the tree estimate of the aligned measurements: the region
// as it was measured, and below it least squares with the weights of the
// measurements before the shift. Variances are exact for any counts. Where
// the nodes of each level share one variance and one count, the estimate is also
// the best unbiased one that keeps the region and is blind to a bias common to a
// level; ESTIMATES.md shows both.
func (a *Aligned) LeastSquares() *Estimates {
	t := a.tree
	g := t.gains(a.before, true)
	e := &Estimates{
		Curves:     Curves{Intervals: a.Intervals, Values: g.fit(a.Values, a.Intervals), Variance: g.variance},
		WithParent: g.withParent,
		tree:       t,
	}
	if len(a.Levels) > 0 {
		a.account(g, e)
	}
	return e
}

// account adds to the variances what the shift changed. The estimate is
// L(y) - Σ q_d·(Y_d - r) over depths d, where L is the fit of unshifted
// measurements and q_d the fit of what a shift by one moves on that level. Y_d is
// uncorrelated with L(y), which a fixed root makes blind to it; r is not, and the
// fit of one unit at the root gives Cov(L(y), r). Depths are taken one by one, so
// that memory stays linear in the nodes.
func (a *Aligned) account(g *gains, e *Estimates) {
	t := a.tree
	n := t.Len()
	region := a.regions()
	unit := make([]float64, n)
	for i, d := range t.depth {
		if d == 0 {
			unit[i] = 1
		}
	}
	byRoot := g.fit(unit, 1)
	shifted := make([]float64, n) // Σ q_d
	for d := 1; d <= t.depths; d++ {
		pattern := make([]float64, n)
		sums := make([]float64, n) // at a root: the variance of the level's sum
		for i, k := range a.level {
			if k != NoParent && t.depth[i] == d {
				pattern[i] = a.part[i]
				sums[region[i]] = a.Levels[k].sum
			}
		}
		q := g.fit(pattern, 1)
		for i, p := range t.parent {
			if p == NoParent {
				continue
			}
			e.Variance[i] += q[i] * q[i] * sums[region[i]]
			e.WithParent[i] += q[i] * q[p] * sums[region[i]]
			shifted[i] += q[i]
		}
	}
	for i, p := range t.parent {
		if p == NoParent {
			continue
		}
		v, q, qp := a.before[region[i]], shifted[i], shifted[p]
		e.Variance[i] += (q*q + 2*q*byRoot[i]) * v
		e.WithParent[i] += (q*qp + q*byRoot[p] + qp*byRoot[i]) * v
	}
}

// regions returns every node's root.
func (a *Aligned) regions() []int {
	t := a.tree
	region := make([]int, t.Len())
	for k := len(t.order) - 1; k >= 0; k-- {
		i := t.order[k]
		region[i] = i
		if p := t.parent[i]; p != NoParent {
			region[i] = region[p]
		}
	}
	return region
}
