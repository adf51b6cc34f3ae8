package ledger_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	fwitness "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"

	"github.com/wattveil/wattveil/ledger"
)

var noon = func() time.Time { return time.Unix(1_767_268_800, 0) }

// twoKeys is a signer with both kinds of keys, and its verifier keys.
func twoKeys(t testing.TB) (*ledger.NoteSigner, string) {
	t.Helper()
	signer, ed, err := ledger.NewSigner(origin, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	pq, err := signer.AddMLDSA(bytes.Repeat([]byte{8}, 32), noon)
	if err != nil {
		t.Fatal(err)
	}
	return signer, ed + "\n" + pq
}

func witnessKeys(t testing.TB, name string, seed byte) []ledger.WitnessKey {
	t.Helper()
	keys, err := ledger.NewWitnessKeys(name, bytes.Repeat([]byte{seed}, 32), bytes.Repeat([]byte{seed + 1}, 32), noon)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// A checkpoint carries a line of each key; both are demanded, and each is what a
// stranger's code takes it for: Ed25519 by x/mod, ML-DSA-44 by transparency-dev.
func TestTwoSignatures(t *testing.T) {
	signer, vkeys := twoKeys(t)
	head := ledger.Head{Origin: origin, Size: 5, Root: sequence(1)}
	signed, err := signer.Sign(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ledger.NewVerifier(vkeys)
	if err != nil {
		t.Fatal(err)
	}
	if size, root, err := v.Checkpoint(signed); err != nil || size != 5 || root != sequence(1) {
		t.Errorf("size %d, %v", size, err)
	}
	ed, pq, _ := strings.Cut(vkeys, "\n")
	theirs, err := note.NewVerifier(ed)
	if err != nil {
		t.Fatal(err)
	}
	theirPQ, err := fnote.NewMLDSAVerifier(pq)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(signed, note.VerifierList(theirs, theirPQ)); err != nil || len(n.Sigs) != 2 {
		t.Errorf("strangers verify %v", err)
	}
	// Without either line it is not the log's word any more.
	text, lines, _ := bytes.Cut(signed, []byte("\n\n"))
	both := bytes.SplitAfter(lines, []byte("\n"))
	for i, line := range both[:2] {
		one := append(append(bytes.Clone(text), "\n\n"...), line...)
		if _, _, err := v.Checkpoint(one); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("with line %d alone: %v", i, err)
		}
	}
	changed := bytes.Replace(signed, []byte("\n5\n"), []byte("\n6\n"), 1)
	if _, _, err := v.Checkpoint(changed); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("with another size: %v", err)
	}
}

// Our cosignatures are what strangers' code verifies, and the other way round, for
// both algorithms.
func TestCosignatures(t *testing.T) {
	signer, _ := twoKeys(t)
	signed, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: 5, Root: sequence(1)})
	if err != nil {
		t.Fatal(err)
	}
	keys := witnessKeys(t, "witness.example/w", 3)
	lines, err := ledger.Cosign(signed, keys)
	if err != nil {
		t.Fatal(err)
	}
	whole := append(bytes.Clone(signed), lines...)
	for _, k := range keys {
		v, err := fnote.NewVerifierForCosignatureV1(k.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(whole, note.VerifierList(v))
		if err != nil {
			t.Fatalf("a stranger reads our cosignature: %v", err)
		}
		if at, err := fnote.CoSigV1Timestamp(n.Sigs[0]); err != nil || !at.Equal(noon()) {
			t.Errorf("its time is %v, %v", at, err)
		}
	}
	// A stranger's ML-DSA-44 cosignature, under a policy of ours.
	skey, vkey, err := fnote.GenerateMLDSAKey("stranger.example")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	_, err = note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		t.Fatal(err)
	}
	cosigned, err := note.Sign(unverified.Note, theirs)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := ledger.ParsePolicy([]byte("witness s " + vkey + "\nquorum s\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, vkeys := twoKeys(t)
	v, err := ledger.NewVerifier(vkeys)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.WithPolicy(policy).Checkpoint(cosigned); err != nil {
		t.Errorf("we read a stranger's cosignature: %v", err)
	}
	if _, _, err := v.WithPolicy(policy).Checkpoint(signed); !errors.Is(err, ledger.ErrNotCosigned) {
		t.Errorf("without it: %v", err)
	}
}

// A verifier is made of whole keys of the right kinds, the log's own, in order.
func TestVerifierKeys(t *testing.T) {
	_, vkeys := twoKeys(t)
	ed, pq, _ := strings.Cut(vkeys, "\n")
	cosigner := witnessKeys(t, origin, 3)[0].VerifierKey()
	_, foreign, err := ledger.NewSigner("wattveil.example/other", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing": "", "garbage": "x", "ML-DSA alone": pq, "two Ed25519": ed + "\n" + foreign, "a witness's": ed + "\n" + cosigner,
		"another name": foreign + "\n" + pq, "hash of another": strings.Replace(ed, ed[len(origin)+1:len(origin)+9], "00000000", 1),
		"cut off": ed[:len(ed)-8], "not base64": ed[:len(ed)-1] + "!",
	} {
		if _, err := ledger.NewVerifier(text); !errors.Is(err, ledger.ErrVerifierKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The policy that strangers' code takes means to them what it means to us, by every
// subset of its witnesses.
func TestPolicy(t *testing.T) {
	signer, vkeys := twoKeys(t)
	signed, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: 5, Root: sequence(1)})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ledger.NewVerifier(vkeys)
	if err != nil {
		t.Fatal(err)
	}
	var keys []ledger.WitnessKey
	for i := range byte(4) {
		keys = append(keys, witnessKeys(t, "w"+string('a'+i)+".example", 10+2*i)[i%2])
	}
	var b strings.Builder
	ed, _, _ := strings.Cut(vkeys, "\n")
	b.WriteString("# who watches\nlog " + ed + "\n\n")
	for i, k := range keys {
		b.WriteString("witness " + string('a'+byte(i)) + " " + k.VerifierKey() + " http://127.0.0.1:1/" + string('a'+byte(i)) + "\n")
	}
	for _, groups := range []string{
		"quorum a", "quorum none", "group g any a b\nquorum g", "group g all a b c d\nquorum g", "group g 3 a b c d\nquorum g",
		"group one any a b\ngroup two all c d\ngroup g 1 one two\nquorum g", "group one 1 a b\ngroup g 2 one c d\nquorum g",
	} {
		text := []byte(b.String() + groups + "\n")
		p, err := ledger.ParsePolicy(text)
		if err != nil {
			t.Fatalf("%s: %v", groups, err)
		}
		theirs, err := fwitness.ParsePolicy(text)
		if err != nil {
			t.Fatalf("%s: strangers: %v", groups, err)
		}
		for set := range 1 << len(keys) {
			var some []ledger.WitnessKey
			for i, k := range keys {
				if set>>i&1 == 1 {
					some = append(some, k)
				}
			}
			whole := bytes.Clone(signed)
			if len(some) > 0 {
				lines, err := ledger.Cosign(signed, some)
				if err != nil {
					t.Fatal(err)
				}
				whole = append(whole, lines...)
			}
			_, _, err := ours.WithPolicy(p).Checkpoint(whole)
			if err != nil && !errors.Is(err, ledger.ErrNotCosigned) {
				t.Fatal(err)
			}
			if got, want := err == nil, theirs.Satisfied(whole); got != want {
				t.Errorf("%s by %04b: satisfied %v, strangers say %v", groups, set, got, want)
			}
		}
	}
}

// What is not a policy demands nothing, and so must not pass for one.
func TestPolicyRefuses(t *testing.T) {
	key, other := witnessKeys(t, "w.example", 3)[0].VerifierKey(), witnessKeys(t, "v.example", 5)[0].VerifierKey()
	_, vkeys := twoKeys(t)
	ed, _, _ := strings.Cut(vkeys, "\n")
	a, b := "witness a "+key+"\n", "witness b "+other+"\n"
	for name, text := range map[string]string{
		"nothing": "", "no quorum": a, "unknown keyword": a + "require a\n", "unknown quorum": a + "quorum b\n", "two quorums": a + b + "quorum a\nquorum b\n",
		"quorum of two": a + b + "quorum a b\n", "taken name": a + "witness a " + other + "\nquorum a\n", "keyword for a name": "witness none " + key + "\nquorum none\n",
		"one key twice": a + "witness b " + key + "\nquorum a\n", "a log's key": "witness a " + ed + "\nquorum a\n", "no key": "witness a\nquorum a\n",
		"not a URL": "witness a " + key + " ftp://x\nquorum a\n", "group before member": "group g any a\n" + a + "quorum g\n",
		"in two groups": a + b + "group g any a b\ngroup h all a\nquorum h\n", "threshold 0": a + b + "group g 0 a b\nquorum g\n",
		"threshold 3 of 2": a + b + "group g 3 a b\nquorum g\n", "threshold 02": a + b + "group g 02 a b\nquorum g\n", "group of none": a + "group g any\nquorum a\n",
		"too long": strings.Repeat("#\n", 40_000) + a + "quorum a\n", "log without key": "log\n" + a + "quorum a\n",
	} {
		if _, err := ledger.ParsePolicy([]byte(text)); !errors.Is(err, ledger.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A policy that parses never fails to judge, and one that strangers refuse for its
// shape is not taken for a weaker one.
func FuzzParsePolicy(f *testing.F) {
	key := witnessKeys(f, "w.example", 3)[0].VerifierKey()
	f.Add([]byte("witness a " + key + " https://w.example/\ngroup g 1 a\nquorum g\n"))
	f.Add([]byte("quorum none"))
	signer, vkeys := twoKeys(f)
	signed, err := signer.Sign(f.Context(), ledger.Head{Origin: origin, Size: 5, Root: sequence(1)})
	if err != nil {
		f.Fatal(err)
	}
	v, err := ledger.NewVerifier(vkeys)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ledger.ParsePolicy(text)
		if err != nil {
			return
		}
		if _, _, err := v.WithPolicy(p).Checkpoint(signed); err == nil && !bytes.Contains(text, []byte("none")) {
			t.Errorf("%q is satisfied by nobody", text)
		}
	})
}

// Requests to witnesses are read as they are written, and nothing else is.
func FuzzParseAddCheckpoint(f *testing.F) {
	f.Add(ledger.AddCheckpoint{Old: 7, Proof: []ledger.Hash{sequence(1), sequence(2)}, Checkpoint: []byte("x\n")}.Marshal())
	f.Add(ledger.AddCheckpoint{Checkpoint: []byte("o\n1\nx\n\n— o y\n")}.Marshal())
	f.Add([]byte("old 07\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ledger.ParseAddCheckpoint(b)
		if err == nil && !bytes.Equal(a.Marshal(), b) {
			t.Errorf("%q was read", b)
		}
	})
}
