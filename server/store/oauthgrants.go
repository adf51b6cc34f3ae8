package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/consent"
)

// OAuthGrant is a consent that was agreed to on the way of a code, and that code. Times
// are unix seconds.
type OAuthGrant struct {
	Consent     consent.ID
	Client      consent.Recipient
	Scope       string // as asked for; empty where authorization_details asked
	RedirectURI string
	Challenge   string // code_challenge by S256, or empty
	CodeHash    [32]byte
	CodeExpires int64
	CodeUsed    int64 // 0 until it is
	Revoked     int64 // 0 until it is
	Ends        int64
}

const oauthGrantColumns = `g.consent, g.client, g.scope, g.redirect_uri, g.challenge, g.code_hash, g.code_expires_s,
	coalesce(g.code_used_s, 0), coalesce(g.revoked_s, 0), g.ends_s`

func scanOAuthGrant(row interface{ Scan(dest ...any) error }) (g OAuthGrant, err error) {
	return g, row.Scan(&g.Consent, &g.Client, &g.Scope, &g.RedirectURI, &g.Challenge, fixed(g.CodeHash[:]), &g.CodeExpires,
		&g.CodeUsed, &g.Revoked, &g.Ends)
}

// PutOAuthGrant stores a grant with its code; a repeated one replaces the code of the first
// as long as that was not used. ErrConflict once it was.
func (s *Store) PutOAuthGrant(ctx context.Context, g OAuthGrant) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		put, err := execOne(ctx, tx.sql, `INSERT INTO oauth_grants (consent, client, scope, redirect_uri, challenge, code_hash, code_expires_s, ends_s)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (consent) DO UPDATE SET code_hash = excluded.code_hash, code_expires_s = excluded.code_expires_s
			  WHERE oauth_grants.code_used_s IS NULL AND oauth_grants.revoked_s IS NULL AND oauth_grants.client = excluded.client`,
			g.Consent, g.Client, g.Scope, g.RedirectURI, g.Challenge, g.CodeHash[:], g.CodeExpires, g.Ends)
		if err == nil && !put {
			err = ErrConflict
		}
		return doing("storing an OAuth grant", err)
	})
}

// Outcomes of presenting a code or a refresh token. What they say of the rows is committed.
var (
	// ErrOAuthGone says that there is no such code or token for this client, or no more.
	ErrOAuthGone = errors.New("store: no such code or token")
	// ErrOAuthReplayed says that it was used before; all tokens of its consent are revoked.
	ErrOAuthReplayed = errors.New("store: code or token was used before")
	// ErrOAuthTooMany says that too many tokens were handed out lately; nothing was used.
	ErrOAuthTooMany = errors.New("store: too many tokens")
)

// OAuthTokenKind is what a token is for. The numbers are stored and never change.
type OAuthTokenKind uint8

// The kinds.
const (
	OAuthAccess       OAuthTokenKind = 1 // reads under one consent
	OAuthRefresh      OAuthTokenKind = 2 // gets the next access token
	OAuthClientAccess OAuthTokenKind = 3 // lets the client in as the recipient it is
)

// OAuthToken is a token by its hash. Times are unix seconds.
type OAuthToken struct {
	Hash    [32]byte
	Kind    OAuthTokenKind
	Client  consent.Recipient
	Consent consent.ID // empty for OAuthClientAccess
	Issued  int64
	Expires int64
}

// OAuthStanding is a grant beside the consent as it stands.
type OAuthStanding struct {
	OAuthGrant
	Asked, Terms consent.Terms // of the consent
	Until        int64         // it ends, unless it ends before
}

// Whole reports whether the consent allows all that a scope asked for. A scope names no
// usage points: which of a home's are left out is not looked at.
func (s OAuthStanding) Whole() bool {
	asked, now := s.Asked, s.Terms
	asked.UsagePoints, now.UsagePoints = nil, nil
	return asked.Hash() == now.Hash()
}

// Most tokens that one consent, or one client for itself, is given in an hour.
const (
	maxTokensPerConsent = 120 // two with every exchange
	maxTokensPerClient  = 120
	tokenHour           = 3600
)

// ExchangeOAuthCode uses a code up at an instant and hands out tokens, in one transaction:
// fit says whether the client may have them, and issue which. A code that was used before
// revokes all tokens of its consent, whoever of its client presents it, and that is
// committed. Nothing is used where fit, or the consent's state, is against it.
//
// Errors: ErrOAuthGone, ErrOAuthReplayed, ErrOAuthTooMany, or what fit and issue return.
func (s *Store) ExchangeOAuthCode(ctx context.Context, code [32]byte, client consent.Recipient, now int64,
	fit func(OAuthGrant) error, issue func(OAuthStanding) ([]OAuthToken, error),
) (OAuthStanding, error) {
	return s.exchangeOAuth(ctx, func(ctx context.Context, tx *Tx) (OAuthStanding, error) {
		g, err := scanOAuthGrant(tx.sql.QueryRowContext(ctx, `SELECT `+oauthGrantColumns+` FROM oauth_grants g WHERE g.code_hash = $1`+tx.forUpdate(), code[:]))
		switch {
		case noRows(err) || err == nil && g.Client != client:
			return OAuthStanding{}, ErrOAuthGone
		case err != nil:
			return OAuthStanding{}, err
		case g.CodeUsed != 0:
			return OAuthStanding{}, tx.replayedOAuth(ctx, g.Consent, now)
		case g.Revoked != 0 || g.CodeExpires <= now:
			return OAuthStanding{}, ErrOAuthGone
		}
		if err := fit(g); err != nil {
			return OAuthStanding{}, err
		}
		standing, err := tx.oauthStanding(ctx, g, now)
		if err != nil {
			return OAuthStanding{}, err
		}
		if _, err := tx.sql.ExecContext(ctx, `UPDATE oauth_grants SET code_used_s = $2 WHERE consent = $1`, g.Consent, now); err != nil {
			return OAuthStanding{}, err
		}
		return standing, tx.issueOAuth(ctx, standing, now, issue)
	})
}

// ExchangeOAuthRefresh uses a refresh token up at an instant and hands out what follows it,
// in one transaction; access tokens handed out before stay as they are. One that was used
// before revokes all tokens of its consent, and that is committed. Errors as for
// ExchangeOAuthCode.
func (s *Store) ExchangeOAuthRefresh(ctx context.Context, token [32]byte, client consent.Recipient, now int64,
	issue func(OAuthStanding) ([]OAuthToken, error),
) (OAuthStanding, error) {
	return s.exchangeOAuth(ctx, func(ctx context.Context, tx *Tx) (OAuthStanding, error) {
		var id consent.ID
		var expires, used, revoked int64
		err := scanOne(ctx, tx.sql, ErrOAuthGone, []any{&id, &expires, &used, &revoked},
			`SELECT consent, expires_s, coalesce(used_s, 0), coalesce(revoked_s, 0) FROM oauth_tokens WHERE token_hash = $1 AND kind = 2 AND client = $2`+tx.forUpdate(), token[:], client)
		switch {
		case err != nil:
			return OAuthStanding{}, err
		case revoked != 0:
			return OAuthStanding{}, ErrOAuthGone
		case used != 0:
			return OAuthStanding{}, tx.replayedOAuth(ctx, id, now)
		case expires <= now:
			return OAuthStanding{}, ErrOAuthGone
		}
		g, err := scanOAuthGrant(tx.sql.QueryRowContext(ctx, `SELECT `+oauthGrantColumns+` FROM oauth_grants g WHERE g.consent = $1`, id))
		if noRows(err) {
			err = ErrOAuthGone
		}
		if err != nil {
			return OAuthStanding{}, err
		}
		standing, err := tx.oauthStanding(ctx, g, now)
		if err != nil {
			return OAuthStanding{}, err
		}
		if _, err := tx.sql.ExecContext(ctx, `UPDATE oauth_tokens SET used_s = $2 WHERE token_hash = $1`, token[:], now); err != nil {
			return OAuthStanding{}, err
		}
		return standing, tx.issueOAuth(ctx, standing, now, issue)
	})
}

// exchangeOAuth commits what fn did also where its outcome is a replay.
func (s *Store) exchangeOAuth(ctx context.Context, fn func(ctx context.Context, tx *Tx) (OAuthStanding, error)) (standing OAuthStanding, err error) {
	var replayed error
	err = s.Transact(ctx, func(ctx context.Context, tx *Tx) (err error) {
		replayed = nil
		if standing, err = fn(ctx, tx); errors.Is(err, ErrOAuthReplayed) {
			replayed = err
			return nil
		}
		return doing("exchanging for tokens", err)
	})
	return standing, errors.Join(err, replayed)
}

// replayedOAuth revokes all tokens of a consent, and its grant for good.
func (t *Tx) replayedOAuth(ctx context.Context, id consent.ID, now int64) error {
	if err := t.revokeOAuth(ctx, id, now); err != nil {
		return err
	}
	return ErrOAuthReplayed
}

func (t *Tx) revokeOAuth(ctx context.Context, id consent.ID, now int64) error {
	for _, stmt := range []string{
		`UPDATE oauth_tokens SET revoked_s = $2 WHERE consent = $1 AND consent <> '' AND revoked_s IS NULL`,
		`UPDATE oauth_grants SET revoked_s = $2 WHERE consent = $1 AND revoked_s IS NULL`,
	} {
		if _, err := t.sql.ExecContext(ctx, stmt, id, now); err != nil {
			return fmt.Errorf("revoking tokens: %w", err)
		}
	}
	return nil
}

// oauthStanding looks at the consent of a grant: ErrOAuthGone unless it is granted, or on
// hold, and not over. It locks nothing: whatever is handed out, every read is admitted anew.
func (t *Tx) oauthStanding(ctx context.Context, g OAuthGrant, now int64) (OAuthStanding, error) {
	c, err := scanConsent(t.sql.QueryRowContext(ctx, `SELECT `+consentColumns+` FROM consents c WHERE c.id = $1`, g.Consent))
	if noRows(err) || err == nil && (c.State != consent.Granted && c.State != consent.Suspended || c.Deadline() <= now || g.Revoked != 0) {
		return OAuthStanding{}, ErrOAuthGone
	}
	return OAuthStanding{OAuthGrant: g, Asked: c.Asked, Terms: c.Terms, Until: c.Deadline()}, err
}

func (t *Tx) issueOAuth(ctx context.Context, standing OAuthStanding, now int64, issue func(OAuthStanding) ([]OAuthToken, error)) error {
	var lately int
	err := t.sql.QueryRowContext(ctx, `SELECT count(*) FROM oauth_tokens WHERE consent = $1 AND consent <> '' AND issued_s > $2`, standing.Consent, now-tokenHour).Scan(&lately)
	switch {
	case err != nil:
		return err
	case lately >= maxTokensPerConsent:
		return ErrOAuthTooMany
	}
	tokens, err := issue(standing)
	if err != nil {
		return err
	}
	return t.putOAuthTokens(ctx, tokens)
}

func (t *Tx) putOAuthTokens(ctx context.Context, tokens []OAuthToken) error {
	return t.insert(ctx, t.sql, "oauth_tokens", []string{"token_hash", "kind", "client", "consent", "issued_s", "expires_s"}, "", len(tokens), func(i int, v []any) {
		v[0], v[1], v[2], v[3], v[4], v[5] = tokens[i].Hash[:], int64(tokens[i].Kind), tokens[i].Client, tokens[i].Consent, tokens[i].Issued, tokens[i].Expires
	})
}
