package server

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// consentService implements ConsentService.
type consentService struct {
	wattveilv1.UnimplementedConsentServiceServer
	store    *store.Store
	prover   *ledger.Prover
	consents *consent.Service[*store.Tx]
	clock    Clock
	origin   string // of the ledger

	statements *statements
	addresses  receiptAddresses
	// narrowings bounds each household's: of all that it may decide they alone
	// have no natural end, and each is a record.
	narrowings *buckets
}

// A household may narrow 60 times an hour. Revoking is not bounded.
const narrowingsPerHour = 60

// RequestConsent asks the household living at a usage point.
func (c *consentService) RequestConsent(ctx context.Context, req *wattveilv1.RequestConsentRequest) (*wattveilv1.RequestConsentResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	point, err := meter.ParseUsagePoint(req.GetUsagePoint())
	if err != nil {
		return nil, about("usage_point", badName("usage point"))
	}
	terms, err := termsFromWire(req.GetTerms())
	if err != nil {
		return nil, err
	}
	id, err := c.consents.Request(ctx, request, caller(ctx).Recipient(), point, terms)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.RequestConsentResponse{ConsentId: string(id)}, nil
}

// GetConsent shows one consent to its household or its recipient.
func (c *consentService) GetConsent(ctx context.Context, req *wattveilv1.GetConsentRequest) (*wattveilv1.GetConsentResponse, error) {
	id, err := consent.ParseID(req.GetConsentId())
	if err != nil {
		return nil, about("consent_id", err)
	}
	if of := caller(ctx).Consent; of != "" && of != id {
		return nil, consent.ErrNotFound
	}
	got, err := c.store.ConsentOf(ctx, ownerOf(caller(ctx)), id)
	if err != nil {
		return nil, err
	}
	shown := consentToWire(got)
	shown.Zones, err = c.zones(ctx, got)
	return &wattveilv1.GetConsentResponse{Consent: shown}, err
}

// zones returns the zone of each usage point of a consent that was granted.
func (c *consentService) zones(ctx context.Context, of store.ConsentRow) (map[string]string, error) {
	if of.DecidedAt == 0 || of.State == consent.Denied {
		return nil, nil
	}
	occupancies, err := c.store.Occupancies(ctx, of.Household)
	if err != nil {
		return nil, err
	}
	zones := make(map[string]string, len(of.Terms.UsagePoints))
	for _, o := range occupancies {
		if slices.Contains(of.Terms.UsagePoints, o.UsagePoint) {
			zones[string(o.UsagePoint)] = o.Zone
		}
	}
	return zones, nil
}

// ListConsents lists the caller's consents, newest first.
func (c *consentService) ListConsents(ctx context.Context, req *wattveilv1.ListConsentsRequest) (*wattveilv1.ListConsentsResponse, error) {
	size, err := page(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if of := caller(ctx).Consent; of != "" { // of a token of one consent, that one
		got, err := c.store.ConsentOf(ctx, ownerOf(caller(ctx)), of)
		if err != nil {
			return nil, err
		}
		return &wattveilv1.ListConsentsResponse{Consents: []*wattveilv1.Consent{consentToWire(got)}}, nil
	}
	consents, next, err := c.store.ListConsents(ctx, ownerOf(caller(ctx)), req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListConsentsResponse{NextPageToken: next}
	for _, p := range consents {
		resp.Consents = append(resp.Consents, consentToWire(p))
	}
	return resp, nil
}

// GrantConsent grants a request, as asked or narrower.
func (c *consentService) GrantConsent(ctx context.Context, req *wattveilv1.GrantConsentRequest) (*wattveilv1.GrantConsentResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	var narrowed *consent.Terms
	if req.GetNarrowed() != nil {
		t, err := termsFromWire(req.GetNarrowed())
		if err != nil {
			return nil, err
		}
		narrowed = &t
	}
	household := caller(ctx).Household()
	_, receipt, err := c.consents.Grant(ctx, request, household, consent.ID(req.GetConsentId()), narrowed)
	if err != nil {
		return nil, err
	}
	granted, err := c.store.ConsentOf(ctx, ownerOf(caller(ctx)), consent.ID(req.GetConsentId()))
	if err != nil {
		return nil, err
	}
	r, err := receiptToWire(ctx, c.prover, receipt)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GrantConsentResponse{Consent: consentToWire(granted), Receipt: r}, nil
}

// DenyConsent denies a request.
func (c *consentService) DenyConsent(ctx context.Context, req *wattveilv1.DenyConsentRequest) (*wattveilv1.DenyConsentResponse, error) {
	r, err := c.end(ctx, req.GetRequestId(), req.GetConsentId(), c.consents.Deny)
	return &wattveilv1.DenyConsentResponse{Receipt: r}, err
}

// RevokeConsent ends a grant, effective for the very next read.
func (c *consentService) RevokeConsent(ctx context.Context, req *wattveilv1.RevokeConsentRequest) (*wattveilv1.RevokeConsentResponse, error) {
	r, err := c.end(ctx, req.GetRequestId(), req.GetConsentId(), c.consents.Revoke)
	return &wattveilv1.RevokeConsentResponse{Receipt: r}, err
}

// NarrowConsent takes back a part of a grant, effective for the very next read.
func (c *consentService) NarrowConsent(ctx context.Context, req *wattveilv1.NarrowConsentRequest) (*wattveilv1.NarrowConsentResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	narrowed, err := termsFromWire(req.GetNarrowed())
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	if !c.narrowings.take(p.ID, c.clock()) {
		return nil, &inputError{codes.ResourceExhausted, "too_many_narrowings", "too many narrowings of this household in the last hour; a permission can be revoked at any time"}
	}
	_, receipt, err := c.consents.Narrow(ctx, request, p.Household(), consent.ID(req.GetConsentId()), narrowed)
	if err != nil {
		return nil, err
	}
	stands, err := c.store.ConsentOf(ctx, ownerOf(p), consent.ID(req.GetConsentId()))
	if err != nil {
		return nil, err
	}
	r, err := receiptToWire(ctx, c.prover, receipt)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.NarrowConsentResponse{Consent: consentToWire(stands), Receipt: r}, nil
}

func (c *consentService) end(ctx context.Context, request, id string, by func(context.Context, string, consent.Household, consent.ID) (consent.Consent, ledger.Receipt, error)) (*wattveilv1.Receipt, error) {
	request, err := requestID(request)
	if err != nil {
		return nil, err
	}
	_, receipt, err := by(ctx, request, caller(ctx).Household(), consent.ID(id))
	if err != nil {
		return nil, err
	}
	return receiptToWire(ctx, c.prover, receipt)
}

// requestID checks a caller's request id; the core spends it in the caller's own
// name.
func requestID(id string) (string, error) {
	if _, err := meter.ParseUtility(id); err != nil { // one alphabet for all names
		return "", about("request_id", invalid("bad_request_id", "request_id must be 1 to 64 characters of A-Z a-z 0-9 . _ : -"))
	}
	return id, nil
}

// ownerOf says whose consents and events a caller sees.
func ownerOf(p Principal) store.Owner {
	switch p.Kind {
	case HouseholdKind:
		return store.Owner{Household: p.Household()}
	case RecipientKind:
		return store.Owner{Recipient: p.Recipient()}
	case RegulatorKind:
		return store.Owner{All: true}
	default:
		return store.Owner{} // owns nothing
	}
}

// page checks what a caller says about a page, and returns how many rows it has.
func page(size int32, token string) (int, error) {
	switch {
	case size < 0 || size > 500:
		return 0, about("page_size", invalid("bad_page_size", "a page holds 1 to 500 rows"))
	case !plain(token):
		return 0, about("page_token", store.ErrPage)
	case size == 0:
		return 100, nil
	default:
		return int(size), nil
	}
}

// plain accepts texts of up to 256 visible ASCII characters: what tokens and
// identifiers of ours are made of, and what every database takes.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c < '!' || c > '~' {
			return false
		}
	}
	return len(s) <= 256
}

func termsFromWire(t *wattveilv1.Terms) (consent.Terms, error) {
	out := consent.Terms{
		Purpose:     consent.Purpose{Code: t.GetPurpose().GetCode(), Text: t.GetPurpose().GetText()},
		Granularity: consent.Granularity(t.GetGranularity()),
		DataFrom:    t.GetDataFrom(), DataUntil: t.GetDataUntil(), PermissionUntil: t.GetPermissionUntil(),
		Future: t.GetFutureUsagePoints(), Once: t.GetOnce(),
	}
	var err error
	if out.UsagePoints, err = points(t.GetUsagePoints()); err != nil {
		return consent.Terms{}, err
	}
	if out.Registers, err = registers(t.GetRegisters()); err != nil {
		return consent.Terms{}, err
	}
	return out, nil
}

func points(in []string) ([]meter.UsagePoint, error) {
	out := make([]meter.UsagePoint, len(in))
	for i, s := range in {
		var err error
		if out[i], err = meter.ParseUsagePoint(s); err != nil {
			return nil, about("usage_points", badName("usage point"))
		}
	}
	return out, nil
}

func registers(in []string) ([]meter.Register, error) {
	out := make([]meter.Register, len(in))
	for i, s := range in {
		var err error
		if out[i], err = meter.ParseRegister(s); err != nil {
			return nil, about("registers", invalid("bad_register", "a register is not an OBIS code such as 1-0:1.29.0*255"))
		}
	}
	return out, nil
}

func consentToWire(c store.ConsentRow) *wattveilv1.Consent {
	return &wattveilv1.Consent{
		Id: string(c.ID), Recipient: string(c.Recipient), RecipientName: c.RecipientName, State: wattveilv1.ConsentState(c.State),
		Terms: termsToWire(c.Terms), RequestedAt: c.RequestedAt, DecidedAt: c.DecidedAt, EndedAt: c.EndedAt,
		Asked: termsToWire(c.Asked), Cause: string(c.Cause), Status: c.Status().Name, FirstReadAt: c.FirstReadAt, EndsAt: c.Deadline(),
	}
}

func termsToWire(t consent.Terms) *wattveilv1.Terms {
	out := &wattveilv1.Terms{
		Purpose:     &wattveilv1.Purpose{Code: t.Purpose.Code, Text: t.Purpose.Text},
		Granularity: wattveilv1.Granularity(t.Granularity),
		DataFrom:    t.DataFrom, DataUntil: t.DataUntil, PermissionUntil: t.PermissionUntil,
		FutureUsagePoints: t.Future, Once: t.Once,
	}
	for _, p := range t.UsagePoints {
		out.UsagePoints = append(out.UsagePoints, string(p))
	}
	for _, r := range t.Registers {
		out.Registers = append(out.Registers, r.String())
	}
	return out
}

// receiptToWire proves the leaf under the newest checkpoint.
func receiptToWire(ctx context.Context, p *ledger.Prover, receipt ledger.Receipt) (*wattveilv1.Receipt, error) {
	proof, err := p.TLogProof(ctx, receipt.Index, receipt.Leaf)
	if err != nil {
		return nil, fmt.Errorf("proving event: %w", err)
	}
	return &wattveilv1.Receipt{Index: receipt.Index, Payload: receipt.Payload, Nonce: receipt.Nonce[:], Proof: string(proof)}, nil
}
