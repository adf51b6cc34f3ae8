package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

// endpoint is the Server as the library calls it: after a route is found, a form is parsed,
// and, where a client is demanded, VerifyClient has said who it is. What it does not
// implement is answered as not supported.
type endpoint struct {
	op.UnimplementedServer
	*Server
}

var _ op.Server = endpoint{}

// authenticate returns the client that a form is from.
func (s *Server) authenticate(r *http.Request) (store.OAuthClient, error) {
	id, secret, err := credentials(r)
	if err != nil {
		return store.OAuthClient{}, err
	}
	return s.verify(r.Context(), id, secret)
}

// verify returns the client of a name and a secret. The right secret always lets in: a
// stranger who tries many locks nobody out, and with 256 bits finds nothing. What is
// bounded is how often a failure is told.
func (s *Server) verify(ctx context.Context, name, secret string) (store.OAuthClient, error) {
	id, err := consent.ParseRecipient(name)
	if err != nil {
		return store.OAuthClient{}, s.stranger("")
	}
	c, err := s.store.OAuthClient(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.OAuthClient{}, err
	}
	shown := matches(secret, c.SecretHash) // also of a client that does not exist
	if c.AuthMethod == AuthNone {
		shown = secret == ""
	}
	switch {
	case err != nil || !shown || c.State == store.OAuthRefused || c.State == store.OAuthSuspended:
		return store.OAuthClient{}, s.stranger(name)
	case c.State != store.OAuthApproved:
		return store.OAuthClient{}, problem(CodeUnauthorizedClient, "the client is not approved by the operator of this hub")
	}
	return c, nil
}

// stranger answers a client that did not show who it is.
func (s *Server) stranger(name string) error {
	if !s.failures(name) {
		return op.NewStatusError(oidc.ErrInvalidClient().WithDescription("too many failed attempts; try again in a minute"), http.StatusTooManyRequests)
	}
	return errUnknownClient()
}

// VerifyClient implements op.Server.
func (e endpoint) VerifyClient(ctx context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	if r.Data.ClientAssertion != "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("client assertions are not supported")
	}
	c, err := e.verify(ctx, r.Data.ClientID, r.Data.ClientSecret)
	if err != nil {
		return nil, e.fault(ctx, err)
	}
	return libraryClient{c}, nil
}

// answer is a successful answer of the token endpoint: RFC 6749, section 5.1, with what
// Green Button adds, and RFC 9396, section 7.
type answer struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	ExpiresIn    int64           `json:"expires_in"`
	RefreshToken string          `json:"refresh_token,omitempty"`
	Scope        string          `json:"scope,omitempty"`
	Details      json.RawMessage `json:"authorization_details,omitempty"`
	resources
}

// CodeExchange implements op.Server.
func (e endpoint) CodeExchange(ctx context.Context, r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	client := r.Client.(libraryClient)
	now := e.now()
	var out answer
	_, err := e.store.ExchangeOAuthCode(ctx, hashOf(r.Data.Code), client.ID, now.Unix(),
		func(g store.OAuthGrant) error { return fits(g, r.Data) },
		func(standing store.OAuthStanding) (tokens []store.OAuthToken, err error) {
			out, tokens, err = e.issue(client, standing, now)
			return tokens, err
		})
	if err != nil {
		return nil, e.refused(ctx, client, err)
	}
	return op.NewResponse(out), nil
}

// fits checks what a code is bound to: the redirect URI, and the verifier of its challenge.
// A verifier without a challenge is refused too: somebody has taken the challenge out of
// the request (RFC 9700, section 4.8.2).
func fits(g store.OAuthGrant, r *oidc.AccessTokenRequest) error {
	challenge := &oidc.CodeChallenge{Challenge: g.Challenge, Method: oidc.CodeChallengeMethodS256}
	switch {
	case r.RedirectURI != g.RedirectURI:
		return errGrant()
	case (g.Challenge == "") != (r.CodeVerifier == ""):
		return errGrant()
	case g.Challenge != "" && (!verifier(r.CodeVerifier) || !oidc.VerifyCodeChallenge(challenge, r.CodeVerifier)):
		return errGrant()
	}
	return nil
}

// RefreshToken implements op.Server.
func (e endpoint) RefreshToken(ctx context.Context, r *op.ClientRequest[oidc.RefreshTokenRequest]) (*op.Response, error) {
	client := r.Client.(libraryClient)
	now, scope := e.now(), r.Form.Get("scope")
	var out answer
	_, err := e.store.ExchangeOAuthRefresh(ctx, hashOf(r.Data.RefreshToken), client.ID, now.Unix(),
		func(standing store.OAuthStanding) (tokens []store.OAuthToken, err error) {
			out, tokens, err = e.issue(client, standing, now)
			if err == nil && scope != "" && scope != out.Scope { // RFC 6749, section 6
				err = problem(CodeInvalidScope, "scope is not the one that was granted")
			}
			return tokens, err
		})
	if err != nil {
		return nil, e.refused(ctx, client, err)
	}
	return op.NewResponse(out), nil
}

// refused is what a client sees of an exchange that came to nothing. A second use is
// written down: one of two that hold the same code or token has stolen it.
func (e endpoint) refused(ctx context.Context, client libraryClient, err error) error {
	if errors.Is(err, store.ErrOAuthReplayed) {
		e.log.LogAttrs(ctx, slog.LevelWarn, "a code or refresh token was used twice: all tokens of its consent are revoked", slog.String("client", string(client.ID)))
	}
	return e.fault(ctx, err)
}

// issue makes the tokens of a grant: an access token, and a refresh token for a client that
// may use one. None outlives the permission.
func (e endpoint) issue(client libraryClient, standing store.OAuthStanding, now time.Time) (answer, []store.OAuthToken, error) {
	out := answer{TokenType: oidc.BearerToken, resources: e.resourcesOf(standing.Consent)}
	out.Scope, out.Details = said(standing)
	token := func(kind store.OAuthTokenKind, prefix string, lifetime time.Duration) (string, store.OAuthToken, error) {
		secret, hash, err := draw(e.random, prefix)
		return secret, store.OAuthToken{
			Hash: hash, Kind: kind, Client: client.ID, Consent: standing.Consent, Issued: now.Unix(),
			Expires: min(now.Add(lifetime).Unix(), standing.Until),
		}, err
	}
	access, first, err := token(store.OAuthAccess, prefixAccess, accessLifetime)
	if err != nil {
		return answer{}, nil, err
	}
	out.AccessToken, out.ExpiresIn = access, first.Expires-now.Unix()
	if !slices.Contains(client.OAuthClient.GrantTypes, grantRefresh) {
		return out, []store.OAuthToken{first}, nil
	}
	refresh, second, err := token(store.OAuthRefresh, prefixRefresh, refreshLifetime)
	out.RefreshToken = refresh
	return out, []store.OAuthToken{first, second}, err
}

// said is what a token answer says of the terms in force: the scope as asked for, byte for
// byte, if they are all that was asked for, or what is left of it; of a request with
// authorization_details, these.
func said(standing store.OAuthStanding) (string, json.RawMessage) {
	if standing.Scope == "" {
		return "", FormatDetails(standing.Terms)
	}
	scope, err := ParseScope(standing.Scope)
	if err != nil || standing.Whole() { // it parsed when it was asked for
		return standing.Scope, nil
	}
	return scope.Narrowed(standing.Terms), nil
}

// ClientCredentialsExchange implements op.Server.
func (e endpoint) ClientCredentialsExchange(ctx context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	client := r.Client.(libraryClient)
	now := e.now()
	secret, hash, err := draw(e.random, prefixClientAccess)
	if err == nil {
		err = e.store.IssueOAuthClientToken(ctx, store.OAuthToken{
			Hash: hash, Kind: store.OAuthClientAccess, Client: client.ID, Issued: now.Unix(), Expires: now.Add(accessLifetime).Unix(),
		})
	}
	if err != nil {
		return nil, e.fault(ctx, err)
	}
	return op.NewResponse(answer{
		AccessToken: secret, TokenType: oidc.BearerToken, ExpiresIn: int64(accessLifetime.Seconds()), resources: e.bulkOf(client.ID),
	}), nil
}

// introspection is the answer of RFC 7662, section 2.2.
type introspection struct {
	Active    bool            `json:"active"`
	Scope     string          `json:"scope,omitempty"`
	ClientID  string          `json:"client_id,omitempty"`
	TokenType string          `json:"token_type,omitempty"`
	Expires   int64           `json:"exp,omitempty"`
	Issued    int64           `json:"iat,omitempty"`
	Issuer    string          `json:"iss,omitempty"`
	Details   json.RawMessage `json:"authorization_details,omitempty"`
	*resources
}

// Introspect implements op.Server: a client asks about its own tokens. Of any other, and
// of one whose permission has ended, it learns that it is not active.
func (e endpoint) Introspect(ctx context.Context, r *op.Request[op.IntrospectionRequest]) (*op.Response, error) {
	client, err := e.verify(ctx, r.Data.ClientID, r.Data.ClientSecret)
	if err != nil {
		return nil, e.fault(ctx, err)
	}
	t, standing, err := e.store.OAuthTokenOf(ctx, hashOf(r.Data.Token), client.ID, e.now().Unix())
	switch {
	case errors.Is(err, store.ErrOAuthGone):
		return op.NewResponse(introspection{}), nil
	case err != nil:
		return nil, e.fault(ctx, err)
	}
	out := introspection{Active: true, ClientID: string(client.ID), Expires: t.Expires, Issued: t.Issued, Issuer: e.Issuer()}
	of := e.bulkOf(client.ID)
	if t.Kind != store.OAuthClientAccess {
		out.Scope, out.Details = said(standing)
		of = e.resourcesOf(t.Consent)
	}
	if t.Kind != store.OAuthRefresh {
		out.TokenType = oidc.BearerToken
	}
	out.resources = &of
	return op.NewResponse(out), nil
}

// Revocation implements op.Server (RFC 7009): a refresh token ends with all tokens of its
// consent, another alone. Whether there was such a token is not told. The consent stays:
// it is the household's.
func (e endpoint) Revocation(ctx context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response, error) {
	client := r.Client.(libraryClient)
	if err := e.store.RevokeOAuthToken(ctx, hashOf(r.Data.Token), client.ID, e.now().Unix()); err != nil {
		return nil, e.fault(ctx, err)
	}
	return op.NewResponse(struct{}{}), nil
}
