package oauth

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

// Ways in which a client shows who it is at the token endpoint (RFC 7591, section 2). Who
// has a secret may use either of the first two, whichever it registered.
const (
	AuthBasic = string(oidc.AuthMethodBasic)
	AuthPost  = string(oidc.AuthMethodPost)
	AuthNone  = string(oidc.AuthMethodNone)
)

// The grants that a client may be given.
const (
	grantCode    = string(oidc.GrantTypeCode)
	grantRefresh = string(oidc.GrantTypeRefreshToken)
	grantClient  = string(oidc.GrantTypeClientCredentials)
)

var allGrants = []string{grantCode, grantRefresh, grantClient}

// Bounds of what a client says of itself.
const (
	maxRedirects = 16
	maxContacts  = 8
	maxURI       = 512
	maxShown     = 200
)

// Client is what a third party registers, and an operator vouches for.
type Client struct {
	Name         string
	AuthMethod   string   // AuthBasic if empty
	GrantTypes   []string // authorization_code and refresh_token if empty
	RedirectURIs []string
	NotifyURI    string
	Purpose      consent.Purpose
	Contacts     []string
}

// Errors of registration have the codes of RFC 7591, section 3.2.2.
const (
	codeBadMetadata = "invalid_client_metadata"
	codeBadRedirect = "invalid_redirect_uri"
)

// Check returns the client with what it leaves out filled in, or an [*Error] that names
// what is wrong.
//
// Where a household's browser is sent is an https address, one of a program on the same
// machine, or one of a scheme that a program has claimed under a domain of its own (RFC
// 8252). The latter two are those of programs that cannot keep a secret.
func (c Client) Check() (Client, error) {
	bad := func(words ...string) (Client, error) { return Client{}, problem(codeBadMetadata, words...) }
	if c.AuthMethod == "" {
		c.AuthMethod = AuthBasic
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{grantCode, grantRefresh}
	}
	switch {
	case !shownText(c.Name):
		return bad("client_name is not 1 to 200 bytes of text that prints")
	case !slices.Contains([]string{AuthBasic, AuthPost, AuthNone}, c.AuthMethod):
		return bad("token_endpoint_auth_method is not client_secret_basic, client_secret_post or none")
	case !unique(c.GrantTypes) || slices.ContainsFunc(c.GrantTypes, func(g string) bool { return !slices.Contains(allGrants, g) }):
		return bad("grant_types are not some of authorization_code, refresh_token and client_credentials")
	case slices.Contains(c.GrantTypes, grantRefresh) && !slices.Contains(c.GrantTypes, grantCode):
		return bad("grant_types: refresh_token is of no use without authorization_code")
	case slices.Contains(c.GrantTypes, grantClient) && c.AuthMethod == AuthNone:
		return bad("grant_types: client_credentials needs a secret")
	case len(c.Contacts) > maxContacts || slices.ContainsFunc(c.Contacts, func(s string) bool { return !shownText(s) }):
		return bad("contacts are not at most 8 texts that print")
	case c.NotifyURI != "" && !secureURI(c.NotifyURI):
		return bad("notify_uri is not an https address of a public host")
	}
	terms := consent.Terms{Purpose: c.Purpose}
	if err := terms.Validate(); strings.Contains(fieldOf(err), "purpose") {
		return bad("purpose_code and purpose_text must say why households are asked: ", fieldOf(err))
	}
	if coded := slices.Contains(c.GrantTypes, grantCode); coded && len(c.RedirectURIs) == 0 || !unique(c.RedirectURIs) || len(c.RedirectURIs) > maxRedirects {
		return Client{}, problem(codeBadRedirect, "redirect_uris are not 1 to 16 different addresses")
	}
	for _, uri := range c.RedirectURIs {
		if !redirectable(uri) {
			return Client{}, problem(codeBadRedirect, "redirect_uris: each is an https address, http of this machine, or of a scheme that holds a dot; without a fragment")
		}
	}
	return c, nil
}

// shownText accepts what a page can show as it is, in one line.
func shownText(s string) bool {
	if s == "" || len(s) > maxShown || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func unique(list []string) bool {
	sorted := slices.Sorted(slices.Values(list))
	return len(slices.Compact(sorted)) == len(list)
}

// plainURI parses an address that a header and a page can hold as it is.
func plainURI(uri string) (*url.URL, bool) {
	if uri == "" || len(uri) > maxURI || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'<>\\`{|}^#;,", r) }) {
		return nil, false
	}
	u, err := url.Parse(uri)
	return u, err == nil && u.User == nil && u.Scheme != ""
}

// redirectable accepts where a code may be sent to.
func redirectable(uri string) bool {
	u, ok := plainURI(uri)
	switch {
	case !ok:
		return false
	case u.Scheme == "https":
		return u.Hostname() != ""
	case u.Scheme == "http":
		return loopback(u.Hostname())
	default:
		return strings.Contains(u.Scheme, ".") // a private-use scheme: RFC 8252, section 7.1
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// secureURI accepts an https address whose host is not an address of this machine or of
// a private network. What a name stands for is looked at when it is called.
func secureURI(uri string) bool {
	u, ok := plainURI(uri)
	if !ok || u.Scheme != "https" || u.Hostname() == "" || strings.EqualFold(u.Hostname(), "localhost") {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// stored is the client as the store keeps it.
func (c Client) stored(id consent.Recipient, state store.OAuthClientState, at int64) store.OAuthClient {
	return store.OAuthClient{
		ID: id, Name: c.Name, State: state, AuthMethod: c.AuthMethod, GrantTypes: c.GrantTypes, RedirectURIs: c.RedirectURIs,
		NotifyURI: c.NotifyURI, Purpose: c.Purpose, Contacts: c.Contacts, CreatedAt: at,
	}
}

// libraryClient is a stored client as the library sees it. What it asks about identity
// tokens and sign-in has no answer here: there are neither.
type libraryClient struct{ store.OAuthClient }

var _ op.Client = libraryClient{}

func (c libraryClient) GetID() string                    { return string(c.ID) }
func (c libraryClient) RedirectURIs() []string           { return c.OAuthClient.RedirectURIs }
func (c libraryClient) PostLogoutRedirectURIs() []string { return nil }

// ApplicationType is native if some address is not https: then a program on this machine
// may listen on any port (RFC 8252, section 7.3).
func (c libraryClient) ApplicationType() op.ApplicationType {
	if slices.ContainsFunc(c.OAuthClient.RedirectURIs, func(uri string) bool { return !strings.HasPrefix(uri, "https://") }) {
		return op.ApplicationTypeNative
	}
	return op.ApplicationTypeWeb
}

func (c libraryClient) AuthMethod() oidc.AuthMethod { return oidc.AuthMethod(c.OAuthClient.AuthMethod) }

func (c libraryClient) ResponseTypes() []oidc.ResponseType {
	if slices.Contains(c.OAuthClient.GrantTypes, grantCode) {
		return []oidc.ResponseType{oidc.ResponseTypeCode}
	}
	return nil
}

func (c libraryClient) GrantTypes() (types []oidc.GrantType) {
	for _, g := range c.OAuthClient.GrantTypes {
		types = append(types, oidc.GrantType(g))
	}
	return types
}

func (libraryClient) LoginURL(string) string               { return "" }
func (libraryClient) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (libraryClient) IDTokenLifetime() time.Duration       { return 0 }
func (libraryClient) DevMode() bool                        { return false }
func (libraryClient) IsScopeAllowed(string) bool           { return false }
func (libraryClient) IDTokenUserinfoClaimsAssertion() bool { return false }
func (libraryClient) ClockSkew() time.Duration             { return 0 }

//nolint:staticcheck // the name is the interface's
func (libraryClient) RestrictAdditionalIdTokenScopes() func([]string) []string { return nothing }

func (libraryClient) RestrictAdditionalAccessTokenScopes() func([]string) []string { return nothing }

func nothing([]string) []string { return nil }

// approved returns a client that may ask households, or an [*Error].
func (s *Server) approved(ctx context.Context, id string) (libraryClient, error) {
	recipient, err := consent.ParseRecipient(id)
	if err != nil {
		return libraryClient{}, problem(CodeUnauthorizedClient, "client_id is not that of a registered client")
	}
	c, err := s.store.OAuthClient(ctx, recipient)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return libraryClient{}, problem(CodeUnauthorizedClient, "client_id is not that of a registered client")
	case err != nil:
		return libraryClient{}, err
	case c.State != store.OAuthApproved:
		return libraryClient{}, problem(CodeUnauthorizedClient, "the client is not approved by the operator of this hub")
	}
	return libraryClient{c}, nil
}
