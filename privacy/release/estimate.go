package release

import (
	"errors"
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Estimates says how the estimates of a release were made of its noisy sums. They are
// post-processing: anybody can make them of the same release, and they cost no
// privacy.
type Estimates struct {
	Method     string    `json:"method"`
	Confidence float64   `json:"confidence"` // of each interval
	Bias       string    `json:"bias"`       // what the intervals hold of it, and where that is from
	Quantiles  []float64 `json:"quantiles,omitempty"`
}

const confidence = 0.95

// What Estimates says. Methods are package estimate's.
const (
	methodAligned = "levels shifted to their region's sum in proportion to public usage points (equal shares where a level has none), least squares on the tree"
	methodSquares = "least squares on the tree"
	methodRaw     = "each node alone: the tree's levels cannot be compared"
	methodCDF     = "least squares on the tree, prefix sums, isotonic repair, interpolation"

	biasNone      = "none: counts are not clipped"
	biasLeft      = "not included: intervals are for energy after clipping, and of what the levels' clips take differently"
	biasReference = "included, from a public reference population; no budget was spent on it"
	biasQuantiles = "that of interpolation in a bin is not included"
)

var stated = []float64{0.1, 0.25, 0.5, 0.75, 0.9}

// addEstimates makes estimates of the raw sums. Floats are rounded to whole units here.
// Nothing before the noise was added has seen one.
func (b *Body) addEstimates(m *measure) error {
	b.Estimates = Estimates{Confidence: confidence, Method: methodSquares, Bias: biasNone}
	tree, curves, counts, err := b.measurements(m)
	if err != nil {
		return err
	}
	if m.clips() {
		fitted, err := b.aligned(tree, curves, counts)
		if err != nil {
			return err
		}
		return b.addEnergy(m, fitted)
	}
	fitted, err := tree.LeastSquares(curves)
	if err != nil {
		return err
	}
	if m.strategy != nil {
		b.Estimates.Method, b.Estimates.Bias, b.Estimates.Quantiles = methodCDF, biasQuantiles, stated
		return b.addQuantiles(m, fitted)
	}
	return b.addCounts(fitted)
}

// measurements are the raw sums as package estimate takes them, of the nodes and then of
// what is missing below some. A node whose parent is not published is a root.
func (b *Body) measurements(m *measure) (*estimate.Tree, estimate.Curves, []float64, error) {
	at := make(map[string]int, len(b.Nodes))
	for i, n := range b.Nodes {
		at[n.ID] = i
	}
	variances := make(map[string]float64, len(b.Levels))
	for _, l := range b.Levels {
		variances[l.Kind], _ = l.Sigma2.Rat().Float64()
	}
	curves := estimate.Curves{Intervals: m.dim()}
	parents, counts := make([]int, len(b.Nodes)), make([]float64, len(b.Nodes))
	for i, n := range b.Nodes {
		parents[i] = estimate.NoParent
		if above, published := at[n.Parent]; published {
			parents[i] = above
		}
		counts[i] = float64(n.UsagePointsPublic)
		curves.Variance = append(curves.Variance, variances[n.Kind])
		for _, v := range n.Raw {
			curves.Values = append(curves.Values, float64(v))
		}
	}
	parents, counts = b.remainders(&curves, parents, counts)
	tree, err := estimate.NewTree(parents)
	if err == nil { // nobody is their own ancestor
		countEmptyLevels(parents, counts)
	}
	return tree, curves, counts, err
}

// remainders adds a child that was not measured wherever more usage points are
// registered below a node than below its published children: at the node itself, or at
// nodes of a kind that is not published. Children alone do not add up to such a node.
func (b *Body) remainders(curves *estimate.Curves, parents []int, counts []float64) ([]int, []float64) {
	below := make([]float64, len(b.Nodes))
	inner := make([]bool, len(b.Nodes))
	for i, above := range parents {
		if above != estimate.NoParent {
			below[above] += counts[i]
			inner[above] = true
		}
	}
	for i, n := range below {
		if inner[i] && counts[i] > n {
			parents, counts = append(parents, i), append(counts, counts[i]-n)
			curves.Variance = append(curves.Variance, math.Inf(1))
			curves.Values = append(curves.Values, make([]float64, curves.Intervals)...)
		}
	}
	return parents, counts
}

// countEmptyLevels gives the nodes of a level equal counts where it has none: one region's level,
// whatever others have.
func countEmptyLevels(parents []int, counts []float64) {
	type of struct{ region, depth int }
	at, sums := make([]of, len(parents)), map[of]float64{}
	for i := range parents {
		l := of{region: i}
		for ; parents[l.region] != estimate.NoParent; l.depth++ {
			l.region = parents[l.region]
		}
		at[i] = l
		sums[l] += counts[i]
	}
	for i, l := range at {
		if sums[l] == 0 {
			counts[i] = 1
		}
	}
}

// aligned takes from clipped sums what their levels lost alike, and makes them add up.
func (b *Body) aligned(tree *estimate.Tree, curves estimate.Curves, counts []float64) (estimate.Curves, error) {
	b.Estimates.Method = methodAligned
	aligned, err := tree.CommonMode(curves, counts)
	if errors.Is(err, estimate.ErrLevel) {
		b.Estimates.Method = methodRaw
		return curves, nil
	}
	if err != nil {
		return estimate.Curves{}, err
	}
	return aligned.LeastSquares().Curves, nil
}

// addEnergy states clipped sums as energy: of the mean day, for a curve.
func (b *Body) addEnergy(m *measure, fitted estimate.Curves) error {
	biases := make(map[string]*Bias, len(m.levels))
	b.Estimates.Bias = biasLeft
	for _, l := range m.levels {
		if biases[l.plan.Kind] = l.plan.Bias; l.plan.Bias != nil {
			b.Estimates.Bias = biasReference
		}
	}
	e, err := m.energy()
	if err != nil {
		return err
	}
	for i := range b.Nodes {
		n := &b.Nodes[i]
		values, err := e.of(fitted.Node(i))
		if err != nil {
			return err
		}
		load := 0.0
		for _, v := range values {
			load += math.Abs(v) / float64(len(values))
		}
		bias := estimate.Bias{Source: estimate.NoBias}
		if r := biases[n.Kind]; r != nil {
			mean := float64(r.MeanPPM) / 1e6 * load
			spread := float64(r.SpreadPPM) / 1e6 * load
			bias = estimate.Bias{Low: mean, High: mean, Variance: spread * spread, Source: estimate.PublicReference}
		}
		for j, v := range values {
			in, err := estimate.NewInterval(v, fitted.Variance[i]*e.perUnit[j], bias, confidence)
			if err != nil {
				return err
			}
			n.state(in.Estimate, in.Low, in.High)
		}
	}
	return nil
}

// state appends a number and its interval, rounded outwards.
func (n *NodeBody) state(v, low, high float64) {
	n.Estimate = append(n.Estimate, int64(math.Round(v)))
	n.Low = append(n.Low, int64(math.Floor(low)))
	n.High = append(n.High, int64(math.Ceil(high)))
}

// energies turn raw sums into Wh.
type energies struct {
	inverse *estimate.BasisInverse
	parts   float64   // that a sum is divided by
	perUnit []float64 // variance of each number for noise of variance one
}

func (m *measure) energy() (*energies, error) {
	e := &energies{parts: 1, perUnit: make([]float64, m.dim())}
	if m.product.Kind == Curve {
		e.parts = float64(m.days)
	}
	for j := range e.perUnit {
		e.perUnit[j] = 1 / (e.parts * e.parts)
	}
	if m.basis == nil {
		return e, nil
	}
	one, err := dp.NewVariance(1, 1)
	if err != nil {
		return nil, err
	}
	e.inverse = estimate.NewBasisInverse(m.basis)
	for j, v := range e.inverse.Variances(one) {
		e.perUnit[j] *= v
	}
	return e, nil
}

func (e *energies) of(raw []float64) ([]float64, error) {
	values := make([]float64, len(raw))
	copy(values, raw)
	if e.inverse != nil {
		z := make([]int64, len(raw))
		for j, v := range raw {
			z[j] = int64(math.Round(v)) // lattice units, of which a Wh has many
		}
		var err error
		if values, err = e.inverse.Energy(z); err != nil {
			return nil, err
		}
	}
	for j := range values {
		values[j] /= e.parts
	}
	return values, nil
}

func (b *Body) addCounts(fitted *estimate.Estimates) error {
	for i := range b.Nodes {
		for _, v := range fitted.Node(i) {
			in, err := estimate.NewInterval(v, fitted.Variance[i], estimate.Bias{Source: estimate.NoBias}, confidence)
			if err != nil {
				return err
			}
			b.Nodes[i].state(in.Estimate, in.Low, in.High)
		}
	}
	return nil
}

// addQuantiles states quantiles of the energy of a mean day.
func (b *Body) addQuantiles(m *measure, fitted *estimate.Estimates) error {
	prefix := estimate.NewPrefixEstimator(m.strategy)
	edges := make([]float64, len(m.product.EdgesWh))
	for i, e := range m.product.EdgesWh {
		edges[i] = float64(e)
	}
	one, err := dp.NewVariance(1, 1)
	if err != nil {
		return err
	}
	perUnit := prefix.Variances(one)
	variances := make([]float64, len(perUnit))
	sums := make([]int64, m.dim())
	for i := range b.Nodes {
		for j, v := range fitted.Node(i) {
			sums[j], variances[j] = int64(math.Round(v)), perUnit[j]*fitted.Variance[i]
		}
		cumulative, err := prefix.Sums(sums)
		if err != nil {
			return err
		}
		cdf, err := estimate.NewCDF(edges, cumulative, variances, confidence)
		if err != nil {
			return err
		}
		for _, q := range stated {
			at, err := cdf.Quantile(q)
			if err != nil {
				return err
			}
			b.Nodes[i].state(at.Value, at.Low, at.High)
		}
	}
	return nil
}
