package store

import (
	"context"
	"fmt"
)

// HubSecret returns the newest wrapped form of one of the hub's own secrets, or
// ErrNotFound.
func (s *Store) HubSecret(ctx context.Context, name string) ([]byte, error) {
	var wrapped []byte
	err := scanOne(ctx, s.read, ErrNotFound, []any{&wrapped},
		`SELECT wrapped FROM hub_secrets WHERE name = $1 ORDER BY generation DESC LIMIT 1`, name)
	return wrapped, s.reading("a hub secret", err)
}

// NewSecret is one of the hub's own secrets to be stored.
type NewSecret struct {
	Name       string
	Wrapped    []byte
	Key        string // of the key service, that wraps it
	KeyVersion uint64 // of that key
	CreatedAt  int64  // unix seconds
}

// PutHubSecret stores the first generation of a secret. Whoever comes first wins: if
// there is one, nothing changes, and the caller reads it. ErrKeyRetired asks for a secret
// that is wrapped anew: what it is wrapped under opens no more, or soon will not.
func (s *Store) PutHubSecret(ctx context.Context, n NewSecret) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		return doing("storing a hub secret", tx.putHubSecret(ctx, n))
	})
}

func (t *Tx) putHubSecret(ctx context.Context, n NewSecret) error {
	if err := t.lock(ctx, t.sql, lockRegistry); err != nil { // as BeginRetiring does
		return fmt.Errorf("locking the registry: %w", err)
	}
	if err := t.mustStay(ctx, n.Key, n.KeyVersion); err != nil {
		return err
	}
	_, err := t.sql.ExecContext(ctx,
		`INSERT INTO hub_secrets (name, generation, wrapped, created_s) VALUES ($1, 1, $2, $3) ON CONFLICT DO NOTHING`, n.Name, n.Wrapped, n.CreatedAt)
	return err
}
