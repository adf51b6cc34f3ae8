package dp

import (
	"encoding/binary"
	"math/big"
	"testing"
)

// FuzzWide holds the wide arithmetic against math/big. The seeds walk every
// word through its ends, where a lost carry shows.
func FuzzWide(f *testing.F) {
	ends := []uint64{0, 1, 2, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1}
	for _, a := range ends {
		for _, b := range ends {
			f.Add(a, b, b, a)
			f.Add(a, b, a, b)
			f.Add(a, a, b, b)
		}
	}
	f.Fuzz(func(t *testing.T, xh, xl, yh, yl uint64) {
		x, y := u128{xh, xl}, u128{yh, yl}
		bx, by := x.big(), y.big()
		check := func(op string, got, want *big.Int) {
			t.Helper()
			if got.Cmp(want) != 0 {
				t.Errorf("%s of %v, %v = %v, want %v", op, bx, by, got, want)
			}
		}
		two128 := new(big.Int).Lsh(big.NewInt(1), 128)
		product := new(big.Int).Mul(bx, by)

		if u128FromBig(bx) != x {
			t.Errorf("%v does not pass through big", x)
		}
		if x.bitLen() != bx.BitLen() || x.less(y) != (bx.Cmp(by) < 0) {
			t.Errorf("bitLen or less of %v, %v", bx, by)
		}
		check("mul64", mul64(xl, yl).big(), new(big.Int).Mul(word(xl), word(yl)))
		check("distance", x.distance(y).big(), new(big.Int).Abs(new(big.Int).Sub(bx, by)))
		sum, carry := x.add(y)
		check("add", new(big.Int).Add(sum.big(), new(big.Int).Mul(two128, word(carry))), new(big.Int).Add(bx, by))
		wide := x.mul(y)
		check("mul", wide.big(), product)
		if wide.bitLen() != product.BitLen() {
			t.Errorf("bitLen of %v = %d", product, wide.bitLen())
		}
		if yl != 0 {
			check("over", x.over(yl).big(), new(big.Int).Div(bx, word(yl)))
		}
		if p := new(big.Int).Mul(bx, word(yl)); p.Cmp(two128) < 0 {
			check("times", x.times(yl).big(), p)
		}
		check("rsh", x.rsh(uint(yl%64)).big(), new(big.Int).Rsh(bx, uint(yl%64)))
		other := x.mul(x)
		if wide.less(&other) != (product.Cmp(other.big()) < 0) {
			t.Errorf("less of %v, %v", product, other.big())
		} else if !other.less(&wide) {
			want := new(big.Int).Sub(other.big(), product)
			other.sub(&wide)
			check("sub", other.big(), want)
		}
		if x.bitLen() <= 126 {
			check("isqrt", word(isqrt(x)), new(big.Int).Sqrt(bx))
		}
	})
}

func (x *u256) big() *big.Int {
	var b [32]byte
	for i, w := range x {
		binary.BigEndian.PutUint64(b[24-8*i:], w)
	}
	return new(big.Int).SetBytes(b[:])
}

func word(w uint64) *big.Int { return new(big.Int).SetUint64(w) }

// Catches a square root off by one at and beside every kind of perfect square.
func TestIsqrt(t *testing.T) {
	for shift := range 63 {
		for _, low := range []uint64{0, 1, 2} {
			r := uint64(1)<<shift + low
			sq := mul64(r, r)
			if got := isqrt(sq); got != r {
				t.Errorf("isqrt(%d²) = %d", r, got)
			}
			if got := isqrt(sq.sub(u128{0, 1})); got != r-1 {
				t.Errorf("isqrt(%d²-1) = %d", r, got)
			}
		}
	}
	if top := (u128{1<<62 - 1, 1<<64 - 1}); isqrt(top) != 1<<63-1 {
		t.Errorf("isqrt(2^126-1) = %d", isqrt(top))
	}
}
