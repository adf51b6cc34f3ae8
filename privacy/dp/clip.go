package dp

import (
	"errors"
	"math/big"
	"math/bits"
)

// MaxBound is the largest clip bound C: 2^40 (in Wh, 1.1 TWh).
const MaxBound = 1 << 40

// ErrBound reports a clip bound outside the range of the function, at most
// 0 … [MaxBound].
var ErrBound = errors.New("dp: clip bound out of range")

// ClipL2 shrinks x in place to an L2 norm of at most c, along its own
// direction: with S = Σ x², a vector with S ≤ c² stays as it is, and in any
// other each element becomes
//
//	sign(xᵢ) · ⌊|xᵢ|·c/√S⌋ = sign(xᵢ) · ⌊√⌊xᵢ²·c²/S⌋⌋,
//
// exactly, for every int64 including the least. Clip each contributor's vector
// once, whole, before it joins a sum; then one contributor moves the sum by at
// most c (add/remove), because the bound holds for the integers that are
// summed and not only for some real vector they came from.
//
// Truncating toward zero is what makes it hold: |⌊·⌋| of each element is no
// greater than the real scaled element, and those have norm exactly c. Rounding
// to nearest can grow elements and with them the norm: (1, 1) clipped to 1 is
// (0.7…, 0.7…), which rounds back to (1, 1) of norm √2.
//
// The unit is the caller's (Wh). It returns [ErrBound], with x unchanged, for
// c outside 0 … [MaxBound]. It verifies Σ x² ≤ c² on what it leaves behind and
// panics rather than return a vector that breaks it. Its running time depends
// on x.
func ClipL2(x []int64, c int64) error {
	if c < 0 || c > MaxBound {
		return ErrBound
	}
	bound := mul64(uint64(c), uint64(c))
	s, narrow := sumOfSquares(x)
	if narrow && !bound.less(s) {
		return nil
	}
	if narrow {
		clipNarrow(x, uint64(c), s)
	} else {
		clipWide(x, c)
	}
	if s, narrow = sumOfSquares(x); !narrow || bound.less(s) {
		clear(x)
		panic("dp: clipped vector exceeds its bound")
	}
	return nil
}

// sumOfSquares returns Σ x², and whether it is below 2^126.
func sumOfSquares(x []int64) (sum u128, narrow bool) {
	for _, v := range x {
		var carry uint64
		if sum, carry = sum.add(mul64(magnitude(v), magnitude(v))); carry != 0 || sum.hi>>62 != 0 {
			return u128{}, false
		}
	}
	return sum, true
}

// clipNarrow clips x with c² < s = Σ x² < 2^126. It divides by the integer
// n = ⌈√s⌉ in place of √s, and sets right what that loses. With |x|c = qn + r
// the element wanted, ⌊|x|c/√s⌋, is q or q+1, since |x| ≤ √s and c < √s give
// |x|c/√s - |x|c/n < |x|c/(n√s) ≤ c/n < 1. It is q+1 exactly if
// (q+1)√s ≤ |x|c, and as √s > n-1 that needs (q+1)(n-1) < qn + r, that is
// r + q ≥ n: seldom true, so the wide product is seldom computed.
func clipNarrow(x []int64, c uint64, s u128) {
	n := isqrt(s)
	if mul64(n, n).less(s) {
		n++
	}
	for i, v := range x {
		xc := mul64(magnitude(v), c)
		q, r := bits.Div64(xc.hi, xc.lo, n) // fits: the quotient is at most c
		if r+q >= n {
			need, have := mul64(q+1, q+1).mul(s), xc.mul(xc)
			if !have.less(&need) {
				q++
			}
		}
		x[i] = signed(q, v < 0)
	}
}

// clipWide clips any x with Σ x² > c² by the formula itself. Only elements of
// 2^58 and more bring a vector here; no meter does.
func clipWide(x []int64, c int64) {
	s := new(big.Int)
	for _, v := range x {
		b := big.NewInt(v)
		s.Add(s, b.Mul(b, b))
	}
	for i, v := range x {
		q := big.NewInt(v)
		q.Mul(q, big.NewInt(c))
		q.Mul(q, q).Div(q, s).Sqrt(q)
		x[i] = signed(q.Uint64(), v < 0)
	}
}
