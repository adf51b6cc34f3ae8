package dp

import "fmt"

// DrawGaussian fills dst with independent draws from the discrete Gaussian of
// mean 0 and parameter variance, P(x) ∝ exp(-x²/(2σ²)) on all integers,
// exactly (CKS20, Algorithm 3). Added to an integer vector of L2 sensitivity C
// it makes that vector C²/(2σ²)-zCDP, see [RhoOf].
//
// Draw before touching data: the time a draw takes tells something of its
// size. Every coordinate of every sum needs a draw of its own, used once;
// clear dst when it has been added, or let a [Noise] see to both. On
// [ErrVariance] or [ErrTail] dst is all zeros.
func DrawGaussian(dst []int64, variance Variance) error {
	return drawGaussian(newSource(), dst, variance)
}

func drawGaussian(s *source, dst []int64, variance Variance) error {
	defer s.clear()
	clear(dst)
	if variance.den == 0 {
		return ErrVariance
	}
	g := newGaussian(variance)
	for i := range dst {
		x, err := g.draw(s)
		if err != nil {
			clear(dst)
			return fmt.Errorf("drawing discrete gaussian noise: %w", err)
		}
		dst[i] = x
	}
	return nil
}

// gaussian draws from the discrete Gaussian with σ² = n/d by proposing a
// discrete Laplace y of scale t = ⌊σ⌋+1 and accepting it with probability
//
//	exp(-(|y| - σ²/t)²/(2σ²)) = exp(-a/b),  a = (|y|·t·d - n)²,  b = 2·n·d·t².
//
// With σ² ≤ 2^80 and d ≤ 2^36: n ≤ 2^116, t < 2^41, |y| < t·2^11, hence
// |y|·t·d < 2^128, a < 2^256 and b < 2^236.
type gaussian struct {
	n  u128
	t  uint64
	td u128
	b  u256
}

func newGaussian(v Variance) gaussian {
	t := isqrt(v.num.over(v.den)) + 1 // ⌊√⌊n/d⌋⌋ = ⌊√(n/d)⌋
	td := mul64(t, v.den)
	return gaussian{n: v.num, t: t, td: td, b: v.num.mul(td.times(2 * t))}
}

func (g *gaussian) draw(s *source) (int64, error) {
	for {
		size, negative, err := s.laplace(g.t, 1)
		if err != nil {
			return 0, err
		}
		if g.accept(s, size) {
			return signed(size, negative), nil
		}
	}
}

// accept returns true with probability exp(-a/b): a coin of exp(-1) for each
// whole b in a, as long as they all show heads, and one for the rest (CKS20,
// Algorithm 1, second case).
func (g *gaussian) accept(s *source, size uint64) bool {
	off := g.td.times(size).distance(g.n)
	a := off.mul(off)
	for !a.less(&g.b) {
		if !s.bernoulliExp1() {
			return false
		}
		a.sub(&g.b)
	}
	return s.bernoulliExp(func() bool {
		x := s.below256(&g.b)
		return x.less(&a)
	})
}
