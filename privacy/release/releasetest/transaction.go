package releasetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// Tx is a transaction of Memory.
type Tx struct {
	*ledgertest.Tx
	m *Memory
}

// Transact implements ledger.Store. fn must not use the Memory itself.
func (m *Memory) Transact(ctx context.Context, fn func(context.Context, *Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Memory.Transact(ctx, func(ctx context.Context, tx *ledgertest.Tx) error { return fn(ctx, &Tx{tx, m}) })
}

var (
	errTaken       = errors.New("releasetest: taken already")
	errReservation = errors.New("releasetest: a reservation of nothing, or of no such days")
)

// account is a budget that was charged; the zero value was not, and has no cap.
type account struct{ limit, spent dp.Rho }

// charge charges accounts alike, in all of them or in none.
func charge[K comparable](accounts map[K]account, keys []K, rho, limit dp.Rho) error {
	for _, k := range keys {
		if a := accounts[k]; !a.affords(rho, limit) {
			return release.ErrOverBudget
		}
	}
	for _, k := range keys {
		a := accounts[k]
		accounts[k] = account{a.under(limit), a.spent + rho}
	}
	return nil
}

// under is the account's cap when a reservation names one.
func (a account) under(limit dp.Rho) dp.Rho {
	if a.spent == 0 {
		return limit
	}
	return min(a.limit, limit)
}

func (a account) affords(rho, limit dp.Rho) bool {
	limit = a.under(limit)
	return a.spent <= limit && rho <= limit-a.spent
}

// Reserve implements release.Tx.
func (tx *Tx) Reserve(_ context.Context, r release.Reservation) error {
	m := tx.m
	return m.orders.do(Reserve, func() error {
		switch {
		case r.Rho == 0 || r.DayRho == 0 || !inARow(r.Days):
			return errReservation
		case m.windows[r.Window].State != release.WindowClosing && m.windows[r.Window].State != release.WindowOpen:
			return release.ErrWindowClosed
		case slices.ContainsFunc(m.spends, func(s release.Reservation) bool { return s.ID == r.ID }):
			return errTaken
		}
		years, days, n := maps.Clone(m.years), maps.Clone(m.days), len(m.spends)
		undo := func() { m.years, m.days, m.spends = years, days, m.spends[:n] }
		err := charge(m.years, yearsOf(r.Days), r.Rho, r.Cap)
		if err == nil {
			err = charge(m.days, r.Days, r.DayRho, r.DayCap)
		}
		if err != nil {
			undo()
			return err
		}
		tx.Undo(undo)
		r.Days = slices.Clone(r.Days)
		m.spends = append(m.spends, r)
		return nil
	})
}

// inARow reports whether days ascend within 32 in a row.
func inARow(days []meter.Day) bool {
	for i, day := range days[min(1, len(days)):] {
		if day <= days[i] || int64(day)-int64(days[0]) > 31 {
			return false
		}
	}
	return len(days) > 0
}

func yearsOf(days []meter.Day) (years []int) {
	for _, day := range days {
		if year := time.Unix(day.Start(), 0).UTC().Year(); !slices.Contains(years, year) {
			years = append(years, year)
		}
	}
	return years
}

// PutRelease implements release.Tx.
func (tx *Tx) PutRelease(_ context.Context, p release.Published) error {
	return tx.m.orders.do(PutRelease, func() error {
		if _, taken := tx.m.releases[p.ID]; taken {
			return errTaken
		}
		p.Body, p.Signature, p.PublicKey = slices.Clone(p.Body), slices.Clone(p.Signature), slices.Clone(p.PublicKey)
		tx.m.releases[p.ID] = p
		tx.Undo(func() { delete(tx.m.releases, p.ID) })
		return nil
	})
}

// Spent implements release.Store.
func (m *Memory) Spent(_ context.Context, year int, day meter.Day) (ofYear, ofDay dp.Rho, err error) {
	err = m.do(ReadSpent, func() error {
		ofYear, ofDay = m.years[year].spent, m.days[day].spent
		return nil
	})
	return ofYear, ofDay, err
}
