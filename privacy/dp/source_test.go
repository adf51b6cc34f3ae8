package dp

import (
	"encoding/binary"
	"math"
	"testing"
)

// words is a source of exactly these words; asking for more ends the test.
func words(t *testing.T, w ...uint64) *source {
	s := newSourceFrom(func([]byte) { t.Fatal("more random words used than expected") })
	s.used -= 8 * len(w)
	for i, v := range w {
		binary.LittleEndian.PutUint64(s.buf[s.used+8*i:], v)
	}
	return s
}

// Catches a biased uniform integer. For n = 3, 2^64 = 3·m + 1 words: the one
// left over (0) must be drawn again, and m consecutive words each must give 0,
// 1 and 2.
func TestBelowIsUniform(t *testing.T) {
	const m = (1<<64 - 1) / 3
	for _, c := range []struct {
		words []uint64
		want  uint64
	}{
		{[]uint64{0, 1}, 0},
		{[]uint64{1}, 0},
		{[]uint64{m}, 0},
		{[]uint64{m + 1}, 1},
		{[]uint64{2 * m}, 1},
		{[]uint64{2*m + 1}, 2},
		{[]uint64{1<<64 - 1}, 2},
	} {
		s := words(t, c.words...)
		if got := s.below(3); got != c.want || s.used != len(s.buf) {
			t.Errorf("words %x: below(3) = %d, want %d; %d bytes unread", c.words, got, c.want, len(s.buf)-s.used)
		}
	}
	if got := words(t, 0).below(1); got != 0 {
		t.Errorf("below(1) = %d", got)
	}
	if got := words(t, 1<<63).below(2); got != 1 {
		t.Errorf("below(2) of the upper half = %d", got)
	}
	// n = 2^63+1 leaves 2^63-1 words over, 0 and 2 among them.
	if got := words(t, 0, 2, 3).below(1<<63 + 1); got != 1 {
		t.Errorf("below(2^63+1) = %d", got)
	}
}

// Catches wide uniform integers beyond their bound, with a word missing, or with
// one drawn too many.
func TestBelow256(t *testing.T) {
	for _, c := range []struct {
		n     u256
		words []uint64
		want  u256
	}{
		{u256{1}, []uint64{0}, u256{}},
		{u256{1}, []uint64{1, 2}, u256{}}, // a 1 is drawn again; of the 2 the low bit counts
		{u256{6}, []uint64{7, 6, 13}, u256{5}},
		{u256{0, 1}, []uint64{9, 1, 8, 0}, u256{8}},
		{u256{5, 0, 1}, []uint64{4, 0, 1}, u256{4, 0, 1}},
		{u256{5, 0, 0, 1 << 63}, []uint64{5, 0, 0, 1 << 63, 4, 0, 0, 1 << 63}, u256{4, 0, 0, 1 << 63}},
	} {
		s := words(t, c.words...)
		if got := s.below256(&c.n); got != c.want || s.used != len(s.buf) {
			t.Errorf("words %x: below256(%x) = %x, want %x", c.words, c.n, got, c.want)
		}
	}
}

// Catches a wrong exponential coin, on which all three distributions rest. The
// count of heads in n tosses is beyond 5 standard errors with probability
// 5.8e-7 for each γ.
func TestBernoulliExp(t *testing.T) {
	const n = 100_000
	s := newSource()
	for _, c := range []struct{ num, den uint64 }{{0, 1}, {1, 1000}, {1, 3}, {1, 2}, {999, 1000}, {1, 1}} {
		heads := 0.0
		for range n {
			if s.bernoulliExp(func() bool { return s.below(c.den) < c.num }) {
				heads++
			}
		}
		p := math.Exp(-float64(c.num) / float64(c.den))
		if math.Abs(heads-n*p) > 5*math.Sqrt(n*p*(1-p)) {
			t.Errorf("exp(-%d/%d): %v heads of %d, want %v", c.num, c.den, heads, n, n*p)
		}
	}
}

// Catches a wrong rule of acceptance for exponents above one: exp(-γ) with
// γ = (|y|·t·d - n)²/(2ndt²), here for σ² = 1 (t = 2, n = d = 1), where
// γ = (2|y|-1)²/8 is 1/8, 1/8, 9/8 and 25/8. Odds as in TestBernoulliExp.
func TestAccept(t *testing.T) {
	const n = 100_000
	g := newGaussian(Variance{num: u128{0, 1}, den: 1})
	s := newSource()
	for size := range uint64(4) {
		heads := 0.0
		for range n {
			if g.accept(s, size) {
				heads++
			}
		}
		p := math.Exp(-math.Pow(2*float64(size)-1, 2) / 8)
		if math.Abs(heads-n*p) > 5*math.Sqrt(n*p*(1-p)) {
			t.Errorf("|y| = %d: %v accepted of %d, want %v", size, heads, n, n*p)
		}
	}
}
