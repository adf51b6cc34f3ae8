package dp

import "errors"

// ErrSpent reports a request for more noise than is left. Nothing was added.
var ErrSpent = errors.New("dp: noise used up")

// Noise is a stock of draws, all of one law, made before any data was looked
// at, so that the time sampling takes says nothing about sums. Each draw is
// added once and then erased. A Noise belongs to one goroutine at a time, and
// is never stored: after a crash the budget is spent and nothing is published.
type Noise struct {
	draws []int64 // not yet used; what lies before it has been erased
}

// DrawNoise makes n independent draws as [DrawGaussian] does: one for every
// coordinate of every sum that will be published at this variance, empty sums
// included. The error is [ErrVariance] or [ErrTail].
func DrawNoise(n int, variance Variance) (*Noise, error) {
	draws := make([]int64, n)
	if err := DrawGaussian(draws, variance); err != nil {
		return nil, err
	}
	return &Noise{draws: draws}, nil
}

// DrawLaplaceNoise makes n independent draws as [DrawLaplace] does, of scale
// num/den: one for every coordinate of every sum that will be published at this
// scale, empty sums included. The error is [ErrScale] or [ErrTail].
func DrawLaplaceNoise(n int, num, den uint64) (*Noise, error) {
	draws := make([]int64, n)
	if err := DrawLaplace(draws, num, den); err != nil {
		return nil, err
	}
	return &Noise{draws: draws}, nil
}

// Len returns how many draws are left.
func (n *Noise) Len() int { return len(n.draws) }

// AddTo adds one fresh draw to each element of sums and erases those draws,
// whether it succeeds or not. On [ErrSpent], or on [ErrOverflow] as [Add]
// returns it, sums is unchanged and must not be published.
func (n *Noise) AddTo(sums []int64) error {
	if len(sums) > len(n.draws) {
		return ErrSpent
	}
	used := n.draws[:len(sums)]
	n.draws = n.draws[len(sums):]
	defer clear(used)
	return Add(sums, used)
}

// Erase forgets the draws that are left. Call it, deferred, wherever a Noise
// is made.
func (n *Noise) Erase() {
	clear(n.draws)
	n.draws = nil
}
