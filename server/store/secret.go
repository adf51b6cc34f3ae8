package store

import (
	"context"
)

// HubSecret returns the newest wrapped form of one of the hub's own secrets, or
// ErrNotFound.
func (s *Store) HubSecret(ctx context.Context, name string) ([]byte, error) {
	var wrapped []byte
	err := scanOne(ctx, s.read, ErrNotFound, []any{&wrapped},
		`SELECT wrapped FROM hub_secrets WHERE name = $1 ORDER BY generation DESC LIMIT 1`, name)
	return wrapped, s.reading("a hub secret", err)
}

// PutHubSecret stores the first generation of a secret, wrapped by the key
// service. Whoever comes first wins: if there is one, nothing changes, and the
// caller reads it.
func (s *Store) PutHubSecret(ctx context.Context, name string, wrapped []byte, createdAt int64) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.sql.ExecContext(ctx,
			`INSERT INTO hub_secrets (name, generation, wrapped, created_s) VALUES ($1, 1, $2, $3) ON CONFLICT DO NOTHING`,
			name, wrapped, createdAt)
		return doing("storing a hub secret", err)
	})
}
