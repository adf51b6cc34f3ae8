package dp_test

import (
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// A spender is a Filter, or what someone took for one.
type spender interface{ Spend(dp.Rho) error }

// spendings lets every analyst ask for a contributor's presence, one unit, at
// adaptively chosen costs, and returns the greatest worth of what the filter lets
// through.
func spendings(t *testing.T, filter func() spender, alphas []float64) float64 {
	costs := []dp.Rho{dp.RhoUnit / 2, dp.RhoUnit / 8, dp.RhoUnit * 3 / 4}
	answers := make([]question, len(costs))
	for i, rho := range costs {
		v, err := dp.GaussianVariance(1, rho)
		if err != nil {
			t.Fatal(err)
		}
		sigma2, _ := v.Rat().Float64()
		answers[i] = question{here: 1, there: 0, sigma2: sigma2}
	}
	m, most := moments{}, 0.0
	for rule := range int(math.Pow(float64(len(costs)), 2*turns-1)) {
		d := converse(func(positive []bool) (q question) {
			f := filter()
			for turn := range len(positive) + 1 {
				c := choice(rule, len(costs), positive[:turn])
				q = question{}
				if f.Spend(costs[c]) == nil {
					q = answers[c]
				}
			}
			return q
		})
		most = max(most, d.worth(alphas, m))
	}
	return most
}

// Catches a filter that adaptively chosen costs get more out of than its budget.
// That the worst analyst gets all of it shows that the enumeration looks where
// it matters.
func TestFilterAgainstEveryAnalyst(t *testing.T) {
	w := spendings(t, func() spender { return dp.NewFilter(dp.RhoUnit) }, alphas)
	if w > 1+slack || w < 1-slack {
		t.Errorf("a budget of 1 is worth %v", w)
	}
}

// A tally is a spender that lets rho through, and counts it, as spend says.
type tally struct {
	spent dp.Rho
	spend func(spent, rho dp.Rho) (ok bool, after dp.Rho)
}

func (a *tally) Spend(rho dp.Rho) error {
	ok, after := a.spend(a.spent, rho)
	if !ok {
		return dp.ErrBudget
	}
	a.spent = after
	return nil
}

// Catches a TestFilterAgainstEveryAnalyst that would pass anything.
func TestFilterAgainstEveryAnalystHasTeeth(t *testing.T) {
	const budget, grain = dp.RhoUnit, dp.RhoUnit / 4
	for name, spend := range map[string]func(spent, rho dp.Rho) (bool, dp.Rho){
		"charges after computing":   func(spent, rho dp.Rho) (bool, dp.Rho) { return spent < budget, spent + rho },
		"charges what is left":      func(spent, rho dp.Rho) (bool, dp.Rho) { return spent < budget, min(budget, spent+rho) },
		"counts only the dearest":   func(spent, rho dp.Rho) (bool, dp.Rho) { return rho <= budget, max(spent, rho) },
		"rounds what is spent down": func(spent, rho dp.Rho) (bool, dp.Rho) { return spent+rho <= budget, spent + rho/grain*grain },
	} {
		if w := spendings(t, func() spender { return &tally{spend: spend} }, []float64{2}); w <= 1+slack {
			t.Errorf("%s: worth only %v", name, w)
		}
	}
	sound := func(spent, rho dp.Rho) (bool, dp.Rho) { return spent+rho <= budget, spent + rho }
	if w := spendings(t, func() spender { return &tally{spend: sound} }, []float64{2}); w > 1+slack {
		t.Errorf("the sound one is worth %v", w)
	}
}

// A halt reads an odometer, and asks no more from the first total beyond its
// budget on.
type halt struct {
	odometer dp.Odometer
	budget   dp.Rho
}

func (h *halt) Spend(rho dp.Rho) error {
	if err := h.odometer.Spend(rho); err != nil {
		return err
	}
	if total, err := h.odometer.Spent(); err != nil || total > h.budget {
		return dp.ErrBudget
	}
	return nil
}

// Catches a total that falls behind what was published: cut where it passes a
// budget fixed beforehand, a dialogue is worth no more than that budget.
func TestOdometerAgainstEveryAnalyst(t *testing.T) {
	for _, budget := range []dp.Rho{dp.RhoUnit / 2, dp.RhoUnit, dp.RhoUnit * 9 / 8} {
		limit := float64(budget) / float64(dp.RhoUnit)
		w := spendings(t, func() spender { return &halt{budget: budget} }, []float64{1.5, 2, 16})
		if w > limit*(1+slack) || w < limit*(1-slack) {
			t.Errorf("up to a total of %v: worth %v", budget, w)
		}
	}
}
