package dp_test

import (
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// The draws of these tests come from crypto/rand through the exported
// functions, so they are new every time; each comment gives the odds that a test
// fails though nothing is wrong.
const (
	sample = 200_000   // shows a scale wrong by 2 %
	large  = 1_000_000 // and by 1 %, or a tail cut at 3.5σ
)

// statistical skips a test that needs hundreds of thousands of draws.
func statistical(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a second of draws, twenty under the race detector: not run with -short")
	}
}

func drawGaussian(t *testing.T, v dp.Variance, n int) []int64 {
	t.Helper()
	draws := make([]int64, n)
	if err := dp.DrawGaussian(draws, v); err != nil {
		t.Fatal(err)
	}
	return draws
}

// Catches a wrong scale, shape or tail of the Gaussian, at every size of the
// arithmetic: one machine word, two, and four. False alarm: at most 1e-5 for
// each variance, see misfit.
func TestDrawGaussianShape(t *testing.T) {
	statistical(t)
	for _, text := range []string{"1/3", "1", "9", "10000", "100000000"} {
		v := mustVariance(t, text)
		if m := gaussianLaw(v).cut(0.01).misfit(drawGaussian(t, v, large)); m > 1 {
			t.Errorf("variance %v: draws do not fit the exact probabilities: %.2f of the limit", v, m)
		}
	}
	for _, text := range []string{"50000000000000000/6000001", "1000000000000000000", "1208925819614629174706176"} {
		v := mustVariance(t, text)
		if m := normalBins(v).misfit(drawGaussian(t, v, sample)); m > 1 {
			t.Errorf("variance %v: draws do not fit the exact probabilities: %.2f of the limit", v, m)
		}
	}
}

// Catches a wrong scale or shape of the Laplace, for whole, fractional and
// large scales. False alarm: at most 1e-5 for each scale, see misfit.
func TestDrawLaplaceShape(t *testing.T) {
	statistical(t)
	for _, scale := range [][2]uint64{{1, 2}, {1, 1}, {7, 3}, {1000, 1}, {1_000_003, 7}} {
		draws := make([]int64, sample)
		if err := dp.DrawLaplace(draws, scale[0], scale[1]); err != nil {
			t.Fatal(err)
		}
		if m := laplaceLaw(scale[0], scale[1]).cut(0.01).misfit(draws); m > 1 {
			t.Errorf("scale %d/%d: draws do not fit the exact probabilities: %.2f of the limit", scale[0], scale[1], m)
		}
	}
}

// Catches a stock of Laplace draws that has another law than the sampler's, or that
// hands a draw to two coordinates: added to empty sums of several lengths until it
// is used up, the stock is the exact law, and neighbours are independent, in 8×8
// cells. False alarm: at most 1e-5 for each of the two, see misfit.
func TestLaplaceNoiseShape(t *testing.T) {
	statistical(t)
	for _, scale := range [][2]uint64{{7, 3}, {1000, 1}} {
		noise, err := dp.DrawLaplaceNoise(sample, scale[0], scale[1])
		if err != nil {
			t.Fatal(err)
		}
		draws := make([]int64, sample)
		for rest, n := draws, 1; len(rest) > 0; n = min(2*n, len(rest)) {
			if err := noise.AddTo(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if noise.Len() != 0 {
			t.Errorf("%d draws are left", noise.Len())
		}
		l := laplaceLaw(scale[0], scale[1])
		if m := l.cut(0.01).misfit(draws); m > 1 {
			t.Errorf("scale %d/%d: noise does not fit the exact probabilities: %.2f of the limit", scale[0], scale[1], m)
		}
		if m := eighths(l).misfitPairs(draws); m > 1 {
			t.Errorf("scale %d/%d: neighbouring draws depend on each other: %.2f of the limit", scale[0], scale[1], m)
		}
	}
}

// Catches a bias and an under-noised sampler by their plainest numbers. Mean
// and mean square of n draws are nearly normal around the exact moments; each
// is beyond 5 standard errors with probability 5.8e-7.
func TestDrawGaussianMoments(t *testing.T) {
	statistical(t)
	for _, text := range []string{"1/3", "1", "9", "10000", "100000000"} {
		v := mustVariance(t, text)
		l := gaussianLaw(v)
		m2, m4 := l.moment(2), l.moment(4)
		var sum, squares float64
		for _, x := range drawGaussian(t, v, sample) {
			sum += float64(x)
			squares += float64(x) * float64(x)
		}
		mean, square := sum/sample, squares/sample
		if se := math.Sqrt(m2 / sample); math.Abs(mean) > 5*se {
			t.Errorf("variance %v: mean %v, standard error %v", v, mean, se)
		}
		if se := math.Sqrt((m4 - m2*m2) / sample); math.Abs(square-m2) > 5*se {
			t.Errorf("variance %v: mean square %v, want %v ± %v", v, square, m2, se)
		}
	}
}

// Catches draws that depend on their neighbours, as when one draw serves two
// coordinates or bits of one word are used twice: pairs in 8×8 cells (false
// alarm at most 1e-5, see misfit), and the correlation at distances 1 to 4,
// each normal with standard error 1/√n and beyond 5 of those with probability
// 5.8e-7.
func TestDrawGaussianIndependence(t *testing.T) {
	statistical(t)
	for _, text := range []string{"1", "10000", "100000000"} {
		v := mustVariance(t, text)
		l := gaussianLaw(v)
		draws := drawGaussian(t, v, sample)
		if m := eighths(l).misfitPairs(draws); m > 1 {
			t.Errorf("variance %v: neighbouring draws depend on each other: %.2f of the limit", v, m)
		}
		m2 := l.moment(2)
		for lag := 1; lag <= 4; lag++ {
			products := 0.0
			for i := range len(draws) - lag {
				products += float64(draws[i]) * float64(draws[i+lag])
			}
			r := products / (m2 * sample)
			if math.Abs(r) > 5/math.Sqrt(sample) {
				t.Errorf("variance %v: correlation %v at distance %d", v, r, lag)
			}
		}
	}
}

// eighths cuts l into at most eight bins without finer tails.
func eighths(l law) bins {
	var b bins
	below, mass := 0.0, 0.0
	for i, p := range l.p {
		if mass += p; mass >= 0.125 && below+mass < 0.95 {
			b.last, b.p = append(b.last, l.lo+int64(i)), append(b.p, mass)
			below, mass = below+mass, 0
		}
	}
	b.p = append(b.p, 1-below)
	return b
}

// Catches statistical tests that would pass anything: each broken sampler must
// exceed the limit that a right one keeps. The mildest, a scale 3 % low, adds
// n(1-0.97²)²/2 = 349 to a statistic of mean 115 whose limit is 211; with a
// standard deviation of 40 it is missed with odds below 1e-8. The others add
// thousands.
func TestMisfitHasTeeth(t *testing.T) {
	statistical(t)
	v := mustVariance(t, "10000")
	l := gaussianLaw(v)
	fit := func(change func(int64) int64) float64 {
		draws := drawGaussian(t, v, sample)
		for i, x := range draws {
			draws[i] = change(x)
		}
		return l.cut(0.01).misfit(draws)
	}
	for name, change := range map[string]func(int64) int64{
		"scale 3 % low":  func(x int64) int64 { return x * 97 / 100 },
		"cut at 2σ":      func(x int64) int64 { return max(-200, min(200, x)) },
		"shifted by σ/8": func(x int64) int64 { return x + 12 },
		"coarse steps":   func(x int64) int64 { return x &^ 31 },
		"half normal":    func(x int64) int64 { return max(x, -x) },
	} {
		if m := fit(change); m < 1 {
			t.Errorf("%s passes at %.2f of the limit", name, m)
		}
	}
	draws := drawGaussian(t, v, sample)
	for i := 1; i < len(draws); i += 2 {
		draws[i] = draws[i-1]
	}
	if m := eighths(l).misfitPairs(draws); m < 1 {
		t.Errorf("one draw used for two coordinates passes at %.2f of the limit", m)
	}
}
