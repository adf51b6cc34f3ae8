package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	var h ledger.Head
	var frontier []byte
	err := scanOne(ctx, t.sql, ledger.ErrNoHead,
		[]any{&h.Origin, &h.Epoch, &h.Size, fixed(h.Root[:]), &frontier},
		`SELECT origin, epoch, size, root, frontier FROM tlog_head WHERE id = 1`+t.forUpdate())
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

// LedgerAppend implements ledger.Tx. What concerns a household that was erased
// earlier in the transaction goes in without its private columns.
func (t *Tx) LedgerAppend(ctx context.Context, from, to ledger.Head, entries []ledger.Entry, tiles []ledger.Tile) error {
	moved, err := execOne(ctx, t.sql,
		`UPDATE tlog_head SET epoch = $1, size = $2, root = $3, frontier = $4 WHERE id = 1 AND epoch = $5 AND size = $6`,
		to.Epoch, to.Size, to.Root[:], frontierBytes(to.Frontier), from.Epoch, from.Size)
	if err != nil {
		return fmt.Errorf("moving the log's head: %w", err)
	}
	if !moved {
		return ledger.ErrFenced
	}
	err = insert(ctx, t.dialect, t.sql, "tlog_leaves", []string{"idx", "leaf"}, "",
		len(entries), func(i int, values []any) {
			leaf := entries[i].Leaf.Bytes()
			values[0], values[1] = entries[i].Index, leaf[:]
		})
	if err != nil {
		return fmt.Errorf("adding leaves: %w", err)
	}
	told := entries
	if len(t.erased) > 0 {
		told = slices.DeleteFunc(slices.Clone(entries), func(e ledger.Entry) bool { return slices.Contains(t.erased, e.Subject) })
	}
	err = insert(ctx, t.dialect, t.sql, "tlog_private",
		[]string{"idx", "kind", "time_us", "subject", "recipient", "request_id", "payload", "nonce", "envelope"}, "",
		len(told), func(i int, values []any) {
			e := &told[i]
			values[0], values[1], values[2], values[3], values[4] = e.Index, string(e.Kind), e.Time, e.Subject, e.Recipient
			values[5], values[6], values[7], values[8] = e.RequestID, notNull(e.Payload), e.Nonce[:], nullable(e.Envelope)
		})
	if err != nil {
		return fmt.Errorf("adding what leaves mean: %w", err)
	}
	err = insert(ctx, t.dialect, t.sql, "tlog_tiles", []string{"level", "n", "data"}, "",
		len(tiles), func(i int, values []any) {
			values[0], values[1], values[2] = tiles[i].Level, tiles[i].N, tiles[i].Data
		})
	if err != nil {
		return fmt.Errorf("adding tiles: %w", err)
	}
	return t.writeChains(ctx)
}

// LedgerRequest implements ledger.Tx. A request of an erased household is
// forgotten with it.
func (t *Tx) LedgerRequest(ctx context.Context, requestID string) (ledger.Entry, bool, error) {
	e, _, err := readEntry(ctx, t.sql, `p.request_id = $1`, requestID)
	if isNotFound(err) {
		return ledger.Entry{}, false, nil
	}
	if err != nil {
		return ledger.Entry{}, false, fmt.Errorf("looking up a request: %w", err)
	}
	return e, true, nil
}

// LedgerSubjectKey implements ledger.Tx.
func (t *Tx) LedgerSubjectKey(ctx context.Context, subject string) (ledger.Hash, error) {
	var key ledger.Hash
	err := scanOne(ctx, t.sql, ledger.ErrNoSubjectKey, []any{fixed(key[:])},
		`SELECT tag_key FROM tlog_subject_keys WHERE subject = $1`, subject)
	return key, doing("reading a tag key", err)
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
