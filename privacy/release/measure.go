package release

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sort"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// measure says what becomes of one household's days, from energy by interval to the
// vector that joins the sums of a level.
//
// Each day adds its share to the household's running sum, at most once, and the
// running sum becomes the household's contribution when the span is over. Both steps
// bound what a day and what the whole household can move: claim 12 of package dp's
// PROOFS.md for clipped sums; for votes, that a household is in one bin.
type measure struct {
	product  Product
	days     int64 // of the span
	slots    int   // intervals of a day
	basis    *dp.Basis
	strategy *dp.Strategy
	share    int64 // bound on the norm of a day's share; 0 leaves it as it is
	levels   []levelMeasure
}

// levelMeasure is how one level is measured.
type levelMeasure struct {
	plan     LevelPlan
	bound    int64 // on the norm of a household's contribution, in lattice units
	variance dp.Variance
}

// limits of what a running sum holds, per element: it is kept in 32 bits.
const (
	maxRunning = math.MaxInt32
	maxShare   = 1 << 25 // Wh a day, 33 MWh, of sums that are not clipped
)

const strategyPrecision = 30

var (
	errClip  = errors.New("clipped products need a clip norm on every level, and nothing else has one")
	errRange = errors.New("clip norm times days is out of range")
)

// newMeasure prepares a product's measure over some days.
func newMeasure(p Product, blocks []meter.Day) (*measure, error) {
	m := &measure{product: p, days: int64(len(blocks)), slots: int(secondsPerDay / p.grid())}
	var err error
	switch {
	case p.Basis != nil:
		m.basis, err = dp.NewBasis(p.Basis.Weights, p.Basis.Precision, p.Basis.Shift)
		if err == nil && m.basis.Intervals() != m.slots {
			err = dp.ErrIntervals
		}
	case p.Kind == Quantiles:
		m.strategy, err = dp.NewStrategy(len(p.EdgesWh)-1, strategyPrecision)
	}
	if err != nil {
		return nil, err
	}
	for _, plan := range p.Levels {
		l, err := m.level(plan)
		if err != nil {
			return nil, err
		}
		m.levels = append(m.levels, l)
	}
	return m, nil
}

// level fixes a level's bound and noise, and tightens that on a day's share: one bound
// for all levels, the least, keeps one running sum for all.
func (m *measure) level(plan LevelPlan) (levelMeasure, error) {
	l := levelMeasure{plan: plan}
	var err error
	if !m.clips() {
		if plan.ClipWh != 0 {
			return l, errClip
		}
		l.bound = 1
		if m.strategy != nil {
			l.bound = m.strategy.Sensitivity()
		}
		l.variance, err = dp.GaussianVariance(l.bound, plan.Rho)
		return l, err
	}
	if plan.ClipWh <= 0 {
		return l, errClip
	}
	if l.bound, err = m.lattice(plan.ClipWh); err != nil {
		return l, err
	}
	moves := l.bound
	if m.days > 1 {
		if m.share == 0 || l.bound < m.share {
			m.share = l.bound
		}
		moves += truncation(m.dim())
	}
	l.variance, err = dp.GaussianVariance(moves, plan.Rho)
	return l, err
}

// lattice is a clip norm for the sum over the span, in lattice units. A running sum of
// shares below it must fit its element.
func (m *measure) lattice(clipWh int64) (int64, error) {
	c := clipWh
	if m.basis != nil {
		up, down := m.basis.Precision(), m.basis.Shift()
		if up > down {
			if bits.Len64(uint64(c))+int(up-down) > 40 {
				return 0, errRange
			}
			c <<= up - down
		} else {
			c >>= down - up
		}
	}
	if c <= 0 || c > dp.MaxBound/m.days || m.days > 1 && c > maxRunning/(m.days*m.days) {
		return 0, errRange
	}
	return c * m.days, nil
}

// truncation is ⌈2√n⌉: what truncating twice to integers adds to how far one day moves
// a clipped vector of n elements.
func truncation(n int) int64 {
	return rootUp(ratio(4 * int64(n)))
}

// clips reports whether the product sums clipped energy.
func (m *measure) clips() bool {
	return m.product.Kind == Curve || m.product.Kind == Energy || m.product.Kind == Live
}

// width is the number of elements of a running sum.
func (m *measure) width() int {
	if m.product.Kind == Curve || m.product.Kind == PeakTime {
		return m.slots
	}
	return 1
}

// dim is the number of elements of a node's sum.
func (m *measure) dim() int {
	switch m.product.Kind {
	case Curve, PeakTime:
		return m.slots
	case Histogram, Quantiles:
		return len(m.product.EdgesWh) - 1
	default:
		return 1
	}
}

// add adds one day to a running sum of width elements: energy by interval, of which
// some was stated. It must be called once for each day at most.
func (m *measure) add(running, day []int64) error {
	switch m.product.Kind {
	case Households:
		running[0] = 1
		return nil
	case Curve:
		return m.addCurve(running, day)
	case PeakTime:
		for i, v := range day {
			running[i] += min(max(v, -maxShare), maxShare)
		}
		return nil
	default:
		return m.addEnergy(running, day)
	}
}

func (m *measure) addCurve(running, day []int64) error {
	z := day
	if m.basis != nil {
		var err error
		if z, err = m.basis.Measure(day); errors.Is(err, dp.ErrOverflow) {
			return nil // beyond any home: absent, rather than stop everybody's release
		} else if err != nil {
			return err
		}
		defer clear(z)
	}
	return m.addClipped(running, z)
}

func (m *measure) addClipped(running, z []int64) error {
	if m.share == 0 { // one day: the level's own clip is to come
		copy(running, z)
		return nil
	}
	share := append(make([]int64, 0, len(z)), z...)
	defer clear(share)
	if err := dp.ClipL2(share, m.share); err != nil {
		return fmt.Errorf("clipping a day's share: %w", err)
	}
	return dp.Add(running, share)
}

func (m *measure) addEnergy(running, day []int64) error {
	var sum int64
	for _, v := range day {
		sum = addSaturated(sum, v)
	}
	if m.clips() {
		return m.addClipped(running, []int64{sum})
	}
	running[0] += min(max(sum, -maxShare), maxShare)
	return nil
}

// finish writes into dst, of dim elements, what a running sum over some days adds to a
// node of a level: a vector whose norm is at most the level's bound.
func (m *measure) finish(dst, running []int64, stated int, level int) error {
	clear(dst)
	switch m.product.Kind {
	case Households:
		dst[0] = 1
		return nil
	case Histogram:
		dst[m.bin(running[0], stated)] = 1
		return nil
	case Quantiles:
		return m.strategy.Add(dst, m.bin(running[0], stated))
	case PeakTime:
		peak := 0
		for i, v := range running {
			if v > running[peak] {
				peak = i
			}
		}
		dst[peak] = 1
		return nil
	default:
		copy(dst, running)
		return dp.ClipL2(dst, m.levels[level].bound)
	}
}

// bin finds the bin of the mean of some days' energy, rounded down.
func (m *measure) bin(energy int64, days int) int {
	edges := m.product.EdgesWh
	mean := energy / int64(days)
	at := sort.Search(len(edges), func(i int) bool { return edges[i] > mean }) - 1
	return min(max(at, 0), len(edges)-2)
}

// addSaturated adds, and stays at the end of the range where a sum does not fit.
func addSaturated(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	default:
		return a + b
	}
}

// energyOf adds a series to a household's day, interval by interval of a grid; missing
// intervals count as zero, and those that start on another day are none of this day's.
// Where one usage point states a time in two interval lengths, both count. It reports
// whether anything was stated.
//
// A sum that does not fit stays at the end of the range, which a clip takes to its
// bound anyway. An error here would be one household's power over everybody's release,
// and would tell that it was there.
func energyOf(x []int64, day meter.Day, s meter.Series) bool {
	grid := secondsPerDay / int64(len(x))
	stated := false
	for i, v := range s.Values {
		at := s.StartAt(i)
		if s.QualityAt(i) == meter.Missing || at < day.Start() || at >= day.End() {
			continue
		}
		slot := &x[(at-day.Start())/grid]
		*slot = addSaturated(*slot, v)
		stated = true
	}
	return stated
}
