package store

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"github.com/wattveil/wattveil/ledger"
)

// position returns what a caller asks for in a log as a number that databases
// have. No log comes near the largest, where all beyond it end up.
func position(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// Checkpoint implements ledger.Reader.
func (s *Store) Checkpoint(ctx context.Context) ([]byte, error) {
	var note []byte
	err := scanOne(ctx, s.kept, ledger.ErrNoCheckpoint, []any{&note},
		`SELECT note FROM tlog_checkpoints ORDER BY size DESC LIMIT 1`)
	return note, s.reading("the newest checkpoint", err)
}

// CheckpointAt implements ledger.Reader.
func (s *Store) CheckpointAt(ctx context.Context, size uint64) ([]byte, error) {
	var note []byte
	err := scanOne(ctx, s.kept, ledger.ErrNoCheckpoint, []any{&note},
		`SELECT note FROM tlog_checkpoints WHERE size = $1`, position(size))
	return note, s.reading("a checkpoint", err)
}

// Checkpoints implements ledger.Reader.
func (s *Store) Checkpoints(ctx context.Context, after uint64, limit int) ([][]byte, error) {
	notes, err := scanAll(ctx, s.kept, func(row *sql.Rows) (note []byte, err error) {
		return note, row.Scan(&note)
	}, `SELECT note FROM tlog_checkpoints WHERE size > $1 ORDER BY size LIMIT $2`, position(after), limit)
	return notes, s.reading("checkpoints", err)
}

// PutCheckpoint implements ledger.Store. It does not wait for the disk: a note that
// is lost is signed anew by the sequencer's next batch or start.
func (s *Store) PutCheckpoint(ctx context.Context, size uint64, root ledger.Hash, note []byte) error {
	res, err := s.execRelaxed(ctx, s.relaxed,
		`INSERT INTO tlog_checkpoints (size, root, note) VALUES ($1, $2, $3)
		 ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE tlog_checkpoints.root = excluded.root`,
		size, root[:], note)
	if err != nil {
		return doing("storing a checkpoint", err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ledger.ErrFork
	}
	return err
}

// ReadTile implements ledger.Reader.
func (s *Store) ReadTile(ctx context.Context, level int, n uint64) ([]byte, error) {
	var data []byte
	err := scanOne(ctx, s.kept, ledger.ErrNoTile, []any{&data},
		`SELECT data FROM tlog_tiles WHERE level = $1 AND n = $2`, level, position(n))
	return data, s.reading("a tile", err)
}

// ReadLeaves implements ledger.Reader.
func (s *Store) ReadLeaves(ctx context.Context, from, until uint64) ([]ledger.Leaf, error) {
	next := from
	leaves, err := scanAll(ctx, s.kept, func(row *sql.Rows) (ledger.Leaf, error) {
		var idx uint64
		var b []byte
		if err := row.Scan(&idx, &b); err != nil {
			return ledger.Leaf{}, err
		}
		if idx != next {
			return ledger.Leaf{}, errGap
		}
		next++
		return ledger.ParseLeaf(b)
	}, `SELECT idx, leaf FROM tlog_leaves WHERE idx >= $1 AND idx < $2 ORDER BY idx`, position(from), position(until))
	if errors.Is(err, errGap) {
		err = nil // what comes before the gap is what there is
	}
	return leaves, s.reading("leaves", err)
}

var errGap = errors.New("store: a leaf is missing")

// ReadEntry implements ledger.Reader.
func (s *Store) ReadEntry(ctx context.Context, index uint64) (ledger.Entry, error) {
	e, private, err := readEntry(ctx, s.kept, `l.idx = $1`, position(index))
	switch {
	case isNotFound(err):
		return ledger.Entry{}, s.reading("an entry", ledger.ErrNoEntry)
	case err != nil:
		return ledger.Entry{}, s.reading("an entry", err)
	case !private:
		return ledger.Entry{Index: e.Index, Leaf: e.Leaf}, s.reading("an entry", ledger.ErrErased)
	}
	return e, nil
}
