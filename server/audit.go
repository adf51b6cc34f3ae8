package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// auditService implements AuditService.
type auditService struct {
	wattveilv1.UnimplementedAuditServiceServer
	store     *store.Store
	prover    *ledger.Prover
	sequencer *ledger.Sequencer[*store.Tx]
	mapper    *ledger.Mapper[*store.Tx]
	clock     Clock
	signing   *ledgerRotation
}

// ListEvents lists the events that concern the caller, newest first. What a
// filter lets pass may be rare: a page can be short, or empty, and not the last.
func (a *auditService) ListEvents(ctx context.Context, req *wattveilv1.ListEventsRequest) (*wattveilv1.ListEventsResponse, error) {
	size, err := page(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	filter, err := eventFilter(req)
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	events, next, err := a.store.ListEvents(ctx, ownerOf(p), filter, req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListEventsResponse{NextPageToken: next}
	for _, e := range events {
		said, err := ledger.DecodePayload(e.Payload)
		if err != nil {
			return nil, fmt.Errorf("listing record %d: %w", e.Index, err)
		}
		event := &wattveilv1.Event{
			Index: e.Index, Kind: string(said.Kind), Time: said.Time / 1_000_000, Recipient: said.Recipient, RecipientName: e.RecipientName,
			Purpose: said.Purpose, ConsentId: said.Consent, From: said.From, Until: said.Until, Intervals: said.Intervals, Reason: said.Reason,
		}
		if p.Kind == RegulatorKind {
			event.Household = said.Subject
		}
		resp.Events = append(resp.Events, event)
	}
	return resp, nil
}

// eventFilter checks what a caller wants to see of its events.
func eventFilter(req *wattveilv1.ListEventsRequest) (store.EventFilter, error) {
	f := store.EventFilter{
		Kind: ledger.Kind(req.GetKind()), Recipient: consent.Recipient(req.GetRecipient()), Purpose: req.GetPurpose(),
		From: req.GetRecordedFrom(), Until: req.GetRecordedUntil(),
	}
	for _, by := range [...]struct{ what, name string }{{"kind", req.GetKind()}, {"recipient", req.GetRecipient()}, {"purpose", req.GetPurpose()}} {
		if _, err := meter.ParseUtility(by.name); err != nil && by.name != "" { // one alphabet for all names
			return store.EventFilter{}, badName(by.what)
		}
	}
	switch {
	case !inCalendar(f.From) || !inCalendar(f.Until):
		return store.EventFilter{}, errInstant
	case f.Until != 0 && f.Until <= f.From:
		return store.EventFilter{}, invalid("bad_range", "the time of recording ends before it begins")
	}
	return f, nil
}

// GetReceipt proves one event to those it concerns; to everyone else it does
// not exist.
func (a *auditService) GetReceipt(ctx context.Context, req *wattveilv1.GetReceiptRequest) (*wattveilv1.GetReceiptResponse, error) {
	e, err := a.store.ReadEntry(ctx, req.GetIndex())
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	mine := p.Kind == RegulatorKind || p.Kind == HouseholdKind && e.Subject == p.ID
	if p.Kind == RecipientKind && e.Recipient == p.ID {
		if mine, err = a.recipientMay(ctx, e); err != nil {
			return nil, err
		}
	}
	if !mine {
		return nil, store.ErrNotFound
	}
	r, err := receiptToWire(ctx, a.prover, ledger.Receipt{Index: e.Index, Leaf: e.Leaf, Payload: e.Payload, Nonce: e.Nonce})
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetReceiptResponse{Receipt: r}, nil
}

// recipientMay says whether a recipient may see the payload of an event that
// names it. The payloads of a consent name the household from the request on,
// or nobody: before it is granted they would tell a third party whether somebody
// lives at the usage point, and who has said no.
func (a *auditService) recipientMay(ctx context.Context, e ledger.Entry) (bool, error) {
	switch e.Kind {
	case ledger.KindConsentRequest, ledger.KindConsentDeny:
		return false, nil
	case ledger.KindConsentExpire, ledger.KindConsentTerminate, ledger.KindConsentInvalidate:
		payload, err := ledger.DecodePayload(e.Payload)
		if err != nil {
			return false, err
		}
		c, err := a.store.ConsentOf(ctx, store.Owner{Recipient: consent.Recipient(e.Recipient)}, consent.ID(payload.Consent))
		return err == nil && c.DecidedAt != 0, err
	default:
		return true, nil
	}
}

// GetCheckpoint returns the newest signed checkpoint.
func (a *auditService) GetCheckpoint(ctx context.Context, _ *wattveilv1.GetCheckpointRequest) (*wattveilv1.GetCheckpointResponse, error) {
	note, err := a.store.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	all := a.signing.verifier.Keys()
	newest, _, _ := strings.Cut(all, "\n")
	return &wattveilv1.GetCheckpointResponse{Checkpoint: string(note), VerifierKey: newest, VerifierKeys: all}, nil
}

// ListCheckpoints returns a part of the history of signed checkpoints.
func (a *auditService) ListCheckpoints(ctx context.Context, req *wattveilv1.ListCheckpointsRequest) (*wattveilv1.ListCheckpointsResponse, error) {
	limit, err := page(req.GetLimit(), "")
	if err != nil {
		return nil, err
	}
	notes, err := a.store.Checkpoints(ctx, req.GetAfterSize(), limit)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListCheckpointsResponse{}
	for _, note := range notes {
		resp.Checkpoints = append(resp.Checkpoints, string(note))
	}
	return resp, nil
}
