package main

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// errNoLoad says that a population uses no energy, so that no error is a part of it.
var errNoLoad = errors.New("a population without load")

// views is a population seen twice, drawn once.
type views struct {
	day, mean held
	span      plan.Span // the days behind the mean; nil: they are not known
}

// means is the view of a population that a trial is planned on, and that rivals
// measure: a curve for each household.
func (v views) means(t trialOf) held {
	if t.product == plan.Day {
		return v.day
	}
	return v.mean
}

// of is the view of a population that a trial measures: with its days, where they are
// known.
func (v views) of(t trialOf) plan.Source {
	if t.product != plan.Day && v.span != nil {
		return v.span
	}
	return v.means(t)
}

// samples returns the public reference, and the population that is measured.
func (b *benchRelease) samples() (reference, private views, err error) {
	if b.folder != "" {
		return readSamples(b.folder)
	}
	if reference, err = b.fresh("reference", b.households); err == nil {
		private, err = b.fresh("population", b.households)
	}
	return reference, private, err
}

func readSamples(folder string) (reference, private views, err error) {
	if reference, err = readViews(folder, population.Reference, mostBenched); err == nil {
		private, err = readViews(folder, population.Private, mostBenched)
	}
	if n := private.day.Households(); err == nil && (n != reference.day.Households() || n%population.LargeNodeSize != 0 || n < 2*population.LargeNodeSize) {
		err = fmt.Errorf("%w: reference and population need the same number of households, a multiple of 10000 from 20000 to %d", population.ErrSize, mostBenched)
	}
	return reference, private, err
}

func readViews(folder string, draw population.Draw, most int) (views, error) {
	s, err := population.ReadUpTo(folder, draw, most)
	return views{day: hold(s.Day), mean: hold(s.Mean)}, err
}

// fresh draws a population of a name. A day and a mean are of different people, as in
// the shared folder.
func (b *benchRelease) fresh(name string, households int) (v views, err error) {
	day, err := b.generate(name+" day", households)
	if err != nil {
		return v, err
	}
	mean, err := b.generate(name+" mean", households)
	if err != nil {
		return v, err
	}
	span := mean.Span(population.MeanDays)
	return views{day: hold(day.Day(0)), mean: hold(span.Curves), span: span}, nil
}

// generate draws the population of a name under the seed of the run: SHA-256 of both.
func (b *benchRelease) generate(name string, households int) (*population.Population, error) {
	return population.Generate(population.Default(), sha256.Sum256(append(b.drawn[:], name...)), households)
}

// held is a population whose curves were drawn once and are used several times.
type held []uint16

func hold(c population.Curves) held {
	h := make(held, 0, c.Households()*population.Intervals)
	for _, wh := range c.All() {
		for _, v := range wh {
			h = append(h, uint16(v))
		}
	}
	return h
}

func (h held) Households() int { return len(h) / population.Intervals }

func (h held) Fill(household int, wh []int64) {
	for i, v := range h[household*population.Intervals:][:population.Intervals] {
		wh[i] = int64(v)
	}
}
