package ledgertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

func hashOf(s string) ledger.Hash { return sha256.Sum256([]byte(s)) }

// testEntry is an entry with every column filled, and every byte value in its
// payload: a store that takes bytes for text will not return it.
func testEntry(index uint64) ledger.Entry {
	payload := []byte(fmt.Sprintf("payload %d ", index))
	for b := range 256 {
		payload = append(payload, byte(b))
	}
	return ledger.Entry{
		Index:     index,
		RequestID: fmt.Sprintf("request/%d?~", index),
		Leaf: ledger.Leaf{
			Class:      ledger.ClassRelease,
			Tag:        hashOf(fmt.Sprintf("tag %d", index)),
			Commitment: hashOf(fmt.Sprintf("commitment %d", index)),
			Envelope:   hashOf(fmt.Sprintf("envelope %d", index)),
		},
		Payload:   payload,
		Nonce:     hashOf(fmt.Sprintf("nonce %d", index)),
		Envelope:  []byte{0, 1, 255},
		Subject:   "household",
		Recipient: "recipient",
		Kind:      ledger.KindRelease,
		Time:      1_767_225_600_000_001 + int64(index),
	}
}

// testHead is a head after entries, with a frontier of the right length and no
// other truth in it: a store does not check hashes.
func testHead(from ledger.Head, entries []ledger.Entry) ledger.Head {
	to := from
	to.Size += uint64(len(entries))
	to.Root = hashOf(fmt.Sprintf("root %d", to.Size))
	to.Frontier = nil
	for bits := to.Size; bits > 0; bits &= bits - 1 {
		to.Frontier = append(to.Frontier, hashOf(fmt.Sprintf("frontier %d %d", to.Size, bits)))
	}
	return to
}

func sameHead(a, b ledger.Head) bool {
	return a.Origin == b.Origin && a.Epoch == b.Epoch && a.Size == b.Size && a.Root == b.Root &&
		slices.Equal(a.Frontier, b.Frontier)
}

func sameEntry(a, b ledger.Entry) bool {
	return a.Index == b.Index && a.RequestID == b.RequestID && a.Leaf == b.Leaf &&
		bytes.Equal(a.Payload, b.Payload) && a.Nonce == b.Nonce && bytes.Equal(a.Envelope, b.Envelope) &&
		a.Subject == b.Subject && a.Recipient == b.Recipient && a.Kind == b.Kind && a.Time == b.Time
}

func transact[T ledger.Tx](t testing.TB, store ledger.Store[T], fn func(context.Context, T) error) {
	t.Helper()
	if err := store.Transact(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func headOf[T ledger.Tx](t testing.TB, store ledger.Store[T]) (head ledger.Head) {
	t.Helper()
	transact(t, store, func(ctx context.Context, tx T) (err error) {
		head, err = tx.LedgerHead(ctx)
		return err
	})
	return head
}

func setChain(ctx context.Context, tx ledger.Tx, kind ledger.ChainKind, id string, link ledger.Link) error {
	return tx.LedgerSetChains(ctx, map[ledger.ChainID]ledger.Link{{Kind: kind, ID: id}: link})
}

func chainOf[T ledger.Tx](t testing.TB, store ledger.Store[T], kind ledger.ChainKind, id string) (link ledger.Link) {
	t.Helper()
	name := ledger.ChainID{Kind: kind, ID: id}
	transact(t, store, func(ctx context.Context, tx T) error {
		links, err := tx.LedgerChains(ctx, []ledger.ChainID{name, {Kind: kind, ID: "somebody-else"}})
		link = links[name]
		return err
	})
	return link
}

func tagKeysOf[T ledger.Tx](t testing.TB, store ledger.Store[T], subjects ...string) (keys map[string]ledger.TagKey) {
	t.Helper()
	transact(t, store, func(ctx context.Context, tx T) (err error) {
		keys, err = tx.LedgerTagKeys(ctx, subjects)
		return err
	})
	return keys
}
