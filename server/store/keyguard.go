package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/privacy/keyguard"
)

// HouseholdKeys implements keyguard.Keys.
func (s *Store) HouseholdKeys(ctx context.Context, h consent.Household) ([]keyguard.WrappedKey, error) {
	keys, err := scanAll(ctx, s.kept, func(row *sql.Rows) (k keyguard.WrappedKey, err error) {
		return k, row.Scan(&k.Generation, &k.Wrapped)
	}, `SELECT generation, wrapped_private FROM household_keys WHERE household = $1 ORDER BY generation`, h)
	return keys, s.reading("household keys", err)
}

// SpendAccess implements keyguard.Keys. One statement decides: the row of a leaf
// that was presented stands in the way of all that come after, unless it is of
// purpose self. When the outcome of its COMMIT is unknown the access counts as
// spent, and the caller, who was told of an error, asks for a new one.
func (s *Store) SpendAccess(ctx context.Context, index uint64, self bool) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		spend := `INSERT INTO keyguard_spent (leaf_index, uses) VALUES ($1, 1) ON CONFLICT (leaf_index) `
		if self {
			spend += `DO UPDATE SET uses = keyguard_spent.uses + 1`
		} else {
			spend += `DO NOTHING`
		}
		spent, err := execOne(ctx, tx.sql, spend, index)
		if err == nil && !spent {
			err = keyguard.ErrSpent
		}
		return doing("spending an access", err)
	})
}
