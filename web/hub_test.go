package web

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tests, wherever they run

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// The home of these tests, and what opens it.
const (
	homeID = "home-1"
	token  = "test-session_token"
	code   = "7K2M-9QXA-03TZ"
	zurich = "Europe/Zurich"
)

// fakeHub answers the API with what a test sets. Its record is a real ledger in
// memory, so that proofs are real. It knows one home and one session.
type fakeHub struct {
	wattveilv1.UnimplementedSessionServiceServer
	wattveilv1.UnimplementedReadingServiceServer
	wattveilv1.UnimplementedConsentServiceServer
	wattveilv1.UnimplementedAuditServiceServer
	wattveilv1.UnimplementedReleaseServiceServer
	wattveilv1.UnimplementedAuthorizationServiceServer

	log *ledgertest.Log[*ledgertest.Tx]

	mu       sync.Mutex
	calls    []string         // methods called, in order
	fail     map[string]error // by method: what it answers
	first    string           // UTC days with data; "" for none
	last     string
	zone     string
	series   func(from, until int64) []*wattveilv1.Series
	consents []*wattveilv1.Consent
	events   []*wattveilv1.Event                                                // newest first
	list     func(*wattveilv1.ListEventsRequest) *wattveilv1.ListEventsResponse // instead of events, if not nil
	release  string                                                             // body of the newest, "" for none
	others   map[string]string                                                  // bodies of older ones, by ID
	forge    func(*wattveilv1.Receipt)
	ended    bool // the session is over

	asks      *wattveilv1.CheckAuthorizationResponse   // what the one authorization request is
	decisions []*wattveilv1.DecideAuthorizationRequest // that were made on it
}

// newHub starts a hub with twelve days of readings around the autumn change of
// the clocks, and returns a connection to it.
func newHub(t testing.TB) (*fakeHub, *grpc.ClientConn) {
	t.Helper()
	memory := ledgertest.NewMemory("wattveil.example/hub")
	memory.PutSubjectKey(homeID, ledger.Hash{1})
	h := &fakeHub{
		log: ledgertest.Start(t, memory), fail: make(map[string]error),
		first: "2025-10-20", last: "2025-10-31", zone: zurich,
	}
	h.series = h.quarters
	server := grpc.NewServer(grpc.UnaryInterceptor(h.admit))
	wattveilv1.RegisterSessionServiceServer(server, h)
	wattveilv1.RegisterReadingServiceServer(server, h)
	wattveilv1.RegisterConsentServiceServer(server, h)
	wattveilv1.RegisterAuditServiceServer(server, h)
	wattveilv1.RegisterReleaseServiceServer(server, h)
	wattveilv1.RegisterAuthorizationServiceServer(server, h)
	listener := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:hub",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return h, conn
}

// open is what needs no session, and refuses one: the hub's matrix lets only
// the public open sessions, and a dead session fails every call.
var open = []string{
	wattveilv1.SessionService_OpenSession_FullMethodName,
	wattveilv1.ReleaseService_ListReleases_FullMethodName,
	wattveilv1.ReleaseService_GetRelease_FullMethodName,
	wattveilv1.ConsentService_OpenReceipt_FullMethodName,
	wattveilv1.ConsentService_RevokeByReceipt_FullMethodName,
}

// asRegulator is how the calls of a regulator's pages are told from others.
const asRegulator = "test-regulator"

var forRegulators = []string{
	wattveilv1.AuditService_ListEvents_FullMethodName,
	wattveilv1.AuditService_GetReceipt_FullMethodName,
	wattveilv1.AuditService_GetCheckpoint_FullMethodName,
}

func (h *fakeHub) admit(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, info.FullMethod)
	if err := h.fail[info.FullMethod]; err != nil {
		return nil, err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	bearer := md.Get("authorization")
	switch {
	case slices.Equal(md.Get(asRegulator), []string{"reg"}):
		// A certificate's principal counts alone, and for these calls.
		if len(bearer) != 0 || !slices.Contains(forRegulators, info.FullMethod) {
			return nil, refusal(codes.PermissionDenied, "not_for_you")
		}
	case info.FullMethod == wattveilv1.AuthorizationService_CheckAuthorization_FullMethodName && len(bearer) == 0:
	case slices.Contains(open, info.FullMethod):
		if len(bearer) != 0 {
			return nil, refusal(codes.Unauthenticated, "session_ended")
		}
	case h.ended || !slices.Equal(bearer, []string{"Bearer " + token}):
		return nil, refusal(codes.Unauthenticated, "session_ended")
	}
	return handler(ctx, req)
}

// refusal is an error as the hub sends them.
func refusal(c codes.Code, reason string) error {
	s, err := status.New(c, "words for people").WithDetails(&errdetails.ErrorInfo{Domain: "wattveil", Reason: reason})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func (h *fakeHub) called() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// set changes what the hub answers.
func (h *fakeHub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *fakeHub) OpenSession(_ context.Context, req *wattveilv1.OpenSessionRequest) (*wattveilv1.OpenSessionResponse, error) {
	if req.GetLetterCode() != code {
		return nil, refusal(codes.PermissionDenied, "code_not_valid")
	}
	return &wattveilv1.OpenSessionResponse{Token: token, ExpiresAt: now().Add(12 * time.Hour).Unix()}, nil
}

func (h *fakeHub) CloseSession(context.Context, *wattveilv1.CloseSessionRequest) (*wattveilv1.CloseSessionResponse, error) {
	h.ended = true
	return &wattveilv1.CloseSessionResponse{}, nil
}

func (h *fakeHub) GetHousehold(context.Context, *wattveilv1.GetHouseholdRequest) (*wattveilv1.GetHouseholdResponse, error) {
	return &wattveilv1.GetHouseholdResponse{
		Household: homeID, FirstDay: h.first, LastDay: h.last,
		Occupancies: []*wattveilv1.Occupancy{{UsagePoint: "CH-0001", From: 0, Zone: h.zone, Node: "feeder-1"}},
		Erasure:     &wattveilv1.ErasureTerms{KeysSeconds: 42 * 86400, BackupsSeconds: 35 * 86400},
	}, nil
}

func (h *fakeHub) EraseOwnHousehold(_ context.Context, req *wattveilv1.EraseOwnHouseholdRequest) (*wattveilv1.EraseOwnHouseholdResponse, error) {
	if req.GetHousehold() != homeID {
		return nil, status.Error(codes.InvalidArgument, "not confirmed")
	}
	h.ended = true
	return &wattveilv1.EraseOwnHouseholdResponse{Indices: []uint64{4711}}, nil
}

func (h *fakeHub) ReadOwnSeries(ctx context.Context, req *wattveilv1.ReadOwnSeriesRequest) (*wattveilv1.ReadOwnSeriesResponse, error) {
	if req.GetUntil() <= req.GetFrom() {
		return nil, refusal(codes.InvalidArgument, "bad_range")
	}
	r, err := h.record(ctx, "self", ledger.Payload{Kind: ledger.KindAccess, Subject: homeID, Purpose: purposeSelf})
	if err != nil {
		return nil, err
	}
	return &wattveilv1.ReadOwnSeriesResponse{Series: h.series(req.GetFrom(), req.GetUntil()), Receipt: r}, nil
}

// wattHours is the reading of the quarter-hour that starts at t: 1 to 250 Wh,
// always the same.
func wattHours(t int64) int64 { return 1 + (t/900*37)%250 }

// quarters are the readings of a range, a series a UTC day.
func (h *fakeHub) quarters(from, until int64) []*wattveilv1.Series {
	first, _ := parseDate(h.first)
	last, _ := parseDate(h.last)
	var all []*wattveilv1.Series
	for d := first; !last.before(d); d = d.add(1) {
		s := &wattveilv1.Series{UsagePoint: "CH-0001", Register: registerUsed, LengthSeconds: 900}
		for t := d.start(time.UTC); t < d.add(1).start(time.UTC); t += 900 {
			if from <= t && t < until {
				if s.Values == nil {
					s.Start = t
				}
				s.Values = append(s.Values, wattHours(t))
			}
		}
		if s.Values != nil {
			all = append(all, s)
		}
	}
	return all
}

func (h *fakeHub) ListConsents(context.Context, *wattveilv1.ListConsentsRequest) (*wattveilv1.ListConsentsResponse, error) {
	return &wattveilv1.ListConsentsResponse{Consents: h.consents}, nil
}

func (h *fakeHub) find(id string) (*wattveilv1.Consent, error) {
	for _, c := range h.consents {
		if c.GetId() == id {
			return c, nil
		}
	}
	return nil, refusal(codes.NotFound, "not_found")
}

func (h *fakeHub) GetConsent(_ context.Context, req *wattveilv1.GetConsentRequest) (*wattveilv1.GetConsentResponse, error) {
	c, err := h.find(req.GetConsentId())
	return &wattveilv1.GetConsentResponse{Consent: c}, err
}

// GetConsentReceipt answers as the hub does to a household.
func (h *fakeHub) GetConsentReceipt(_ context.Context, req *wattveilv1.GetConsentReceiptRequest) (*wattveilv1.GetConsentReceiptResponse, error) {
	c, err := h.find(req.GetConsentId())
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetConsentReceiptResponse{Receipt: "signed", Address: "/r/" + c.GetId() + ".mac"}, nil
}

// OpenReceipt answers as the hub does to whoever has the address.
func (h *fakeHub) OpenReceipt(_ context.Context, req *wattveilv1.OpenReceiptRequest) (*wattveilv1.OpenReceiptResponse, error) {
	id, ok := strings.CutSuffix(req.GetAddress(), ".mac")
	c, err := h.find(id)
	if err != nil || !ok {
		return nil, refusal(codes.NotFound, "not_found")
	}
	return &wattveilv1.OpenReceiptResponse{Consent: c, Receipt: "signed", Zone: "Europe/Zurich", Steps: []*wattveilv1.ConsentStep{
		{Index: 3, Kind: "consent.request", Time: now().Unix() - 900, Terms: c.GetTerms()},
		{Index: 4, Kind: "consent.grant", Time: now().Unix() - 800, Terms: c.GetTerms()},
	}}, nil
}

// RevokeByReceipt revokes as RevokeConsent does.
func (h *fakeHub) RevokeByReceipt(ctx context.Context, req *wattveilv1.RevokeByReceiptRequest) (*wattveilv1.RevokeByReceiptResponse, error) {
	id, ok := strings.CutSuffix(req.GetAddress(), ".mac")
	if !ok {
		return nil, refusal(codes.NotFound, "not_found")
	}
	r, err := h.decide(ctx, req.GetRequestId(), id, ledger.KindConsentRevoke,
		wattveilv1.ConsentState_CONSENT_STATE_GRANTED, wattveilv1.ConsentState_CONSENT_STATE_REVOKED)
	return &wattveilv1.RevokeByReceiptResponse{Receipt: r}, err
}

// decide changes a consent's state as the hub does: one transition, one entry,
// a repeated request answered alike.
func (h *fakeHub) decide(ctx context.Context, request, id string, kind ledger.Kind, before, after wattveilv1.ConsentState) (*wattveilv1.Receipt, error) {
	c, err := h.find(id)
	if err != nil {
		return nil, err
	}
	if c.GetState() == before {
		c.State, c.DecidedAt = after, now().Unix()
		if after == wattveilv1.ConsentState_CONSENT_STATE_REVOKED {
			c.EndedAt = now().Unix()
		}
	} else if e, ok := h.entry(ctx, request); !ok || e.Kind != kind {
		return nil, refusal(codes.FailedPrecondition, "wrong_state")
	}
	return h.record(ctx, request, ledger.Payload{Kind: kind, Subject: homeID, Recipient: c.GetRecipient(), Consent: id})
}

func (h *fakeHub) GrantConsent(ctx context.Context, req *wattveilv1.GrantConsentRequest) (*wattveilv1.GrantConsentResponse, error) {
	r, err := h.decide(ctx, req.GetRequestId(), req.GetConsentId(), ledger.KindConsentGrant,
		wattveilv1.ConsentState_CONSENT_STATE_REQUESTED, wattveilv1.ConsentState_CONSENT_STATE_GRANTED)
	return &wattveilv1.GrantConsentResponse{Receipt: r}, err
}

func (h *fakeHub) DenyConsent(ctx context.Context, req *wattveilv1.DenyConsentRequest) (*wattveilv1.DenyConsentResponse, error) {
	r, err := h.decide(ctx, req.GetRequestId(), req.GetConsentId(), ledger.KindConsentDeny,
		wattveilv1.ConsentState_CONSENT_STATE_REQUESTED, wattveilv1.ConsentState_CONSENT_STATE_DENIED)
	return &wattveilv1.DenyConsentResponse{Receipt: r}, err
}

func (h *fakeHub) RevokeConsent(ctx context.Context, req *wattveilv1.RevokeConsentRequest) (*wattveilv1.RevokeConsentResponse, error) {
	r, err := h.decide(ctx, req.GetRequestId(), req.GetConsentId(), ledger.KindConsentRevoke,
		wattveilv1.ConsentState_CONSENT_STATE_GRANTED, wattveilv1.ConsentState_CONSENT_STATE_REVOKED)
	return &wattveilv1.RevokeConsentResponse{Receipt: r}, err
}

// NarrowConsent answers as the hub does: wider and equal terms are refused, and a
// repeated request is answered alike.
func (h *fakeHub) NarrowConsent(ctx context.Context, req *wattveilv1.NarrowConsentRequest) (*wattveilv1.NarrowConsentResponse, error) {
	c, err := h.find(req.GetConsentId())
	if err != nil {
		return nil, err
	}
	to, now := req.GetNarrowed(), c.GetTerms()
	_, done := h.entry(ctx, req.GetRequestId())
	switch {
	case done:
	case c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_GRANTED:
		return nil, refusal(codes.FailedPrecondition, "wrong_state")
	case to.GetDataFrom() >= to.GetDataUntil():
		return nil, refusal(codes.InvalidArgument, "bad_terms")
	case to.GetDataFrom() < now.GetDataFrom() || to.GetDataUntil() > now.GetDataUntil() || to.GetPermissionUntil() > now.GetPermissionUntil() || to.GetGranularity() < now.GetGranularity():
		return nil, refusal(codes.InvalidArgument, "wider_than_asked")
	case proto.Equal(to, now):
		return nil, refusal(codes.FailedPrecondition, "same_terms")
	default:
		c.Terms = to
	}
	r, err := h.record(ctx, req.GetRequestId(), ledger.Payload{Kind: ledger.KindConsentNarrow, Subject: homeID, Recipient: c.GetRecipient(), Consent: c.GetId()})
	return &wattveilv1.NarrowConsentResponse{Consent: c, Receipt: r}, err
}

// CheckAuthorization knows one request; another is a mistake that nobody may be told.
func (h *fakeHub) CheckAuthorization(_ context.Context, req *wattveilv1.CheckAuthorizationRequest) (*wattveilv1.CheckAuthorizationResponse, error) {
	at := req.GetCheckedAt()
	if at == 0 {
		at = now().Unix()
	}
	if h.asks == nil || !strings.Contains(req.GetQuery(), "client_id=sunwise") {
		return &wattveilv1.CheckAuthorizationResponse{CheckedAt: at, Error: &wattveilv1.AuthorizationError{Code: "invalid_request", Description: "redirect_uri is missing or not registered"}}, nil
	}
	resp := proto.CloneOf(h.asks)
	resp.CheckedAt = at
	return resp, nil
}

// DecideAuthorization answers as the hub does: wider terms are refused.
func (h *fakeHub) DecideAuthorization(_ context.Context, req *wattveilv1.DecideAuthorizationRequest) (*wattveilv1.DecideAuthorizationResponse, error) {
	to, asked := req.GetNarrowed(), h.asks.GetAsked()
	if to != nil && (to.GetDataFrom() < asked.GetDataFrom() || to.GetDataUntil() > asked.GetDataUntil() || to.GetDataFrom() >= to.GetDataUntil()) {
		return nil, refusal(codes.InvalidArgument, "wider_than_asked")
	}
	h.decisions = append(h.decisions, req)
	if !req.GetAllow() {
		return &wattveilv1.DecideAuthorizationResponse{RedirectTo: "https://sunwise.example/back?error=access_denied"}, nil
	}
	return &wattveilv1.DecideAuthorizationResponse{RedirectTo: "https://sunwise.example/back?code=c"}, nil
}

// anAuthorization is what a third party asks of the test's home by OAuth.
func anAuthorization() *wattveilv1.CheckAuthorizationResponse {
	return &wattveilv1.CheckAuthorizationResponse{
		ClientId: "sunwise", ClientName: "Sunwise Advice", RedirectOrigin: "https://sunwise.example",
		Asked: aConsent("x", wattveilv1.ConsentState_CONSENT_STATE_REQUESTED).GetTerms(),
	}
}

// record writes a leaf and returns its proof.
func (h *fakeHub) record(ctx context.Context, request string, p ledger.Payload) (*wattveilv1.Receipt, error) {
	got, err := h.log.Propose(ctx, request, func(context.Context, *ledgertest.Tx, ledger.Position) (ledger.Payload, error) { return p, nil })
	if err != nil {
		return nil, err
	}
	return h.prove(ctx, got.Index)
}

func (h *fakeHub) entry(ctx context.Context, request string) (e ledger.Entry, ok bool) {
	_ = h.log.Store.Transact(ctx, func(ctx context.Context, tx *ledgertest.Tx) (err error) {
		found, err := tx.LedgerRequests(ctx, []string{request})
		e, ok = found[request]
		return err
	})
	return e, ok
}

func (h *fakeHub) prove(ctx context.Context, index uint64) (*wattveilv1.Receipt, error) {
	e, err := h.log.Store.ReadEntry(ctx, index)
	if err != nil {
		return nil, refusal(codes.NotFound, "not_found")
	}
	proof, err := ledger.TLogProof(ctx, h.log.Store, index)
	if err != nil {
		return nil, err
	}
	r := &wattveilv1.Receipt{Index: index, Payload: e.Payload, Nonce: e.Nonce[:], Proof: string(proof)}
	if h.forge != nil {
		h.forge(r)
	}
	return r, nil
}

func (h *fakeHub) ListEvents(_ context.Context, req *wattveilv1.ListEventsRequest) (*wattveilv1.ListEventsResponse, error) {
	if h.list != nil {
		return h.list(req), nil
	}
	if req.GetPageToken() == "older" {
		return &wattveilv1.ListEventsResponse{}, nil
	}
	return &wattveilv1.ListEventsResponse{Events: h.events}, nil
}

func (h *fakeHub) GetReceipt(ctx context.Context, req *wattveilv1.GetReceiptRequest) (*wattveilv1.GetReceiptResponse, error) {
	r, err := h.prove(ctx, req.GetIndex())
	return &wattveilv1.GetReceiptResponse{Receipt: r}, err
}

func (h *fakeHub) GetCheckpoint(ctx context.Context, _ *wattveilv1.GetCheckpointRequest) (*wattveilv1.GetCheckpointResponse, error) {
	note, err := h.log.Store.Checkpoint(ctx)
	newest, _, _ := strings.Cut(h.log.VKey, "\n")
	return &wattveilv1.GetCheckpointResponse{Checkpoint: string(note), VerifierKey: newest, VerifierKeys: h.log.VKey}, err
}

func (h *fakeHub) ListReleases(context.Context, *wattveilv1.ListReleasesRequest) (*wattveilv1.ListReleasesResponse, error) {
	if h.release == "" {
		return &wattveilv1.ListReleasesResponse{}, nil
	}
	list := []*wattveilv1.ReleaseInfo{{Id: "day-curve/2025-10-30", Product: "day-curve"}}
	for id := range h.others {
		list = append(list, &wattveilv1.ReleaseInfo{Id: id, Product: strings.Split(id, "/")[0]})
	}
	return &wattveilv1.ListReleasesResponse{Releases: list}, nil
}

func (h *fakeHub) GetRelease(_ context.Context, req *wattveilv1.GetReleaseRequest) (*wattveilv1.GetReleaseResponse, error) {
	if body, ok := h.others[req.GetId()]; ok {
		return &wattveilv1.GetReleaseResponse{Body: body, LeafIndex: 4712}, nil
	}
	return &wattveilv1.GetReleaseResponse{Body: h.release, LeafIndex: 4711}, nil
}

// now is the hub's clock: noon on 1 November 2025, UTC.
func now() time.Time { return time.Date(2025, 11, 1, 12, 0, 0, 0, time.UTC) }

// aConsent is a consent of the test's home, to be changed as a test needs.
func aConsent(id string, state wattveilv1.ConsentState) *wattveilv1.Consent {
	c := &wattveilv1.Consent{
		Id: id, Recipient: "sunwise", RecipientName: "Sunwise Advice", State: state,
		RequestedAt: now().Add(-48 * time.Hour).Unix(),
		Terms: &wattveilv1.Terms{
			Purpose:     &wattveilv1.Purpose{Code: "tariff.advice", Text: "We compare your use with tariffs and tell you which one fits."},
			Registers:   []string{registerUsed},
			Granularity: wattveilv1.Granularity_GRANULARITY_HOUR,
			// 1 October 2025 to 30 June 2026, local midnights.
			DataFrom: time.Date(2025, 9, 30, 22, 0, 0, 0, time.UTC).Unix(), DataUntil: time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC).Unix(),
			PermissionUntil: time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC).Unix(),
		},
	}
	if state != wattveilv1.ConsentState_CONSENT_STATE_REQUESTED {
		c.DecidedAt = now().Add(-24 * time.Hour).Unix()
		c.Terms.UsagePoints = []string{"CH-0001"}
	}
	if state == wattveilv1.ConsentState_CONSENT_STATE_REVOKED || state == wattveilv1.ConsentState_CONSENT_STATE_EXPIRED {
		c.EndedAt = now().Add(-time.Hour).Unix()
	}
	return c
}

// aRelease is a release of a region with the values of one day.
func aRelease(wh func(i int) int64) string {
	values := ""
	for i := range 48 {
		if i > 0 {
			values += ","
		}
		values += fmt.Sprint(wh(i))
	}
	return `{"version":1,"id":"day-curve/2025-10-30","product":"day-curve","day":"2025-10-30","unit":"Wh","interval_seconds":1800,` +
		`"guarantee":{"rho_nano":18000000,"delta":"1e-9","epsilon":1.2345,"yearly_cap_rho_nano":1000000000,"yearly_cap_epsilon":10.1,"statement":"For any single household: rho-zCDP."},` +
		`"levels":[{"level":0,"kind":"region","sigma_wh":9000}],` +
		`"nodes":[{"id":"region","level":0,"usage_points_public":322,"wh":[` + values + `]}]}`
}
