package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/meter"
)

// dialect is all that differs between the two engines. Every statement outside
// its two implementations runs on both: parameters are written $1, $2, …, and
// upserts as ON CONFLICT.
type dialect interface {
	engine() string

	// begin holds the options of every read-write transaction.
	begin() *sql.TxOptions

	// statement returns the context under which a statement inside a
	// transaction runs.
	statement(ctx context.Context) context.Context

	// forUpdate and forShare end a SELECT whose rows stay as they are until the
	// transaction ends: " FOR UPDATE" and " FOR SHARE", or nothing on SQLite,
	// where a transaction holds the only write lock there is.
	forUpdate() string
	forShare() string
	// forUpdateFree is forUpdate that passes over rows which somebody else has locked.
	forUpdateFree() string

	// among renders "column is one of parameter n", and list makes the value of
	// that parameter.
	among(column string, n int) string
	list(values []string) any
	amongInts(column string, n int) string
	listInts(values []int64) any

	// dayRanges renders a table q of the columns n, counted from 1, household, first
	// and last, from parameter n: a JSON array of arrays of the last three.
	dayRanges(n int) string

	// rowsPerInsert bounds the rows of one INSERT with so many columns.
	rowsPerInsert(columns int) int
	// preparedArgs is how many arguments a statement that is kept prepared has at
	// most.
	preparedArgs() int

	// insert inserts n rows in as few statements as the engine likes; row fills in
	// the values of row i, and suffix may hold ON CONFLICT.
	insert(ctx context.Context, tx statements, table string, columns []string, suffix string, n int, row func(i int, values []any)) error

	// bulk inserts n rows as fast as the engine can: COPY, or prepared INSERTs
	// of many rows. row fills in the values of row i. A key that is already
	// there fails the transaction.
	bulk(ctx context.Context, tx statements, table string, columns []string, n int, row func(i int, values []any)) error

	// preparePartitions makes sure that rows of these UTC days have a partition
	// to go to. It runs outside any transaction. forgetPartitions drops what it
	// remembers, for when a partition was removed behind its back.
	preparePartitions(ctx context.Context, days []meter.Day) error
	forgetPartitions()

	// conflict reports whether a transaction that ended in err may succeed when
	// it is run again at once: a deadlock, a serialization failure, a busy file.
	// lost reports that the server went away.
	conflict(err error) bool
	lost(err error) bool
	// aborted reports whether a COMMIT that returned err certainly did not
	// commit. When in doubt it is false.
	aborted(err error) bool

	// execRelaxed runs one statement on Store.relaxed, in a transaction of its own
	// whose commit does not wait for the disk: for what can be made again.
	execRelaxed(ctx context.Context, relaxed *sql.DB, query string, args ...any) (sql.Result, error)

	// schemaWords are the words of the migrations' templates.
	schemaWords() map[string]any
	// lock excludes every other transaction that asks for the same lock, until
	// tx ends.
	lock(ctx context.Context, tx statements, l lock) error
	// grantRoles gives the roles of the hub what they need in the database, and
	// nothing else.
	grantRoles(ctx context.Context, tx statements) error
	// hasTable reports whether a table exists.
	hasTable(ctx context.Context, q querier, table string) (bool, error)
}

// querier is what reads need: a transaction or a pool.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// statements is what writes need: a transaction.
type statements interface {
	querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// lock is a lock that belongs to no row.
type lock int64

// The locks. On PostgreSQL they are advisory locks under these numbers, chosen
// once: any that nothing else in the database uses.
const (
	lockMigrations lock = 0x77617474_0001
	lockPartitions lock = 0x77617474_0002
	lockRegistry   lock = 0x77617474_0003 // whoever changes the registry
	lockRunning    lock = 0x77617474_0004 // whoever replaces running sums
)
