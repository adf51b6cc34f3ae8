package plan

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Divide splits a budget by parts, in whole nano-rho, and gives what rounding leaves to
// the last one.
func Divide(budget dp.Rho, parts []int) []dp.Rho {
	sum := uint64(0)
	for _, p := range parts {
		sum += uint64(p)
	}
	rhos, left := make([]dp.Rho, len(parts)), budget
	for i, p := range parts[:len(parts)-1] {
		hi, lo := bits.Mul64(uint64(budget), uint64(p))
		part, _ := bits.Div64(hi, lo, sum)
		rhos[i] = dp.Rho(part)
		left -= rhos[i]
	}
	rhos[len(parts)-1] = left
	return rhos
}

// hundredths are the parts that a search moves from level to level, in ever smaller
// steps.
const hundredths = 100

var steps = []int{8, 4, 2, 1}

// flat is by how much a score may exceed the least one and still be as good: a reference
// is one draw, and tells no more.
const flat = 1.005

// Split searches for the split of a budget over some levels, in hundredths, that scores
// least. It begins with equal parts, and once more with twice as much for each level as
// for the one above, since the noise of fine levels is of use only once it is low; from
// there it moves along one pair of levels after the other until no move helps. From the
// best it goes back towards equal parts as long as the score is as good. So it finds
// the same at every run. No level is left without a part.
func Split(levels int, score func(parts []int) (float64, error)) (best []int, err error) {
	score = remembered(score)
	least := math.Inf(1)
	for _, growth := range []int{1, 2} {
		parts := growing(levels, growth)
		reached, err := descend(parts, score)
		if err != nil {
			return nil, err
		}
		if best == nil || reached < least {
			best, least = parts, reached
		}
	}
	const ways = 20
	extreme, equal := slices.Clone(best), growing(levels, 1)
	for back := 1; back <= ways; back++ {
		parts, left := make([]int, levels), hundredths
		for i := range levels - 1 {
			parts[i] = (extreme[i]*(ways-back) + equal[i]*back + ways/2) / ways
			left -= parts[i]
		}
		parts[levels-1] = left
		found, err := score(parts)
		if err != nil {
			return nil, err
		}
		if found > flat*least {
			break
		}
		best = parts
	}
	return best, nil
}

// growing are parts of which each is some times the one above it.
func growing(levels, times int) []int {
	weights, sum, weight := make([]int, levels), 0, 1
	for i := range weights {
		weights[i] = weight
		sum += weight
		weight *= times
	}
	parts, left := make([]int, levels), hundredths
	for i := range levels - 1 {
		parts[i] = max(1, hundredths*weights[i]/sum)
		left -= parts[i]
	}
	parts[levels-1] = left
	return parts
}

// remembered scores no split twice.
func remembered(score func(parts []int) (float64, error)) func(parts []int) (float64, error) {
	known := map[string]float64{}
	return func(parts []int) (float64, error) {
		key := fmt.Sprint(parts)
		found, ok := known[key]
		if !ok {
			var err error
			if found, err = score(parts); err != nil {
				return 0, err
			}
			known[key] = found
		}
		return found, nil
	}
}

// descend moves parts from level to level until no move lowers the score, and returns
// that.
func descend(parts []int, score func(parts []int) (float64, error)) (float64, error) {
	least, err := score(parts)
	if err != nil {
		return 0, err
	}
	// try moves a step along one pair, and says whether that was better.
	try := func(from, to, step int) (bool, error) {
		if from == to || parts[from] <= step {
			return false, nil
		}
		parts[from], parts[to] = parts[from]-step, parts[to]+step
		found, err := score(parts)
		if err == nil && found < least {
			least = found
			return true, nil
		}
		parts[from], parts[to] = parts[from]+step, parts[to]-step
		return false, err
	}
	for _, step := range steps {
		for moved := true; moved; {
			moved = false
			for pair := range len(parts) * len(parts) {
				better, err := try(pair/len(parts), pair%len(parts), step)
				if err != nil {
					return 0, err
				}
				moved = moved || better
			}
		}
	}
	return least, nil
}

// Score is what a split is judged by, from the levels' errors in parts of their loads:
// the sum of their square roots. The plain sum sees little but the finest level, the sum
// of logarithms gives up a level that is hard; this lies between.
//
// A level whose error is not clearly below its baseline, what anybody knows without it,
// costs every household's budget for next to nothing. Each makes the score worse, the more
// the closer it is: enough to lift it where that takes little from the others, and not
// enough to spend all on one that no split lifts. A baseline of 0 is that of a region, and
// is not looked at.
func Score(errors, baselines []float64) float64 {
	const clearly, weight = 0.97, 1
	sum, factor := 0.0, 1.0
	for i, e := range errors {
		sum += math.Sqrt(e)
		if baselines[i] > 0 {
			factor += weight * min(max(0, e/baselines[i]-clearly), 2*(1-clearly))
		}
	}
	return factor * sum
}

// Best finds the split of a budget over the levels whose [Score] on the reference is the
// least, or as good, and returns its design. It returns [ErrRho] for a budget too small to
// split, and [ErrLoad].
func (s *Study) Best(budget dp.Rho) (*Design, error) {
	if s.idle() {
		return nil, ErrLoad
	}
	parts, err := Split(len(s.sizes), func(parts []int) (float64, error) {
		d, err := s.Design(Divide(budget, parts))
		if err != nil {
			return 0, err
		}
		errors, baselines := make([]float64, len(d.Levels)), make([]float64, len(d.Levels))
		for i, l := range d.Levels {
			errors[i], baselines[i] = d.Expected(i), l.Baseline
		}
		return Score(errors, baselines), nil
	})
	if err != nil {
		return nil, err
	}
	return s.Design(Divide(budget, parts))
}

// idle reports whether the reference uses nothing.
func (s *Study) idle() bool {
	return !slices.ContainsFunc(s.biases.truth, func(wh int64) bool { return wh != 0 })
}
