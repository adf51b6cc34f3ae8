package estimate_test

import (
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

func mustStrategy(t testing.TB, bins int, precision uint) *dp.Strategy {
	t.Helper()
	s, err := dp.NewStrategy(bins, precision)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lowerBound is the least root mean square error, in units of 1/√(2ρ), that any
// matrix mechanism has on the prefix sums of n bins: the nuclear norm of the
// lower triangular matrix of ones over n.
func lowerBound(n int) float64 {
	sum := 0.0
	for j := 1; j <= n; j++ {
		sum += 1 / (2 * math.Sin(float64(2*j-1)*math.Pi/float64(4*n+2)))
	}
	return sum / float64(n)
}

// rootMeanSquareError returns the root of the mean, and of the greatest, variance of the
// prefix sums at ρ = 1/2, where 1/√(2ρ) is one: with noise for the sensitivity
// that the integer strategy was measured to have.
func rootMeanSquareError(t *testing.T, s *dp.Strategy) (mean, most float64) {
	t.Helper()
	noise, err := dp.GaussianVariance(s.Sensitivity(), dp.RhoUnit/2)
	if err != nil {
		t.Fatal(err)
	}
	variances := estimate.NewPrefixEstimator(s).Variances(noise)
	for _, v := range variances {
		mean += v / float64(len(variances))
		most = max(most, v)
	}
	return math.Sqrt(mean), math.Sqrt(most)
}

// Catches a factorisation that wastes budget, and one whose noise is too small
// to be true: errors are those of the literature, within 5 % of what is possible
// and never below it.
func TestPrefixSumsAreNearTheLowerBound(t *testing.T) {
	for _, c := range []struct {
		bins       int
		mean, most float64
	}{
		{48, 2.04, 2.12},
		{64, 2.13, 2.21},
		{336, 2.64, 2.73},
		{1488, 3.11, 3.20},
		{17520, 3.89, 3.98},
	} {
		if testing.Short() && c.bins > 2000 {
			t.Logf("n = %d: takes time n², left out of a short run", c.bins)
			continue
		}
		mean, most := rootMeanSquareError(t, mustStrategy(t, c.bins, 30))
		ratio := mean / lowerBound(c.bins)
		t.Logf("n = %d: mean %.4f, greatest %.4f, mean over lower bound %.4f", c.bins, mean, most, ratio)
		if ratio < 1 || ratio > 1.05 {
			t.Errorf("n = %d: %v times the lower bound", c.bins, ratio)
		}
		if math.Abs(mean/c.mean-1) > 0.01 || math.Abs(most/c.most-1) > 0.01 {
			t.Errorf("n = %d: error %v, at most %v; want %v, %v", c.bins, mean, most, c.mean, c.most)
		}
	}
}

// Catches a strategy that is good for the sizes of the literature alone.
func TestPrefixSumsAreNearTheLowerBoundForSmallCounts(t *testing.T) {
	for n := 1; n <= 200; n++ {
		mean, _ := rootMeanSquareError(t, mustStrategy(t, n, 30))
		if ratio := mean / lowerBound(n); ratio < 1-1e-9 || ratio > 1.05 {
			t.Errorf("n = %d: %v times the lower bound", n, ratio)
		}
	}
}

// measure returns the sums of contributors in the given bins, without noise.
func measure(t *testing.T, s *dp.Strategy, bins ...int) []int64 {
	t.Helper()
	sum := make([]int64, s.Bins())
	for _, bin := range bins {
		if err := s.Add(sum, bin); err != nil {
			t.Fatal(err)
		}
	}
	return sum
}

// checkSums holds estimates against the exact prefix sums of the given bins, to
// the precision of float64 arithmetic on n numbers.
func checkSums(t *testing.T, s *dp.Strategy, bins ...int) {
	t.Helper()
	got, err := estimate.NewPrefixEstimator(s).Sums(measure(t, s, bins...))
	if err != nil {
		t.Fatal(err)
	}
	counts := make([]float64, s.Bins())
	for _, bin := range bins {
		counts[bin]++
	}
	want := 0.0
	for i, c := range counts {
		want += c
		if math.Abs(got[i]-want) > 1e-9*float64(len(bins)) {
			t.Fatalf("n = %d: %v in bins up to %d, want %v", s.Bins(), got[i], i, want)
		}
	}
}

// Catches an R that does not belong to the strategy: R·B = A, a column at a time,
// all of them for small n; and a bias that grows with the number of
// contributors.
func TestPrefixSumsInvertTheStrategy(t *testing.T) {
	for _, c := range []struct {
		bins      int
		precision uint
	}{{1, 8}, {2, 9}, {3, 30}, {48, 14}, {64, 30}, {64, 40}} {
		s := mustStrategy(t, c.bins, c.precision)
		for bin := range c.bins {
			checkSums(t, s, bin)
		}
	}
	for _, bin := range []int{0, 1, 700, 1486, 1487} {
		checkSums(t, mustStrategy(t, 1488, 30), bin)
	}

	s := mustStrategy(t, 48, 14)
	var many []int
	for i := range 100_000 {
		many = append(many, i*i%48)
	}
	checkSums(t, s, many...)

	if _, err := estimate.NewPrefixEstimator(s).Sums(make([]int64, 47)); !errors.Is(err, dp.ErrLength) {
		t.Errorf("47 sums of 48 bins: %v", err)
	}
}

// Catches variances that are not those of the sums: each is the squared length of
// what unit noise in every coordinate does to it, up to the rounding of entries.
func TestPrefixVariancesAreThoseOfTheSums(t *testing.T) {
	for _, c := range []struct {
		bins      int
		precision uint
	}{{1, 8}, {48, 30}, {64, 15}, {200, 30}} {
		s := mustStrategy(t, c.bins, c.precision)
		p := estimate.NewPrefixEstimator(s)
		noise, err := dp.NewVariance(9, 2)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, c.bins)
		const step = 1 << 40
		for i := range want {
			unit := make([]int64, c.bins)
			unit[i] = step
			response, err := p.Sums(unit)
			if err != nil {
				t.Fatal(err)
			}
			for bin, r := range response {
				want[bin] += 4.5 * (r / step) * (r / step)
			}
		}
		tolerance := 6 * math.Ldexp(float64(c.bins), -int(c.precision))
		for bin, v := range p.Variances(noise) {
			if math.Abs(v/want[bin]-1) > tolerance {
				t.Errorf("n = %d, precision %d: variance %v of bin %d, want %v", c.bins, c.precision, v, bin, want[bin])
			}
		}
	}
}
