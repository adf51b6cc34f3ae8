package population_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/privacy/population"
)

func generate(tb testing.TB, m population.Model, seed byte, households int) *population.Population {
	tb.Helper()
	p, err := population.Generate(m, [32]byte{seed}, households)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func curve(c population.Curves, household int) []int64 {
	wh := make([]int64, population.Intervals)
	c.Fill(household, wh)
	return wh
}

// quiet is a model with next to nothing but what a test adds.
func quiet() population.Model {
	m := population.Default()
	m.Level, m.LevelSpread, m.FeederSpread, m.BaseShare = 1, 0, 0, 0.5
	m.Appliances.PerDay, m.Cars.Share, m.Heating.Share = 0, 0, 0
	m.Cars.ShareSpread, m.Heating.ShareSpread = 0, 0
	return m
}

// Catches another population under the same seed: a draw that was moved, a table
// rounded elsewhere, a machine whose arithmetic reaches the values. Figures that
// were measured on a seed could not be measured again. If the change is meant,
// give the streams a new name with it.
func TestSeedMeansTheSameEverywhere(t *testing.T) {
	p := generate(t, population.Default(), 1, 1000)
	for _, c := range []struct {
		name   string
		curves population.Curves
		sum    string
	}{
		{"day 0", p.Day(0), "a2849fce9a4e2a90"},
		{"day 7", p.Day(7), "574f2cb5b3905744"},
		{"20 days", p.Mean(20), "cded58e4928e8e7d"},
	} {
		h := sha256.New()
		for _, wh := range c.curves.All() {
			for _, v := range wh {
				h.Write(binary.LittleEndian.AppendUint16(nil, uint16(v)))
			}
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != c.sum {
			t.Errorf("%s: %s, not %s", c.name, got, c.sum)
		}
	}
}

// Catches a household that changes with the size of its population, the order in
// which households are asked for, or who else is asking.
func TestHouseholdIsItsOwn(t *testing.T) {
	small, large := generate(t, population.Default(), 1, 101), generate(t, population.Default(), 1, 1_000_000)
	want := curve(small.Day(3), 100)
	day := large.Day(3)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			curve(day, 999_999-worker)
			if got := curve(day, 100); !slices.Equal(got, want) {
				t.Errorf("alone %v, among a million %v", want, got)
			}
		})
	}
	wg.Wait()
}

// Catches draws that are used twice: seeds, households or days that are copies.
func TestNothingIsDrawnTwice(t *testing.T) {
	p, q := generate(t, population.Default(), 1, 200), generate(t, population.Default(), 2, 200)
	seen := make(map[[population.Intervals]int64]string)
	for name, c := range map[string]population.Curves{"day 0": p.Day(0), "day 1": p.Day(1), "other seed": q.Day(0)} {
		for _, wh := range c.All() {
			key := [population.Intervals]int64(wh)
			if before, ok := seen[key]; ok {
				t.Fatalf("%s repeats %s", name, before)
			}
			seen[key] = name
		}
	}
}

// Catches a mean of other days or other people than Day shows, and rounding that
// cuts off: the sum of many means would drift.
func TestMeanIsOfTheDays(t *testing.T) {
	const days = 3
	p := generate(t, population.Default(), 1, 50)
	for household, mean := range p.Mean(days).All() {
		var sum [population.Intervals]int64
		for day := range days {
			for i, v := range curve(p.Day(day), household) {
				sum[i] += v
			}
		}
		for i, v := range mean {
			if want := int64(math.Round(float64(sum[i]) / days)); v != want {
				t.Fatalf("household %d, interval %d: %d, not %d", household, i, v, want)
			}
		}
	}
}

// Catches days of a span that Day does not show, and what an earlier household left in
// the slice.
func TestSpanIsTheDays(t *testing.T) {
	const days = 3
	p := generate(t, population.Default(), 1, 50)
	span := p.Span(days)
	wh := make([]int64, days*population.Intervals)
	for household := range span.Households() {
		span.FillDays(household, wh)
		for day := range span.Days() {
			if got := wh[day*population.Intervals:][:population.Intervals]; !slices.Equal(got, curve(p.Day(day), household)) {
				t.Fatalf("household %d, day %d: %v", household, day, got)
			}
		}
		if !slices.Equal(curve(span.Curves, household), curve(p.Mean(days), household)) {
			t.Fatalf("household %d has another mean", household)
		}
	}
}

// Catches a model that is taken for another one: outside its range, reversed, or
// not a number. The zero Model is a forgotten one.
func TestGenerateRefuses(t *testing.T) {
	for name, change := range map[string]func(*population.Model){
		"zero":              func(m *population.Model) { *m = population.Model{} },
		"not a number":      func(m *population.Model) { m.LevelSpread = math.NaN() },
		"infinite":          func(m *population.Model) { m.Morning.Height = math.Inf(1) },
		"negative":          func(m *population.Model) { m.FeederSpread = -0.1 },
		"over the cap":      func(m *population.Model) { m.Heating.Top = population.Cap + 1 },
		"share over one":    func(m *population.Model) { m.Cars.Share = 1.1 },
		"reversed charger":  func(m *population.Model) { m.Cars.Low = 8 },
		"charge over a day": func(m *population.Model) { m.Cars.Most = 1000 },
		"no burst length":   func(m *population.Model) { m.Appliances.Longest = 0 },
	} {
		m := population.Default()
		change(&m)
		if _, err := population.Generate(m, [32]byte{}, 1); !errors.Is(err, population.ErrModel) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{-1, 0, population.MaxHouseholds + 1} {
		if _, err := population.Generate(population.Default(), [32]byte{}, n); !errors.Is(err, population.ErrHouseholds) {
			t.Errorf("%d households: %v", n, err)
		}
	}
}

// Catches an index that reads another household's draws, or a slice that is half
// filled: these are mistakes of the caller and stop it.
func TestMistakesPanic(t *testing.T) {
	p := generate(t, population.Default(), 1, 10)
	wh := make([]int64, population.Intervals)
	for name, mistake := range map[string]func(){
		"household -1": func() { p.Day(0).Fill(-1, wh) },
		"household 10": func() { p.Day(0).Fill(10, wh) },
		"47 values":    func() { p.Day(0).Fill(0, wh[1:]) },
		"day -1":       func() { p.Day(-1) },
		"no days":      func() { p.Mean(0) },
		"no curves":    func() { population.Curves{}.Fill(0, wh) },

		"days of household -1": func() { p.Span(1).FillDays(-1, wh) },
		"days of household 10": func() { p.Span(1).FillDays(10, wh) },
		"47 values of a day":   func() { p.Span(1).FillDays(0, wh[1:]) },
		"one day of two":       func() { p.Span(2).FillDays(0, wh) },
		"days of nobody":       func() { population.Span{}.FillDays(0, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			mistake()
		}()
	}
}

// Catches values that a meter could not show, or that do not fit a file, where
// everything in the model is at its greatest at once.
func TestCapHolds(t *testing.T) {
	m := population.Default()
	m.Level, m.LevelSpread, m.FeederSpread = 5000, 2, 2
	m.Appliances.PerDay, m.Appliances.Top, m.Appliances.Longest = 24, population.Cap, 16
	m.Cars.Share, m.Heating.Share, m.Heating.Top = 1, 1, population.Cap
	reached := false
	p := generate(t, m, 1, 1000)
	for _, c := range []population.Curves{p.Day(0), p.Mean(20)} {
		for household, wh := range c.All() {
			for _, v := range wh {
				if v < 0 || v > population.Cap {
					t.Fatalf("household %d: %d Wh", household, v)
				}
				reached = reached || v == population.Cap
			}
		}
	}
	if !reached {
		t.Error("the cap was never reached: this test tests nothing")
	}
}

// Catches cars that charge too often, at other powers or amounts than the model
// says, or in the wrong hours. Of 20,000 household-days with a car, charges on
// half have a standard deviation of 71; 320 is 4.5 of them, passed by chance once
// in 10⁵ seeds, and the seed is fixed.
func TestCarsChargeAsSaid(t *testing.T) {
	m := quiet()
	m.Cars = population.Cars{Share: 1, Days: 0.5, Night: 1, Low: 3.6, Top: 7.4, Least: 4, Most: 30}
	for _, night := range []bool{true, false} {
		if !night {
			m.Cars.Night = 0
		}
		charges := 0
		for household, wh := range generate(t, m, 1, 20_000).Day(0).All() {
			total, charging := int64(0), false
			for i, v := range wh {
				total += v
				charging = charging || v > 500
				if v > 3700+20 {
					t.Fatalf("household %d: %d Wh in a half hour", household, v)
				}
				if away := night && i >= 26 || !night && i >= 17 && i < 34; away && v > 500 {
					t.Fatalf("household %d, night %v: charges in interval %d", household, night, i)
				}
			}
			if charging {
				charges++
			}
			if charging && (total < 4000 || total > 30_000+100) {
				t.Fatalf("household %d: a charge of %d Wh", household, total)
			}
		}
		if charges < 10_000-320 || charges > 10_000+320 {
			t.Errorf("night %v: %d charges on 20,000 days, not about 10,000", night, charges)
		}
	}
}

// Catches feeders that are all alike, where the error of a feeder would be that of
// a hundred chance households: each thing that a feeder draws must set it apart.
// Among 1,000 feeders, differences by chance alone are below a tenth as wide.
func TestFeedersDiffer(t *testing.T) {
	spread := func(m population.Model) float64 {
		var feeders [1000]float64
		for household, wh := range generate(t, m, 1, 100_000).Mean(2).All() {
			for _, v := range wh {
				feeders[household/population.FeederSize] += float64(v)
			}
		}
		mean, square := 0.0, 0.0
		for _, x := range feeders {
			mean += x / 1000
		}
		for _, x := range feeders {
			square += (x - mean) * (x - mean) / 1000
		}
		return math.Sqrt(square) / mean
	}
	same := quiet()
	same.Level = 200
	if got := spread(same); got > 0.02 {
		t.Errorf("feeders drawn alike differ by %.3f", got)
	}
	level := same
	level.FeederSpread = 0.2
	cars := same
	cars.Cars.Share, cars.Cars.ShareSpread = 0.2, 0.7
	heating := same
	heating.Heating.Share, heating.Heating.ShareSpread = 0.2, 0.7
	for name, m := range map[string]population.Model{"level": level, "cars": cars, "heating": heating} {
		if got := spread(m); got < 0.1 {
			t.Errorf("%s sets feeders apart by %.3f only", name, got)
		}
	}
}

func BenchmarkDay(b *testing.B) {
	benchmark(b, func(p *population.Population) population.Curves { return p.Day(0) })
}

func BenchmarkMean20(b *testing.B) {
	benchmark(b, func(p *population.Population) population.Curves { return p.Mean(20) })
}

// benchmark makes one household after another on one core.
func benchmark(b *testing.B, view func(*population.Population) population.Curves) {
	c := view(generate(b, population.Default(), 1, population.MaxHouseholds))
	wh := make([]int64, population.Intervals)
	i := 0
	for b.Loop() {
		c.Fill(i%population.MaxHouseholds, wh)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "households/s")
}
