package store

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// preparedStatements keeps the queries of transactions prepared, on each connection
// that has run them: a server that parses and plans each anew spends more on that
// than on running it. A plan is made again when the server has learnt more about
// the tables. Safe for concurrent use; nil keeps nothing.
type preparedStatements struct {
	db *sql.DB

	mu   sync.Mutex
	stmt map[string]*sql.Stmt
}

// maxPrepared bounds what is kept: the texts of a program are few.
const maxPrepared = 128

func newPreparedStatements(db *sql.DB) *preparedStatements {
	return &preparedStatements{db: db, stmt: make(map[string]*sql.Stmt)}
}

// get returns the prepared query, or nil if it is to be run as it is.
func (p *preparedStatements) get(ctx context.Context, query string) *sql.Stmt {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if stmt, ok := p.stmt[query]; ok || len(p.stmt) == maxPrepared {
		return stmt
	}
	// It takes another connection than the one that waits for it: where none is to
	// be had, the query is run as it is.
	if pool := p.db.Stats(); pool.Idle == 0 && pool.OpenConnections == pool.MaxOpenConnections {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stmt, err := p.db.PrepareContext(ctx, query) //nolint:sqlclosecheck // kept, and closed with the pool
	if err != nil {
		return nil // the query itself says what is wrong
	}
	p.stmt[query] = stmt
	return stmt
}
