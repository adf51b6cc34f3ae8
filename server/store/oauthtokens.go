package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/consent"
)

// IssueOAuthClientToken hands out a client access token. ErrOAuthTooMany if the client had
// too many lately.
func (s *Store) IssueOAuthClientToken(ctx context.Context, t OAuthToken) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.lockOAuthClient(ctx, t.Client); err != nil { // so that two count one another
			return doing("handing out a token", err)
		}
		var lately int
		err := tx.sql.QueryRowContext(ctx, `SELECT count(*) FROM oauth_tokens WHERE client = $1 AND kind = 3 AND issued_s > $2`, t.Client, t.Issued-tokenHour).Scan(&lately)
		if err == nil && lately >= maxTokensPerClient {
			err = ErrOAuthTooMany
		}
		if err == nil {
			err = tx.putOAuthTokens(ctx, []OAuthToken{t})
		}
		return doing("handing out a token", err)
	})
}

// OAuthBearer returns for whom, and of which consent, a token lets in at an instant (unix
// seconds): an access token or a client access token that has not run out, was not
// revoked, and whose client is approved.
func (s *Store) OAuthBearer(ctx context.Context, token [32]byte, now int64) (client consent.Recipient, of consent.ID, found bool, err error) {
	err = scanOne(ctx, s.read, ErrNotFound, []any{&client, &of},
		`SELECT t.client, t.consent FROM oauth_tokens t JOIN oauth_clients c ON c.id = t.client
		 WHERE t.token_hash = $1 AND t.kind IN (1, 3) AND t.expires_s > $2 AND t.revoked_s IS NULL AND c.state = 2`, token[:], now)
	if isNotFound(err) {
		return "", "", false, nil
	}
	return client, of, err == nil, s.reading("a token", err)
}

// OAuthTokenOf returns one of a client's tokens that is good at an instant (unix seconds),
// with its grant and the consent as it stands: none of a client access token. A token
// whose consent is not granted any more, or over, is no good. ErrOAuthGone for any other.
func (s *Store) OAuthTokenOf(ctx context.Context, token [32]byte, client consent.Recipient, now int64) (t OAuthToken, standing OAuthStanding, err error) {
	err = s.View(ctx, func(ctx context.Context, tx *Tx) error {
		t = OAuthToken{Hash: token, Client: client}
		err := scanOne(ctx, tx.sql, ErrOAuthGone, []any{&t.Kind, &t.Consent, &t.Issued, &t.Expires},
			`SELECT kind, consent, issued_s, expires_s FROM oauth_tokens
			 WHERE token_hash = $1 AND client = $2 AND expires_s > $3 AND used_s IS NULL AND revoked_s IS NULL`, token[:], client, now)
		if err != nil || t.Kind == OAuthClientAccess {
			return err
		}
		g, err := scanOAuthGrant(tx.sql.QueryRowContext(ctx, `SELECT `+oauthGrantColumns+` FROM oauth_grants g WHERE g.consent = $1`, t.Consent))
		if noRows(err) {
			return ErrOAuthGone
		}
		if err != nil {
			return err
		}
		standing, err = tx.oauthStanding(ctx, g, now)
		return err
	})
	return t, standing, err
}

// RevokeOAuthToken ends one of a client's tokens at an instant (unix seconds): a refresh
// token with all tokens of its consent, another alone. Harmless for one that it has not.
func (s *Store) RevokeOAuthToken(ctx context.Context, token [32]byte, client consent.Recipient, now int64) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		var kind OAuthTokenKind
		var of consent.ID
		err := scanOne(ctx, tx.sql, ErrOAuthGone, []any{&kind, &of},
			`UPDATE oauth_tokens SET revoked_s = coalesce(revoked_s, $3) WHERE token_hash = $1 AND client = $2 RETURNING kind, consent`, token[:], client, now)
		switch {
		case errors.Is(err, ErrOAuthGone):
			return nil
		case err == nil && kind == OAuthRefresh:
			err = tx.revokeOAuth(ctx, of, now)
		}
		return doing("revoking a token", err)
	})
}

// OAuthRequest is a pushed authorization request. Times are unix seconds.
type OAuthRequest struct {
	Hash    [32]byte
	Client  consent.Recipient
	Query   string
	Expires int64
}

// maxPushed is how many pushed requests of one client are kept.
const maxPushed = 1000

// PutOAuthRequest keeps a pushed request. ErrNotRoom if its client has too many.
func (s *Store) PutOAuthRequest(ctx context.Context, r OAuthRequest) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.lockOAuthClient(ctx, r.Client); err != nil {
			return doing("keeping a pushed request", err)
		}
		var n int
		err := tx.sql.QueryRowContext(ctx, `SELECT count(*) FROM oauth_requests WHERE client = $1`, r.Client).Scan(&n)
		if err == nil && n >= maxPushed {
			err = ErrNotRoom
		}
		if err == nil {
			_, err = tx.sql.ExecContext(ctx, `INSERT INTO oauth_requests (request_hash, client, query, expires_s) VALUES ($1, $2, $3, $4)`, r.Hash[:], r.Client, r.Query, r.Expires)
		}
		return doing("keeping a pushed request", err)
	})
}

// OAuthRequest returns a pushed request that has not run out by an instant (unix seconds),
// or ErrNotFound.
func (s *Store) OAuthRequest(ctx context.Context, hash [32]byte, at int64) (r OAuthRequest, err error) {
	r.Hash = hash
	err = scanOne(ctx, s.read, ErrNotFound, []any{&r.Client, &r.Query, &r.Expires},
		`SELECT client, query, expires_s FROM oauth_requests WHERE request_hash = $1 AND expires_s > $2`, hash[:], at)
	return r, s.reading("a pushed request", err)
}

// How long rows stay that nobody can use any more, in seconds.
const (
	oauthGrace   = 3600           // a code or a pushed request that ran out: somebody may be deciding on it
	oauthPending = 30 * 24 * 3600 // a client that nobody decided on, or that was refused
)

// SweepOAuth deletes what has run out by an instant (unix seconds): tokens, codes that were
// never used, grants whose permission is over, pushed requests, and clients that have
// waited, or been refused, for 30 days.
func (s *Store) SweepOAuth(ctx context.Context, now int64) error {
	for _, stmt := range []struct {
		query  string
		before int64
	}{
		{`DELETE FROM oauth_tokens WHERE expires_s <= $1`, now},
		{`DELETE FROM oauth_grants WHERE ends_s <= $1`, now},
		{`DELETE FROM oauth_grants WHERE code_used_s IS NULL AND code_expires_s <= $1`, now - oauthGrace},
		{`DELETE FROM oauth_requests WHERE expires_s <= $1`, now - oauthGrace},
		{`DELETE FROM oauth_clients WHERE state IN (1, 3) AND created_s <= $1 AND decided_s <= $1`, now - oauthPending},
	} {
		err := s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
			_, err := tx.sql.ExecContext(ctx, stmt.query, stmt.before)
			return err
		})
		if err != nil {
			return fmt.Errorf("deleting what has run out: %w", err)
		}
	}
	return nil
}
