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
