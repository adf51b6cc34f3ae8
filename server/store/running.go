package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// PutRunning implements release.Store. ErrWindowClosed unless the day is closing: what
// came after EndClosing, from another process that still sums the day, nobody would
// delete.
func (s *Store) PutRunning(ctx context.Context, from meter.Day, records []seal.RunningRecord) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		state, err := tx.holdWindow(ctx, from)
		if err != nil {
			return err
		}
		if state != release.WindowClosing {
			return fmt.Errorf("storing running sums: %w", release.ErrWindowClosed)
		}
		err = tx.bulk(ctx, tx.sql, "running_records", []string{"id", "seq", "from_day", "ciphertext"},
			len(records), func(i int, v []any) {
				r := &records[i]
				v[0], v[1], v[2], v[3] = r.ID[:], r.Seq, from, notNull(r.Ciphertext)
			})
		return doing("storing running sums", err)
	})
}

// replaceRunning deletes the sets of running sums, which must be all that count, and
// lets another count, if any.
func (t *Tx) replaceRunning(ctx context.Context, set *seal.RunningKeyWrap, replaced []seal.RunningID) error {
	if err := t.lock(ctx, t.sql, lockRunning); err != nil {
		return err
	}
	counting, err := scanAll(ctx, t.sql, func(row *sql.Rows) (id seal.RunningID, err error) { return id, row.Scan(fixed(id[:])) },
		`SELECT id FROM running_sets`)
	if err != nil {
		return err
	}
	if !sameSets(counting, replaced) {
		return release.ErrWindowClosed
	}
	for _, id := range replaced {
		if set != nil && id == set.ID {
			return ErrConflict
		}
		for _, stmt := range []string{`DELETE FROM running_sets WHERE id = $1`, `DELETE FROM running_records WHERE id = $1`} {
			if _, err := t.sql.ExecContext(ctx, stmt, id[:]); err != nil {
				return err
			}
		}
	}
	if set == nil {
		return nil
	}
	state, err := t.holdWindow(ctx, set.Window)
	if err != nil {
		return err
	}
	if state != release.WindowOpen && state != release.WindowClosing {
		return release.ErrWindowClosed
	}
	put, err := execOne(ctx, t.sql,
		`INSERT INTO running_sets (id, from_day, window_day, records, sealed, signature) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING`,
		set.ID[:], set.From, set.Window, set.Records, set.Sealed, set.Signature)
	if err == nil && !put {
		err = ErrConflict
	}
	return err
}

// sameSets reports whether two lists, neither of which repeats an id, have the same.
func sameSets(a, b []seal.RunningID) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id seal.RunningID) bool { return !slices.Contains(b, id) })
}

// RunningSets implements release.Store.
func (s *Store) RunningSets(ctx context.Context) ([]seal.RunningKeyWrap, error) {
	sets, err := scanAll(ctx, s.read, func(row *sql.Rows) (w seal.RunningKeyWrap, err error) {
		return w, row.Scan(fixed(w.ID[:]), &w.From, &w.Window, &w.Records, &w.Sealed, &w.Signature)
	}, `SELECT id, from_day, window_day, records, sealed, signature FROM running_sets ORDER BY from_day, id`)
	return sets, s.reading("sets of running sums", err)
}

// RunningRecords implements release.Store. Records arrive as they are read, as those
// of the spool do.
func (s *Store) RunningRecords(ctx context.Context, id seal.RunningID, yield func(seal.RunningRecord) error) error {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, ciphertext FROM running_records WHERE id = $1`, id[:])
	if err != nil {
		return s.reading("running sums", err)
	}
	defer rows.Close()
	for rows.Next() {
		r := seal.RunningRecord{ID: id}
		if err := rows.Scan(&r.Seq, &r.Ciphertext); err != nil {
			return s.reading("running sums", err)
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return s.reading("running sums", rows.Err())
}
