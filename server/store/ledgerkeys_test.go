package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

// A generation of keys is stored with its seeds or not at all, the first to come wins,
// each step is written down once, and seeds go when their generation is retired and not
// before. It would catch keys whose seeds belong to other keys, and a step that is taken
// again at another leaf.
func TestLedgerKeys(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		names := []string{"ledger-signing", "ledger-signing-mldsa"}
		seeds := func(text string) map[string][]byte {
			return map[string][]byte{names[0]: []byte(text), names[1]: []byte(text)}
		}
		is := func(what string, want ...store.LedgerKeys) {
			t.Helper()
			got, err := s.LedgerKeys(ctx)
			must(t, err)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", what, d)
			}
			terms, err := s.LedgerTerms(ctx)
			must(t, err)
			var wanted []ledger.Term
			for _, k := range want {
				wanted = append(wanted, k.Term)
			}
			if d := cmp.Diff(wanted, terms); d != "" {
				t.Errorf("%s: terms (-want +got):\n%s", what, d)
			}
		}
		change := func(fn func(ctx context.Context, tx *store.Tx) error) error { return s.Transact(ctx, fn) }
		bind := func(generation uint32, leaf uint64) error {
			return change(func(ctx context.Context, tx *store.Tx) error {
				return tx.BindLedgerKeys(ctx, generation, leaf, []byte("word"), 30)
			})
		}
		retire := func(generation uint32, leaf uint64) error {
			return change(func(ctx context.Context, tx *store.Tx) error { return tx.RetireLedgerKeys(ctx, generation, leaf, 40) })
		}
		is("at first")
		for _, name := range names { // the first generation's seeds may be older than its row
			must(t, s.PutHubSecret(ctx, secret(name, "one")))
		}
		must(t, s.PutLedgerKeys(ctx, store.NewLedgerKeys{Generation: 1, VerifierKeys: "K1\nL1", Key: "hub", CreatedAt: 10}))
		two := store.NewLedgerKeys{Generation: 2, VerifierKeys: "K2\nL2", Seeds: seeds("two"), Key: "hub", KeyVersion: 1, CreatedAt: 20}
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.PutRotation(ctx, "hub", 2, 5), tx.BeginRetiring(ctx, "hub", 2, 6))
		})
		if err := s.PutLedgerKeys(ctx, two); !errors.Is(err, store.ErrKeyRetired) {
			t.Errorf("storing seeds under a version that is being destroyed: %v", err)
		}
		two.KeyVersion = 2
		must(t, s.PutLedgerKeys(ctx, two))
		must(t, s.PutLedgerKeys(ctx, store.NewLedgerKeys{Generation: 2, VerifierKeys: "K3\nL3", Seeds: seeds("three"), Key: "hub", KeyVersion: 2, CreatedAt: 21}))
		never := ledger.Term{Bound: ledger.NoIndex, Retired: ledger.NoIndex}
		first := store.LedgerKeys{Generation: 1, VerifierKeys: "K1\nL1", Term: never, CreatedAt: 10}
		second := store.LedgerKeys{Generation: 2, VerifierKeys: "K2\nL2", Term: never, CreatedAt: 20}
		is("made", first, second)
		for generation, want := range map[uint32]string{1: "one", 2: "two"} {
			if got, err := s.HubSecretOf(ctx, names[1], generation); err != nil || string(got) != want {
				t.Errorf("generation %d has the seed %q, %v", generation, got, err)
			}
		}
		if err := s.DestroyLedgerSeeds(ctx, 1, names, 50); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("destroying the seeds of what signs: %v", err)
		}
		must(t, bind(2, 0))
		second.Term.Bound, second.BoundAt, second.Statement = 0, 30, []byte("word")
		if err := bind(2, 8); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("binding again: %v", err)
		}
		must(t, retire(1, 9))
		first.Term.Retired, first.RetiredAt = 9, 40
		for _, generation := range []uint32{1, 7} {
			if err := retire(generation, 10); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("retiring generation %d: %v", generation, err)
			}
		}
		is("changed", first, second)
		must(t, s.DestroyLedgerSeeds(ctx, 1, names, 50))
		must(t, s.DestroyLedgerSeeds(ctx, 1, names, 60))
		first.DestroyedAt = 50
		is("destroyed", first, second)
		for generation, there := range map[uint32]bool{1: false, 2: true} {
			for _, name := range names {
				if _, err := s.HubSecretOf(ctx, name, generation); there != (err == nil) || !there && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("generation %d of %s: %v", generation, name, err)
				}
			}
		}
		if got, err := s.HubSecret(ctx, names[0]); err != nil || string(got) != "two" {
			t.Errorf("the newest seed is %q, %v", got, err)
		}
	})
}
