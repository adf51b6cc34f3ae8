package keyguard_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

var update = flag.Bool("update", false, "write testdata anew")

// answer is one of two usage points, two registers and three day keys.
func answer() *keyguard.BlockKeys {
	k := &keyguard.BlockKeys{Keys: map[keyguard.Name]seal.BlockKey{}, Damaged: 3}
	for p, point := range []meter.UsagePoint{"CH-0001", "CH-1"} {
		for r, register := range []meter.Register{meter.ActiveImport, meter.ActiveExport} {
			for d, day := range []struct {
				day        meter.Day
				generation uint32
				writer     seal.WriterID
			}{{-1, 1, seal.WriterID{2}}, {17836, 1, seal.WriterID{1}}, {17836, 2, seal.WriterID{1}}} {
				k.Keys[keyguard.Name{UsagePoint: point, Register: register, Day: day.day, Generation: day.generation, Writer: day.writer}] = blockKey(byte(100*p + 10*r + d))
			}
		}
	}
	return k
}

func blockKey(fill byte) seal.BlockKey {
	key, err := seal.ParseBlockKey(bytes.Repeat([]byte{fill}, seal.BlockKeySize))
	if err != nil {
		panic(err)
	}
	return key
}

func same(a, b *keyguard.BlockKeys) bool {
	return a.Damaged == b.Damaged && maps.EqualFunc(a.Keys, b.Keys, func(a, b seal.BlockKey) bool { return bytes.Equal(a.Append(nil), b.Append(nil)) })
}

// An answer is the same bytes whatever the order of a map, and those that two
// processes of different age agree on. It would catch a change of what version 1
// means.
func TestAnswerGolden(t *testing.T) {
	const file = "testdata/answer-v1.hex"
	got, err := answer().Encode()
	if err != nil {
		t.Fatal(err)
	}
	text := hex.EncodeToString(got) + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("an answer differs from %s; it is now %s", file, text)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(want)))
	if err != nil {
		t.Fatal(err)
	}
	if k, err := keyguard.DecodeBlockKeys(b); err != nil || !same(k, answer()) {
		t.Errorf("read back %v: %v", k, err)
	}
}

// No key at all is an answer; a product with a hole in it is none, and neither is
// a name that a guard would not have taken.
func TestAnswersThatAreNotWhole(t *testing.T) {
	empty, err := (&keyguard.BlockKeys{Damaged: 1}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if k, err := keyguard.DecodeBlockKeys(empty); err != nil || len(k.Keys) != 0 || k.Damaged != 1 {
		t.Errorf("an empty answer came back as %v: %v", k, err)
	}
	for name, change := range map[string]func(k *keyguard.BlockKeys){
		"a hole": func(k *keyguard.BlockKeys) {
			for n := range k.Keys {
				delete(k.Keys, n)
				break
			}
		},
		"a name that is none":  func(k *keyguard.BlockKeys) { k.Keys = map[keyguard.Name]seal.BlockKey{{UsagePoint: "a b"}: {}} },
		"less than none":       func(k *keyguard.BlockKeys) { k.Damaged = -1 },
		"too many damaged":     func(k *keyguard.BlockKeys) { k.Damaged = keyguard.MaxKeys + 1 },
		"too many usage point": func(k *keyguard.BlockKeys) { k.Keys = many(257) },
	} {
		k := answer()
		change(k)
		if _, err := k.Encode(); !errors.Is(err, keyguard.ErrAnswer) {
			t.Errorf("%s: %v, want ErrAnswer", name, err)
		}
	}
}

func many(points int) map[keyguard.Name]seal.BlockKey {
	keys := map[keyguard.Name]seal.BlockKey{}
	for i := range points {
		keys[keyguard.Name{UsagePoint: meter.UsagePoint("p" + hex.EncodeToString([]byte{byte(i >> 8), byte(i)}))}] = seal.BlockKey{}
	}
	return keys
}

// The largest answer a guard gives, with the longest names there are, is within
// MaxAnswer. It would catch an answer that is spent for and then does not fit.
func TestLargestAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("a million keys take a second and half a gigabyte")
	}
	k := &keyguard.BlockKeys{Keys: make(map[keyguard.Name]seal.BlockKey, keyguard.MaxKeys), Damaged: keyguard.MaxKeys}
	point := meter.UsagePoint(strings.Repeat("p", meter.MaxIdentifier))
	for i := range keyguard.MaxKeys {
		k.Keys[keyguard.Name{UsagePoint: point, Generation: uint32(i)}] = seal.BlockKey{}
	}
	b, err := k.Encode()
	if err != nil || len(b) > keyguard.MaxAnswer {
		t.Fatalf("%d bytes, %v; at most %d", len(b), err, keyguard.MaxAnswer)
	}
	if back, err := keyguard.DecodeBlockKeys(b); err != nil || len(back.Keys) != keyguard.MaxKeys {
		t.Errorf("it does not come back: %v", err)
	}
}

// What is read is what Encode writes, to the byte: two encodings of one answer, or
// one that asks for more memory than it brings, would be found here.
func FuzzDecodeBlockKeys(f *testing.F) {
	for _, k := range []*keyguard.BlockKeys{answer(), {Damaged: 7}, {Keys: many(3)}} {
		b, err := k.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(bytes.Clone(b), 0))
	}
	f.Add([]byte{1, 0, 0, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := keyguard.DecodeBlockKeys(b)
		if err != nil {
			if !errors.Is(err, keyguard.ErrAnswer) || k != nil {
				t.Errorf("%v, %v", k, err)
			}
			return
		}
		again, err := k.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x came back as %x: %v", b, again, err)
		}
	})
}

// A sealed answer opens for the process that asked and for the question that it
// put, whole. It would catch one that is read by another process, shown to another
// question, or changed on the way.
func TestSealedAnswer(t *testing.T) {
	key, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := func() keyguard.Request {
		return keyguard.Request{
			Access:      ledger.Opening{Payload: []byte("payload"), Nonce: ledger.Hash{1}, Proof: []byte("proof")},
			Consent:     ledger.Opening{Payload: []byte("consent"), Nonce: ledger.Hash{2}, Proof: []byte("proof")},
			UsagePoints: []meter.UsagePoint{"a", "b"}, Registers: []meter.Register{meter.ActiveImport}, From: 1, To: 2,
		}
	}
	sealed, err := keyguard.SealAnswer(rand.Reader, key.Public(), request(), answer())
	if err != nil {
		t.Fatal(err)
	}
	if k, err := keyguard.OpenAnswer(key, request(), sealed); err != nil || !same(k, answer()) {
		t.Errorf("it came back as %v: %v", k, err)
	}
	if _, err := keyguard.OpenAnswer(other, request(), sealed); !errors.Is(err, keyguard.ErrAnswer) {
		t.Errorf("another process: %v", err)
	}
	for at := range sealed {
		if at%97 != 0 && at != len(sealed)-1 { // a sample of every part
			continue
		}
		altered := bytes.Clone(sealed)
		altered[at] ^= 1
		if _, err := keyguard.OpenAnswer(key, request(), altered); !errors.Is(err, keyguard.ErrAnswer) {
			t.Errorf("byte %d was changed: %v", at, err)
		}
	}
	for name, change := range map[string]func(r *keyguard.Request){
		"payload":             func(r *keyguard.Request) { r.Access.Payload = []byte("payloae") },
		"nonce":               func(r *keyguard.Request) { r.Access.Nonce[31] = 1 },
		"proof":               func(r *keyguard.Request) { r.Access.Proof = nil },
		"consent":             func(r *keyguard.Request) { r.Consent = ledger.Opening{} },
		"consent's nonce":     func(r *keyguard.Request) { r.Consent.Nonce[0]++ },
		"changed places":      func(r *keyguard.Request) { r.Access, r.Consent = r.Consent, r.Access },
		"moved between":       func(r *keyguard.Request) { r.Access.Proof, r.Consent.Payload = []byte("proofc"), []byte("onsent") },
		"a usage point less":  func(r *keyguard.Request) { r.UsagePoints = r.UsagePoints[:1] },
		"usage points joined": func(r *keyguard.Request) { r.UsagePoints = []meter.UsagePoint{"ab"} },
		"another register":    func(r *keyguard.Request) { r.Registers[0] = meter.ActiveExport },
		"no register":         func(r *keyguard.Request) { r.Registers = nil },
		"first day":           func(r *keyguard.Request) { r.From++ },
		"last day":            func(r *keyguard.Request) { r.To++ },
	} {
		r := request()
		change(&r)
		if _, err := keyguard.OpenAnswer(key, r, sealed); !errors.Is(err, keyguard.ErrAnswer) {
			t.Errorf("%s of the question differs: %v", name, err)
		}
	}
}
