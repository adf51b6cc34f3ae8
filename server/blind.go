package server

import (
	"context"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

// blindTx is a transaction in which there are no consents.
type blindTx struct{ *store.Tx }

// Consent implements consent.Tx.
func (blindTx) Consent(context.Context, consent.ID) (consent.Consent, error) {
	return consent.Consent{}, consent.ErrNotFound
}

// blindLedger sequences decisions that see no consent.
type blindLedger struct{ whole consent.Ledger[*store.Tx] }

// Propose implements consent.Ledger.
func (l blindLedger) Propose(ctx context.Context, requestID string, fn func(ctx context.Context, tx blindTx, at ledger.Position) (ledger.Payload, error)) (ledger.Receipt, error) {
	return l.whole.Propose(ctx, requestID, func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
		return fn(ctx, blindTx{tx}, at)
	})
}

// admission is the gate as callers meet it: a token of one consent opens nothing under
// another. What it asks for there is refused and recorded as if there was no such
// consent, whosever it is.
type admission struct {
	gate  *consent.Gate[*store.Tx]
	blind *consent.Gate[blindTx]
}

func newAdmission(l consent.Ledger[*store.Tx], now Clock) admission {
	return admission{gate: consent.NewGate(l, now), blind: consent.NewGate[blindTx](blindLedger{l}, now)}
}

// admit is [consent.Gate.Admit] for a caller.
func (a admission) admit(ctx context.Context, p Principal, access consent.Access) (consent.Permit, error) {
	if p.Consent != "" && p.Consent != access.Consent {
		return a.blind.Admit(ctx, access)
	}
	return a.gate.Admit(ctx, access)
}
