package estimate_test

import (
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

func equal(n int, v float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = v
	}
	return x
}

// Catches an interpolation between the wrong edges, a repair left out, and a
// rank error that is not what the band allows: answers worked out by hand.
func TestQuantileKnownAnswers(t *testing.T) {
	// Counts 0, 25, 20, 75, 100 at edges 1, 2, 4, 8, 16; 25 and 20 pool to 22.5.
	c, err := estimate.NewCDF([]float64{1, 2, 4, 8, 16}, []float64{25, 20, 75, 100}, equal(4, 1e-6), 0.95)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "total", c.Total(), 100, 1e-12)
	for x, want := range map[float64]float64{0: 0, 1: 0, 1.5: 11.25, 2: 22.5, 3: 22.5, 6: 48.75, 16: 100, 99: 100} {
		near(t, "count", c.At(x), want, 1e-12)
	}
	// 1 - 0.05/4 of a normal number lies within ±2.4977.
	near(t, "band", c.Band(), 2.4977e-3, 1e-4*2.5e-3)
	for _, want := range []estimate.Quantile{
		{Q: 0, Value: 1, Low: 1, High: 2},
		{Q: 0.1, Value: 1 + 10/22.5, Low: 1, High: 2},
		{Q: 0.225, Value: 2, Low: 1, High: 8}, // the flat part: any of 2 to 4, and a hair beyond
		{Q: 0.4875, Value: 6, Low: 4, High: 8},
		{Q: 0.875, Value: 12, Low: 8, High: 16},
		{Q: 1, Value: 16, Low: 8, High: 16},
	} {
		got, err := c.Quantile(want.Q)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "value", got.Value, want.Value, 1e-12)
		near(t, "rank error", got.RankError, c.Band()*(1+want.Q), 1e-12)
		if got.Low != want.Low || got.High != want.High || got.Confidence != 0.95 {
			t.Errorf("quantile %v lies in %v to %v at %v, want %v to %v", want.Q, got.Low, got.High, got.Confidence, want.Low, want.High)
		}
	}

	// A band of 4 on 10, 20, 30, 40: at q = 0.62 the total alone could shift the
	// rank by 2.48, without which both ends would be one edge further in.
	if c, err = estimate.NewCDF([]float64{0, 1, 2, 3, 4}, []float64{10, 20, 30, 40}, equal(4, 2.5646), 0.95); err != nil {
		t.Fatal(err)
	}
	near(t, "band", c.Band(), 4, 1e-3)
	if q, err := c.Quantile(0.62); err != nil || q.Low != 1 || q.High != 4 {
		t.Errorf("wide band: %+v, %v", q, err)
	}

	// Nothing but noise: every value is as good.
	if c, err = estimate.NewCDF([]float64{0, 1, 2}, []float64{-3, -4}, equal(2, 1), 0.95); err != nil {
		t.Fatal(err)
	}
	if q, err := c.Quantile(0.5); err != nil || c.Total() != 0 || q.Low != 0 || q.High != 2 {
		t.Errorf("empty: %+v of %v, %v", q, c.Total(), err)
	}
}

// Catches a distribution that is none.
func TestCDFRefuses(t *testing.T) {
	refuse := func(want error, edges, counts, variance []float64, confidence float64) {
		t.Helper()
		if _, err := estimate.NewCDF(edges, counts, variance, confidence); !errors.Is(err, want) {
			t.Errorf("%v, %v, %v, %v: %v, want %v", edges, counts, variance, confidence, err, want)
		}
	}
	edges, counts, variance := []float64{0, 1, 2}, []float64{1, 2}, []float64{1, 1}
	refuse(nil, edges, counts, variance, 0.95)
	refuse(estimate.ErrShape, nil, nil, nil, 0.95)
	refuse(estimate.ErrShape, counts, counts, variance, 0.95)
	refuse(estimate.ErrEdges, []float64{0, 1, 1}, counts, variance, 0.95)
	refuse(estimate.ErrEdges, []float64{0, 1, math.NaN()}, counts, variance, 0.95)
	refuse(estimate.ErrEdges, []float64{0, 1, math.Inf(1)}, counts, variance, 0.95)
	refuse(estimate.ErrValue, edges, []float64{1, math.NaN()}, variance, 0.95)
	refuse(estimate.ErrVariance, edges, counts, []float64{1, 0}, 0.95)
	for _, confidence := range []float64{-1, 0, 1, 2, math.NaN()} {
		refuse(estimate.ErrConfidence, edges, counts, variance, confidence)
	}
	c, err := estimate.NewCDF(edges, counts, variance, 0.95)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{-0.1, 1.1, math.NaN()} {
		if _, err := c.Quantile(q); !errors.Is(err, estimate.ErrQuantile) {
			t.Errorf("q = %v: %v", q, err)
		}
	}
}

// Catches an interval that misses more than it says: 1 000 households in 64
// geometric bins, noise of 9 households on each cumulative count, independent
// or all alike, 4 000 releases of all nine deciles. At a true coverage of 95 % the
// number of releases with a miss has mean 200 and standard deviation 13.8; 262
// is 4.5 of those above, odds 3e-6. And the deciles must not be wide: the
// median's interval covers less than three tenths of the households.
func TestQuantileCoverage(t *testing.T) {
	const bins, households, releases, sigma = 64, 1000, 4000, 9
	r := newNormals(t, "quantiles")
	edges := make([]float64, bins+1)
	for k := range edges {
		edges[k] = 0.1 * math.Pow(1.1, float64(k))
	}
	truth := make([]float64, bins) // cumulative
	days := make([]float64, households)
	for h := range days {
		days[h] = math.Min(edges[bins], math.Exp(r.draw(0.6)))
		for k := range truth {
			if days[h] <= edges[k+1] {
				truth[k]++
			}
		}
	}
	noisy := make([]float64, bins)
	for _, alike := range []bool{false, true} {
		missed := 0
		for range releases {
			common := r.draw(sigma)
			for k, x := range truth {
				noisy[k] = x + common
				if !alike {
					noisy[k] = x + r.draw(sigma)
				}
			}
			c, err := estimate.NewCDF(edges, noisy, equal(bins, sigma*sigma), 0.95)
			if err != nil {
				t.Fatal(err)
			}
			miss := false
			for d := 1; d <= 9; d++ {
				q, err := c.Quantile(float64(d) / 10)
				if err != nil {
					t.Fatal(err)
				}
				// The quantile's bin holds the first count that reaches the rank.
				k := 0
				for truth[k] < households*q.Q {
					k++
				}
				miss = miss || edges[k] < q.Low || edges[k+1] > q.High
				if d == 5 && c.At(q.High)-c.At(q.Low) > households*3/10 {
					t.Fatalf("the median lies between %v and %v", q.Low, q.High)
				}
			}
			if miss {
				missed++
			}
		}
		if missed > 262 {
			t.Errorf("alike %v: %d of %d releases have a wrong interval", alike, missed, releases)
		}
	}
}
