package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// GetHouseholdRecord gives the calling household its secret, its events and the
// proof of how they end: all that `wattveil verify household` needs to find that
// none is missing.
func (a *auditService) GetHouseholdRecord(ctx context.Context, req *wattveilv1.GetHouseholdRecordRequest) (*wattveilv1.GetHouseholdRecordResponse, error) {
	p := caller(ctx)
	keys, err := a.store.TagKeys(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	mine := keys[p.ID]
	if len(mine) == 0 {
		return nil, ledger.ErrNoSubjectKey
	}
	resp := &wattveilv1.GetHouseholdRecordResponse{Household: p.ID, VerifierKeys: a.signing.verifier.Keys()}
	for _, k := range mine {
		resp.TagKeys = append(resp.TagKeys, &wattveilv1.TagKey{FromSequence: k.FromSeq, Key: k.Key[:]})
	}
	head, key, proof, err := a.mapper.Prove(mine)
	if errors.Is(err, ledger.ErrNoMapHead) {
		if _, err := a.mapper.Tick(ctx); err != nil {
			return nil, err
		}
		head, key, proof, err = a.mapper.Prove(mine)
	}
	if err != nil {
		return nil, fmt.Errorf("proving a household's events: %w", err)
	}
	resp.MapKey = key[:]
	for _, s := range proof.Siblings {
		resp.MapSiblings = append(resp.MapSiblings, s[:])
	}
	if proof.Other != nil {
		resp.MapOtherKey, resp.MapOtherValue = proof.Other.Key[:], proof.Other.Value[:]
	}
	// The events after the proof: one that came in between is newer than the map,
	// as the record says, and none can be missing from before it.
	events, err := a.store.HouseholdEvents(ctx, p.Household(), req.GetAfterSequence())
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		event := &wattveilv1.HouseholdEvent{Index: e.Index, Payload: e.Payload, Nonce: e.Nonce[:]}
		if e.Leaf.Envelope != (ledger.Hash{}) {
			event.EnvelopeHash = e.Leaf.Envelope[:]
		}
		resp.Events = append(resp.Events, event)
	}
	entry, err := a.store.ReadEntry(ctx, head)
	if err != nil {
		return nil, err
	}
	mapHead, err := ledger.DecodePayload(entry.Payload)
	if err != nil {
		return nil, err
	}
	resp.MapSequence = req.GetAfterSequence()
	for _, e := range events {
		if e.Index < mapHead.MapUntil {
			resp.MapSequence++
		}
	}
	if resp.MapHead, err = receiptToWire(ctx, a.prover, ledger.Receipt{Index: head, Leaf: entry.Leaf, Payload: entry.Payload, Nonce: entry.Nonce}); err != nil {
		return nil, err
	}
	return resp, nil
}

// mapEntriesPerAnswer is how many entries one message of ListMap holds.
const mapEntriesPerAnswer = 5000

// ListMap publishes the blinded keys and value hashes behind the newest map head.
// They tell how many households there are, and to nobody but a household, or a
// regulator who can open its events, which is whose.
func (a *auditService) ListMap(_ *wattveilv1.ListMapRequest, stream grpc.ServerStreamingServer[wattveilv1.ListMapResponse]) error {
	head, entries, err := a.mapper.List()
	if errors.Is(err, ledger.ErrNoMapHead) {
		if _, err := a.mapper.Tick(stream.Context()); err != nil {
			return err
		}
		head, entries, err = a.mapper.List()
	}
	if err != nil {
		return err
	}
	for {
		n := min(len(entries), mapEntriesPerAnswer)
		resp := &wattveilv1.ListMapResponse{MapHead: head}
		for _, e := range entries[:n] {
			resp.Keys = append(resp.Keys, e.Key[:])
			resp.Values = append(resp.Values, e.Value[:])
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		if entries = entries[n:]; len(entries) == 0 {
			return nil
		}
	}
}
