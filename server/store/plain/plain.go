// Package plain is the plain alternative that the hub is measured against: the
// same readings as rows of one table in the same PostgreSQL, unsealed, loaded as
// fast as lib/pq can. It promises to be the best honest form of that table, so
// that a ratio to it means something; nothing but benchmarks uses it.
package plain

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"time"

	"github.com/lib/pq"
)

// Schema is the table. The household is a uuid, which is half of its
// hexadecimal text; the key begins with it, as households are read one by one.
const Schema = `CREATE TABLE plain_readings (
	household uuid NOT NULL,
	usage_point text NOT NULL,
	start timestamptz NOT NULL,
	value int8 NOT NULL,
	PRIMARY KEY (household, usage_point, start)
)`

// RowsPerTransaction is how many rows one COPY loads.
const RowsPerTransaction = 10_000

// Series is a run of intervals: what becomes len(Values) rows.
type Series struct {
	Household  [16]byte
	UsagePoint string
	Start      int64 // unix seconds
	Length     int64 // seconds
	Values     []int64
}

// Table is the table in its database.
type Table struct{ db *sql.DB }

// Open makes the table.
func Open(ctx context.Context, dsn string, connections int) (*Table, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening plain store: %w", err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if _, err := db.ExecContext(ctx, Schema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("making plain table: %w", err)
	}
	return &Table{db}, nil
}

// Close closes the connections.
func (t *Table) Close() error { return t.db.Close() }

// Load stores series in one transaction by COPY; durable at return.
func (t *Table) Load(ctx context.Context, series []Series) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("loading plain rows: %w", err)
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, `COPY plain_readings (household, usage_point, start, value) FROM STDIN`)
	if err != nil {
		return fmt.Errorf("loading plain rows: %w", err)
	}
	defer stmt.Close()
	for _, s := range series {
		id := uuid(s.Household)
		for i, v := range s.Values {
			if _, err := stmt.ExecContext(ctx, id, s.UsagePoint, time.Unix(s.Start+int64(i)*s.Length, 0).UTC(), v); err != nil {
				return fmt.Errorf("loading plain rows: %w", err)
			}
		}
	}
	if _, err := stmt.ExecContext(ctx); err != nil {
		return fmt.Errorf("loading plain rows: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("loading plain rows: %w", err)
	}
	return nil
}

func uuid(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Sum returns the number of rows and the sum of their values: what a benchmark
// checks before it prints a rate.
func (t *Table) Sum(ctx context.Context) (rows, sum int64, err error) {
	err = t.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(value), 0)::int8 FROM plain_readings`).Scan(&rows, &sum)
	if err != nil {
		return 0, 0, fmt.Errorf("summing plain rows: %w", err)
	}
	return rows, sum, nil
}

// Scratch makes a database of its own on the server that dsn names, and returns
// its URL and a function that drops it.
func Scratch(ctx context.Context, dsn string) (string, func(), error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", nil, fmt.Errorf("reading store URL: %w", err)
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return "", nil, fmt.Errorf("opening server: %w", err)
	}
	name := "wattveil_bench_" + hex.EncodeToString([]byte(rand.Text())[:8])
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name)); err != nil {
		_ = db.Close()
		return "", nil, fmt.Errorf("making scratch database: %w", err)
	}
	u.Path = "/" + name
	return u.String(), func() {
		_, _ = db.ExecContext(context.WithoutCancel(ctx), "DROP DATABASE "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
		_ = db.Close()
	}, nil
}

// Bytes is what all relations of a database take on disk, indexes and TOAST
// included.
func Bytes(ctx context.Context, dsn string) (int64, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return 0, fmt.Errorf("opening server: %w", err)
	}
	defer db.Close()
	var n int64
	err = db.QueryRowContext(ctx, `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("measuring relations: %w", err)
	}
	return n, nil
}

// Setting returns a server's setting, to be printed beside a result.
func Setting(ctx context.Context, dsn, name string) (string, error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return "", fmt.Errorf("opening server: %w", err)
	}
	defer db.Close()
	var v string
	if err := db.QueryRowContext(ctx, "SELECT current_setting($1)", name).Scan(&v); err != nil {
		return "", fmt.Errorf("reading setting: %w", err)
	}
	return v, nil
}

// Checkpoint makes the server write out what it holds, so that no round pays for
// the one before it. It needs a role that may (pg_checkpoint).
func Checkpoint(ctx context.Context, dsn string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return fmt.Errorf("opening server: %w", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("checkpointing: %w", err)
	}
	return nil
}
