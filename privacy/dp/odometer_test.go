package dp_test

import (
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Catches a total that wraps to a small one, and one that is short but does not
// say so.
func TestOdometer(t *testing.T) {
	var o dp.Odometer
	counts := func(rho, total dp.Rho) {
		t.Helper()
		err := o.Spend(rho)
		if got, also := o.Spent(); err != nil || also != nil || got != total {
			t.Errorf("after %d: %v; total %d, %v; want %d", rho, err, got, also, total)
		}
	}
	saturates := func(rho dp.Rho) {
		t.Helper()
		err := o.Spend(rho)
		if got, also := o.Spent(); !errors.Is(err, dp.ErrSaturated) || !errors.Is(also, dp.ErrSaturated) || got != math.MaxUint64 {
			t.Errorf("after %d: %v; total %d, %v; want it saturated", rho, err, got, also)
		}
	}
	counts(0, 0)
	counts(1, 1)
	counts(18_000_000, 18_000_001)
	counts(math.MaxUint64-18_000_002, math.MaxUint64-1)
	counts(0, math.MaxUint64-1)
	saturates(1) // the greatest Rho is not told from anything above it
	saturates(0)
	saturates(math.MaxUint64)

	o = dp.Odometer{}
	counts(7, 7)
	saturates(math.MaxUint64 - 1)
}

// Catches a spend that another one overwrites.
func TestOdometerConcurrently(t *testing.T) {
	const spends = 500_000
	var o dp.Odometer
	together(func() {
		for i := range spends {
			if err := o.Spend(dp.Rho(i)); err != nil {
				t.Error(err)
			}
		}
	})
	if got, err := o.Spent(); err != nil || got != goroutines*spends*(spends-1)/2 {
		t.Errorf("total %d, %v", got, err)
	}
}
