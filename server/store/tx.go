package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wattveil/wattveil/ledger"
)

// Errors of transactions. Neither names what was being written.
var (
	// ErrUnknownOutcome says that COMMIT was sent and its answer never came: the
	// transaction may or may not have happened. Ask again with the same
	// identifiers. It is the ledger's own sentinel.
	ErrUnknownOutcome = ledger.ErrUnknownOutcome

	// ErrRetry says that the transaction certainly did not happen, and may
	// succeed when it is run again: a deadlock, a busy file, a server that went
	// away before COMMIT.
	ErrRetry = errors.New("store: not committed, worth another try")

	// ErrUnavailable says that the database cannot be reached. From Transact it
	// comes with ErrRetry; from a read it stands alone.
	ErrUnavailable = errors.New("store: database cannot be reached")

	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("store: not found")

	// ErrConflict says that what is to be stored contradicts what is there.
	ErrConflict = errors.New("store: contradicts what is stored")
)

// Tx is one open transaction. It implements what packages ledger, consent and
// release ask of theirs. It is used by one goroutine at a time and is of no use
// after the function it was given to has returned.
type Tx struct {
	dialect
	sql        *session
	savepoints []string // names, oldest first
	ahead      ahead
	told       bool // notifications were written that have no time yet
}

// session runs a transaction's statements under contexts its engine can bear. A
// savepoint that was asked for is set before the first statement that writes:
// most proposals only read, and a round trip for each would be wasted.
type session struct {
	dialect
	*sql.Tx
	prepared *preparedStatements // nil keeps none
	wanted   []string            // queries that were not prepared, and shall be the next time
	due      string              // statement that sets the savepoint; empty when it is set
}

// statementOf returns the prepared query of so many arguments, or nil.
func (s *session) statementOf(ctx context.Context, query string, args int) *sql.Stmt {
	if s.prepared == nil || args > s.preparedArgs() {
		return nil
	}
	stmt := s.prepared.get(query)
	if stmt == nil {
		s.wanted = append(s.wanted, query)
		return nil
	}
	return s.Tx.StmtContext(ctx, stmt) // the transaction closes it
}

// beforeQuery sets the savepoint that is due unless the query only reads.
func (s *session) beforeQuery(ctx context.Context, query string) error {
	if strings.HasPrefix(query, "SELECT ") {
		return nil
	}
	return s.setSavepoint(ctx)
}

func (s *session) setSavepoint(ctx context.Context) error {
	if s.due == "" {
		return nil
	}
	if _, err := s.Tx.ExecContext(s.statement(ctx), s.due); err != nil {
		return fmt.Errorf("setting a savepoint: %w", err)
	}
	s.due = ""
	return nil
}

func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := s.beforeQuery(ctx, query); err != nil {
		return nil, err
	}
	ctx = s.statement(ctx)
	if stmt := s.statementOf(ctx, query, len(args)); stmt != nil { //nolint:sqlclosecheck // the transaction closes it
		rows, err := stmt.QueryContext(ctx, args...)
		return rows, privileged(err)
	}
	rows, err := s.Tx.QueryContext(ctx, query, args...)
	return rows, privileged(err)
}

func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := s.beforeQuery(ctx, query); err != nil {
		// A Row keeps its error for Scan and cannot be made with one: the
		// transaction is over, and the query says so itself.
		return s.Tx.QueryRowContext(s.statement(ctx), query, args...)
	}
	ctx = s.statement(ctx)
	if stmt := s.statementOf(ctx, query, len(args)); stmt != nil { //nolint:sqlclosecheck // the transaction closes it
		return stmt.QueryRowContext(ctx, args...)
	}
	return s.Tx.QueryRowContext(ctx, query, args...)
}

func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := s.setSavepoint(ctx); err != nil {
		return nil, err
	}
	ctx = s.statement(ctx)
	if len(args) > 0 { // not a savepoint
		if stmt := s.statementOf(ctx, query, len(args)); stmt != nil { //nolint:sqlclosecheck // the transaction closes it
			res, err := stmt.ExecContext(ctx, args...)
			return res, privileged(err)
		}
	}
	res, err := s.Tx.ExecContext(ctx, query, args...)
	return res, privileged(err)
}

func (s *session) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := s.setSavepoint(ctx); err != nil {
		return nil, err
	}
	return s.Tx.PrepareContext(s.statement(ctx), query)
}

// Transact runs fn in one transaction and commits if fn returns nil; then what
// fn did is durable. If fn returns an error or panics, nothing of it remains, and
// the error is returned as it is, wrapped in ErrRetry where running fn again may
// help. A COMMIT that may have happened gives ErrUnknownOutcome.
//
// PostgreSQL runs it READ COMMITTED: fn must lock what it decides upon. SQLite
// runs one Transact at a time, and waits for its turn until ctx ends; a Tx never
// calls back into its Store's writing methods, which would wait for itself.
func (s *Store) Transact(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	conn, sqlTx, err := s.beginTx(ctx)
	if err != nil {
		return s.beforeCommit(fmt.Errorf("beginning a transaction: %w", err))
	}
	tx := &Tx{dialect: s.dialect, sql: &session{dialect: s.dialect, Tx: sqlTx, prepared: s.prepared}}
	defer func() { s.prepared.add(ctx, tx.sql.wanted) }()
	defer func() { _ = conn.Close() }()
	defer sqlTx.Rollback() // after Commit it does nothing
	if err := fn(ctx, tx); err != nil {
		return s.beforeCommit(err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		if s.aborted(err) {
			return s.beforeCommit(fmt.Errorf("committing: %w", err))
		}
		return fmt.Errorf("committing: %w: %w", ErrUnknownOutcome, err)
	}
	return nil
}

// View runs fn in a transaction that only reads what is committed, and keeps
// nobody from writing. fn must not lock. It implements ledger.MapStore.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	sqlTx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.reading("what is committed", err)
	}
	defer sqlTx.Rollback() // it has written nothing
	return s.reading("what is committed", fn(ctx, &Tx{dialect: s.dialect, sql: &session{dialect: s.dialect, Tx: sqlTx}}))
}

// beginTx begins a transaction on a connection of its own.
//
// Waiting for the connection ends with ctx, and so does every statement; but
// database/sql must not abort COMMIT half way when ctx ends, since nobody could
// tell any more what became of it: hence a context without end for the
// transaction. A connection that turns out to be dead, as all in the pool are
// after the server was restarted, is dropped for the next.
func (s *Store) beginTx(ctx context.Context) (*sql.Conn, *sql.Tx, error) {
	for tries := s.write.Stats().MaxOpenConnections; ; tries-- {
		conn, err := s.write.Conn(ctx)
		if err != nil {
			return nil, nil, err
		}
		tx, err := conn.BeginTx(context.WithoutCancel(ctx), s.begin())
		if err == nil {
			return conn, tx, nil
		}
		_ = conn.Close()
		if !s.lost(err) || ctx.Err() != nil || tries == 0 {
			return nil, nil, err
		}
	}
}

// beforeCommit marks an error worth another try, and one that no try will mend.
// Until COMMIT is sent nothing has happened, whatever broke.
func (s *Store) beforeCommit(err error) error {
	switch err = privileged(err); {
	case errors.Is(err, ErrPrivilege):
		return err
	case errors.Is(err, ErrRetry):
		return err
	case s.lost(err):
		return fmt.Errorf("%w: %w: %w", ErrRetry, ErrUnavailable, err)
	case s.conflict(err):
		return fmt.Errorf("%w: %w", ErrRetry, err)
	}
	return err
}

// reading completes the error of a read outside transactions: nil stays nil.
func (s *Store) reading(what string, err error) error {
	switch err = privileged(err); {
	case err == nil:
		return nil
	case s.lost(err) && !errors.Is(err, ErrPrivilege):
		return fmt.Errorf("reading %s: %w: %w", what, ErrUnavailable, err)
	}
	return fmt.Errorf("reading %s: %w", what, err)
}

// Savepoint marks the state to which RollbackTo returns. Setting a name again
// replaces its savepoint, and every one set since, so that a long batch does not
// nest one subtransaction in another.
func (t *Tx) Savepoint(ctx context.Context, name string) error {
	if !plainName(name) {
		return fmt.Errorf("store: savepoint name %q", name)
	}
	i := slices.Index(t.savepoints, name)
	if t.sql.due != "" {
		if i == len(t.savepoints)-1 {
			return nil // nothing was written since: it may as well be set now
		}
		if err := t.sql.setSavepoint(ctx); err != nil {
			return err
		}
	}
	t.sql.due = "SAVEPOINT " + name
	if i >= 0 {
		t.sql.due = "RELEASE SAVEPOINT " + name + "; " + t.sql.due
		t.savepoints = t.savepoints[:i]
	}
	t.savepoints = append(t.savepoints, name)
	return nil
}

// RollbackTo undoes everything done since Savepoint(name) and keeps the
// savepoint. Where nothing was written since, it only finds out whether the
// transaction can go on: on PostgreSQL it cannot after a query that failed.
func (t *Tx) RollbackTo(ctx context.Context, name string) error {
	i := slices.Index(t.savepoints, name)
	if i < 0 {
		return fmt.Errorf("store: no savepoint %q", name)
	}
	// The caller's ctx may be what ended the work that is undone here.
	ctx = context.WithoutCancel(ctx)
	if t.sql.due != "" && i == len(t.savepoints)-1 {
		return t.sql.setSavepoint(ctx)
	}
	t.sql.due = "" // of a later savepoint, which goes
	if _, err := t.sql.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+name); err != nil {
		return fmt.Errorf("rolling back to a savepoint: %w", err)
	}
	t.savepoints = t.savepoints[:i+1]
	return nil
}

// Release forgets the savepoint, and every one set since, and keeps what was done.
func (t *Tx) Release(ctx context.Context, name string) error {
	i := slices.Index(t.savepoints, name)
	if i < 0 {
		return fmt.Errorf("store: no savepoint %q", name)
	}
	never := t.sql.due == "SAVEPOINT "+name
	t.sql.due = "" // of this one, set again or not yet, or of a later one
	t.savepoints = t.savepoints[:i]
	if never {
		return nil
	}
	if _, err := t.sql.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err != nil {
		return fmt.Errorf("releasing a savepoint: %w", err)
	}
	return nil
}

// plainName reports whether name can stand in SQL as it is.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return name != ""
}

// execOne runs one statement and reports whether it changed a row.
func execOne(ctx context.Context, tx statements, query string, args ...any) (bool, error) {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
