package dp

import (
	"errors"
	"math/bits"
	"sync/atomic"
)

// ErrSaturated reports a running total that has reached the greatest [Rho] and
// stays there: more has been spent than it can say.
var ErrSaturated = errors.New("dp: odometer saturated")

// Odometer adds up what adaptively chosen mechanisms spend on the same data,
// without a cap, in units of 1e-9 ρ: for measuring what a way of working costs
// before a budget is set for it. Nothing stops a mechanism; use a [Filter] to
// keep a promise.
//
// What a total means: for every budget fixed beforehand, what was published
// before the total went beyond it is ρ-zCDP for ρ that budget. A total read at
// a moment chosen by its readers is no such budget, and [Epsilon] of it is not
// a statement about what they saw: they could have stopped where it flattered.
//
// Like a Filter it is in memory only, safe for concurrent use and not to be
// copied after first use, and relies on its caller for the same three things.
// The zero Odometer has counted nothing. Sources as for Filter; PROOFS.md,
// claim 9.
type Odometer struct {
	spent atomic.Uint64 // saturated is the greatest, and means at least that
}

const saturated = 1<<64 - 1

// Spend adds rho to the running total, before the mechanism runs. If the sum is
// saturated, from ρ = 18446744073.709551615 on, it and every later Spend
// returns [ErrSaturated]: the total never wraps and never says less than was
// spent without saying that it does.
func (o *Odometer) Spend(rho Rho) error {
	for {
		spent := o.spent.Load()
		sum, carry := bits.Add64(spent, uint64(rho), 0)
		if carry != 0 {
			sum = saturated
		}
		if o.spent.CompareAndSwap(spent, sum) {
			return whetherSaturated(sum)
		}
	}
}

// Spent returns the running total, or the greatest Rho and [ErrSaturated].
func (o *Odometer) Spent() (Rho, error) {
	spent := o.spent.Load()
	return Rho(spent), whetherSaturated(spent)
}

func whetherSaturated(total uint64) error {
	if total == saturated {
		return ErrSaturated
	}
	return nil
}
