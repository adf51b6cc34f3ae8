package plan

import (
	"errors"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// streets are homes of two kinds, street by street: the first hundred use 4 kWh a day,
// the next 12 kWh with one home of 112, and so on in turns; all in one hour.
type streets int

func (s streets) Households() int { return int(s) }

func (s streets) Fill(h int, wh []int64) {
	clear(wh)
	hour, energy := 7, int64(4000)
	if h/100%2 == 1 {
		hour, energy = 19, 12_000
		if h%100 == 0 {
			energy = 112_000
		}
	}
	wh[2*hour] = energy
}

// What a plan says of counts and energy is the noise of its own formula, beside what the
// reference shows without a release. It would catch a σ of another sensitivity, a
// baseline that is measured on something else, and percentages of the wrong whole.
func TestOutlooks(t *testing.T) {
	const homes = 2000
	sizes, rhos := []int{homes, 100}, []dp.Rho{500_000_000, 2_000_000}
	edges := []int64{0, 8000, 50_000, 200_000}
	sigma := func(i int) float64 { return 1 / math.Sqrt(2*float64(rhos[i])/1e9) }
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-3*math.Abs(want)+1e-9 {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}

	count, err := Households(streets(homes), sizes, rhos)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		near("a count's error", count[i].Error, sigma(i)/float64(size))
	}

	votes, err := Histogram(streets(homes), edges, sizes, rhos)
	if err != nil {
		t.Fatal(err)
	}
	near("a histogram's error", votes[1].Error, sigma(1)/100)
	near("a region's baseline", votes[0].Baseline, 0)
	// A street has 100, 0, 0 or 0, 99, 1 of what is meant: 50, 49.5, 0.5.
	near("a street's baseline", votes[1].Baseline, math.Sqrt((50.*50+49.5*49.5+.5*.5)/3)/100)

	peaks, err := Histogram(streets(homes), nil, sizes, rhos)
	if err != nil {
		t.Fatal(err)
	}
	near("a street's peaks", peaks[1].Baseline, math.Sqrt(2*50.*50/24)/100)

	ranks, err := Quantiles(streets(homes), edges, sizes, rhos)
	if err != nil {
		t.Fatal(err)
	}
	// Of prefix sums of three bins the factorisation's mean squared error is within 1.2 of σ².
	if r := ranks[1].Error / (sigma(1) / 100); r < 1 || r > 1.5 {
		t.Errorf("a rank's error is %v of one count's", r)
	}
	near("a street's ranks", ranks[1].Baseline, math.Sqrt((50.*50+.5*.5)/3)/100)

	energy, err := Energy(streets(homes), sizes, rhos)
	if err != nil {
		t.Fatal(err)
	}
	load := 100 * (4000. + 12_000 + 1000) / 2
	near("a street's energy without a release", energy[1].Baseline, (load-100*4000)/load)
	for i, e := range energy {
		if e.ClipWh < 4000 || e.ClipWh > 130_000 || e.Error < sigma(i)*float64(e.ClipWh)/(load*float64(sizes[i])/100)*(1-1e-9) {
			t.Errorf("level %d: C = %d, error %v", i, e.ClipWh, e.Error)
		}
	}

	for _, sizes := range [][]int{{homes, 99}, {homes}, {}} {
		if _, err := Energy(streets(homes), sizes, rhos); !errors.Is(err, ErrTree) && !errors.Is(err, ErrRho) {
			t.Errorf("%v: %v", sizes, err)
		}
	}
}
