package dp_test

import "testing"

// worstColumn is worst for contributors who add one column each.
func worstColumn(bins int, column func(bin int) []int64, sigma2 float64) float64 {
	most := 0.0
	for bin := range bins {
		for _, alpha := range alphas {
			added, removed := 0.0, 0.0
			for _, e := range column(bin) {
				if e != 0 {
					added += renyi(sigma2, alpha, float64(e))
					removed += renyi(sigma2, alpha, float64(-e))
				}
			}
			most = max(most, added/alpha, removed/alpha)
		}
	}
	return most
}

// Catches any break in the chain column, sensitivity, variance, charge: whatever
// bin a contributor is in, the law moves by no more than is charged.
func TestStrategyMechanismOnTinyDomain(t *testing.T) {
	for bins, precision := range map[int]uint{1: 8, 2: 9, 3: 10} {
		s := mustStrategy(t, bins, precision)
		sigma2, rho := planned(t, s.Sensitivity())
		if w := worstColumn(bins, func(bin int) []int64 { return column(t, s, bin) }, sigma2); w > rho*(1+slack) {
			t.Errorf("%d bins: charged %v, worth %v", bins, rho, w)
		}
	}
}

// Catches a TestStrategyMechanismOnTinyDomain that would pass anything: noise
// planned for the sensitivity of the real strategy is too little for others.
func TestStrategyMechanismHasTeeth(t *testing.T) {
	const bins, precision = 3, 10
	s := mustStrategy(t, bins, precision)
	sigma2, rho := planned(t, s.Sensitivity())
	broken := map[string]func(bin int) []int64{
		"in two bins": func(bin int) []int64 {
			sum := column(t, s, bin)
			if err := s.Add(sum, (bin+1)%bins); err != nil {
				t.Fatal(err)
			}
			return sum
		},
		"in one bin twice": func(bin int) []int64 {
			sum := column(t, s, bin)
			if err := s.Add(sum, bin); err != nil {
				t.Fatal(err)
			}
			return sum
		},
		"one unit too long": func(bin int) []int64 {
			sum := column(t, s, bin)
			sum[bins-1]++
			return sum
		},
	}
	for name := range variants {
		broken[name] = variant(name, bins, precision)
	}
	for name, column := range broken {
		if w := worstColumn(bins, column, sigma2); w <= rho*(1+slack) {
			t.Errorf("%s: worth only %v", name, w)
		}
	}
}
