package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/notify"
)

// Whoever writes a third party's notifications holds the row of its endpoint. One row is
// held at a time, but by the transaction that sequences, which holds the log's head before
// all, and by [Store.ClaimDue] and [Store.Settle], which wait for no row: so nobody waits in
// a circle.

const endpointColumns = `e.recipient, e.url, e.form, e.state, e.put_s, e.failures, e.failing_s, e.tried_s, e.taken_s, e.status, e.problem, e.slow, e.dropped, e.last_seq, e.pruned_seq`

// scanEndpoint scans endpointColumns and more columns after them.
func scanEndpoint(row interface{ Scan(dest ...any) error }, more ...any) (e notify.Endpoint, err error) {
	dest := []any{
		&e.Recipient, &e.URL, &e.Form, &e.State, &e.PutAt, &e.Failures, &e.FailingSince, &e.TriedAt, &e.TakenAt, &e.Status, &e.Problem,
		&e.Slow, &e.Dropped, &e.LastSeq, &e.PrunedSeq,
	}
	return e, row.Scan(append(dest, more...)...)
}

// PutEndpoint makes a third party's endpoint, or replaces it: from its commit on what
// happens is written down for it. What waits is sent to the new one at once; where nothing
// is sent any more it can be pulled. An endpoint that had stopped, or was failing, is as new.
func (s *Store) PutEndpoint(ctx context.Context, r consent.Recipient, url string, form notify.Form, now int64) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		// While it was removed things may have happened that were not written down: a number
		// of its own stands for that, below which nothing can be asked for.
		_, err := tx.sql.ExecContext(ctx,
			`INSERT INTO notify_endpoints (recipient, url, form, state, put_s, last_seq, pruned_seq, due_s, failures, failing_s, tried_s, taken_s, status, problem, slow, dropped, lease_until_s, swept_s)
			 VALUES ($1, $2, $3, 1, $4, 0, 0, 0, 0, 0, 0, 0, 0, '', 0, 0, 0, 0)
			 ON CONFLICT (recipient) DO UPDATE SET url = excluded.url, form = excluded.form, state = excluded.state, put_s = excluded.put_s,
			   last_seq = CASE WHEN notify_endpoints.state = 4 THEN notify_endpoints.last_seq + 1 ELSE notify_endpoints.last_seq END,
			   pruned_seq = CASE WHEN notify_endpoints.state = 4 THEN notify_endpoints.last_seq + 1 ELSE notify_endpoints.pruned_seq END,
			   failures = 0, failing_s = 0, tried_s = 0, taken_s = 0, status = 0, problem = '', slow = 0, dropped = 0, lease = NULL, lease_until_s = 0`,
			r, url, form, now) // notify.Active, notify.Removed
		if err != nil {
			return doing("storing an endpoint", err)
		}
		query := `UPDATE notifications SET due_s = 1, attempts = 0, tried_s = 0 WHERE recipient = $1 AND state = 1` // notify.Waiting
		if form == notify.Pull {
			query = pullable
		}
		if _, err := tx.sql.ExecContext(ctx, query, r); err != nil {
			return doing("storing an endpoint", err)
		}
		return doing("storing an endpoint", tx.setDue(ctx, r, notify.Active, 1))
	})
}

const pullable = `UPDATE notifications SET state = 4 WHERE recipient = $1 AND state = 1` // notify.Pullable, notify.Waiting

// RemoveEndpoint ends a third party's endpoint: nothing is sent, and nothing more is written
// down for it. ErrNotFound if there is none.
func (s *Store) RemoveEndpoint(ctx context.Context, r consent.Recipient) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		there, err := execOne(ctx, tx.sql, `UPDATE notify_endpoints SET url = '', form = 3, state = 4, due_s = 0, lease = NULL, lease_until_s = 0
			WHERE recipient = $1 AND state <> 4`, r) // notify.Pull, notify.Removed
		if err == nil && !there {
			err = ErrNotFound
		}
		if err == nil {
			_, err = tx.sql.ExecContext(ctx, pullable, r)
		}
		return doing("removing an endpoint", err)
	})
}

// EndpointRow is an endpoint with how many notifications wait for it.
type EndpointRow struct {
	notify.Endpoint
	Waiting uint64
}

const endpointRows = `SELECT ` + endpointColumns + `, (SELECT count(*) FROM notifications n WHERE n.recipient = e.recipient AND n.state = 1)
	FROM notify_endpoints e WHERE e.state <> 4 AND ` // notify.Waiting, notify.Removed

// Endpoint returns a third party's endpoint, or ErrNotFound.
func (s *Store) Endpoint(ctx context.Context, r consent.Recipient) (row EndpointRow, err error) {
	row.Endpoint, err = scanEndpoint(s.read.QueryRowContext(ctx, endpointRows+`e.recipient = $1`, r), &row.Waiting)
	if noRows(err) {
		err = ErrNotFound
	}
	return row, s.reading("an endpoint", err)
}

// ListEndpoints returns up to limit endpoints of recipients after one, by their names.
func (s *Store) ListEndpoints(ctx context.Context, after consent.Recipient, limit int) ([]EndpointRow, error) {
	rows, err := scanAll(ctx, s.read, func(row *sql.Rows) (r EndpointRow, err error) {
		r.Endpoint, err = scanEndpoint(row, &r.Waiting)
		return r, err
	}, endpointRows+`e.recipient > $1 ORDER BY e.recipient LIMIT $2`, after, limit)
	return rows, s.reading("endpoints", err)
}

// setDue writes when an endpoint is next called: when the first notification that waits is
// due, and not before an instant. The caller holds its row, which is not of a form that is
// never called and has anything that waits.
func (t *Tx) setDue(ctx context.Context, r consent.Recipient, state notify.State, notBefore int64) error {
	due := int64(0)
	if state == notify.Active {
		var first sql.NullInt64
		if err := t.sql.QueryRowContext(ctx, `SELECT min(due_s) FROM notifications WHERE recipient = $1 AND state = 1`, r).Scan(&first); err != nil { // notify.Waiting
			return err
		}
		if first.Valid {
			due = max(first.Int64, notBefore)
		}
	}
	_, err := t.sql.ExecContext(ctx, `UPDATE notify_endpoints SET due_s = $2 WHERE recipient = $1`, r, due)
	return err
}

const dueEndpoints = ` FROM notify_endpoints e WHERE e.due_s > 0 AND e.due_s <= $1 AND e.state = 1 AND e.lease_until_s <= $1 AND ` // notify.Active

// ClaimDue implements notify.Outbox.
func (s *Store) ClaimDue(ctx context.Context, c notify.Claim) ([]notify.Endpoint, error) {
	which := map[notify.Pace]string{
		notify.Quick: `e.failures = 0 AND e.slow = 0`, notify.Slow: `e.failures = 0 AND e.slow = 1`, notify.Failing: `e.failures > 0`,
	}[c.Pace]
	var one int // most often there is nothing: then nobody is kept from writing
	switch err := s.read.QueryRowContext(ctx, `SELECT 1`+dueEndpoints+which+` LIMIT 1`, c.Now).Scan(&one); {
	case noRows(err):
		return nil, nil
	case err != nil:
		return nil, s.reading("endpoints", err)
	}
	var claimed []notify.Endpoint
	err := s.Transact(ctx, func(ctx context.Context, tx *Tx) (err error) {
		claimed, err = scanAll(ctx, tx.sql, func(row *sql.Rows) (notify.Endpoint, error) { return scanEndpoint(row) },
			`SELECT `+endpointColumns+dueEndpoints+which+` ORDER BY e.due_s, e.recipient LIMIT $2`+tx.forUpdateFree(), c.Now, c.Limit)
		if err != nil || len(claimed) == 0 {
			return doing("claiming endpoints", err)
		}
		names := make([]string, len(claimed))
		for i, e := range claimed {
			names[i] = string(e.Recipient)
		}
		_, err = tx.sql.ExecContext(ctx, `UPDATE notify_endpoints SET lease = $1, lease_until_s = $2 WHERE `+tx.among("recipient", 3), c.Lease[:], c.Until, tx.list(names))
		return doing("claiming endpoints", err)
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// Settle implements notify.Outbox.
func (s *Store) Settle(ctx context.Context, calls []notify.Settlement) (undone []notify.Settlement, err error) {
	names := make([]string, len(calls))
	for i, c := range calls {
		names[i] = string(c.Endpoint.Recipient)
	}
	err = s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		undone = nil
		type held struct {
			recipient consent.Recipient
			lease     []byte
			state     notify.State
		}
		rows, err := scanAll(ctx, tx.sql, func(row *sql.Rows) (h held, err error) { return h, row.Scan(&h.recipient, &h.lease, &h.state) },
			`SELECT recipient, lease, state FROM notify_endpoints WHERE `+tx.among("recipient", 1)+tx.forUpdateFree(), tx.list(names))
		if err != nil {
			return doing("writing down calls", err)
		}
		of := make(map[consent.Recipient]held, len(rows))
		for _, h := range rows {
			of[h.recipient] = h
		}
		for _, c := range calls {
			switch h, free := of[c.Endpoint.Recipient]; {
			case !free:
				undone = append(undone, c)
			case string(h.lease) == string(c.Lease[:]):
				if err := tx.settle(ctx, c); err != nil {
					return doing("writing down calls", err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return undone, nil
}

// settle writes down one call. The caller holds the endpoint's row.
func (t *Tx) settle(ctx context.Context, c notify.Settlement) error {
	e := c.Endpoint
	if len(c.Taken) > 0 {
		seqs := make([]int64, len(c.Taken))
		for i, seq := range c.Taken {
			seqs[i] = int64(seq)
		}
		if _, err := t.sql.ExecContext(ctx, `UPDATE notifications SET state = 2 WHERE recipient = $1 AND state = 1 AND `+t.amongInts("seq", 2), // notify.Taken
			e.Recipient, t.listInts(seqs)); err != nil {
			return err
		}
	}
	dropped := 0
	for _, r := range c.Refused {
		if err := t.refused(ctx, e.Recipient, r); err != nil {
			return err
		}
		if r.State == notify.Dropped {
			dropped++
		}
	}
	query, args := `UPDATE notify_endpoints SET lease = NULL, lease_until_s = 0 WHERE recipient = $1`, []any{e.Recipient}
	if !c.Unchanged {
		query = `UPDATE notify_endpoints SET state = $2, failures = $3, failing_s = $4, tried_s = $5, taken_s = $6, status = $7, problem = $8, dropped = dropped + $9, slow = $10,
			lease = NULL, lease_until_s = 0 WHERE recipient = $1`
		slow := 0
		if e.Slow {
			slow = 1
		}
		args = append(args, e.State, e.Failures, e.FailingSince, e.TriedAt, e.TakenAt, e.Status, e.Problem, dropped, slow)
	}
	if _, err := t.sql.ExecContext(ctx, query, args...); err != nil {
		return err
	}
	return t.setDue(ctx, e.Recipient, e.State, c.Due)
}

// refused puts a notification off, and those after it of the same consent with it.
func (t *Tx) refused(ctx context.Context, r consent.Recipient, e notify.Event) error {
	_, err := t.sql.ExecContext(ctx, `UPDATE notifications SET state = $3, due_s = $4, tried_s = $5, attempts = $6 WHERE recipient = $1 AND seq = $2 AND state = 1`, // notify.Waiting
		r, e.Seq, e.State, e.Due, e.TriedAt, e.Attempts)
	if err != nil || e.State != notify.Waiting {
		return err
	}
	_, err = t.sql.ExecContext(ctx, `UPDATE notifications SET due_s = $3 WHERE consent = $1 AND seq > $2 AND state = 1 AND due_s < $3`, e.Consent, e.Seq, e.Due)
	return err
}
