package oauth

import (
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

// Lifetimes. Those of tokens are what the Green Button Alliance recommends: refresh tokens
// slide, and none outlives the permission.
const (
	codeLifetime    = 2 * time.Minute
	accessLifetime  = time.Hour
	refreshLifetime = 7 * 24 * time.Hour
	pushedLifetime  = 10 * time.Minute
	decideWithin    = time.Hour // from when a request was shown to its decision
	clockSkew       = time.Minute
)

// Config is what a Server is handed.
type Config struct {
	Store *store.Store
	// Now is the hub's clock, Random crypto/rand.Reader.
	Now    func() time.Time
	Random io.Reader
	// Base returns where the hub is reached over HTTP, such as "https://hub.example",
	// without a slash at its end: the issuer. It is asked at every request.
	Base func() string
	Log  *slog.Logger
	// Failures reports whether a client may be told once more that it did not show who it
	// is; Registrations whether one more may register. Both bound what strangers can do
	// in a minute.
	Failures      func(client string) bool
	Registrations func() bool
}

// Server is the authorization server. Safe for concurrent use.
type Server struct {
	store         *store.Store
	now           func() time.Time
	random        io.Reader
	base          func() string
	log           *slog.Logger
	failures      func(client string) bool
	registrations func() bool
}

// New returns a Server.
func New(c Config) *Server {
	return &Server{
		store: c.Store, now: c.Now, random: c.Random, base: c.Base, log: c.Log, failures: c.Failures, registrations: c.Registrations,
	}
}

// Issuer is the hub's name in OAuth (RFC 8414, RFC 9207).
func (s *Server) Issuer() string { return strings.TrimSuffix(s.base(), "/") }

// resources are where Green Button clients find what a token is for. All three end in the
// same name, which is the consent's.
type resources struct {
	Resource      string `json:"resourceURI"`
	Customer      string `json:"customerResourceURI"`
	Authorization string `json:"authorizationURI"`
}

const espi = "/espi/1_1/resource"

func (s *Server) resourcesOf(id consent.ID) resources {
	base := s.Issuer() + espi
	return resources{
		Resource: base + "/Batch/Subscription/" + string(id), Customer: base + "/Batch/RetailCustomer/" + string(id), Authorization: base + "/Authorization/" + string(id),
	}
}

// bulkOf are those of a client access token: everything that the client may read.
func (s *Server) bulkOf(client consent.Recipient) resources {
	base := s.Issuer() + espi
	return resources{Resource: base + "/Batch/Bulk/" + string(client), Authorization: base + "/Authorization"}
}
