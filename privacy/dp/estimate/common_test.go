package estimate_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Catches a shift that is not the documented one: after it every level adds up
// to the region, nodes moved equally or by their counts, the region not at all,
// and the excess is the level's sum less the region's value.
func TestCommonModeShift(t *testing.T) {
	m := estimate.Curves{
		Intervals: 2,
		Values:    []float64{100, 10, 30, 4, 50, 2},
		Variance:  []float64{4, 1, 1},
	}
	for _, c := range []struct{ counts, want []float64 }{
		{nil, []float64{100, 10, 40, 6, 60, 4}},
		{[]float64{0, 3, 1}, []float64{100, 10, 45, 7, 55, 3}},
	} {
		a, err := newTree(t, regular(2)).CommonMode(m, c.counts)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			near(t, fmt.Sprintf("counts %v, value %d", c.counts, i), a.Values[i], want, 1e-12)
		}
		if l := a.Levels[0]; len(a.Levels) != 1 || l.Region != 0 || l.Depth != 1 || l.Nodes != 2 ||
			l.Excess[0] != -20 || l.Excess[1] != -4 || l.Variance != 6 {
			t.Errorf("levels %+v", a.Levels)
		}
	}
}

// Catches a comparison of sums that are not of the same thing, and counts that are
// no counts.
func TestCommonModeRefuses(t *testing.T) {
	inf, root := math.Inf(1), estimate.NoParent
	refuse := func(want error, parents []int, variance, counts []float64) {
		t.Helper()
		m := estimate.Curves{Intervals: 1, Values: make([]float64, len(parents)), Variance: variance}
		if _, err := newTree(t, parents).CommonMode(m, counts); !errors.Is(err, want) {
			t.Errorf("%v, %v, %v: %v, want %v", parents, variance, counts, err, want)
		}
	}
	pair := regular(2)
	refuse(estimate.ErrLevel, pair, []float64{inf, 1, 1}, nil)                  // no region
	refuse(estimate.ErrLevel, pair, []float64{1, 1, inf}, nil)                  // half a level
	refuse(estimate.ErrLevel, []int{root, 0, 0, 1}, []float64{1, 1, 1, 1}, nil) // a leaf above
	refuse(nil, []int{root, 0, 0, 1}, []float64{1, 1, 1, inf}, nil)             // not measured: no matter
	refuse(nil, pair, []float64{1, inf, inf}, nil)                              // nothing to correct
	refuse(nil, []int{root, 0, root, 2, 2}, []float64{1, 1, 2, 2, 2}, nil)      // each region by itself
	refuse(nil, nil, nil, nil)
	refuse(estimate.ErrShape, pair, []float64{1, 1, 1}, []float64{1})
	refuse(estimate.ErrCount, pair, []float64{1, 1, 1}, []float64{1, 0, 0})
	refuse(estimate.ErrCount, pair, []float64{1, 1, 1}, []float64{1, -1, 2})
	refuse(estimate.ErrCount, pair, []float64{1, 1, 1}, []float64{1, math.NaN(), 2})
	refuse(estimate.ErrVariance, pair, []float64{1, 0, 1}, nil)
}

// levelled returns the parents of a random forest whose leaves are all equally
// deep, so that every level covers its region.
func levelled(r *normals) []int {
	parents := []int{estimate.NoParent}
	if r.below(2) == 0 {
		parents = append(parents, estimate.NoParent)
	}
	first, last := 0, len(parents)
	for range r.below(3) + 1 {
		for p := first; p < last; p++ {
			for range r.below(3) + 1 {
				parents = append(parents, p)
			}
		}
		first, last = last, len(parents)
	}
	return parents
}

// Catches a variance that does not say what the correction did to the noise: both
// steps together are linear, so their matrix, read off unit measurements, gives
// every variance and covariance exactly. Random trees, counts and variances, and
// levels left out.
func TestCommonModeVariances(t *testing.T) {
	r := newNormals(t, "common mode")
	for range 150 {
		parents := levelled(r)
		tree := newTree(t, parents)
		n := len(parents)
		variance, counts := make([]float64, n), make([]float64, n)
		skipped := 1 + r.below(6)
		for i := range n {
			variance[i], counts[i] = math.Exp(4*(r.uniform()-0.5)), r.uniform()
			if tree.Depth(i) == skipped {
				variance[i] = math.Inf(1)
			}
		}
		if r.below(4) == 0 {
			counts = nil
		}
		a, err := tree.CommonMode(units(variance), counts)
		if err != nil {
			t.Fatal(err)
		}
		e := a.LeastSquares()
		addUp(t, parents, e.Curves, 1e-12)
		for i, p := range parents {
			if !math.IsInf(variance[i], 1) {
				near(t, "variance of the shifted value", a.Variance[i], propagated(a.Curves, variance, i, i), 1e-9)
			}
			if math.IsInf(e.Variance[i], 1) {
				continue
			}
			near(t, "variance", e.Variance[i], propagated(e.Curves, variance, i, i), 1e-9)
			if p >= 0 {
				near(t, "covariance with the parent", e.WithParent[i], propagated(e.Curves, variance, i, p), 1e-9)
			}
		}
	}
}

// Catches a correction that a common bias gets past: whatever a level gains in
// proportion to its parts must not move any estimate, with counts of any size.
func TestCommonModeIsBlindToLevels(t *testing.T) {
	r := newNormals(t, "blind")
	for range 50 {
		parents := levelled(r)
		tree := newTree(t, parents)
		n := len(parents)
		m := estimate.Curves{Intervals: 1, Values: make([]float64, n), Variance: make([]float64, n)}
		counts := make([]float64, n)
		for i := range n {
			m.Values[i], m.Variance[i], counts[i] = r.draw(10), math.Exp(r.draw(1)), float64(1+r.below(9))
		}
		fit := func() []float64 {
			a, err := tree.CommonMode(m, counts)
			if err != nil {
				t.Fatal(err)
			}
			return a.LeastSquares().Values
		}
		before := fit()
		for i := range n {
			if d := tree.Depth(i); d > 0 {
				m.Values[i] -= counts[i] * float64(100*d)
			}
		}
		for i, x := range fit() {
			near(t, "value", x, before[i], 1e-9)
		}
	}
}

// Catches an estimate that is not the best one claimed: with one variance and
// one count per level it is least squares with the region fixed at its
// measurement, to which the dense solver comes by a region measured ten thousand
// times as well, and its variance below the region is that plus the region's
// share.
func TestCommonModeIsLeastSquaresBelowTheRegion(t *testing.T) {
	r := newNormals(t, "fixed region")
	for range 100 {
		parents := levelled(r)
		tree := newTree(t, parents)
		n := len(parents)
		m := estimate.Curves{Intervals: 1, Values: make([]float64, n), Variance: make([]float64, n)}
		for i := range n {
			m.Values[i], m.Variance[i] = r.draw(1), 1+float64(tree.Depth(i))
		}
		a, err := tree.CommonMode(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := a.LeastSquares()
		fixed := m
		fixed.Variance = append([]float64(nil), m.Variance...)
		for i := range n {
			if tree.Depth(i) == 0 {
				fixed.Variance[i] = 1e-6
			}
		}
		values, covariance, ok := dense(parents, fixed)
		if !ok {
			t.Fatal("singular")
		}
		for i := range n {
			near(t, "value", e.Values[i], values[i], 1e-4)
			region := i
			for parents[region] >= 0 {
				region = parents[region]
			}
			part := covariance[i][region] / 1e-6
			near(t, "variance", e.Variance[i], covariance[i][i]+part*part*(1-1e-6), 1e-4)
		}
	}
}

// A clipped population: 100 000 households under 1 000 feeders in a tree of fan-out
// 10/10/10, a few of them heavy. Level l clips each to clip[l] of the mean
// household, which costs the feeders about a fifth of their energy and the
// region a few thousandths.
type population struct {
	parents  []int
	tree     *estimate.Tree
	truth    []float64 // by node
	clipped  []float64
	clip     [4]float64
	variance []float64
}

func newPopulation(t *testing.T, r *normals, feederSpread float64) *population {
	t.Helper()
	p := &population{parents: regular(10, 10, 10), clip: [4]float64{14, 7, 3, 1.3}}
	p.tree = newTree(t, p.parents)
	n := len(p.parents)
	p.truth, p.clipped, p.variance = make([]float64, n), make([]float64, n), make([]float64, n)
	const rho = 0.028 // ε = 1 at δ = 1e-6, in four equal parts
	for i := range n {
		c := p.clip[p.tree.Depth(i)]
		p.variance[i] = c * c / (2 * rho / 4)
		if !p.tree.Leaf(i) {
			continue
		}
		size := math.Exp(r.draw(feederSpread))
		for range 100 {
			x := size * math.Exp(r.draw(0.9)-0.405) // mean about 1
			for k := i; k >= 0; k = p.parents[k] {
				p.truth[k] += x
				p.clipped[k] += min(x, p.clip[p.tree.Depth(k)])
			}
		}
	}
	return p
}

func (p *population) measure(r *normals) estimate.Curves {
	m := estimate.Curves{Intervals: 1, Values: make([]float64, len(p.clipped)), Variance: p.variance}
	for i, x := range p.clipped {
		m.Values[i] = x + r.draw(math.Sqrt(p.variance[i]))
	}
	return m
}

// Catches the trap that this correction is for. Without it the region, measured
// to half a percent, comes out of least squares several percent too low, because
// the leaves that agree against it are all wrong in the same way; with it the
// region is as good as it was measured, every other level better than that, and
// all above the feeders better than without it. 40 releases. The least
// certain limit is the region's: a root mean square of 40 has a standard error
// of 11 %, and the factor of 5 is asserted where 12 is seen, so that all limits
// together are passed by chance with odds below 1e-5.
func TestCommonModeSavesTheRegion(t *testing.T) {
	r := newNormals(t, "clip bias")
	p := newPopulation(t, r, 0.25)
	const releases = 40
	var raw, plain, aligned [4]float64
	for range releases {
		m := p.measure(r)
		without, err := p.tree.LeastSquares(m)
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.tree.CommonMode(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.errors(&raw, m.Values, releases)
		p.errors(&plain, without.Values, releases)
		p.errors(&aligned, a.LeastSquares().Values, releases)
	}
	t.Logf("%% of the level's mean: measured %.3g, least squares %.3g, corrected %.3g", raw, plain, aligned)
	if raw[0] > 0.6 || plain[0] < 5*raw[0] {
		t.Errorf("region: measured to %.2f %%, without correction %.2f %%: no trap", raw[0], plain[0])
	}
	if aligned[0] > 1.001*raw[0] {
		t.Errorf("region: %.2f %% after correction, %.2f %% as measured", aligned[0], raw[0])
	}
	for d := 1; d < 4; d++ {
		if aligned[d] > 0.7*raw[d] || d < 3 && aligned[d] > 0.85*plain[d] {
			t.Errorf("depth %d: %.2f %% after correction, %.2f %% without, %.2f %% as measured", d, aligned[d], plain[d], raw[d])
		}
	}
}

// errors adds to sum the root mean square error of a fit by level, in percent
// of the level's mean.
func (p *population) errors(sum *[4]float64, values []float64, releases float64) {
	var square, total, nodes [4]float64
	for i, x := range values {
		d := p.tree.Depth(i)
		square[d] += (x - p.truth[i]) * (x - p.truth[i])
		total[d] += p.truth[i]
		nodes[d]++
	}
	for d := range sum {
		sum[d] = math.Sqrt(sum[d]*sum[d] + 1e4*square[d]*nodes[d]/(total[d]*total[d])/releases)
	}
}

// Catches equal shifts where nodes are unequal. Of a region of one large and
// nine small nodes each loses a tenth of its energy to the clip: in proportion
// to counts the correction leaves no bias at all, in equal parts it makes up
// for the large node's loss on the small ones.
func TestCommonModeByCounts(t *testing.T) {
	parents := regular(10)
	counts := make([]float64, len(parents))
	m := estimate.Curves{Intervals: 1, Values: make([]float64, len(parents)), Variance: make([]float64, len(parents))}
	for i := range parents {
		counts[i], m.Variance[i] = 100, 1
		switch i {
		case 0:
			counts[i] = 1900
		case 1:
			counts[i] = 1000
		}
		m.Values[i] = counts[i]
		if i > 0 {
			m.Values[i] *= 0.9
		}
	}
	worst := func(counts []float64, truth []float64) float64 {
		t.Helper()
		a, err := newTree(t, parents).CommonMode(m, counts)
		if err != nil {
			t.Fatal(err)
		}
		w := 0.0
		for i, x := range a.LeastSquares().Values {
			w = max(w, math.Abs(x-truth[i])/truth[i])
		}
		return w
	}
	if w := worst(counts, counts); w > 1e-12 {
		t.Errorf("by counts a node is off by %v", w)
	}
	if w := worst(nil, counts); w < 0.08 {
		t.Errorf("in equal parts no node is off by more than %v: the counts decide nothing", w)
	}
}
