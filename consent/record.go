package consent

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// ErrReplayed says that the request id was used before, for something else or
// for an access that was admitted then: the same id never opens twice.
var ErrReplayed = errors.New("consent: request id was used before")

// record is a leaf that is committed and signed.
type record struct {
	receipt ledger.Receipt
	payload ledger.Payload // as committed
	fresh   bool           // it is the leaf of this call, not of an earlier one with the same key
}

// propose is Ledger.Propose, held to its word: it returns a record only with a
// signed checkpoint. What fn last left in the caller's variables is true of the
// record if, and only if, it is fresh.
func propose[T Tx](ctx context.Context, l Ledger[T], key string, fn func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error)) (record, error) {
	var ran bool
	var last ledger.Position
	receipt, err := l.Propose(ctx, key, func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		ran, last = true, at
		return fn(ctx, tx, at)
	})
	if err != nil {
		return record{}, err
	}
	if len(receipt.Checkpoint) == 0 {
		return record{}, errors.New("consent: leaf came back without a signed checkpoint")
	}
	payload, err := ledger.DecodePayload(receipt.Payload)
	if err != nil {
		return record{}, fmt.Errorf("consent: reading the leaf back: %w", err)
	}
	fresh := ran && last.Index == receipt.Index && last.Time == payload.Time
	return record{receipt: receipt, payload: payload, fresh: fresh}, nil
}

// errViewed ends a proposal that was only there to look.
var errViewed = errors.New("consent: viewed")

// view runs fn in the sequencing transaction, on the same state that decisions
// are made on, and leaves no leaf behind. As nothing is ever recorded under its
// key, one key does for all.
func view[T Tx](ctx context.Context, l Ledger[T], fn func(ctx context.Context, tx T) error) error {
	_, err := l.Propose(ctx, requestKey("view"), func(ctx context.Context, tx T, _ ledger.Position) (ledger.Payload, error) {
		if err := fn(ctx, tx); err != nil {
			return ledger.Payload{}, err
		}
		return ledger.Payload{}, errViewed
	})
	if errors.Is(err, errViewed) {
		return nil
	}
	return err
}

// requestKey turns a caller's request id into the ledger's, which all callers
// share: bound to what is done and by whom, so that nobody is answered with
// another's outcome. The parts are length-prefixed.
func requestKey(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{"wattveil consent request v1"}, parts...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// seconds returns a position's time in unix seconds, rounded down.
func seconds(at ledger.Position) int64 { return at.Time / 1e6 }

// payload returns the leaf's content for a step in the life of c. Its Terms
// field commits to every word of the terms; its Reason is the cause of an end or a
// hold.
func (c Consent) payload(kind ledger.Kind, at ledger.Position) ledger.Payload {
	return ledger.Payload{
		Kind:            kind,
		Time:            at.Time,
		Subject:         string(c.Household),
		Recipient:       string(c.Recipient),
		Purpose:         c.Terms.Purpose.Code,
		PurposeText:     c.Terms.Purpose.hash(),
		Consent:         string(c.ID),
		UsagePoints:     texts(c.Terms.UsagePoints),
		Registers:       registerTexts(c.Terms.Registers),
		Granularity:     c.Terms.Granularity.String(),
		From:            c.Terms.DataFrom,
		Until:           c.Terms.DataUntil,
		PermissionUntil: c.Terms.PermissionUntil,
		Terms:           c.Terms.Hash(),
		Conditions:      c.Terms.conditions(),
		Reason:          string(c.Cause),
	}
}

func (p Purpose) hash() ledger.Hash { return sha256.Sum256([]byte(p.Text)) }

func texts(points []meter.UsagePoint) []string {
	var s []string
	for _, p := range points {
		s = append(s, string(p))
	}
	return s
}

func registerTexts(registers []meter.Register) []string {
	var s []string
	for _, r := range registers {
		s = append(s, r.String())
	}
	return s
}
