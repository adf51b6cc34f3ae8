package espi

import "github.com/wattveil/wattveil/meter"

// Codes of QualityOfReading.
const (
	qualityValid        = 0
	qualityEdited       = 7
	qualityReference    = 8
	qualityInterpolated = 9
	qualityQuestionable = 10
	qualityDerived      = 11
	qualityProjected    = 12
	qualityRaw          = 14
	qualityValidated    = 17
	qualityVerified     = 18
	qualityRevenue      = 19
)

// qualities is what is written with a value. Measured is the default that the
// reading type states, so it is not said again with every value. No code says
// estimated without saying how; a reference is how utilities do it as a rule.
var qualities = [...][]int64{
	meter.Measured:    nil,
	meter.Estimated:   {qualityReference},
	meter.Substituted: {qualityEdited},
	meter.Suspect:     {qualityQuestionable},
}

// qualityOf returns what a code means to a hub. What is mixed, or a code that
// nobody assigned, is in doubt.
func qualityOf(code int64) meter.Quality {
	switch code {
	case qualityValid, qualityRaw, qualityValidated, qualityVerified, qualityRevenue:
		return meter.Measured
	case qualityReference, qualityInterpolated, qualityDerived, qualityProjected:
		return meter.Estimated
	case qualityEdited:
		return meter.Substituted
	}
	return meter.Suspect
}

// worst returns the quality of a value with these codes; without any, the
// default. Of several the worst counts, in the order of a hub's sums.
func worst(codes []int64, otherwise *int64) meter.Quality {
	if len(codes) == 0 {
		if otherwise == nil {
			return meter.Measured
		}
		return qualityOf(*otherwise)
	}
	out := meter.Measured
	for _, c := range codes {
		out = meter.Worse(out, qualityOf(c))
	}
	return out
}
