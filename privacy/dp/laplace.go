package dp

import (
	"errors"
	"fmt"
)

const (
	// maxScale bounds the numerator of a discrete Laplace scale.
	maxScale = 1 << 50

	// maxTail bounds the whole multiples of the scale in a draw. A draw gets
	// there with probability exp(-2048) < 2^-2954 and is then an error: far
	// less likely than the machine failing, and not a different distribution.
	maxTail = 1 << 11
)

var (
	// ErrScale reports a discrete Laplace scale with a zero term or a
	// numerator above 2^50.
	ErrScale = errors.New("dp: scale out of range")

	// ErrTail reports a draw too far out to represent, an event of probability
	// below 2^-2900 a draw. It depends on no data. Nothing was drawn.
	ErrTail = errors.New("dp: draw out of range")
)

// DrawLaplace fills dst with independent draws from the discrete Laplace
// distribution of scale num/den, P(x) ∝ exp(-|x|·den/num) on all integers,
// exactly (CKS20, Algorithm 2). With num/den = Δ/ε it makes integers of L1
// sensitivity Δ ε-differentially private.
//
// Draw before touching data: the time a draw takes tells something of its
// size. Every coordinate of every sum needs a draw of its own, used once;
// clear dst when it has been added, or let a [Noise] see to both. On [ErrScale] or [ErrTail] dst is all zeros.
func DrawLaplace(dst []int64, num, den uint64) error {
	return drawLaplace(newSource(), dst, num, den)
}

func drawLaplace(s *source, dst []int64, num, den uint64) error {
	defer s.clear()
	clear(dst)
	if num == 0 || den == 0 || num > maxScale {
		return ErrScale
	}
	for i := range dst {
		x, negative, err := s.laplace(num, den)
		if err != nil {
			clear(dst)
			return fmt.Errorf("drawing discrete laplace noise: %w", err)
		}
		dst[i] = signed(x, negative)
	}
	return nil
}

// laplace returns size and sign of a discrete Laplace draw of scale num/den
// (CKS20, Algorithm 2).
func (s *source) laplace(num, den uint64) (size uint64, negative bool, err error) {
	for {
		// u + num·v is geometric: P ∝ exp(-(u + num·v)/num).
		u := s.below(num)
		if !s.bernoulliExp(func() bool { return s.below(num) < u }) {
			continue
		}
		v := uint64(0)
		for s.bernoulliExp1() {
			if v++; v == maxTail {
				return 0, false, ErrTail
			}
		}
		size = (u + num*v) / den
		negative = s.below(2) == 1
		if size != 0 || !negative { // else zero would count twice
			return size, negative, nil
		}
	}
}
