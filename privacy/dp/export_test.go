package dp

// The one door through which tests hand the samplers their random words.

// DrawGaussianFrom is DrawGaussian over fill; left reports whether any random
// byte is still in memory afterwards.
func DrawGaussianFrom(fill func([]byte), dst []int64, v Variance) (left bool, err error) {
	s := newSourceFrom(fill)
	err = drawGaussian(s, dst, v)
	return s.buf != [len(s.buf)]byte{}, err
}

// DrawLaplaceFrom is DrawLaplace over fill, as DrawGaussianFrom.
func DrawLaplaceFrom(fill func([]byte), dst []int64, num, den uint64) (left bool, err error) {
	s := newSourceFrom(fill)
	err = drawLaplace(s, dst, num, den)
	return s.buf != [len(s.buf)]byte{}, err
}

// Draws shows the memory of n, from its first draw on: what AddTo or Erase
// must have zeroed.
func (n *Noise) Draws() []int64 { return n.draws }
