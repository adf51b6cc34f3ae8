package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/notify"
)

// ClaimSweeps implements notify.Readings.
func (s *Store) ClaimSweeps(ctx context.Context, before, now int64, limit int) ([]notify.Swept, error) {
	const due = ` FROM notify_endpoints WHERE state <> 4 AND swept_s <= $1` // notify.Removed
	var one int
	switch err := s.read.QueryRowContext(ctx, `SELECT 1`+due+` LIMIT 1`, before).Scan(&one); {
	case noRows(err):
		return nil, nil
	case err != nil:
		return nil, s.reading("endpoints", err)
	}
	var claimed []notify.Swept
	err := s.Transact(ctx, func(ctx context.Context, tx *Tx) (err error) {
		claimed, err = scanAll(ctx, tx.sql, func(row *sql.Rows) (w notify.Swept, err error) { return w, row.Scan(&w.Recipient, &w.At) },
			`SELECT recipient, swept_s`+due+` ORDER BY swept_s, recipient LIMIT $2`+tx.forUpdateFree(), before, limit)
		if err != nil || len(claimed) == 0 {
			return doing("claiming sweeps", err)
		}
		names := make([]string, len(claimed))
		for i, w := range claimed {
			names[i] = string(w.Recipient)
		}
		_, err = tx.sql.ExecContext(ctx, `UPDATE notify_endpoints SET swept_s = $1 WHERE `+tx.among("recipient", 2), now, tx.list(names))
		return doing("claiming sweeps", err)
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// LiveConsents implements notify.Readings.
func (s *Store) LiveConsents(ctx context.Context, r consent.Recipient, after consent.Consent, limit int) ([]notify.Marked, error) {
	marked, err := scanAll(ctx, s.read, func(row *sql.Rows) (m notify.Marked, err error) {
		var version sql.NullInt64
		var terms, days []byte
		if m.Consent, err = scanConsent(row, &version, &terms, &days); err != nil || !version.Valid {
			return m, err
		}
		m.Mark.Version = uint64(version.Int64)
		if err := fixed(m.Mark.Terms[:]).Scan(terms); err != nil {
			return m, err
		}
		m.Mark.Days, err = notify.DecodeDays(days)
		return m, err
	}, `SELECT `+consentColumns+`, m.version, m.terms, m.days FROM consents c LEFT JOIN notify_marks m ON m.consent = c.id
		WHERE c.recipient = $1 AND c.state = $2 AND (c.requested_s, c.id) > ($3, $4) ORDER BY c.requested_s, c.id LIMIT $5`,
		r, consent.Granted, after.RequestedAt, after.ID, limit)
	return marked, s.reading("consents", err)
}

// StoredDays implements notify.Readings.
func (s *Store) StoredDays(ctx context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, first, last meter.Day) ([]notify.DayCount, error) {
	where, args := blocksOf(s.dialect, h, points, registers, first, last)
	days, err := scanAll(ctx, s.kept, func(row *sql.Rows) (d notify.DayCount, err error) { return d, row.Scan(&d.Day, &d.Blocks) },
		`SELECT day, count(*) FROM blocks WHERE `+where+` GROUP BY day ORDER BY day`, args...)
	return days, s.reading("a household's days", err)
}

// Announce implements notify.Readings.
func (s *Store) Announce(ctx context.Context, a notify.Announcement) (done bool, err error) {
	err = s.Transact(ctx, func(ctx context.Context, tx *Tx) (err error) {
		done, err = tx.announce(ctx, a)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("announcing readings: %w", err)
	}
	return done, nil
}

func (t *Tx) announce(ctx context.Context, a notify.Announcement) (bool, error) {
	var one int
	err := t.sql.QueryRowContext(ctx, `SELECT 1 FROM notify_endpoints WHERE recipient = $1 AND state <> 4`+t.forUpdate(), a.Recipient).Scan(&one) // notify.Removed
	if err == nil {
		// Looked at under the endpoint's lock, which an erasure takes too: of who is erased
		// nothing is written down again.
		err = t.sql.QueryRowContext(ctx, `SELECT 1 FROM consents WHERE id = $1 AND state = $2`, a.Consent, consent.Granted).Scan(&one)
	}
	switch {
	case noRows(err):
		return false, nil
	case err != nil:
		return false, err
	}
	query, args := `INSERT INTO notify_marks (consent, version, terms, days) VALUES ($1, 1, $2, $3) ON CONFLICT DO NOTHING`, []any{a.Consent, a.Mark.Terms[:], a.Mark.Encode()}
	if a.Version > 0 {
		query, args = `UPDATE notify_marks SET version = version + 1, terms = $2, days = $3 WHERE consent = $1 AND version = $4`, append(args, a.Version)
	}
	if moved, err := execOne(ctx, t.sql, query, args...); err != nil || !moved {
		return false, err
	}
	for _, span := range a.Spans {
		if err := t.tellOfReadings(ctx, a, span); err != nil {
			return false, err
		}
	}
	return true, nil
}

// tellOfReadings writes down that readings of a span came, in place of what it covers.
func (t *Tx) tellOfReadings(ctx context.Context, a notify.Announcement, span notify.Span) error {
	for {
		var from, until sql.NullInt64
		err := t.sql.QueryRowContext(ctx, `SELECT min(from_s), max(until_s) FROM notifications
			WHERE consent = $1 AND kind = $2 AND state = 1 AND from_s <= $4 AND until_s >= $3`, // notify.Waiting
			a.Consent, notify.ReadingsAvailable, span.From, span.Until).Scan(&from, &until)
		if err != nil {
			return err
		}
		if !from.Valid || from.Int64 >= span.From && until.Int64 <= span.Until {
			break
		}
		span = notify.Span{From: min(span.From, from.Int64), Until: max(span.Until, until.Int64)}
	}
	_, err := t.sql.ExecContext(ctx, `DELETE FROM notifications WHERE consent = $1 AND kind = $2 AND from_s >= $3 AND until_s <= $4`,
		a.Consent, notify.ReadingsAvailable, span.From, span.Until)
	if err == nil {
		_, err = t.tell(ctx, a.Recipient, notify.Event{Kind: notify.ReadingsAvailable, Consent: a.Consent, At: a.At, From: span.From, Until: span.Until})
	}
	return err
}
