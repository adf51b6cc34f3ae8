package dp

import (
	"errors"
	"sync/atomic"
)

// ErrBudget reports a spend greater than what is left of a budget. Nothing was
// charged, and nothing may be computed.
var ErrBudget = errors.New("dp: privacy budget does not cover the spend")

// Filter keeps what several mechanisms spend on the same data within a budget
// that was fixed beforehand, although each mechanism, and how much it spends,
// may be chosen after seeing what earlier ones published: fully adaptive
// composition. Everything that ran after its own [Filter.Spend] succeeded is
// together ρ-zCDP for ρ the budget, also when mechanisms run at the same time
// and their answers interleave.
//
// Three things are the caller's. Spend comes before anything is computed. What
// is spent is at least what the mechanism is worth ([RhoOf], which rounds up).
// And what to ask, what it costs and when it is answered may depend on what
// was published, never on data or on noise that has not been published: then a
// refusal tells nothing. All amounts are in units of 1e-9 ρ, one Filter stands
// for one unit of protection, and a refused spend leaves room for a smaller one.
//
// A Filter is in memory and no more durable than its process: one that is made
// anew has forgotten what was spent. A budget that has to outlive a crash
// belongs in a database, charged and committed before noise is drawn, as the
// hub's is. A Filter is for what a process begins and ends by itself: one
// session of an analyst, one batch, the parts of an amount that the database
// has charged already.
//
// It is safe for concurrent use, and must not be copied after first use. The
// zero Filter has no budget. Feldman and Zrnic, "Individual Privacy Accounting
// via a Rényi Filter", NeurIPS 2021, arXiv:2008.11193; Whitehouse, Ramdas,
// Rogers and Wu, "Fully-Adaptive Composition in Differential Privacy", ICML
// 2023, arXiv:2203.05481; Haney et al., "Concurrent Composition for Interactive
// Differential Privacy with Adaptive Privacy-Loss Parameters", CCS 2023,
// arXiv:2309.05901; PROOFS.md, claim 8.
type Filter struct {
	budget Rho
	left   atomic.Uint64 // of budget; only ever goes down
}

// NewFilter returns a Filter of which nothing is spent.
func NewFilter(budget Rho) *Filter {
	f := &Filter{budget: budget}
	f.left.Store(uint64(budget))
	return f
}

// Spend charges all of rho, or returns [ErrBudget] and charges nothing. The
// mechanism that it pays for may run once, if it returned nil. What was charged
// stays charged, whether the mechanism ran or not.
func (f *Filter) Spend(rho Rho) error {
	for {
		left := f.left.Load()
		if uint64(rho) > left {
			return ErrBudget
		}
		// The check holds for the very value that the charge replaces.
		if f.left.CompareAndSwap(left, left-uint64(rho)) {
			return nil
		}
	}
}

// Left returns what can still be spent. Another goroutine may spend it first:
// ask Spend, not Left, whether a mechanism may run.
func (f *Filter) Left() Rho { return Rho(f.left.Load()) }

// Spent returns what has been charged so far, at most the budget.
func (f *Filter) Spent() Rho { return f.budget - f.Left() }
