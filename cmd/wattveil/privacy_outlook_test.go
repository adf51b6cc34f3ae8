package main

import (
	"encoding/json"
	"slices"
	"testing"
)

// A plan says of every kind of product what a budget would buy on each level, beside
// what anybody knows without it, and marks a level that says less. It would catch a
// product that is left out, and one that is praised where it says nothing.
func TestPrivacyPlanOfOtherProducts(t *testing.T) {
	code, stdout, stderr := wattveil(t, "privacy", "--json", "plan", "--homes", "4000,400,100", "--rho", "0.02")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var r planReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range r.Others {
		kinds = append(kinds, o.Product)
		var spent uint64
		for i, l := range o.Levels {
			spent += l.RhoNano
			if l.Homes != []int{4000, 400, 100}[i] || l.RMSE <= 0 || (l.Baseline == nil) != (o.Product == "households") {
				t.Errorf("%s: %+v", o.Product, l)
			}
			if says := i == 0 || l.Baseline == nil || l.RMSE < *l.Baseline; l.Says != says {
				t.Errorf("%s, %d homes: says more than the baseline: %v", o.Product, l.Homes, l.Says)
			}
		}
		if len(o.Levels) != 3 || spent > r.RhoNano {
			t.Errorf("%s: %d levels for %d nano-rho of %d", o.Product, len(o.Levels), spent, r.RhoNano)
		}
	}
	if !slices.Equal(kinds, []string{"energy", "households", "histogram", "quantiles", "peak-time"}) {
		t.Errorf("products %v", kinds)
	}
}
