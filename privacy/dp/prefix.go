package dp

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
)

// MaxBins is the largest number of bins of a [Strategy]: the half hours of a
// leap year.
const MaxBins = 17568

// binMargin keeps the rounding of a Strategy's entries small: 2^k ≥ 2^8·n.
const binMargin = 1 << 8

// factorBits is the number of fractional bits in a Strategy's tables.
const factorBits = 127

// ErrBin reports a number of bins outside 1 … [MaxBins], or a bin that a
// Strategy does not have.
var ErrBin = errors.New("dp: bin out of range")

// Strategy measures counts in n ordered bins so that their prefix sums, a
// distribution function or a running count, can be estimated with little noise:
// the normalised square-root factorisation of Henzinger, Kalinin and Upadhyay
// (FORC 2026), after Fichtenberger, Henzinger and Upadhyay (ICML 2023), in
// integers.
//
// Prefix sums are the lower triangular matrix of ones, A = C·C, with C lower
// triangular Toeplitz of coefficients f_m = binom(2m, m)/4^m. With
// d_j² = Σ_(m<n-j) f_m², the norms of C's columns, and D their diagonal,
// B = C·D^-1 has columns of norm one and A = (A·B^-1)·B. A contributor in bin j
// adds column j of the strategy,
//
//	⌊2^k·B_ij⌋ = ⌊2^k · f_(i-j)/d_j⌋ for i ≥ j, 0 for i < j,
//
// to a sum of n integers; each sum gets its own discrete Gaussian noise of
// variance [GaussianVariance]([Strategy.Sensitivity], ρ); and A·B^-1, applied
// to what is published, yields prefix sums with an error that no other
// strategy could bring down by as much as 5 % for n ≥ 48.
//
// This is for contributors who are in one bin, once: a household's daily energy
// on a scale of sizes, its enrolment on a day. One that is added k times moves
// the sums by up to k times the sensitivity. For vectors clipped in L2 it is
// worse than independent noise, see [Basis].
//
// The tables take 32 bytes a bin. A Strategy does not change and may be used by
// many goroutines at once.
type Strategy struct {
	precision   uint
	f           []u128 // f_m, truncated to 2^-127
	inverse     []u128 // 1/d_j, truncated to 2^-127
	sensitivity int64
}

// NewStrategy returns the strategy for n = bins and k = precision, in time n².
// It returns [ErrBin], or [ErrPrecision] for a precision above 40 or a 2^k
// below 2^8·n. Precision 30 suits every n, and leaves room for 2^32
// contributors and for a ρ down to 10^-6.
func NewStrategy(bins int, precision uint) (*Strategy, error) {
	if bins < 1 || bins > MaxBins {
		return nil, ErrBin
	}
	if precision > maxPrecision || 1<<precision < binMargin*bins {
		return nil, ErrPrecision
	}
	s := &Strategy{precision: precision, f: make([]u128, bins), inverse: make([]u128, bins)}
	s.tabulate()
	for j := range bins {
		s.sensitivity = max(s.sensitivity, s.norm(j))
	}
	return s, nil
}

// tabulate fills the tables from f_m = f_(m-1)·(2m-1)/(2m). An error of the
// fixed point is below 2^-240, and nothing is lost up to m = 128.
func (s *Strategy) tabulate() {
	n := len(s.f)
	f, squares := fixedOne(), new(big.Int)
	for m := range n {
		if m > 0 {
			f.Mul(f, big.NewInt(2*int64(m)-1)).Quo(f, big.NewInt(2*int64(m)))
		}
		s.f[m] = u128FromBig(new(big.Int).Rsh(f, fixedBits-factorBits))

		// The first m+1 squares are those of column n-1-m.
		squares.Add(squares, fixedMul(f, f))
		q := new(big.Int).Lsh(big.NewInt(1), 2*factorBits+fixedBits)
		s.inverse[n-1-m] = u128FromBig(q.Quo(q, squares).Sqrt(q))
	}
}

// entry returns ⌊2^k·f_m/d_bin⌋. The upper words of the tables decide nearly
// every entry: with h the upper word of their product, the product of what they
// were truncated from is below h+2.
func (s *Strategy) entry(m, bin int) int64 {
	f, inverse := s.f[m], s.inverse[bin]
	drop := 2*factorBits - 192 - s.precision
	h, _ := bits.Mul64(f.hi, inverse.hi)
	if e := h >> drop; e == (h+2)>>drop {
		return int64(e)
	}
	return int64(f.mul(inverse)[3] >> drop)
}

// norm returns the L2 norm of a column, rounded up. Truncated entries have
// squares that add up to at most 4^k ≤ 2^80.
func (s *Strategy) norm(bin int) int64 {
	var sum u128
	for m := range len(s.f) - bin {
		e := uint64(s.entry(m, bin))
		sum, _ = sum.add(mul64(e, e))
	}
	root := isqrt(sum)
	if mul64(root, root).less(sum) {
		root++
	}
	return int64(root)
}

// Bins returns n.
func (s *Strategy) Bins() int { return len(s.f) }

// Precision returns k: a contributor counts for about 2^k.
func (s *Strategy) Precision() uint { return s.precision }

// Sensitivity returns the L2 norm of the longest column, rounded up: how far
// one contributor moves the sums. It was computed from the integers that Add
// adds, every one of them.
func (s *Strategy) Sensitivity() int64 { return s.sensitivity }

// Add adds to sum one contributor who is in the given bin, counted from 0. It
// returns [ErrLength] for a sum of another length than n, [ErrBin], or
// [ErrOverflow], and then sum is unchanged. Its running time depends on bin.
func (s *Strategy) Add(sum []int64, bin int) error {
	if len(sum) != len(s.f) {
		return ErrLength
	}
	if bin < 0 || bin >= len(s.f) {
		return ErrBin
	}
	column := sum[bin:]
	for m, v := range column {
		total := v + s.entry(m, bin)
		if total < v {
			for i := range m { // undo, so that the common case is one pass
				column[i] -= s.entry(i, bin)
			}
			return fmt.Errorf("adding to a strategy's sums: %w", ErrOverflow)
		}
		column[m] = total
	}
	return nil
}

// AppendColumn appends to dst the entries of a column from its own row on: n-bin
// integers, those that Add adds to sum[bin:]. It returns dst and [ErrBin] for a
// bin that is not there.
func (s *Strategy) AppendColumn(dst []int64, bin int) ([]int64, error) {
	if bin < 0 || bin >= len(s.f) {
		return dst, ErrBin
	}
	for m := range len(s.f) - bin {
		dst = append(dst, s.entry(m, bin))
	}
	return dst, nil
}

// Factors returns f_m and 1/d_j in units of 2^-63, truncated, as the caller's
// own: what A·B^-1 = A·D·C^-1 is made of.
func (s *Strategy) Factors() (f, inverse []uint64) {
	f, inverse = make([]uint64, len(s.f)), make([]uint64, len(s.f))
	for i := range s.f {
		f[i], inverse[i] = s.f[i].hi, s.inverse[i].hi
	}
	return f, inverse
}
