package plan

import (
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Basis and lattice: 2^(precision-shift) lattice units are a Wh of a coefficient of
// weight one.
const (
	precision = 32
	shift     = 28
	perWh     = 1 << (precision - shift)
)

// Design says how a product is measured over a tree.
type Design struct {
	Product Product
	Levels  []Level // the region first
	Basis   *dp.Basis

	inverse *estimate.BasisInverse
}

// Level is one level of a design. Its sums are of all days of the product; what is
// stated in Wh is of the mean day.
type Level struct {
	Size int    // households below a node
	Rho  dp.Rho // spent on the level, for all its nodes together
	// ClipWh is the norm that a household's mean day is clipped to, in Wh of the
	// coefficient of the least weight, and Clip the same for the sum over the days, in
	// lattice units.
	ClipWh, Clip int64
	Variance     dp.Variance // of the noise, in lattice units squared

	// Load is the mean energy of a node in an interval, in Wh, and Baseline the root mean
	// square error of the region's true curve in equal parts, in parts of it: on the
	// reference.
	Load, Baseline float64
	// Noise is the variance that the noise of all levels leaves in each coefficient of
	// a node's estimate, in lattice units squared.
	Noise float64
	// Bias is how far a node's estimates are off by interval on the reference, in Wh,
	// noise left out, the mean over nodes. Spread is the variance of what a node of
	// another population is off, less Bias.
	Bias, Spread []float64

	// between is the part of Spread from node to node: what is left of it is that from
	// the reference to a population, which the nodes of a level share.
	between []float64
	// weight is the variance of a measurement as least squares is told it: that of the
	// noise, and of what the clip takes from one node more than from another.
	weight float64
}

// Days is how many the sums are divided by.
func (d *Design) Days() float64 { return float64(d.Product) }

// Wh is what so many lattice units of a coefficient of weight one, in a sum, stand for
// in the mean day.
func (d *Design) Wh(units float64) float64 { return units / perWh / d.Days() }

// Expected is the root mean square error to expect of a level's estimates, in parts of
// its mean load: of the noise, and of what the clips take.
func (d *Design) Expected(level int) float64 {
	l := d.Levels[level]
	total := 0.0
	for t, v := range d.perUnit() {
		total += l.Noise*v + l.between[t] + l.Bias[t]*l.Bias[t]
	}
	return math.Sqrt(total/Intervals) / l.Load
}

// StatedBias is a level's bias as one number for all intervals, in parts of its mean
// load, and how far a node's is off that in an interval: a standard deviation over
// intervals, nodes and populations.
func (d *Design) StatedBias(level int) (mean, deviation float64) {
	l := d.Levels[level]
	for _, b := range l.Bias {
		mean += b / Intervals
	}
	variance := 0.0
	for t, b := range l.Bias {
		variance += (l.Spread[t] + square(b-mean)) / Intervals
	}
	return mean / l.Load, math.Sqrt(variance) / l.Load
}

// perUnit is the variance of each interval, in Wh², for one in each coefficient, in
// lattice units squared.
func (d *Design) perUnit() []float64 {
	v := make([]float64, Intervals)
	for _, row := range d.synthesis() {
		for t, w := range row {
			v[t] += square(w)
		}
	}
	return v
}

// synthesis holds, by coefficient, the Wh in each interval that a lattice unit of it
// stands for. The basis is orthonormal but for the rounding of its entries, of which a
// plan takes no notice.
func (d *Design) synthesis() [][]float64 {
	rows := make([][]float64, Intervals)
	for j, s := range d.scales() {
		rows[j] = make([]float64, Intervals)
		for t := range rows[j] {
			rows[j][t] = s * cosine(j, t)
		}
	}
	return rows
}

// scales are the Wh that a lattice unit of each coefficient stands for.
func (d *Design) scales() []float64 {
	scales := make([]float64, Intervals)
	for j, w := range d.Basis.Weights() {
		scales[j] = dp.WeightOne / float64(w) * d.Wh(1)
	}
	return scales
}

// cosine is an entry of the orthonormal DCT-II.
func cosine(k, t int) float64 {
	if k == 0 {
		return math.Sqrt(1.0 / Intervals)
	}
	return math.Sqrt(2.0/Intervals) * math.Cos(math.Pi*float64(k)*float64(2*t+1)/(2*Intervals))
}

func square(x float64) float64 { return x * x }
