package release_test

import (
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// gain reads from a release how its estimates depend on its raw sums: interval j gets
// raw sums of zero but for node j, so that one release shows a whole matrix. What comes
// out of a linear estimate with independent noise has the variance Σ gain²·σ², which
// needs nothing of how the estimate was made.
func gain(t *testing.T, w *world, p release.Product, tree []release.Node) (release.Body, [][]float64) {
	t.Helper()
	const unit = 1 << 40
	body, err := w.engine.Stated(t.Context(), p, today, tree, func(sums map[string][]int64) {
		for j, n := range tree {
			if s := sums[n.ID]; s != nil {
				s[j] = unit
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	g := make([][]float64, len(body.Nodes))
	for i, n := range body.Nodes {
		for j, other := range tree {
			if !slices.ContainsFunc(body.Nodes, func(n release.NodeBody) bool { return n.ID == other.ID }) {
				continue
			}
			g[i] = append(g[i], float64(n.Estimate[j])/unit)
		}
	}
	return body, g
}

// Intervals are as wide as the noise of what they are estimated from: 1.96 standard
// deviations to each side, by a calculation that shares nothing with the estimate's
// own. It would catch a variance of another level's noise, one that forgets what the
// levels' common shift carries, and a width that was halved.
func TestIntervalsAreAsWideAsTheNoise(t *testing.T) {
	node := func(id, parent string, level int, kind string, points uint64) release.Node {
		return release.Node{ID: id, Parent: parent, Level: level, Kind: kind, UsagePoints: points}
	}
	for name, tree := range map[string][]release.Node{
		"a region": {node("r", "", 0, "region", 5)},
		"even": {
			node("r", "", 0, "region", 8), node("s1", "r", 1, "substation", 4), node("s2", "r", 1, "substation", 4),
			node("f1", "s1", 2, "feeder", 2), node("f2", "s1", 2, "feeder", 2), node("f3", "s2", 2, "feeder", 2), node("f4", "s2", 2, "feeder", 2),
		},
		"uneven counts": {
			node("r", "", 0, "region", 10), node("s1", "r", 1, "substation", 1), node("s2", "r", 1, "substation", 9),
			node("f1", "s1", 2, "feeder", 1), node("f2", "s2", 2, "feeder", 7), node("f3", "s2", 2, "feeder", 2),
		},
		"nobody registered": {node("r", "", 0, "region", 0), node("s1", "r", 1, "substation", 0), node("s2", "r", 1, "substation", 0)},
		"parents that are not published": {
			node("r", "", 0, "country", 10), node("s1", "r", 1, "area", 1), node("f1", "s1", 2, "feeder", 1), node("f2", "s1", 2, "feeder", 7),
		},
		"two regions": {
			node("a", "", 0, "region", 3), node("b", "", 0, "region", 3), node("s1", "a", 1, "substation", 1), node("s2", "a", 1, "substation", 2), node("s3", "b", 1, "substation", 3),
		},
		"a level that is not all there": {
			node("r", "", 0, "region", 3), node("s1", "r", 1, "substation", 2), node("s2", "r", 1, "substation", 1), node("f1", "s1", 2, "feeder", 2),
		},
		"two kinds at one depth": {node("r", "", 0, "region", 3), node("s1", "r", 1, "substation", 2), node("f1", "r", 1, "feeder", 1)},
	} {
		w := newWorld(t, wide())
		p := wide().Products[0]
		body, g := gain(t, w, p, tree)
		variance := func(kind string) float64 {
			for _, l := range body.Levels {
				if l.Kind == kind {
					v, _ := l.Sigma2.Rat().Float64()
					return v
				}
			}
			t.Fatalf("%s: no level %s", name, kind)
			return 0
		}
		for i, n := range body.Nodes {
			sum := 0.0
			for j, other := range body.Nodes {
				sum += g[i][j] * g[i][j] * variance(other.Kind)
			}
			want := 1.959964 * math.Sqrt(sum)
			for j := range n.Estimate {
				if got := float64(n.High[j]-n.Low[j]) / 2; math.Abs(got/want-1) > 1e-6 {
					t.Errorf("%s: %s is ± %.0f at %d, want %.0f (%s)", name, n.ID, got, j, want, body.Estimates.Method)
					break
				}
			}
		}
		// What adds up in the tree adds up in the estimates.
		for _, n := range body.Nodes {
			children := make([]int64, 48)
			some := int64(0)
			for _, c := range body.Nodes {
				if c.Parent == n.ID {
					some++
					for j, v := range c.Estimate {
						children[j] += v
					}
				}
			}
			for j, v := range children {
				if off := n.Estimate[j] - v; some > 0 && body.Estimates.Method[:4] != "each" && (off > some || off < -some) {
					t.Errorf("%s: %s is %d at %d, its children %d", name, n.ID, n.Estimate[j], j, v)
				}
			}
		}
	}
}

// What is registered at an inner node, or below a kind that is not published, is in the
// node and in none of its published children: those do not add up to it, and estimates
// do not make them. It would catch a region and its one substation drawn together at
// half of either, with an interval that holds neither.
func TestChildrenThatAreNotAll(t *testing.T) {
	w := newWorld(t, plain())
	p := wide().Products[0]
	for i := range p.Levels {
		p.Levels[i].Rho, p.Levels[i].ClipWh = 60_000_000_000, 1 // noise of a tenth of a Wh
	}
	count := p
	count.Kind, count.IntervalSeconds, count.Levels = release.Households, 0, []release.LevelPlan{{Kind: "region", Rho: 6e10}, {Kind: "substation", Rho: 6e10}}
	tree := []release.Node{
		{ID: "r", Kind: "region", UsagePoints: 1000},
		{ID: "s", Parent: "r", Level: 1, Kind: "substation", UsagePoints: 100},
	}
	for _, p := range []release.Product{p, count} {
		body, err := w.engine.Stated(t.Context(), p, today, tree, func(sums map[string][]int64) { sums["r"][0], sums["s"][0] = 1000, 100 })
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int64{1000, 100} {
			if n := body.Nodes[i]; n.Estimate[0] != want || n.Low[0] > want || n.High[0] < want {
				t.Errorf("%s of %s is %d in %d to %d, want %d", p.Kind, n.ID, n.Estimate[0], n.Low[0], n.High[0], want)
			}
		}
		if err := body.Check(); err != nil {
			t.Error(err)
		}
	}
}

// A region where nobody is registered changes nothing of another's estimates. It would
// catch counts that are dropped for all because one level has none.
func TestARegionWithoutUsagePointsSpoilsNoOther(t *testing.T) {
	w := newWorld(t, plain())
	tree := []release.Node{
		{ID: "r", Kind: "region", UsagePoints: 1000},
		{ID: "s1", Parent: "r", Level: 1, Kind: "substation", UsagePoints: 990},
		{ID: "s2", Parent: "r", Level: 1, Kind: "substation", UsagePoints: 10},
	}
	state := func(tree []release.Node) release.Body {
		body, err := w.engine.Stated(t.Context(), wide().Products[0], today, tree, func(sums map[string][]int64) {
			sums["r"][0], sums["s1"][0], sums["s2"][0] = 100_000, 79_000, 1000
		})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	at := func(b release.Body, id string) int64 {
		return b.Nodes[slices.IndexFunc(b.Nodes, func(n release.NodeBody) bool { return n.ID == id })].Estimate[0]
	}
	alone, beside := state(tree), state(append(tree, release.Node{ID: "r2", Kind: "region"}, release.Node{ID: "s3", Parent: "r2", Level: 1, Kind: "substation"}))
	for _, id := range []string{"r", "s1", "s2"} {
		if at(alone, id) != at(beside, id) {
			t.Errorf("%s is %d alone and %d beside an empty region", id, at(alone, id), at(beside, id))
		}
	}
}

// A curve measured in a basis is stated in Wh, of a mean day: what went in comes out,
// and its intervals are those of the noise in the basis, turned back. It would catch a
// precision or a number of days that is forgotten, in the numbers or in their widths.
func TestACurveInABasisIsStatedInWattHours(t *testing.T) {
	weights := flatBasis(48)
	for k := range weights.Weights {
		weights.Weights[k] = dp.WeightOne * uint64(1+k/4)
	}
	p := release.Product{
		Name: "weekday-curve", Kind: release.Curve, Register: meter.ActiveImport, Span: release.Week, Days: release.Workdays, IntervalSeconds: 1800, Basis: weights,
		Levels: []release.LevelPlan{{Kind: "region", Rho: 1e9, ClipWh: 100_000}},
	}
	tree := []release.Node{{ID: "r", Kind: "region", UsagePoints: 1}}
	sums, err := release.NewSums(p, today, tree)
	if err != nil {
		t.Fatal(err)
	}
	var day []int64
	for j := range 48 {
		day = append(day, int64(100+37*j%300))
	}
	if err := sums.Add(release.Place{Node: "r"}, day, day, day, day, day); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, plain())
	state := func(raw []int64) release.NodeBody {
		body, err := w.engine.Stated(t.Context(), p, today, tree, func(s map[string][]int64) { copy(s["r"], raw) })
		if err != nil {
			t.Fatal(err)
		}
		return body.Nodes[0]
	}
	got := state(sums.Raw()["r"])
	for j, v := range got.Estimate {
		if off := v - day[j]; off > 1 || off < -1 {
			t.Errorf("half-hour %d is %d, want %d", j, v, day[j])
		}
	}
	variance := make([]float64, 48)
	for k := range 48 {
		const unit = 1 << 40
		raw := make([]int64, 48)
		raw[k] = unit
		for j, v := range state(raw).Estimate {
			variance[j] += float64(v) / unit * float64(v) / unit
		}
	}
	sigma2, _ := mustState(t, w, p, tree).Levels[0].Sigma2.Rat().Float64()
	for j := range got.Estimate {
		want := 1.959964 * math.Sqrt(variance[j]*sigma2)
		if width := float64(got.High[j]-got.Low[j]) / 2; math.Abs(width-want) > 1.5 {
			t.Errorf("half-hour %d is ± %.1f, want %.1f", j, width, want)
		}
	}
}

func mustState(t *testing.T, w *world, p release.Product, tree []release.Node) release.Body {
	t.Helper()
	body, err := w.engine.Stated(t.Context(), p, today, tree, func(map[string][]int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A bias that a public reference knows of moves the interval, widens it, and is named
// as what it is. It would catch one that is added to the wrong side: clipping takes
// away, so the truth lies above.
func TestAKnownBiasIsInTheInterval(t *testing.T) {
	p := wide().Products[0]
	p.Levels = []release.LevelPlan{{Kind: "region", Rho: 1e9, ClipWh: 1000, Bias: &release.Bias{MeanPPM: -100_000, SpreadPPM: 50_000}}}
	tree := []release.Node{{ID: "r", Kind: "region", UsagePoints: 1}}
	w := newWorld(t, plain())
	body, err := w.engine.Stated(t.Context(), p, today, tree, func(s map[string][]int64) {
		for j := range s["r"] {
			s["r"][j] = 1_000_000
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	n := body.Nodes[0]
	middle, half := (n.Low[0]+n.High[0])/2, float64(n.High[0]-n.Low[0])/2
	want := 1.959964 * math.Sqrt(50_000.*50_000+1000.*1000/2)
	if n.Estimate[0] != 1_000_000 || middle != 1_100_000 || math.Abs(half-want) > 2 {
		t.Errorf("%d in %d ± %.0f; want 1000000 in 1100000 ± %.0f", n.Estimate[0], middle, half, want)
	}
	if body.Estimates.Bias != "included, from a public reference population; no budget was spent on it" {
		t.Errorf("the bias is said to be %q", body.Estimates.Bias)
	}
}

// Counts, histograms, quantiles and votes are stated as households, energy as Wh, and
// without noise they are what went in. It would catch a bin off by one and an interval
// that does not hold the truth of noiseless data.
func TestWhatTheOtherProductsState(t *testing.T) {
	edges := []int64{0, 1000, 2000, 4000, 8000}
	product := func(kind release.Kind) release.Product {
		p := release.Product{
			Name: "p", Kind: kind, Register: meter.ActiveImport, Span: release.Day, Days: release.AllDays,
			Levels: []release.LevelPlan{{Kind: "region", Rho: 1e9}},
		}
		switch kind {
		case release.Histogram, release.Quantiles:
			p.EdgesWh = edges
		case release.PeakTime:
			p.IntervalSeconds = 6 * 3600
		case release.Energy:
			p.Levels[0].ClipWh = 1 << 20
		case release.Curve, release.Households, release.Live:
		}
		return p
	}
	tree := []release.Node{{ID: "r", Kind: "region", UsagePoints: 100}}
	w := newWorld(t, plain())
	for kind, test := range map[release.Kind]struct {
		unit string
		want []int64
	}{
		release.Energy:     {"Wh", []int64{100 * (500 + 999 + 1000 + 3000 + 9000)}},
		release.Households: {"households", []int64{500}},
		release.Histogram:  {"households", []int64{200, 100, 100, 100}},
		release.PeakTime:   {"households", []int64{100, 200, 0, 200}},
		// A tenth of 500 is half the first bin's 200, and so on.
		release.Quantiles: {"Wh", []int64{250, 625, 1500, 3500, 6000}},
	} {
		p := product(kind)
		sums, err := release.NewSums(p, today, tree)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			for i, energy := range []int64{500, 999, 1000, 3000, 9000} {
				day := []int64{energy}
				if kind == release.PeakTime {
					day = [][]int64{{9, 1, 0, 0}, {0, 1, 0, 0}, {0, 5, 4, 5}, {0, 0, 0, 7}, {0, 0, -3, 1}}[i]
				}
				if err := sums.Add(release.Place{Node: "r"}, day); err != nil {
					t.Fatal(err)
				}
			}
		}
		body, err := w.engine.Stated(t.Context(), p, today, tree, func(s map[string][]int64) { copy(s["r"], sums.Raw()["r"]) })
		if err != nil {
			t.Fatal(err)
		}
		n := body.Nodes[0]
		if body.Unit != test.unit || !slices.Equal(n.Estimate, test.want) {
			t.Errorf("%s: %v %s, want %v", kind, n.Estimate, body.Unit, test.want)
		}
		for j, v := range n.Estimate {
			if n.Low[j] > v || v > n.High[j] {
				t.Errorf("%s: %d is stated to lie in %d to %d", kind, v, n.Low[j], n.High[j])
			}
		}
	}
}
