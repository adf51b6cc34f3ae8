package main

import (
	"context"
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// rival is a simpler mechanism over the same tree: every level has a part of the budget
// and is published as it is measured. Its bounds and its split are the best on the
// reference, found by the rule that ours is found by.
type rival struct {
	name, about string
	// bounds are tried on the reference, per level, and the best is taken.
	bounds []int64
	clip   func(x []int64, bound int64) error
	// noise draws what is added to every sum for a level's budget, in rho or in
	// epsilon, and says its variance in Wh².
	noise func(dst []int64, bound int64, rho dp.Rho, epsilon float64) (variance float64, err error)
}

var rivals = []rival{
	{
		name: "laplace_reading", about: "Laplace on each reading, clamp planned on the reference for each level, epsilon split over 48 readings and the levels",
		bounds: geometric(10, population.Cap), clip: clamp,
		noise: func(dst []int64, bound int64, _ dp.Rho, epsilon float64) (float64, error) {
			scale := uint64(math.Ceil(float64(plan.Intervals*bound) / epsilon))
			return 2 * float64(scale) * float64(scale), fillNoise(dst, func() error { return dp.DrawLaplace(dst, scale, 1) })
		},
	},
	{
		name: "gauss_reading", about: "Gaussian on each reading, clamp planned on the reference for each level, rho split over the levels",
		bounds: geometric(10, population.Cap), clip: clamp,
		noise: func(dst []int64, bound int64, rho dp.Rho, _ float64) (float64, error) {
			return gaussian(dst, int64(math.Ceil(float64(bound)*math.Sqrt(plan.Intervals))), rho)
		},
	},
	{
		name: "l2_day", about: "Gaussian on the whole curve clipped in L2, norm planned on the reference for each level, rho split over the levels, no tree",
		bounds: geometric(100, 60_000), clip: dp.ClipL2,
		noise: func(dst []int64, bound int64, rho dp.Rho, _ float64) (float64, error) {
			return gaussian(dst, bound, rho)
		},
	},
}

func clamp(x []int64, bound int64) error {
	for i, v := range x {
		x[i] = max(-bound, min(bound, v))
	}
	return nil
}

// geometric are bounds in steps of a quarter of a doubling, the last one included.
func geometric(from, to float64) (bounds []int64) {
	for c := from; c < to; c *= math.Pow(2, 1.0/4) {
		bounds = append(bounds, int64(c))
	}
	return append(bounds, int64(to))
}

// gaussian is noise for a sensitivity at a level's part of the budget.
func gaussian(dst []int64, sensitivity int64, rho dp.Rho) (float64, error) {
	variance, err := dp.GaussianVariance(sensitivity, rho)
	if err != nil {
		return 0, err
	}
	v, _ := variance.Rat().Float64()
	return v, fillNoise(dst, func() error { return dp.DrawGaussian(dst, variance) })
}

// fillNoise skips the drawing where only the variance is asked for.
func fillNoise(dst []int64, fill func() error) error {
	if len(dst) == 0 {
		return nil
	}
	return fill()
}

// settled is what a rival was planned to on the reference.
type settled struct {
	Split  perLevel `json:"split"`
	Bounds perLevel `json:"bounds_wh"`
}

// settle plans a rival: for every split the best bound of each level, and of all splits
// the best.
func (r rival) settle(t trialOf, reference held, sizes []int, baselines []float64) (settled, error) {
	squares, load := make([][]float64, len(r.bounds)), []float64(nil)
	for i, bound := range r.bounds {
		c, err := r.cut(reference, bound, sizes[len(sizes)-1])
		if err != nil {
			return settled{}, err
		}
		load = nil
		for _, size := range sizes {
			s, l := c.off(size, nil)
			squares[i], load = append(squares[i], s), append(load, l)
		}
	}
	// best is the least error of a level, in parts of its load, and its bound.
	best := func(level int, parts []int) (least float64, bound int64, err error) {
		least = math.Inf(1)
		for i, b := range r.bounds {
			variance, err := r.noise(nil, b, plan.Divide(t.rho, parts)[level], t.epsilonOf(parts[level]))
			if err != nil {
				return 0, 0, err
			}
			if e := math.Sqrt(squares[i][level]+variance) / load[level]; e < least {
				least, bound = e, b
			}
		}
		return least, bound, nil
	}
	parts, err := plan.Split(len(sizes), func(parts []int) (float64, error) {
		errors := make([]float64, len(sizes))
		for level := range sizes {
			var err error
			if errors[level], _, err = best(level, parts); err != nil {
				return 0, err
			}
		}
		return plan.Score(errors, baselines), nil
	})
	if err != nil {
		return settled{}, err
	}
	s := settled{Split: perLevel{}, Bounds: perLevel{}}
	for level, name := range levelNames {
		_, bound, err := best(level, parts)
		if err != nil {
			return settled{}, err
		}
		s.Split[name], s.Bounds[name] = float64(parts[level])/100, float64(bound)
	}
	return s, nil
}

// epsilonOf is a level's part, in hundredths.
func (t trialOf) epsilonOf(part int) float64 { return t.epsilon * float64(part) / 100 }

// rounds measures the population with fresh noise in every round, and returns the errors
// in percent.
func (r rival) rounds(ctx context.Context, t trialOf, s settled, private held, sizes []int, rounds int) ([]perLevel, error) {
	parts := make([]int, len(sizes))
	for level, name := range levelNames {
		parts[level] = int(math.Round(100 * s.Split[name]))
	}
	all := make([]perLevel, rounds)
	for i := range all {
		all[i] = perLevel{}
	}
	for level, name := range levelNames {
		bound := int64(s.Bounds[name])
		c, err := r.cut(private, bound, sizes[len(sizes)-1])
		if err != nil {
			return nil, err
		}
		noise := make([]int64, sizes[0]/sizes[level]*plan.Intervals)
		for _, out := range all {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if _, err := r.noise(noise, bound, plan.Divide(t.rho, parts)[level], t.epsilonOf(parts[level])); err != nil {
				return nil, err
			}
			squares, load := c.off(sizes[level], noise)
			out[name] = 100 * math.Sqrt(squares) / load
		}
	}
	return all, nil
}

// cut is what a bound takes from each node of the finest level, and what is true of it,
// by interval in Wh.
type cut struct {
	finest      int
	lost, truth []float64
}

func (r rival) cut(c held, bound int64, finest int) (*cut, error) {
	n := c.Households() / finest * plan.Intervals
	cut := &cut{finest: finest, lost: make([]float64, n), truth: make([]float64, n)}
	x, wh := make([]int64, plan.Intervals), make([]int64, plan.Intervals)
	for h := range c.Households() {
		c.Fill(h, wh)
		copy(x, wh)
		if err := r.clip(x, bound); err != nil {
			return nil, err
		}
		at := h / finest * plan.Intervals
		for j, v := range wh {
			cut.lost[at+j] += float64(x[j] - v)
			cut.truth[at+j] += float64(v)
		}
	}
	return cut, nil
}

// off returns the mean squared error of a level's nodes, with noise for each interval if
// there is any, and their mean load.
func (c *cut) off(size int, noise []int64) (squares, load float64) {
	each := size / c.finest
	n := len(c.truth) / each
	for at := range n {
		var off, sum float64
		node, j := at/plan.Intervals, at%plan.Intervals
		for leaf := node * each; leaf < (node+1)*each; leaf++ {
			off += c.lost[leaf*plan.Intervals+j]
			sum += c.truth[leaf*plan.Intervals+j]
		}
		if noise != nil {
			off += float64(noise[at])
		}
		squares += off * off / float64(n)
		load += sum / float64(n)
	}
	return squares, load
}
