package dp

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Rho is an amount of zero-concentrated differential privacy (Bun and Steinke
// 2016) in units of 1e-9 ρ: a budget, or what a mechanism spends of it. It is
// an integer so that sums are exact, comparisons are reproducible, and no
// spend is too small to be counted. Spends are rounded up, see [RhoOf].
type Rho uint64

// RhoUnit is ρ = 1.
const RhoUnit Rho = 1e9

const rhoDigits = 9 // decimal places of a Rho

var (
	// ErrRhoSyntax reports a text that is not a decimal ρ of at most nine places.
	ErrRhoSyntax = errors.New("dp: not a decimal rho of at most nine places")

	// ErrOverflow reports integer arithmetic whose exact result does not fit.
	// The operation has had no effect.
	ErrOverflow = errors.New("dp: integer overflow")
)

// ParseRho reads an exact decimal such as "0.018": digits, optionally a point
// and one to nine more digits. It takes no sign, exponent, space or needless
// leading zero, and never rounds. It returns [ErrRhoSyntax] for any other
// text, and [ErrOverflow] from ρ = 18446744073.709551616 on.
func ParseRho(s string) (Rho, error) {
	whole, frac, point := strings.Cut(s, ".")
	if !isDigits(whole) || len(whole) > 1 && whole[0] == '0' ||
		point && (!isDigits(frac) || len(frac) > rhoDigits) {
		return 0, ErrRhoSyntax
	}
	frac += strings.Repeat("0", rhoDigits-len(frac))
	n, err := strconv.ParseUint(whole+frac, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading rho: %w", ErrOverflow)
	}
	return Rho(n), nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// String returns r as the shortest exact decimal, such as "0.018"; ParseRho
// reads it back.
func (r Rho) String() string {
	s := strconv.FormatUint(uint64(r/RhoUnit), 10)
	if frac := r % RhoUnit; frac != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%0*d", rhoDigits, uint64(frac)), "0")
	}
	return s
}

// MarshalText writes r as [Rho.String] does.
func (r Rho) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what [ParseRho] reads.
func (r *Rho) UnmarshalText(text []byte) error {
	v, err := ParseRho(string(text))
	if err == nil {
		*r = v
	}
	return err
}

// Add returns r + s, what two mechanisms on the same data spend together, or
// [ErrOverflow].
func (r Rho) Add(s Rho) (Rho, error) {
	sum, carry := bits.Add64(uint64(r), uint64(s), 0)
	if carry != 0 {
		return 0, fmt.Errorf("adding rho: %w", ErrOverflow)
	}
	return Rho(sum), nil
}

// Times returns n·r, what n mechanisms of r each spend together on the same
// data (the days of a year on one household), or [ErrOverflow].
func (r Rho) Times(n uint64) (Rho, error) {
	hi, lo := bits.Mul64(uint64(r), n)
	if hi != 0 {
		return 0, fmt.Errorf("multiplying rho: %w", ErrOverflow)
	}
	return Rho(lo), nil
}
