package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/wattveil/wattveil/ledger"
)

// CreateLedger begins the log of the given origin (first line of its
// checkpoints) in a store that has none. A store that holds this log is left
// alone; one that holds another is ErrConflict.
func (s *Store) CreateLedger(ctx context.Context, origin string) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		h := ledger.NewHead(origin)
		_, err := tx.sql.ExecContext(ctx,
			`INSERT INTO tlog_head (id, origin, epoch, size, root, frontier) VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`,
			h.Origin, h.Epoch, h.Size, h.Root[:], frontierBytes(h.Frontier))
		if err != nil {
			return fmt.Errorf("beginning the log: %w", err)
		}
		h, err = tx.LedgerHead(ctx)
		if err == nil && h.Origin != origin {
			err = fmt.Errorf("%w: the store holds the log of another origin", ErrConflict)
		}
		return err
	})
}

// LedgerHead implements ledger.Tx.
func (t *Tx) LedgerHead(ctx context.Context) (ledger.Head, error) {
	return readHead(ctx, t.sql, t.forUpdate())
}

// Head implements ledger.Store.
func (s *Store) Head(ctx context.Context) (ledger.Head, error) {
	h, err := readHead(ctx, s.read, "")
	return h, s.reading("the log's head", err)
}

func readHead(ctx context.Context, q querier, locking string) (ledger.Head, error) {
	var h ledger.Head
	var frontier []byte
	err := scanOne(ctx, q, ledger.ErrNoHead,
		[]any{&h.Origin, &h.Epoch, &h.Size, fixed(h.Root[:]), &frontier},
		`SELECT origin, epoch, size, root, frontier FROM tlog_head WHERE id = 1`+locking)
	if err != nil {
		return ledger.Head{}, fmt.Errorf("reading the log's head: %w", err)
	}
	if len(frontier)%len(ledger.Hash{}) != 0 {
		return ledger.Head{}, fmt.Errorf("reading the log's head: %w", errWidth)
	}
	for ; len(frontier) > 0; frontier = frontier[len(ledger.Hash{}):] {
		h.Frontier = append(h.Frontier, ledger.Hash(frontier[:len(ledger.Hash{})]))
	}
	return h, nil
}

func frontierBytes(frontier []ledger.Hash) []byte {
	b := make([]byte, 0, len(frontier)*len(ledger.Hash{}))
	for _, h := range frontier {
		b = append(b, h[:]...)
	}
	return b
}

// LedgerAppend implements ledger.Tx.
func (t *Tx) LedgerAppend(ctx context.Context, a ledger.Append) error {
	moved, err := execOne(ctx, t.sql,
		`UPDATE tlog_head SET epoch = $1, size = $2, root = $3, frontier = $4 WHERE id = 1 AND epoch = $5 AND size = $6`,
		a.To.Epoch, a.To.Size, a.To.Root[:], frontierBytes(a.To.Frontier), a.From.Epoch, a.From.Size)
	if err != nil {
		return fmt.Errorf("moving the log's head: %w", err)
	}
	if !moved {
		return ledger.ErrFenced
	}
	put := func(what, table string, columns []string, n int, row func(i int, v []any)) {
		if err == nil {
			err = doing(what, t.insert(ctx, t.sql, table, columns, "", n, row))
		}
	}
	put("adding leaves", "tlog_leaves", []string{"idx", "leaf"}, len(a.Entries), func(i int, v []any) {
		leaf := a.Entries[i].Leaf.Bytes()
		v[0], v[1] = a.Entries[i].Index, leaf[:]
	})
	put("adding what leaves mean", "tlog_private",
		[]string{"idx", "kind", "time_us", "subject", "recipient", "request_id", "payload", "nonce", "envelope"},
		len(a.Entries), func(i int, v []any) {
			e := &a.Entries[i]
			v[0], v[1], v[2], v[3], v[4] = e.Index, string(e.Kind), e.Time, e.Subject, e.Recipient
			v[5], v[6], v[7], v[8] = e.RequestID, notNull(e.Payload), e.Nonce[:], nullable(e.Envelope)
		})
	put("adding tiles", "tlog_tiles", []string{"level", "n", "data"}, len(a.Tiles), func(i int, v []any) {
		v[0], v[1], v[2] = a.Tiles[i].Level, a.Tiles[i].N, a.Tiles[i].Data
	})
	put("adding tag keys", "tlog_tag_keys", []string{"subject", "from_seq", "tag_key"}, len(a.TagKeys), func(i int, v []any) {
		v[0], v[1], v[2] = a.TagKeys[i].Subject, a.TagKeys[i].FromSeq, a.TagKeys[i].Key[:]
	})
	put("adding heads of envelopes", "tlog_envelope_heads", []string{"first_idx", "key_id", "sealed"}, len(a.Envelopes), func(i int, v []any) {
		v[0], v[1], v[2] = a.Envelopes[i].FirstIndex, a.Envelopes[i].KeyID[:], a.Envelopes[i].Sealed
	})
	if err == nil && t.told {
		err = doing("dating notifications", t.stampNotifications(ctx, a.Entries))
	}
	return err
}

// LedgerRequests implements ledger.Tx. A request of an erased household is
// forgotten with it.
func (t *Tx) LedgerRequests(ctx context.Context, requestIDs []string) (map[string]ledger.Entry, error) {
	entries, err := scanAll(ctx, t.sql, func(row *sql.Rows) (ledger.Entry, error) {
		e, _, err := scanEntry(row)
		return e, err
	}, `SELECT `+entryColumns+` FROM tlog_private p JOIN tlog_leaves l ON l.idx = p.idx WHERE `+t.among("p.request_id", 1), t.list(requestIDs))
	if err != nil {
		return nil, fmt.Errorf("looking up requests: %w", err)
	}
	found := make(map[string]ledger.Entry, len(requestIDs))
	for _, e := range entries {
		found[e.RequestID] = e
	}
	return found, nil
}

// LedgerChains implements ledger.Tx.
func (t *Tx) LedgerChains(ctx context.Context, ids []ledger.ChainID) (map[ledger.ChainID]ledger.Link, error) {
	if len(ids) == 0 {
		return map[ledger.ChainID]ledger.Link{}, nil // whoever asks for none may have no right to look
	}
	var subjects, recipients []string
	for _, id := range ids {
		if id.Kind == ledger.SubjectChain {
			subjects = append(subjects, id.ID)
		} else {
			recipients = append(recipients, id.ID)
		}
	}
	type end struct {
		id   ledger.ChainID
		link ledger.Link
	}
	ends, err := scanAll(ctx, t.sql, func(row *sql.Rows) (e end, err error) {
		return e, row.Scan(&e.id.Kind, &e.id.ID, &e.link.Seq, fixed(e.link.Head[:]), &e.link.Accesses, orZero(e.link.Nonce[:]))
	}, `SELECT kind, id, seq, head, accesses, nonce FROM tlog_chains
		WHERE kind = 1 AND `+t.among("id", 1)+` OR kind = 2 AND `+t.among("id", 2), // ledger.SubjectChain, ledger.RecipientChain
		t.list(subjects), t.list(recipients))
	if err != nil {
		return nil, fmt.Errorf("reading chains: %w", err)
	}
	links := make(map[ledger.ChainID]ledger.Link, len(ids))
	for _, e := range ends {
		links[e.id] = e.link
	}
	return links, nil
}

// LedgerSetChains implements ledger.Tx.
func (t *Tx) LedgerSetChains(ctx context.Context, ends map[ledger.ChainID]ledger.Link) error {
	ids := slices.Collect(maps.Keys(ends))
	err := t.insert(ctx, t.sql, "tlog_chains", []string{"kind", "id", "seq", "head", "accesses", "nonce"},
		`ON CONFLICT (kind, id) DO UPDATE SET seq = excluded.seq, head = excluded.head, accesses = excluded.accesses, nonce = excluded.nonce`,
		len(ids), func(i int, v []any) {
			link := ends[ids[i]]
			v[0], v[1], v[2], v[3], v[4], v[5] = ids[i].Kind, ids[i].ID, link.Seq, link.Head[:], link.Accesses, zeroIsNull(link.Nonce)
		})
	return doing("writing chains", err)
}

// LedgerTagKeys implements ledger.Tx.
func (t *Tx) LedgerTagKeys(ctx context.Context, subjects []string) (map[string]ledger.TagKey, error) {
	if len(subjects) == 0 {
		return map[string]ledger.TagKey{}, nil // as LedgerChains
	}
	all, err := scanAll(ctx, t.sql, scanTagKey, `SELECT subject, from_seq, tag_key FROM tlog_tag_keys
		WHERE `+t.among("subject", 1)+` ORDER BY from_seq`, t.list(subjects))
	if err != nil {
		return nil, fmt.Errorf("reading tag keys: %w", err)
	}
	keys := make(map[string]ledger.TagKey, len(subjects))
	for _, k := range all {
		keys[k.Subject] = k.TagKey // the newest comes last
	}
	return keys, nil
}

func scanTagKey(row *sql.Rows) (k ledger.SubjectKey, err error) {
	return k, row.Scan(&k.Subject, &k.FromSeq, fixed(k.Key[:]))
}

// LedgerEnvelopeKeys implements ledger.Tx.
func (t *Tx) LedgerEnvelopeKeys(ctx context.Context, at int64) ([]ledger.EnvelopeKey, error) {
	keys, err := scanAll(ctx, t.sql, func(row *sql.Rows) (k ledger.EnvelopeKey, err error) {
		return k, row.Scan(fixed(k.ID[:]), &k.Public, &k.From, &k.Until)
	}, `SELECT id, public_key, from_s, until_s FROM regulator_keys WHERE until_s > $1 AND from_s <= $1 ORDER BY id`, at)
	return keys, doing("reading regulators' keys", err)
}

// entryColumns are those of scanEntry, from tlog_leaves l LEFT JOIN tlog_private p.
const entryColumns = `l.idx, l.leaf, p.kind, p.time_us, p.subject, p.recipient, p.request_id, p.payload, p.nonce, p.envelope`

// readEntry returns one entry, and whether its private columns are there. The
// error is ErrNotFound where there is none.
func readEntry(ctx context.Context, q querier, where string, arg any) (e ledger.Entry, private bool, err error) {
	e, private, err = scanEntry(q.QueryRowContext(ctx,
		`SELECT `+entryColumns+` FROM tlog_leaves l LEFT JOIN tlog_private p ON p.idx = l.idx WHERE `+where, arg))
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return e, private, err
}

// scanEntry scans entryColumns and more columns after them.
func scanEntry(row interface{ Scan(dest ...any) error }, more ...any) (e ledger.Entry, private bool, err error) {
	var leaf, nonce []byte
	var kind, subject, recipient, request sql.NullString
	var at sql.NullInt64
	dest := []any{&e.Index, &leaf, &kind, &at, &subject, &recipient, &request, &e.Payload, &nonce, &e.Envelope}
	if err := row.Scan(append(dest, more...)...); err != nil {
		return ledger.Entry{}, false, err
	}
	if e.Leaf, err = ledger.ParseLeaf(leaf); err != nil {
		return ledger.Entry{}, false, err
	}
	if !kind.Valid {
		return e, false, nil
	}
	e.Kind, e.Time, e.Subject, e.Recipient, e.RequestID = ledger.Kind(kind.String), at.Int64, subject.String, recipient.String, request.String
	return e, true, fixed(e.Nonce[:]).Scan(nonce)
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
