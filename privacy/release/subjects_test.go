package release_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// basisCurve is a day of four intervals, in a basis of weights 1, 2, 2 and 3 on a lattice
// of a quarter Wh: C = 10 Wh are 40 of its units.
func basisCurve(t *testing.T) subject {
	const one = dp.WeightOne
	plan := &release.Basis{Weights: []uint64{one, 2 * one, 2 * one, 3 * one}, Precision: 16, Shift: 14}
	s := subjectOf("basis-curve", release.Curve, release.Day, 10, func(p *release.Product) { p.IntervalSeconds, p.Basis = 21_600, plan })
	basis, err := dp.NewBasis(plan.Weights, plan.Precision, plan.Shift)
	if err != nil {
		t.Fatal(err)
	}
	s.dim, s.moves, s.quiet = 4, 40, [][]int64{{1, 0, 2, 1}}
	if s.sum, err = basis.Measure(s.quiet[0]); err != nil {
		t.Fatal(err)
	}
	s.canaries = []canary{
		household("flat", true, repeated(500, 4)),
		household("spike", true, []int64{0, 0, 9_000, 0}),
		household("negative", true, repeated(-500, 4)),
		household("both ways", true, []int64{700, -700, 700, -700}),
		household("export at noon", false, []int64{0, -1, -2, 0}),
		household("at the bound", true, repeated(5, 4)),
		household("steep", true, []int64{900, 300, -300, -900}),
		household("many small", false, repeated(1, 4)),
		household("large", true, repeated(1<<45, 4)),
		household("beyond the lattice", false, repeated(math.MaxInt64, 4)),
		household("beyond it, by way of a spike", false, []int64{math.MinInt64, 1, 2, 3}),
	}
	return s
}

// weekendEnergy is the energy of two days: 20 Wh a day on average, 40 together, and 2 for
// truncating twice.
func weekendEnergy() subject {
	s := subjectOf("weekend-energy", release.Energy, release.Week, 20, nil)
	s.dim, s.moves, s.quiet, s.sum = 1, 42, [][]int64{{3}, {4}}, []int64{7}
	s.canaries = []canary{
		household("much", true, []int64{10_000}, []int64{10_000}),
		household("at the bound", true, []int64{20}, []int64{20}),
		household("one above", true, []int64{20}, []int64{21}),
		household("one day of two", true, []int64{500}),
		household("negative", true, []int64{-500}, []int64{-500}),
		household("opposite days", false, []int64{500}, []int64{-600}),
		household("small", false, []int64{1}, []int64{1}),
		household("most", true, []int64{math.MaxInt64}, []int64{math.MaxInt64}),
		household("least", true, []int64{math.MinInt64}, []int64{math.MinInt64}),
		withOneDay("a day that takes all back", true, [][]int64{{900}}, []int64{-900}),
		withOneDay("a day that outweighs the other", true, [][]int64{{-30}}, []int64{9_000}),
	}
	return s
}

// weekendHouseholds counts who stated anything on one of two days.
func weekendHouseholds() subject {
	s := subjectOf("weekend-households", release.Households, release.Week, 0, nil)
	s.dim, s.moves, s.quiet, s.sum = 1, 1, [][]int64{{3}, {4}}, []int64{1}
	s.canaries = []canary{
		household("on both days", true, []int64{10}, []int64{10}),
		household("on one day", true, []int64{10}),
		household("nothing used", true, []int64{0}, []int64{0}),
		household("negative", true, []int64{-9}),
		household("most", true, []int64{math.MaxInt64}, []int64{math.MaxInt64}),
		household("least", true, []int64{math.MinInt64}, []int64{math.MinInt64}),
		withOneDay("a second day", false, [][]int64{{900}}, []int64{900}),
		withOneDay("a day that takes all back", false, [][]int64{{900}}, []int64{-900}),
		withOneDay("an only day", true, nil, []int64{7}),
		household("much", true, []int64{1 << 40}, []int64{1 << 40}),
	}
	return s
}

// votes are canaries of a product in which a household has one vote by its energy.
func votes() []canary {
	most, least := []int64{math.MaxInt64}, []int64{math.MinInt64}
	return []canary{
		household("first bin", true, []int64{5}, []int64{5}),
		household("last bin", true, []int64{35}, []int64{35}),
		household("below all bins", true, []int64{-900}, []int64{-900}),
		household("above all bins", true, []int64{900}, []int64{900}),
		household("in two bins on two days", true, []int64{5}, []int64{35}),
		household("one day of two", true, []int64{15}),
		household("at an edge", true, []int64{20}, []int64{20}),
		household("most", true, most, most),
		household("least", true, least, least),
		withOneDay("a day that moves its vote", true, [][]int64{{0}}, []int64{70}),
		withOneDay("a day that moves it by one", true, [][]int64{{9}}, []int64{30}),
		withOneDay("an extreme day", true, [][]int64{{5}}, most),
	}
}

func edges(p *release.Product) { p.EdgesWh = []int64{0, 10, 20, 30, 40} }

// weekendHistogram is one vote for one of four bins. One of its days can take a vote from
// one bin to another: √2 times what a household does, at twice the charge.
func weekendHistogram() subject {
	s := subjectOf("weekend-histogram", release.Histogram, release.Week, 0, edges)
	s.dim, s.moves, s.days, s.quiet, s.sum = 4, 1, math.Sqrt2, [][]int64{{12}, {25}}, []int64{0, 1, 0, 0}
	s.canaries = votes()
	return s
}

// weekendQuantiles is one vote for one of four bins of a strategy, whose columns have a
// norm of 2^30.
func weekendQuantiles(t *testing.T) subject {
	s := subjectOf("weekend-quantiles", release.Quantiles, release.Week, 0, edges)
	s.dim, s.moves, s.days, s.quiet, s.sum = 4, 1<<30, math.Sqrt2, [][]int64{{12}, {25}}, strategyColumn(4, 1)
	s.canaries = votes()
	return s
}

// strategyColumn is what a household in a bin adds, computed for itself: column b of the
// square root of prefix sums, f_m = binom(2m, m)/4^m, over its norm, in units of 2^-30
// and truncated.
func strategyColumn(bins, bin int) []int64 {
	norm2 := new(big.Rat)
	f := big.NewRat(1, 1)
	column := make([]*big.Rat, 0, bins)
	for m := range bins - bin {
		if m > 0 {
			f = new(big.Rat).Mul(f, big.NewRat(int64(2*m-1), int64(2*m)))
		}
		column = append(column, f)
		norm2.Add(norm2, new(big.Rat).Mul(f, f))
	}
	out := make([]int64, bins)
	for m, f := range column {
		// ⌊2^30·f/√norm²⌋ = ⌊√⌊2^60·f²/norm²⌋⌋
		q := new(big.Rat).Mul(f, f)
		q.Quo(q, norm2).Mul(q, new(big.Rat).SetInt64(1<<60))
		root := new(big.Int).Quo(q.Num(), q.Denom())
		out[bin+m] = root.Sqrt(root).Int64()
	}
	return out
}

// weekendPeak is one vote for the interval of the highest load.
func weekendPeak() subject {
	s := subjectOf("weekend-peak", release.PeakTime, release.Week, 0, grids(4))
	s.dim, s.moves, s.days, s.quiet, s.sum = 4, 1, math.Sqrt2, [][]int64{{0, 5, 0, 4}, {0, 0, 0, 2}}, []int64{0, 0, 0, 1}
	most, least := repeated(math.MaxInt64, 4), repeated(math.MinInt64, 4)
	s.canaries = []canary{
		household("morning", true, []int64{0, 9, 0, 0}, []int64{0, 9, 0, 0}),
		household("flat", true, repeated(9, 4), repeated(9, 4)),
		household("negative", true, repeated(-9, 4), []int64{-9, -9, -1, -9}),
		household("two peaks on two days", true, []int64{0, 0, 0, 700}, []int64{900, 0, 0, 0}),
		household("one day of two", true, []int64{0, 0, 70, 0}),
		household("most", true, most, most),
		household("least", true, least, least),
		household("nothing used", true, repeated(0, 4)),
		withOneDay("a day that moves its vote", true, [][]int64{{0, 1, 0, 0}}, []int64{0, 0, 0, 2}),
		withOneDay("an extreme day", true, [][]int64{{0, 0, 5, 0}}, []int64{math.MaxInt64, math.MinInt64, 0, 0}),
	}
	return s
}
