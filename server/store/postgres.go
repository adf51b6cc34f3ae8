package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// postgresDialect is PostgreSQL 15 or newer through lib/pq.
//
// Transactions are READ COMMITTED: everything that decides locks its rows
// first, and each statement after a lock was granted sees what the holder
// before it committed.
type postgresDialect struct {
	db *sql.DB

	mu    sync.Mutex
	spans map[int32]bool // partitions known to exist, by span; see partition.go
}

const connectTimeout = 10 * time.Second

// idleTimeout ends the transaction of a process that has stopped in the middle of
// it: what it has locked, the log's head among it, would hold up everybody else
// for as long as its connection stands.
const idleTimeout = time.Minute

// relaxedConns is one for the sequencer and one for the cosigner.
const relaxedConns = 2

func openPostgres(ctx context.Context, url string, opt Options) (*Store, error) {
	cfg, err := pq.NewConfig(url)
	if err != nil {
		return nil, ErrURL // the driver's own error may quote the url
	}
	// Parameters in binary: one round trip a statement instead of two, and
	// ciphertext is sent as it is instead of in hexadecimal.
	cfg.BinaryParameters = true
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout // without one, a host that is gone is waited for without end
	}
	if cfg.ApplicationName == "" {
		cfg.ApplicationName = "wattveil"
	}
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	if _, set := cfg.Runtime["idle_in_transaction_session_timeout"]; !set {
		cfg.Runtime["idle_in_transaction_session_timeout"] = strconv.FormatInt(idleTimeout.Milliseconds(), 10)
	}
	if _, set := cfg.Runtime["random_page_cost"]; !set {
		// Rows are looked up by key, many at once, in tables whose upper levels are
		// in memory: reading a whole table instead is seldom cheaper.
		cfg.Runtime["random_page_cost"] = "1.1"
	}
	db, err := openPool(cfg, opt)
	if err != nil {
		return nil, err
	}
	// What is acknowledged survives power loss, whatever the server does by
	// default; a default that is stricter than on stands.
	var mode string
	err = db.QueryRowContext(ctx, `SELECT current_setting('synchronous_commit')`).Scan(&mode)
	if err == nil && mode == "off" {
		_ = db.Close()
		cfg.Runtime["synchronous_commit"] = "on"
		if db, err = openPool(cfg, opt); err != nil {
			return nil, err
		}
	}
	cfg.Runtime = maps.Clone(cfg.Runtime) // the other pool goes on reading its own
	cfg.Runtime["synchronous_commit"] = "off"
	relaxed, err := openPool(cfg, Options{MaxConns: relaxedConns})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := relaxed.PingContext(ctx); err != nil {
		// A hub that records and cannot store what it signed is worse than none.
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, privileged(err)), db.Close(), relaxed.Close())
	}
	prepared := newPreparedStatements(db)
	return &Store{
		dialect: &postgresDialect{db: db, spans: map[int32]bool{}}, write: db, read: db, relaxed: relaxed, prepared: prepared, kept: newKeptReader(db, prepared),
	}, nil
}

func openPool(cfg pq.Config, opt Options) (*sql.DB, error) {
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, ErrURL
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(opt.MaxConns)
	db.SetMaxIdleConns(opt.MaxConns)
	return db, nil
}

func (*postgresDialect) engine() string { return "postgres" }

func (*postgresDialect) begin() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

func (*postgresDialect) statement(ctx context.Context) context.Context { return ctx }

func (*postgresDialect) forUpdate() string { return " FOR UPDATE" }
func (*postgresDialect) forShare() string  { return " FOR SHARE" }

func (*postgresDialect) forUpdateFree() string { return " FOR UPDATE SKIP LOCKED" }

func (*postgresDialect) among(column string, n int) string {
	return fmt.Sprintf("%s = ANY($%d::text[])", column, n)
}

func (*postgresDialect) amongInts(column string, n int) string {
	return fmt.Sprintf("%s = ANY($%d::bigint[])", column, n)
}

func (*postgresDialect) list(values []string) any    { return pq.StringArray(notNil(values)) }
func (*postgresDialect) listInts(values []int64) any { return pq.Int64Array(notNil(values)) }

// notNil keeps an empty list from becoming NULL, which equals nothing.
func notNil[V any](values []V) []V {
	if values == nil {
		return []V{}
	}
	return values
}

func (*postgresDialect) dayRanges(n int) string {
	return fmt.Sprintf(`(SELECT n, (value ->> 0) COLLATE "C" AS household, (value ->> 1)::int AS first, (value ->> 2)::int AS last
		FROM jsonb_array_elements($%d::jsonb) WITH ORDINALITY AS e(value, n)) q`, n)
}

// rowsPerInsert stays under the protocol's 65,535 parameters.
func (*postgresDialect) rowsPerInsert(columns int) int { return 30000 / columns }

// preparedArgs leaves out statements whose text depends on the number of rows.
func (*postgresDialect) preparedArgs() int { return 15 }

// bulk runs COPY … FROM STDIN, which lib/pq offers inside a transaction as a
// prepared statement: one Exec a row, one without arguments to end it.
func (d *postgresDialect) bulk(ctx context.Context, tx statements, table string, columns []string, n int, row func(i int, values []any)) error {
	if n == 0 {
		return nil
	}
	err := copyIn(ctx, tx, table, columns, n, row)
	if noPartition(err) {
		d.forgetPartitions()
	}
	return err
}

func copyIn(ctx context.Context, tx statements, table string, columns []string, n int, row func(i int, values []any)) error {
	stmt, err := tx.PrepareContext(ctx, "COPY "+table+" ("+strings.Join(columns, ", ")+") FROM STDIN")
	if err != nil {
		return err
	}
	defer stmt.Close()
	values := make([]any, len(columns))
	for i := range n {
		row(i, values)
		if _, err := stmt.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	_, err = stmt.ExecContext(ctx) // what failed on the server is heard of here
	return err
}

func (*postgresDialect) execRelaxed(ctx context.Context, relaxed *sql.DB, query string, args ...any) (sql.Result, error) {
	return relaxed.ExecContext(ctx, query, args...)
}

func (*postgresDialect) conflict(err error) bool {
	return pq.As(err, pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected, pqerror.LockNotAvailable) != nil ||
		noPartition(err)
}

func (*postgresDialect) lost(err error) bool {
	if e := pq.As(err); e != nil {
		return lostServer(e)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false // the caller's doing, although a deadline passes for a net.Error
	}
	var netErr net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr)
}

// aborted: the server answered COMMIT with an ordinary error, so it rolled back.
// A lost connection says nothing, and neither does a server that was stopping:
// it may have committed before it told us that it goes.
func (*postgresDialect) aborted(err error) bool {
	if errors.Is(err, pq.ErrInFailedTransaction) {
		return true
	}
	e := pq.As(err)
	return e != nil && !lostServer(e) && e.Code != pqerror.TRStatementCompletionUnknown
}

// lostServer reports an error after which the server's word is not to be had:
// class 08 is the connection, 57P… the server going away.
func lostServer(e *pq.Error) bool {
	return e.Severity == pqerror.SeverityFatal || e.Severity == pqerror.SeverityPanic ||
		e.Code.Class() == "08" || strings.HasPrefix(string(e.Code), "57P")
}

func (*postgresDialect) schemaWords() map[string]any {
	return map[string]any{
		"id":          `text COLLATE "C"`,
		"bytes":       "bytea",
		"int64":       "bigint",
		"int32":       "integer",
		"int16":       "smallint",
		"table":       "",
		"partitioned": "PARTITION BY RANGE (day)",
		"postgres":    true,
	}
}

func (*postgresDialect) lock(ctx context.Context, tx statements, l lock) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(l))
	return err
}

func (*postgresDialect) hasTable(ctx context.Context, q querier, table string) (bool, error) {
	var found bool
	err := q.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&found)
	return found, err
}
