package dp_test

import (
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// The tiny domain of the causal clip: two blocks of two intervals at C = 2.
const (
	tinyBound = 2
	tinyBlock = 2
)

// A clip returns what is admitted of the last of the elements offered so far.
type clip func(offered []int64) int64

func causalClip(t *testing.T) clip {
	begin := mustCausalClip(t, tinyBound)
	return func(offered []int64) (y int64) {
		k := begin
		for i, x := range offered {
			if i%tinyBlock == 0 {
				k.Reset()
			}
			y = k.Admit(x)
		}
		return y
	}
}

// streams are all readings of one contributor over two blocks.
func streams() (all [][turns]int64) {
	values := []int64{-2, 0, 1}
	for n := range 81 {
		var s [turns]int64
		for i := range s {
			s[i], n = values[n%3], n/3
		}
		all = append(all, s)
	}
	return all
}

// continual releases every stream under every analyst, who sums in each interval
// after the first either the readings or -3 times the readings, and returns the
// greatest worth by which the presence of one block of one contributor shows in
// the whole dialogue at σ² = 4. By translation the other contributors, whose
// elements do not depend on this one, do not matter.
func continual(admit clip, alphas []float64) float64 {
	m, most := moments{}, 0.0
	for _, s := range streams() {
		for block := range turns / tinyBlock {
			without := s
			clear(without[block*tinyBlock : (block+1)*tinyBlock])
			if without == s {
				continue
			}
			for rule := range 1 << (2*turns - 2) {
				d := converse(func(positive []bool) question {
					var here, there [turns]int64
					now := len(positive)
					for turn := range now + 1 {
						weight := int64(1)
						if choice(2*rule, 2, positive[:turn]) == 1 {
							weight = -3
						}
						here[turn], there[turn] = weight*s[turn], weight*without[turn]
					}
					return question{admit(here[:now+1]), admit(there[:now+1]), 4}
				})
				most = max(most, d.worth(alphas, m))
			}
		}
	}
	return most
}

// Catches a causal clip under which a contributor's block is worth more than
// RhoOf charges for it, through what is admitted, when, or what the next block
// remembers.
func TestCausalClipAgainstEveryAnalyst(t *testing.T) {
	v := mustVariance(t, "4")
	charged, err := dp.RhoOf(tinyBound, v)
	if err != nil {
		t.Fatal(err)
	}
	rho := float64(charged) / float64(dp.RhoUnit)
	if w := continual(causalClip(t), alphas); w > rho*(1+slack) || w < rho*(1-slack) {
		t.Errorf("charged %v, worth %v", rho, w)
	}
}

// Catches a TestCausalClipAgainstEveryAnalyst that would pass anything: clips
// that look as if they kept the bound must exceed the charge.
func TestCausalClipAgainstEveryAnalystHasTeeth(t *testing.T) {
	// replay admits by a rule for what fits and what it costs of what is left.
	replay := func(renewed func(i int) bool, next func(left, x int64) (y, cost int64)) clip {
		return func(offered []int64) (y int64) {
			var left, cost int64
			for i, x := range offered {
				if renewed(i) {
					left = tinyBound * tinyBound
				}
				y, cost = next(left, x)
				left = max(0, left-cost)
			}
			return y
		}
	}
	cut := func(x, size int64) int64 { return max(-size, min(size, x)) }
	root := func(n int64) int64 { return int64(math.Sqrt(float64(n))) }
	blocks := func(i int) bool { return i%tinyBlock == 0 }
	sound := func(left, x int64) (int64, int64) { y := cut(x, root(left)); return y, y * y }

	const rho = 0.5
	for name, admit := range map[string]clip{
		"forgets to square": replay(blocks, func(left, x int64) (int64, int64) {
			y := cut(x, root(left))
			return y, max(y, -y)
		}),
		"charges after admitting": replay(blocks, func(left, x int64) (int64, int64) {
			if left == 0 {
				return 0, 0
			}
			return x, x * x
		}),
		"charges nothing": replay(blocks, func(left, x int64) (int64, int64) { return cut(x, root(left)), 0 }),
		"rounds the root up": replay(blocks, func(left, x int64) (int64, int64) {
			y := cut(x, int64(math.Ceil(math.Sqrt(float64(left)))))
			return y, y * y
		}),
		"cuts only above":                  replay(blocks, func(left, x int64) (int64, int64) { y := min(x, root(left)); return y, y * y }),
		"remembers the block before":       replay(func(i int) bool { return i == 0 }, sound),
		"begins anew in every interval":    replay(func(int) bool { return true }, sound),
		"slides a window over both blocks": slidingClip,
	} {
		if w := continual(admit, []float64{2}); w <= rho*(1+slack) {
			t.Errorf("%s: worth only %v", name, w)
		}
	}
	if w := continual(replay(blocks, sound), []float64{2}); w > rho*(1+slack) {
		t.Errorf("the sound one is worth %v", w)
	}
}

// slidingClip keeps Σ y² ≤ C² in every window of tinyBlock intervals.
func slidingClip(offered []int64) (y int64) {
	admitted := make([]int64, len(offered))
	for i, x := range offered {
		left := int64(tinyBound * tinyBound)
		for _, z := range admitted[max(0, i-tinyBlock+1):i] {
			left -= z * z
		}
		size := int64(math.Sqrt(float64(left)))
		admitted[i] = max(-size, min(size, x))
	}
	return admitted[len(offered)-1]
}

// The counterexample of PROOFS.md, claim 10: under a sliding window one reading
// moves every later interval, so what it is worth grows without end, where the
// causal clip's block ends it. Catches blocks that were made to overlap.
func TestSlidingWindowForgetsNothing(t *testing.T) {
	moved := func(admit clip, intervals int) (norm2 int64) {
		here, there := make([]int64, intervals), make([]int64, intervals)
		for i := range here {
			here[i], there[i] = tinyBound, tinyBound
		}
		there[0] = 0
		for i := range here {
			d := admit(here[:i+1]) - admit(there[:i+1])
			norm2 += d * d
		}
		return norm2
	}
	for _, intervals := range []int{2, 10, 100} {
		if got, want := moved(slidingClip, intervals), int64(tinyBound*tinyBound*intervals); got != want {
			t.Errorf("%d intervals, sliding: moved by %d, want %d", intervals, got, want)
		}
		if got, most := moved(causalClip(t), intervals), int64(4*tinyBound*tinyBound); got > most {
			t.Errorf("%d intervals, in blocks: moved by %d, above (2C)² = %d", intervals, got, most)
		}
	}
}
