package oauth

import (
	"encoding/json"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The endpoints. The first is a page of the portal.
const (
	pathAuthorize  = "/oauth/authorize"
	pathToken      = "/oauth/token" //nolint:gosec // a path
	pathRevoke     = "/oauth/revoke"
	pathIntrospect = "/oauth/introspect"
	pathRegister   = "/oauth/register"
	pathPush       = "/oauth/par"
	pathMetadata   = oidc.AuthorizationServerMetadataEndpoint
)

// Routes returns the endpoints by their pattern of net/http.
func (s *Server) Routes() map[string]http.Handler {
	library := op.RegisterServer(endpoint{Server: s}, op.Endpoints{
		Token: op.NewEndpoint(pathToken), Introspection: op.NewEndpoint(pathIntrospect), Revocation: op.NewEndpoint(pathRevoke),
	}, op.WithServerCORSOptions(nil))
	return map[string]http.Handler{
		pathToken:              s.front(library),
		pathIntrospect:         s.front(library),
		pathRevoke:             s.front(library),
		pathPush:               s.front(http.HandlerFunc(s.push)),
		pathRegister:           http.HandlerFunc(s.register),
		pathRegister + "/{id}": http.HandlerFunc(s.manage),
		"GET " + pathMetadata:  http.HandlerFunc(s.metadata),
	}
}

// metadata describes the server (RFC 8414, with RFC 9126, 9207 and 9396).
func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	base := s.Issuer()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=3600")
	methods := []string{AuthBasic, AuthPost}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"issuer":                                         base,
		"authorization_endpoint":                         base + pathAuthorize,
		"token_endpoint":                                 base + pathToken,
		"revocation_endpoint":                            base + pathRevoke,
		"introspection_endpoint":                         base + pathIntrospect,
		"registration_endpoint":                          base + pathRegister,
		"pushed_authorization_request_endpoint":          base + pathPush,
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          allGrants,
		"code_challenge_methods_supported":               []string{string(oidc.CodeChallengeMethodS256)},
		"token_endpoint_auth_methods_supported":          []string{AuthBasic, AuthPost, AuthNone},
		"revocation_endpoint_auth_methods_supported":     []string{AuthBasic, AuthPost, AuthNone},
		"introspection_endpoint_auth_methods_supported":  methods,
		"authorization_details_types_supported":          []string{DetailsType},
		"authorization_response_iss_parameter_supported": true,
	})
}
