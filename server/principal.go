package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/oauth"
)

// Kind is what sort of caller somebody is. The authorisation matrix speaks in
// kinds; everything finer (whose usage point, whose consent) is decided where
// the object is at hand.
type Kind uint16

// The kinds of callers.
const (
	// Public is anybody: no certificate, no session.
	Public Kind = 1 << iota
	// UtilityKind submits readings of its own usage points.
	UtilityKind
	// RecipientKind is a third party.
	RecipientKind
	// HouseholdKind is a household's session.
	HouseholdKind
	// OperatorKind runs the hub.
	OperatorKind
	// RegulatorKind audits.
	RegulatorKind
	// The parts of the hub that call others, each in a process of its own. A process
	// of several roles is of several kinds.
	IngestRole
	ReleaseRole
	AccessRole
	KeyguardRole
	LedgerRole
	PortalRole
)

const anyRole = IngestRole | ReleaseRole | AccessRole | KeyguardRole | LedgerRole | PortalRole

var kindOfName = map[string]Kind{
	"utility": UtilityKind, "recipient": RecipientKind, "operator": OperatorKind, "regulator": RegulatorKind,
}

// kindOfRole are the parts of the hub that call others. To the matrix each is a
// kind of its own, so that one part has no right of another.
var kindOfRole = map[string]Kind{
	"ingest": IngestRole, "release": ReleaseRole, "access": AccessRole, "keyguard": KeyguardRole, "ledger": LedgerRole, "portal": PortalRole,
}

// roleName is the kind that certificates of the hub's parts name.
const roleName = "role"

// Principal is who calls: a kind and a name of that kind. Households carry the
// hash of their session too. A third party that shows the token of one household's
// grant carries the consent that the token is of, and is of no other use.
type Principal struct {
	Kind    Kind
	ID      string
	Session ledger.Hash
	Consent consent.ID
}

// Utility returns the caller as a utility.
func (p Principal) Utility() meter.Utility { return meter.Utility(p.ID) }

// Recipient returns the caller as a third party.
func (p Principal) Recipient() consent.Recipient { return consent.Recipient(p.ID) }

// Household returns the caller as a household.
func (p Principal) Household() consent.Household { return consent.Household(p.ID) }

// internal is the principal as internalPrincipal carries it.
func (p Principal) internal() string { return kindName(p.Kind) + "/" + p.ID }

type principalKey struct{}

func withPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// caller returns the authenticated principal of a call; the interceptors have
// put it there, and without them nobody is anybody.
func caller(ctx context.Context) Principal {
	p, ok := ctx.Value(principalKey{}).(Principal)
	if !ok {
		return Principal{Kind: Public}
	}
	return p
}

// Errors of authentication.
var (
	errBadCertificate = errors.New("server: client certificate names no known caller")
	errBadSession     = errors.New("server: session is unknown or has ended")
	errBadToken       = errors.New("server: token lets nobody in")
)

// reasonBadToken is the reason of errBadToken on the wire.
const reasonBadToken = "token_not_valid"

// CertificateURI is the URI that a client certificate carries in its subject
// alternative names: wattveil://utility/ID, wattveil://recipient/ID,
// wattveil://operator/ID or wattveil://regulator/ID, and for a part of the hub
// wattveil://role/NAME; a process of several roles carries one for each.
func CertificateURI(kind, id string) *url.URL {
	return &url.URL{Scheme: "wattveil", Host: kind, Path: "/" + id}
}

// principalOf reads the caller from a verified TLS connection. A certificate
// with no wattveil URI, with two that are not both of roles, or with one that
// [CertificateURI] would have written otherwise is refused.
func principalOf(state tls.ConnectionState) (Principal, error) {
	if len(state.VerifiedChains) == 0 {
		return Principal{Kind: Public}, nil
	}
	var found Principal
	for _, u := range state.VerifiedChains[0][0].URIs {
		if u.Scheme != "wattveil" {
			continue
		}
		p, err := parsePrincipal(u.Host, strings.TrimPrefix(u.Path, "/"))
		if err != nil || u.String() != CertificateURI(kindName(p.Kind), p.ID).String() {
			return Principal{}, errBadCertificate
		}
		if found.Kind != 0 && (found.Kind|p.Kind)&^anyRole != 0 {
			return Principal{}, errBadCertificate
		}
		found = Principal{Kind: found.Kind | p.Kind, ID: p.ID}
	}
	if found.Kind == 0 {
		return Principal{}, errBadCertificate
	}
	return found, nil
}

func parsePrincipal(kind, id string) (Principal, error) {
	k, ok := kindOfName[kind]
	if kind == roleName {
		k, ok = kindOfRole[id]
	}
	if !ok {
		return Principal{}, errBadCertificate
	}
	if _, err := meter.ParseUtility(id); err != nil { // one alphabet for all names
		return Principal{}, errBadCertificate
	}
	return Principal{Kind: k, ID: id}, nil
}

// directory knows who may call; server/store implements it.
type directory interface {
	// KnowsUtility and KnowsRecipient report whether somebody is registered.
	KnowsUtility(ctx context.Context, id meter.Utility) (bool, error)
	KnowsRecipient(ctx context.Context, id consent.Recipient) (bool, error)
	// SessionHousehold returns the household of a live session, by the hash of
	// its token.
	SessionHousehold(ctx context.Context, tokenHash [32]byte, now int64) (consent.Household, bool, error)
	// OAuthBearer returns for whom a live token of OAuth lets in, and of which consent
	// it is, if it is of one, by its hash.
	OAuthBearer(ctx context.Context, tokenHash [32]byte, now int64) (consent.Recipient, consent.ID, bool, error)
}

// tokenHash is how a session token is stored and looked up: an unkeyed hash is
// enough for 256 random bits, and the lookup by it needs no comparison of
// secrets.
func tokenHash(token string) ledger.Hash {
	return sha256.Sum256([]byte("wattveil session v1\x00" + token))
}

// internalPrincipal is the metadata key by which the HTTP edge tells the
// in-process gRPC server whose certificate it has verified. Only the in-process
// listener reads it, and the edge drops it from what clients send.
const internalPrincipal = "wattveil-internal-principal"

// authenticator finds the principal of a call.
type authenticator struct {
	directory directory
	clock     Clock
	// inProcess is set on the listener that only the HTTP edge can reach.
	inProcess bool
	// knows are the kinds that this process can look up in the directory. Of another
	// kind it takes nobody's word: such a caller is the public.
	knows Kind
}

func (a *authenticator) principal(ctx context.Context) (Principal, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	p := Principal{Kind: Public}
	if a.inProcess {
		if v := md.Get(internalPrincipal); len(v) == 1 {
			kind, id, _ := strings.Cut(v[0], "/")
			var err error
			if p, err = parsePrincipal(kind, id); err != nil {
				return Principal{}, err
			}
		}
	} else if pr, ok := peer.FromContext(ctx); ok {
		if ti, ok := pr.AuthInfo.(credentials.TLSInfo); ok {
			var err error
			if p, err = principalOf(ti.State); err != nil {
				return Principal{}, err
			}
		}
	}
	if p.Kind&PortalRole != 0 { // it calls for its visitors, and has no right of its own
		p.Kind = p.Kind&^PortalRole | Public
	}
	if v := md.Get("authorization"); len(v) > 0 && p.Kind&Public != 0 && a.knows&HouseholdKind != 0 {
		return a.bearer(ctx, v)
	}
	if p.Kind&(UtilityKind|RecipientKind)&^a.knows != 0 {
		return Principal{Kind: Public}, nil
	}
	return p, a.registered(ctx, p)
}

// registered refuses utilities and third parties that a certificate names and
// the register does not: an authority may have signed for somebody who has left.
// Operators, regulators and parts of the hub are known by their certificates alone.
func (a *authenticator) registered(ctx context.Context, p Principal) (err error) {
	known := true
	if p.Kind == UtilityKind {
		known, err = a.directory.KnowsUtility(ctx, p.Utility())
	}
	if p.Kind == RecipientKind {
		known, err = a.directory.KnowsRecipient(ctx, p.Recipient())
	}
	if err != nil {
		return fmt.Errorf("looking up caller: %w", err)
	}
	if !known {
		return errBadCertificate
	}
	return nil
}

// bearer finds whose token it is: a third party's, which is told by what it begins with, or
// else that of a household's session.
func (a *authenticator) bearer(ctx context.Context, headers []string) (Principal, error) {
	token, ok := strings.CutPrefix(headers[0], "Bearer ")
	if !ok || len(headers) != 1 || len(token) > 128 {
		return Principal{}, errBadSession
	}
	if h, ok := oauth.BearerHash(token); ok {
		return a.thirdParty(ctx, h)
	}
	return a.session(ctx, token)
}

// thirdParty looks a token up at every call: what was revoked, or whose client is
// suspended, is of no use from the next one on.
func (a *authenticator) thirdParty(ctx context.Context, h [32]byte) (Principal, error) {
	client, of, ok, err := a.directory.OAuthBearer(ctx, h, a.clock().Unix())
	if err != nil {
		return Principal{}, fmt.Errorf("looking up token: %w", err)
	}
	if !ok {
		return Principal{}, errBadToken
	}
	return Principal{Kind: RecipientKind, ID: string(client), Consent: of}, nil
}

func (a *authenticator) session(ctx context.Context, token string) (Principal, error) {
	h := tokenHash(token)
	household, ok, err := a.directory.SessionHousehold(ctx, h, a.clock().Unix())
	if err != nil {
		return Principal{}, fmt.Errorf("looking up session: %w", err)
	}
	if !ok {
		return Principal{}, errBadSession
	}
	return Principal{Kind: HouseholdKind, ID: string(household), Session: h}, nil
}
