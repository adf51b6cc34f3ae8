package plan

import (
	"errors"
	"fmt"
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// MaxNodes is how many nodes the finest level of a tree may have: a study keeps 20 kB
// for each.
const MaxNodes = 10_000

var (
	// ErrTree says that the levels are no tree over so many households, two at least.
	ErrTree = errors.New("plan: sizes of levels do not divide each other")
	// ErrNodes says that the finest level has more nodes than [MaxNodes].
	ErrNodes = errors.New("plan: more than 10000 finest nodes")
	// ErrRho says that a level has no budget.
	ErrRho = errors.New("plan: a level without budget")
	// ErrLoad says that a reference uses no energy, so that no error is a part of it.
	ErrLoad = errors.New("plan: a reference without load")
)

// Study is what was learnt about a reference, from which designs for different budgets
// are made. It looks at one clip, that of the sum, and tries no norm that days would meet
// before.
type Study struct {
	product Product
	sizes   []int
	basis   *dp.Basis
	inverse *estimate.BasisInverse
	biases  *biases
}

// NewStudy looks at a reference. sizes are households below a node on each level, the
// region first. It returns [ErrTree], [ErrNodes], [ErrDays], or what is wrong with the
// reference for package dp.
func NewStudy(reference Source, product Product, sizes []int) (*Study, error) {
	if product < 1 || product > maxDays {
		return nil, ErrDays
	}
	if err := checkTree(reference.Households(), sizes); err != nil {
		return nil, err
	}
	basis, err := fitBasis(reference)
	if err != nil {
		return nil, fmt.Errorf("choosing a basis: %w", err)
	}
	s := &Study{product: product, sizes: sizes, basis: basis, inverse: estimate.NewBasisInverse(basis)}
	s.biases, err = findBiases(reference, product, basis, sizes)
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
	return d, d.judge(s.biases)
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
	if len(sizes) == 0 || households < 2 || sizes[0] != households {
		return ErrTree
	}
	for i, n := range sizes {
		if n < 1 || i > 0 && (sizes[i-1]%n != 0 || sizes[i-1] == n) {
			return ErrTree
		}
	}
	if households/sizes[len(sizes)-1] > MaxNodes {
		return ErrNodes
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
			squares[j] += square(float64(v))
		}
	}
	moments := make([]uint64, Intervals)
	for j, s := range squares {
		moments[j] = uint64(max(1, s/float64(reference.Households())))
	}
	return dp.NewBasisFromMoments(moments, precision, shift)
}

// fitLevel chooses the clip norm of one level: that of the least error on the
// reference, noise included, after the bias that all nodes share was taken out of
// every level but the region's.
func (d *Design) fitLevel(b *biases, at, size int, rho dp.Rho) (best Level, err error) {
	least := math.Inf(1)
	scales := d.scales()
	for c, clipWh := range b.clips {
		clip := d.Product.lattice(clipWh)
		variance, err := dp.GaussianVariance(clip+d.Product.slack(), rho)
		if err != nil {
			return Level{}, fmt.Errorf("%w: %w", ErrRho, err)
		}
		sigma2, _ := variance.Rat().Float64()
		taken := b.levels[at][c]
		total := 0.0
		for j, s := range scales {
			residual := taken.variance[j]
			if at == 0 {
				residual = square(taken.mean[j])
			}
			total += s * s * (sigma2 + residual)
		}
		if total < least {
			least = total
			best = Level{Size: size, Rho: rho, ClipWh: clipWh, Clip: clip, Variance: variance, weight: sigma2}
			if at > 0 {
				for _, v := range taken.variance {
					best.weight += v / Intervals
				}
			}
		}
	}
	return best, nil
}

// lattice is a clip norm for the sum over a product's days.
func (p Product) lattice(clipWh int64) int64 { return clipWh * perWh * int64(p) }
