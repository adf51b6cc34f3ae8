package dp_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Catches a budget text read as another amount, and texts that two readers
// could take differently.
func TestParseRho(t *testing.T) {
	accept := func(text string, want dp.Rho, canonical string) {
		t.Helper()
		got, err := dp.ParseRho(text)
		if err != nil || got != want || got.String() != canonical {
			t.Errorf("ParseRho(%q) = %d, %v, printed %q; want %d, printed %q", text, got, err, got, want, canonical)
		}
	}
	refuse := func(text string, want error) {
		t.Helper()
		if got, err := dp.ParseRho(text); !errors.Is(err, want) {
			t.Errorf("ParseRho(%q) = %d, %v; want %v", text, got, err, want)
		}
	}
	accept("0", 0, "0")
	accept("0.018", 18_000_000, "0.018")
	accept("0.0180", 18_000_000, "0.018")
	accept("1.0", dp.RhoUnit, "1")
	accept("0.000000001", 1, "0.000000001")
	accept("12.5", 12_500_000_000, "12.5")
	accept("18446744073.709551615", math.MaxUint64, "18446744073.709551615")

	refuse("18446744073.709551616", dp.ErrOverflow)
	refuse("99999999999999999999", dp.ErrOverflow)
	for _, text := range []string{"", ".", ".5", "1.", "01", "00", "-1", "+1", "1e-3", "0x1", "1,5", " 1", "1 ", "0.0000000001", "NaN", "1.2.3", "١"} {
		refuse(text, dp.ErrRhoSyntax)
	}
}

// Catches a printed amount that does not read back as itself.
func FuzzParseRho(f *testing.F) {
	for _, text := range []string{"0", "0.018", "1.0", "18446744073.709551615", "18446744073.709551616", "0.0000000001", "1e9", "007"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := dp.ParseRho(text)
		if err != nil {
			return
		}
		if again, err := dp.ParseRho(r.String()); err != nil || again != r {
			t.Fatalf("%q read as %d, printed as %q, read again as %d, %v", text, r, r, again, err)
		}
	})
}

// Catches a budget that wraps round to a small one.
func TestRhoArithmetic(t *testing.T) {
	if got, err := dp.Rho(18_000_000).Add(2); err != nil || got != 18_000_002 {
		t.Errorf("Add = %d, %v", got, err)
	}
	if got, err := dp.Rho(500_000).Times(365); err != nil || got != 182_500_000 {
		t.Errorf("Times = %d, %v", got, err)
	}
	const most = dp.Rho(math.MaxUint64)
	if got, err := most.Add(0); err != nil || got != most {
		t.Errorf("Add(0) = %d, %v", got, err)
	}
	if got, err := most.Add(1); !errors.Is(err, dp.ErrOverflow) || got != 0 {
		t.Errorf("Add past the end = %d, %v", got, err)
	}
	if got, err := (most/2 + 1).Times(2); !errors.Is(err, dp.ErrOverflow) || got != 0 {
		t.Errorf("Times past the end = %d, %v", got, err)
	}
}

// Catches a budget that passes through JSON as a double.
func TestRhoText(t *testing.T) {
	out, err := json.Marshal(dp.Rho(math.MaxUint64))
	if err != nil || string(out) != `"18446744073.709551615"` {
		t.Errorf("marshalled %s, %v", out, err)
	}
	r := dp.Rho(7)
	if err := json.Unmarshal([]byte(`"0.018"`), &r); err != nil || r != 18_000_000 {
		t.Errorf("unmarshalled %d, %v", r, err)
	}
	if err := json.Unmarshal([]byte(`"1e9"`), &r); err == nil || r != 18_000_000 {
		t.Errorf("unmarshalled %d from a wrong text, %v", r, err)
	}
}
