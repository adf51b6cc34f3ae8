package release_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/release"
)

// largeTree has 1,000 nodes: one region, 9 substations with 110 feeders each.
func largeTree() []release.Node {
	tree := []release.Node{{ID: "r", Kind: "region"}}
	for s := range 9 {
		tree = append(tree, release.Node{ID: fmt.Sprintf("s-%d", s), Parent: "r", Level: 1, Kind: "substation"})
	}
	for f := range 990 {
		tree = append(tree, release.Node{ID: fmt.Sprintf("f-%03d", f), Parent: fmt.Sprintf("s-%d", f/110), Level: 2, Kind: "feeder"})
	}
	return tree
}

// far is how many standard deviations off a statistic may be: a normal one is
// further off with odds of 6e-7. This file makes nine such comparisons, so that it
// fails a right program with odds below 1e-5.
const far = 5

// A release of nobody is noise alone, and tells by itself whether there is
// enough: of each level, the right size; independent from half-hour to half-hour,
// node to node, level to level and day to day; on the lattice of whole Wh. Two
// days of 1,000 nodes are 96,000 draws.
//
// It would catch σ too small by 2 % (a wrong formula is wrong by √2 and more),
// one draw used for a whole curve or for two nodes, noise seeded by day or by
// node, noise on a coarser grid than the sums, and a node that is published
// without noise because it is empty.
func TestNoiseOfAnEmptyPopulation(t *testing.T) {
	tree := largeTree()
	w := newWorldOf(t, plain(), tree)
	w.open(t, today)
	w.due(today)
	w.close(t, days(today-1, today)...)
	first, second := w.body(t, today-1), w.body(t, today)
	if len(first.Nodes) != len(tree) || len(second.Nodes) != len(tree) {
		t.Fatalf("%d and %d nodes are published, want all %d", len(first.Nodes), len(second.Nodes), len(tree))
	}

	z := func(b release.Body, node int) []float64 { // in units of σ
		n := b.Nodes[node]
		variance, _ := b.Levels[n.Level].Sigma2.Rat().Float64()
		out := make([]float64, len(n.Raw))
		for i, v := range n.Raw {
			out[i] = float64(v) / math.Sqrt(variance)
		}
		return out
	}
	var all, odd moments
	level := make([]moments, 3)
	var halfHours, feeders, parents, days moments
	parent := map[string]int{}
	for i, n := range first.Nodes {
		parent[n.ID] = i
	}
	for i, n := range first.Nodes {
		for _, b := range []release.Body{first, second} {
			x := z(b, i)
			for j, v := range x {
				all.add(v)
				level[n.Level].add(v * v)
				odd.add(float64(b.Nodes[i].Raw[j] & 1))
				if j > 0 {
					halfHours.add(v * x[j-1])
				}
				if i > 0 && first.Nodes[i-1].Level == n.Level {
					feeders.add(v * z(b, i-1)[j])
				}
				if n.Parent != "" {
					parents.add(v * z(b, parent[n.Parent])[j])
				}
			}
		}
		for j, v := range z(first, i) {
			days.add(v * z(second, i)[j])
		}
	}

	// The mean of n standard normals has deviation 1/√n, so has that of products of
	// independent ones, and that of parities has ½/√n (a discrete Gaussian with a σ of thousands is odd as often as
	// even, to far more digits than are counted here).
	check := func(what string, m moments, want, deviation float64) {
		t.Helper()
		if off := (m.mean() - want) * math.Sqrt(m.n) / deviation; math.Abs(off) > far {
			t.Errorf("%s: mean %.5f of %.0f, want %.1f: %.1f deviations off", what, m.mean(), m.n, want, off)
		}
	}
	check("noise", all, 0, 1)
	check("parity", odd, 0.5, 0.5)
	for l, m := range level {
		// A mean of squares is chi-squared over n, whose cube root is normal to
		// well below what is asked here (Wilson and Hilferty 1931). The region has
		// 96 draws: there this finds a gross mistake only.
		spread := 2 / (9 * m.n)
		if off := (math.Cbrt(m.mean()) - 1 + spread) / math.Sqrt(spread); math.Abs(off) > far {
			t.Errorf("level %d: σ² is %.4f of what it says: %.1f deviations off", l, m.mean(), off)
		}
	}
	check("neighbouring half-hours", halfHours, 0, 1)
	check("neighbouring nodes", feeders, 0, 1)
	check("parent and child", parents, 0, 1)
	check("two days", days, 0, 1)
	if m := level[2]; m.n < 90_000 {
		t.Errorf("%.0f draws of a feeder's noise: too few to see 2 %% of σ", m.n)
	}
}

// moments is a running mean.
type moments struct{ n, sum float64 }

func (m *moments) add(x float64) { m.n++; m.sum += x }

func (m *moments) mean() float64 { return m.sum / m.n }
