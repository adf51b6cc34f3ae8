package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
)

// RegulatorKey is a regulator's public key, to which payloads are sealed while it
// is valid.
type RegulatorKey struct {
	ledger.EnvelopeKey
	Regulator string // who posted it
	LeafIndex uint64 // of the leaf that records it
}

// PutRegulatorKey adds a regulator's key, in the transaction of its leaf. The same
// key again is ErrConflict, whoever posts it.
func (t *Tx) PutRegulatorKey(ctx context.Context, k RegulatorKey) error {
	put, err := execOne(ctx, t.sql,
		`INSERT INTO regulator_keys (id, regulator, public_key, from_s, until_s, leaf_index) VALUES ($1, $2, $3, $4, $5, $6)
		 ON CONFLICT (id) DO NOTHING`, k.ID[:], k.Regulator, k.Public, k.From, k.Until, k.LeafIndex)
	if err == nil && !put {
		err = ErrConflict
	}
	return doing("adding a regulator's key", err)
}

// RegulatorKeys returns up to limit keys, newest first.
func (s *Store) RegulatorKeys(ctx context.Context, limit int) ([]RegulatorKey, error) {
	keys, err := scanAll(ctx, s.read, func(row *sql.Rows) (k RegulatorKey, err error) {
		return k, row.Scan(fixed(k.ID[:]), &k.Regulator, &k.Public, &k.From, &k.Until, &k.LeafIndex)
	}, `SELECT id, regulator, public_key, from_s, until_s, leaf_index FROM regulator_keys ORDER BY leaf_index DESC LIMIT $1`, limit)
	return keys, s.reading("regulators' keys", err)
}

// EnvelopeHeads returns the heads of the batches of envelopes whose first leaf is
// in [from, until), ascending.
func (s *Store) EnvelopeHeads(ctx context.Context, from, until uint64) ([]ledger.EnvelopeHead, error) {
	heads, err := scanAll(ctx, s.read, func(row *sql.Rows) (h ledger.EnvelopeHead, err error) {
		return h, row.Scan(&h.FirstIndex, fixed(h.KeyID[:]), &h.Sealed)
	}, `SELECT first_idx, key_id, sealed FROM tlog_envelope_heads WHERE first_idx >= $1 AND first_idx < $2 ORDER BY first_idx, key_id`,
		position(from), position(until))
	return heads, s.reading("heads of envelopes", err)
}

// EnvelopeBatch returns the first leaf of the newest batch of envelopes that
// begins at index or before; index itself if there is none.
func (s *Store) EnvelopeBatch(ctx context.Context, index uint64) (uint64, error) {
	first := index
	err := scanOne(ctx, s.read, nil, []any{&first},
		`SELECT first_idx FROM tlog_envelope_heads WHERE first_idx <= $1 ORDER BY first_idx DESC LIMIT 1`, position(index))
	return first, s.reading("heads of envelopes", err)
}

// Entries returns the entries of [from, until) whose private columns are there, at
// most limit of them, ascending.
func (s *Store) Entries(ctx context.Context, from, until uint64, limit int) ([]ledger.Entry, error) {
	entries, err := scanAll(ctx, s.read, func(row *sql.Rows) (ledger.Entry, error) {
		e, _, err := scanEntry(row)
		return e, err
	}, `SELECT `+entryColumns+` FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx
		WHERE p.idx >= $1 AND p.idx < $2 ORDER BY p.idx LIMIT $3`, position(from), position(until), limit)
	return entries, s.reading("entries", err)
}

// HouseholdEvents returns a household's ledger entries, oldest first, without the
// first skip of them.
func (s *Store) HouseholdEvents(ctx context.Context, h consent.Household, skip uint64) ([]ledger.Entry, error) {
	entries, err := scanAll(ctx, s.read, func(row *sql.Rows) (ledger.Entry, error) {
		e, _, err := scanEntry(row)
		return e, err
	}, `SELECT `+entryColumns+` FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx
		WHERE p.subject = $1 AND p.subject <> '' ORDER BY p.idx LIMIT $2 OFFSET $3`, h, maxHouseholdEvents, position(skip))
	return entries, s.reading("a household's events", err)
}

// ConsentLeaf returns the entry of a household's grant, or of its narrowing of one,
// that states these terms of the consent; ErrNotFound if there is none. Terms change
// with every narrowing, so it is one. It looks through the household's grants and
// narrowings, the newest first.
func (s *Store) ConsentLeaf(ctx context.Context, h consent.Household, id consent.ID, terms ledger.Hash) (ledger.Entry, error) {
	var found ledger.Entry
	err := ErrNotFound
	_, scanning := scanAll(ctx, s.kept, func(row *sql.Rows) (struct{}, error) {
		e, _, err := scanEntry(row)
		if err != nil {
			return struct{}{}, err
		}
		p, err := ledger.DecodePayload(e.Payload)
		if err != nil {
			return struct{}{}, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		if p.Consent == string(id) && p.Terms == terms {
			found = e
			return struct{}{}, errEnough
		}
		return struct{}{}, nil
	}, `SELECT `+entryColumns+` FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx
		WHERE p.subject = $1 AND p.subject <> '' AND p.kind IN ('consent.grant', 'consent.narrow', 'consent.extend') ORDER BY p.idx DESC`, h)
	switch {
	case errors.Is(scanning, errEnough):
		err = nil
	case scanning != nil:
		err = scanning
	}
	return found, s.reading("the leaf of a consent", err)
}

// maxHouseholdEvents bounds one answer; whoever has more asks for the rest.
const maxHouseholdEvents = 20_000

// TagKeys returns the generations of households' tag keys, oldest first.
func (s *Store) TagKeys(ctx context.Context, subjects ...string) (map[string][]ledger.TagKey, error) {
	keys, err := tagKeys(ctx, s.dialect, s.read, subjects)
	return keys, s.reading("tag keys", err)
}

func tagKeys(ctx context.Context, d dialect, q querier, subjects []string) (map[string][]ledger.TagKey, error) {
	all, err := scanAll(ctx, q, scanTagKey, `SELECT subject, from_seq, tag_key FROM tlog_tag_keys
		WHERE `+d.among("subject", 1)+` ORDER BY subject, from_seq`, d.list(subjects))
	if err != nil {
		return nil, err
	}
	keys := make(map[string][]ledger.TagKey, len(subjects))
	for _, k := range all {
		keys[k.Subject] = append(keys[k.Subject], k.TagKey)
	}
	return keys, nil
}

// CloseOtherSessions ends all sessions of a household but one, in the transaction
// that records why; now is unix seconds.
func (t *Tx) CloseOtherSessions(ctx context.Context, h consent.Household, but [32]byte, now int64) error {
	_, err := t.sql.ExecContext(ctx, `UPDATE sessions SET ended_s = $3 WHERE household = $1 AND token_hash <> $2 AND ended_s IS NULL`, h, but[:], now)
	return doing("ending sessions", err)
}

// LedgerEnds implements ledger.MapTx.
func (t *Tx) LedgerEnds(ctx context.Context, from uint64) ([]ledger.SubjectEnd, error) {
	ends, err := scanAll(ctx, t.sql, func(row *sql.Rows) (e ledger.SubjectEnd, err error) {
		return e, row.Scan(&e.Subject, &e.Link.Seq, fixed(e.Link.Head[:]), &e.Link.Accesses, orZero(e.Link.Nonce[:]))
	}, `SELECT id, seq, head, accesses, nonce FROM tlog_chains WHERE kind = 1
		AND ($1 = 0 OR id IN (SELECT subject FROM tlog_private WHERE idx >= $1 AND subject <> '')) ORDER BY id`, position(from)) // ledger.SubjectChain
	if err != nil {
		return nil, fmt.Errorf("reading ends of chains: %w", err)
	}
	for some := range slices.Chunk(ends, 5000) {
		subjects := make([]string, len(some))
		for i, e := range some {
			subjects[i] = e.Subject
		}
		keys, err := tagKeys(ctx, t.dialect, t.sql, subjects)
		if err != nil {
			return nil, fmt.Errorf("reading tag keys: %w", err)
		}
		for i := range some {
			some[i].TagKeys = keys[some[i].Subject]
		}
	}
	return ends, nil
}

// LedgerTombstones implements ledger.MapTx.
func (t *Tx) LedgerTombstones(ctx context.Context, from uint64) ([]ledger.Hash, error) {
	payloads, err := scanAll(ctx, t.sql, func(row *sql.Rows) (b []byte, err error) { return b, row.Scan(&b) },
		`SELECT payload FROM tlog_private WHERE kind = 'erasure' AND idx >= $1 ORDER BY idx`, position(from)) // ledger.KindErasure
	if err != nil {
		return nil, fmt.Errorf("reading erasures: %w", err)
	}
	var keys []ledger.Hash
	for _, b := range payloads {
		p, err := ledger.DecodePayload(b)
		if err != nil {
			return nil, fmt.Errorf("reading erasures: %w", err)
		}
		keys = append(keys, p.MapKeys...)
	}
	return keys, nil
}
