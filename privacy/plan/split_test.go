package plan_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
)

// A budget is divided to the last nano-rho. It would catch a float on the way, and a
// level that gets what another was to have.
func TestDivide(t *testing.T) {
	for _, c := range []struct {
		budget dp.Rho
		parts  []int
		want   []dp.Rho
	}{
		{100, []int{1, 1, 2}, []dp.Rho{25, 25, 50}},
		{101, []int{1, 1, 1}, []dp.Rho{33, 33, 35}},
		{1, []int{1, 1}, []dp.Rho{0, 1}},
		{math.MaxUint64, []int{1, 2}, []dp.Rho{math.MaxUint64 / 3, math.MaxUint64 - math.MaxUint64/3}},
		{7, []int{3}, []dp.Rho{7}},
	} {
		if got := plan.Divide(c.budget, c.parts); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d by %v: %v, want %v", c.budget, c.parts, got, c.want)
		}
	}
}

// The split that is found spends the budget, is found again, and no other split that
// is tried here has a lower score by more than the half percent that a reference cannot
// tell, nor has any that differs from it by a hundredth moved. It would catch a search that stops where it began, one that depends on the
// run, and one that gives a level nothing.
func TestBestIsBest(t *testing.T) {
	s, err := plan.NewStudy(homes(t, 1), plan.Day, sizes)
	if err != nil {
		t.Fatal(err)
	}
	const budget = dp.RhoUnit / 2
	score := func(parts []int) float64 {
		d, err := s.Design(plan.Divide(budget, parts))
		if err != nil {
			t.Fatal(err)
		}
		var errors, baselines []float64
		for i, l := range d.Levels {
			errors, baselines = append(errors, d.Expected(i)), append(baselines, l.Baseline)
		}
		return plan.Score(errors, baselines)
	}
	find := func() (parts []int) {
		d, err := s.Best(budget)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range d.Levels {
			parts = append(parts, int(100*l.Rho/budget))
		}
		return parts
	}
	found := find()
	if again := find(); !slices.Equal(found, again) || found[0]+found[1]+found[2] != 100 || slices.Min(found) < 1 {
		t.Fatalf("splits %v and %v", found, again)
	}
	others := [][]int{{1, 1, 1}, {1, 2, 4}, {4, 2, 1}, {1, 1, 8}, {1, 8, 1}, {8, 1, 1}, {2, 3, 5}}
	for from := range found {
		for to := range found {
			if found[from] > 1 {
				near := slices.Clone(found)
				near[from]--
				near[to]++
				others = append(others, near)
			}
		}
	}
	least := score(found)
	for _, parts := range others {
		if other := score(parts); other < least/1.005 {
			t.Errorf("split %v has a score of %.6f, the best one, %v, %.6f", parts, other, found, least)
		}
	}
}

// A level that says no more than what anybody knows makes a split worse, by as much as a
// little of the other levels' errors and no more. It would catch a plan that spends half
// of a budget on numbers that are worth nothing, and one that gives up all levels for one.
func TestScoreOfAMuteLevel(t *testing.T) {
	base := []float64{0, 0.02, 0.22}
	score := func(region, middle, fine float64) float64 { return plan.Score([]float64{region, middle, fine}, base) }
	const speaks, mute = 0.21, 0.2205
	plain := func(errors ...float64) float64 { return plan.Score(errors, make([]float64, len(errors))) }
	if plain(0.005, 0.01, speaks) <= plain(0.0025, 0.01, mute) || score(0.005, 0.01, speaks) >= score(0.0025, 0.01, mute) {
		t.Error("a feeder that speaks is not worth a quarter of a percent of the region")
	}
	if score(0.01, 0.01, speaks) <= score(0.0025, 0.01, mute) {
		t.Error("a feeder that speaks is worth a region four times as far off")
	}
	if score(0.003, 0.01, 2) > 1.06*plain(0.003, 0.01, 2)*(1+1e-9) || score(0.003, 0.01, 0.2) != plain(0.003, 0.01, 0.2) {
		t.Error("a level that no split lifts weighs more than 6 %, or one that says enough weighs something")
	}
}

// A reference that uses nothing, and a budget that cannot be split, are refused by name:
// there is no best design then, and none may be handed out.
func TestBestRefuses(t *testing.T) {
	s, err := plan.NewStudy(nobody(100), plan.Day, []int{100, 10})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.Best(dp.RhoUnit); !errors.Is(err, plan.ErrLoad) || d != nil {
		t.Errorf("without load: %v, %v", d, err)
	}
	s, err = plan.NewStudy(homes(t, 1), plan.Day, sizes)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.Best(1); !errors.Is(err, plan.ErrRho) || d != nil {
		t.Errorf("with a budget of 1 nano-rho: %v, %v", d, err)
	}
}
