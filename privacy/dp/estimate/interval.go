package estimate

import (
	"errors"
	"fmt"
	"math"
)

// Errors of intervals.
var (
	ErrConfidence = errors.New("estimate: confidence outside 0 to 1")
	ErrBias       = errors.New("estimate: bias is not as its source says")
)

// BiasSource says where a bound on bias comes from: it is as good as that.
type BiasSource string

const (
	// NoBias: the estimate has none. Of clipped sums it says that the interval
	// is for the sum after clipping.
	NoBias BiasSource = "none"
	// PublicReference: worked out on a public reference population, and true
	// of this one as far as it is alike. No budget was spent.
	PublicReference BiasSource = "public reference"
	// Charged: measured on the private data itself, and charged to the budget.
	Charged BiasSource = "charged to the budget"
)

// Bias bounds the mean of an estimate less the truth, which is negative for
// clipped sums. If the bounds were measured, Variance is that of the measurement,
// whose noise must be independent of the estimate's.
type Bias struct {
	Low, High float64
	Variance  float64
	Source    BiasSource
}

// Interval is an estimate with what it leaves open. Low and High enclose the
// truth with at least the stated confidence for every bias within its bounds.
type Interval struct {
	Estimate   float64
	Low, High  float64
	Confidence float64
	Bias       Bias
}

// NewInterval returns the interval of an estimate with normal noise of a given
// variance: the noise to each side, and the bias where it can be. A mean squared
// error in place of the variance ([Shrunk]) makes it true on average over
// the prior only. A variance of +Inf gives an interval without ends.
//
// It returns [ErrValue], [ErrVariance], [ErrConfidence], or [ErrBias] for bounds
// in the wrong order, not finite, unlabelled, or not zero with [NoBias].
func NewInterval(estimate, variance float64, bias Bias, confidence float64) (Interval, error) {
	z, err := normalQuantile(confidence)
	if err != nil {
		return Interval{}, err
	}
	if !(math.Abs(estimate) <= maxValue) {
		return Interval{}, fmt.Errorf("estimate %v: %w", estimate, ErrValue)
	}
	if !(variance >= 0) {
		return Interval{}, fmt.Errorf("variance %v: %w", variance, ErrVariance)
	}
	if err := bias.check(); err != nil {
		return Interval{}, err
	}
	noise := z * math.Sqrt(variance+bias.Variance)
	return Interval{
		Estimate: estimate, Low: estimate - bias.High - noise, High: estimate - bias.Low + noise,
		Confidence: confidence, Bias: bias,
	}, nil
}

// String writes the interval with its confidence and where its bias is from.
func (i Interval) String() string {
	return fmt.Sprintf("%.1f (%.1f to %.1f at %g %%; bias: %s)", i.Estimate, i.Low, i.High, 100*i.Confidence, i.Bias.Source)
}

func (b Bias) check() error {
	if !(b.Low >= -maxValue && b.Low <= b.High && b.High <= maxValue && b.Variance >= 0 && b.Variance <= maxVariance) {
		return fmt.Errorf("from %v to %v, variance %v: %w", b.Low, b.High, b.Variance, ErrBias)
	}
	switch b.Source {
	case NoBias:
		if b.Low != 0 || b.High != 0 || b.Variance != 0 {
			return fmt.Errorf("from %v to %v without a source: %w", b.Low, b.High, ErrBias)
		}
	case PublicReference, Charged:
	default:
		return fmt.Errorf("source %q: %w", b.Source, ErrBias)
	}
	return nil
}

// normalQuantile returns the z for which a standard normal number lies within ±z
// with the given probability.
func normalQuantile(confidence float64) (float64, error) {
	if !(confidence > 0 && confidence < 1) {
		return 0, fmt.Errorf("confidence %v: %w", confidence, ErrConfidence)
	}
	return math.Sqrt2 * math.Erfinv(confidence), nil
}

// normalBelow returns the probability that a standard normal number is below x.
func normalBelow(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
