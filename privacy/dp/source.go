package dp

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// source hands out uniform 64-bit words from crypto/rand, a buffer at a time:
// one system call for many draws. A source lives for one exported call and is
// cleared at its end: between calls no word that made noise, or is still to
// make it, lies in memory.
type source struct {
	fill func([]byte) // uniform random bytes; crypto/rand outside tests
	buf  [2048]byte
	used int // bytes of buf handed out
}

func newSource() *source { return newSourceFrom(systemRandom) }

func newSourceFrom(fill func([]byte)) *source {
	s := &source{fill: fill}
	s.used = len(s.buf)
	return s
}

// systemRandom fills b. rand.Read has no error to return: it ends the program
// if the system cannot supply randomness, and so no noise is ever weaker than
// asked for.
func systemRandom(b []byte) { _, _ = rand.Read(b) }

func (s *source) clear() {
	clear(s.buf[:])
	s.used = len(s.buf)
}

func (s *source) word() uint64 {
	if s.used == len(s.buf) {
		s.fill(s.buf[:])
		s.used = 0
	}
	w := binary.LittleEndian.Uint64(s.buf[s.used:])
	s.used += 8
	return w
}

// below returns a uniform integer in [0, n), for n ≥ 1: the high word of n
// times a uniform word, where the 2^64 mod n products that would favour some
// results are drawn again (Lemire, "Fast Random Integer Generation in an
// Interval", 2019, Algorithm 5).
func (s *source) below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.word(), n)
	if lo < n {
		for surplus := -n % n; lo < surplus; {
			hi, lo = bits.Mul64(s.word(), n)
		}
	}
	return hi
}

// below256 returns a uniform integer in [0, n), for n ≥ 1, by drawing as many
// bits as n has until they fall below n.
func (s *source) below256(n *u256) u256 {
	top := (n.bitLen() - 1) / 64
	mask := ^uint64(0) >> bits.LeadingZeros64(n[top])
	for {
		var x u256
		for i := range top {
			x[i] = s.word()
		}
		x[top] = s.word() & mask
		if x.less(n) {
			return x
		}
	}
}

// bernoulliExp returns true with probability exp(-γ), where the coin returns
// true with probability γ ≤ 1 (CKS20, Algorithm 1). Heads of probability γ/k
// are those of the coin together with a uniform integer below k being zero, so
// that γ need not be known, let alone divided.
func (s *source) bernoulliExp(coin func() bool) bool {
	for k := uint64(1); ; k++ {
		if k > 1 && s.below(k) != 0 || !coin() {
			return k%2 == 1
		}
	}
}

// bernoulliExp1 returns true with probability exp(-1).
func (s *source) bernoulliExp1() bool {
	return s.bernoulliExp(func() bool { return true })
}
