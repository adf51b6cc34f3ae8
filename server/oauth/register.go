package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

// codeBadToken is that of RFC 6750, section 3.1.
const codeBadToken = "invalid_token"

// maxMetadata bounds a registration in bytes.
const maxMetadata = 32 << 10

// registration is what a client says of itself (RFC 7591, section 2), with three members
// of the hub's own. Members that are not known are ignored, as section 2 demands.
type registration struct {
	Name         string   `json:"client_name"`
	AuthMethod   string   `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes   []string `json:"grant_types,omitempty"`
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	Contacts     []string `json:"contacts,omitempty"`
	NotifyURI    string   `json:"notify_uri,omitempty"`
	PurposeCode  string   `json:"purpose_code"`
	PurposeText  string   `json:"purpose_text"`
}

func (r registration) client() Client {
	return Client{
		Name: r.Name, AuthMethod: r.AuthMethod, GrantTypes: r.GrantTypes, RedirectURIs: r.RedirectURIs, NotifyURI: r.NotifyURI,
		Purpose: consent.Purpose{Code: r.PurposeCode, Text: r.PurposeText}, Contacts: r.Contacts,
	}
}

// registered is the answer (RFC 7591, section 3.2.1, and RFC 7592, section 3).
type registered struct {
	ID            string `json:"client_id"`
	IssuedAt      int64  `json:"client_id_issued_at"`
	Secret        string `json:"client_secret,omitempty"`
	SecretExpires *int64 `json:"client_secret_expires_at,omitempty"`
	Token         string `json:"registration_access_token,omitempty"`
	URI           string `json:"registration_client_uri"`
	State         string `json:"approval"`
	registration
	ResponseTypes []string `json:"response_types"`
}

var stateNames = map[store.OAuthClientState]string{
	store.OAuthPending: "pending", store.OAuthApproved: "approved", store.OAuthRefused: "refused", store.OAuthSuspended: "suspended",
}

func (s *Server) describe(c store.OAuthClient, secret, token string) registered {
	out := registered{
		ID: string(c.ID), IssuedAt: c.CreatedAt, Secret: secret, Token: token, URI: s.Issuer() + pathRegister + "/" + string(c.ID), State: stateNames[c.State],
		registration: registration{
			Name: c.Name, AuthMethod: c.AuthMethod, GrantTypes: c.GrantTypes, RedirectURIs: c.RedirectURIs, Contacts: c.Contacts, NotifyURI: c.NotifyURI,
			PurposeCode: c.Purpose.Code, PurposeText: c.Purpose.Text,
		},
		ResponseTypes: []string{},
	}
	if secret != "" {
		out.SecretExpires = new(int64) // never
	}
	if len(c.RedirectURIs) > 0 {
		out.ResponseTypes = []string{"code"}
	}
	return out
}

// readClient reads and checks a registration from a body.
func readClient(w http.ResponseWriter, r *http.Request) (Client, error) {
	var in registration
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMetadata))
	if err := d.Decode(&in); err != nil {
		return Client{}, problem(codeBadMetadata, "the body is not a JSON object of client metadata, of at most 32 kB")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Client{}, problem(codeBadMetadata, "the body is more than one JSON value")
	}
	return in.client().Check()
}

// register takes in a client that nobody has vouched for (RFC 7591). It gets its name, its
// secret and a token to look after itself; tokens it gets once an operator approves it, and
// until then no household hears of it.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.fail(w, r, op.NewStatusError(problem(CodeInvalidRequest, "only POST is answered here").library(), http.StatusMethodNotAllowed))
		return
	}
	client, err := readClient(w, r)
	if err == nil && !s.registrations() {
		err = store.ErrNotRoom
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	id, err := s.drawID()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	c := client.stored(id, store.OAuthPending, s.now().Unix())
	secret, err := s.drawSecret(&c)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	token, hash, err := draw(s.random, prefixRegistration)
	if c.RegistrationHash = hash; err == nil {
		err = s.store.PutOAuthClient(r.Context(), c)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, s.describe(c, secret, token))
}

// drawID returns a client's name: 128 random bits.
func (s *Server) drawID() (consent.Recipient, error) {
	var raw [16]byte
	if _, err := io.ReadFull(s.random, raw[:]); err != nil {
		return "", fmt.Errorf("drawing a client's name: %w", err)
	}
	return consent.Recipient(fmt.Sprintf("c%x", raw)), nil
}

// drawSecret gives a client a secret, unless it is a public one.
func (s *Server) drawSecret(c *store.OAuthClient) (secret string, err error) {
	if c.AuthMethod == AuthNone {
		c.SecretHash = [32]byte{}
		return "", nil
	}
	secret, c.SecretHash, err = draw(s.random, prefixSecret)
	return secret, err
}

// manage lets a client look after its own registration (RFC 7592). What an operator has
// vouched for cannot be changed, which is answered with 403; it can be deleted.
func (s *Server) manage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	c, err := s.registrant(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		s.fail(w, r, err)
		return
	}
	switch r.Method {
	case http.MethodGet:
		writeJSON(w, http.StatusOK, s.describe(c, "", ""))
	case http.MethodPut:
		s.change(w, r, c)
	case http.MethodDelete:
		if err := s.store.DeleteOAuthClient(r.Context(), c.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			s.fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "GET, PUT, DELETE")
		s.fail(w, r, op.NewStatusError(problem(CodeInvalidRequest, "only GET, PUT and DELETE are answered here").library(), http.StatusMethodNotAllowed))
	}
}

// registrant returns the client that a registration access token is of, and that the
// address names. There is one answer to whatever does not fit.
func (s *Server) registrant(r *http.Request) (store.OAuthClient, error) {
	unknown := op.NewStatusError(problem(codeBadToken, "the registration access token is not that of this client").library(), http.StatusUnauthorized)
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	id, err := consent.ParseRecipient(r.PathValue("id"))
	if !bearer || err != nil {
		return store.OAuthClient{}, unknown
	}
	c, err := s.store.OAuthClient(r.Context(), id)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return store.OAuthClient{}, err
	case !matches(token, c.RegistrationHash):
		return store.OAuthClient{}, unknown
	}
	return c, nil
}

// change replaces what a pending client has said of itself. One that becomes public loses
// its secret, and one that becomes confidential gets one.
func (s *Server) change(w http.ResponseWriter, r *http.Request, c store.OAuthClient) {
	client, err := readClient(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	next := client.stored(c.ID, store.OAuthPending, c.CreatedAt)
	next.RegistrationHash, next.SecretHash = c.RegistrationHash, c.SecretHash
	var secret string
	if (next.AuthMethod == AuthNone) != (c.AuthMethod == AuthNone) {
		secret, err = s.drawSecret(&next)
	}
	if err == nil {
		err = s.store.ChangeOAuthClient(r.Context(), next)
	}
	if errors.Is(err, store.ErrConflict) { // RFC 7592, section 2.2
		err = op.NewStatusError(problem(CodeUnauthorizedClient, "what an operator has decided on cannot be changed; register anew").library(), http.StatusForbidden)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s.describe(next, secret, ""))
}

// Make stores a client that an operator vouches for, under a name of the operator's
// choice, and returns it with its secret, which is shown once; the zero secret of a public
// client. One that exists gets a new secret, and what it said of itself is replaced.
func (s *Server) Make(ctx context.Context, id consent.Recipient, client Client) (store.OAuthClient, string, error) {
	client, err := client.Check()
	if err != nil {
		return store.OAuthClient{}, "", err
	}
	now := s.now().Unix()
	c := client.stored(id, store.OAuthApproved, now)
	c.DecidedAt = now
	secret, err := s.drawSecret(&c)
	if err != nil {
		return store.OAuthClient{}, "", err
	}
	return c, secret, s.store.PutOAuthClient(ctx, c)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// Sweep deletes what has run out. Harmless at any time.
func (s *Server) Sweep(ctx context.Context) error { return s.store.SweepOAuth(ctx, s.now().Unix()) }
