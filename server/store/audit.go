package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/ledger"
)

// Event is a ledger entry with the name its recipient is registered under.
type Event struct {
	ledger.Entry
	RecipientName string // empty if there is no recipient, or it is not registered
}

// ListEvents returns up to limit ledger entries that concern the owner, newest
// first, of the given kind alone unless it is empty, and the token of the next
// page; see ListConsents. Erased entries are not among them.
func (s *Store) ListEvents(ctx context.Context, o Owner, kind ledger.Kind, page string, limit int) (events []Event, next string, err error) {
	before, _, err := parsePage(page)
	if err != nil {
		return nil, "", err
	}
	where, owner := o.among("p.subject", "p.recipient", 1)
	events, err = scanAll(ctx, s.read, func(row *sql.Rows) (e Event, err error) {
		e.Entry, _, err = scanEntry(row, &e.RecipientName)
		return e, err
	}, `SELECT `+entryColumns+`, coalesce(r.name, '')
		FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx LEFT JOIN recipients r ON r.id = p.recipient
		WHERE `+where+` AND p.idx < $2 AND ($3 = '' OR p.kind = $3) ORDER BY p.idx DESC LIMIT $4`,
		owner, before, string(kind), limit+1)
	if err != nil {
		return nil, "", s.reading("events", err)
	}
	if len(events) > limit {
		events = events[:limit]
		next = pageAfter(int64(events[limit-1].Index), "")
	}
	return events, next, nil
}
