package plan

import (
	"errors"
	"fmt"
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Source is a population: the curve of every household, in Wh by interval.
type Source interface {
	Households() int
	// Fill writes a household's curve.
	Fill(household int, wh []int64)
}

// Intervals is how many a curve has: the half-hours of a day.
const Intervals = 48

var (
	// ErrTree says that the levels are no tree over so many households.
	ErrTree = errors.New("plan: sizes of levels do not divide each other")
	// ErrRho says that a level has no budget.
	ErrRho = errors.New("plan: a level without budget")
)

// Basis and lattice: 2^(precision-shift) lattice units are a Wh of a coefficient of
// weight one.
const (
	precision = 32
	shift     = 28
	perWh     = 1 << (precision - shift)
)

// Product is what is measured.
type Product int

// The products.
const (
	// Day is the curve of one day.
	Day Product = iota
	// Mean is the mean curve of a span of days. A hub clips each day before it joins,
	// and the mean again, and adds noise for both; populations hold means alone, so
	// that what is tried here is the second clip, with that noise.
	Mean
)

// slack is what the sensitivity of a product exceeds its clip norm by, in lattice
// units: package dp's PROOFS.md, section 12.
func (p Product) slack() int64 {
	if p == Mean {
		return int64(math.Ceil(2 * math.Sqrt(Intervals)))
	}
	return 0
}

// Design says how a product is measured over a tree.
type Design struct {
	Product Product
	Levels  []Level // the region first
	Basis   *dp.Basis

	inverse *estimate.BasisInverse
}

// Level is one level of a design.
type Level struct {
	Size     int         // households below a node
	Rho      dp.Rho      // spent on the level, for all its nodes together
	Clip     int64       // the norm that a household is clipped to, in lattice units
	Variance dp.Variance // of the noise, in lattice units squared

	// Load is the mean energy of a node in an interval, in Wh, and Baseline the root mean
	// square error of the region's true curve in equal parts, in parts of it: on the
	// reference.
	Load, Baseline float64
	// Noise is the variance that the noise of all levels leaves in each coefficient of
	// a node's estimate, in lattice units squared.
	Noise float64
	// Of the estimates, on the reference: their bias by interval, in Wh, the mean
	// over nodes, and its variance from node to node.
	Bias, Spread []float64

	// weight is the variance of a measurement as least squares is told it: that of the
	// noise, and of what the clip takes from one node more than from another.
	weight float64
}

// ClipWh is the clip norm in Wh, for a household whose curve is flat.
func (l Level) ClipWh() float64 { return Wh(float64(l.Clip)) }

// Wh is what so many lattice units of a coefficient of weight one stand for.
func Wh(units float64) float64 { return units / perWh }

// Expected is the root mean square error to expect of a level's estimates, in parts of
// its mean load: of the noise, and of what the clip took from the reference.
func (d *Design) Expected(level int) float64 {
	l := d.Levels[level]
	total := 0.0
	for t, v := range d.perUnit() {
		total += l.Noise*v + l.Spread[t] + l.Bias[t]*l.Bias[t]
	}
	return math.Sqrt(total/Intervals) / l.Load
}

// perUnit is the variance of each interval, in Wh², for one in each coefficient, in
// lattice units squared.
func (d *Design) perUnit() []float64 {
	v := make([]float64, Intervals)
	for j, s := range d.scales() {
		for t := range v {
			v[t] += square(s * cosine(j, t))
		}
	}
	return v
}

// candidates are the clip norms that are tried, in Wh: from a fridge to a row of
// fast chargers, in steps of a sixth of a doubling.
func candidates() []int64 {
	var cs []int64
	for c := 300.0; c < 60_000; c *= math.Pow(2, 1.0/6) {
		cs = append(cs, int64(c*perWh))
	}
	return cs
}

// Study is what was learnt about a reference, from which designs for different budgets
// are made.
type Study struct {
	reference Source
	product   Product
	sizes     []int
	basis     *dp.Basis
	inverse   *estimate.BasisInverse
	biases    *biases
}

// NewStudy looks at a reference. sizes are households below a node on each level, the
// region first. It returns [ErrTree], or what is wrong with the reference for package
// dp.
func NewStudy(reference Source, product Product, sizes []int) (*Study, error) {
	if err := checkTree(reference.Households(), sizes); err != nil {
		return nil, err
	}
	basis, err := fitBasis(reference)
	if err != nil {
		return nil, fmt.Errorf("choosing a basis: %w", err)
	}
	s := &Study{reference: reference, product: product, sizes: sizes, basis: basis, inverse: estimate.NewBasisInverse(basis)}
	s.biases, err = findBiases(reference, basis, sizes)
	return s, err
}

// Design chooses the clip norms for what is spent on each level. It returns [ErrRho].
func (s *Study) Design(rhos []dp.Rho) (*Design, error) {
	if len(rhos) != len(s.sizes) {
		return nil, ErrRho
	}
	d := &Design{Product: s.product, Basis: s.basis, inverse: s.inverse}
	for i, size := range s.sizes {
		l, err := d.fitLevel(s.biases, i, size, rhos[i])
		if err != nil {
			return nil, err
		}
		d.Levels = append(d.Levels, l)
	}
	if err := d.findNoise(); err != nil {
		return nil, err
	}
	if err := d.judge(s.reference, s.biases); err != nil {
		return nil, err
	}
	return d, nil
}

// Fit is a study and its one design.
func Fit(reference Source, product Product, sizes []int, rhos []dp.Rho) (*Design, error) {
	s, err := NewStudy(reference, product, sizes)
	if err != nil {
		return nil, err
	}
	return s.Design(rhos)
}

func checkTree(households int, sizes []int) error {
	if len(sizes) == 0 || households < 1 || sizes[0] != households {
		return ErrTree
	}
	for i, n := range sizes {
		if n < 1 || i > 0 && (sizes[i-1]%n != 0 || sizes[i-1] == n) {
			return ErrTree
		}
	}
	return nil
}

// fitBasis weighs the DCT's coefficients by their second moments on the reference.
func fitBasis(reference Source) (*dp.Basis, error) {
	flat := make([]uint64, Intervals)
	for j := range flat {
		flat[j] = dp.WeightOne
	}
	plain, err := dp.NewBasis(flat, precision, shift)
	if err != nil {
		return nil, err
	}
	squares := make([]float64, Intervals)
	wh := make([]int64, Intervals)
	for h := range reference.Households() {
		reference.Fill(h, wh)
		z, err := plain.Measure(wh)
		if err != nil {
			return nil, err
		}
		for j, v := range z {
			squares[j] += float64(v) * float64(v)
		}
	}
	moments := make([]uint64, Intervals)
	for j, s := range squares {
		moments[j] = uint64(max(1, s/float64(reference.Households())))
	}
	return dp.NewBasisFromMoments(moments, precision, shift)
}

// scales are the Wh that a lattice unit of each coefficient stands for.
func (d *Design) scales() []float64 {
	scales := make([]float64, Intervals)
	for j, w := range d.Basis.Weights() {
		scales[j] = dp.WeightOne / float64(w) / perWh
	}
	return scales
}

// fitLevel chooses the clip norm of one level: that of the least error on the
// reference, noise included, after the bias that all nodes share was taken out of
// every level but the region's.
func (d *Design) fitLevel(b *biases, at, size int, rho dp.Rho) (best Level, err error) {
	least := math.Inf(1)
	scales := d.scales()
	for c, clip := range b.clips {
		variance, err := dp.GaussianVariance(clip+d.Product.slack(), rho)
		if err != nil {
			return Level{}, fmt.Errorf("%w: %w", ErrRho, err)
		}
		sigma2, _ := variance.Rat().Float64()
		mean, spread := b.level(c, at)
		total := 0.0
		for j, s := range scales {
			residual := spread[j]
			if at == 0 {
				residual = mean[j] * mean[j]
			}
			total += s * s * (sigma2 + residual)
		}
		if total < least {
			least = total
			best = Level{Size: size, Rho: rho, Clip: clip, Variance: variance, weight: sigma2}
			if at > 0 {
				for _, v := range spread {
					best.weight += v / Intervals
				}
			}
		}
	}
	return best, nil
}
