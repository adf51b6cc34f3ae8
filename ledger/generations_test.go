package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// generation makes one generation of keys.
func generation(t testing.TB, name string, seed byte) *ledger.SigningKeys {
	t.Helper()
	k, err := ledger.NewSigningKeys(name, bytes.Repeat([]byte{seed}, 32), bytes.Repeat([]byte{seed + 1}, 32), noon)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signedWith signs a checkpoint with some generations, whatever the log says of them.
func signedWith(t testing.TB, size uint64, keys ...*ledger.SigningKeys) []byte {
	t.Helper()
	signer := ledger.NewTermSigner(origin, func(context.Context, uint64) ([]*ledger.SigningKeys, error) { return keys, nil })
	note, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: size, Root: sequence(byte(size))})
	if err != nil {
		t.Fatal(err)
	}
	return note
}

// A generation is believed for what its bound says, by itself or with others, and only
// with all of its keys. It would catch a retired key, stolen since, that signs something
// new; an old receipt that does not verify any more; and two halves of two generations
// taken for a whole.
func TestGenerations(t *testing.T) {
	first, second, third := generation(t, origin, 10), generation(t, origin, 20), generation(t, origin, 30)
	file := third.VerifierKeys() + "\nuntil 9\n" + second.VerifierKeys() + "\nuntil 4\n" + first.VerifierKeys()
	v, err := ledger.NewVerifier(file)
	if err != nil {
		t.Fatal(err)
	}
	if v.Keys() != file {
		t.Errorf("it says its keys are\n%s\nand not\n%s", v.Keys(), file)
	}
	type signers = []*ledger.SigningKeys
	for _, c := range []struct {
		what string
		size uint64
		by   signers
		good bool
	}{
		{"the first within its bound", 0, signers{first}, true},
		{"the first at its bound", 4, signers{first}, true},
		{"the first past its bound", 5, signers{first}, false},
		{"the first and the second, past the first's bound", 5, signers{first, second}, true},
		{"the second within the first's bound", 3, signers{second}, true},
		{"the second at its bound", 9, signers{second}, true},
		{"the second past its bound", 10, signers{second}, false},
		{"both retired, past the bounds", 10, signers{first, second}, false},
		{"the newest", 1 << 40, signers{third}, true},
		{"the newest, over an old size", 2, signers{third}, true},
	} {
		_, _, err := v.Checkpoint(signedWith(t, c.size, c.by...))
		if (err == nil) != c.good || err != nil && !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	ed := bytes.SplitAfter(signedWith(t, 3, first), []byte("\n"))
	pq := bytes.SplitAfter(signedWith(t, 3, second), []byte("\n"))
	halves := bytes.Join(append(ed[:5:5], pq[5]), nil) // three lines of text, a blank one, and a signature of each
	if _, _, err := v.Checkpoint(halves); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("half of two generations: %v", err)
	}
}

// Under a policy every generation's checkpoints need cosignatures, and what is missing
// them is told apart from what is not the log's. It would catch a hub that takes its own
// last checkpoint of before a rotation for a forgery.
func TestGenerationsCosigned(t *testing.T) {
	first, second := generation(t, origin, 10), generation(t, origin, 20)
	witness := witnessKeys(t, "w.example", 3)
	p, err := ledger.ParsePolicy([]byte("witness w " + witness[0].VerifierKey() + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := ledger.NewVerifier(second.VerifierKeys() + "\nuntil 4\n" + first.VerifierKeys())
	if err != nil {
		t.Fatal(err)
	}
	for size, by := range map[uint64]*ledger.SigningKeys{4: first, 5: second} {
		signed := signedWith(t, size, by)
		lines, err := ledger.Cosign(signed, witness)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.WithPolicy(p).Checkpoint(signed); !errors.Is(err, ledger.ErrNotCosigned) {
			t.Errorf("size %d, not cosigned: %v", size, err)
		}
		if _, _, err := v.WithPolicy(p).Checkpoint(append(signed, lines...)); err != nil {
			t.Errorf("size %d, cosigned: %v", size, err)
		}
	}
}

// A text of generations is whole, of one log, and says each key and each bound in one
// way. It would catch a bound that is read as another number, or an old key that comes
// back as the newest.
func TestGenerationsRefused(t *testing.T) {
	one, two, three := generation(t, origin, 10).VerifierKeys(), generation(t, origin, 20).VerifierKeys(), generation(t, origin, 30).VerifierKeys()
	foreign := generation(t, "wattveil.example/other", 10).VerifierKeys()
	ed, pq, _ := strings.Cut(one, "\n")
	for name, text := range map[string]string{
		"a bound alone": "until 5", "a bound first": "until 5\n" + one, "a bound last": one + "\nuntil 5", "a bound without a number": two + "\nuntil\n" + one,
		"two bounds": two + "\nuntil 5\nuntil 4\n" + one, "no number": two + "\nuntil five\n" + one, "another spelling": two + "\nuntil 05\n" + one,
		"a sign": two + "\nuntil +5\n" + one, "too great": two + "\nuntil 18446744073709551616\n" + one, "no bound at all": two + "\nuntil 18446744073709551615\n" + one,
		"bounds that grow": three + "\nuntil 5\n" + two + "\nuntil 6\n" + one, "equal bounds": three + "\nuntil 5\n" + two + "\nuntil 5\n" + one,
		"two generations without a bound": two + "\n" + one, "an old key that is the newest": one + "\nuntil 5\n" + one,
		"an old key that comes back": one + "\nuntil 9\n" + two + "\nuntil 5\n" + ed, "another log's": two + "\nuntil 5\n" + foreign,
		"ML-DSA alone": two + "\nuntil 5\n" + pq, "another word": two + "\nUNTIL 5\n" + one,
	} {
		if _, err := ledger.NewVerifier(text); !errors.Is(err, ledger.ErrVerifierKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := ledger.NewVerifier(" " + two + "\r\nuntil\t0\r\n" + ed + "\n\n"); err != nil || v.Keys() != two+"\nuntil 0\n"+ed {
		t.Errorf("with other blanks, and a log whose first leaf bound the keys: %v", err)
	}
}

// A verifier takes other keys while it is in use, those that were made of it with a
// policy, too, and only those of its own log.
func TestReplace(t *testing.T) {
	first, second := generation(t, origin, 10), generation(t, origin, 20)
	v, err := ledger.NewVerifier(first.VerifierKeys())
	if err != nil {
		t.Fatal(err)
	}
	none, err := ledger.ParsePolicy([]byte("quorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	derived := v.WithPolicy(none)
	if err := v.Replace(generation(t, "wattveil.example/other", 10).VerifierKeys()); !errors.Is(err, ledger.ErrOrigin) {
		t.Errorf("another log's: %v", err)
	}
	if err := v.Replace("until 5"); !errors.Is(err, ledger.ErrVerifierKey) {
		t.Errorf("no keys: %v", err)
	}
	if _, _, err := derived.Checkpoint(signedWith(t, 9, first)); err != nil {
		t.Errorf("after keys that were refused: %v", err)
	}
	if err := v.Replace(second.VerifierKeys() + "\nuntil 4\n" + first.VerifierKeys()); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*ledger.Verifier{v, derived} {
		if _, _, err := v.Checkpoint(signedWith(t, 9, first)); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("the older keys past their bound: %v", err)
		}
		if _, _, err := v.Checkpoint(signedWith(t, 9, second)); err != nil {
			t.Errorf("the newest: %v", err)
		}
	}
}

// What is read as verifier keys is written as what was read, blanks apart: nobody's
// bound or key is lost on the way. And no text makes a verifier that panics.
func FuzzVerifierKeys(f *testing.F) {
	one, two := generation(f, origin, 10).VerifierKeys(), generation(f, origin, 20).VerifierKeys()
	signed := signedWith(f, 5, generation(f, origin, 10))
	for _, text := range []string{"", one, two + "\nuntil 5\n" + one, two + "\nuntil 4\n" + one, "until 1", one + " until 18446744073709551615 " + two, strings.ReplaceAll(one, "\n", "\r\n")} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ledger.NewVerifier(text)
		if err != nil {
			if !errors.Is(err, ledger.ErrVerifierKey) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if got, want := fmt.Sprint(strings.Fields(v.Keys())), fmt.Sprint(strings.Fields(text)); got != want {
			t.Errorf("%s was read as %s", want, got)
		}
		again, err := ledger.NewVerifier(v.Keys())
		if err != nil || again.Keys() != v.Keys() {
			t.Errorf("what it wrote reads as something else: %v", err)
		}
		_, _, _ = v.Checkpoint(signed)
	})
}

// A checkpoint that was found good is checked anew when the keys change: that it was good
// is a matter of the keys it was checked with. It would catch an answer from memory for a
// checkpoint that the new keys have not signed.
func TestReplacedKeysForgetWhatWasGood(t *testing.T) {
	signer, old, _ := newSigner(t, origin)
	seed := sequence(0x70)
	_, vkeys, err := ledger.NewSigner(origin, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	other, err := ledger.NewVerifier(vkeys)
	if err != nil {
		t.Fatal(err)
	}
	note, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: 3, Root: ledger.Hash{1}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := old.Checkpoint(note); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := other.Checkpoint(note); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("another log's keys: %v", err)
	}
	if err := old.Replace(vkeys); err != nil {
		t.Fatal(err)
	}
	if _, _, err := old.Checkpoint(note); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("after the keys were replaced: %v, want ErrCheckpoint", err)
	}
}
