package main

import (
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// rival is a simpler mechanism over the same tree: every level has a quarter of the
// budget and is published as it is measured.
type rival struct {
	name, about string
	// bounds are tried on the reference, per level, and the best is taken.
	bounds []int64
	clip   func(x []int64, bound int64) error
	// noise draws what is added to every sum, and says its variance in Wh².
	noise func(dst []int64, bound int64, t trialOf) (variance float64, err error)
}

var rivals = []rival{
	{
		name: "laplace_reading", about: "Laplace on each reading, clamped at 11.5 kWh, epsilon split over 48 readings and 4 levels",
		bounds: []int64{population.Cap}, clip: clamp,
		noise: func(dst []int64, bound int64, t trialOf) (float64, error) {
			scale := uint64(math.Ceil(float64(plan.Intervals*bound) * float64(len(levelNames)) / t.epsilon))
			return 2 * float64(scale) * float64(scale), fillNoise(dst, func() error { return dp.DrawLaplace(dst, scale, 1) })
		},
	},
	{
		name: "gauss_reading", about: "Gaussian on each reading, clamp planned on the reference for each level, rho split over 4 levels",
		bounds: geometric(100, population.Cap), clip: clamp,
		noise: func(dst []int64, bound int64, t trialOf) (float64, error) {
			return gaussian(dst, int64(math.Ceil(float64(bound)*math.Sqrt(plan.Intervals))), t)
		},
	},
	{
		name: "l2_day", about: "Gaussian on the whole curve clipped in L2, norm planned on the reference for each level, rho split over 4 levels, no tree",
		bounds: geometric(300, 60_000), clip: dp.ClipL2, noise: gaussian,
	},
}

func clamp(x []int64, bound int64) error {
	for i, v := range x {
		x[i] = max(-bound, min(bound, v))
	}
	return nil
}

func geometric(from, to float64) (bounds []int64) {
	for c := from; c <= to; c *= math.Pow(2, 1.0/4) {
		bounds = append(bounds, int64(c))
	}
	return bounds
}

// gaussian is noise for a sensitivity at a level's part of the budget.
func gaussian(dst []int64, sensitivity int64, t trialOf) (float64, error) {
	rho := dp.Rho(t.rho * float64(dp.RhoUnit) / float64(len(levelNames)))
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

// rmse plans the bounds on the reference, and measures the population once.
func (r rival) rmse(t trialOf, reference, private held, sizes []int) (perLevel, error) {
	best := make([]int64, len(sizes))
	least := make([]float64, len(sizes))
	for i := range least {
		least[i] = math.Inf(1)
	}
	for _, bound := range r.bounds {
		variance, err := r.noise(nil, bound, t)
		if err != nil {
			return nil, err
		}
		off, _, err := r.off(reference, sizes, bound, nil)
		if err != nil {
			return nil, err
		}
		for i := range sizes {
			if total := off[i] + variance; total < least[i] {
				least[i], best[i] = total, bound
			}
		}
	}
	out := perLevel{}
	for i, bound := range best {
		noise := make([]int64, sizes[0]/sizes[i]*plan.Intervals)
		if _, err := r.noise(noise, bound, t); err != nil {
			return nil, err
		}
		off, load, err := r.off(private, sizes, bound, map[int][]int64{i: noise})
		if err != nil {
			return nil, err
		}
		out[levelNames[i]] = 100 * math.Sqrt(off[i]) / load[i]
	}
	return out, nil
}

// off returns each level's mean squared error under a bound, with what noise is
// given, and its mean load.
func (r rival) off(c held, sizes []int, bound int64, noise map[int][]int64) (squares, load []float64, err error) {
	finest := sizes[len(sizes)-1]
	nodes := sizes[0] / finest
	lost, truth := make([]float64, nodes*plan.Intervals), make([]float64, nodes*plan.Intervals)
	x, wh := make([]int64, plan.Intervals), make([]int64, plan.Intervals)
	for h := range c.Households() {
		c.Fill(h, wh)
		copy(x, wh)
		if err := r.clip(x, bound); err != nil {
			return nil, nil, err
		}
		at := h / finest * plan.Intervals
		for j, v := range wh {
			lost[at+j] += float64(x[j] - v)
			truth[at+j] += float64(v)
		}
	}
	squares, load = make([]float64, len(sizes)), make([]float64, len(sizes))
	for i, size := range sizes {
		each, n := size/finest, sizes[0]/size*plan.Intervals
		for node := range n / plan.Intervals {
			for j := range plan.Intervals {
				var off, sum float64
				for leaf := node * each; leaf < (node+1)*each; leaf++ {
					off += lost[leaf*plan.Intervals+j]
					sum += truth[leaf*plan.Intervals+j]
				}
				if drawn, ok := noise[i]; ok {
					off += float64(drawn[node*plan.Intervals+j])
				}
				squares[i] += off * off / float64(n)
				load[i] += sum / float64(n)
			}
		}
	}
	return squares, load, nil
}
