package server

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// keyService implements KeyService: a keeper of keys that other processes ask. It
// decides nothing; what the guardian gives out leaves sealed to who asked.
type keyService struct {
	wattveilv1.UnimplementedKeyServiceServer
	guard  keyguard.Guardian
	random io.Reader
	log    *slog.Logger
	slots  chan struct{} // one for each answer under way
}

// keyCalls is how many answers are made at a time; more wait, until their time is
// up. An answer takes twice [keyguard.MaxAnswer] of memory at the most.
const keyCalls = 32

// maxProof bounds a tlog-proof: 64 hashes in base64, a leaf, and a checkpoint with
// the cosignatures of two dozen witnesses with ML-DSA-44.
const maxProof = 128 << 10

func newKeyService(guard keyguard.Guardian, random io.Reader, log *slog.Logger) *keyService {
	return &keyService{guard: guard, random: random, log: log, slots: make(chan struct{}, keyCalls)}
}

// BlockKeys answers one recorded access.
func (k *keyService) BlockKeys(ctx context.Context, req *wattveilv1.BlockKeysRequest) (*wattveilv1.BlockKeysResponse, error) {
	to, err := seal.ParsePublicKey(req.GetPublicKey())
	if err != nil {
		return nil, invalid("bad_public_key", "public_key is not an X-Wing public key")
	}
	r, err := keyRequestFromWire(req)
	if err != nil {
		return nil, err
	}
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	keys, err := k.guard.BlockKeys(ctx, r)
	if err != nil {
		return nil, k.named(ctx, err)
	}
	defer keys.Clear()
	sealed, err := keyguard.SealAnswer(k.random, to, r, keys)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.BlockKeysResponse{Sealed: sealed}, nil
}

// keyRequestFromWire reads a request, which is then the asking process's own to the
// byte: the answer is bound to it.
func keyRequestFromWire(req *wattveilv1.BlockKeysRequest) (r keyguard.Request, err error) {
	if len(req.GetUsagePoints()) > consent.MaxUsagePoints || len(req.GetRegisters()) > consent.MaxRegisters {
		return keyguard.Request{}, keyguard.ErrTooMany
	}
	if r.Access, err = openingFromWire(req.GetAccess()); err != nil {
		return keyguard.Request{}, err
	}
	if r.Consent, err = openingFromWire(req.GetConsent()); err != nil {
		return keyguard.Request{}, err
	}
	if r.UsagePoints, err = points(req.GetUsagePoints()); err != nil {
		return keyguard.Request{}, err
	}
	if r.Registers, err = registers(req.GetRegisters()); err != nil {
		return keyguard.Request{}, err
	}
	r.From, r.To = meter.Day(req.GetFirstDay()), meter.Day(req.GetLastDay())
	return r, nil
}

func openingFromWire(o *wattveilv1.Opening) (ledger.Opening, error) {
	if o == nil {
		return ledger.Opening{}, nil
	}
	if len(o.GetPayload()) > ledger.MaxPayload || len(o.GetNonce()) != len(ledger.Hash{}) || len(o.GetProof()) > maxProof {
		return ledger.Opening{}, invalid("bad_opening", "a payload, nonce or proof is not of the length of one")
	}
	return ledger.Opening{Payload: o.GetPayload(), Nonce: ledger.Hash(o.GetNonce()), Proof: o.GetProof()}, nil
}

// keyRefusals are what the guard says to a request that it should not have been
// asked. To third parties they are internal, as a sound hub never asks so; to the
// part that asked they have names. The others have theirs in errorTable.
var keyRefusals = []tableRow{
	{keyguard.ErrProof, codes.PermissionDenied, "proof_not_valid", "a proof is not valid"},
	{keyguard.ErrLeaf, codes.PermissionDenied, "leaf_not_admitted", "the leaf is not an access that was admitted"},
	{keyguard.ErrConsent, codes.PermissionDenied, "consent_not_shown", "no leaf of a consent allows the access"},
	{keyguard.ErrOutside, codes.PermissionDenied, "beyond_leaf", "the request reaches beyond its leaf"},
	{seal.ErrRefused, codes.PermissionDenied, "key_service_refused", "the key service refused"},
}

// named gives the guard's refusals their names, and says in the log that there was
// one: the part that opens readings is at fault, or in other hands. What has a row
// in errorTable keeps that, and what has none stays internal.
func (k *keyService) named(ctx context.Context, err error) error {
	if errors.Is(err, ledger.ErrNotCosigned) { // in an ErrProof; worth another try, unlike others
		return err
	}
	for _, row := range keyRefusals {
		if errors.Is(err, row.core) {
			k.log.LogAttrs(ctx, slog.LevelWarn, "refused block keys", slog.String("reason", row.reason))
			return &inputError{row.code, row.reason, row.words}
		}
	}
	return err
}
