package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/wattveil/wattveil/meter"
)

// sqliteDialect is the embedded engine: modernc.org/sqlite, pure Go.
//
// One connection writes; its transactions begin IMMEDIATE, so that a
// transaction holds the write lock from its first statement on and never fails
// half way because another writer came between (no lock upgrade). Readers are
// connections of their own and see the last commit.
type sqliteDialect struct{}

// pragmas of every connection. secure_delete overwrites what is deleted: an
// erased key must not linger in free pages. recursive_triggers lets REPLACE fire the
// triggers of DELETE.
var pragmas = []string{
	"busy_timeout(10000)",
	"journal_mode(WAL)",
	"synchronous(FULL)",
	"foreign_keys(1)",
	"recursive_triggers(1)",
	"secure_delete(1)",
	"trusted_schema(0)",
	"temp_store(MEMORY)",
}

func openSQLite(path string, opt Options) (*Store, error) {
	if path == "" {
		return nil, ErrURL
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the SQLite file: %w", err)
	}
	if opt.Migrate {
		// Made here so that only its owner may read it: SQLite itself would
		// follow the umask, and gives its -wal and -shm the mode of the file.
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("making the SQLite file: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("making the SQLite file: %w", err)
		}
	}
	// No larger cache: a commit that has moved pages of an index about looks through
	// all of it (the engine's truncation of its cache), and what is not in it is in
	// the system's.
	writer, err := sql.Open("sqlite", sqliteDSN(path, "cache_size(-8192)", "wal_autocheckpoint(4000)"))
	if err != nil {
		return nil, fmt.Errorf("opening the SQLite file: %w", err)
	}
	writer.SetMaxOpenConns(1)
	reader, err := sql.Open("sqlite", sqliteDSN(path, "query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the SQLite file: %w", err), writer.Close())
	}
	reader.SetMaxOpenConns(opt.MaxConns)
	reader.SetMaxIdleConns(opt.MaxConns)
	s := &Store{dialect: sqliteDialect{}, write: writer, read: reader, relaxed: writer, prepared: newPreparedStatements(writer), kept: newKeptReader(reader, newPreparedStatements(reader))}
	s.spends = &spends{spend: s.spend}
	return s, nil
}

// sqliteDSN names the file as a URI, so that no character of the path is taken
// for a parameter. mode=rw: only openSQLite makes the file.
func sqliteDSN(path string, more ...string) string {
	q := url.Values{
		"mode":       {"rw"},
		"_txlock":    {"immediate"},
		"_dqs":       {"0"},
		"_defensive": {"1"},
		"_pragma":    append(append([]string{}, pragmas...), more...),
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

func (sqliteDialect) engine() string        { return "sqlite" }
func (sqliteDialect) begin() *sql.TxOptions { return nil }

// statement takes the end of ctx away: SQLite rolls the whole transaction back
// when it interrupts a write in it, and what is run after that would commit by
// itself. Statements are short; ctx is looked at before COMMIT.
func (sqliteDialect) statement(ctx context.Context) context.Context {
	return context.WithoutCancel(ctx)
}

func (sqliteDialect) forUpdate() string { return "" }
func (sqliteDialect) forShare() string  { return "" }

func (sqliteDialect) forUpdateFree() string { return "" }

func (sqliteDialect) among(column string, n int) string {
	return fmt.Sprintf("%s IN (SELECT value FROM json_each($%d))", column, n)
}

func (d sqliteDialect) amongInts(column string, n int) string { return d.among(column, n) }

func (sqliteDialect) list(values []string) any    { return jsonList(values) }
func (sqliteDialect) listInts(values []int64) any { return jsonList(values) }

func jsonList[V string | int64](values []V) string {
	if len(values) == 0 {
		return "[]"
	}
	b, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return string(b)
}

func (sqliteDialect) dayRanges(n int) string {
	return fmt.Sprintf(`(SELECT key + 1 AS n, value ->> 0 AS household, value ->> 1 AS first, value ->> 2 AS last FROM json_each($%d)) q`, n)
}

// rowsPerInsert is about 60 parameters: a short statement that runs ten times
// costs less than a long one.
func (sqliteDialect) rowsPerInsert(columns int) int { return max(1, 60/columns) }

// insert makes statements of powers of two of rows, so that all stay prepared.
func (d sqliteDialect) insert(ctx context.Context, tx statements, table string, columns []string, suffix string, n int, row func(i int, values []any)) error {
	most := d.rowsPerInsert(len(columns))
	for done := 0; done < n; {
		rows := most
		if n-done < most {
			rows = 1 << (bits.Len(uint(n-done)) - 1)
		}
		values := make([]any, rows*len(columns))
		for i := range rows {
			row(done+i, values[i*len(columns):(i+1)*len(columns)])
		}
		if _, err := tx.ExecContext(ctx, insertSQL(table, columns, rows, suffix), values...); err != nil {
			return err
		}
		done += rows
	}
	return nil
}

func (sqliteDialect) preparedArgs() int { return 60 }

func (d sqliteDialect) bulk(ctx context.Context, tx statements, table string, columns []string, n int, row func(i int, values []any)) error {
	return d.insert(ctx, tx, table, columns, "", n, row)
}

func (sqliteDialect) preparePartitions(context.Context, []meter.Day) error { return nil }
func (sqliteDialect) forgetPartitions()                                    {}

// execRelaxed lets the one connection that writes commit without a sync, and then
// wait for the disk again, or never be used again. The next commit that does wait
// takes the statement's pages with it: they come before its own in the log.
func (d sqliteDialect) execRelaxed(ctx context.Context, relaxed *sql.DB, query string, args ...any) (sql.Result, error) {
	conn, err := relaxed.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx = d.statement(ctx)
	defer func() {
		if _, err := conn.ExecContext(ctx, `PRAGMA synchronous = FULL`); err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // drops the connection
		}
	}()
	if _, err := conn.ExecContext(ctx, `PRAGMA synchronous = NORMAL`); err != nil {
		return nil, err
	}
	return conn.ExecContext(ctx, query, args...)
}

func (sqliteDialect) conflict(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	return false
}

func (sqliteDialect) lost(error) bool { return false }

// aborted: a COMMIT that found the file busy, a constraint violated or the disk
// full rolled back. After an I/O error the frames may or may not have reached
// the log.
func (sqliteDialect) aborted(err error) bool {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FULL:
		return true
	}
	return false
}

// sqliteCode returns the primary result code, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

func (sqliteDialect) schemaWords() map[string]any {
	return map[string]any{
		"id":          "text",
		"bytes":       "blob",
		"int64":       "integer",
		"int32":       "integer",
		"int16":       "integer",
		"table":       "STRICT",
		"partitioned": "STRICT",
		"postgres":    false,
	}
}

// lock has nothing to do: the transaction began IMMEDIATE and is alone.
func (sqliteDialect) lock(context.Context, statements, lock) error { return nil }

func (sqliteDialect) grantRoles(context.Context, statements) error { return nil }

func (sqliteDialect) hasTable(ctx context.Context, q querier, table string) (bool, error) {
	var n int
	err := q.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1`, table).Scan(&n)
	return n > 0, err
}
