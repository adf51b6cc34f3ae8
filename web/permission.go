package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// permissionPage answers: how does this permission stand? A visitor comes here
// after each decision.
type permissionPage struct {
	Permission      permission
	Asking, Allowed bool
	Denied, Revoked bool
	// Entry is the decision's entry in the record, if the visitor brought it
	// along and its proof fits; Number is the same for people.
	Entry, Number string
	Doubt         bool // the visitor brought an entry whose proof could not be checked or does not fit
}

// decisions are the kinds of entries that follow from a household's decision,
// by the state that they lead to.
var decisions = map[wattveilv1.ConsentState][]ledger.Kind{
	wattveilv1.ConsentState_CONSENT_STATE_GRANTED: {ledger.KindConsentGrant, ledger.KindConsentNarrow},
	wattveilv1.ConsentState_CONSENT_STATE_DENIED:  {ledger.KindConsentDeny},
	wattveilv1.ConsentState_CONSENT_STATE_REVOKED: {ledger.KindConsentRevoke},
}

func (p *portal) permission(ctx context.Context, r *http.Request) (answer, error) {
	c, page, err := p.onePermission(ctx, r)
	if err != nil {
		return nil, err
	}
	if text := r.URL.Query().Get("entry"); text != "" {
		index, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, errBadForm
		}
		if p.recorded(ctx, index, c) {
			page.Entry, page.Number = entryName(index)
		} else {
			page.Doubt = true
		}
	}
	return show("permission", "Permission", "sharing", page), nil
}

func (p *portal) onePermission(ctx context.Context, r *http.Request) (*wattveilv1.Consent, permissionPage, error) {
	zone, err := p.zone(ctx)
	if err != nil {
		return nil, permissionPage{}, err
	}
	resp, err := p.consents.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: r.PathValue("id")})
	if err != nil {
		return nil, permissionPage{}, err
	}
	c := resp.GetConsent()
	stands := standing(c, p.now().Unix())
	return c, permissionPage{
		Permission: inWords(c, zone),
		Asking:     stands == asking, Allowed: stands == allowed,
		Denied:  c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_DENIED,
		Revoked: c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_REVOKED,
	}, nil
}

// recorded reports whether the entry is the one that made the consent stand as
// it does, and its proof fits.
func (p *portal) recorded(ctx context.Context, index uint64, c *wattveilv1.Consent) bool {
	resp, err := p.audit.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: index})
	if err != nil {
		return false
	}
	verified, verdict := p.check(ctx, index, resp.GetReceipt())
	if verdict != fits || verified.Payload.Consent != c.GetId() {
		return false
	}
	for _, kind := range decisions[c.GetState()] {
		if verified.Payload.Kind == kind {
			return true
		}
	}
	return false
}

func (p *portal) grant(ctx context.Context, r *http.Request) (answer, error) {
	return decide(r, func(request, id string) (*wattveilv1.Receipt, error) {
		resp, err := p.consents.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: request, ConsentId: id})
		return resp.GetReceipt(), err
	})
}

func (p *portal) deny(ctx context.Context, r *http.Request) (answer, error) {
	return decide(r, func(request, id string) (*wattveilv1.Receipt, error) {
		resp, err := p.consents.DenyConsent(ctx, &wattveilv1.DenyConsentRequest{RequestId: request, ConsentId: id})
		return resp.GetReceipt(), err
	})
}

func (p *portal) revoke(ctx context.Context, r *http.Request) (answer, error) {
	return decide(r, func(request, id string) (*wattveilv1.Receipt, error) {
		resp, err := p.consents.RevokeConsent(ctx, &wattveilv1.RevokeConsentRequest{RequestId: request, ConsentId: id})
		return resp.GetReceipt(), err
	})
}

// decide sends a decision under the request id that the form carries, so that
// the same form sent twice decides once, and goes on to the permission's page.
// What another tab or another person decided first is shown there too.
func decide(r *http.Request, send func(request, id string) (*wattveilv1.Receipt, error)) (answer, error) {
	request := r.PostFormValue("request")
	if request == "" || len(request) > 64 {
		return nil, errBadForm
	}
	id := r.PathValue("id")
	to := "/sharing/" + url.PathEscape(id)
	receipt, err := send(request, id)
	switch status.Code(err) {
	case codes.OK:
		entry, _ := entryName(receipt.GetIndex())
		return seeOther{to: to + "?entry=" + entry}, nil
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		return seeOther{to: to}, nil
	default:
		return nil, err
	}
}
