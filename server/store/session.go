package store

import (
	"context"
	"fmt"

	"github.com/wattveil/wattveil/consent"
)

// OpenSession spends a letter code and begins a session of its household, in one
// transaction; times are unix seconds. It reports false, and changes nothing, if
// the code is unknown or was used. Both are known by their hashes alone.
func (s *Store) OpenSession(ctx context.Context, codeHash, tokenHash [32]byte, now, expires int64) (bool, error) {
	opened := false
	err := s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		var h consent.Household
		err := scanOne(ctx, tx.sql, ErrNotFound, []any{&h},
			`UPDATE letter_codes SET used_s = $2 WHERE code_hash = $1 AND used_s IS NULL RETURNING household`, codeHash[:], now)
		if isNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spending a letter code: %w", err)
		}
		_, err = tx.sql.ExecContext(ctx, `INSERT INTO sessions (token_hash, household, created_s, expires_s) VALUES ($1, $2, $3, $4)`,
			tokenHash[:], h, now, expires)
		if err != nil {
			return fmt.Errorf("beginning a session: %w", err)
		}
		opened = true
		// What has run out is of no use to anyone.
		_, err = tx.sql.ExecContext(ctx, `DELETE FROM sessions WHERE expires_s <= $1`, now)
		return doing("clearing sessions", err)
	})
	return opened && err == nil, err
}

// SessionHousehold returns the household of a session that is live at the
// instant now (unix seconds), by the hash of its token, and whether there is one.
func (s *Store) SessionHousehold(ctx context.Context, tokenHash [32]byte, now int64) (consent.Household, bool, error) {
	var h consent.Household
	err := scanOne(ctx, s.read, ErrNotFound, []any{&h},
		`SELECT household FROM sessions WHERE token_hash = $1 AND expires_s > $2 AND ended_s IS NULL`, tokenHash[:], now)
	if isNotFound(err) {
		return "", false, nil
	}
	return h, err == nil, s.reading("a session", err)
}

// CloseSession ends a session, by the hash of its token; harmless if it has
// ended or never was.
func (s *Store) CloseSession(ctx context.Context, tokenHash [32]byte, now int64) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.sql.ExecContext(ctx, `UPDATE sessions SET ended_s = $2 WHERE token_hash = $1 AND ended_s IS NULL`, tokenHash[:], now)
		return doing("ending a session", err)
	})
}
