package web

import (
	"cmp"
	"context"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// verdict is the outcome of a check. A check that could not be made is not a
// failed one, and never looks like a passed one.
type verdict int

const (
	unchecked verdict = iota
	fits
	contradicts
)

// check verifies a receipt under the log's key: signature, inclusion, and that
// the leaf commits to the payload that came along. The key is the one that the
// hub names; whoever wants to be sure of the hub too checks the same proof
// elsewhere with a key from elsewhere, and the pages say so.
//
// The payload is returned for every receipt that can be read, whatever the
// verdict; size and root of the tree only with one that fits.
func (p *portal) check(ctx context.Context, index uint64, r *wattveilv1.Receipt) (ledger.Verified, verdict) {
	payload, err := ledger.DecodePayload(r.GetPayload())
	if err != nil || len(r.GetNonce()) != len(ledger.Hash{}) || r.GetIndex() != index {
		return ledger.Verified{}, contradicts
	}
	shown := ledger.Verified{Payload: payload, Index: index}
	signed, err := p.audit.GetCheckpoint(ctx, &wattveilv1.GetCheckpointRequest{})
	if err != nil {
		return shown, unchecked
	}
	verifier, err := verifierOf(signed)
	if err != nil {
		return shown, unchecked
	}
	proved, err := verifier.Proof(r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof()))
	if err != nil || proved.Index != index {
		return shown, contradicts
	}
	return proved, fits
}

// verifierOf returns the verifier of all the keys that the hub names beside a
// checkpoint: a receipt may be older than the newest. A hub of an earlier version
// names one.
func verifierOf(signed *wattveilv1.GetCheckpointResponse) (*ledger.Verifier, error) {
	return ledger.NewVerifier(cmp.Or(signed.GetVerifierKeys(), signed.GetVerifierKey()))
}
