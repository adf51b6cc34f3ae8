package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

// Bounds of an authorization request, in bytes.
const (
	maxQuery = 48 << 10 // authorization_details, form-encoded, and the rest
	maxState = 1024
)

// Request is an authorization request that has been checked: its client is approved, its
// redirect URI is registered, and it asks for something that a household can agree to.
type Request struct {
	Client      store.OAuthClient
	RedirectURI string
	State       string
	Challenge   string // of PKCE by S256, or empty
	Scope       Scope  // zero where authorization_details asks
	Asked       consent.Terms
	At          int64 // the instant that it is read at, unix seconds

	issuer string
}

// RedirectError is an error of an authorization request that its client may be told, by
// sending the household's browser to To. An error that is not one must not be sent
// anywhere: it is not known that the address is the client's.
type RedirectError struct {
	Err *Error
	To  string
}

func (r *RedirectError) Error() string { return r.Err.Error() }

// Unwrap returns what is wrong.
func (r *RedirectError) Unwrap() error { return r.Err }

// parameters reads a query. A parameter that is there twice is an error (RFC 6749, section
// 3.1). Pairs are parted by & alone: an ESPI scope holds semicolons, and clients do not
// encode them.
func parameters(query string) (map[string]string, error) {
	if len(query) > maxQuery {
		return nil, problem(CodeInvalidRequest, "the request is too long")
	}
	values := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			return nil, problem(CodeInvalidRequest, "the request is not form-encoded")
		}
		if _, twice := values[key]; twice {
			return nil, problem(CodeInvalidRequest, "a parameter is there twice: ", shown(key))
		}
		values[key] = value
	}
	return values, nil
}

// Check reads the query of an authorization request as of an instant, unix seconds, and
// looks up its client. Errors are an [*Error], which is for the household's eyes alone, a
// [*RedirectError], or what the store returns. It looks at no usage point and no household.
func (s *Server) Check(ctx context.Context, query string, at int64) (Request, error) {
	values, err := parameters(query)
	if err != nil {
		return Request{}, err
	}
	if reference, pushed := values["request_uri"]; pushed {
		if values, err = s.pushed(ctx, reference, values["client_id"], at); err != nil {
			return Request{}, err
		}
	}
	return s.check(ctx, values, at)
}

func (s *Server) check(ctx context.Context, values map[string]string, at int64) (Request, error) {
	client, err := s.approved(ctx, values["client_id"])
	if err != nil {
		return Request{}, err
	}
	r := Request{Client: client.OAuthClient, RedirectURI: values["redirect_uri"], State: values["state"], Challenge: values["code_challenge"], At: at, issuer: s.Issuer()}
	if strings.Contains(r.RedirectURI, "#") || op.ValidateAuthReqRedirectURI(client, r.RedirectURI, oidc.ResponseTypeCode) != nil {
		return Request{}, problem(CodeInvalidRequest, "redirect_uri is missing or not registered")
	}
	if len(r.State) > maxState || strings.ContainsFunc(r.State, func(c rune) bool { return c < ' ' || c > '~' }) { // RFC 6749, appendix A.5
		r.State = ""
		return Request{}, r.refusal(problem(CodeInvalidRequest, "state is not at most 1024 characters of visible ASCII"))
	}
	if err := r.read(client, values); err != nil {
		return Request{}, r.refusal(err)
	}
	return r, nil
}

// read checks what may be told to the client.
func (r *Request) read(client libraryClient, values map[string]string) error {
	if _, there := values["request"]; there {
		return problem(CodeRequestNotSupported, "request objects are not supported; push the request instead")
	}
	switch mode := values["response_mode"]; {
	case values["response_type"] != string(oidc.ResponseTypeCode):
		return problem(CodeUnsupportedResponse, "response_type is not code")
	case op.ValidateAuthReqResponseType(client, oidc.ResponseTypeCode) != nil:
		return problem(CodeUnauthorizedClient, "the client is not registered for authorization_code")
	case mode != "" && mode != string(oidc.ResponseModeQuery):
		return problem(CodeInvalidRequest, "response_mode is not query")
	}
	if err := r.readChallenge(values); err != nil {
		return err
	}
	text, detailed := values["authorization_details"]
	var err error
	switch scope := values["scope"]; {
	case detailed && scope != "":
		return problem(CodeInvalidRequest, "scope and authorization_details both say what is asked for")
	case detailed:
		r.Asked, err = ParseDetails(text, r.Client.Purpose, r.At)
	default:
		if r.Scope, err = ParseScope(scope); err == nil {
			r.Asked, err = r.Scope.Asked(r.Client.Purpose, r.At)
		}
	}
	return err
}

// readChallenge demands PKCE of whoever keeps no secret, and S256 of everyone: plain, which
// is what a missing method means, would show the verifier (RFC 7636, section 7.2).
func (r *Request) readChallenge(values map[string]string) error {
	method, named := values["code_challenge_method"]
	switch {
	case r.Challenge == "" && named:
		return problem(CodeInvalidRequest, "code_challenge_method without code_challenge")
	case r.Challenge == "" && r.Client.AuthMethod == AuthNone:
		return problem(CodeInvalidRequest, "code_challenge is required of a public client")
	case r.Challenge == "":
		return nil
	case method != string(oidc.CodeChallengeMethodS256):
		return problem(CodeInvalidRequest, "code_challenge_method is not S256")
	case !sha256Text(r.Challenge):
		return problem(CodeInvalidRequest, "code_challenge is not a SHA-256 in base64url")
	}
	return nil
}

// sha256Text accepts a SHA-256 in base64url without padding (RFC 7636, section 4.2).
func sha256Text(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(sum) == 32
}

// verifier accepts the characters of a code_verifier (RFC 7636, section 4.1).
func verifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c)
	})
}

// refusal turns an error into one that the client is told. What is no [*Error] stays as it
// is.
func (r Request) refusal(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	return &RedirectError{Err: e, To: r.answer(url.Values{"error": {e.Code}, "error_description": {e.Description}})}
}

// Denied returns where to send the browser of a household that does not agree.
func (r Request) Denied() string {
	return r.answer(url.Values{"error": {CodeAccessDenied}, "error_description": {"the household did not allow it"}})
}

// answer adds parameters to the redirect URI, whose own stay as they are.
func (r Request) answer(values url.Values) string {
	values.Set("iss", r.issuer)
	if r.State != "" {
		values.Set("state", r.State)
	}
	u, err := url.Parse(r.RedirectURI)
	if err != nil { // it is registered
		return ""
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += values.Encode()
	return u.String()
}

// Code hands out the code of a request that a household has agreed to, and returns where to
// send its browser. A repeated decision gets another code, and the one before is void;
// store.ErrConflict if that was used.
func (s *Server) Code(ctx context.Context, r Request, granted consent.Consent) (to string, err error) {
	code, hash, err := draw(s.random, prefixCode)
	if err != nil {
		return "", err
	}
	g := store.OAuthGrant{
		Consent: granted.ID, Client: r.Client.ID, Scope: r.Scope.String(), RedirectURI: r.RedirectURI, Challenge: r.Challenge,
		CodeHash: hash, CodeExpires: s.now().Add(codeLifetime).Unix(), Ends: granted.Terms.PermissionUntil,
	}
	if err := s.store.PutOAuthGrant(ctx, g); err != nil {
		return "", err
	}
	return r.answer(url.Values{"code": {code}}), nil
}

// Shown checks the instant at which a request was shown to a household: what it asked for
// then is what the household decides on. It is at most an hour past, and not to come, but
// for the difference of two clocks.
func (s *Server) Shown(at int64) error {
	now := s.now()
	if shown := now.Unix() - at; shown < -int64(clockSkew.Seconds()) || shown > int64(decideWithin.Seconds()) {
		return problem(CodeInvalidRequest, "the request was shown too long ago, or not yet")
	}
	return nil
}
