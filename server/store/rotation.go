package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/privacy/seal"
)

// Rotation is one version of a named key of the key service.
type Rotation struct {
	Version    uint64
	RotatedAt  int64 // unix seconds: made, or first seen
	RetiringAt int64 // unix seconds: nothing under an older version is stored any more; 0 until then
	RetiredAt  int64 // unix seconds: all older versions destroyed; 0 until then
}

// LastRotation returns the newest version of a named key that is written down, or
// ErrNotFound.
func (s *Store) LastRotation(ctx context.Context, key string) (Rotation, error) {
	var r Rotation
	err := scanOne(ctx, s.read, ErrNotFound, []any{&r.Version, &r.RotatedAt, &r.RetiringAt, &r.RetiredAt},
		`SELECT version, rotated_s, coalesce(retiring_s, 0), coalesce(retired_s, 0) FROM key_rotations WHERE name = $1 ORDER BY version DESC LIMIT 1`, key)
	return r, s.reading("a key's rotations", err)
}

// PutRotation writes down that a named key has a version; once is enough.
func (t *Tx) PutRotation(ctx context.Context, key string, version uint64, at int64) error {
	_, err := t.sql.ExecContext(ctx, `INSERT INTO key_rotations (name, version, rotated_s) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, key, version, at)
	return doing("storing a rotation", err)
}

// BeginRetiring refuses, from its commit on, secrets that are wrapped under an older
// version than one of a named key: what is stored by then is all that there will be.
// ErrNotFound for a version that is not written down.
func (t *Tx) BeginRetiring(ctx context.Context, key string, version uint64, at int64) error {
	if err := t.lock(ctx, t.sql, lockRegistry); err != nil {
		return fmt.Errorf("locking the registry: %w", err)
	}
	there, err := execOne(ctx, t.sql, `UPDATE key_rotations SET retiring_s = coalesce(retiring_s, $3) WHERE name = $1 AND version = $2`, key, version, at)
	if err == nil && !there {
		err = ErrNotFound
	}
	return doing("storing a rotation", err)
}

// ErrKeyRetired says that a secret was wrapped under a version that is being destroyed:
// wrapped anew, it is stored.
var ErrKeyRetired = errors.New("store: wrapped under a version of its key that is being destroyed")

// mustStay returns nil if what is wrapped under a version of a named key, or a newer one,
// may be stored: that version stays. The caller holds the registry's lock.
func (t *Tx) mustStay(ctx context.Context, key string, oldest uint64) error {
	var least uint64
	err := t.sql.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM key_rotations WHERE name = $1 AND retiring_s IS NOT NULL`, key).Scan(&least)
	if err == nil && oldest < least {
		err = ErrKeyRetired
	}
	return err
}

// RetireRotation writes down that all versions of a named key that are older than one are
// destroyed. ErrNotFound for a version that is not written down.
func (t *Tx) RetireRotation(ctx context.Context, key string, version uint64, at int64) error {
	there, err := execOne(ctx, t.sql, `UPDATE key_rotations SET retired_s = coalesce(retired_s, $3) WHERE name = $1 AND version = $2`, key, version, at)
	if err == nil && !there {
		err = ErrNotFound
	}
	return doing("storing a rotation", err)
}

// WrappedSecret is a secret that the key service has wrapped, where it is stored.
type WrappedSecret struct {
	Name       string // the household, or the hub's name of its secret: also the context it is wrapped under
	Generation uint32
	Wrapped    []byte
}

// wrappedTable is where secrets under one named key are stored.
type wrappedTable struct{ table, name, wrapped string }

var (
	householdKeys = wrappedTable{"household_keys", "household", "wrapped_private"}
	hubSecrets    = wrappedTable{"hub_secrets", "name", "wrapped"}
)

// HouseholdSecrets returns the next households' wrapped private keys after one, in their
// order, at most limit; the zero secret comes before all.
func (s *Store) HouseholdSecrets(ctx context.Context, after WrappedSecret, limit int) ([]WrappedSecret, error) {
	return s.wrappedSecrets(ctx, householdKeys, after, limit)
}

// HubSecrets is HouseholdSecrets for the hub's own secrets.
func (s *Store) HubSecrets(ctx context.Context, after WrappedSecret, limit int) ([]WrappedSecret, error) {
	return s.wrappedSecrets(ctx, hubSecrets, after, limit)
}

func (s *Store) wrappedSecrets(ctx context.Context, t wrappedTable, after WrappedSecret, limit int) ([]WrappedSecret, error) {
	ws, err := scanAll(ctx, s.read, func(row *sql.Rows) (w WrappedSecret, err error) {
		return w, row.Scan(&w.Name, &w.Generation, &w.Wrapped)
	}, fmt.Sprintf(`SELECT %[2]s, generation, %[3]s FROM %[1]s WHERE (%[2]s, generation) > ($1, $2) ORDER BY %[2]s, generation LIMIT $3`, t.table, t.name, t.wrapped),
		after.Name, after.Generation, limit)
	return ws, s.reading("wrapped secrets", err)
}

// RewrapHouseholdSecrets replaces what households' private keys are wrapped as, in one
// transaction, and returns how many it replaced. One that is not there any more, or not
// as it was, stays as it is: its household was erased, or another was faster.
func (s *Store) RewrapHouseholdSecrets(ctx context.Context, old []WrappedSecret, wrapped [][]byte) (int, error) {
	return s.rewrap(ctx, householdKeys, old, wrapped)
}

// RewrapHubSecrets is RewrapHouseholdSecrets for the hub's own secrets.
func (s *Store) RewrapHubSecrets(ctx context.Context, old []WrappedSecret, wrapped [][]byte) (int, error) {
	return s.rewrap(ctx, hubSecrets, old, wrapped)
}

func (s *Store) rewrap(ctx context.Context, in wrappedTable, old []WrappedSecret, wrapped [][]byte) (n int, err error) {
	if len(old) != len(wrapped) {
		return 0, fmt.Errorf("storing secrets that are wrapped anew: %w", seal.ErrRefused)
	}
	err = s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		n = 0
		for i, w := range old {
			replaced, err := execOne(ctx, tx.sql, fmt.Sprintf(`UPDATE %[1]s SET %[3]s = $4 WHERE %[2]s = $1 AND generation = $2 AND %[3]s = $3`, in.table, in.name, in.wrapped),
				w.Name, w.Generation, w.Wrapped, wrapped[i])
			if err != nil {
				return doing("storing secrets that are wrapped anew", err)
			}
			if replaced {
				n++
			}
		}
		return nil
	})
	return n, err
}
