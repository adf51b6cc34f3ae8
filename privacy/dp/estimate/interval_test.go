package estimate_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

var unbiased = estimate.Bias{Source: estimate.NoBias}

// Catches a quantile of another law, a bias added to the wrong side, and a
// measured bias whose noise is forgotten: intervals worked out by hand.
func TestIntervalKnownAnswers(t *testing.T) {
	const z95, z99 = 1.959963984540054, 2.5758293035489004
	for _, c := range []struct {
		bias                  estimate.Bias
		confidence, low, high float64
	}{
		{unbiased, 0.95, 100 - 2*z95, 100 + 2*z95},
		{unbiased, 0.99, 100 - 2*z99, 100 + 2*z99},
		// The clip took between 1 and 6: the truth is higher by that.
		{estimate.Bias{Low: -6, High: -1, Source: estimate.PublicReference}, 0.95, 101 - 2*z95, 106 + 2*z95},
		{estimate.Bias{Low: -3, High: -3, Variance: 5, Source: estimate.Charged}, 0.95, 103 - 3*z95, 103 + 3*z95},
	} {
		i, err := estimate.NewInterval(100, 4, c.bias, c.confidence)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "low", i.Low, c.low, 1e-12)
		near(t, "high", i.High, c.high, 1e-12)
		if i.Bias != c.bias || i.Confidence != c.confidence || !strings.Contains(i.String(), string(c.bias.Source)) {
			t.Errorf("%v does not say what its bias is: %v", i, c.bias)
		}
	}
	i, err := estimate.NewInterval(0, math.Inf(1), unbiased, 0.95)
	if err != nil || !math.IsInf(i.Low, -1) || !math.IsInf(i.High, 1) {
		t.Errorf("undetermined: %v, %v", i, err)
	}
}

// Catches an interval that passes over a bias in silence, or takes numbers that
// are none.
func TestIntervalRefuses(t *testing.T) {
	nan := math.NaN()
	refuse := func(want error, estimated, variance float64, bias estimate.Bias, confidence float64) {
		t.Helper()
		if i, err := estimate.NewInterval(estimated, variance, bias, confidence); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", i, err, want)
		}
	}
	refuse(estimate.ErrBias, 1, 1, estimate.Bias{}, 0.95)
	refuse(estimate.ErrBias, 1, 1, estimate.Bias{Source: "guessed"}, 0.95)
	refuse(estimate.ErrBias, 1, 1, estimate.Bias{Low: -1, Source: estimate.NoBias}, 0.95)
	refuse(estimate.ErrBias, 1, 1, estimate.Bias{Low: 1, High: -1, Source: estimate.Charged}, 0.95)
	refuse(estimate.ErrBias, 1, 1, estimate.Bias{Low: nan, Source: estimate.Charged}, 0.95)
	refuse(estimate.ErrBias, 1, 1, estimate.Bias{Variance: nan, Source: estimate.Charged}, 0.95)
	refuse(estimate.ErrValue, nan, 1, unbiased, 0.95)
	refuse(estimate.ErrVariance, 1, nan, unbiased, 0.95)
	refuse(estimate.ErrVariance, 1, -1, unbiased, 0.95)
	refuse(estimate.ErrConfidence, 1, 1, unbiased, 1)
	refuse(estimate.ErrConfidence, 1, 1, unbiased, nan)
}

// Catches variances and intervals of a tree that are wrong where it counts, in a
// release: 20 000 releases of a tree of unequal fan-outs, corrected and made
// consistent, with clip biases of each level. Each node's mean square error has
// a relative standard error of √(2/20000) = 1 %, and the share of intervals that
// hold of √(0.95·0.05/20000) = 0.15 %; the limits are 5 of those, passed with
// odds of 6e-7 for each of 2 · 8 nodes: 1e-5 in all.
func TestReleaseVarianceAndCoverage(t *testing.T) {
	const releases = 20_000
	r := newNormals(t, "release")
	parents := []int{estimate.NoParent, 0, 0, 1, 1, 1, 2, 2}
	tree := newTree(t, parents)
	counts := []float64{100, 60, 40, 30, 20, 10, 15, 25}
	truth := []float64{1000, 700, 300, 400, 200, 100, 100, 200}
	level := []float64{5, 60, 150} // lost to the clip in all
	m := estimate.Curves{Intervals: 1, Values: make([]float64, 8), Variance: []float64{30, 9, 9, 4, 4, 4, 4, 4}}
	var square, held [8]float64
	var e *estimate.Estimates
	for range releases {
		for i, x := range truth {
			m.Values[i] = x - level[tree.Depth(i)]*counts[i]/100 + r.draw(math.Sqrt(m.Variance[i]))
		}
		a, err := tree.CommonMode(m, counts)
		if err != nil {
			t.Fatal(err)
		}
		e = a.LeastSquares()
		for i, x := range e.Values {
			bias := -level[0] * counts[i] / 100 // the region's, by public counts
			square[i] += (x - truth[i] - bias) * (x - truth[i] - bias) / releases
			interval, err := estimate.NewInterval(x, e.Variance[i], estimate.Bias{Low: bias, High: bias, Source: estimate.PublicReference}, 0.95)
			if err != nil {
				t.Fatal(err)
			}
			if interval.Low <= truth[i] && truth[i] <= interval.High {
				held[i] += 1.0 / releases
			}
		}
	}
	for i, got := range square {
		if want := e.Variance[i]; math.Abs(got-want) > 5*math.Sqrt(2.0/releases)*want {
			t.Errorf("node %d: mean square error %v, variance stated %v", i, got, want)
		}
		if math.Abs(held[i]-0.95) > 5*math.Sqrt(0.95*0.05/releases) {
			t.Errorf("node %d: %.4f of the intervals hold", i, held[i])
		}
	}
}
