package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// PutLive implements release.Store.
func (s *Store) PutLive(ctx context.Context, day meter.Day, before seal.RunningID, set seal.RunningKeyWrap, records []seal.RunningRecord) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		w, err := tx.lockWindow(ctx, day)
		if err != nil {
			return err
		}
		now, err := tx.liveSet(ctx, day)
		if err != nil {
			return doing("replacing live load", err)
		}
		if w.State != release.WindowOpen || now.ID != before {
			return fmt.Errorf("replacing live load: %w", release.ErrWindowClosed)
		}
		return doing("replacing live load", tx.putLive(ctx, day, before, set, records))
	})
}

func (t *Tx) putLive(ctx context.Context, day meter.Day, before seal.RunningID, set seal.RunningKeyWrap, records []seal.RunningRecord) error {
	if _, err := t.sql.ExecContext(ctx, `DELETE FROM running_records WHERE id = $1`, before[:]); err != nil {
		return err
	}
	err := t.bulk(ctx, t.sql, "running_records", []string{"id", "seq", "from_day", "ciphertext"},
		len(records), func(i int, v []any) {
			r := &records[i]
			v[0], v[1], v[2], v[3] = r.ID[:], r.Seq, day, notNull(r.Ciphertext)
		})
	if err != nil {
		return err
	}
	_, err = t.sql.ExecContext(ctx, `INSERT INTO live_sets (day, id, records, sealed, signature) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (day) DO UPDATE SET id = excluded.id, records = excluded.records, sealed = excluded.sealed, signature = excluded.signature`,
		day, set.ID[:], set.Records, set.Sealed, set.Signature)
	return err
}

const liveColumns = `SELECT id, records, sealed, signature FROM live_sets WHERE day = $1`

// liveSet returns the set of a day, or the zero one.
func (t *Tx) liveSet(ctx context.Context, day meter.Day) (w seal.RunningKeyWrap, err error) {
	err = t.sql.QueryRowContext(ctx, liveColumns, day).Scan(fixed(w.ID[:]), &w.Records, &w.Sealed, &w.Signature)
	if noRows(err) {
		return seal.RunningKeyWrap{}, nil
	}
	return w, err
}

// Live implements release.Store.
func (s *Store) Live(ctx context.Context, day meter.Day) (seal.RunningKeyWrap, []seal.RunningRecord, error) {
	w := seal.RunningKeyWrap{From: day, Window: day}
	var records []seal.RunningRecord
	err := s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		err := tx.sql.QueryRowContext(ctx, liveColumns, day).Scan(fixed(w.ID[:]), &w.Records, &w.Sealed, &w.Signature)
		if noRows(err) {
			return release.ErrNotFound
		}
		if err != nil {
			return err
		}
		records, err = scanAll(ctx, tx.sql, func(row *sql.Rows) (r seal.RunningRecord, err error) {
			r.ID = w.ID
			return r, row.Scan(&r.Seq, &r.Ciphertext)
		}, `SELECT seq, ciphertext FROM running_records WHERE id = $1 ORDER BY seq`, w.ID[:])
		return err
	})
	return w, records, doing("reading live load", err)
}
