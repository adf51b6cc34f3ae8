package espi

import (
	"math"
	"math/bits"
	"strconv"
)

// Decimal is Unscaled·10^Exponent, exactly.
type Decimal struct {
	Unscaled int64
	Exponent int
}

// String returns the number without an exponent: no point if it is whole, no
// zeros at the end of a fraction, no sign on zero.
func (d Decimal) String() string { return string(d.append(make([]byte, 0, 24))) }

func (d Decimal) append(b []byte) []byte {
	d = d.normal()
	if d.Exponent == 0 {
		return strconv.AppendInt(b, d.Unscaled, 10)
	}
	magnitude := uint64(d.Unscaled)
	if d.Unscaled < 0 {
		b = append(b, '-')
		magnitude = -magnitude
	}
	digits := strconv.AppendUint(make([]byte, 0, 20), magnitude, 10)
	if d.Exponent > 0 {
		b = append(b, digits...)
		for range d.Exponent {
			b = append(b, '0')
		}
		return b
	}
	point := len(digits) + d.Exponent
	if point <= 0 {
		b = append(b, '0', '.')
		for range -point {
			b = append(b, '0')
		}
		return append(b, digits...)
	}
	b = append(b, digits[:point]...)
	b = append(b, '.')
	return append(b, digits[point:]...)
}

// normal returns the same number with the zeros at its end in the exponent, as
// far as it then is no fraction.
func (d Decimal) normal() Decimal {
	if d.Unscaled == 0 {
		return Decimal{}
	}
	for d.Exponent < 0 && d.Unscaled%10 == 0 {
		d.Unscaled /= 10
		d.Exponent++
	}
	return d
}

// Int returns the number if it is whole and fits 64 bits.
func (d Decimal) Int() (int64, bool) {
	d = d.normal()
	if d.Exponent < 0 {
		return 0, false
	}
	v := d.Unscaled
	for range d.Exponent {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return 0, false
		}
		v *= 10
	}
	return v, true
}

// maxDecimals is how many decimals a number may have: more than any meter has.
const maxDecimals = 18

// parseDecimal reads a number with a sign and decimals, both optional. The white
// space around it does not count (XML Schema, whiteSpace collapse).
func parseDecimal(s []byte) (Decimal, bool) {
	s = trim(s)
	negative := false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	magnitude, decimals, seen, point := uint64(0), 0, 0, false
	for _, c := range s {
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			return Decimal{}, false
		}
		hi, lo := bits.Mul64(magnitude, 10)
		sum, carry := bits.Add64(lo, uint64(c-'0'), 0)
		if hi != 0 || carry != 0 {
			return Decimal{}, false
		}
		magnitude = sum
		seen++
		if point {
			decimals++
		}
	}
	if seen == 0 || decimals > maxDecimals {
		return Decimal{}, false
	}
	d := Decimal{Exponent: -decimals}
	switch {
	case !negative && magnitude <= math.MaxInt64:
		d.Unscaled = int64(magnitude)
	case negative && magnitude <= 1<<63:
		d.Unscaled = int64(-magnitude)
	default:
		return Decimal{}, false
	}
	return d.normal(), true
}

// parseInt reads a whole number: one whose decimals, if any, are zero.
func parseInt(s []byte) (int64, bool) {
	d, ok := parseDecimal(s)
	if !ok || d.Exponent != 0 {
		return 0, false
	}
	return d.Unscaled, true
}

// trim cuts the white space of XML off both ends.
func trim(s []byte) []byte {
	for len(s) > 0 && space(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && space(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
