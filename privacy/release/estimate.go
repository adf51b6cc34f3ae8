package release

import (
	"errors"
	"math"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Estimates says how the estimates of a release were made of its noisy curves. They
// are post-processing: anybody can make them of the same release, and they cost no
// privacy.
type Estimates struct {
	// Method names package estimate's: every level is shifted to its region's sum, in
	// proportion to its public usage points, then fitted by least squares.
	Method     string  `json:"method"`
	Confidence float64 `json:"confidence"` // of the half-widths
	// Bias says what the half-widths leave out.
	Bias string `json:"bias"`
}

const (
	method     = "common-mode correction by public usage points (equal where a level has none), least squares on the tree"
	confidence = 0.95
	biasStated = "not included: half-widths hold the noise alone; estimates also move by what the levels' clips take differently"
)

// addEstimates makes curves that add up along the tree out of noisy ones, where every
// node's parent is published or it has none; it leaves a release without estimates
// where the tree does not allow them, or where two levels state one depth, so that a
// node's noise could not be told from what is published.
//
// Floats are rounded to whole Wh here. Nothing before the noise was added has seen
// one.
func (b *Body) addEstimates() error {
	depths := make(map[int]bool, len(b.Levels))
	for _, l := range b.Levels {
		if depths[l.Level] {
			return nil
		}
		depths[l.Level] = true
	}
	tree, curves, counts, err := b.measurements()
	if err != nil {
		return err
	}
	aligned, err := tree.CommonMode(curves, counts)
	if errors.Is(err, estimate.ErrCount) { // a level without any usage point
		aligned, err = tree.CommonMode(curves, nil)
	}
	if errors.Is(err, estimate.ErrLevel) {
		return nil
	}
	if err != nil {
		return err
	}
	fitted := aligned.LeastSquares()
	for i := range b.Nodes {
		n := &b.Nodes[i]
		in, err := estimate.NewInterval(0, fitted.Variance[i], estimate.Bias{Source: estimate.NoBias}, confidence)
		if err != nil {
			return err
		}
		n.HalfWidthWh = int64(math.Ceil(in.High))
		for _, v := range fitted.Node(i) {
			n.EstimateWh = append(n.EstimateWh, int64(math.Round(v)))
		}
	}
	b.Estimates = &Estimates{Method: method, Confidence: confidence, Bias: biasStated}
	return nil
}

// measurements are the noisy curves as package estimate takes them.
func (b *Body) measurements() (*estimate.Tree, estimate.Curves, []float64, error) {
	at := make(map[string]int, len(b.Nodes))
	for i, n := range b.Nodes {
		at[n.ID] = i
	}
	variances := make(map[int]float64, len(b.Levels))
	for _, l := range b.Levels {
		variances[l.Level], _ = l.Sigma2.Rat().Float64()
	}
	curves := estimate.Curves{Intervals: Intervals}
	parents, counts := make([]int, len(b.Nodes)), make([]float64, len(b.Nodes))
	for i, n := range b.Nodes {
		parents[i] = estimate.NoParent
		if above, published := at[n.Parent]; published {
			parents[i] = above
		}
		counts[i] = float64(n.UsagePointsPublic)
		curves.Variance = append(curves.Variance, variances[n.Level])
		for _, wh := range n.Wh {
			curves.Values = append(curves.Values, float64(wh))
		}
	}
	tree, err := estimate.NewTree(parents)
	return tree, curves, counts, err
}
