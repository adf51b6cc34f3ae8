package plan_test

import (
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
)

// What a plan says of the bias of another population holds on average: the squared
// distance from it is the stated Spread, on every level, the region and a level of two
// nodes included. 4 references of fixed seeds, 8 populations each, no noise, so that
// the test says the same at every run. It would catch a region whose bias is
// taken for known (no Spread), for that of the reference but for one draw (half), and a
// level of n nodes whose Spread is taken for n/(n-1) of what it is (twice, for two
// nodes).
func TestSpreadIsThatOfOtherPopulations(t *testing.T) {
	for _, sizes := range [][]int{{20_000, 10_000, 200}, {20_000}} {
		off, stated := make([]float64, len(sizes)), make([]float64, len(sizes))
		for reference := range byte(4) {
			d := fit(t, homes(t, 1+reference), plan.Day, sizes, rhos(dp.RhoUnit / 2)[:len(sizes)])
			for seed := range byte(8) {
				levels, err := plan.Off(d, homes(t, 10+8*reference+seed))
				if err != nil {
					t.Fatal(err)
				}
				for i, level := range levels {
					for j, v := range level {
						n := float64(len(level))
						off[i] += (v - d.Levels[i].Bias[j%plan.Intervals]) * (v - d.Levels[i].Bias[j%plan.Intervals]) / n
						stated[i] += d.Levels[i].Spread[j%plan.Intervals] / n
					}
				}
			}
		}
		for i, size := range sizes {
			if ratio := off[i] / stated[i]; !(ratio > 0.6 && ratio < 1.5) {
				t.Errorf("levels of %v, nodes of %d: squared distance from the stated bias %.3g Wh², stated %.3g: %.2f", sizes, size, off[i]/48, stated[i]/48, ratio)
			}
		}
	}
}

// paired is a population of feeders, large homes and small ones, two to a node so that
// all nodes are alike: a large one first, then a small one, then a small one, then a
// large one.
type paired struct{ homes, feeder int }

func (p paired) Households() int { return p.homes }

func (p paired) Fill(household int, wh []int64) {
	large := household/p.feeder%4 == 0 || household/p.feeder%4 == 3
	for i := range wh {
		wh[i] = int64(100 + 10*i)
		if large {
			wh[i] = int64(3000 - 20*i)
		}
	}
}

// A clip norm does not rest on how feeders happen to be put together: of nodes that are
// alike in that way alone a low norm seems to take from each the same. It would catch a
// plan that looks at one arrangement of the reference.
func TestNormsAreNotPlannedOnOneArrangement(t *testing.T) {
	d := fit(t, paired{4_000, 20}, plan.Day, []int{4_000, 40, 20}, rhos(10*dp.RhoUnit))
	if node, feeder := d.Levels[1], d.Levels[2]; node.ClipWh < feeder.ClipWh {
		t.Errorf("nodes of %d are clipped to %d Wh, feeders of %d to %d", node.Size, node.ClipWh, feeder.Size, feeder.ClipWh)
	}
}
