package plain

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ReadingsTable is the plain table that reads are measured beside: a row an interval,
// found by usage point and time. SQLite keeps the rows in the key's own tree;
// PostgreSQL keeps the value in the key's index, so that after a vacuum nothing but
// the index is read.
func ReadingsTable(storeURL string) string {
	const columns = `CREATE TABLE readings (usage_point text NOT NULL, start bigint NOT NULL, value bigint NOT NULL, PRIMARY KEY (usage_point, start)`
	if strings.HasPrefix(storeURL, "sqlite:") {
		return columns + `) WITHOUT ROWID`
	}
	return columns + ` INCLUDE (value))`
}

// Readings is that table, in an empty database of either engine: sqlite:PATH, WAL and
// FULL as the hub's own, or postgres://. Safe for concurrent use.
type Readings struct {
	db     *sql.DB
	sqlite bool
	month  *sql.Stmt
}

// Reading is one row: the start of an interval, unix seconds, and its energy in Wh.
type Reading struct{ Start, Value int64 }

// OpenReadings makes the table. As many connections are kept as there are readers.
func OpenReadings(ctx context.Context, storeURL string, connections int) (_ *Readings, err error) {
	r := &Readings{}
	driver, dsn := "postgres", storeURL
	if path, ok := strings.CutPrefix(storeURL, "sqlite:"); ok {
		r.sqlite = true
		u := url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}
		driver, dsn = "sqlite", u.String()
	} else if strings.Contains(dsn, "?") {
		dsn += "&binary_parameters=yes"
	} else {
		dsn += "?binary_parameters=yes"
	}
	if r.db, err = sql.Open(driver, dsn); err != nil {
		return nil, fmt.Errorf("opening plain readings: %w", err)
	}
	r.db.SetMaxOpenConns(connections)
	r.db.SetMaxIdleConns(connections)
	if _, err := r.db.ExecContext(ctx, ReadingsTable(storeURL)); err != nil {
		return nil, errors.Join(fmt.Errorf("making plain readings: %w", err), r.db.Close())
	}
	if r.month, err = r.db.PrepareContext(ctx, `SELECT start, value FROM readings WHERE usage_point = $1 AND start >= $2 AND start < $3 ORDER BY start`); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing: %w", err), r.db.Close())
	}
	return r, nil
}

// Close closes the connections.
func (r *Readings) Close() error { return r.db.Close() }

// Load stores series in one transaction, in the order given; durable at return.
func (r *Readings) Load(ctx context.Context, series []Series) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("loading plain readings: %w", err)
	}
	defer tx.Rollback()
	insert := `INSERT INTO readings (usage_point, start, value) VALUES ($1, $2, $3)`
	if !r.sqlite {
		insert = `COPY readings (usage_point, start, value) FROM STDIN`
	}
	stmt, err := tx.PrepareContext(ctx, insert)
	if err != nil {
		return fmt.Errorf("loading plain readings: %w", err)
	}
	defer stmt.Close()
	for _, s := range series {
		for i, v := range s.Values {
			if _, err := stmt.ExecContext(ctx, s.UsagePoint, s.Start+int64(i)*s.Length, v); err != nil {
				return fmt.Errorf("loading plain readings: %w", err)
			}
		}
	}
	if !r.sqlite {
		if _, err := stmt.ExecContext(ctx); err != nil { // the end of COPY
			return fmt.Errorf("loading plain readings: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("loading plain readings: %w", err)
	}
	return nil
}

// Settle lets the engine do, once everything is loaded, what makes reads fast.
func (r *Readings) Settle(ctx context.Context) error {
	settle := `VACUUM (ANALYZE) readings`
	if r.sqlite {
		settle = `ANALYZE`
	}
	if _, err := r.db.ExecContext(ctx, settle); err != nil {
		return fmt.Errorf("settling plain readings: %w", err)
	}
	return nil
}

// Read returns a usage point's rows that begin in [from, until), by time.
func (r *Readings) Read(ctx context.Context, point string, from, until int64) (out []Reading, err error) {
	rows, err := r.month.QueryContext(ctx, point, from, until)
	if err != nil {
		return nil, fmt.Errorf("reading plain readings: %w", err)
	}
	defer rows.Close()
	out = make([]Reading, 0, 31*96) // a month of quarter hours
	for rows.Next() {
		var x Reading
		if err := rows.Scan(&x.Start, &x.Value); err != nil {
			return nil, fmt.Errorf("reading plain readings: %w", err)
		}
		out = append(out, x)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading plain readings: %w", err)
	}
	return out, nil
}
