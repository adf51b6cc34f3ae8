package population_test

import (
	"math"
	"slices"

	"github.com/wattveil/wattveil/privacy/population"
)

// figures are what the privacy planning reads off a population.
type figures struct {
	mean     float64                       // kWh a day
	curve    [population.Intervals]float64 // kWh, mean by interval
	norms    [4]float64                    // kWh, quantiles of the L2 norm at normQuantiles
	baseline [3]float64                    // % of the level's mean load, at levels
	spectrum [population.Intervals]float64 // kWh², second moments of the orthonormal DCT-II
}

var (
	normQuantiles = [4]float64{0.5, 0.9, 0.95, 0.99}
	levels        = [3]int{population.LargeNodeSize, population.SmallNodeSize, population.FeederSize}
)

// cosines is the orthonormal DCT-II, a row for each coefficient.
var cosines = func() (c [population.Intervals][population.Intervals]float64) {
	const n = population.Intervals
	for k := range c {
		scale := math.Sqrt(2. / n)
		if k == 0 {
			scale = math.Sqrt(1. / n)
		}
		for t := range c[k] {
			c[k][t] = scale * math.Cos(math.Pi*(float64(t)+0.5)*float64(k)/n)
		}
	}
	return c
}()

// measure reads a population once. The baseline is what an onlooker knows who
// has the region's curve and counts households: every node is expected to use the
// region's curve times its share of the households; its error is the root mean
// square over the nodes of a level and the 48 intervals.
func measure(c population.Curves) figures {
	n := c.Households()
	var f figures
	norms := make([]float64, n)
	feeders := make([][population.Intervals]float64, (n+population.FeederSize-1)/population.FeederSize)
	for household, wh := range c.All() {
		square := 0.0
		for t, v := range wh {
			kwh := float64(v) / 1000
			square += kwh * kwh
			f.curve[t] += kwh / float64(n)
			feeders[household/population.FeederSize][t] += kwh
		}
		norms[household] = math.Sqrt(square)
		for k, row := range cosines {
			x := 0.0
			for t, v := range wh {
				x += row[t] * float64(v)
			}
			f.spectrum[k] += x * x / 1e6 / float64(n)
		}
	}
	for _, kwh := range f.curve {
		f.mean += kwh
	}
	slices.Sort(norms)
	for i, q := range normQuantiles {
		f.norms[i] = norms[int(q*float64(n))]
	}
	for i, size := range levels {
		square := 0.0
		nodes := n / size
		for node := range nodes {
			var sum [population.Intervals]float64
			for feeder := node * size / population.FeederSize; feeder < (node+1)*size/population.FeederSize; feeder++ {
				for t, v := range feeders[feeder] {
					sum[t] += v
				}
			}
			for t := range sum {
				e := sum[t] - f.curve[t]*float64(size)
				square += e * e
			}
		}
		load := f.mean / population.Intervals * float64(size)
		f.baseline[i] = 100 * math.Sqrt(square/float64(nodes*population.Intervals)) / load
	}
	return f
}
