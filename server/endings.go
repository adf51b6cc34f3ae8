package server

import (
	"context"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// WithdrawConsent ends what the calling third party asked for or was granted.
func (c *consentService) WithdrawConsent(ctx context.Context, req *wattveilv1.WithdrawConsentRequest) (*wattveilv1.WithdrawConsentResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	if _, _, err := c.consents.Withdraw(ctx, request, p.Recipient(), consent.ID(req.GetConsentId())); err != nil {
		return nil, err
	}
	stands, err := c.shown(ctx, ownerOf(p), req.GetConsentId())
	return &wattveilv1.WithdrawConsentResponse{Consent: stands}, err
}

// TerminateConsent ends a consent in the name of the operator or the regulator.
func (c *consentService) TerminateConsent(ctx context.Context, req *wattveilv1.TerminateConsentRequest) (*wattveilv1.TerminateConsentResponse, error) {
	stands, err := c.override(ctx, req.GetRequestId(), req.GetConsentId(), c.consents.Terminate)
	return &wattveilv1.TerminateConsentResponse{Consent: stands}, err
}

// SuspendConsent puts a grant on hold.
func (c *consentService) SuspendConsent(ctx context.Context, req *wattveilv1.SuspendConsentRequest) (*wattveilv1.SuspendConsentResponse, error) {
	stands, err := c.override(ctx, req.GetRequestId(), req.GetConsentId(), c.consents.Suspend)
	return &wattveilv1.SuspendConsentResponse{Consent: stands}, err
}

// ResumeConsent takes a grant off hold.
func (c *consentService) ResumeConsent(ctx context.Context, req *wattveilv1.ResumeConsentRequest) (*wattveilv1.ResumeConsentResponse, error) {
	stands, err := c.override(ctx, req.GetRequestId(), req.GetConsentId(), c.consents.Resume)
	return &wattveilv1.ResumeConsentResponse{Consent: stands}, err
}

// override takes a step in the name of the caller, operator or regulator. What they are
// shown says what became of the consent and nothing of what it is about.
func (c *consentService) override(ctx context.Context, request, id string,
	step func(ctx context.Context, request string, by consent.Cause, who string, id consent.ID) (consent.Consent, ledger.Receipt, error),
) (*wattveilv1.Consent, error) {
	request, err := requestID(request)
	if err != nil {
		return nil, err
	}
	p, by := caller(ctx), consent.ByOperator
	if p.Kind == RegulatorKind {
		by = consent.ByRegulator
	}
	if _, _, err := step(ctx, request, by, p.ID, consent.ID(id)); err != nil {
		return nil, err
	}
	stands, err := c.shown(ctx, store.Owner{All: true}, id)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.Consent{
		Id: stands.GetId(), Recipient: stands.GetRecipient(), RecipientName: stands.GetRecipientName(),
		State: stands.GetState(), Status: stands.GetStatus(), Cause: stands.GetCause(), EndedAt: stands.GetEndedAt(),
	}, nil
}

// shown is a consent as it stands.
func (c *consentService) shown(ctx context.Context, o store.Owner, id string) (*wattveilv1.Consent, error) {
	row, err := c.store.ConsentOf(ctx, o, consent.ID(id))
	if err != nil {
		return nil, err
	}
	return consentToWire(row), nil
}
