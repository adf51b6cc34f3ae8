package estimate

import (
	"fmt"
	"math"
)

// Peak is what a noisy curve says of the highest value of the true one. At what
// time it is reached, the curve says badly: that is asked of households as votes.
type Peak struct {
	// Raw is the highest value of the noisy curve. It is too high on average:
	// of several values near the peak the one with the most noise wins.
	Raw float64

	// Upward is the estimated mean of that error, and Value is Raw - Upward. It is
	// what the same noise does to the curve drawn together about its mean until
	// it varies as much as the true one must (variance of the noisy curve less
	// that of the noise): nearly nothing to a sharp peak, MaxUpward to a flat
	// curve. It is most of the error and not all: of a broad evening peak some
	// two thirds, so Value is still rather too high than too low.
	Upward, Value float64

	// MaxUpward is the greatest the mean error can be for any curve: that of a
	// flat one, the mean of the highest of as many independent draws of noise.
	// It is below σ·√(2 ln n).
	MaxUpward float64

	// Low and High enclose the true peak with at least Confidence, whatever the
	// curve, for every bias within its bounds.
	Low, High  float64
	Confidence float64
	Bias       Bias
}

// FindPeak returns the peak of a curve whose values carry independent normal
// noise of one variance. The interval is not symmetric. The raw peak is too high if
// any of n draws is, so Low allows for the highest of n; it is too low only if the
// one draw at the time of the true peak is, so High allows for one. The bias
// bounds are those of each value of the curve.
//
// It returns [ErrShape] for an empty curve, and the errors of [NewInterval];
// +Inf is no variance here.
func FindPeak(curve []float64, variance float64, bias Bias, confidence float64) (Peak, error) {
	if len(curve) == 0 {
		return Peak{}, fmt.Errorf("empty curve: %w", ErrShape)
	}
	above, err := normalQuantile(confidence)
	if err != nil {
		return Peak{}, err
	}
	if !(variance >= 0 && variance <= maxVariance) {
		return Peak{}, fmt.Errorf("variance %v: %w", variance, ErrVariance)
	}
	if err := bias.check(); err != nil {
		return Peak{}, err
	}
	n, mean := float64(len(curve)), 0.0
	p := Peak{Raw: curve[0], Confidence: confidence, Bias: bias}
	for j, x := range curve {
		if !(math.Abs(x) <= maxValue) {
			return Peak{}, fmt.Errorf("value %v at %d: %w", x, j, ErrValue)
		}
		p.Raw = max(p.Raw, x)
		mean += x / n
	}
	spread := 0.0 // variance of the noisy curve over time
	for _, x := range curve {
		spread += (x - mean) * (x - mean) / max(1, n-1)
	}
	keep := 0.0
	if spread > variance {
		keep = math.Sqrt(1 - variance/spread)
	}
	sigma := math.Sqrt(variance)
	if sigma > 0 {
		p.Upward = meanHighest(sigma, func(x float64) float64 {
			all := 1.0
			for _, v := range curve {
				all *= normalBelow(x + keep*(p.Raw-v)/sigma)
			}
			return all
		})
		p.MaxUpward = meanHighest(sigma, func(x float64) float64 { return math.Pow(normalBelow(x), n) })
	}
	p.Value = p.Raw - p.Upward

	// Half of the odds to each side, and of the lower half an nth to each draw.
	highest, err := normalQuantile(1 - (1-confidence)/n)
	if err != nil {
		return Peak{}, err
	}
	measured := math.Sqrt(variance + bias.Variance)
	p.Low = p.Raw - bias.High - highest*measured
	p.High = p.Raw - bias.Low + above*measured
	return p, nil
}

// meanHighest returns the mean of the highest of independent normal numbers of
// standard deviation sigma. allBelow(x) is the probability that all of them lie
// below x·sigma; it must be next to nothing from -10 down and next to one from 10
// up. The mean is -10 plus the integral of what it lacks of one; the
// trapezoidal rule is as good as exact for so smooth a function.
func meanHighest(sigma float64, allBelow func(x float64) float64) float64 {
	const from, to, step = -10, 10, 1.0 / 8
	total := -step / 2 // half of the first point, where nothing is below
	for k := range int((to-from)/step) + 1 {
		total += (1 - allBelow(from+float64(k)*step)) * step
	}
	return max(0, (from+total)*sigma)
}
