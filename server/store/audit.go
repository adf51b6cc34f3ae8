package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
)

// Event is a ledger entry with the name its recipient is registered under.
type Event struct {
	ledger.Entry
	RecipientName string // empty if there is no recipient, or it is not registered
}

// EventFilter says which of an owner's events are meant: those that are as each
// field says. A zero field says nothing.
type EventFilter struct {
	Kind        ledger.Kind
	Recipient   consent.Recipient
	Purpose     string // code
	From, Until int64  // unix seconds, up to the year 9999: recorded in [From, Until)
}

// examined is how many of an owner's entries one page may look at: what a filter
// lets pass may be rare, and the work of one call has to end.
const examined = 10_000

// ListEvents returns up to limit ledger entries that concern the owner and pass
// the filter, newest first, and the token of the next page; see ListConsents.
// Erased entries are not among them.
//
// No page looks at more than ten thousand of the owner's entries, or of those that
// name the recipient if a filter on everybody's names one. So a page may hold
// fewer than limit entries, or none, and still have a next one; the token goes on
// below what was looked at, and the pages together hold every entry once.
func (s *Store) ListEvents(ctx context.Context, o Owner, f EventFilter, page string, limit int) (events []Event, next string, err error) {
	before, _, err := parsePage(page)
	if err != nil {
		return nil, "", err
	}
	if o.All && f.Recipient != "" {
		o, f.Recipient = Owner{Recipient: f.Recipient}, "" // by its index
	}
	look := examined
	if f == (EventFilter{}) {
		look = limit + 1
	}
	stretch, err := s.stretch(ctx, o, before, look)
	if err != nil {
		return nil, "", s.reading("events", err)
	}
	if events, err = s.eventsOf(ctx, o, f, stretch, limit+1); err != nil {
		return nil, "", s.reading("events", err)
	}
	switch {
	case len(events) > limit:
		events = events[:limit]
		next = pageAfter(int64(events[limit-1].Index), "")
	case stretch.more:
		next = pageAfter(stretch.lowest, "")
	}
	return events, next, nil
}

// stretch is a run of an owner's entries.
type stretch struct {
	lowest, highest int64 // indices; highest is below lowest if it is empty
	more            bool  // there may be entries below it
}

// stretch returns the owner's newest entries below an index, at most so many. The
// owner's index alone is read.
func (s *Store) stretch(ctx context.Context, o Owner, before int64, most int) (found stretch, err error) {
	where, owner := o.among("p.subject", "p.recipient", 1)
	var n int
	err = scanOne(ctx, s.read, ErrNotFound, []any{&found.lowest, &found.highest, &n},
		`SELECT coalesce(min(w.idx), 0), coalesce(max(w.idx), -1), count(*) FROM (
		   SELECT p.idx FROM tlog_private p WHERE `+where+` AND p.idx < $2 ORDER BY p.idx DESC LIMIT $3) w`,
		owner, before, most)
	found.more = n == most
	return found, err
}

// errEnough ends the reading of rows when a page is full.
var errEnough = errors.New("store: the page is full")

// eventsOf returns the entries of a stretch that pass the filter, at most limit.
// Purposes stand in payloads alone, so they are compared here.
func (s *Store) eventsOf(ctx context.Context, o Owner, f EventFilter, in stretch, limit int) ([]Event, error) {
	where, owner := o.among("p.subject", "p.recipient", 1)
	from, until := int64(math.MinInt64), int64(math.MaxInt64)
	if f.From != 0 {
		from = f.From * 1_000_000
	}
	if f.Until != 0 {
		until = f.Until * 1_000_000
	}
	most := limit
	if f.Purpose != "" {
		most = examined // the stretch is no longer
	}
	var events []Event
	_, err := scanAll(ctx, s.read, func(row *sql.Rows) (struct{}, error) {
		e, err := scanEvent(row)
		if err != nil {
			return struct{}{}, err
		}
		if f.Purpose != "" {
			p, err := ledger.DecodePayload(e.Payload)
			if err != nil {
				return struct{}{}, fmt.Errorf("entry %d: %w", e.Index, err)
			}
			if p.Purpose != f.Purpose {
				return struct{}{}, nil
			}
		}
		if events = append(events, e); len(events) == limit {
			return struct{}{}, errEnough
		}
		return struct{}{}, nil
	}, `SELECT `+entryColumns+`, coalesce(r.name, '')
		FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx LEFT JOIN recipients r ON r.id = p.recipient
		WHERE `+where+` AND p.idx >= $2 AND p.idx <= $3 AND ($4 = '' OR p.kind = $4) AND ($5 = '' OR p.recipient = $5)
		  AND p.time_us >= $6 AND p.time_us < $7
		ORDER BY p.idx DESC LIMIT $8`,
		owner, in.lowest, in.highest, string(f.Kind), string(f.Recipient), from, until, most)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return events, err
}

func scanEvent(row *sql.Rows) (e Event, err error) {
	e.Entry, _, err = scanEntry(row, &e.RecipientName)
	return e, err
}
