package ledger_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// access is a proposal that records a reading of household h by adviser.
func access(id string) ledger.Proposal[*memTx] {
	return ledger.Proposal[*memTx]{RequestID: id, Func: func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAccess, Subject: "h", Recipient: "adviser", Purpose: "advice"}, nil
	}}
}

// payload is a proposal's function that records p.
func payload(p ledger.Payload) ledger.ProposeFunc[*memTx] {
	return func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) { return p, nil }
}

// A receipt proves to someone with nothing but the public key, and offline,
// that a payload is in the log; and it proves it of nothing else. Each case is
// a lie that a keeper of keys would otherwise act upon.
func TestReceipt(t *testing.T) {
	log, store := newLog(t)
	receipts := grow(t, log, 0, 300)
	outcome := log.ProposeAll(t.Context(), []ledger.Proposal[*memTx]{access("read")})[0]
	if outcome.Err != nil {
		t.Fatal(outcome.Err)
	}
	mine := outcome.Receipt
	grow(t, log, 301, 400)

	proof, err := ledger.TLogProof(t.Context(), store, mine.Index)
	if err != nil {
		t.Fatal(err)
	}
	got, err := log.Verifier.Proof(mine.Payload, mine.Nonce, proof)
	if err != nil {
		t.Fatal(err)
	}
	if got.Index != 300 || got.Size != 400 || got.Leaf != mine.Leaf || got.Payload.Kind != ledger.KindAccess || got.Payload.Recipient != "adviser" {
		t.Errorf("proved %+v", got)
	}

	other, err := ledger.TLogProof(t.Context(), store, 299)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(mine.Payload)
	forged[len(forged)-1] ^= 1
	text := string(proof)
	lines := strings.SplitAfter(text, "\n")
	leaf := mine.Leaf.Bytes()
	release := mine.Leaf
	release.Class = ledger.ClassRelease
	relabelled := release.Bytes()
	encode := base64.StdEncoding.EncodeToString
	_, foreign, _ := newSigner(t, origin) // same name, another key
	for name, lie := range map[string]struct {
		verifier *ledger.Verifier
		payload  []byte
		nonce    ledger.Hash
		proof    string
		want     error
	}{
		"another payload":         {log.Verifier, forged, mine.Nonce, text, ledger.ErrProof},
		"no payload":              {log.Verifier, nil, mine.Nonce, text, ledger.ErrProof},
		"another nonce":           {log.Verifier, mine.Payload, sequence(0), text, ledger.ErrProof},
		"another leaf's proof":    {log.Verifier, mine.Payload, mine.Nonce, string(other), ledger.ErrProof},
		"another leaf's payload":  {log.Verifier, receipts[7].Payload, receipts[7].Nonce, text, ledger.ErrProof},
		"another index":           {log.Verifier, mine.Payload, mine.Nonce, strings.Replace(text, "index 300\n", "index 299\n", 1), ledger.ErrProof},
		"index beyond the tree":   {log.Verifier, mine.Payload, mine.Nonce, strings.Replace(text, "index 300\n", "index 400\n", 1), ledger.ErrProof},
		"index spelt differently": {log.Verifier, mine.Payload, mine.Nonce, strings.Replace(text, "index 300\n", "index 0300\n", 1), ledger.ErrProof},
		"another class":           {log.Verifier, mine.Payload, mine.Nonce, strings.Replace(text, encode(leaf[:]), encode(relabelled[:]), 1), ledger.ErrProof},
		"no leaf":                 {log.Verifier, mine.Payload, mine.Nonce, lines[0] + strings.Join(lines[2:], ""), ledger.ErrProof},
		"a hash missing":          {log.Verifier, mine.Payload, mine.Nonce, strings.Join(append(lines[:3:3], lines[4:]...), ""), ledger.ErrProof},
		"a hash too many":         {log.Verifier, mine.Payload, mine.Nonce, strings.Join(append(lines[:4:4], lines[3:]...), ""), ledger.ErrProof},
		"a larger tree":           {log.Verifier, mine.Payload, mine.Nonce, strings.Replace(text, "\n400\n", "\n401\n", 1), ledger.ErrCheckpoint},
		"carriage returns":        {log.Verifier, mine.Payload, mine.Nonce, strings.ReplaceAll(text, "\n", "\r\n"), ledger.ErrProof},
		"trailing text":           {log.Verifier, mine.Payload, mine.Nonce, text + "x", ledger.ErrProof},
		"nothing":                 {log.Verifier, mine.Payload, mine.Nonce, "", ledger.ErrProof},
		"another key":             {foreign, mine.Payload, mine.Nonce, text, ledger.ErrCheckpoint},
	} {
		if lie.proof == text && lie.verifier == log.Verifier && bytes.Equal(lie.payload, mine.Payload) && lie.nonce == mine.Nonce {
			t.Fatalf("%s: the test did not damage the proof", name)
		}
		if got, err := lie.verifier.Proof(lie.payload, lie.nonce, []byte(lie.proof)); !errors.Is(err, lie.want) {
			t.Errorf("%s: proved %+v, %v", name, got, err)
		}
	}
}

// Openings that come together are checked each as one alone, and all or none are
// good, whether they are under one checkpoint or several. It would catch a second
// proof that rides on the first one's signature.
func TestOpenings(t *testing.T) {
	log, store := newLog(t)
	receipts := grow(t, log, 0, 20)
	open := func(i int) ledger.Opening {
		proof, err := ledger.TLogProof(t.Context(), store, receipts[i].Index)
		if err != nil {
			t.Fatal(err)
		}
		return ledger.Opening{Payload: receipts[i].Payload, Nonce: receipts[i].Nonce, Proof: proof}
	}
	first, second := open(3), open(7)
	grow(t, log, 20, 30)
	later := open(7)
	got, err := log.Verifier.Openings(first, second, later, first)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ index, size uint64 }{{3, 20}, {7, 20}, {7, 30}, {3, 20}} {
		if got[i].Index != want.index || got[i].Size != want.size {
			t.Errorf("opening %d: leaf %d of %d, want %v", i, got[i].Index, got[i].Size, want)
		}
	}
	if none, err := log.Verifier.Openings(); err != nil || len(none) != 0 {
		t.Errorf("nothing proves %v: %v", none, err)
	}
	resized := second
	resized.Proof = bytes.Replace(second.Proof, []byte("\n20\n"), []byte("\n30\n"), 1)
	unsigned := second
	unsigned.Proof = second.Proof[:bytes.LastIndex(second.Proof, []byte("\n\n"))+2]
	moved := second
	moved.Nonce = receipts[3].Nonce
	for name, o := range map[string]ledger.Opening{"another size": resized, "no signature": unsigned, "another nonce": moved, "nothing": {}} {
		for _, all := range [][]ledger.Opening{{first, o}, {o, first}, {first, first, o}} {
			if got, err := log.Verifier.Openings(all...); err == nil || got != nil {
				t.Errorf("%s: proved %v", name, got)
			}
		}
	}
}

// What the proof of a read costs who checks it: alone, and beside that of its
// consent under the same checkpoint or under another, each signed with Ed25519 and
// ML-DSA-44, by a verifier that has seen neither checkpoint.
func BenchmarkOpenings(b *testing.B) {
	seeds := bytes.Repeat([]byte{1}, 64)
	signer, ed, err := ledger.NewSigner("bench.example/openings", seeds[:32])
	if err != nil {
		b.Fatal(err)
	}
	pq, err := signer.AddMLDSA(seeds[32:], ledgertest.Clock())
	if err != nil {
		b.Fatal(err)
	}
	verifier, err := ledger.NewVerifier(ed + "\n" + pq)
	if err != nil {
		b.Fatal(err)
	}
	store := ledgertest.NewMemory("bench.example/openings")
	store.PutSubjectKey("h", ledger.Hash{1})
	seq := ledger.NewSequencer(ledger.Store[*memTx](store), signer, ledger.Options{Now: ledgertest.Clock(), Rand: rand.Reader})
	defer seq.Close()
	open := func(index uint64) ledger.Opening {
		proof, err := ledger.TLogProof(b.Context(), store, index)
		if err != nil {
			b.Fatal(err)
		}
		e, err := store.ReadEntry(b.Context(), index)
		if err != nil {
			b.Fatal(err)
		}
		return ledger.Opening{Payload: e.Payload, Nonce: e.Nonce, Proof: proof}
	}
	for i := range 1000 {
		if o := seq.ProposeAll(b.Context(), []ledger.Proposal[*memTx]{access(fmt.Sprint(i))})[0]; o.Err != nil {
			b.Fatal(o.Err)
		}
	}
	old := open(10)
	if o := seq.ProposeAll(b.Context(), []ledger.Proposal[*memTx]{access("last")})[0]; o.Err != nil {
		b.Fatal(o.Err)
	}
	for name, all := range map[string][]ledger.Opening{"alone": {open(1000)}, "one checkpoint": {open(1000), open(10)}, "two checkpoints": {open(1000), old}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := verifier.WithPolicy(nil).Openings(all...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A leaf that no signed checkpoint reaches has no receipt: the record is not
// yet one that anybody could hold the log to.
func TestNoReceiptBeforeSignature(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, 3)
	if _, err := ledger.TLogProof(t.Context(), store, 3); !errors.Is(err, ledger.ErrUnsigned) {
		t.Errorf("receipt beyond the checkpoint: %v", err)
	}
	if _, err := ledger.Prove(t.Context(), store, 3, 3); err == nil {
		t.Error("a leaf was proved in a tree that ends before it")
	}
	if _, err := ledger.Prove(t.Context(), store, 0, 4); err == nil {
		t.Error("a proof was made in a tree larger than the log")
	}
}

// A payload of one kind under the leaf of another class does not pass even if
// commitment, inclusion and signature are right: the log's own owner may not
// pass a release off as an access.
func TestReceiptOfWrongClass(t *testing.T) {
	payload, err := samplePayloads()["access"].Encode()
	if err != nil {
		t.Fatal(err)
	}
	leaf := ledger.Leaf{Class: ledger.ClassRelease, Commitment: ledger.Commit(sequence(9), payload)}
	signer, verifier, _ := newSigner(t, origin)
	signed, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: 1, Root: leaf.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := ledger.TLogProof(t.Context(), &rows{leaves: []ledger.Leaf{leaf}, signed: signed}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Proof(payload, sequence(9), proof); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("proved: %v", err)
	}
}

// A checkpoint that extends an older one can be shown to; one that does not,
// cannot.
func TestConsistent(t *testing.T) {
	log, store := newLog(t)
	notes := make(map[int][]byte)
	at := 0
	for _, size := range []int{1, 200, 256, 300, 520} {
		grow(t, log, at, size)
		at = size
		var err error
		if notes[size], err = store.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	prover := ledger.NewProver(store)
	for from := range notes {
		for to := range notes {
			if from > to {
				continue
			}
			proof, err := prover.Consistency(t.Context(), uint64(from), uint64(to))
			if err != nil {
				t.Fatal(err)
			}
			if err := log.Verifier.Consistent(notes[from], notes[to], proof); err != nil {
				t.Errorf("from %d to %d: %v", from, to, err)
			}
		}
	}

	forked, forkStore := newLog(t)
	grow(t, forked, 0, 520)
	fork, err := forkStore.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := ledger.NewProver(forkStore).Consistency(t.Context(), 300, 520)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		older, newer []byte
		proof        []ledger.Hash
		want         error
	}{
		"rolled back":     {notes[520], notes[300], nil, ledger.ErrRollback},
		"forked":          {notes[300], fork, proof, ledger.ErrProof},
		"two roots":       {notes[520], fork, nil, ledger.ErrFork},
		"no proof":        {notes[300], notes[520], nil, ledger.ErrProof},
		"older is forged": {[]byte("x"), notes[520], nil, ledger.ErrCheckpoint},
		"newer is forged": {notes[300], []byte("x"), nil, ledger.ErrCheckpoint},
	} {
		if err := log.Verifier.Consistent(c.older, c.newer, c.proof); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Whatever bytes are presented as a receipt, the answer is an error.
func FuzzProof(f *testing.F) {
	log, store := newLog(f)
	mine := grow(f, log, 0, 5)[3]
	proof, err := ledger.TLogProof(f.Context(), store, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	f.Add(fmt.Appendf(nil, "c2sp.org/tlog-proof@v1\nindex 0\n\n%s", mine.Checkpoint))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := log.Verifier.Proof(mine.Payload, mine.Nonce, b); err == nil && !bytes.Equal(b, proof) {
			t.Errorf("proved by %q", b)
		}
	})
}
