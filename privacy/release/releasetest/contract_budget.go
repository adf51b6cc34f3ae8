package releasetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// newYear2017 is the first day of a year.
const newYear2017 = meter.Day(17_167)

// reservation charges rho to each year and each day alike, under one cap.
func reservation(id string, window meter.Day, rho, limit dp.Rho, days ...meter.Day) release.Reservation {
	return release.Reservation{ID: id, Product: product, Window: window, Days: days, Rho: rho, DayRho: rho, Cap: limit, DayCap: limit}
}

// reserve spends in a transaction of its own.
func (s suite[T]) reserve(ctx context.Context, r release.Reservation) error {
	return s.Transact(ctx, func(ctx context.Context, tx T) error { return tx.Reserve(ctx, r) })
}

func (s suite[T]) spent(t *testing.T, year int, day meter.Day, wantYear, wantDay dp.Rho) {
	t.Helper()
	ofYear, ofDay, err := s.Spent(t.Context(), year, day)
	if err != nil || ofYear != wantYear || ofDay != wantDay {
		t.Errorf("%d has spent %d and %s %d, %v; want %d and %d", year, ofYear, day, ofDay, err, wantYear, wantDay)
	}
}

// budget: every year and every day has an account of its own, which is spent to its
// last unit and not beyond; what is refused spends nothing. It would catch a cap that
// is off by one, a year that is charged once for each of its days, a day that is charged
// by what its year is, and a day between two of a span that is charged with them.
func (s suite[T]) budget(t *testing.T) {
	s.closing(t, day0, day0+1)
	s.put(t, day0+2) // open
	day := func(d meter.Day, rho, dayRho dp.Rho) release.Reservation {
		r := reservation("", day0, rho, 100, day0+d)
		r.DayRho, r.DayCap = dayRho, 10
		return r
	}
	span := func(r release.Reservation, more ...meter.Day) release.Reservation {
		for _, d := range more {
			r.Days = append(r.Days, day0+d)
		}
		return r
	}
	paying := func(window meter.Day, r release.Reservation) release.Reservation {
		r.Window = window
		return r
	}
	for i, step := range []struct {
		name string
		r    release.Reservation
		want error
	}{
		{"more than a year's cap", day(0, 101, 1), release.ErrOverBudget},
		{"more than a day's cap", day(0, 1, 11), release.ErrOverBudget},
		{"all that a day has", day(0, 40, 10), nil},
		{"one more of the day", day(0, 1, 1), release.ErrOverBudget},
		{"a span that ends in a day which has nothing left", span(day(-1, 1, 1), 0), release.ErrOverBudget},
		{"a span that leaves it out", span(day(-1, 20, 3), 1, 30), nil},
		{"what that left of its last day", day(30, 1, 7), nil},
		{"one more of its last day", day(30, 1, 1), release.ErrOverBudget},
		{"all of a day within the span that it left out", day(7, 1, 10), nil},
		{"more than is left of the year", day(9, 39, 1), release.ErrOverBudget},
		{"no window", paying(day0+3, day(9, 1, 1)), release.ErrWindowClosed},
		{"the rest of the year, for another window", paying(day0+1, day(9, 38, 1)), nil},
		{"one more of the year", day(11, 1, 1), release.ErrOverBudget},
	} {
		step.r.ID = fmt.Sprint("step ", i)
		is(t, step.name, s.reserve(t.Context(), step.r), step.want)
	}
	for d, want := range map[meter.Day]dp.Rho{-1: 3, 0: 10, 1: 3, 7: 10, 9: 1, 11: 0, 29: 0, 30: 10} {
		s.spent(t, 2016, day0+d, 100, want)
	}
	again := day(12, 1, 1)
	again.ID, again.Cap, again.Days = "step 2", 1000, []meter.Day{newYear2017}
	if err := s.reserve(t.Context(), again); err == nil || errors.Is(err, release.ErrOverBudget) || errors.Is(err, release.ErrWindowClosed) {
		t.Errorf("an ID that was used before: %v, want an error of its own", err)
	}
	must(t, s.EndPublishing(t.Context(), day0, nil, nil))
	again.ID = "late"
	is(t, "a window that is published", s.reserve(t.Context(), again), release.ErrWindowClosed)
	s.spent(t, 2017, newYear2017, 0, 0)
	s.state(t, day0, release.WindowPublished, 0)
}

// caps: an account's cap is the least that was named for it by what it was charged
// for, the year's and the day's apart. It would catch a cap that a later configuration
// raises, and one that a refused reservation has lowered.
func (s suite[T]) caps(t *testing.T) {
	s.closing(t, day0)
	for i, step := range []struct {
		name             string
		day              meter.Day
		rho, cap, dayCap dp.Rho
		want             error
	}{
		{"first", day0, 10, 100, 50, nil},
		{"refused for a lower cap of the year", day0, 10, 19, 50, release.ErrOverBudget},
		{"refused for a lower cap of the day", day0, 10, 100, 19, release.ErrOverBudget},
		{"a year's cap below what is spent", day0, 1, 9, 50, release.ErrOverBudget},
		{"under higher caps, what the first ones leave", day0, 40, 1000, 1000, nil},
		{"under a higher cap, one more of the day", day0, 1, 1000, 1000, release.ErrOverBudget},
		{"lower caps that suffice", day0 + 1, 10, 90, 30, nil},
		{"more than the lower cap of the year", day0 + 2, 31, 100, 100, release.ErrOverBudget},
		{"more than the lower cap of the day", day0 + 1, 21, 100, 100, release.ErrOverBudget},
		{"all that the lower cap of the day leaves", day0 + 1, 20, 100, 100, nil},
		{"all that the lower cap of the year leaves", day0 + 2, 10, 100, 100, nil},
		{"no cap of the year", newYear2017, 1, 0, 100, release.ErrOverBudget},
		{"no cap of the day", newYear2017, 1, 100, 0, release.ErrOverBudget},
		{"more than can be added to what is spent", day0, math.MaxUint64, math.MaxUint64, math.MaxUint64, release.ErrOverBudget},
		{"under caps beyond all numbers", newYear2017, 1, math.MaxUint64, math.MaxUint64, nil},
		{"more than can be added under such a cap", newYear2017, math.MaxUint64, math.MaxUint64, math.MaxUint64, release.ErrOverBudget},
	} {
		r := reservation(fmt.Sprint("step ", i), day0, step.rho, step.cap, step.day)
		r.DayCap = step.dayCap
		is(t, step.name, s.reserve(t.Context(), r), step.want)
	}
	s.spent(t, 2016, day0, 90, 50)
	s.spent(t, 2016, day0+1, 90, 30)
	s.spent(t, 2017, newYear2017, 1, 1)
}

// newYear: a span over New Year charges both of its years, each all of it, or neither.
// It would catch a span that is charged to the year in which it ends, and one that is
// refused by one year and spent of the other.
func (s suite[T]) newYear(t *testing.T) {
	s.closing(t, newYear2017)
	eve := newYear2017 - 1
	must(t, s.reserve(t.Context(), reservation("only 2016", newYear2017, 6, 10, eve-3)))
	must(t, s.reserve(t.Context(), reservation("both", newYear2017, 4, 10, eve-2, newYear2017+1)))
	s.spent(t, 2016, eve-2, 10, 4)
	s.spent(t, 2017, newYear2017+1, 4, 4)
	is(t, "2016 has nothing left", s.reserve(t.Context(), reservation("again", newYear2017, 1, 10, eve, newYear2017)), release.ErrOverBudget)
	s.spent(t, 2017, newYear2017, 4, 0)
	must(t, s.reserve(t.Context(), reservation("only 2017", newYear2017, 6, 10, newYear2017)))
	must(t, s.reserve(t.Context(), reservation("2018 and 2019", newYear2017, 10, 10, newYear2017+729, newYear2017+730)))
	s.spent(t, 2017, newYear2017, 10, 6)
	s.spent(t, 2018, newYear2017+729, 10, 10)
	s.spent(t, 2019, newYear2017+730, 10, 10)
	is(t, "2017 has nothing left", s.reserve(t.Context(), reservation("last", newYear2017, 1, 10, newYear2017+364, newYear2017+365)), release.ErrOverBudget)
	s.spent(t, 2018, newYear2017+365, 10, 0)
}

// noReservation: what charges nothing, or days that are no span, is refused under a
// name of its own. It would catch noise that is drawn for a reservation of nothing, and
// a day that is charged as another.
func (s suite[T]) noReservation(t *testing.T) {
	s.closing(t, day0)
	rhos := func(rho, dayRho dp.Rho) release.Reservation {
		r := reservation("r", day0, rho, 1000, day0)
		r.DayRho = dayRho
		return r
	}
	for name, r := range map[string]release.Reservation{
		"nothing of the year":        rhos(0, 1),
		"nothing of the day":         rhos(1, 0),
		"no day":                     reservation("r", day0, 1, 1000),
		"a day twice":                reservation("r", day0, 1, 1000, day0, day0),
		"days that descend":          reservation("r", day0, 1, 1000, day0, day0-1),
		"days that descend later":    reservation("r", day0, 1, 1000, day0, day0+2, day0+1),
		"33 days":                    reservation("r", day0, 1, 1000, day0, day0+32),
		"days that are years apart":  reservation("r", day0, 1, 1000, day0, day0+1, day0+400),
		"days beyond all numbers":    reservation("r", day0, 1, 1000, math.MinInt32, math.MaxInt32),
		"beyond all numbers, just":   reservation("r", day0, 1, 1000, math.MinInt32, math.MinInt32+32),
		"days that wrap to a span":   reservation("r", day0, 1, 1000, math.MaxInt32, math.MinInt32),
		"days that descend from all": reservation("r", day0, 1, 1000, day0+31, day0),
	} {
		err := s.reserve(t.Context(), r)
		if err == nil || errors.Is(err, release.ErrOverBudget) || errors.Is(err, release.ErrWindowClosed) {
			t.Errorf("%s: %v, want an error of its own", name, err)
		}
	}
	s.spent(t, 2016, day0, 0, 0)
	must(t, s.reserve(t.Context(), reservation("r", day0, 1, 1000, day0, day0+31))) // 32 days
	s.spent(t, 2016, day0+31, 1, 1)
}

// nothingHalf: a reservation that is refused has charged none of its accounts and
// taken no name, even in a transaction that goes on and commits. It would catch a
// caller that takes a refusal for an answer and pays all the same.
func (s suite[T]) nothingHalf(t *testing.T) {
	s.closing(t, day0)
	must(t, s.reserve(t.Context(), reservation("full", day0, 10, 10, newYear2017+3)))
	must(t, s.Transact(t.Context(), func(ctx context.Context, tx T) error {
		refused := reservation("half", day0, 1, 10, newYear2017-1, newYear2017)
		is(t, "over one year's cap", tx.Reserve(ctx, refused), release.ErrOverBudget)
		return nil
	}))
	s.spent(t, 2016, newYear2017-1, 0, 0)
	s.spent(t, 2017, newYear2017, 10, 0)
	must(t, s.reserve(t.Context(), reservation("half", day0, 20, 20, newYear2017-1)))
}

// accountsOf names the accounts that a reservation charges and by what.
func accountsOf(r release.Reservation) map[string]dp.Rho {
	charged := map[string]dp.Rho{}
	for _, d := range r.Days {
		charged[d.String()] = r.DayRho
		charged[d.String()[:4]] = r.Rho
	}
	return charged
}

// budgetAtOnce: many reserve spans at once, over the turn of a year and across each
// other, and only what fits is granted. It would catch a sum that is read, then
// written; an account that is charged without the others; accounts that are locked in
// different orders, so that two wait for each other; and one that is refused although
// it fits.
func (s suite[T]) budgetAtOnce(t *testing.T) {
	const callers, yearCap, dayCap = 500, 900, 60
	s.closing(t, day0)
	all := make([]release.Reservation, callers)
	for i := range all {
		first := newYear2017 - 30 + meter.Day(i*17%50)
		r := release.Reservation{
			ID: fmt.Sprint(i), Product: product, Window: day0,
			Rho: dp.Rho(2 + i%7), DayRho: dp.Rho(1 + i%5), Cap: yearCap, DayCap: dayCap,
		}
		for d := range meter.Day(1 + i*7%32) {
			r.Days = append(r.Days, first+d)
		}
		all[i] = r
	}
	errs := make([]error, callers)
	done := make(chan bool)
	for i, r := range all {
		go func() {
			errs[i] = s.reserve(t.Context(), r)
			done <- true
		}()
	}
	for range all {
		<-done
	}
	charged := map[string]dp.Rho{}
	granted := 0
	for i, r := range all {
		switch {
		case errs[i] == nil:
			granted++
			for account, rho := range accountsOf(r) {
				charged[account] += rho
			}
		case !errors.Is(errs[i], release.ErrOverBudget):
			t.Errorf("reserving: %v", errs[i])
		}
	}
	for i, r := range all {
		fits := true
		for account, rho := range accountsOf(r) {
			limit := dp.Rho(dayCap)
			if len(account) == len("2016") {
				limit = yearCap
			}
			if charged[account] > limit {
				t.Fatalf("%s was charged %d, above its cap", account, charged[account])
			}
			fits = fits && charged[account]+rho <= limit
		}
		if fits && errs[i] != nil {
			t.Errorf("reservation %s was refused, and fits even now", r.ID)
		}
	}
	for d := newYear2017 - 30; d < newYear2017+60; d++ {
		s.spent(t, 2016, d, charged["2016"], charged[d.String()])
	}
	s.spent(t, 2017, newYear2017, charged["2017"], charged[newYear2017.String()])
	if granted < 20 || granted == callers || !slices.ContainsFunc(all, func(r release.Reservation) bool { return charged[r.Days[0].String()] > dayCap-5 }) {
		t.Errorf("%d of %d were granted, or no day was spent: nothing was tried", granted, callers)
	}
}
