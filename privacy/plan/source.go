package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Source is a population: the curve of every household, in Wh by interval, of a day or
// the mean of several.
type Source interface {
	Households() int
	// Fill writes a household's curve.
	Fill(household int, wh []int64)
}

// Span is a population of which the days behind a mean are known.
type Span interface {
	Source
	Days() int
	// FillDays writes a household's days, one after the other.
	FillDays(household int, wh []int64)
}

// Intervals is how many a curve has: the half-hours of a day.
const Intervals = 48

// Product is what is measured: the mean curve of so many days. It is published as
// their sum, which the public number of days then divides, noise and all.
//
// With n days and C_l the clip norm of level l, a household's days are each clipped to
// n·(the least C_l) before they join its sum, and the sum to n·C_l for level l: a day's
// share of the mean, and the mean, to C. One norm for the days of all levels keeps one
// running sum for all. So neither a household nor one of its days moves a level by more
// than n·C_l, but for the truncation to integers: package dp's PROOFS.md, section 12.
// The unit is then a household's whole span, and any one of its days.
//
// Of one day there is one clip.
type Product int

// Day is the curve of one day.
const Day Product = 1

// ErrDays says that a product has no days, too many, or others than a population.
var ErrDays = errors.New("plan: number of days")

// maxDays bounds a span, and with it its sums: a leap year.
const maxDays = 366

// truncation is ⌈2√T⌉ lattice units: what two truncations to integers let one day move
// a clipped sum beyond its norm.
const truncation = 14

// slack is what the sensitivity of a product exceeds its clip norm by, in lattice
// units.
func (p Product) slack() int64 {
	if p == Day {
		return 0
	}
	return truncation
}

// reader adds up the days of households, in Wh and in a basis.
type reader struct {
	source Source
	span   Span // nil: the days are not known
	basis  *dp.Basis
	days   int64
	share  int64 // what a day is clipped to before it joins, where days are known

	all, wh, z []int64
}

// reads prepares the reading of a population as a product's. Where it knows the days
// they pass their clip; of means alone only the second clip can be tried.
func (p Product) reads(source Source, basis *dp.Basis, share int64) (*reader, error) {
	r := &reader{source: source, basis: basis, days: int64(p), share: share, wh: make([]int64, Intervals), z: make([]int64, Intervals)}
	if span, ok := source.(Span); ok && p != Day {
		if span.Days() != int(p) {
			return nil, fmt.Errorf("%w: %d of a population, %d of a product", ErrDays, span.Days(), p)
		}
		r.span, r.all = span, make([]int64, p*Intervals)
	}
	return r, nil
}

// read returns the sum over a household's days, in Wh, and of the same clipped and in
// lattice units. Both are overwritten by the next one.
func (r *reader) read(household int) (wh, z []int64, err error) {
	if r.span == nil {
		r.source.Fill(household, r.wh)
		for t, v := range r.wh {
			if r.wh[t] = v * r.days; r.wh[t]/r.days != v {
				return nil, nil, fmt.Errorf("adding up a mean: %w", dp.ErrOverflow)
			}
		}
		if r.z, err = r.basis.Measure(r.wh); err != nil {
			return nil, nil, fmt.Errorf("measuring a household: %w", err)
		}
		return r.wh, r.z, nil
	}
	r.span.FillDays(household, r.all)
	clear(r.wh)
	clear(r.z)
	for day := range slices.Chunk(r.all, Intervals) {
		if err := r.join(day); err != nil {
			return nil, nil, fmt.Errorf("adding a day: %w", err)
		}
	}
	return r.wh, r.z, nil
}

// join adds one day to a household's sum.
func (r *reader) join(day []int64) error {
	z, err := r.basis.Measure(day)
	if err != nil {
		return err
	}
	if err := dp.ClipL2(z, r.share); err != nil {
		return err
	}
	if err := dp.Add(r.z, z); err != nil {
		return err
	}
	return dp.Add(r.wh, day)
}
