package profile

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

// Every Wh of every bill passes here: this catches rounding, a lost sign, an
// accepted exponent and an overflow that wraps.
func TestParseNumber(t *testing.T) {
	for _, c := range []struct {
		text     string
		decimals int
		want     int64
		kind     Kind
	}{
		{"0", 3, 0, ""},
		{"-0.0", 3, 0, ""},
		{"0.03", 3, 30, ""},
		{"1", 3, 1000, ""},
		{"1.39", 3, 1390, ""},
		{"115.232", 3, 115232, ""},
		{"-36.48", 3, -36480, ""},
		{"0.500000", 3, 500, ""},
		{"007.5", 3, 7500, ""},
		{"9223372036854775.807", 3, math.MaxInt64, ""},
		{"-9223372036854775.808", 3, math.MinInt64, ""},
		{"0.0001", 3, 0, FractionalWattHours},
		{"1.2345", 3, 0, FractionalWattHours},
		{"9223372036854775.808", 3, 0, NumberOutOfRange},
		{"-9223372036854775.809", 3, 0, NumberOutOfRange},
		{"18446744073709551.616", 3, 0, NumberOutOfRange},
		{"99999999999999999999999999", 3, 0, NumberOutOfRange},
		{"30", 0, 30, ""},
		{"30.0", 0, 30, ""},
		{"30.5", 0, 0, FractionalWattHours},
		{"-9223372036854775808", 0, math.MinInt64, ""},
		{"9223372036854775808", 0, 0, NumberOutOfRange},
		{"", 3, 0, BadNumber},
		{"-", 3, 0, BadNumber},
		{".", 3, 0, BadNumber},
		{".5", 3, 0, BadNumber},
		{"5.", 3, 0, BadNumber},
		{"+1", 3, 0, BadNumber},
		{"--1", 3, 0, BadNumber},
		{" 1", 3, 0, BadNumber},
		{"1 ", 3, 0, BadNumber},
		{"1e3", 3, 0, BadNumber},
		{"1.2.3", 3, 0, BadNumber},
		{"1.2345x", 3, 0, BadNumber},
		{"0x1", 3, 0, BadNumber},
		{"NaN", 3, 0, BadNumber},
		{"1_000", 3, 0, BadNumber},
		{"\"1\"", 3, 0, BadNumber},
		{"١", 3, 0, BadNumber},
	} {
		got, kind := parseNumber([]byte(c.text), c.decimals)
		if got != c.want || kind != c.kind {
			t.Errorf("parseNumber(%q, %d) = %d, %q; want %d, %q", c.text, c.decimals, got, kind, c.want, c.kind)
		}
	}
}

// Against math/big: what is accepted is the exact number, what is called
// fractional or out of range is, and what is written is read again.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0.03", "-36.48", "115.232", "9223372036854775.807", "-9223372036854775.808", "1.2345", "1e3", "00.000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, decimals := range []int{0, 3} {
			got, kind := parseNumber([]byte(s), decimals)
			if kind == BadNumber {
				continue
			}
			if strings.Trim(s, "-.0123456789") != "" {
				t.Fatalf("%q taken for a number", s)
			}
			exact, ok := new(big.Rat).SetString(s)
			if !ok {
				t.Fatalf("%q taken for a number", s)
			}
			exact.Mul(exact, big.NewRat([]int64{1, 10, 100, 1000}[decimals], 1))
			switch {
			case !exact.IsInt():
				if kind != FractionalWattHours {
					t.Errorf("%q is fractional, got %d, %q", s, got, kind)
				}
			case !exact.Num().IsInt64():
				if kind != NumberOutOfRange {
					t.Errorf("%q is out of range, got %d, %q", s, got, kind)
				}
			case kind != "" || exact.Num().Int64() != got:
				t.Errorf("%q: got %d, %q; want %s", s, got, kind, exact.Num())
			default:
				written := appendNumber(nil, got, decimals)
				if again, kind := parseNumber(written, decimals); again != got || kind != "" {
					t.Errorf("%d written as %q and read as %d, %q", got, written, again, kind)
				}
			}
		}
	})
}
