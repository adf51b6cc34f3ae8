package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/notify"
)

// tellOf says what a third party is to be told of a consent that is about to be stored:
// nothing, "", if it has no endpoint.
func (t *Tx) tellOf(ctx context.Context, c consent.Consent) (notify.Kind, error) {
	var state sql.NullInt16
	var terms []byte
	err := t.sql.QueryRowContext(ctx, `SELECT c.state, c.terms FROM notify_endpoints e LEFT JOIN consents c ON c.id = $2
		WHERE e.recipient = $1 AND e.state <> 4`, c.Recipient, c.ID).Scan(&state, &terms) // notify.Removed
	switch {
	case noRows(err):
		return "", nil
	case err != nil:
		return "", err
	}
	var was consent.Consent
	if state.Valid {
		was.State = consent.State(state.Int16)
		if was.Terms, err = consent.DecodeTerms(terms); err != nil {
			return "", err
		}
	}
	return notify.KindOf(was, c), nil
}

// tell writes a notification down, and returns its number; 0 if the recipient has no
// endpoint. The endpoint's row is held until the transaction ends, so that numbers are
// committed in their order.
func (t *Tx) tell(ctx context.Context, r consent.Recipient, e notify.Event) (seq uint64, err error) {
	var form notify.Form
	err = t.sql.QueryRowContext(ctx, `UPDATE notify_endpoints SET last_seq = last_seq + 1,
		  due_s = CASE WHEN state = 1 AND form <> 3 AND (failures = 0 OR due_s = 0) THEN 1 ELSE due_s END
		WHERE recipient = $1 AND state <> 4 RETURNING last_seq, form`, r).Scan(&seq, &form) // notify.Active, notify.Pull, notify.Removed
	switch {
	case noRows(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	state := notify.Waiting
	if form == notify.Pull {
		state = notify.Pullable
	}
	_, err = t.sql.ExecContext(ctx,
		`INSERT INTO notifications (recipient, seq, consent, kind, cause, created_s, from_s, until_s, state, due_s, tried_s, attempts)
		 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce(max(n.due_s), 1), 0, 0 FROM notifications n WHERE n.consent = $3 AND n.state = 1`, // notify.Waiting
		r, seq, e.Consent, e.Kind, e.Cause, e.At, e.From, e.Until, state)
	t.told = t.told || err == nil && e.At == 0
	return seq, err
}

// stampNotifications gives the notifications of this transaction the time and the index of
// the leaf that records what they tell of. Leaves are in the order of what they record.
func (t *Tx) stampNotifications(ctx context.Context, entries []ledger.Entry) error {
	for _, e := range entries {
		var err error
		switch {
		case e.Kind == ledger.KindErasure: // it names no consent, and may be one of several
			_, err = t.sql.ExecContext(ctx, `UPDATE notifications SET created_s = $1 WHERE created_s = 0 AND kind = $2`, e.Time/1e6, notify.ConsentErased)
		case e.Kind.IsConsent() && e.Kind != ledger.KindConsentRequest: // nobody is told of a request
			p, derr := ledger.DecodePayload(e.Payload)
			if derr != nil {
				return derr
			}
			_, err = t.sql.ExecContext(ctx, `UPDATE notifications SET created_s = $1, leaf_idx = $2 WHERE created_s = 0 AND consent = $3
				AND seq = (SELECT min(seq) FROM notifications WHERE created_s = 0 AND consent = $3)`, e.Time/1e6, position(e.Index), p.Consent)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tellOfErasure tells third parties that a household's consents to them were erased (GDPR
// article 19), and takes away what else they were told of them. It comes before the
// consents go.
func (t *Tx) tellOfErasure(ctx context.Context, h consent.Household) error {
	type agreed struct {
		id        consent.ID
		recipient consent.Recipient
		state     consent.State
	}
	consents, err := scanAll(ctx, t.sql, func(row *sql.Rows) (a agreed, err error) { return a, row.Scan(&a.id, &a.recipient, &a.state) },
		`SELECT id, recipient, state FROM consents WHERE household = $1 AND household <> '' ORDER BY recipient, id`, h)
	if err != nil {
		return err
	}
	for _, c := range consents {
		told := uint64(0)
		if c.state != consent.Denied {
			if told, err = t.tell(ctx, c.recipient, notify.Event{Kind: notify.ConsentErased, Consent: c.id}); err != nil {
				return err
			}
		}
		if _, err := t.sql.ExecContext(ctx, `DELETE FROM notifications WHERE consent = $1 AND seq <> $2`, c.id, told); err != nil {
			return err
		}
		if _, err := t.sql.ExecContext(ctx, `UPDATE notifications SET due_s = 1 WHERE consent = $1`, c.id); err != nil { // nothing of it is before this any more
			return err
		}
		if _, err := t.sql.ExecContext(ctx, `DELETE FROM notify_marks WHERE consent = $1`, c.id); err != nil {
			return err
		}
	}
	return nil
}

const notificationColumns = `n.seq, n.kind, n.consent, n.cause, n.created_s, coalesce(n.leaf_idx, 0), n.from_s, n.until_s, n.state, n.due_s, n.tried_s, n.attempts`

func scanNotification(row *sql.Rows) (e notify.Event, err error) {
	return e, row.Scan(&e.Seq, &e.Kind, &e.Consent, &e.Cause, &e.At, &e.Leaf, &e.From, &e.Until, &e.State, &e.Due, &e.TriedAt, &e.Attempts)
}

// Waiting implements notify.Outbox.
func (s *Store) Waiting(ctx context.Context, r consent.Recipient, now int64, limit int) ([]notify.Event, error) {
	events, err := scanAll(ctx, s.read, scanNotification, `SELECT `+notificationColumns+` FROM notifications n
		WHERE n.recipient = $1 AND n.state = 1 AND n.due_s <= $2 ORDER BY n.seq LIMIT $3`, r, now, limit) // notify.Waiting
	return events, s.reading("notifications", err)
}

// ErrCursor says that a number is not one to go on from: what came after it is no longer
// kept, or it was never given.
var ErrCursor = errors.New("store: notifications cannot be told from this number on")

// ListNotifications returns up to limit of a third party's notifications after a number,
// ascending; after 0 those that are kept. Nothing that is committed later gets a lower
// number than what is returned. ErrNotFound without an endpoint, ErrCursor if some would be
// missing.
func (s *Store) ListNotifications(ctx context.Context, r consent.Recipient, since uint64, limit int) ([]notify.Event, error) {
	events, err := scanAll(ctx, s.read, scanNotification, `SELECT `+notificationColumns+` FROM notifications n
		WHERE n.recipient = $1 AND n.seq > $2 ORDER BY n.seq LIMIT $3`, r, position(since), limit)
	if err != nil {
		return nil, s.reading("notifications", err)
	}
	// After them: what is forgotten while this reads is then known to be.
	var last, pruned uint64
	err = scanOne(ctx, s.read, ErrNotFound, []any{&last, &pruned}, `SELECT last_seq, pruned_seq FROM notify_endpoints WHERE recipient = $1 AND state <> 4`, r) // notify.Removed
	if err == nil && (since > last || since > 0 && since < pruned) {
		err = ErrCursor
	}
	if err != nil {
		return nil, s.reading("notifications", err)
	}
	return events, nil
}

// Prune implements notify.Readings.
func (s *Store) Prune(ctx context.Context, r consent.Recipient, before int64, limit int) (n int, err error) {
	type kept struct {
		seq uint64
		at  int64
	}
	oldest := func(ctx context.Context, q querier, limit int) ([]kept, error) {
		return scanAll(ctx, q, func(row *sql.Rows) (k kept, err error) { return k, row.Scan(&k.seq, &k.at) },
			`SELECT seq, created_s FROM notifications WHERE recipient = $1 ORDER BY seq LIMIT $2`, r, limit)
	}
	first, err := oldest(ctx, s.read, 1)
	if err != nil || len(first) == 0 || first[0].at >= before {
		return 0, s.reading("notifications", err)
	}
	err = s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		n = 0
		if _, err := tx.sql.ExecContext(ctx, `UPDATE notify_endpoints SET pruned_seq = pruned_seq WHERE recipient = $1`, r); err != nil {
			return err // to hold its row
		}
		rows, err := oldest(ctx, tx.sql, limit)
		if err != nil {
			return err
		}
		last := uint64(0)
		for _, k := range rows {
			if k.at >= before {
				break
			}
			last = k.seq
			n++
		}
		if n == 0 {
			return nil
		}
		if _, err := tx.sql.ExecContext(ctx, `DELETE FROM notifications WHERE recipient = $1 AND seq <= $2`, r, last); err != nil {
			return err
		}
		_, err = tx.sql.ExecContext(ctx, `UPDATE notify_endpoints SET pruned_seq = CASE WHEN pruned_seq < $2 THEN $2 ELSE pruned_seq END WHERE recipient = $1`, r, last)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting notifications: %w", err)
	}
	return n, nil
}
