package ledgertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// Rotating is a running log in memory whose keys change. What signs is read from its
// leaves each time, as a stranger could. It is safe for concurrent use.
type Rotating struct {
	*ledger.Sequencer[*Tx]
	Store *Memory

	origin string
	mu     sync.Mutex
	keys   []*ledger.SigningKeys // by generation, whether bound or not
}

// StartRotating runs a sequencer over an empty log of that origin, with a first
// generation of keys, until the test ends.
func StartRotating(t testing.TB, origin string) *Rotating {
	t.Helper()
	r := &Rotating{Store: NewMemory(origin), origin: origin}
	r.make(t)
	r.Sequencer = ledger.NewSequencer(ledger.Store[*Tx](r.Store), ledger.NewTermSigner(origin, r.inForce), ledger.Options{Now: Clock(), Rand: rand.Reader})
	t.Cleanup(r.Close)
	return r
}

// make makes the next generation.
func (r *Rotating) make(t testing.TB) *ledger.SigningKeys {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := byte(len(r.keys))
	keys, err := ledger.NewSigningKeys(r.origin, bytes.Repeat([]byte{100 + n}, 32), bytes.Repeat([]byte{200 + n}, 32), Clock())
	if err != nil {
		t.Fatal(err)
	}
	r.keys = append(r.keys, keys)
	return keys
}

// Signing returns a generation's keys, the first of all being 0.
func (r *Rotating) Signing(n int) *ledger.SigningKeys {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[n]
}

// Bind makes the next generation and binds it; it returns the leaf's receipt.
func (r *Rotating) Bind(t testing.TB) ledger.Receipt {
	t.Helper()
	return r.change(t, ledger.DetailLedgerKeys, r.make(t))
}

// Retire retires a generation, the first of all being 0.
func (r *Rotating) Retire(t testing.TB, n int) ledger.Receipt {
	t.Helper()
	return r.change(t, ledger.DetailLedgerKeysRetired, r.Signing(n))
}

func (r *Rotating) change(t testing.TB, detail string, keys *ledger.SigningKeys) ledger.Receipt {
	t.Helper()
	digest := ledger.VerifierKeysDigest(keys.VerifierKeys())
	got, err := r.Propose(t.Context(), fmt.Sprintf("%s/%x", detail, digest), func(context.Context, *Tx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: detail, Digest: digest}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Grow records that many leaves, and returns the newest checkpoint.
func (r *Rotating) Grow(t testing.TB, name string, leaves int) []byte {
	t.Helper()
	for i := range leaves {
		_, err := r.Propose(t.Context(), fmt.Sprintf("%s/%d", name, i), func(context.Context, *Tx, ledger.Position) (ledger.Payload, error) {
			return ledger.Payload{Kind: ledger.KindAdmin, Detail: name}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	note, err := r.Store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return note
}

// VerifierKeys returns the keys as everybody keeps them.
func (r *Rotating) VerifierKeys(t testing.TB) string {
	t.Helper()
	return r.Verifier(t).Keys()
}

// Verifier returns their verifier.
func (r *Rotating) Verifier(t testing.TB) *ledger.Verifier {
	t.Helper()
	terms, keys, err := r.generations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := r.First(t)
	for i := 1; i < len(keys); i++ {
		if v, err = v.Successor(keys[i].VerifierKeys(), terms[i].Bound, r.Statement(t, i, terms[i].Bound)); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// Statement is the word of the generation before for one, the first of all being 0, that
// the leaf at an index binds.
func (r *Rotating) Statement(t testing.TB, n int, index uint64) []byte {
	t.Helper()
	statement, err := r.Signing(n-1).Bind(r.Signing(n).VerifierKeys(), index)
	if err != nil {
		t.Fatal(err)
	}
	return statement
}

// First returns the verifier of somebody who has heard of no change.
func (r *Rotating) First(t testing.TB) *ledger.Verifier {
	t.Helper()
	v, err := ledger.NewVerifier(r.Signing(0).VerifierKeys())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Opening opens a leaf under the oldest checkpoint that covers it.
func (r *Rotating) Opening(t testing.TB, index uint64) ledger.Opening {
	t.Helper()
	notes, err := r.Store.Checkpoints(t.Context(), index, 1)
	if err != nil || len(notes) == 0 {
		t.Fatalf("no checkpoint over leaf %d, %v", index, err)
	}
	return r.OpeningUnder(t, index, notes[0])
}

// OpeningUnder opens a leaf under a checkpoint that covers it.
func (r *Rotating) OpeningUnder(t testing.TB, index uint64, note []byte) ledger.Opening {
	t.Helper()
	e, err := r.Store.ReadEntry(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := ledger.NewProver(r.Store).TLogProofUnder(t.Context(), index, e.Leaf, note)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Opening{Payload: e.Payload, Nonce: e.Nonce, Proof: proof}
}

// generations reads the generations that the log has bound, oldest first.
func (r *Rotating) generations(ctx context.Context) (terms []ledger.Term, keys []*ledger.SigningKeys, err error) {
	r.mu.Lock()
	made := make(map[ledger.Hash]*ledger.SigningKeys)
	for _, k := range r.keys {
		made[ledger.VerifierKeysDigest(k.VerifierKeys())] = k
	}
	keys = append(keys, r.keys[0])
	r.mu.Unlock()
	terms = append(terms, ledger.Term{Bound: ledger.NoIndex, Retired: ledger.NoIndex})
	leaves, err := r.Store.ReadLeaves(ctx, 0, 1<<20)
	if err != nil {
		return nil, nil, err
	}
	for i, leaf := range leaves {
		if leaf.Class != ledger.ClassAdmin {
			continue
		}
		e, err := r.Store.ReadEntry(ctx, uint64(i))
		if err != nil {
			return nil, nil, err
		}
		p, err := ledger.DecodePayload(e.Payload)
		if err != nil {
			return nil, nil, err
		}
		switch p.Detail {
		case ledger.DetailLedgerKeys:
			keys = append(keys, made[p.Digest])
			terms = append(terms, ledger.Term{Bound: e.Index, Retired: ledger.NoIndex})
		case ledger.DetailLedgerKeysRetired:
			for j, k := range keys {
				if k == made[p.Digest] {
					terms[j].Retired = e.Index
				}
			}
		}
	}
	return terms, keys, nil
}

func (r *Rotating) inForce(ctx context.Context, size uint64) (signing []*ledger.SigningKeys, err error) {
	terms, keys, err := r.generations(ctx)
	for i, term := range terms {
		if term.Signs(size) {
			signing = append(signing, keys[i])
		}
	}
	return signing, err
}
