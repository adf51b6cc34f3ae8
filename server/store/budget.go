package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// ErrReservation says that a reservation is none: it charges nothing, or no day, or
// days that do not ascend or reach over more than 32.
var ErrReservation = errors.New("store: a reservation charges more than nothing to ascending days out of 32 in a row")

// accounts are rows of a table of budgets that a reservation charges alike.
type accounts struct {
	table, key string
	keys       []int64 // ascending: the order in which everybody locks them
	rho        dp.Rho  // charged to each
	cap        dp.Rho
}

// noCap is the cap of an account for which none was named, and more than any that
// can be kept.
const noCap dp.Rho = math.MaxInt64

// Reserve implements release.Tx. A reservation's ID is new each time (ErrConflict),
// so that of two processes which close one day at once only one goes on, and no draw
// of noise is paid for by another's reservation. ErrReservation if it is none. A
// reservation that was refused has charged nothing, even if the transaction goes on,
// and has lowered no cap.
func (t *Tx) Reserve(ctx context.Context, r release.Reservation) error {
	return doing("reserving budget", t.reserve(ctx, r))
}

func (t *Tx) reserve(ctx context.Context, r release.Reservation) error {
	mask, ok := maskOf(r.Days)
	if !ok || r.Rho == 0 || r.DayRho == 0 {
		return ErrReservation
	}
	state, err := t.holdWindow(ctx, r.Window)
	if err != nil {
		return err
	}
	if state != release.WindowClosing && state != release.WindowOpen { // live load is paid for while its day goes by
		return release.ErrWindowClosed
	}
	// Years first: whoever shares a day shares its year, and has waited there.
	all := [...]accounts{
		{"budget_years", "year", yearsOf(r.Days), r.Rho, r.Cap},
		{"budget_days", "day", int64s(r.Days), r.DayRho, r.DayCap},
	}
	for _, a := range all {
		if err := t.afford(ctx, a); err != nil {
			return err
		}
	}
	put, err := execOne(ctx, t.sql,
		`INSERT INTO budget_spends (id, year, block_day, days, window_day, product, rho_nano, day_rho_nano, leaf_index)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING`,
		r.ID, all[0].keys[0], r.Days[0], mask, r.Window, r.Product, uint64(r.Rho), uint64(r.DayRho), r.LeafIndex)
	if err != nil {
		return err
	}
	if !put {
		return fmt.Errorf("%w: this reservation was made before", ErrConflict)
	}
	for _, a := range all {
		if err := t.charge(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// afford locks accounts, opening those that are new, and returns
// release.ErrOverBudget if one would pass its cap.
func (t *Tx) afford(ctx context.Context, a accounts) error {
	err := t.insert(ctx, t.sql, a.table, []string{a.key, "cap_nano", "spent_nano"}, "ON CONFLICT ("+a.key+") DO NOTHING",
		len(a.keys), func(i int, v []any) { v[0], v[1], v[2] = a.keys[i], int64(noCap), 0 })
	if err != nil {
		return err
	}
	type account struct{ cap, spent dp.Rho }
	found, err := scanAll(ctx, t.sql, func(row *sql.Rows) (b account, err error) {
		return b, row.Scan(&b.cap, &b.spent)
	}, `SELECT cap_nano, spent_nano FROM `+a.table+` WHERE `+t.amongInts(a.key, 1)+` ORDER BY `+a.key+t.forUpdate(), t.listInts(a.keys))
	if err != nil {
		return err
	}
	for _, b := range found {
		if limit := min(b.cap, a.cap); b.spent > limit || a.rho > limit-b.spent {
			return release.ErrOverBudget
		}
	}
	return nil
}

// charge charges accounts that can afford it, and lowers their caps.
func (t *Tx) charge(ctx context.Context, a accounts) error {
	_, err := t.sql.ExecContext(ctx, `UPDATE `+a.table+` SET spent_nano = spent_nano + $2,
		cap_nano = CASE WHEN cap_nano < $3 THEN cap_nano ELSE $3 END WHERE `+t.amongInts(a.key, 1),
		t.listInts(a.keys), uint64(a.rho), uint64(min(a.cap, noCap)))
	return err
}

// Spent implements release.Store.
func (s *Store) Spent(ctx context.Context, year int, day meter.Day) (ofYear, ofDay dp.Rho, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT
			coalesce((SELECT spent_nano FROM budget_years WHERE year = $1), 0),
			coalesce((SELECT spent_nano FROM budget_days WHERE day = $2), 0)`, year, day).Scan(&ofYear, &ofDay)
	return ofYear, ofDay, s.reading("the budget", err)
}

// Charge is one reservation, with what opens its ledger leaf. One that was made
// before reservations were recorded has none, and a LeafIndex of 0.
type Charge struct {
	release.Reservation // without its caps
	Payload             []byte
	Nonce               ledger.Hash
}

// maxCharges bounds one answer: far more than the days of a year.
const maxCharges = 10_000

var errCharges = fmt.Errorf("store: more than %d charges in a year", maxCharges)

// ChargesOf returns all reservations that charge a calendar year, by first day and
// attempt. Those that were never used count like the others, and one that charges
// the year before, too, is among that year's as well.
func (s *Store) ChargesOf(ctx context.Context, year int) ([]Charge, error) {
	charges, err := scanAll(ctx, s.read, func(row *sql.Rows) (c Charge, err error) {
		var first meter.Day
		var mask uint32
		err = row.Scan(&c.ID, &c.Product, &c.Window, &first, &mask, &c.Rho, &c.DayRho, &c.LeafIndex, &c.Payload, orZero(c.Nonce[:]))
		c.Days = maskedDays(first, mask)
		return c, err
	}, `SELECT b.id, b.product, b.window_day, b.block_day, b.days, b.rho_nano, b.day_rho_nano, coalesce(b.leaf_index, 0), p.payload, p.nonce
		FROM budget_spends b LEFT JOIN tlog_private p ON p.idx = b.leaf_index AND p.kind = 'budget.spend'
		WHERE b.year = $1 OR (b.year = $1 - 1 AND b.block_day >= $2 - 31 AND b.days >> ($2 - b.block_day - 1) > 0)
		ORDER BY b.block_day, length(b.id), b.id LIMIT $3`, year, NewYear(year), maxCharges+1) // ledger.KindBudgetSpend
	if err == nil && len(charges) > maxCharges {
		charges, err = nil, errCharges
	}
	return charges, s.reading("the budget", err)
}

// maskOf returns which days beside the first are charged, as budget_spends keeps
// them: bit i is set for the day i+1 days after it. It reports whether the days
// ascend within 32 in a row.
func maskOf(days []meter.Day) (mask uint32, ok bool) {
	for i, day := range days {
		after := int64(day) - int64(days[0])
		if i > 0 && (day <= days[i-1] || after > 31) {
			return 0, false
		}
		mask |= 1 << after >> 1
	}
	return mask, len(days) > 0
}

// maskedDays is what maskOf took apart.
func maskedDays(first meter.Day, mask uint32) []meter.Day {
	days := []meter.Day{first}
	for day := first.Next(); mask != 0; day, mask = day.Next(), mask>>1 {
		if mask&1 != 0 {
			days = append(days, day)
		}
	}
	return days
}

// NewYear returns the first day of a calendar year, UTC.
func NewYear(year int) meter.Day {
	return meter.DayOf(time.Date(year, time.January, 1, 0, 0, 0, 0, time.UTC).Unix())
}

// yearsOf returns the calendar years, UTC, of ascending days.
func yearsOf(days []meter.Day) (years []int64) {
	for _, day := range days {
		year := int64(time.Unix(day.Start(), 0).UTC().Year())
		if len(years) == 0 || years[len(years)-1] != year {
			years = append(years, year)
		}
	}
	return years
}

func int64s(days []meter.Day) []int64 {
	out := make([]int64, len(days))
	for i, day := range days {
		out[i] = int64(day)
	}
	return out
}
