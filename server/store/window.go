package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

const windowColumns = `day, state, public_key, wrapped_private, attempts`

func scanWindow(row interface{ Scan(dest ...any) error }) (w release.Window, err error) {
	return w, row.Scan(&w.Day, &w.State, &w.PublicKey, &w.WrappedPrivate, &w.Attempts)
}

// Window implements release.Store.
func (s *Store) Window(ctx context.Context, day meter.Day) (release.Window, error) {
	w, err := scanWindow(s.read.QueryRowContext(ctx, `SELECT `+windowColumns+` FROM windows WHERE day = $1`, day))
	if noRows(err) {
		err = release.ErrNotFound
	}
	return w, s.reading("a window", err)
}

// PutWindow implements release.Store.
func (s *Store) PutWindow(ctx context.Context, w release.Window) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.sql.ExecContext(ctx,
			`INSERT INTO windows (`+windowColumns+`) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (day) DO NOTHING`,
			w.Day, w.State, w.PublicKey, nullable(w.WrappedPrivate), w.Attempts)
		return doing("opening a window", err)
	})
}

// Windows implements release.Store.
func (s *Store) Windows(ctx context.Context) ([]release.Window, error) {
	ws, err := scanAll(ctx, s.read, func(row *sql.Rows) (release.Window, error) { return scanWindow(row) },
		`SELECT `+windowColumns+` FROM windows WHERE state < 4 ORDER BY day`) // release.WindowClosed
	return ws, s.reading("windows", err)
}

// LastWindow implements release.Store.
func (s *Store) LastWindow(ctx context.Context) (meter.Day, error) {
	var day meter.Day
	err := scanOne(ctx, s.read, release.ErrNotFound, []any{&day}, `SELECT day FROM windows ORDER BY day DESC LIMIT 1`)
	return day, s.reading("the last window", err)
}

// FirstWindow implements release.Store.
func (s *Store) FirstWindow(ctx context.Context) (meter.Day, error) {
	var day meter.Day
	err := scanOne(ctx, s.read, release.ErrNotFound, []any{&day}, `SELECT day FROM windows ORDER BY day LIMIT 1`)
	return day, s.reading("the first window", err)
}

// moveWindow takes a window from one state to another, or returns
// release.ErrWindowClosed.
func (t *Tx) moveWindow(ctx context.Context, day meter.Day, from, to release.WindowState) error {
	moved, err := execOne(ctx, t.sql, `UPDATE windows SET state = $3 WHERE day = $1 AND state = $2`, day, from, to)
	if err == nil && !moved {
		err = release.ErrWindowClosed
	}
	return doing("moving a window", err)
}

// BeginClosing implements release.Store. The update waits for the transactions
// that hold the window open (see CommitBatches); those that come after it find
// the window closing and add nothing.
func (s *Store) BeginClosing(ctx context.Context, day meter.Day) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		w, err := tx.lockWindow(ctx, day)
		if err != nil || w.State == release.WindowClosing {
			return err
		}
		return tx.moveWindow(ctx, day, release.WindowOpen, release.WindowClosing)
	})
}

// CountAttempt implements release.Store.
func (s *Store) CountAttempt(ctx context.Context, day meter.Day) (attempts int, err error) {
	err = s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		return doing("counting an attempt", scanOne(ctx, tx.sql, release.ErrWindowClosed, []any{&attempts},
			`UPDATE windows SET attempts = attempts + 1 WHERE day = $1 AND state = $2 RETURNING attempts`, day, release.WindowClosing))
	})
	return attempts, err
}

// EndPublishing implements release.Store. The window that the set is sealed to stays
// as it is until the transaction ends, so that no set counts whose key goes with a
// window that was published meanwhile. A set that counts already is ErrConflict.
func (s *Store) EndPublishing(ctx context.Context, day meter.Day, set *seal.RunningKeyWrap, replaced []seal.RunningID) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		if err := tx.moveWindow(ctx, day, release.WindowClosing, release.WindowPublished); err != nil {
			return err
		}
		return doing("replacing running sums", tx.replaceRunning(ctx, set, replaced))
	})
}

// EndClosing implements release.Store. Harmless when it is closed already.
func (s *Store) EndClosing(ctx context.Context, day meter.Day) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		w, err := tx.lockWindow(ctx, day)
		if err != nil || w.State == release.WindowClosed {
			return err
		}
		if w.State != release.WindowPublished {
			return fmt.Errorf("closing a window: %w", release.ErrWindowClosed)
		}
		for _, stmt := range []string{
			`DELETE FROM spool WHERE day = $1`,
			`DELETE FROM spool_keys WHERE day = $1`,
			`DELETE FROM live_sets WHERE day = $1`,
			`DELETE FROM running_records WHERE from_day = $1 AND id NOT IN (SELECT id FROM running_sets)`,
			`UPDATE windows SET state = 4, wrapped_private = NULL WHERE day = $1`, // release.WindowClosed
		} {
			if _, err := tx.sql.ExecContext(ctx, stmt, day); err != nil {
				return fmt.Errorf("closing a window: %w", err)
			}
		}
		return nil
	})
}

// holdWindow returns a window's state, which stays as it is until the transaction
// ends; that of a window which does not exist is 0.
func (t *Tx) holdWindow(ctx context.Context, day meter.Day) (state release.WindowState, err error) {
	err = t.sql.QueryRowContext(ctx, `SELECT state FROM windows WHERE day = $1`+t.forShare(), day).Scan(&state)
	if noRows(err) {
		err = nil
	}
	return state, doing("holding a window", err)
}

// lockWindow reads a window and keeps it as it is until the transaction ends.
func (t *Tx) lockWindow(ctx context.Context, day meter.Day) (release.Window, error) {
	w, err := scanWindow(t.sql.QueryRowContext(ctx, `SELECT `+windowColumns+` FROM windows WHERE day = $1`+t.forUpdate(), day))
	if noRows(err) {
		err = release.ErrNotFound
	}
	return w, doing("locking a window", err)
}

// SpoolKeys implements release.Store.
func (s *Store) SpoolKeys(ctx context.Context, day meter.Day) ([]seal.SpoolKeyWrap, error) {
	keys, err := scanAll(ctx, s.read, func(row *sql.Rows) (k seal.SpoolKeyWrap, err error) {
		return k, row.Scan(&k.Day, fixed(k.Writer[:]), &k.Seq, &k.Sealed, &k.Signature)
	}, `SELECT day, writer, seq, sealed, signature FROM spool_keys WHERE day = $1 ORDER BY writer, seq`, day)
	return keys, s.reading("spool keys", err)
}

// SpoolRecords implements release.Store. Records arrive as they are read: a
// window's spool need not fit into memory.
func (s *Store) SpoolRecords(ctx context.Context, day meter.Day, yield func(seal.SpoolRecord) error) error {
	rows, err := s.read.QueryContext(ctx, `SELECT day, writer, seq, ciphertext FROM spool WHERE day = $1`, day)
	if err != nil {
		return s.reading("the spool", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r seal.SpoolRecord
		if err := rows.Scan(&r.Day, fixed(r.Writer[:]), &r.Seq, &r.Ciphertext); err != nil {
			return s.reading("the spool", err)
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return s.reading("the spool", rows.Err())
}

// HouseholdPlaces implements release.Store. It reads occupancies and usage points side by
// side in the order of usage points, in which their indexes lie, so that no row is looked
// up; what has to be kept until the end is the households with more than one occupancy.
func (s *Store) HouseholdPlaces(ctx context.Context, first, last meter.Day, yield func(consent.Household, release.Place)) error {
	err := s.householdPlaces(ctx, first, last, yield)
	return s.reading("where households live", err)
}

func (s *Store) householdPlaces(ctx context.Context, first, last meter.Day, yield func(consent.Household, release.Place)) error {
	several := map[consent.Household]*stay{}
	households, err := scanAll(ctx, s.read, func(row *sql.Rows) (h consent.Household, err error) { return h, row.Scan(&h) },
		`SELECT household FROM occupancies GROUP BY household HAVING count(*) > 1`)
	if err != nil {
		return err
	}
	for _, h := range households {
		several[h] = nil
	}
	rows, err := s.read.QueryContext(ctx, `SELECT usage_point, household, CASE WHEN until_s < $2 THEN until_s ELSE $2 END
		FROM occupancies
		WHERE from_s < $2 AND (until_s IS NULL OR until_s > $1) AND household NOT IN (SELECT id FROM households WHERE public_key IS NULL)
		ORDER BY usage_point, from_s`, first.Start(), last.End())
	if err != nil {
		return err
	}
	defer rows.Close()
	points, err := s.pointPlaces(ctx)
	if err != nil {
		return err
	}
	defer points.rows.Close()
	for rows.Next() {
		var point meter.UsagePoint
		var household consent.Household
		var until int64
		if err := rows.Scan(&point, &household, &until); err != nil {
			return err
		}
		place, err := points.seek(point)
		if err != nil {
			return err
		}
		at := stay{place, meter.DayOf(until - 1)}
		switch best, more := several[household]; {
		case !more:
			yield(household, at.place)
		case best == nil || at.reaches > best.reaches: // of equals the first usage point
			several[household] = &at
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for household, at := range several {
		if at != nil {
			yield(household, at.place)
		}
	}
	return nil
}

// pointPlaces goes through all usage points in their order.
type pointPlaces struct {
	rows  *sql.Rows
	point meter.UsagePoint
	place release.Place
	names map[string]string
}

func (s *Store) pointPlaces(ctx context.Context) (*pointPlaces, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, node, tariff FROM usage_points ORDER BY id`) //nolint:rowserrcheck // seek does
	if err != nil {
		return nil, err
	}
	return &pointPlaces{rows: rows, names: map[string]string{}}, nil
}

// seek goes on to a usage point, which must not come before the one sought last: the
// database's order, whatever it is, decides.
func (p *pointPlaces) seek(point meter.UsagePoint) (release.Place, error) {
	for p.point != point {
		if !p.rows.Next() {
			return release.Place{}, cmp.Or(p.rows.Err(), ErrNotFound)
		}
		if err := p.rows.Scan(&p.point, &p.place.Node, &p.place.Tariff); err != nil {
			return release.Place{}, err
		}
		p.place.Node, p.place.Tariff = once(p.names, p.place.Node), once(p.names, p.place.Tariff)
	}
	return p.place, nil
}

// stay is an occupancy, as far as it counts.
type stay struct {
	place   release.Place
	reaches meter.Day // the last of the days asked for that it touches
}

// once returns the first string of its kind: nodes and tariffs are few, rows many.
func once(names map[string]string, name string) string {
	if first, ok := names[name]; ok {
		return first
	}
	names[name] = name
	return name
}
