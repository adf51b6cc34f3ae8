package ledger_test

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/wattveil/wattveil/ledger"
)

func newSigner(t testing.TB, from string) (*ledger.NoteSigner, *ledger.Verifier, string) {
	t.Helper()
	seed := sequence(0x20)
	signer, vkey, err := ledger.NewSigner(from, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := ledger.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier, vkey
}

func mustSigner(t testing.TB) ledger.Signer {
	t.Helper()
	signer, _, _ := newSigner(t, origin)
	return signer
}

// A signed checkpoint and the public key are fixed to the byte: Ed25519 is
// deterministic. It would catch a changed line, origin or signature format,
// which would cut us off from witnesses and from every receipt already given.
func TestCheckpointVector(t *testing.T) {
	signer, verifier, vkey := newSigner(t, origin)
	note, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: 7, Root: sequence(0x60)})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/checkpoint.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got := vkey + "\n" + string(note); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	size, root, err := verifier.Checkpoint(note)
	if err != nil || size != 7 || root != sequence(0x60) {
		t.Errorf("verified as size %d, root %x, %v", size, root, err)
	}
}

// The signer never contradicts itself: no smaller log, no second root for one
// size, no other log; the same head again is signed again, since its first
// signature may have been lost.
func TestSignerRefuses(t *testing.T) {
	signer, _, _ := newSigner(t, origin)
	for _, step := range []struct {
		name string
		head ledger.Head
		want error
	}{
		{"another log", ledger.Head{Origin: "other.example", Size: 5, Root: sequence(1)}, ledger.ErrOrigin},
		{"empty log", ledger.NewHead(origin), nil},
		{"first leaves", ledger.Head{Origin: origin, Size: 5, Root: sequence(1)}, nil},
		{"the same again", ledger.Head{Origin: origin, Size: 5, Root: sequence(1)}, nil},
		{"another root", ledger.Head{Origin: origin, Size: 5, Root: sequence(2)}, ledger.ErrFork},
		{"smaller", ledger.Head{Origin: origin, Size: 4, Root: sequence(3)}, ledger.ErrRollback},
		{"larger", ledger.Head{Origin: origin, Size: 6, Root: sequence(4)}, nil},
		{"the one before", ledger.Head{Origin: origin, Size: 5, Root: sequence(1)}, ledger.ErrRollback},
	} {
		if _, err := signer.Sign(t.Context(), step.head); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
	}
}

// Nothing but a canonical checkpoint of this log under this key is believed.
func TestVerifierRefusesCheckpoint(t *testing.T) {
	signer, verifier, _ := newSigner(t, origin)
	b, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: 7, Root: sequence(0x60)})
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	other, _, _ := newSigner(t, "other.example/hub")
	foreign, err := other.Sign(t.Context(), ledger.Head{Origin: "other.example/hub", Size: 7, Root: sequence(0x60)})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":        "",
		"size edited":    strings.Replace(good, "\n7\n", "\n8\n", 1),
		"leading zero":   strings.Replace(good, "\n7\n", "\n07\n", 1),
		"root edited":    strings.Replace(good, "\nYGF", "\nYGE", 1),
		"origin edited":  strings.Replace(good, origin, "wattveil.example/hut", 1),
		"extension line": strings.Replace(good, "\n\n", "\nmore\n\n", 1),
		"signature cut":  good[:len(good)-5] + "\n",
		"no signature":   good[:strings.Index(good, "\n\n")+2],
		"another log":    string(foreign),
	} {
		if size, _, err := verifier.Checkpoint([]byte(text)); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%s: believed with size %d, %v", name, size, err)
		}
	}
	// A witness's line beside the log's own is not ours to judge.
	cosigned := good + "— witness.example AAAAAAECAwQ=\n"
	if _, _, err := verifier.Checkpoint([]byte(cosigned)); err != nil {
		t.Errorf("cosigned: %v", err)
	}
}

// A checkpoint that was found good is found good again without its signatures, and
// nothing else is: neither what differs from it in a byte, nor the same bytes after
// who handed them in has changed them, nor what a policy demands more of.
func TestVerifierRemembersCheckpoint(t *testing.T) {
	signer, verifier, _ := newSigner(t, origin)
	sign := func(size uint64) []byte {
		b, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: size, Root: sequence(0x60)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, second := sign(7), sign(8)
	for _, c := range []struct {
		text []byte
		size uint64
	}{{first, 7}, {first, 7}, {second, 8}, {first, 7}, {second, 8}} {
		if size, root, err := verifier.Checkpoint(c.text); err != nil || size != c.size || root != sequence(0x60) {
			t.Errorf("size %d, %v, want %d", size, err, c.size)
		}
	}
	for i := range second {
		second[i] ^= 1
		if size, _, err := verifier.Checkpoint(second); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Fatalf("byte %d changed: size %d, %v", i, size, err)
		}
		second[i] ^= 1
	}
	if _, _, err := verifier.Checkpoint(second); err != nil {
		t.Error(err)
	}
	policy, err := ledger.ParsePolicy([]byte("witness w " + witnessKeys(t, "witness.example/w", 3)[0].VerifierKey() + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := verifier.WithPolicy(policy).Checkpoint(second); !errors.Is(err, ledger.ErrNotCosigned) {
		t.Errorf("without a cosignature: %v, want ErrNotCosigned", err)
	}
}

// Nor is what its key did sign, if it is no checkpoint of this log in the one form
// that there is. It would catch a check that rests on the signature alone: a key
// may come to sign for a second log, or with other software.
func TestVerifierRefusesSignedNonsense(t *testing.T) {
	seed := sequence(0x20)
	_, verifier, vkey := newSigner(t, origin)
	hash := strings.Split(vkey, "+")[1]
	key, err := note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	if err != nil {
		t.Fatal(err)
	}
	digest := sequence(0x60)
	root := base64.StdEncoding.EncodeToString(digest[:])
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"as it should be":        {origin + "\n7\n" + root + "\n", true},
		"another log":            {"other.example/hub\n7\n" + root + "\n", false},
		"no origin":              {"\n7\n" + root + "\n", false},
		"leading zero":           {origin + "\n07\n" + root + "\n", false},
		"signed size":            {origin + "\n+7\n" + root + "\n", false},
		"size below zero":        {origin + "\n-7\n" + root + "\n", false},
		"size beyond 64 bits":    {origin + "\n18446744073709551616\n" + root + "\n", false},
		"short root":             {origin + "\n7\n" + base64.StdEncoding.EncodeToString(digest[:31]) + "\n", false},
		"root without padding":   {origin + "\n7\n" + strings.TrimRight(root, "=") + "\n", false},
		"root with spare bits":   {origin + "\n7\n" + root[:42] + "9=\n", false},
		"extension line":         {origin + "\n7\n" + root + "\nmore\n", false},
		"two lines, no root":     {origin + "\n7\n", false},
		"carriage returns":       {origin + "\r\n7\r\n" + root + "\r\n", false},
		"a release, for example": {"wattveil release\n", false},
	} {
		signed, err := note.Sign(&note.Note{Text: c.text}, key)
		if err != nil {
			continue // a note cannot even hold it
		}
		if size, _, err := verifier.Checkpoint(signed); (err == nil) != c.good || err != nil && !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%s: size %d, %v", name, size, err)
		}
	}
}

// A signer is not made of a short seed, or for an origin that a note cannot
// carry.
func TestNewSignerRefuses(t *testing.T) {
	seed := sequence(0)
	for name, args := range map[string]struct {
		origin string
		seed   []byte
	}{
		"short seed":        {origin, seed[:31]},
		"no origin":         {"", seed[:]},
		"space in origin":   {"wattveil example", seed[:]},
		"plus in origin":    {"a+b", seed[:]},
		"newline in origin": {"a\nb", seed[:]},
	} {
		if _, _, err := ledger.NewSigner(args.origin, args.seed); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
