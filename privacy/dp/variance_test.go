package dp_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Catches a variance outside what the sampler can carry, or one value under
// two texts.
func TestParseVariance(t *testing.T) {
	for _, text := range []string{
		"1", "1/3", "50/3", "750000000", "50000000000000000/6000001",
		"1208925819614629174706176",                       // 2^80
		"1/68719476736",                                   // 1/2^36
		"83076749735348316236873312092815359/68719476735", // just below 2^80
	} {
		if v, err := dp.ParseVariance(text); err != nil || v.String() != text {
			t.Errorf("ParseVariance(%q) = %v, %v", text, v, err)
		}
	}
	for _, text := range []string{
		"", "0", "-1", "0/1", "1/0", "/3", "1/", "2/6", "6/2", "3/1", "01", "+1", "1.5", "1e3", "1/3/5", " 1",
		"1208925819614629174706177", "1/68719476737",
		"1000000000000000000000000000000000000000000000000000000000000000000",
	} {
		if v, err := dp.ParseVariance(text); !errors.Is(err, dp.ErrVariance) {
			t.Errorf("ParseVariance(%q) = %v, %v", text, v, err)
		}
	}
}

// Catches a text that is accepted but not the one String writes.
func FuzzParseVariance(f *testing.F) {
	for _, text := range []string{"1", "1/3", "2/6", "0/1", "1208925819614629174706177", "/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := dp.ParseVariance(text); err == nil && v.String() != text {
			t.Fatalf("%q read as %v", text, v)
		}
	})
}

func TestNewVariance(t *testing.T) {
	third, err := dp.NewVariance(2, 6)
	if err != nil || third != mustVariance(t, "1/3") || third.Rat().Cmp(big.NewRat(1, 3)) != 0 {
		t.Errorf("NewVariance(2, 6) = %v, %v", third, err)
	}
	if got := mustVariance(t, "9").Sigma(); got != 3 {
		t.Errorf("σ of variance 9 is %v", got)
	}
	for _, bad := range [][2]uint64{{0, 1}, {1, 0}, {1, 1<<36 + 1}} {
		if v, err := dp.NewVariance(bad[0], bad[1]); !errors.Is(err, dp.ErrVariance) {
			t.Errorf("NewVariance(%d, %d) = %v, %v", bad[0], bad[1], v, err)
		}
	}
	if v, err := dp.NewVariance(math.MaxUint64, 1); err != nil || v.String() != "18446744073709551615" {
		t.Errorf("NewVariance of the greatest word = %v, %v", v, err)
	}
}

func mustVariance(t testing.TB, text string) dp.Variance {
	t.Helper()
	v, err := dp.ParseVariance(text)
	if err != nil {
		t.Fatalf("ParseVariance(%q): %v", text, err)
	}
	return v
}
