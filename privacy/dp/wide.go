package dp

import (
	"math/big"
	"math/bits"
)

// u128 is an unsigned integer of 128 bits.
type u128 struct{ hi, lo uint64 }

// u256 is an unsigned integer of 256 bits, least significant word first.
type u256 [4]uint64

// mul64 returns x·y.
func mul64(x, y uint64) u128 {
	hi, lo := bits.Mul64(x, y)
	return u128{hi, lo}
}

// times returns x·y, which the caller knows to be below 2^128.
func (x u128) times(y uint64) u128 {
	p := mul64(x.lo, y)
	return u128{p.hi + x.hi*y, p.lo}
}

// add returns x + y and the carry.
func (x u128) add(y u128) (u128, uint64) {
	lo, c := bits.Add64(x.lo, y.lo, 0)
	hi, c := bits.Add64(x.hi, y.hi, c)
	return u128{hi, lo}, c
}

// sub returns x - y for x ≥ y.
func (x u128) sub(y u128) u128 {
	lo, b := bits.Sub64(x.lo, y.lo, 0)
	hi, _ := bits.Sub64(x.hi, y.hi, b)
	return u128{hi, lo}
}

func (x u128) less(y u128) bool {
	return x.hi < y.hi || x.hi == y.hi && x.lo < y.lo
}

// distance returns |x - y|.
func (x u128) distance(y u128) u128 {
	if x.less(y) {
		return y.sub(x)
	}
	return x.sub(y)
}

// over returns ⌊x/y⌋.
func (x u128) over(y uint64) u128 {
	hi, r := bits.Div64(0, x.hi, y)
	lo, _ := bits.Div64(r, x.lo, y)
	return u128{hi, lo}
}

// rsh returns ⌊x/2^n⌋ for n < 64.
func (x u128) rsh(n uint) u128 {
	return u128{x.hi >> n, x.lo>>n | x.hi<<(64-n)}
}

func (x u128) bitLen() int {
	if x.hi != 0 {
		return 64 + bits.Len64(x.hi)
	}
	return bits.Len64(x.lo)
}

func (x u128) big() *big.Int {
	z := new(big.Int).SetUint64(x.hi)
	return z.Lsh(z, 64).Or(z, new(big.Int).SetUint64(x.lo))
}

// u128FromBig returns x, which the caller knows to be in [0, 2^128).
func u128FromBig(x *big.Int) u128 {
	return u128{new(big.Int).Rsh(x, 64).Uint64(), new(big.Int).And(x, maxUint64).Uint64()}
}

var maxUint64 = new(big.Int).SetUint64(1<<64 - 1)

// mul returns x·y.
func (x u128) mul(y u128) u256 {
	ll, lh := mul64(x.lo, y.lo), mul64(x.lo, y.hi)
	hl, hh := mul64(x.hi, y.lo), mul64(x.hi, y.hi)
	w1, c1 := bits.Add64(ll.hi, lh.lo, 0)
	w2, c2 := bits.Add64(hh.lo, lh.hi, c1)
	w3 := hh.hi + c2
	w1, c1 = bits.Add64(w1, hl.lo, 0)
	w2, c2 = bits.Add64(w2, hl.hi, c1)
	return u256{ll.lo, w1, w2, w3 + c2}
}

func (x *u256) less(y *u256) bool {
	_, b := bits.Sub64(x[0], y[0], 0)
	_, b = bits.Sub64(x[1], y[1], b)
	_, b = bits.Sub64(x[2], y[2], b)
	_, b = bits.Sub64(x[3], y[3], b)
	return b != 0
}

// sub sets x to x - y, for x ≥ y.
func (x *u256) sub(y *u256) {
	var b uint64
	for i := range x {
		x[i], b = bits.Sub64(x[i], y[i], b)
	}
}

func (x *u256) bitLen() int {
	for i := 3; i >= 0; i-- {
		if x[i] != 0 {
			return 64*i + bits.Len64(x[i])
		}
	}
	return 0
}

// isqrt returns ⌊√x⌋ for x < 2^126, by Newton's iteration from above: each r
// above √x is followed by ⌊(r + ⌊x/r⌋)/2⌋, which is less and at least ⌊√x⌋.
func isqrt(x u128) uint64 {
	if x == (u128{}) {
		return 0
	}
	r := uint64(1) << ((x.bitLen() + 1) / 2) // above √x, at most 2^63
	for {
		q, _ := bits.Div64(x.hi, x.lo, r) // fits: r ≥ ⌊√x⌋ and x < 2^126
		if q >= r {
			return r
		}
		r = q + (r-q)/2
	}
}

// magnitude returns |v|, for the least int64 too.
func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// signed returns size, which the caller knows to be below 2^63, or its negative.
func signed(size uint64, negative bool) int64 {
	if negative {
		return -int64(size)
	}
	return int64(size)
}
