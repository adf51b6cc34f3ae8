package ledger_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// regulatorKey is a regulator's key pair, and the public half as it is posted.
type regulatorKey struct {
	private ledger.EnvelopePrivateKey
	posted  ledger.EnvelopeKey
}

// regulator returns a key pair that is valid for ever.
func regulator(t testing.TB, n byte) regulatorKey {
	t.Helper()
	private, err := ledger.ParseEnvelopePrivateKey(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return regulatorKey{private, ledger.EnvelopeKey{ID: private.ID(), Public: private.Public(), Until: 1 << 40}}
}

// Whatever is recorded while regulators' keys are valid opens for each of them,
// and for nobody with another key; the leaf holds the envelope's hash.
func TestEnvelopes(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(1))
	one, two, other := regulator(t, 1), regulator(t, 2), regulator(t, 3)
	store.PutEnvelopeKey(one.posted)
	store.PutEnvelopeKey(two.posted)
	expired := other.posted
	expired.Until = 1
	store.PutEnvelopeKey(expired)
	s := start(t, store, signerOf(t), ledger.Options{Sealed: true})
	proposals := []ledger.Proposal[*memTx]{access("0"), remark("1"), access("2")}
	for _, o := range append(s.ProposeAll(t.Context(), proposals), s.ProposeAll(t.Context(), []ledger.Proposal[*memTx]{access("3")})...) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	for name, key := range map[string]regulatorKey{"one": one, "two": two} {
		opener := opener(t, store, key)
		for i := range uint64(4) {
			e, err := store.ReadEntry(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			payload, nonce, mapKey, err := opener.Open(i, e.Envelope)
			if err != nil || !bytes.Equal(payload, e.Payload) || nonce != e.Nonce || sha256.Sum256(e.Envelope) != e.Leaf.Envelope {
				t.Errorf("%s: leaf %d opens to something else: %v", name, i, err)
			}
			want := ledger.Hash{}
			if e.Subject != "" {
				want = ledger.MapKey(sequence(1))
			}
			if mapKey != want {
				t.Errorf("%s: leaf %d has map key %x", name, i, mapKey)
			}
			if _, _, _, err := opener.Open(i+1, e.Envelope); !errors.Is(err, ledger.ErrEnvelope) {
				t.Errorf("%s: leaf %d opens at another place: %v", name, i, err)
			}
		}
	}
	e, err := store.ReadEntry(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := opener(t, store, other).Open(0, e.Envelope); !errors.Is(err, ledger.ErrNoEnvelopeHead) {
		t.Errorf("another key: %v", err)
	}
}

func opener(t testing.TB, store *ledgertest.Memory, keys ...regulatorKey) *ledger.EnvelopeOpener {
	t.Helper()
	var private []ledger.EnvelopePrivateKey
	for _, k := range keys {
		private = append(private, k.private)
	}
	o := ledger.NewEnvelopeOpener(origin, private...)
	for _, h := range store.EnvelopeHeads() {
		if err := o.AddHead(h); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// Without a regulator's valid key a third party's access is refused, and nothing
// else is: ingest's own leaf, a household's reading, a revocation go on.
func TestNoEnvelopeKey(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(1))
	s := start(t, store, signerOf(t), ledger.Options{Sealed: true})
	if _, err := s.Propose(t.Context(), "a", access("a").Func); !errors.Is(err, ledger.ErrNoEnvelopeKey) {
		t.Errorf("an access: %v, want ErrNoEnvelopeKey", err)
	}
	for _, p := range []ledger.Payload{
		{Kind: ledger.KindAdmin, Detail: "writer"},
		{Kind: ledger.KindAccess, Subject: "h", Purpose: "self"},
		{Kind: ledger.KindConsentRevoke, Subject: "h", Recipient: "adviser"},
		{Kind: ledger.KindAccessDenied, Recipient: "adviser"},
	} {
		r, err := s.Propose(t.Context(), fmt.Sprint(p.Kind, p.Purpose), payload(p))
		if err != nil || r.Leaf.Envelope != (ledger.Hash{}) {
			t.Errorf("%s: envelope %x, %v", p.Kind, r.Leaf.Envelope, err)
		}
	}
	store.PutEnvelopeKey(regulator(t, 1).posted)
	if r, err := s.Propose(t.Context(), "a", access("a").Func); err != nil || r.Leaf.Envelope == (ledger.Hash{}) {
		t.Errorf("an access once a key is posted: envelope %x, %v", r.Leaf.Envelope, err)
	}
}

// The format, opened with the standard library alone, step by step as its
// description says: what another language has to do.
func TestEnvelopeFormat(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(1))
	key := regulator(t, 1)
	store.PutEnvelopeKey(key.posted)
	s := start(t, store, signerOf(t), ledger.Options{Sealed: true})
	grown := s.ProposeAll(t.Context(), []ledger.Proposal[*memTx]{access("0"), access("1")})
	e, err := store.ReadEntry(t.Context(), 1)
	if err != nil || grown[1].Err != nil {
		t.Fatal(err, grown[1].Err)
	}
	if e.Envelope[0] != 1 {
		t.Errorf("version %d", e.Envelope[0])
	}
	first := e.Envelope[1:9]
	head := store.EnvelopeHeads()[0]
	if head.FirstIndex != binary.BigEndian.Uint64(first) {
		head = store.EnvelopeHeads()[1]
	}
	private, err := hpke.MLKEM768X25519().NewPrivateKey(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	info := append([]byte("wattveil envelope v1"+origin), first...)
	secret, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, head.Sealed)
	if err != nil || len(secret) != 32 {
		t.Fatalf("head: %d bytes, %v", len(secret), err)
	}
	index := []byte{0, 0, 0, 0, 0, 0, 0, 1}
	k, err := hkdf.Expand(sha256.New, secret, "wattveil envelope key v1"+string(index), 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, make([]byte, 12), e.Envelope[9:], append(bytes.Clone(e.Envelope[:9]), index...))
	mapKey := ledger.MapKey(sequence(1))
	if want := append(append(e.Nonce[:], mapKey[:]...), e.Payload...); err != nil || !bytes.Equal(plain, want) {
		t.Errorf("opens to %x, %v; want %x", plain, err, want)
	}
}

// Only whole keys of the right kind are keys.
func TestEnvelopeKeys(t *testing.T) {
	key := regulator(t, 1)
	if id, err := ledger.EnvelopeKeyID(key.posted.Public); err != nil || id != key.posted.ID || len(key.posted.Public) != 1216 {
		t.Errorf("id %x of %d bytes, %v", id, len(key.posted.Public), err)
	}
	seed, err := key.private.Bytes()
	if err != nil || !bytes.Equal(seed, bytes.Repeat([]byte{1}, 32)) {
		t.Errorf("private key comes back as %x, %v", seed, err)
	}
	drawn, err := ledger.NewEnvelopePrivateKey(rand.Reader)
	if err != nil || drawn.ID() == key.private.ID() {
		t.Errorf("a drawn key: %v", err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "short": key.posted.Public[1:], "long": append(bytes.Clone(key.posted.Public), 0)} {
		if _, err := ledger.EnvelopeKeyID(b); !errors.Is(err, ledger.ErrEnvelopeKey) {
			t.Errorf("public key, %s: %v", name, err)
		}
		if _, err := ledger.ParseEnvelopePrivateKey(b); !errors.Is(err, ledger.ErrEnvelopeKey) {
			t.Errorf("private key, %s: %v", name, err)
		}
	}
}

// Nothing but what was sealed opens.
func FuzzOpenEnvelope(f *testing.F) {
	store := ledgertest.NewMemory(origin)
	key := regulator(f, 1)
	store.PutEnvelopeKey(key.posted)
	s := ledger.NewSequencer(ledger.Store[*memTx](store), mustSigner(f), ledger.Options{Now: ledgertest.Clock(), Rand: rand.Reader, Sealed: true})
	defer s.Close()
	if _, err := s.Propose(f.Context(), "x", remark("x").Func); err != nil {
		f.Fatal(err)
	}
	good, err := store.ReadEntry(f.Context(), 0)
	if err != nil {
		f.Fatal(err)
	}
	open := opener(f, store, key)
	f.Add(uint64(0), good.Envelope)
	f.Add(uint64(1), good.Envelope[:20])
	f.Fuzz(func(t *testing.T, index uint64, b []byte) {
		payload, _, _, err := open.Open(index, b)
		if (err == nil) != (index == 0 && bytes.Equal(b, good.Envelope)) {
			t.Errorf("%x at %d opened to %x, %v", b, index, payload, err)
		}
	})
}

// What an envelope costs: the batch once, and each leaf.
func BenchmarkSealed(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		b.Run(fmt.Sprint("sealed=", sealed), func(b *testing.B) {
			store := ledgertest.NewMemory(origin)
			store.PutSubjectKey("h", sequence(1))
			store.PutEnvelopeKey(regulator(b, 1).posted)
			s := ledger.NewSequencer(ledger.Store[*memTx](store), mustSigner(b), ledger.Options{Now: ledgertest.Clock(), Rand: rand.Reader, Sealed: sealed})
			defer s.Close()
			for n := 0; b.Loop(); n++ {
				var batch []ledger.Proposal[*memTx]
				for i := range 64 {
					batch = append(batch, access(fmt.Sprint(n, ".", i)))
				}
				for _, o := range s.ProposeAll(b.Context(), batch) {
					if o.Err != nil {
						b.Fatal(o.Err)
					}
				}
			}
		})
	}
}
