package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// While many record, keys are bound and retired. What signs a checkpoint follows from
// its size alone: the older generation up to the leaf that retires it, the newer from
// the one that binds it. Whoever has the old keys verifies everything up to the end of
// the overlap, whoever has the new text everything there is. It would catch a checkpoint
// in between that only the old, or only the new, keys signed: somebody would be stopped
// by it.
func TestKeysFollowTheLog(t *testing.T) {
	log := ledgertest.StartRotating(t, origin)
	var wg sync.WaitGroup
	crowd := func(name string) {
		for i := range 100 {
			wg.Go(func() {
				p := remark(fmt.Sprint(name, i))
				if _, err := log.Propose(t.Context(), p.RequestID, p.Func); err != nil {
					t.Error(err)
				}
			})
		}
	}
	log.Grow(t, "before", 3)
	crowd("rotating")
	bound := log.Bind(t).Index
	wg.Wait()
	crowd("retiring")
	retired := log.Retire(t, 0).Index
	wg.Wait()
	newest := log.Grow(t, "after", 2)

	old, v := log.First(t), log.Verifier(t)
	if want := log.Signing(1).VerifierKeys() + fmt.Sprintf("\nuntil %d\n", bound) + log.Signing(0).VerifierKeys(); v.Keys() != want {
		t.Errorf("everybody is to keep\n%s", v.Keys())
	}
	terms := []ledger.Term{{Bound: ledger.NoIndex, Retired: retired}, {Bound: bound, Retired: ledger.NoIndex}}
	notes, err := log.Store.Checkpoints(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]int{}
	for _, signed := range notes {
		size, _, err := v.Checkpoint(signed)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for n, term := range terms {
			if term.Signs(size) {
				lines += 2
			}
			alone, err := ledger.NewVerifier(log.Signing(n).VerifierKeys())
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := alone.Checkpoint(signed); (err == nil) != term.Signs(size) {
				t.Errorf("size %d, generation %d: %v", size, n, err)
			}
		}
		if got := signatures(t, signed); got != lines {
			t.Errorf("size %d has %d signatures, want %d", size, got, lines)
		}
		if strange := old.Strange(signed); strange != (size > bound) {
			t.Errorf("size %d: seen to be signed with other keys: %v", size, strange)
		}
		if _, _, err := old.Checkpoint(signed); (err == nil) != (size <= retired) {
			t.Errorf("size %d, of which %d ends the overlap, to the holder of the old keys: %v", size, retired, err)
		}
		if v.Strange(signed) {
			t.Errorf("size %d: strange to whoever has all keys", size)
		}
		seen[lines]++
	}
	if seen[2] == 0 || seen[4] == 0 {
		t.Errorf("checkpoints by number of signatures: %v", seen)
	}
	if _, err := ledger.VerifyLog(t.Context(), v, ledger.ReaderSource(log.Store), ledger.VerifyOptions{Seen: notes}); err != nil {
		t.Errorf("the log and its whole history: %v", err)
	}
	if _, _, err := old.Checkpoint(newest); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("the retired keys, for the newest: %v", err)
	}
}

// signatures counts a note's signatures.
func signatures(t *testing.T, signed []byte) int {
	t.Helper()
	_, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		t.Fatal(err)
	}
	return len(unverified.Note.UnverifiedSigs)
}

// A receipt outlives the keys it was signed with, and a log that changed its keys twice
// is followed, step by step, by somebody who slept through all of it. What the newest
// known keys do not vouch for, or the log does not bind, convinces nobody. It would catch
// keys that somebody who may write into the log, and cannot sign, has put there.
func TestSucceed(t *testing.T) {
	log := ledgertest.StartRotating(t, origin)
	log.Grow(t, "a", 3)
	receipt := log.Opening(t, 1)
	second := log.Bind(t).Index
	log.Grow(t, "b", 2)
	log.Retire(t, 0)
	log.Grow(t, "c", 2)
	third := log.Bind(t).Index
	log.Grow(t, "d", 1)
	log.Retire(t, 1)
	newest := log.Grow(t, "e", 1)

	v := log.First(t)
	if _, _, err := v.Checkpoint(newest); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Fatalf("the first keys, for the newest: %v", err)
	}
	keys := []string{"", log.Signing(1).VerifierKeys(), log.Signing(2).VerifierKeys()}
	word, opening := log.Statement(t, 1, second), log.Opening(t, second)
	refuse := func(what string, v *ledger.Verifier, keys string, word []byte, o ledger.Opening, want error) {
		t.Helper()
		if _, _, err := v.Succeed(keys, word, o); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	refuse("other keys", v, keys[2], word, opening, ledger.ErrProof)
	refuse("a leaf that binds nothing", v, keys[1], word, log.Opening(t, 2), ledger.ErrProof)
	refuse("keys with a generation hidden in them", v, keys[1]+"\nuntil 1\n"+keys[2], word, opening, ledger.ErrProof)
	refuse("under a checkpoint that the old keys have not signed", v, keys[1], word, log.OpeningUnder(t, second, newest), ledger.ErrCheckpoint)
	refuse("a step that is left out", v, keys[2], log.Statement(t, 2, third), log.Opening(t, third), ledger.ErrCheckpoint)
	refuse("no word", v, keys[1], nil, opening, ledger.ErrProof)
	refuse("a word of another leaf", v, keys[1], log.Statement(t, 1, second+1), opening, ledger.ErrProof)
	refuse("a checkpoint for a word", v, keys[1], newest, opening, ledger.ErrProof)
	refuse("half a word", v, keys[1], word[:bytes.LastIndexByte(word[:len(word)-1], '\n')+1], opening, ledger.ErrProof)
	own, err := log.Signing(1).Bind(keys[1], second)
	if err != nil {
		t.Fatal(err)
	}
	refuse("the new keys' own word", v, keys[1], own, opening, ledger.ErrProof)

	next, at, err := v.Succeed(keys[1], word, opening)
	if err != nil || at.Index != second || at.Payload.Detail != ledger.DetailLedgerKeys {
		t.Fatalf("leaf %d, %v", at.Index, err)
	}
	refuse("the same keys again", next, keys[1], word, opening, ledger.ErrProof)
	last, _, err := next.Succeed(keys[2], log.Statement(t, 2, third), log.Opening(t, third))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := last.Keys(), log.VerifierKeys(t); got != want {
		t.Errorf("step by step one has\n%s\nand everybody\n%s", got, want)
	}
	if _, _, err := last.Checkpoint(newest); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if _, err := last.Proof(receipt.Payload, receipt.Nonce, receipt.Proof); err != nil {
		t.Errorf("a receipt of before both changes: %v", err)
	}
	for what, bad := range map[string]struct {
		vkeys string
		index uint64
		by    *ledger.SigningKeys
		want  error
	}{
		"a leaf before the last that bound keys": {keys[2], second, log.Signing(1), ledger.ErrVerifierKey},
		"keys that are known":                    {keys[1], third, log.Signing(1), ledger.ErrVerifierKey},
		"keys of before, retired since":          {log.Signing(0).VerifierKeys(), third, log.Signing(1), ledger.ErrVerifierKey},
		"another log's":                          {generation(t, "wattveil.example/other", 10).VerifierKeys(), third, log.Signing(1), ledger.ErrVerifierKey},
		"two generations at once":                {keys[2] + "\nuntil 99\n" + generation(t, origin, 50).VerifierKeys(), third, log.Signing(1), ledger.ErrVerifierKey},
		"the word of retired keys":               {keys[2], third, log.Signing(0), ledger.ErrProof},
	} {
		word, err := bad.by.Bind(bad.vkeys, bad.index)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := next.Successor(bad.vkeys, bad.index, word); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v, want %v", what, err, bad.want)
		}
	}
}

// A word for the next keys is no checkpoint of any log. It would catch one that could be
// passed off as the log's own at that size.
func TestBindingIsNoCheckpoint(t *testing.T) {
	first, second := generation(t, origin, 10), generation(t, origin, 20)
	word, err := first.Bind(second.VerifierKeys(), 5)
	if err != nil {
		t.Fatal(err)
	}
	v, err := ledger.NewVerifier(first.VerifierKeys())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Checkpoint(word); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("it passes for a checkpoint: %v", err)
	}
	stated, err := ledger.CheckpointOrigin(word)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.NewSigningKeys(stated, make([]byte, 32), make([]byte, 32), noon); err == nil {
		t.Errorf("a log may be called %q", stated)
	}
}

// Nothing is signed without keys, or with those of another log.
func TestTermSignerRefuses(t *testing.T) {
	asked := errors.New("asked in vain")
	head := ledger.Head{Origin: origin, Size: 5, Root: sequence(1)}
	for name, c := range map[string]struct {
		keys []*ledger.SigningKeys
		err  error
		want error
	}{
		"no keys":       {nil, nil, ledger.ErrNoKeys},
		"another log's": {[]*ledger.SigningKeys{generation(t, origin, 10), generation(t, "wattveil.example/other", 20)}, nil, ledger.ErrOrigin},
		"no answer":     {nil, asked, asked},
	} {
		signer := ledger.NewTermSigner(origin, func(context.Context, uint64) ([]*ledger.SigningKeys, error) { return c.keys, c.err })
		if _, err := signer.Sign(t.Context(), head); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, seeds := range map[string][2]int{"a short seed": {31, 32}, "a long one": {32, 33}} {
		if _, err := ledger.NewSigningKeys(origin, make([]byte, seeds[0]), make([]byte, seeds[1]), noon); err == nil {
			t.Errorf("%s makes keys", name)
		}
	}
	if k := generation(t, origin, 10).VerifierKeys(); strings.Count(k, "\n") != 1 {
		t.Errorf("a generation's keys are %q", k)
	}
}

// The digest is what its comment says, in a form that another language can check.
func TestVerifierKeysDigest(t *testing.T) {
	const want = "41745c7c2860efa8aa63ab5c91de2abd4b72bb6f1b5452616853adcf7402994d"
	if got := fmt.Sprintf("%x", ledger.VerifierKeysDigest("a\nb")); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if ledger.VerifierKeysDigest("a\nb") != ledger.VerifierKeysDigest(" a\r\nb\n") || ledger.VerifierKeysDigest("a\nb") == ledger.VerifierKeysDigest("ab") {
		t.Error("blanks around keys count, or keys run into each other")
	}
}
