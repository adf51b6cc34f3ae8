package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
)

// maxLife bounds the steps of a consent that are shown: a household narrows it some
// times an hour at most.
const maxLife = 1000

// ConsentLife returns the entries of a household's consent, oldest first, with what each
// says: its newest 1,000.
func (s *Store) ConsentLife(ctx context.Context, h consent.Household, id consent.ID) ([]ledger.Entry, []ledger.Payload, error) {
	var entries []ledger.Entry
	var payloads []ledger.Payload
	_, err := scanAll(ctx, s.read, func(row *sql.Rows) (struct{}, error) {
		e, _, err := scanEntry(row)
		if err != nil {
			return struct{}{}, err
		}
		p, err := ledger.DecodePayload(e.Payload)
		if err == nil && p.Consent == string(id) {
			entries, payloads = append(entries, e), append(payloads, p)
		}
		return struct{}{}, err
	}, `SELECT `+entryColumns+` FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx
		WHERE p.subject = $1 AND p.subject <> '' AND p.kind LIKE 'consent.%' ORDER BY p.idx`, h)
	if n := len(entries) - maxLife; n > 0 {
		entries, payloads = entries[n:], payloads[n:]
	}
	return entries, payloads, s.reading("the life of a consent", err)
}
