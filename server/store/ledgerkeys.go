package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/ledger"
)

// LedgerKeys is a generation of the keys that sign the ledger's checkpoints. Times are
// unix seconds, 0 for what has not happened.
type LedgerKeys struct {
	Generation   uint32
	VerifierKeys string      // one a line
	Term         ledger.Term // NoIndex for what has not happened
	Statement    []byte      // of the generation before, that vouches for it; nil until it is bound, and for the first
	CreatedAt    int64
	BoundAt      int64
	RetiredAt    int64
	DestroyedAt  int64 // its seeds
}

// LedgerKeys returns all generations, oldest first.
func (s *Store) LedgerKeys(ctx context.Context) ([]LedgerKeys, error) {
	all, err := scanAll(ctx, s.read, func(row *sql.Rows) (k LedgerKeys, err error) {
		var bound, retired sql.NullInt64
		err = row.Scan(&k.Generation, &k.VerifierKeys, &bound, &k.Statement, &retired, &k.CreatedAt, &k.BoundAt, &k.RetiredAt, &k.DestroyedAt)
		k.Term = termOf(bound, retired)
		return k, err
	}, `SELECT generation, verifier_keys, bound_leaf, statement, retired_leaf, created_s, coalesce(bound_s, 0), coalesce(retired_s, 0), coalesce(destroyed_s, 0)
		FROM ledger_keys ORDER BY generation`)
	return all, s.reading("the ledger's keys", err)
}

// LedgerTerms returns what the log says of each generation, oldest first. It is asked
// before every signature.
func (s *Store) LedgerTerms(ctx context.Context) ([]ledger.Term, error) {
	all, err := scanAll(ctx, s.kept, func(row *sql.Rows) (ledger.Term, error) {
		var bound, retired sql.NullInt64
		err := row.Scan(&bound, &retired)
		return termOf(bound, retired), err
	}, `SELECT bound_leaf, retired_leaf FROM ledger_keys ORDER BY generation`)
	return all, s.reading("the ledger's keys", err)
}

func termOf(bound, retired sql.NullInt64) ledger.Term {
	index := func(n sql.NullInt64) uint64 {
		if !n.Valid {
			return ledger.NoIndex
		}
		return uint64(n.Int64)
	}
	return ledger.Term{Bound: index(bound), Retired: index(retired)}
}

// NewLedgerKeys is a generation to be stored.
type NewLedgerKeys struct {
	Generation   uint32
	VerifierKeys string            // one a line
	Seeds        map[string][]byte // wrapped, by the names of their secrets; none if they are stored
	Key          string            // of the key service, that wraps them
	KeyVersion   uint64            // of that key
	CreatedAt    int64             // unix seconds
}

// PutLedgerKeys stores a generation and its seeds, all or nothing. Whoever comes first
// wins: if the generation is there, nothing changes, and the caller reads it.
// ErrKeyRetired if the seeds would open no more.
func (s *Store) PutLedgerKeys(ctx context.Context, k NewLedgerKeys) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		return doing("storing the ledger's keys", tx.putLedgerKeys(ctx, k))
	})
}

func (t *Tx) putLedgerKeys(ctx context.Context, k NewLedgerKeys) error {
	if err := t.lock(ctx, t.sql, lockRegistry); err != nil { // as BeginRetiring does
		return err
	}
	if len(k.Seeds) > 0 {
		if err := t.mustStay(ctx, k.Key, k.KeyVersion); err != nil {
			return err
		}
	}
	first, err := execOne(ctx, t.sql, `INSERT INTO ledger_keys (generation, verifier_keys, created_s) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		k.Generation, k.VerifierKeys, k.CreatedAt)
	if err != nil || !first {
		return err
	}
	for name, wrapped := range k.Seeds {
		_, err := t.sql.ExecContext(ctx, `INSERT INTO hub_secrets (name, generation, wrapped, created_s) VALUES ($1, $2, $3, $4)`, name, k.Generation, wrapped, k.CreatedAt)
		if err != nil {
			return err
		}
	}
	return nil
}

// BindLedgerKeys writes down the leaf that binds a generation, and with what the one before
// vouches for it, once: ErrNotFound if there is no such generation, or it is bound.
func (t *Tx) BindLedgerKeys(ctx context.Context, generation uint32, leaf uint64, statement []byte, at int64) error {
	return t.changeLedgerKeys(ctx, `UPDATE ledger_keys SET bound_leaf = $2, bound_s = $3, statement = $4 WHERE generation = $1 AND bound_leaf IS NULL`,
		generation, position(leaf), at, statement)
}

// RetireLedgerKeys writes down the leaf that retires a generation, once: ErrNotFound if
// there is no such generation, or it is retired.
func (t *Tx) RetireLedgerKeys(ctx context.Context, generation uint32, leaf uint64, at int64) error {
	return t.changeLedgerKeys(ctx, `UPDATE ledger_keys SET retired_leaf = $2, retired_s = $3 WHERE generation = $1 AND retired_leaf IS NULL`, generation, position(leaf), at)
}

func (t *Tx) changeLedgerKeys(ctx context.Context, query string, args ...any) error {
	there, err := execOne(ctx, t.sql, query, args...)
	if err == nil && !there {
		err = ErrNotFound
	}
	return doing("changing the ledger's keys", err)
}

// DestroyLedgerSeeds removes the seeds of a retired generation, by the names of their
// secrets, and writes that down. ErrNotFound for a generation that is not retired.
func (s *Store) DestroyLedgerSeeds(ctx context.Context, generation uint32, names []string, at int64) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		there, err := execOne(ctx, tx.sql, `UPDATE ledger_keys SET destroyed_s = coalesce(destroyed_s, $2) WHERE generation = $1 AND retired_leaf IS NOT NULL`, generation, at)
		if err == nil && !there {
			err = ErrNotFound
		}
		for _, name := range names {
			if err == nil {
				_, err = tx.sql.ExecContext(ctx, `DELETE FROM hub_secrets WHERE name = $1 AND generation = $2`, name, generation)
			}
		}
		return doing("destroying the seeds of the ledger's keys", err)
	})
}

// HubSecretOf returns the wrapped form of a generation of one of the hub's own secrets,
// or ErrNotFound.
func (s *Store) HubSecretOf(ctx context.Context, name string, generation uint32) ([]byte, error) {
	var wrapped []byte
	err := scanOne(ctx, s.read, ErrNotFound, []any{&wrapped}, `SELECT wrapped FROM hub_secrets WHERE name = $1 AND generation = $2`, name, generation)
	return wrapped, s.reading("a hub secret", err)
}
