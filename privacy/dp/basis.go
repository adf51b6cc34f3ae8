package dp

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Limits of a [Basis].
const (
	MaxIntervals = 1440    // the minutes of a day
	WeightOne    = 1 << 16 // the weight 1: weights count in steps of 2^-16
	MaxWeight    = 1 << 32 // the weight 65536

	maxPrecision = 40     // of a Basis or a Strategy, in bits
	maxShift     = 62     // of a Basis, in bits
	maxEntryBits = 52     // entries of a Basis are at most 2^52
	rowMargin    = 1 << 9 // rows of a Basis have a norm of at least 2^9·T
)

var (
	// ErrIntervals reports a number of intervals outside 1 … [MaxIntervals].
	ErrIntervals = errors.New("dp: number of intervals out of range")

	// ErrWeight reports a weight outside 1 … [MaxWeight], or a second moment of
	// zero.
	ErrWeight = errors.New("dp: weight out of range")

	// ErrPrecision reports a precision or shift that leaves too few or too many
	// bits.
	ErrPrecision = errors.New("dp: precision out of range")
)

// Basis is a public integer matrix in which a day of T intervals is measured
// before it is clipped, so that [ClipL2] cuts it to an ellipsoid instead of a
// sphere: the orthonormal DCT-II, its coefficient j times a weight w_j, in
// integers,
//
//	M_jt = round(2^k · w_j · √((j = 0 ? 1 : 2)/T) · cos(πj(2t+1)/(2T))).
//
// A coefficient in which days differ much gets a small weight and noise that is
// large in Wh, one in which they are alike a large weight and little noise.
// Independent noise is the best there is for vectors bounded in L2, whatever is
// computed from them; what remains to be chosen is the norm. The choice must
// rest on public data only.
//
// # Units
//
// [Basis.Measure] counts coefficient j in steps of 2^(s-k)/w_j Wh, its lattice
// units, with k the precision and s the shift. A clip norm of C lattice units
// is a bound on the weighted norm,
//
//	√(Σ_j w_j²·coefficient_j²) ≤ C · 2^(s-k) Wh,
//
// which for weights of one is the norm of the day itself. Noise of variance σ²
// in each z_j is noise of variance (σ·2^(s-k)/w_j)² Wh² in coefficient j.
//
// # Truncation
//
// Measure truncates, which moves each coordinate by less than one lattice unit
// towards zero. Privacy is not touched, because the bound is enforced on the
// integers afterwards: Σ z of clipped z has the sensitivity C. It does matter
// where measured vectors are added up and the sum is processed again, as in
// products over a span of days: truncation is not a projection, and each one
// can bring two vectors √T lattice units further apart. Days clipped to C whose
// sum is clipped to C once more go through one after their bound holds, and
// through two where the sum is divided first: with a sensitivity of C + ⌈2√T⌉
// both are covered, and that is what [GaussianVariance] must be told.
// PROOFS.md, sections 11 and 12.
//
// # Reproducibility
//
// The entries are the correctly rounded ones, computed in unbounded integers,
// halves away from zero; what lies less than 2^-64 below a half counts as a
// half. Every machine computes the same matrix and the same z. A Basis does not
// change and may be used by many goroutines at once.
type Basis struct {
	weights   []uint64
	precision uint
	shift     uint
	rows      [][]int64
	largest   uint64 // greatest magnitude of an entry
}

// NewBasis returns the basis of len(weights) intervals, where w_j is
// weights[j]/[WeightOne]; weights of WeightOne throughout make the clip
// spherical. It returns [ErrIntervals]; [ErrWeight]; or [ErrPrecision] for a
// precision above 40, a shift above 62, a 2^k·w_j above 2^52, which could
// overflow, or one below 2^9·T, where rounding could cost the matrix its
// inverse. Precision 32 suits every T, and weights from one on.
func NewBasis(weights []uint64, precision, shift uint) (*Basis, error) {
	n := len(weights)
	if n < 1 || n > MaxIntervals {
		return nil, ErrIntervals
	}
	least, most := slices.Min(weights), slices.Max(weights)
	if least < 1 || most > MaxWeight {
		return nil, ErrWeight
	}
	if precision > maxPrecision || shift > maxShift ||
		mul64(WeightOne, 1<<maxEntryBits).less(mul64(most, 1<<precision)) ||
		mul64(least, 1<<precision).less(mul64(WeightOne, rowMargin*uint64(n))) {
		return nil, ErrPrecision
	}
	b := &Basis{weights: slices.Clone(weights), precision: precision, shift: shift, rows: make([][]int64, n)}
	table := cosines(n)
	for j := range b.rows {
		b.rows[j] = b.row(j, table)
		for _, v := range b.rows[j] {
			b.largest = max(b.largest, magnitude(v))
		}
	}
	return b, nil
}

// NewBasisFromMoments returns the basis for a public reference population whose
// DCT-II coefficient j has the second moment moments[j], in any unit they
// share: weights proportional to moments[j]^(-1/4), the least of which is one,
//
//	weights[j] = ⌊WeightOne · (max/moments[j])^(1/4)⌋.
//
// That is the best diagonal choice when every coefficient is wanted (the clip
// matrix S^(-1/2) for second moments S). It returns what [NewBasis] does, and
// [ErrWeight] for a moment of zero.
//
// The moments decide what is published about everyone: they must never come
// from the private data.
func NewBasisFromMoments(moments []uint64, precision, shift uint) (*Basis, error) {
	if len(moments) < 1 || len(moments) > MaxIntervals {
		return nil, ErrIntervals
	}
	if slices.Min(moments) == 0 {
		return nil, ErrWeight
	}
	most := new(big.Int).SetUint64(slices.Max(moments))
	most.Lsh(most, 4*16) // WeightOne to the fourth
	weights := make([]uint64, len(moments))
	for j, moment := range moments {
		q := new(big.Int).SetUint64(moment)
		q.Quo(most, q)
		weights[j] = q.Sqrt(q).Sqrt(q).Uint64() // ⌊√⌊√⌊·⌋⌋⌋ is the floor of the fourth root
	}
	return NewBasis(weights, precision, shift)
}

// row returns row j of the matrix, from the cosines of πm/(2T).
func (b *Basis) row(j int, table []*big.Int) []int64 {
	n := len(b.weights)
	norm := fixedRoot(2, int64(n))
	if j == 0 {
		norm = fixedRoot(1, int64(n))
	}
	// Entries are |factor·cosine| in steps of 2^-drop.
	factor := norm.Mul(norm, new(big.Int).SetUint64(b.weights[j]))
	factor.Lsh(factor, b.precision)
	const drop = 2*fixedBits + 16
	half := new(big.Int).Lsh(big.NewInt(1), drop-1)
	half.Add(half, new(big.Int).Lsh(big.NewInt(1), drop-64))

	row := make([]int64, n)
	entry := new(big.Int)
	for t := range row {
		// The angle is m quarter turns over T: fold it into the first one.
		m, negative := j*(2*t+1)%(4*n), false
		if m > 2*n {
			m = 4*n - m
		}
		if m > n {
			m, negative = 2*n-m, true
		}
		entry.Mul(factor, table[m]).Add(entry, half).Rsh(entry, drop)
		row[t] = signed(entry.Uint64(), negative)
	}
	return row
}

// Intervals returns T, the length of the vectors that b measures.
func (b *Basis) Intervals() int { return len(b.rows) }

// Precision returns k: entries are scaled by 2^k.
func (b *Basis) Precision() uint { return b.precision }

// Shift returns s: measurements are divided by 2^s.
func (b *Basis) Shift() uint { return b.shift }

// Weights returns the weights, in units of 1/[WeightOne], as the caller's own.
func (b *Basis) Weights() []uint64 { return slices.Clone(b.weights) }

// Matrix returns M, row j for coefficient j, as the caller's own.
func (b *Basis) Matrix() [][]int64 {
	rows := make([][]int64, len(b.rows))
	for j, row := range b.rows {
		rows[j] = slices.Clone(row)
	}
	return rows
}

// Measure returns z_j = trunc(2^-s · Σ_t M_jt·x_t), exactly and towards zero.
// Clip z, not x, and add noise to the sum of the clipped z.
//
// x is in Wh, z in the lattice units of [Basis]. It returns [ErrLength] for an
// x of another length, and [ErrOverflow] if an element of z would not fit, as
// none can while Σ|x| < 2^(11+s). That depends on one contributor's data: count
// such a contributor as absent rather than fail the release. Its running time
// depends on x.
func (b *Basis) Measure(x []int64) ([]int64, error) {
	if len(x) != len(b.rows) {
		return nil, ErrLength
	}
	z := make([]int64, len(x))
	if b.narrow(x) {
		for j, row := range b.rows {
			sum := int64(0)
			for t, v := range x {
				sum += row[t] * v
			}
			z[j] = signed(magnitude(sum)>>b.shift, sum < 0)
		}
		return z, nil
	}
	for j, row := range b.rows {
		sum, negative := product(row, x)
		sum = sum.rsh(b.shift)
		if sum.hi != 0 || sum.lo>>63 != 0 {
			return nil, fmt.Errorf("measuring in a basis: %w", ErrOverflow)
		}
		z[j] = signed(sum.lo, negative)
	}
	return z, nil
}

// narrow says whether all sums of products with x stay within an int64, so that
// plain arithmetic is exact. Days of meters do.
func (b *Basis) narrow(x []int64) bool {
	var total u128
	for _, v := range x {
		total, _ = total.add(u128{0, magnitude(v)})
	}
	p := mul64(total.lo, b.largest)
	return total.hi == 0 && p.hi == 0 && p.lo>>63 == 0
}

// product returns |Σ row·x| and whether the sum is negative. Rows have at most
// 1440 entries of at most 2^52: neither sum reaches 2^126.
func product(row, x []int64) (sum u128, negative bool) {
	var up, down u128
	for t, v := range x {
		p := mul64(magnitude(row[t]), magnitude(v))
		if (row[t] < 0) == (v < 0) {
			up, _ = up.add(p)
		} else {
			down, _ = down.add(p)
		}
	}
	return up.distance(down), up.less(down)
}
