package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// An envelope key serves about a month: what a regulator can open with one key is
// bounded in time. It may be posted long before.
const (
	maxEnvelopeKeySpan = 35 * 86400  // seconds
	maxEnvelopeKeyWait = 400 * 86400 // seconds until it becomes valid
)

// PutEnvelopeKey posts a key of the calling regulator. Key and leaf commit
// together; from its first valid second on everything recorded is sealed to it.
func (a *auditService) PutEnvelopeKey(ctx context.Context, req *wattveilv1.PutEnvelopeKeyRequest) (*wattveilv1.PutEnvelopeKeyResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	id, err := ledger.EnvelopeKeyID(req.GetPublicKey())
	if err != nil {
		return nil, err
	}
	from, until, now := req.GetFrom(), req.GetUntil(), a.clock().Unix()
	if !inCalendar(from) || !inCalendar(until) || until <= from || until-from > maxEnvelopeKeySpan || until <= now || from > now+maxEnvelopeKeyWait {
		return nil, invalid("bad_range", "a key is valid for at most 35 days, which are not past and begin within 400 days")
	}
	key := store.RegulatorKey{
		EnvelopeKey: ledger.EnvelopeKey{ID: id, Public: req.GetPublicKey(), From: from, Until: until}, Regulator: caller(ctx).ID,
	}
	receipt, err := a.sequencer.Propose(ctx, fmt.Sprintf("envelope-key/%s/%s", key.Regulator, request),
		func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
			k := key
			k.LeafIndex = at.Index
			return ledger.Payload{Kind: ledger.KindAdmin, Detail: ledger.DetailEnvelopeKey, Digest: id, From: from, Until: until}, tx.PutRegulatorKey(ctx, k)
		})
	if err != nil {
		return nil, fmt.Errorf("posting envelope key: %w", err)
	}
	p, err := ledger.DecodePayload(receipt.Payload)
	if err != nil {
		return nil, err
	}
	if p.Digest != id || p.From != from || p.Until != until {
		return nil, &inputError{code: codes.AlreadyExists, reason: "request_id_used", words: "this request id was used before, for another key"}
	}
	key.LeafIndex = receipt.Index
	return &wattveilv1.PutEnvelopeKeyResponse{Key: envelopeKeyToWire(key)}, nil
}

// ListEnvelopeKeys lists the posted keys.
func (a *auditService) ListEnvelopeKeys(ctx context.Context, _ *wattveilv1.ListEnvelopeKeysRequest) (*wattveilv1.ListEnvelopeKeysResponse, error) {
	keys, err := a.store.RegulatorKeys(ctx, 1000)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListEnvelopeKeysResponse{}
	for _, k := range keys {
		resp.Keys = append(resp.Keys, envelopeKeyToWire(k))
	}
	return resp, nil
}

func envelopeKeyToWire(k store.RegulatorKey) *wattveilv1.EnvelopeKey {
	return &wattveilv1.EnvelopeKey{Id: k.ID[:], Regulator: k.Regulator, PublicKey: k.Public, From: k.From, Until: k.Until, Index: k.LeafIndex}
}

// recordsPerAnswer is how many records one message of ListRecords holds.
const recordsPerAnswer = 500

// ListRecords opens every leaf of a range to a regulator: by its envelope, which
// only the regulator's own key opens, or, where no key was valid when it was
// recorded, by payload and nonce. What was erased is not there.
func (a *auditService) ListRecords(req *wattveilv1.ListRecordsRequest, stream grpc.ServerStreamingServer[wattveilv1.ListRecordsResponse]) error {
	ctx := stream.Context()
	until := req.GetUntil()
	if until == 0 {
		note, err := a.store.Checkpoint(ctx)
		if err != nil {
			return err
		}
		if until, _, err = ledger.ReadCheckpoint(note); err != nil {
			return err
		}
	}
	from := req.GetFrom()
	if from >= until {
		return nil
	}
	// The batch that the first record is of began earlier.
	headsFrom, err := a.store.EnvelopeBatch(ctx, from)
	if err != nil {
		return err
	}
	for from < until {
		entries, err := a.store.Entries(ctx, from, until, recordsPerAnswer)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		next := entries[len(entries)-1].Index + 1
		heads, err := a.store.EnvelopeHeads(ctx, headsFrom, next)
		if err != nil {
			return err
		}
		resp := &wattveilv1.ListRecordsResponse{}
		for _, h := range heads {
			resp.Heads = append(resp.Heads, &wattveilv1.EnvelopeHead{FirstIndex: h.FirstIndex, KeyId: h.KeyID[:], Sealed: h.Sealed})
		}
		if resp.Records, err = a.records(ctx, entries); err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		from, headsFrom = next, next
	}
	return nil
}

func (a *auditService) records(ctx context.Context, entries []ledger.Entry) ([]*wattveilv1.Record, error) {
	var open []string // households of leaves without an envelope
	for _, e := range entries {
		if e.Envelope == nil && e.Subject != "" {
			open = append(open, e.Subject)
		}
	}
	keys, err := a.store.TagKeys(ctx, open...)
	if err != nil {
		return nil, err
	}
	out := make([]*wattveilv1.Record, len(entries))
	for i, e := range entries {
		if e.Envelope != nil {
			out[i] = &wattveilv1.Record{Index: e.Index, Envelope: e.Envelope}
			continue
		}
		r := &wattveilv1.Record{Index: e.Index, Payload: e.Payload, Nonce: e.Nonce[:]}
		if e.Subject != "" {
			p, err := ledger.DecodePayload(e.Payload)
			if err != nil {
				return nil, err
			}
			if key, ok := ledger.TagKeyOf(keys[e.Subject], p.SubjectSeq); ok {
				mapKey := ledger.MapKey(key)
				r.MapKey = mapKey[:]
			}
		}
		out[i] = r
	}
	return out, nil
}
