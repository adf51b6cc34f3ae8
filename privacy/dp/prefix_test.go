package dp_test

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

func mustStrategy(t testing.TB, bins int, precision uint) *dp.Strategy {
	t.Helper()
	s, err := dp.NewStrategy(bins, precision)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// column returns what one contributor in a bin adds to sums of zero.
func column(t testing.TB, s *dp.Strategy, bin int) []int64 {
	t.Helper()
	sum := make([]int64, s.Bins())
	if err := s.Add(sum, bin); err != nil {
		t.Fatal(err)
	}
	return sum
}

// toeplitz returns f_0 … f_(n-1) as fractions, from the binomials themselves.
func toeplitz(n int) []*big.Rat {
	f := make([]*big.Rat, n)
	for m := range f {
		binomial := new(big.Int).Binomial(int64(2*m), int64(m))
		f[m] = new(big.Rat).SetFrac(binomial, new(big.Int).Lsh(big.NewInt(1), uint(2*m)))
	}
	return f
}

// tailSquares returns d_j², j = 0 … n-1.
func tailSquares(f []*big.Rat) []*big.Rat {
	n := len(f)
	d2, sum := make([]*big.Rat, n), new(big.Rat)
	for m, x := range f {
		sum.Add(sum, new(big.Rat).Mul(x, x))
		d2[n-1-m] = new(big.Rat).Set(sum)
	}
	return d2
}

// isFloor says whether e = ⌊2^k·f/d⌋, that is e²·d² ≤ 4^k·f² < (e+1)²·d².
func isFloor(e int64, k uint, f, d2 *big.Rat) bool {
	real2 := new(big.Rat).Mul(f, f)
	real2.Mul(real2, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 2*k)))
	at := func(e int64) *big.Rat { return new(big.Rat).Mul(new(big.Rat).SetInt(square(e)), d2) }
	return e >= 0 && at(e).Cmp(real2) <= 0 && at(e+1).Cmp(real2) > 0
}

// The columns another implementation must reproduce: 1, 1/2, 3/8 over
// √(1 + 1/4 + 9/64) = 1.17924…, then over √(5/4), then over 1.
func TestStrategyColumns(t *testing.T) {
	s := mustStrategy(t, 3, 10)
	for bin, want := range [][]int64{{868, 434, 325}, {0, 915, 457}, {0, 0, 1024}} {
		if got := column(t, s, bin); !slices.Equal(got, want) {
			t.Errorf("column %d is %v, want %v", bin, got, want)
		}
		got, err := s.AppendColumn([]int64{7}, bin)
		if err != nil || !slices.Equal(got, append([]int64{7}, want[bin:]...)) {
			t.Errorf("column %d appended is %v, %v", bin, got, err)
		}
	}
	if s.Bins() != 3 || s.Precision() != 10 || s.Sensitivity() != 1024 {
		t.Errorf("%d bins, precision %d, sensitivity %d", s.Bins(), s.Precision(), s.Sensitivity())
	}
}

// Catches an entry that is not the truncated one of the factorisation: the
// columns of other strategies, a rounded entry, an error in the tables.
func TestStrategyEntriesAreExactFloors(t *testing.T) {
	for _, c := range []struct {
		bins      int
		precision uint
	}{{1, 8}, {2, 40}, {7, 11}, {48, 30}, {64, 40}, {130, 27}} {
		s := mustStrategy(t, c.bins, c.precision)
		f := toeplitz(c.bins)
		for bin, d2 := range tailSquares(f) {
			for i, e := range column(t, s, bin) {
				if i < bin && e != 0 || i >= bin && !isFloor(e, c.precision, f[i-bin], d2) {
					t.Fatalf("%d bins, precision %d: entry %d of column %d is %d", c.bins, c.precision, i, bin, e)
				}
			}
		}
	}
}

// Catches tables that do not factor the prefix sums: C·C = A, and the inverse of
// C has the coefficients of √(1-z), in fractions; what Factors tells of f and of
// 1/d is what they are, truncated.
func TestStrategyFactorsThePrefixSums(t *testing.T) {
	const n = 64
	f := toeplitz(n)
	g := []*big.Rat{big.NewRat(1, 1)}
	for m := int64(1); m < n; m++ {
		g = append(g, new(big.Rat).Mul(g[m-1], big.NewRat(2*m-3, 2*m)))
	}
	for m := range n {
		ones, unit := new(big.Rat), new(big.Rat)
		for i := range m + 1 {
			ones.Add(ones, new(big.Rat).Mul(f[i], f[m-i]))
			unit.Add(unit, new(big.Rat).Mul(f[i], g[m-i]))
		}
		if ones.Cmp(big.NewRat(1, 1)) != 0 || (unit.Sign() != 0) != (m == 0) {
			t.Fatalf("diagonal %d: C·C has %v, C·C^-1 has %v", m, ones, unit)
		}
	}

	gotF, gotInverse := mustStrategy(t, n, 30).Factors()
	for j, d2 := range tailSquares(f) {
		if !isFloor(int64(gotF[j]>>1), 62, f[j], big.NewRat(1, 1)) {
			t.Errorf("f_%d is given as %d/2^63", j, gotF[j])
		}
		if !isFloor(int64(gotInverse[j]>>1), 62, big.NewRat(1, 1), d2) {
			t.Errorf("1/d_%d is given as %d/2^63", j, gotInverse[j])
		}
	}
}

// columnNorm returns the L2 norm of a column, rounded up, in unbounded integers.
func columnNorm(column []int64) int64 {
	sum := new(big.Int)
	for _, e := range column {
		sum.Add(sum, square(e))
	}
	root := new(big.Int).Sqrt(sum)
	if new(big.Int).Mul(root, root).Cmp(sum) < 0 {
		root.Add(root, big.NewInt(1))
	}
	return root.Int64()
}

// longest returns the greatest norm of any column.
func longest(bins int, column func(bin int) []int64) (norm int64) {
	for bin := range bins {
		norm = max(norm, columnNorm(column(bin)))
	}
	return norm
}

// Catches a sensitivity below what some contributor adds, or one that wastes
// noise: it is the norm of the longest column, as Add adds it.
func TestStrategySensitivityIsTheLongestColumn(t *testing.T) {
	for _, c := range []struct {
		bins      int
		precision uint
	}{{1, 8}, {2, 9}, {3, 40}, {48, 16}, {64, 30}, {336, 30}, {500, 17}} {
		s := mustStrategy(t, c.bins, c.precision)
		if want := longest(c.bins, func(bin int) []int64 { return column(t, s, bin) }); s.Sensitivity() != want {
			t.Errorf("%d bins, precision %d: sensitivity %d, the longest column has %d", c.bins, c.precision, s.Sensitivity(), want)
		}
		if s.Sensitivity() > 1<<c.precision {
			t.Errorf("%d bins, precision %d: sensitivity %d is above one contributor's unit", c.bins, c.precision, s.Sensitivity())
		}
	}
}

// variants are other square-root strategies, which a slip of the pen would
// build: they factor A just as well. Entry i, j of each, for i ≥ j.
var variants = map[string]func(f, d []float64, i, j int) float64{
	// (C·D)·(D^-1·C): norms up to 1.03 at n = 48, and an error that looks
	// smaller than that of the real one.
	"normalised from the left": func(f, d []float64, i, j int) float64 { return f[i-j] / d[i] },
	"rows of norm one": func(f, _ []float64, i, j int) float64 {
		squares := 0.0
		for _, x := range f[:i+1] {
			squares += x * x
		}
		return f[i-j] / math.Sqrt(squares)
	},
	"not normalised": func(f, _ []float64, i, j int) float64 { return f[i-j] },
}

// variant returns a column of a variant in integers.
func variant(name string, bins int, precision uint) func(bin int) []int64 {
	f, d := make([]float64, bins), make([]float64, bins)
	rats := toeplitz(bins)
	for j, d2 := range tailSquares(rats) {
		f[j], _ = rats[j].Float64()
		x, _ := d2.Float64()
		d[j] = math.Sqrt(x)
	}
	return func(bin int) []int64 {
		column := make([]int64, bins)
		for i := bin; i < bins; i++ {
			column[i] = int64(math.Ldexp(variants[name](f, d, i, bin), int(precision)))
		}
		return column
	}
}

// Catches a TestStrategySensitivityIsTheLongestColumn that would pass anything:
// strategies whose columns are not of norm one have a larger sensitivity.
func TestStrategySensitivityHasTeeth(t *testing.T) {
	const bins, precision = 48, 30
	for name, least := range map[string]float64{
		"normalised from the left": 1.025,
		"rows of norm one":         1.2,
		"not normalised":           1.3,
	} {
		norm := math.Ldexp(float64(longest(bins, variant(name, bins, precision))), -precision)
		t.Logf("%s: the longest column has %.4f", name, norm)
		if norm < least {
			t.Errorf("%s: the longest column has %v, expected above %v", name, norm, least)
		}
	}
}

// Catches a sum that wraps, or one left half added.
func TestStrategyAddRefuses(t *testing.T) {
	s := mustStrategy(t, 3, 10)
	for _, c := range []struct {
		name string
		sum  []int64
		bin  int
		want error
	}{
		{"too short", []int64{1, 2}, 0, dp.ErrLength},
		{"too long", []int64{1, 2, 3, 4}, 0, dp.ErrLength},
		{"bin below", []int64{1, 2, 3}, -1, dp.ErrBin},
		{"bin above", []int64{1, 2, 3}, 3, dp.ErrBin},
		{"first full", []int64{math.MaxInt64 - 867, 0, 0}, 0, dp.ErrOverflow},
		{"last full", []int64{5, -6, math.MaxInt64 - 324}, 0, dp.ErrOverflow},
		{"last just not full", []int64{5, -6, math.MaxInt64 - 325}, 0, nil},
		{"from the bottom", []int64{math.MinInt64, math.MinInt64, math.MinInt64}, 0, nil},
	} {
		sum := slices.Clone(c.sum)
		err := s.Add(sum, c.bin)
		if !errors.Is(err, c.want) || err != nil && !slices.Equal(sum, c.sum) {
			t.Errorf("%s: %v, sum %v; want %v", c.name, err, sum, c.want)
		}
	}
	for _, bin := range []int{-1, 3} {
		if got, err := s.AppendColumn([]int64{7}, bin); !errors.Is(err, dp.ErrBin) || !slices.Equal(got, []int64{7}) {
			t.Errorf("AppendColumn of %d: %v, %v", bin, got, err)
		}
	}
}

// Catches a strategy whose rounding is not small, or whose size was given by
// mistake.
func TestNewStrategyRefuses(t *testing.T) {
	for _, c := range []struct {
		bins      int
		precision uint
		want      error
	}{
		{1, 8, nil},
		{48, 14, nil},
		{48, 40, nil},
		{0, 30, dp.ErrBin},
		{-1, 30, dp.ErrBin},
		{dp.MaxBins + 1, 30, dp.ErrBin},
		{48, 13, dp.ErrPrecision},
		{dp.MaxBins, 22, dp.ErrPrecision},
		{48, 41, dp.ErrPrecision},
		{48, math.MaxUint, dp.ErrPrecision},
	} {
		if _, err := dp.NewStrategy(c.bins, c.precision); !errors.Is(err, c.want) {
			t.Errorf("%d bins, precision %d: %v, want %v", c.bins, c.precision, err, c.want)
		}
	}
}

// Catches what the tests above catch, where nobody thought of looking: Add adds
// exact floors, or nothing.
func FuzzStrategyAdd(f *testing.F) {
	f.Add(uint8(3), uint8(10), uint8(0), int64(0), int64(math.MaxInt64-324))
	f.Add(uint8(48), uint8(30), uint8(47), int64(-1), int64(1))
	f.Add(uint8(60), uint8(40), uint8(7), int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, bins, precision, bin uint8, first, last int64) {
		n, k := int(bins%64), uint(precision%44)
		s, err := dp.NewStrategy(n, k)
		if err != nil {
			return
		}
		if int(bin) >= n {
			if err := s.Add(make([]int64, n), int(bin)); !errors.Is(err, dp.ErrBin) {
				t.Fatalf("%d bins, bin %d: %v", n, bin, err)
			}
			return
		}
		one, rats := column(t, s, int(bin)), toeplitz(n)
		for i, e := range one {
			if i < int(bin) && e != 0 || i >= int(bin) && !isFloor(e, k, rats[i-int(bin)], tailSquares(rats)[bin]) {
				t.Fatalf("%d bins, precision %d: column %d is %v", n, k, bin, one)
			}
		}
		before := make([]int64, n)
		before[0], before[n-1] = first, last
		want, fits := slices.Clone(before), true
		for i, e := range one {
			fits = fits && before[i] <= math.MaxInt64-e
			want[i] += e
		}
		if !fits {
			want = before
		}
		sum := slices.Clone(before)
		if err := s.Add(sum, int(bin)); errors.Is(err, dp.ErrOverflow) == fits || !slices.Equal(sum, want) {
			t.Fatalf("%d bins, precision %d, bin %d: %v to %v, %v; want %v", n, k, bin, before, sum, err, want)
		}
	})
}
