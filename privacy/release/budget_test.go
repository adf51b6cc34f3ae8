package release_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
)

// capped is oneDay with room for so many days a year, and a little more.
func capped(days uint64) release.Catalogue {
	p := oneDay()
	cost, err := p.Products[0].Rho()
	if err != nil {
		panic(err) // the default plan has a price
	}
	p.YearlyCap, _ = cost.Times(days)
	p.YearlyCap += cost - 1
	return p
}

// When a year is spent its further days are given up: nothing is published, and
// key and spool are destroyed as for any other day. It would catch a cap that is
// passed by one day, and readings that wait in the spool for a budget that will
// never come.
func TestOverBudgetPublishesNothingAndDestroysTheKey(t *testing.T) {
	w := newWorld(t, capped(1))
	w.home("home", "feeder-1", "up-1")
	for _, day := range days(today, today+1) {
		w.now.Store(day.Start() + 43200)
		w.send(t, day, halves("home", "up-1", day, 0, 5))
	}
	w.due(today + 1)
	w.close(t, today, today+1)
	w.settled(t, today)
	w.settled(t, today+1)
	w.body(t, today)
	if _, ok := w.store.Published(id(today + 1)); ok || w.store.Releases() != 1 {
		t.Error("a day over budget was published")
	}
	if got := len(w.store.Reservations()); got != 1 {
		t.Errorf("%d reservations, want 1", got)
	}
	w.close(t) // and it is over
}

// At 0.018 a day a year of 1.0 pays for 55 days of a year; the 56th is refused, the next
// year begins anew, and nobody resets anything by starting again. It would catch
// a budget that is kept in memory.
func TestAYearPaysForWhatItCan(t *testing.T) {
	plan := plain()
	if cost, err := plan.Products[0].Rho(); err != nil || cost != 18_000_000 || plan.YearlyCap != 1_000_000_000 || plan.YearlyCap/cost != 55 {
		t.Fatalf("a day costs %s of %s, %v; want 0.018 of 1", cost, plan.YearlyCap, err)
	}
	w := newWorldOf(t, plan, grid[:1])
	first := dayOf(t, "2018-11-01")
	w.now.Store(first.Start() + 43200 + 1) // just late enough for the schedule to begin the day before
	w.open(t, first)
	published := 0
	for day := first - 1; day <= dayOf(t, "2019-01-02"); day++ {
		w.due(day)
		if day == first+20 {
			w.restart(t)
		}
		w.close(t, day)
		_, out := w.store.Published(id(day))
		if want := published < 55 || day >= dayOf(t, "2019-01-01"); out != want {
			t.Errorf("day %d of the schedule, %s: published %v, want %v", published+1, day, out, want)
		}
		if out {
			published++
		}
		w.settled(t, day)
	}
	if spent := w.spent(2018); spent != 990_000_000 {
		t.Errorf("2018 has spent %s, want 0.99", spent)
	}
	if spent := w.spent(2019); spent != 36_000_000 {
		t.Errorf("2019 has spent %s, want 0.036", spent)
	}
}

func dayOf(t testing.TB, s string) meter.Day {
	t.Helper()
	day, err := meter.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return day
}

// Attempts that die after their reservation spend it, and never more than the
// cap: then the day is given up. It would catch an attempt that runs on an
// earlier one's reservation, and one that does not count.
func TestAttemptsNeverPassTheCap(t *testing.T) {
	const attempts = 3
	w := newWorld(t, capped(attempts))
	w.home("home", "feeder-1", "up-1")
	w.send(t, today, halves("home", "up-1", today, 0, 5))
	w.due(today)
	for n := 1; n <= attempts; n++ {
		passes := 0
		w.store.OnStep(func(s releasetest.Step) ledgertest.Fault {
			if s == releasetest.SpoolRecords {
				if passes++; passes == 2 { // noise is drawn by now
					return ledgertest.Failed
				}
			}
			return ledgertest.None
		})
		closed, err := w.engine.CloseDue(t.Context())
		if !errors.Is(err, ledgertest.ErrFault) || len(closed) != 0 {
			t.Fatalf("attempt %d: closed %v, %v", n, closed, err)
		}
		if spent := w.spent(2018); spent != dp.Rho(n)*18_000_000 || spent > w.plan.YearlyCap {
			t.Errorf("attempt %d: %s is spent of %s", n, spent, w.plan.YearlyCap)
		}
		w.restart(t)
	}
	w.close(t, today)
	w.settled(t, today)
	if w.store.Releases() != 0 || len(w.store.Reservations()) != attempts {
		t.Errorf("%d releases after %d reservations; want none after %d", w.store.Releases(), len(w.store.Reservations()), attempts)
	}
	seen := map[string]bool{}
	for _, r := range w.store.Reservations() {
		if seen[r.ID] {
			t.Errorf("reservation %s was made twice", r.ID)
		}
		seen[r.ID] = true
	}
}

// A day is charged to the calendar year, UTC, that it lies in. It would catch a
// year that is counted as 365 days, or by the clock of the closing.
func TestADayIsChargedToItsOwnYear(t *testing.T) {
	for _, test := range []struct {
		day  string
		year int
	}{
		{"2018-12-31", 2018},
		{"2019-01-01", 2019},
		{"2020-02-29", 2020},
		{"2020-12-30", 2020},
		{"2020-12-31", 2020},
		{"2021-01-01", 2021},
		{"2100-12-31", 2100},
		{"1970-01-01", 1970},
		{"1969-12-31", 1969},
		{"9999-12-31", 9999},
	} {
		w := newWorld(t, oneDay())
		day := dayOf(t, test.day)
		w.now.Store(day.Start() + 43200)
		w.open(t, day)
		w.due(day)
		w.close(t, day)
		if rs := w.store.Reservations(); len(rs) != 1 || !slices.Equal(w.years(), []int{test.year}) || !slices.Equal(rs[0].Days, []meter.Day{day}) || rs[0].Product != product {
			t.Errorf("%s is charged as %+v, want to %d", test.day, rs, test.year)
		}
		w.body(t, day)
	}
}

// Days that no calendar on paper has are days like any other. It would catch a
// year that is read out of a day's text.
func TestDaysFarAway(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(10_000, 1, 1, 12, 0, 0, 0, time.UTC),
		time.Date(0, 1, 1, 12, 0, 0, 0, time.UTC),
		time.Date(-1, 12, 31, 12, 0, 0, 0, time.UTC),
		time.Date(-9_999, 6, 1, 12, 0, 0, 0, time.UTC),
		time.Date(123_456, 6, 1, 12, 0, 0, 0, time.UTC),
	} {
		w := newWorld(t, oneDay())
		day := meter.DayOf(at.Unix())
		w.now.Store(at.Unix())
		w.open(t, day)
		w.due(day)
		w.close(t, day)
		if rs := w.store.Reservations(); len(rs) != 1 || !slices.Equal(w.years(), []int{at.Year()}) {
			t.Errorf("%s is charged as %+v", day, rs)
		}
	}
}
