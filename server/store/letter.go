package store

import (
	"context"
	"fmt"

	"github.com/wattveil/wattveil/consent"
)

// ReplaceLetterCode gives a household a new letter code, known by its hash, and
// ends those it has not used, in one transaction. ErrNotFound if there is no
// such household, or it was erased.
func (s *Store) ReplaceLetterCode(ctx context.Context, h consent.Household, codeHash [32]byte) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		var known consent.Household
		if err := scanOne(ctx, tx.sql, ErrNotFound, []any{&known}, `SELECT id FROM households WHERE id = $1 AND public_key IS NOT NULL`+tx.forUpdate(), h); err != nil {
			return fmt.Errorf("finding the household of a letter: %w", err)
		}
		if _, err := tx.sql.ExecContext(ctx, `DELETE FROM letter_codes WHERE household = $1 AND used_s IS NULL`, h); err != nil {
			return fmt.Errorf("ending letter codes: %w", err)
		}
		_, err := tx.sql.ExecContext(ctx, `INSERT INTO letter_codes (code_hash, household) VALUES ($1, $2)`, codeHash[:], h)
		return doing("adding a letter code", err)
	})
}
