package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/oauth"
	"github.com/wattveil/wattveil/server/store"
)

// authorizationService implements AuthorizationService.
type authorizationService struct {
	wattveilv1.UnimplementedAuthorizationServiceServer
	store    *store.Store
	prover   *ledger.Prover
	consents *consent.Service[*store.Tx]
	oauth    *oauth.Server
	clock    Clock
	// decisions bounds each household's: each is two records.
	decisions *buckets
	// adopt lets a client be told of changes where it registered that it wants to be.
	adopt func(context.Context, *wattveilv1.Client) error
}

// A household may decide on 60 authorization requests an hour.
const decisionsPerHour = 60

// Strangers at the endpoints of OAuth: how often a minute a client's failure is told, and
// how many register.
const (
	failuresPerMinute      = 30
	registrationsPerMinute = 10
)

// newOAuth makes the authorization server of this process.
func (h *Hub) newOAuth(d Deps) *oauth.Server {
	failures, registrations := newBuckets(failuresPerMinute, time.Minute), newBucket(registrationsPerMinute, time.Minute)
	return oauth.New(oauth.Config{
		Store: d.Store, Now: d.Clock, Random: d.Random, Base: h.publicURL, Log: d.Log,
		Failures:      func(client string) bool { return failures.take(client, d.Clock()) },
		Registrations: func() bool { return registrations.take(d.Clock()) },
	})
}

// publicURL is where the hub is reached over HTTP: as configured, or else where it listens.
func (h *Hub) publicURL() string {
	switch {
	case h.cfg.PublicURL != "":
		return h.cfg.PublicURL
	case h.cfg.HTTP.Cert != "":
		return "https://" + h.HTTPAddr()
	default:
		return "http://" + h.HTTPAddr()
	}
}

// CheckAuthorization reads an authorization request.
func (a *authorizationService) CheckAuthorization(ctx context.Context, req *wattveilv1.CheckAuthorizationRequest) (*wattveilv1.CheckAuthorizationResponse, error) {
	at := req.GetCheckedAt()
	if at == 0 {
		at = a.clock().Unix()
	} else if err := a.oauth.Shown(at); err != nil {
		return nil, asInput(err)
	}
	r, err := a.oauth.Check(ctx, req.GetQuery(), at)
	if err != nil {
		told, err := authorizationError(err)
		return &wattveilv1.CheckAuthorizationResponse{CheckedAt: at, Error: told}, err
	}
	return &wattveilv1.CheckAuthorizationResponse{
		ClientId: string(r.Client.ID), ClientName: r.Client.Name, RedirectOrigin: originOf(r.RedirectURI), Asked: termsToWire(r.Asked),
		CheckedAt: at,
	}, nil
}

// authorizationError is what is wrong with a request, if that is the request.
func authorizationError(err error) (*wattveilv1.AuthorizationError, error) {
	var wrong *oauth.Error
	if !errors.As(err, &wrong) {
		return nil, err
	}
	out := &wattveilv1.AuthorizationError{Code: wrong.Code, Description: wrong.Description}
	var told *oauth.RedirectError
	if errors.As(err, &told) {
		out.RedirectTo = told.To
	}
	return out, nil
}

// originOf is the scheme and host of an address: what a browser's policy can name.
func originOf(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Host == "":
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

// DecideAuthorization records a household's decision: a request and a grant or a denial,
// each a leaf. Then it hands out a code. A crash between any two leaves a request that
// waits, or a grant without a code; the same call again goes on from there.
func (a *authorizationService) DecideAuthorization(ctx context.Context, req *wattveilv1.DecideAuthorizationRequest) (*wattveilv1.DecideAuthorizationResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	if err := a.oauth.Shown(req.GetCheckedAt()); err != nil {
		return nil, asInput(err)
	}
	r, err := a.oauth.Check(ctx, req.GetQuery(), req.GetCheckedAt())
	if err != nil {
		return nil, asInput(err)
	}
	household := caller(ctx).Household()
	if !a.decisions.take(string(household), a.clock()) {
		return nil, &inputError{codes.ResourceExhausted, "too_many_decisions", "too many decisions of this household in the last hour"}
	}
	point, ok, err := a.homeAskedAbout(ctx, household, r.Asked)
	switch {
	case err != nil:
		return nil, err
	case !ok && req.GetAllow():
		return nil, consent.ErrNothingToGrant
	case !ok: // nothing of theirs, and nothing to record: whoever asked learns what it learns of any no
		return &wattveilv1.DecideAuthorizationResponse{RedirectTo: r.Denied()}, nil
	}
	id, err := a.consents.Request(ctx, askedOnce(household, request), r.Client.ID, point, r.Asked)
	if err != nil {
		return nil, err
	}
	if !req.GetAllow() {
		_, receipt, err := a.consents.Deny(ctx, request, household, id)
		if err != nil {
			return nil, err
		}
		return a.decided(ctx, r.Denied(), id, receipt)
	}
	return a.grant(ctx, req, r, household, id)
}

func (a *authorizationService) grant(ctx context.Context, req *wattveilv1.DecideAuthorizationRequest, r oauth.Request, household consent.Household, id consent.ID) (*wattveilv1.DecideAuthorizationResponse, error) {
	narrowed, err := narrowedTerms(req.GetNarrowed(), r.Asked)
	if err != nil {
		return nil, err
	}
	granted, receipt, err := a.consents.Grant(ctx, req.GetRequestId(), household, id, narrowed)
	if err != nil {
		return nil, err
	}
	to, err := a.oauth.Code(ctx, r, granted)
	if err != nil {
		return nil, err
	}
	return a.decided(ctx, to, id, receipt)
}

// narrowedTerms returns terms that differ from what was asked for, or nil.
func narrowedTerms(in *wattveilv1.Terms, asked consent.Terms) (*consent.Terms, error) {
	if in == nil {
		return nil, nil
	}
	t, err := termsFromWire(in)
	if err != nil {
		return nil, err
	}
	if t = t.Normalize(); t.Hash() == asked.Hash() {
		return nil, nil
	}
	return &t, nil
}

func (a *authorizationService) decided(ctx context.Context, to string, id consent.ID, receipt ledger.Receipt) (*wattveilv1.DecideAuthorizationResponse, error) {
	proved, err := receiptToWire(ctx, a.prover, receipt)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.DecideAuthorizationResponse{RedirectTo: to, ConsentId: string(id), Receipt: proved}, nil
}

// homeAskedAbout returns a usage point at which the household lives now and that terms ask
// about; all of its own, if they name none. False if there is none.
func (a *authorizationService) homeAskedAbout(ctx context.Context, h consent.Household, asked consent.Terms) (meter.UsagePoint, bool, error) {
	occupancies, err := a.store.Occupancies(ctx, h)
	if err != nil {
		return "", false, err
	}
	now := a.clock().Unix()
	for _, o := range occupancies {
		if o.Holds(now) && (len(asked.UsagePoints) == 0 || slices.Contains(asked.UsagePoints, o.UsagePoint)) {
			return o.UsagePoint, true, nil
		}
	}
	return "", false, nil
}

// askedOnce is the request id under which a request is recorded in the third party's name:
// bound to the household, since neither may meet an id that the other has chosen.
func askedOnce(h consent.Household, request string) string {
	sum := sha256.Sum256([]byte("wattveil authorize v1\x00" + string(h) + "\x00" + request))
	return hex.EncodeToString(sum[:])
}

// asInput turns what is wrong with an authorization request into the caller's error.
func asInput(err error) error {
	var wrong *oauth.Error
	if errors.As(err, &wrong) {
		return invalid(wrong.Code, wrong.Description)
	}
	return err
}
