package population

import "iter"

const (
	// Intervals is the number of half hours in a day.
	Intervals = 48
	// MaxHouseholds bounds a population and what a file may hold.
	MaxHouseholds = 10_000_000
	// Cap is the most that a half hour can hold, in Wh: 100 A at 230 V.
	Cap = 11_500

	// The public tree: household i is below feeder i/FeederSize, below the
	// small node i/SmallNodeSize, below the large node i/LargeNodeSize, below
	// one region.
	FeederSize    = 100
	SmallNodeSize = 1_000
	LargeNodeSize = 10_000
)

// Curves is one curve for each household of a population, drawn or read. Safe
// for concurrent use. The zero Curves has no household.
type Curves struct {
	households int
	fill       func(household int, wh []int64)
}

// Households is how many curves there are.
func (c Curves) Households() int { return c.households }

// Fill writes a household's curve into wh, in Wh. It panics like an index if
// there is no such household or wh does not hold 48 values.
func (c Curves) Fill(household int, wh []int64) {
	if household < 0 || household >= c.households {
		panic("population: no such household")
	}
	if len(wh) != Intervals {
		panic("population: a curve has 48 values")
	}
	c.fill(household, wh)
}

// All yields the households in order. The slice is overwritten by the next one.
func (c Curves) All() iter.Seq2[int, []int64] {
	return func(yield func(int, []int64) bool) {
		wh := make([]int64, Intervals)
		for household := range c.households {
			c.fill(household, wh)
			if !yield(household, wh) {
				return
			}
		}
	}
}

// Span is the mean curve of every household over some days, as Curves, and those days
// themselves. Safe for concurrent use.
type Span struct {
	Curves
	population *Population
	days       int
}

// Days is how many days there are.
func (s Span) Days() int { return s.days }

// FillDays writes a household's days into wh, one after the other, in Wh. It panics like
// an index if there is no such household or wh does not hold 48 values a day.
func (s Span) FillDays(household int, wh []int64) {
	if household < 0 || household >= s.households {
		panic("population: no such household")
	}
	if len(wh) != s.days*Intervals {
		panic("population: a day has 48 values")
	}
	clear(wh)
	h := s.population.household(household)
	h.each(0, s.days, func(d draws, day int) { h.addDay(d, wh[day*Intervals:][:Intervals]) })
}
