package dp_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Catches a wrong factor between clip, noise and budget: σ = C/√(2ρ).
func TestGaussianVariance(t *testing.T) {
	for _, c := range []struct {
		bound int64
		rho   string
		want  string
	}{
		{1, "0.5", "1"},
		{1, "0.01", "50"},
		{1, "0.03", "50/3"},
		{1, "2", "1/4"},
		{3000, "0.5", "9000000"}, // σ = 3 kWh
		{3000, "0.006", "750000000"},
		{10000, "0.006000001", "50000000000000000/6000001"},
		{dp.MaxBound, "0.5", "1208925819614629174706176"},
	} {
		rho, err := dp.ParseRho(c.rho)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := dp.GaussianVariance(c.bound, rho); err != nil || v.String() != c.want {
			t.Errorf("GaussianVariance(%d, %v) = %v, %v; want %s", c.bound, rho, v, err, c.want)
		}
	}
	for _, c := range []struct {
		bound int64
		rho   dp.Rho
		want  error
	}{
		{0, 1, dp.ErrBound},
		{-1, 1, dp.ErrBound},
		{dp.MaxBound + 1, dp.RhoUnit, dp.ErrBound},
		{1, 0, dp.ErrVariance},
		{dp.MaxBound, dp.RhoUnit/2 - 1, dp.ErrVariance}, // σ above 2^40
		{1, 1<<36 + 1, dp.ErrVariance},
	} {
		if v, err := dp.GaussianVariance(c.bound, c.rho); !errors.Is(err, c.want) {
			t.Errorf("GaussianVariance(%d, %d) = %v, %v; want %v", c.bound, c.rho, v, err, c.want)
		}
	}
}

// Catches noise planned for one budget that is charged, or worth, more than it.
func TestRhoOfPlannedVarianceIsTheBudget(t *testing.T) {
	s := stream{label: "account"}
	for range 2000 {
		bound, rho := int64(1+s.word()%1_000_000), dp.Rho(1+s.word()%(60*uint64(dp.RhoUnit)))
		v, err := dp.GaussianVariance(bound, rho)
		if err != nil {
			t.Fatalf("GaussianVariance(%d, %d): %v", bound, rho, err)
		}
		if back, err := dp.RhoOf(bound, v); err != nil || back != rho {
			t.Fatalf("C = %d, ρ = %v: σ² = %v is charged %v, %v", bound, rho, v, back, err)
		}
	}
}

// Catches a charge below what is spent, or more than one unit above: the least
// whole number of 1e-9 with charge ≥ C²/(2σ²).
func TestRhoOfRoundsUp(t *testing.T) {
	s := stream{label: "round up"}
	for range 2000 {
		bound := int64(s.word() >> 34)
		v, err := dp.NewVariance(s.word()>>(s.word()%60)|1, s.word()>>(28+s.word()%30)|1)
		if err != nil {
			t.Fatal(err)
		}
		spent := new(big.Rat).SetInt64(bound)
		spent.Mul(spent, spent).Quo(spent, v.Rat()).Mul(spent, big.NewRat(1e9, 2))
		rho, err := dp.RhoOf(bound, v)
		if errors.Is(err, dp.ErrOverflow) {
			if spent.Cmp(new(big.Rat).SetInt(new(big.Int).SetUint64(math.MaxUint64))) <= 0 {
				t.Fatalf("RhoOf(%d, %v) does not overflow: %v", bound, v, spent)
			}
			continue
		}
		charged := new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(rho)))
		excess := new(big.Rat).Sub(charged, spent)
		if err != nil || excess.Sign() < 0 || excess.Cmp(big.NewRat(1, 1)) >= 0 {
			t.Fatalf("RhoOf(%d, %v) = %d units, %v; spent %v", bound, v, rho, err, spent)
		}
	}
	for _, bound := range []int64{-1, dp.MaxBound + 1} {
		if rho, err := dp.RhoOf(bound, mustVariance(t, "1")); !errors.Is(err, dp.ErrBound) {
			t.Errorf("RhoOf(%d, 1) = %v, %v", bound, rho, err)
		}
	}
}
