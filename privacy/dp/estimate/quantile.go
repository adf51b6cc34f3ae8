package estimate

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// Errors of distributions.
var (
	ErrEdges    = errors.New("estimate: bin edges do not increase")
	ErrQuantile = errors.New("estimate: quantile outside 0 to 1")
)

// CDF is a repaired cumulative distribution: how many contributors lie at or
// below each edge of the bins. It starts at 0, does not decrease, and rises
// evenly within a bin, which is a convention and not knowledge.
type CDF struct {
	edges      []float64 // one more than bins
	cumulative []float64 // at each edge
	band       float64
	confidence float64
}

// NewCDF repairs noisy cumulative counts: cumulative[k] is how many contributors
// are in bins 0 … k, and bin k lies between edges[k] and edges[k+1]. Each
// count has its own variance, public as the noise is; their correlation may be
// any. The repair is [Isotonic] with inverse variances as weights, and nothing
// below 0.
//
// It returns [ErrShape], [ErrEdges], [ErrValue], [ErrVariance] or
// [ErrConfidence], the last for a confidence (of the bands of every quantile
// together) outside (0, 1).
func NewCDF(edges, cumulative, variance []float64, confidence float64) (*CDF, error) {
	bins := len(cumulative)
	if bins == 0 || len(edges) != bins+1 || len(variance) != bins {
		return nil, fmt.Errorf("%d edges, %d counts, %d variances: %w", len(edges), bins, len(variance), ErrShape)
	}
	for k, x := range edges {
		if !(math.Abs(x) <= maxValue) || k > 0 && x <= edges[k-1] {
			return nil, fmt.Errorf("edge %d is %v: %w", k, x, ErrEdges)
		}
	}
	weights := make([]float64, bins)
	worst := 0.0
	for k, v := range variance {
		if !(v >= minVariance && v <= maxVariance) {
			return nil, fmt.Errorf("count %d has variance %v: %w", k, v, ErrVariance)
		}
		weights[k] = 1 / v
		worst = max(worst, v)
	}
	// Each of the counts may miss with a part of the odds, so that all hold
	// together however they are correlated.
	z, err := normalQuantile(1 - (1-confidence)/float64(bins))
	if err != nil || !(confidence > 0) {
		return nil, fmt.Errorf("confidence %v: %w", confidence, ErrConfidence)
	}
	repaired, err := Isotonic(cumulative, weights)
	if err != nil {
		return nil, err
	}
	c := &CDF{
		edges:      append([]float64(nil), edges...),
		cumulative: make([]float64, bins+1),
		band:       z * math.Sqrt(worst),
		confidence: confidence,
	}
	for k, x := range repaired {
		c.cumulative[k+1] = max(0, x)
	}
	return c, nil
}

// Total returns the estimated number of contributors.
func (c *CDF) Total() float64 { return c.cumulative[len(c.cumulative)-1] }

// Band returns the distance within which the true cumulative counts lie of the
// repaired ones at all edges at once, with the confidence of [NewCDF].
func (c *CDF) Band() float64 { return c.band }

// At returns the estimated number of contributors at or below x.
func (c *CDF) At(x float64) float64 {
	last := len(c.edges) - 1
	switch k := sort.SearchFloat64s(c.edges, x); {
	case k == 0:
		return 0
	case k > last || math.IsNaN(x):
		return c.Total()
	default:
		return interpolate(x, c.edges[k-1], c.edges[k], c.cumulative[k-1], c.cumulative[k])
	}
}

// Quantile is what a noisy distribution says of one of its quantiles.
type Quantile struct {
	Q     float64
	Value float64 // by interpolation within the bin

	// RankError bounds, in contributors, the error of count - Q·total at every
	// edge: the band of the count, and Q times the band of the total.
	RankError float64

	// Low and High are bin edges between which the true quantile lies with the
	// stated confidence, which all quantiles of one CDF share: it is the
	// probability that every such interval is right. They ask nothing of how
	// contributors lie within a bin.
	Low, High  float64
	Confidence float64
}

// Quantile returns the value that a share of q of the contributors do not
// exceed, or [ErrQuantile] for a q that is not between 0 and 1. In a
// distribution that is empty after repair every value is as good; it returns
// the first edge, and an interval of all bins.
func (c *CDF) Quantile(q float64) (Quantile, error) {
	if !(q >= 0 && q <= 1) {
		return Quantile{}, fmt.Errorf("q = %v: %w", q, ErrQuantile)
	}
	rank := q * c.Total()
	r := Quantile{Q: q, RankError: c.band * (1 + q), Confidence: c.confidence}
	k := sort.Search(len(c.cumulative)-1, func(k int) bool { return c.cumulative[k] >= rank })
	r.Value = c.edges[0]
	if k > 0 {
		r.Value = interpolate(rank, c.cumulative[k-1], c.cumulative[k], c.edges[k-1], c.edges[k])
	}

	// The true rank is q times a total that is off by no more than the band,
	// and so is the true count at an edge. The first edge has exactly none.
	last := len(c.edges) - 1
	r.Low, r.High = c.edges[0], c.edges[last]
	for k := 1; k < last && c.cumulative[k]+c.band < q*(c.Total()-c.band); k++ {
		r.Low = c.edges[k]
	}
	for k := last - 1; k > 0 && c.cumulative[k]-c.band >= q*(c.Total()+c.band); k-- {
		r.High = c.edges[k]
	}
	return r, nil
}

// interpolate maps x in [x0, x1] to [y0, y1].
func interpolate(x, x0, x1, y0, y1 float64) float64 {
	if x1 == x0 {
		return y0
	}
	return y0 + (y1-y0)*((x-x0)/(x1-x0))
}
