package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/wattveil/wattveil/server/store"
)

// pushed returns the parameters of a pushed authorization request (RFC 9126). It may be
// opened for ten minutes by the hub's clock, and looked at as of then when it is decided
// on.
func (s *Server) pushed(ctx context.Context, reference, client string, at int64) (map[string]string, error) {
	if !strings.HasPrefix(reference, prefixRequest) {
		return nil, problem(CodeRequestNotSupported, "request_uri is not one that this hub gave")
	}
	r, err := s.store.OAuthRequest(ctx, hashOf(reference), at)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && string(r.Client) != client:
		return nil, problem(CodeInvalidRequest, "request_uri is unknown or has expired; ask again at the service you came from")
	case err != nil:
		return nil, err
	}
	return parameters(r.Query)
}

// push keeps an authorization request of a client that has shown who it is.
func (s *Server) push(w http.ResponseWriter, r *http.Request) {
	client, err := s.authenticate(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	values := url.Values{}
	for k, v := range r.PostForm {
		if k != "client_secret" {
			values[k] = v
		}
	}
	values.Set("client_id", string(client.ID))
	if _, nested := values["request_uri"]; nested {
		s.fail(w, r, problem(CodeInvalidRequest, "request_uri cannot be pushed"))
		return
	}
	query := values.Encode()
	now := s.now()
	parsed, err := parameters(query)
	if err == nil {
		_, err = s.check(r.Context(), parsed, now.Unix())
	}
	var told *RedirectError
	if errors.As(err, &told) { // the client asks itself: there is no browser to send anywhere
		err = told.Err
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reference, hash, err := draw(s.random, prefixRequest)
	if err == nil {
		err = s.store.PutOAuthRequest(r.Context(), store.OAuthRequest{Hash: hash, Client: client.ID, Query: query, Expires: now.Add(pushedLifetime).Unix()})
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int64  `json:"expires_in"`
	}{reference, int64(pushedLifetime.Seconds())})
}
