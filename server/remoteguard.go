package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// remoteGuard is a keyguard.Guardian that asks the one of another process.
type remoteGuard struct {
	keys   wattveilv1.KeyServiceClient
	random io.Reader
}

// NewRemoteGuard returns a guardian that asks KeyService over conn, which is to be
// mutual TLS with a certificate of the role "access"; see [CertificateURI]. Each
// call makes a key pair of its own from random, to which alone the answer is
// sealed. Its errors are those of a guard in this process, by name; ErrAnswer for
// an answer that is none; and seal.ErrUnavailable where nobody answers, of which
// it is not known whether the access is spent. Safe for concurrent use.
func NewRemoteGuard(conn grpc.ClientConnInterface, random io.Reader) keyguard.Guardian {
	return &remoteGuard{wattveilv1.NewKeyServiceClient(conn), random}
}

// keyTimeout bounds one question: a permit is worth nothing after a minute.
const keyTimeout = 30 * time.Second

// BlockKeys asks once, and never again: an access is answered once.
func (g *remoteGuard) BlockKeys(ctx context.Context, r keyguard.Request) (*keyguard.BlockKeys, error) {
	key, err := seal.NewPrivateKey(g.random)
	if err != nil {
		return nil, fmt.Errorf("making a key to be answered under: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	resp, err := g.keys.BlockKeys(ctx, keyRequestToWire(r, key.Public()), grpc.MaxCallRecvMsgSize(maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("asking the keeper of keys: %w", keyErrorFromWire(err))
	}
	keys, err := keyguard.OpenAnswer(key, r, resp.GetSealed())
	if err != nil {
		return nil, fmt.Errorf("opening block keys: %w", err)
	}
	return keys, nil
}

func keyRequestToWire(r keyguard.Request, to seal.PublicKey) *wattveilv1.BlockKeysRequest {
	req := &wattveilv1.BlockKeysRequest{
		Access: openingToWire(r.Access), Consent: openingToWire(r.Consent),
		FirstDay: int32(r.From), LastDay: int32(r.To), PublicKey: to.Bytes(),
	}
	for _, p := range r.UsagePoints {
		req.UsagePoints = append(req.UsagePoints, string(p))
	}
	for _, reg := range r.Registers {
		req.Registers = append(req.Registers, reg.String())
	}
	return req
}

func openingToWire(o ledger.Opening) *wattveilv1.Opening {
	if len(o.Payload) == 0 && len(o.Proof) == 0 {
		return nil
	}
	return &wattveilv1.Opening{Payload: o.Payload, Nonce: o.Nonce[:], Proof: o.Proof}
}

// keyFaults are the errors that cross the wire by name beside keyRefusals: those
// of errorTable that a guard may return.
var keyFaults = []error{
	fmt.Errorf("%w: %w", keyguard.ErrProof, ledger.ErrNotCosigned),
	keyguard.ErrStale, keyguard.ErrTooMany, keyguard.ErrSpent,
	seal.ErrUnavailable, seal.ErrKeyGone,
	store.ErrUnavailable, store.ErrRetry, ledger.ErrUnknownOutcome,
	ledger.ErrRollback, ledger.ErrFork, ledger.ErrCorrupt,
	context.DeadlineExceeded, context.Canceled,
}

// keyErrorFromWire turns a status into the error that it was on the other side, and into
// seal.ErrUnavailable where nobody answers.
func keyErrorFromWire(err error) error {
	reason := reasonOf(status.Convert(err))
	for _, row := range keyRefusals {
		if row.reason == reason {
			return row.core
		}
	}
	if err = partError(err, keyFaults...); errors.Is(err, errPartAway) {
		return seal.ErrUnavailable
	}
	return err
}
