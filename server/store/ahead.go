package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// ahead is what a transaction has read for the proposals of a batch before their
// functions ask for it: three statements for each access, each a round trip or at
// least parsed anew, would be most of what a batch costs. What is changed is
// dropped, and read from the database again.
type ahead struct {
	consents    map[consent.ID]consent.Consent
	occupancies map[consent.Household][]consent.Occupancy
	blocks      map[span][]blockCount
}

// span is a household's UTC days from first to last.
type span struct {
	household   consent.Household
	first, last meter.Day
}

type blockCount struct {
	point     meter.UsagePoint
	register  meter.Register
	intervals uint64
}

// LedgerAhead implements ledger.Aheader.
func (t *Tx) LedgerAhead(ctx context.Context, reads []any) error {
	wanted := make(map[consent.ID][]consent.Ahead)
	var ids []string
	for _, r := range reads {
		if a, ok := r.(consent.Ahead); ok {
			if wanted[a.Consent] == nil {
				ids = append(ids, string(a.Consent))
			}
			wanted[a.Consent] = append(wanted[a.Consent], a)
		}
	}
	if len(ids) < 2 {
		return nil
	}
	// In one order, so that two batches cannot wait for each other.
	consents, err := scanAll(ctx, t.sql, func(row *sql.Rows) (consent.Consent, error) { return scanConsent(row) },
		`SELECT `+consentColumns+` FROM consents c WHERE `+t.among("c.id", 1)+` ORDER BY c.id`+t.forUpdate(), t.list(ids))
	if err != nil {
		return fmt.Errorf("reading consents: %w", err)
	}
	t.ahead = ahead{
		consents:    make(map[consent.ID]consent.Consent, len(consents)),
		occupancies: make(map[consent.Household][]consent.Occupancy, len(consents)),
		blocks:      make(map[span][]blockCount, len(consents)),
	}
	var households []string
	for _, c := range consents {
		t.ahead.consents[c.ID] = c
		if _, seen := t.ahead.occupancies[c.Household]; c.Household != "" && !seen {
			t.ahead.occupancies[c.Household] = nil
			households = append(households, string(c.Household))
		}
		for _, a := range wanted[c.ID] {
			if a.From < a.Until {
				t.ahead.blocks[span{c.Household, meter.DayOf(a.From), meter.DayOf(a.Until - 1)}] = nil
			}
		}
	}
	all, err := scanAll(ctx, t.sql, scanOccupancy, occupancyRows+t.among("o.household", 1)+occupancyOrder, t.list(households))
	if err != nil {
		return fmt.Errorf("reading occupancies: %w", err)
	}
	for _, o := range all {
		t.ahead.occupancies[o.Household] = append(t.ahead.occupancies[o.Household], o)
	}
	return t.countAhead(ctx)
}

// countAhead counts the blocks of all spans in one statement.
func (t *Tx) countAhead(ctx context.Context) error {
	spans := slices.Collect(maps.Keys(t.ahead.blocks))
	values := make([][3]any, len(spans))
	for i, s := range spans {
		values[i] = [3]any{s.household, s.first, s.last}
	}
	asked, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("counting stored intervals: %w", err)
	}
	type row struct {
		at int
		blockCount
	}
	counts, err := scanAll(ctx, t.sql, func(rows *sql.Rows) (r row, err error) {
		return r, rows.Scan(&r.at, &r.point, fixed(r.register[:]), &r.intervals)
	}, `SELECT q.n, b.usage_point, b.register, sum(b.intervals)
		FROM `+t.dayRanges(1)+` JOIN blocks b ON b.household = q.household AND b.day >= q.first AND b.day <= q.last
		GROUP BY q.n, b.usage_point, b.register`, string(asked))
	if err != nil {
		return fmt.Errorf("counting stored intervals: %w", err)
	}
	for _, c := range counts {
		s := spans[c.at-1]
		t.ahead.blocks[s] = append(t.ahead.blocks[s], c.blockCount)
	}
	return nil
}

// stored is StoredIntervals from what was read ahead, if that was.
func (a *ahead) stored(h consent.Household, points []meter.UsagePoint, registers []meter.Register, first, last meter.Day) (n uint64, ok bool) {
	counts, ok := a.blocks[span{h, first, last}]
	for _, c := range counts {
		if slices.Contains(points, c.point) && (len(registers) == 0 || slices.Contains(registers, c.register)) {
			n += c.intervals
		}
	}
	return n, ok
}
