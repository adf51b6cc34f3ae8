package release_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// These tests gather evidence on what a release publishes, by looking at nothing else.
// They prove nothing (package dp's PROOFS.md does): they find the mistakes that a proof
// of something else leaves room for. broken_test.go shows which.

// mechanism publishes a product of some homes over the small tree of a subject.
type mechanism interface {
	// publish makes a release of its own, of another day than any before. The answer
	// may be asked for again and again; false refuses it.
	publish(t *testing.T, homes []home) (ask func() (table, bool))
}

// home is a household that brings some days to a feeder. Two homes of one name are the
// same in everything.
type home struct {
	name, feeder string
	days         [][]int64
}

// table is what was published: the raw numbers, node by node in the order of the tree.
// They are integers, unless there is something to be found.
type table [][]float64

// subject is a product and what is asked of it.
type subject struct {
	product  release.Product // of two levels, region and feeder
	moves    float64         // how far the noise is made for, on both levels alike
	dim      int             // numbers that a node publishes
	quiet    [][]int64       // what a household brings that no clip touches
	sum      []int64         // and what it adds then
	days     float64         // √(what a day is charged / what a household is)
	canaries []canary
}

// canary is a household that tries to be seen: it brings some days always, and others
// by the toss of a coin. nil days are a household that is not there.
type canary struct {
	name       string
	never, may [][]int64
	household  bool // against: a day of it
	plain      bool // it moves the sums by all that it may, or nearly
}

func (s subject) name() string { return s.product.Name }

// tree is one region with a feeder for each canary, one for quiet households, and an
// empty one.
func (s subject) tree() []release.Node {
	tree := []release.Node{{ID: "region", Kind: "region"}}
	for i := range len(s.canaries) + 2 {
		tree = append(tree, release.Node{ID: feeder(i), Parent: "region", Level: 1, Kind: "feeder"})
	}
	return tree
}

func feeder(i int) string { return fmt.Sprintf("feeder-%02d", i) }

// sigma2 is the σ² that a node's numbers should carry, from the level's ρ alone.
func (s subject) sigma2(node int) float64 {
	return s.moves * s.moves / (2 * s.rho(node))
}

func (s subject) rho(node int) float64 {
	return float64(s.product.Levels[min(node, 1)].Rho) / float64(dp.RhoUnit)
}

// known are households that every quiet release is made of, and the sums they have: two
// at the last feeder but one.
func (s subject) known() ([]home, table) {
	at := len(s.canaries)
	homes := []home{{"quiet", feeder(at), s.quiet}, {"quiet", feeder(at), s.quiet}}
	sums := make(table, len(s.tree()))
	for node := range sums {
		sums[node] = make([]float64, s.dim)
		if node == 0 || node == at+1 {
			for i, v := range s.sum {
				sums[node][i] = 2 * float64(v)
			}
		}
	}
	return homes, sums
}

// ours is the product as this package makes it.
type ours struct{ subject }

func (r ours) publish(t *testing.T, homes []home) func() (table, bool) {
	t.Helper()
	sums, err := release.NewSums(r.product, today, r.tree())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range homes {
		if err := sums.Add(release.Place{Node: h.feeder}, h.days...); err != nil {
			t.Fatal(err)
		}
	}
	return func() (table, bool) {
		_, nodes, err := sums.Take()
		if errors.Is(err, dp.ErrSpent) {
			return nil, false
		}
		if err != nil {
			t.Fatal(err)
		}
		published := make(table, len(nodes))
		for i, n := range nodes {
			published[i] = make([]float64, len(n.Raw))
			for j, v := range n.Raw {
				if published[i][j] = float64(v); v > 1<<53 || v < -1<<53 {
					t.Fatalf("%s publishes %d: a float64 does not hold it", n.ID, v)
				}
			}
		}
		return published, true
	}
}

// checks are all that is asked of a mechanism.
var checks = map[string]func(*trial, *testing.T) verdict{
	"scale":        (*trial).scale,
	"shape":        (*trial).shape,
	"independence": (*trial).independence,
	"canaries":     (*trial).canaryHunt,
	"lattice":      (*trial).lattice,
	"averaging":    (*trial).averaging,
	"differencing": (*trial).differencing,
}

// trial is one mechanism under suspicion. A fresh one is what runs after a restart.
type trial struct {
	subject
	fresh  func() mechanism
	drawn  [2]*quiet  // of two that were started one after the other
	beyond [2]float64 // how often a draw lies beyond σ, by level
}

func newTrial(s subject, fresh func() mechanism) *trial {
	t := &trial{subject: s, fresh: fresh}
	for level := range t.beyond {
		law := newDiscrete(s.sigma2(level))
		t.beyond[level] = law.beyond(law.sigma)
	}
	return t
}

// What this package publishes passes every check, for each kind of product. What each
// check would catch is a row of TestBrokenMechanismsAreCaught, and is said, with sample
// size and power, where the check is. All products together make fewer than
// mostComparisons comparisons, so that this test fails a right program with odds below
// 1e-5.
func TestEvidence(t *testing.T) {
	statistical(t)
	comparisons := 0
	for _, s := range subjects(t) {
		t.Run(s.name(), func(t *testing.T) {
			s.wantStated(t)
			trial := newTrial(s, func() mechanism { return ours{s} })
			for name, check := range checks {
				v := check(trial, t)
				comparisons += v.comparisons
				for _, f := range v.findings {
					t.Errorf("%s: %s", name, f)
				}
			}
		})
	}
	t.Logf("%d comparisons: odds of a false alarm are at most %.1e", comparisons, float64(comparisons)*odds)
	if comparisons > mostComparisons {
		t.Errorf("%d comparisons, more than %d: the odds of a false alarm are not what they say", comparisons, mostComparisons)
	}
}

// wantStated expects the release to state the variance that the subject asks of it, as
// an exact fraction. It would catch noise that is right beside a statement that is not.
func (s subject) wantStated(t *testing.T) {
	t.Helper()
	sums, err := release.NewSums(s.product, today, s.tree())
	if err != nil {
		t.Fatal(err)
	}
	levels, _, err := sums.Take()
	if err != nil {
		t.Fatal(err)
	}
	if len(levels) != 2 {
		t.Fatalf("%d levels, want 2", len(levels))
	}
	for i, l := range levels {
		moves := big.NewInt(int64(s.moves))
		want := new(big.Rat).SetFrac(moves.Mul(moves, moves).Mul(moves, big.NewInt(int64(dp.RhoUnit/2))), big.NewInt(int64(s.product.Levels[i].Rho)))
		if l.Sigma2.Rat().Cmp(want) != 0 {
			t.Errorf("%s: σ² is stated as %s, want %s", l.Kind, l.Sigma2, want.RatString())
		}
	}
}

// statistical skips what needs hundreds of thousands of draws.
func statistical(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs seconds of draws, minutes under the race detector: not run with -short")
	}
}

// The subjects spend ρ = 1/2 on their feeders and 1/8 on the region: there the noise is
// as large as what one household may add, and twice that.
const feederRho, regionRho = dp.RhoUnit / 2, dp.RhoUnit / 8

func subjectOf(name string, kind release.Kind, span release.Span, clip int64, more func(*release.Product)) subject {
	p := release.Product{
		Name: name, Kind: kind, Register: meter.ActiveImport, Span: span, Days: release.AllDays,
		Levels: []release.LevelPlan{{Kind: "region", Rho: regionRho, ClipWh: clip}, {Kind: "feeder", Rho: feederRho, ClipWh: clip}},
	}
	if span != release.Day {
		p.Days = release.Weekend // of two days
	}
	if more != nil {
		more(&p)
	}
	return subject{product: p, days: 1}
}

func grids(intervals int64) func(*release.Product) {
	return func(p *release.Product) { p.IntervalSeconds = 86_400 / intervals }
}

// subjects are one product of each kind.
func subjects(t *testing.T) []subject {
	t.Helper()
	return []subject{dayCurve(), basisCurve(t), weekendCurve(), weekendEnergy(), weekendHouseholds(), weekendHistogram(), weekendQuantiles(t), weekendPeak()}
}

// dayCurve is a day of nine intervals, clipped to C = 3.
func dayCurve() subject {
	s := subjectOf("day-curve", release.Curve, release.Day, 3, grids(9))
	s.dim, s.moves, s.quiet, s.sum = 9, 3, [][]int64{{0, 1, 0, -1, 0, 2, 0, 0, 0}}, []int64{0, 1, 0, -1, 0, 2, 0, 0, 0}
	s.canaries = []canary{
		household("flat", true, repeated(500, 9)),
		household("at the bound", true, []int64{0, 3, 0, 0, 0, 0, 0, 0, 0}),
		household("one above", true, []int64{0, 0, 0, 4, 0, 0, 0, 0, 0}),
		household("spike", true, []int64{0, 0, 0, 0, 9_000, 0, 0, 0, 0}),
		household("negative", true, repeated(-500, 9)),
		household("export at noon", false, []int64{0, 0, 0, -1, -2, -1, 0, 0, 0}),
		household("both ways", false, []int64{700, -700, 700, -700, 700, -700, 700, -700, 0}),
		household("many small", true, repeated(1, 9)),
		household("most", true, repeated(math.MaxInt64, 9)),
		household("least", true, repeated(math.MinInt64, 9)),
		// Clipped to (3/2, 3/2, 3/2, 1/2, …) and a little less than that: nearest
		// integers have a norm of √18 in place of 3.
		household("just above halves", false, []int64{154, 154, 154, 53, 53, 53, 53, 53, 53}),
		household("by night", false, []int64{3_000, 3_000, 0, 0, 0, 0, 0, 0, 3_000}),
	}
	return s
}

// weekendCurve is the curve of two days of four intervals, of which each may have a norm
// of 20 on average: 40 together, and ⌈2√4⌉ for truncating twice.
func weekendCurve() subject {
	s := subjectOf("weekend-curve", release.Curve, release.Week, 20, grids(4))
	s.dim, s.moves, s.quiet, s.sum = 4, 44, [][]int64{{3, 0, -1, 7}, {1, 1, 0, 0}}, []int64{4, 1, -1, 7}
	most, least := repeated(math.MaxInt64, 4), repeated(math.MinInt64, 4)
	spike := []int64{0, 800, 0, 0}
	s.canaries = []canary{
		household("flat", true, repeated(100, 4), repeated(100, 4)),
		household("spikes", true, spike, spike),
		household("one day of two", true, repeated(90, 4)),
		household("most", true, most, most),
		household("least", true, least, least),
		household("opposite days", false, spike, negative(spike)),
		household("many small", true, repeated(10, 4), repeated(10, 4)),
		withOneDay("a second spike", false, [][]int64{spike}, spike),
		withOneDay("a day that takes all back", true, [][]int64{spike}, negative(spike)),
		withOneDay("a day that outweighs the other", true, [][]int64{{0, -30, 0, 0}}, []int64{0, 9_000, 0, 0}),
		withOneDay("an extreme day", true, [][]int64{most}, least),
	}
	return s
}

func negative(x []int64) []int64 {
	out := slices.Clone(x)
	for i := range out {
		out[i] = -out[i]
	}
	return out
}

// household is a canary that is there or not, with all its days.
func household(name string, plain bool, days ...[]int64) canary {
	return canary{name: name, may: days, household: true, plain: plain}
}

// withOneDay is a canary that brings one day more, or does not.
func withOneDay(name string, plain bool, others [][]int64, day []int64) canary {
	return canary{name: name, never: others, may: append(slices.Clone(others), day), plain: plain}
}
