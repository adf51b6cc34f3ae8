package plan

import (
	"fmt"
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Outcome is what became of one level in a trial.
type Outcome struct {
	Size int
	// RMSE of the estimates and of the noisy measurements before they were made to
	// add up, over nodes and intervals, in parts of the level's mean load.
	RMSE, Raw float64
	// Baseline is the RMSE of what anybody knows without the level: the region's
	// true curve, in equal parts.
	Baseline float64
	// Load is the mean energy of a node in an interval, in Wh.
	Load float64
	// Covered counts the intervals of 95 % that hold the truth, of Stated.
	Covered, Stated int
}

// trial is a population measured.
type trial struct {
	d       *Design
	nodes   []int     // first node of each level in the rows below
	truth   []float64 // in Wh of the mean day
	sums    []int64   // clipped, in lattice units, over all days
	tree    *estimate.Tree
	raw     []float64 // in Wh of the mean day, before
	fitted  []float64 // in Wh of the mean day
	byLevel []int     // level of a node
}

// Try measures a population as a hub would, noise included, and compares what can be
// made of that with the truth. The population must have the households of the design. If
// it is a [Span] its days pass their clip; of means alone the second clip is tried, with
// the noise of both. It returns [ErrTree] or [ErrDays], or what is wrong with the
// population for package dp.
func (d *Design) Try(population Source) ([]Outcome, error) {
	t, err := d.noisy(population)
	if err != nil {
		return nil, err
	}
	outcomes := t.errors()
	return outcomes, t.cover(outcomes)
}

// noisy measures a population and makes estimates.
func (d *Design) noisy(population Source) (*trial, error) {
	m, err := d.measure(population)
	if err != nil {
		return nil, err
	}
	t, err := d.gather(m, 1)
	if err != nil {
		return nil, err
	}
	for i, l := range d.Levels {
		sums := t.sums[t.nodes[i]*Intervals : t.nodes[i+1]*Intervals]
		noise, err := dp.DrawNoise(len(sums), l.Variance)
		if err != nil {
			return nil, fmt.Errorf("drawing noise: %w", err)
		}
		if err := noise.AddTo(sums); err != nil {
			return nil, fmt.Errorf("adding noise: %w", err)
		}
	}
	return t, t.estimate()
}

// layOut makes the tree, level by level.
func (d *Design) layOut() (*trial, error) {
	t := &trial{d: d, nodes: make([]int, len(d.Levels)+1)}
	var parents []int
	for i, l := range d.Levels {
		n := d.Levels[0].Size / l.Size
		t.nodes[i+1] = t.nodes[i] + n
		for node := range n {
			parent := estimate.NoParent
			if i > 0 {
				parent = t.nodes[i-1] + node*l.Size/d.Levels[i-1].Size
			}
			parents = append(parents, parent)
			t.byLevel = append(t.byLevel, i)
		}
	}
	var err error
	t.tree, err = estimate.NewTree(parents)
	return t, err
}

// fit makes curves add up, with the weights of the design.
func (t *trial) fit(c estimate.Curves) (*estimate.Estimates, error) {
	c.Variance = make([]float64, 0, t.tree.Len())
	for _, level := range t.byLevel {
		c.Variance = append(c.Variance, t.d.Levels[level].weight)
	}
	aligned, err := t.tree.CommonMode(c, nil)
	if err != nil {
		return nil, fmt.Errorf("correcting the common mode: %w", err)
	}
	return aligned.LeastSquares(), nil
}

// curves are the measurements as package estimate takes them.
func (t *trial) curves() estimate.Curves {
	c := estimate.Curves{Intervals: Intervals, Values: make([]float64, len(t.sums))}
	for i, v := range t.sums {
		c.Values[i] = float64(v)
	}
	return c
}

// estimate makes the measurements add up, and energy of them.
func (t *trial) estimate() error {
	c := t.curves()
	fitted, err := t.fit(c)
	if err != nil {
		return err
	}
	if t.raw, err = t.energy(c); err != nil {
		return err
	}
	t.fitted, err = t.energy(fitted.Curves)
	return err
}

// energy turns curves of coefficients into Wh of the mean day.
func (t *trial) energy(c estimate.Curves) ([]float64, error) {
	out := make([]float64, 0, len(c.Values))
	z := make([]int64, Intervals)
	for node := range len(c.Values) / Intervals {
		for j, v := range c.Node(node) {
			z[j] = int64(math.Round(v)) // a sixteenth of a Wh, over all days
		}
		wh, err := t.d.inverse.Energy(z)
		if err != nil {
			return nil, err
		}
		for _, v := range wh {
			out = append(out, v/t.d.Days())
		}
	}
	return out, nil
}

// errors compares estimates and measurements with the truth.
func (t *trial) errors() []Outcome {
	var outcomes []Outcome
	for i, l := range t.d.Levels {
		o := Outcome{Size: l.Size}
		o.Load, o.Baseline = t.baseline(i)
		n := float64((t.nodes[i+1] - t.nodes[i]) * Intervals)
		for at := t.nodes[i] * Intervals; at < t.nodes[i+1]*Intervals; at++ {
			o.RMSE += square(t.fitted[at]-t.truth[at]) / n
			o.Raw += square(t.raw[at]-t.truth[at]) / n
		}
		o.RMSE, o.Raw = math.Sqrt(o.RMSE)/o.Load, math.Sqrt(o.Raw)/o.Load
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// cover counts the stated intervals that hold the truth.
func (t *trial) cover(outcomes []Outcome) error {
	perUnit := t.d.perUnit()
	for i, l := range t.d.Levels {
		o := &outcomes[i]
		for at := t.nodes[i] * Intervals; at < t.nodes[i+1]*Intervals; at++ {
			j := at % Intervals
			in, err := estimate.NewInterval(t.fitted[at], l.Noise*perUnit[j],
				estimate.Bias{Low: l.Bias[j], High: l.Bias[j], Variance: l.Spread[j], Source: estimate.PublicReference}, 0.95)
			if err != nil {
				return err
			}
			if o.Stated++; in.Low <= t.truth[at] && t.truth[at] <= in.High {
				o.Covered++
			}
		}
	}
	return nil
}
