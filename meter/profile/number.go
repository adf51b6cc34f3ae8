package profile

import (
	"math"
	"math/bits"
	"strconv"
)

// parseNumber reads a decimal of which the last of decimals digits is one Wh:
// "1.39" with 3 decimals is 1390. It returns a Kind other than "" for anything
// that is not such a number, not a whole number of Wh, or not an int64 of them.
func parseNumber(b []byte, decimals int) (int64, Kind) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	whole, rest := digits(b)
	var fraction []byte
	if len(rest) > 0 && rest[0] == '.' {
		if fraction, rest = digits(rest[1:]); len(fraction) == 0 {
			return 0, BadNumber
		}
	}
	if len(whole) == 0 || len(rest) > 0 {
		return 0, BadNumber
	}

	for i := decimals; i < len(fraction); i++ {
		if fraction[i] != '0' {
			return 0, FractionalWattHours
		}
	}
	fraction = fraction[:min(decimals, len(fraction))]

	var overflow bool
	magnitude := uint64(0)
	push := func(digit byte) {
		hi, lo := bits.Mul64(magnitude, 10)
		sum, carry := bits.Add64(lo, uint64(digit), 0)
		overflow = overflow || hi != 0 || carry != 0
		magnitude = sum
	}
	for _, c := range whole {
		push(c - '0')
	}
	for i := range decimals {
		if i < len(fraction) {
			push(fraction[i] - '0')
		} else {
			push(0)
		}
	}
	switch {
	case overflow, !negative && magnitude > math.MaxInt64, magnitude > 1<<63:
		return 0, NumberOutOfRange
	case negative:
		return int64(-magnitude), ""
	}
	return int64(magnitude), ""
}

// digits splits b after its leading decimal digits.
func digits(b []byte) (leading, rest []byte) {
	i := 0
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return b[:i], b[i:]
}

// appendNumber writes wh as parseNumber reads it, with no more digits than
// needed.
func appendNumber(b []byte, wh int64, decimals int) []byte {
	magnitude := uint64(wh)
	if wh < 0 {
		b = append(b, '-')
		magnitude = -magnitude
	}
	scale := uint64(1)
	for range decimals {
		scale *= 10
	}
	b = strconv.AppendUint(b, magnitude/scale, 10)
	if fraction := magnitude % scale; fraction > 0 {
		b = append(b, '.')
		for fraction > 0 {
			scale /= 10
			b = append(b, byte('0'+fraction/scale))
			fraction %= scale
		}
	}
	return b
}
