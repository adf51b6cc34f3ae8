package dp

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Limits of a [Variance] σ² = n/d in lowest terms. They keep every number of
// the sampler within 256 bits and leave room for noise of a standard deviation
// of 2^40 (in Wh, 1.1 TWh).
const (
	maxVarianceBits    = 80 // σ² ≤ 2^80
	maxDenominatorBits = 36 // d ≤ 2^36
)

// ErrVariance reports a variance that is malformed, not positive, above 2^80,
// or with a denominator above 2^36 in lowest terms.
var ErrVariance = errors.New("dp: variance out of range")

// Variance is the parameter σ² of a discrete Gaussian: an exact positive
// rational of at most 2^80, in the square of the noise's unit (Wh²), with a
// denominator of at most 2^36. The variance of the noise itself is never above
// σ², and below it by less than one part in a million from σ² = 1 on.
//
// Variances compare with ==. The zero Variance is no variance; no noise can be
// drawn with it.
type Variance struct {
	num u128
	den uint64
}

// NewVariance returns num/den, or [ErrVariance].
func NewVariance(num, den uint64) (Variance, error) {
	return newVariance(new(big.Int).SetUint64(num), new(big.Int).SetUint64(den))
}

func newVariance(num, den *big.Int) (Variance, error) {
	if num.Sign() <= 0 || den.Sign() <= 0 {
		return Variance{}, ErrVariance
	}
	r := new(big.Rat).SetFrac(num, den)
	limit := new(big.Int).Lsh(r.Denom(), maxVarianceBits)
	maxDen := new(big.Int).Lsh(big.NewInt(1), maxDenominatorBits)
	if r.Num().Cmp(limit) > 0 || r.Denom().Cmp(maxDen) > 0 {
		return Variance{}, ErrVariance
	}
	return Variance{num: u128FromBig(r.Num()), den: r.Denom().Uint64()}, nil
}

// ParseVariance reads what [Variance.String] writes, and nothing else, or
// returns [ErrVariance].
func ParseVariance(s string) (Variance, error) {
	if len(s) > 64 { // longer than any Variance: do not feed it to big.Int
		return Variance{}, ErrVariance
	}
	numText, denText, fraction := strings.Cut(s, "/")
	if !fraction {
		denText = "1"
	}
	if !isDigits(numText) || !isDigits(denText) {
		return Variance{}, ErrVariance
	}
	num, _ := new(big.Int).SetString(numText, 10)
	den, _ := new(big.Int).SetString(denText, 10)
	v, err := newVariance(num, den)
	if err != nil || v.String() != s {
		return Variance{}, ErrVariance
	}
	return v, nil
}

// String returns v in lowest terms: "750000000", or "50/3".
func (v Variance) String() string {
	if v.den == 1 {
		return v.num.big().String()
	}
	return fmt.Sprintf("%v/%d", v.num.big(), v.den)
}

// MarshalText writes v as [Variance.String] does. The zero Variance is
// [ErrVariance].
func (v Variance) MarshalText() ([]byte, error) {
	if v.den == 0 {
		return nil, ErrVariance
	}
	return []byte(v.String()), nil
}

// UnmarshalText reads what [ParseVariance] reads.
func (v *Variance) UnmarshalText(text []byte) error {
	parsed, err := ParseVariance(string(text))
	if err == nil {
		*v = parsed
	}
	return err
}

// Rat returns v as a rational of the caller's own; 0 for the zero Variance.
func (v Variance) Rat() *big.Rat {
	if v.den == 0 {
		return new(big.Rat)
	}
	return new(big.Rat).SetFrac(v.num.big(), new(big.Int).SetUint64(v.den))
}
