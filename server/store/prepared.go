package store

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// preparedStatements keeps the queries of transactions prepared, on each connection
// that has run them: a database that parses and plans each anew spends more on that
// than on running it. A plan is made again when the database has learnt more about
// the tables. Safe for concurrent use.
type preparedStatements struct {
	db     *sql.DB
	adding sync.Mutex // held while queries are prepared, by one at a time

	mu   sync.Mutex // never held while waiting for a connection
	stmt map[string]*sql.Stmt
}

// maxPrepared is about how many are kept: the texts of a program are few.
const maxPrepared = 512

func newPreparedStatements(db *sql.DB) *preparedStatements {
	return &preparedStatements{db: db, stmt: make(map[string]*sql.Stmt)}
}

// get returns the prepared query, or nil if it is to be run as it is.
func (p *preparedStatements) get(query string) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stmt[query]
}

// add prepares queries. It takes a connection and must not be called by who holds
// one. What cannot be prepared soon is run as it is, and wanted again.
func (p *preparedStatements) add(ctx context.Context, queries []string) {
	if len(queries) == 0 || p.full() || !p.adding.TryLock() {
		return
	}
	defer p.adding.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	for _, query := range queries {
		if p.get(query) != nil {
			continue
		}
		stmt, err := p.db.PrepareContext(ctx, query)
		if err != nil {
			return
		}
		p.put(query, stmt)
	}
}

func (p *preparedStatements) put(query string, stmt *sql.Stmt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stmt[query] = stmt
}

func (p *preparedStatements) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.stmt) >= maxPrepared
}

// keptReader runs queries outside transactions, prepared: for those that every
// answer takes, one or several.
type keptReader struct {
	*sql.DB
	prepared *preparedStatements
}

func newKeptReader(db *sql.DB, prepared *preparedStatements) keptReader {
	return keptReader{db, prepared}
}

func (r keptReader) statementOf(ctx context.Context, query string) *sql.Stmt {
	if stmt := r.prepared.get(query); stmt != nil {
		return stmt
	}
	r.prepared.add(ctx, []string{query})
	return r.prepared.get(query)
}

func (r keptReader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := r.statementOf(ctx, query); stmt != nil { //nolint:sqlclosecheck // kept
		return stmt.QueryContext(ctx, args...)
	}
	return r.DB.QueryContext(ctx, query, args...)
}

func (r keptReader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := r.statementOf(ctx, query); stmt != nil { //nolint:sqlclosecheck // kept
		return stmt.QueryRowContext(ctx, args...)
	}
	return r.DB.QueryRowContext(ctx, query, args...)
}
