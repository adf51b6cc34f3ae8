package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

func openWitness(t *testing.T, path string) *ledger.WitnessFile {
	t.Helper()
	w, err := ledger.OpenWitnessFile(path, origin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// What was remembered is there after the file is opened again, only growth is
// taken, and a second root for a size is refused.
func TestWitnessFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	w := openWitness(t, path)
	if size, _, err := w.Recall(); size != 0 || err != nil {
		t.Errorf("a new file remembers size %d, %v", size, err)
	}
	for _, size := range []uint64{0, 1, 7, 7, 300} {
		if err := w.Remember(size, sequence(byte(size))); err != nil {
			t.Fatalf("remembering %d: %v", size, err)
		}
		if got, root, err := openWitness(t, path).Recall(); got != size || root != sequence(byte(size)) && size > 0 || err != nil {
			t.Errorf("opened again: size %d, %v; want %d", got, err, size)
		}
	}
	if err := w.Remember(299, sequence(1)); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("a smaller size: %v", err)
	}
	if err := w.Remember(300, sequence(1)); !errors.Is(err, ledger.ErrFork) {
		t.Errorf("another root: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
}

// A crash in the middle of a write leaves what was remembered before; damage to
// both slots, or another log's file, is an error and never a fresh start.
func TestWitnessFileDamaged(t *testing.T) {
	const slots = 4096 // where the second begins
	write := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "witness")
		w := openWitness(t, path)
		for _, size := range []uint64{5, 6} { // in slots 1 and 0, or the other way round
			if err := w.Remember(size, sequence(byte(size))); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	damage := func(t *testing.T, path string, at ...int64) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, at := range at {
			if _, err := f.WriteAt([]byte("torn"), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	var sizes []uint64
	for _, slot := range []int64{0, slots} {
		path := write(t)
		damage(t, path, slot+60)
		size, _, err := openWitness(t, path).Recall()
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, size)
	}
	if sizes[0]+sizes[1] != 11 {
		t.Errorf("with one slot torn, sizes %v are remembered, want 5 and 6", sizes)
	}
	both, short := write(t), write(t)
	damage(t, both, 60, slots+60)
	if err := os.Truncate(short, 10); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"both slots torn": both, "cut off": short} {
		if _, err := ledger.OpenWitnessFile(path, origin); !errors.Is(err, ledger.ErrWitnessFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.OpenWitnessFile(write(t), "wattveil.example/other"); !errors.Is(err, ledger.ErrWitnessFile) {
		t.Errorf("another log's: %v", err)
	}
}

// A whole store that was set back, or replaced by another history, contradicts
// nothing inside it. The witness finds it at start: equal, behind and beyond
// what was signed. Without a witness the same store goes on, which shows that it
// is the witness that finds it.
func TestSelfWitness(t *testing.T) {
	grown := func(t *testing.T, prefix string, leaves int) *ledgertest.Memory {
		store := ledgertest.NewMemory(origin)
		s := start(t, store, signerOf(t), ledger.Options{})
		defer s.Close()
		for i := range leaves {
			id := fmt.Sprint("r-", i)
			if i >= 3 { // histories part here
				id = fmt.Sprint(prefix, i)
			}
			if _, err := s.Propose(t.Context(), id, remark(id).Func); err != nil {
				t.Fatal(err)
			}
		}
		return store
	}
	for _, c := range []struct {
		name   string
		leaves int
		want   error
	}{
		{"set back", 4, ledger.ErrRollback},
		{"beside, as long", 5, ledger.ErrFork},
		{"beside, longer", 9, ledger.ErrFork},
		{"beside, and longer than is read forward", 1500, ledger.ErrFork},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := openWitness(t, filepath.Join(t.TempDir(), "witness"))
			original := grown(t, "one-", 5)
			s := start(t, original, signerOf(t), ledger.Options{Witness: w})
			if _, err := s.Propose(t.Context(), "r-0", remark("x").Func); err != nil {
				t.Fatal(err)
			}
			s.Close()
			other := grown(t, "two-", c.leaves)
			s = start(t, other, signerOf(t), ledger.Options{Witness: w})
			for range 2 {
				if _, err := s.Propose(t.Context(), "x", remark("x").Func); !errors.Is(err, c.want) || !errors.Is(err, ledger.ErrNotRecorded) {
					t.Errorf("proposal: %v, want %v", err, c.want)
				}
			}
			if !errors.Is(s.Failure(), c.want) {
				t.Errorf("failure is %v", s.Failure())
			}
			if leaves, _ := other.ReadLeaves(t.Context(), 0, 5000); len(leaves) != c.leaves {
				t.Errorf("the log has %d leaves", len(leaves))
			}
			without := start(t, other, signerOf(t), ledger.Options{})
			if _, err := without.Propose(t.Context(), "x", remark("x").Func); err != nil {
				t.Errorf("without a witness: %v", err)
			}
			// The right store again, and all is well.
			s = start(t, original, signerOf(t), ledger.Options{Witness: w})
			if _, err := s.Propose(t.Context(), "x", remark("x").Func); err != nil {
				t.Errorf("over the original: %v", err)
			}
		})
	}
}

// swapped is a store that becomes another one under a running sequencer, as when
// somebody restores a backup behind its back.
type swapped struct{ *ledgertest.Memory }

// The same while the sequencer runs: set back, beside by a few leaves (read
// forward), and beside by many (read anew).
func TestSwappedWhileRunning(t *testing.T) {
	for leaves, want := range map[int]error{2: ledger.ErrRollback, 5: ledger.ErrFork, 9: ledger.ErrFork, 1500: ledger.ErrFork} {
		store := &swapped{ledgertest.NewMemory(origin)}
		s := start(t, store, signerOf(t), ledger.Options{})
		for i := range 5 {
			if _, err := s.Propose(t.Context(), fmt.Sprint("r-", i), remark("x").Func); err != nil {
				t.Fatal(err)
			}
		}
		other := ledgertest.NewMemory(origin)
		log := start(t, other, signerOf(t), ledger.Options{})
		for i := range leaves {
			if _, err := log.Propose(t.Context(), fmt.Sprint("s-", i), remark("y").Func); err != nil {
				t.Fatal(err)
			}
		}
		store.Memory = other
		if _, err := s.Propose(t.Context(), "x", remark("x").Func); !errors.Is(err, want) {
			t.Errorf("%d leaves: %v, want %v", leaves, err, want)
		}
		if !errors.Is(s.Failure(), want) {
			t.Errorf("%d leaves: failure is %v, want %v", leaves, s.Failure(), want)
		}
	}
}

// broken is a witness whose disk fails.
type broken struct{ ledger.SelfWitness }

func (broken) Remember(uint64, ledger.Hash) error { return ledgertest.ErrFault }

// While the witness cannot be written, nothing that was signed leaves the
// process: the leaf is recorded, the caller hears that it is not signed, and no
// checkpoint is published. Once it can, asking again gives the same leaf.
func TestWitnessFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	store := ledgertest.NewMemory(origin)
	s := start(t, store, signerOf(t), ledger.Options{Witness: broken{openWitness(t, path)}})
	if _, err := s.Propose(t.Context(), "x", remark("x").Func); !errors.Is(err, ledger.ErrUnsigned) {
		t.Errorf("proposal: %v", err)
	}
	if _, err := store.Checkpoint(t.Context()); !errors.Is(err, ledger.ErrNoCheckpoint) {
		t.Errorf("a checkpoint was published: %v", err)
	}
	s.Close()
	s = start(t, store, signerOf(t), ledger.Options{Witness: openWitness(t, path)})
	if r, err := s.Propose(t.Context(), "x", remark("x").Func); err != nil || r.Index != 0 {
		t.Errorf("asked again: index %d, %v", r.Index, err)
	}
}

// What a witness outside reports ends the work too, and the first reason stands.
func TestFail(t *testing.T) {
	log, _ := newLog(t)
	grow(t, log, 0, 1)
	log.Fail(fmt.Errorf("witness lw: %w", ledger.ErrRollback))
	log.Fail(ledger.ErrFork)
	if _, err := log.Propose(t.Context(), "x", remark("x").Func); !errors.Is(err, ledger.ErrRollback) || !errors.Is(err, ledger.ErrNotRecorded) {
		t.Errorf("proposal: %v", err)
	}
}

// A household's secret is replaced by an event of its own: tagged, like all after
// it, with the new secret, which the store keeps beside the old one.
func TestRekey(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(1))
	s := start(t, store, signerOf(t), ledger.Options{})
	var outcomes []ledger.Outcome
	of := func(id string, k ledger.Kind) ledger.Proposal[*memTx] {
		return ledger.Proposal[*memTx]{RequestID: id, Func: func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
			return ledger.Payload{Kind: k, Subject: "h"}, nil
		}}
	}
	for _, batch := range [][]ledger.Proposal[*memTx]{
		{of("1", ledger.KindAccess)},
		{of("2", ledger.KindAccess), of("3", ledger.KindRekey), of("4", ledger.KindAccess), of("5", ledger.KindRekey)},
		{of("6", ledger.KindAccess)},
	} {
		outcomes = append(outcomes, s.ProposeAll(t.Context(), batch)...)
	}
	keys := store.TagKeys("h")
	if len(keys) != 3 || keys[0].FromSeq != 1 || keys[1].FromSeq != 3 || keys[2].FromSeq != 5 || keys[1].Key == keys[2].Key {
		t.Fatalf("tag keys are %+v", keys)
	}
	for i, o := range outcomes {
		key := keys[0]
		if i >= 2 {
			key = keys[1]
		}
		if i >= 4 {
			key = keys[2]
		}
		if o.Err != nil || o.Receipt.Leaf.Tag != ledger.SubjectTag(key.Key, uint64(i+1)) {
			t.Errorf("event %d carries another tag, or none: %v", i+1, o.Err)
		}
	}
}
