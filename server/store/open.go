package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/server/notify"
)

// Options say how to open a store. The zero value opens an existing, up-to-date
// store with default pools.
type Options struct {
	// Migrate applies pending migrations, and makes the SQLite file if it does
	// not exist. Without it a store that lacks any migration is refused with
	// ErrSchemaPending and a missing file is an error: a database that should
	// be there is never made by accident.
	Migrate bool

	// MaxConns bounds the connections in use at once: on PostgreSQL all but two,
	// which store checkpoints, on SQLite the readers beside the one writer. 0
	// means 16.
	MaxConns int
}

const defaultMaxConns = 16

// ErrURL says that a store's URL is not one of the two forms.
var ErrURL = errors.New("store: url is neither sqlite:PATH nor postgres://…")

// Store is an open database. It is safe for concurrent use.
type Store struct {
	dialect
	write   *sql.DB // SQLite: one connection, every transaction takes the write lock at BEGIN
	read    *sql.DB // SQLite: query_only connections; PostgreSQL: the same pool as write
	relaxed *sql.DB // for dialect.execRelaxed; SQLite: the same as write

	prepared *preparedStatements // of transactions
	kept     keptReader          // reads the ledger, and what is sealed
	spends   *spends             // SQLite; nil spends each access by itself
}

// Open opens the store at url: "sqlite:PATH", or a PostgreSQL URL as lib/pq
// reads it ("postgres://user@host/database?sslmode=verify-full"; several hosts
// and target_session_attrs are allowed). It checks the schema before it
// returns; see [Options.Migrate]. No error holds the url, which may carry a
// password.
func Open(ctx context.Context, url string, opt Options) (*Store, error) {
	s, err := connect(ctx, url, opt)
	if err != nil {
		return nil, err
	}
	if opt.Migrate {
		err = s.Migrate(ctx)
	} else {
		err = s.checkSchema(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect makes the pools, and looks at no table yet.
func connect(ctx context.Context, url string, opt Options) (*Store, error) {
	if opt.MaxConns <= 0 {
		opt.MaxConns = defaultMaxConns
	}
	switch {
	case strings.HasPrefix(url, "sqlite:"):
		return openSQLite(strings.TrimPrefix(url, "sqlite:"), opt)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return openPostgres(ctx, url, opt)
	}
	return nil, ErrURL
}

// Close closes the connections. Transactions under way end in errors.
func (s *Store) Close() error {
	err := s.write.Close()
	for _, pool := range []*sql.DB{s.read, s.relaxed} {
		if pool != s.write {
			err = errors.Join(err, pool.Close())
		}
	}
	return err
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	for _, pool := range []*sql.DB{s.read, s.relaxed} {
		if err := pool.PingContext(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return nil
}

// Engine returns "sqlite" or "postgres".
func (s *Store) Engine() string { return s.engine() }

// What the packages below ask of a store.
var (
	_ ledger.Store[*Tx] = (*Store)(nil)
	_ consent.Tx        = (*Tx)(nil)
	_ release.Tx        = (*Tx)(nil)
	_ release.Store     = (*Store)(nil)
	_ keyguard.Keys     = (*Store)(nil)
	_ notify.Outbox     = (*Store)(nil)
	_ notify.Readings   = (*Store)(nil)
)
