package web

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// receiptPage shows a permission to whoever has the address of its receipt: what was
// agreed, what has changed since, and the way to stop.
type receiptPage struct {
	Permission permission
	Address    string
	Live       bool // can be stopped
	Steps      []receiptStep
	Form       string
}

// receiptStep is one thing that happened to a permission.
type receiptStep struct {
	When    moment
	What    string
	Changed bool       // the terms did
	Terms   permission // what holds from then on, if so
	Entry   string
}

func (p *portal) receiptPage(ctx context.Context, r *http.Request) (answer, error) {
	page, err := p.openReceipt(ctx, r)
	if err != nil {
		return nil, err
	}
	return show("receipt", "Receipt", "", page), nil
}

// receiptOf leads a household to the receipt of its permission.
func (p *portal) receiptOf(ctx context.Context, r *http.Request) (answer, error) {
	resp, err := p.consents.GetConsentReceipt(ctx, &wattveilv1.GetConsentReceiptRequest{ConsentId: r.PathValue("id")})
	if err != nil {
		return nil, err
	}
	return seeOther{to: resp.GetAddress()}, nil
}

// receiptFile is the signed record for the visitor to keep.
func (p *portal) receiptFile(ctx context.Context, r *http.Request) (answer, error) {
	resp, err := p.consents.OpenReceipt(ctx, &wattveilv1.OpenReceiptRequest{Address: r.PathValue("address")})
	if err != nil {
		return nil, err
	}
	return download{name: "permission.jws", mediaType: "application/jose", body: []byte(resp.GetReceipt())}, nil
}

func (p *portal) receiptRevokeAsk(ctx context.Context, r *http.Request) (answer, error) {
	page, err := p.openReceipt(ctx, r)
	if err != nil {
		return nil, err
	}
	if !page.Live {
		return seeOther{to: receiptPath(r)}, nil
	}
	return show("receipt_revoke", "Stop sharing", "", page), nil
}

func (p *portal) receiptRevoke(ctx context.Context, r *http.Request) (answer, error) {
	request := r.PostFormValue("request")
	if request == "" || len(request) > 64 {
		return nil, errBadForm
	}
	_, err := p.consents.RevokeByReceipt(ctx, &wattveilv1.RevokeByReceiptRequest{RequestId: request, Address: r.PathValue("address")})
	switch status.Code(err) {
	case codes.OK, codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists: // the page says how it stands
		return seeOther{to: receiptPath(r)}, nil
	default:
		return nil, err
	}
}

func receiptPath(r *http.Request) string { return "/r/" + url.PathEscape(r.PathValue("address")) }

func (p *portal) openReceipt(ctx context.Context, r *http.Request) (receiptPage, error) {
	resp, err := p.consents.OpenReceipt(ctx, &wattveilv1.OpenReceiptRequest{Address: r.PathValue("address")})
	if err != nil {
		return receiptPage{}, err
	}
	zone := zoneNamed(resp.GetZone())
	c := resp.GetConsent()
	page := receiptPage{
		Permission: inWords(c, zone), Address: r.PathValue("address"), Live: standing(c, p.now().Unix()) == allowed, Form: rand.Text(),
	}
	for i, s := range resp.GetSteps() {
		step := receiptStep{When: at(s.GetTime(), zone), What: happenings[ledger.Kind(s.GetKind())]}
		step.Entry, _ = entryName(s.GetIndex())
		if ledger.Kind(s.GetKind()).Agrees() && i > 0 {
			step.Changed = true
			step.Terms = inWords(&wattveilv1.Consent{Terms: s.GetTerms(), RequestedAt: c.GetRequestedAt()}, zone)
		}
		page.Steps = append(page.Steps, step)
	}
	return page, nil
}
