package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/server/store"
)

// newYear2019 is 65 days after day0.
const newYear2019 = meter.Day(17_897)

// spanning charges 5 to each year and 2 to each day, under ample caps.
func spanning(id string, days ...meter.Day) release.Reservation {
	return release.Reservation{ID: id, Product: "week", Window: day0, Days: days, Rho: 5, DayRho: 2, Cap: 1000, DayCap: 1000}
}

// charged lists a year's charges: which, by what, and of which days after day0.
func charged(t testing.TB, s *store.Store, year int) (list []string) {
	t.Helper()
	charges, err := s.ChargesOf(t.Context(), year)
	must(t, err)
	for _, c := range charges {
		days := make([]int, len(c.Days))
		for i, d := range c.Days {
			days[i] = int(d - day0)
		}
		list = append(list, fmt.Sprint(c.ID, " ", c.Product, " ", uint64(c.Rho), " ", uint64(c.DayRho), " ", int(c.Window-day0), " ", days))
	}
	return list
}

// Every charge of a year is listed, by first day and attempt, with the days that it
// charged; one over New Year in both years, and no other in two. It would catch a
// charge that is in a year's account and not in its list, so that the list does not
// add up.
func TestChargesOf(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.CreateLedger(t.Context(), origin))
		append2(t, s, ledger.Entry{RequestID: "a", Payload: []byte("payload"), Nonce: ledger.Hash{7}, Kind: ledger.KindBudgetSpend})
		closing(t, s, day0)
		const ny = newYear2019
		var days []meter.Day
		var all []int
		for d := range 32 {
			days, all = append(days, ny+100+meter.Day(d)), append(all, 165+d)
		}
		for _, r := range []release.Reservation{
			spanning("week/b/10", day0+1),
			spanning("week/b/9", day0+1),
			spanning("day", day0),
			spanning("ends with the year", ny-31, ny-2, ny-1),
			spanning("ends on New Year", ny-31, ny),
			spanning("touches New Year's Eve", ny-1, ny, ny+30),
			spanning("begins with the year", ny, ny+1),
			spanning("all 32", days...),
		} {
			must(t, reserve(t, s, r))
		}
		for year, want := range map[int][]string{
			2017: nil,
			2018: {
				"day week 5 2 0 [0]", "week/b/9 week 5 2 0 [1]", "week/b/10 week 5 2 0 [1]",
				"ends on New Year week 5 2 0 [34 65]", "ends with the year week 5 2 0 [34 63 64]",
				"touches New Year's Eve week 5 2 0 [64 65 95]",
			},
			2019: {
				"ends on New Year week 5 2 0 [34 65]", "touches New Year's Eve week 5 2 0 [64 65 95]",
				"begins with the year week 5 2 0 [65 66]", "all 32 week 5 2 0 " + fmt.Sprint(all),
			},
			2020: nil,
		} {
			if d := cmp.Diff(want, charged(t, s, year)); d != "" {
				t.Errorf("charged of %d (-want +got):\n%s", year, d)
			}
			spent, _, err := s.Spent(t.Context(), year, day0)
			must(t, err)
			if spent != dp.Rho(5*len(want)) {
				t.Errorf("%d has spent %d, and its charges come to %d", year, spent, 5*len(want))
			}
		}
		charges, err := s.ChargesOf(t.Context(), 2018)
		must(t, err)
		if string(charges[0].Payload) != "payload" || charges[0].Nonce != (ledger.Hash{7}) {
			t.Errorf("the first charge opens to %q", charges[0].Payload)
		}
	})
}

// What is wrong with a reservation has a name. It would catch an engine that cannot
// tell a day that another process pays for from one for which there is no budget.
func TestReserveRefusals(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		closing(t, s, day0)
		window(t, s, day0+1)
		must(t, reserve(t, s, reservation("a", day0, 1, 10)))
		huge := func(rho, dayRho dp.Rho) release.Reservation {
			return release.Reservation{
				ID: "b", Window: day0, Days: []meter.Day{newYear2019}, Rho: rho, DayRho: dayRho, Cap: math.MaxUint64, DayCap: math.MaxUint64,
			}
		}
		unbounded := huge(1, 1)
		unbounded.ID = "c"
		must(t, reserve(t, s, unbounded))
		for _, test := range []struct {
			name string
			r    release.Reservation
			want error
		}{
			{"the same again", reservation("a", day0, 1, 10), store.ErrConflict},
			{"its name for another day", spanning("a", day0+40), store.ErrConflict},
			{"nothing", reservation("b", day0, 0, 10), store.ErrReservation},
			{"no day", spanning("b"), store.ErrReservation},
			{"33 days", spanning("b", day0, day0+32), store.ErrReservation},
			{"no window", reservation("b", day0+5, 1, 10), release.ErrWindowClosed},
			{"more than is left", reservation("b", day0, 10, 10), release.ErrOverBudget},
			{"a sum of the year that wraps", huge(math.MaxInt64, 1), release.ErrOverBudget},
			{"a sum of the day that wraps", huge(1, math.MaxInt64), release.ErrOverBudget},
			{"a number that wraps", huge(math.MaxUint64, 1), release.ErrOverBudget},
			{"a number below zero", huge(1, 1<<63), release.ErrOverBudget},
		} {
			if err := reserve(t, s, test.r); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
		// Caps beyond what a column holds are as good as none.
		r := huge(math.MaxInt64, math.MaxInt64)
		r.Days = []meter.Day{day0 + 1000}
		must(t, reserve(t, s, r))
		year, day, err := s.Spent(t.Context(), 2021, day0+1000)
		if err != nil || year != math.MaxInt64 || day != math.MaxInt64 {
			t.Errorf("2021 has spent %d, and its day %d, %v", year, day, err)
		}
	})
}

// The tables refuse to spend more than the cap, whatever the program does.
func TestBudgetChecks(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		closing(t, s, day0)
		must(t, reserve(t, s, reservation("a", day0, 1, 10)))
		for _, stmt := range []string{
			`UPDATE budget_years SET spent_nano = 11`, `UPDATE budget_days SET spent_nano = 11`,
			`UPDATE budget_years SET spent_nano = -1`, `UPDATE budget_days SET spent_nano = -1`,
			`UPDATE budget_years SET cap_nano = 0`, `UPDATE budget_days SET cap_nano = 0`,
			`UPDATE budget_spends SET rho_nano = 0`, `UPDATE budget_spends SET day_rho_nano = 0`, `UPDATE budget_spends SET days = -1`,
		} {
			if err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Exec(ctx, stmt) }); err == nil {
				t.Errorf("the tables took %s", stmt)
			}
		}
	})
}

// A server that goes away before COMMIT has reserved nothing, and the same
// reservation is good the next time. It would catch an account that is charged in a
// transaction of its own.
func TestReserveLost(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		if s.Engine() != "postgres" {
			t.Skip("there is no server to lose")
		}
		closing(t, s, day0)
		r := spanning("a", newYear2019-1, newYear2019)
		err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := tx.Reserve(ctx, r); err != nil {
				return err
			}
			_ = tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`) // its answer is lost, too
			return nil
		})
		if err == nil {
			t.Fatal("a transaction was committed on a connection that was gone")
		}
		for year, day := range map[int]meter.Day{2018: newYear2019 - 1, 2019: newYear2019} {
			if ofYear, ofDay, err := s.Spent(t.Context(), year, day); err != nil || ofYear != 0 || ofDay != 0 {
				t.Errorf("%d has spent %d, and its day %d, %v", year, ofYear, ofDay, err)
			}
		}
		must(t, reserve(t, s, r))
	})
}

// What was charged before there were spans means the same after the migration: one
// day and its year, with no cap on the day, which could spend all that its year had.
// It would catch a day that comes out of the migration with nothing spent, or that is
// refused what it could spend before.
func TestChargesFromBeforeSpans(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		at := url(t)
		bare, err := store.OpenBare(at, store.Options{Migrate: true})
		must(t, err)
		defer bare.Close()
		must(t, bare.MigrateTo(t.Context(), only(t, 8)))
		for _, stmt := range []string{
			`INSERT INTO budget_years (year, cap_nano, spent_nano) VALUES (2018, 1000, 700), (2019, 50, 50)`,
			`INSERT INTO budget_spends (id, year, block_day, product, rho_nano, leaf_index) VALUES
				('d/1', 2018, 17832, 'day-curve', 300, NULL), ('d/2', 2018, 17832, 'day-curve', 300, 9),
				('e/1', 2018, 17896, 'day-curve', 100, 12), ('f/1', 2019, 17897, 'day-curve', 50, 15)`,
		} {
			do(t, bare, func(ctx context.Context, tx *store.Tx) error { return tx.Exec(ctx, stmt) })
		}
		s := open(t, at)
		for year, want := range map[int][]string{
			2018: {"d/1 day-curve 300 300 0 [0]", "d/2 day-curve 300 300 0 [0]", "e/1 day-curve 100 100 64 [64]"},
			2019: {"f/1 day-curve 50 50 65 [65]"},
		} {
			if d := cmp.Diff(want, charged(t, s, year)); d != "" {
				t.Errorf("charged of %d (-want +got):\n%s", year, d)
			}
		}
		for day, want := range map[meter.Day]dp.Rho{day0: 600, day0 + 1: 0, newYear2019 - 1: 100, newYear2019: 50} {
			if _, got, err := s.Spent(t.Context(), 2018, day); err != nil || got != want {
				t.Errorf("%s has spent %d, %v; want %d", day, got, err, want)
			}
		}
		closing(t, s, day0)
		if err := reserve(t, s, reservation("g", day0, 301, 1000)); !errors.Is(err, release.ErrOverBudget) {
			t.Errorf("more than the year has left: %v", err)
		}
		must(t, reserve(t, s, reservation("g", day0, 300, 1000)))
	})
}
