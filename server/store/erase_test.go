package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

// An erasure reaches what was recorded before it in the same transaction, though
// an entry is not yet a row there and the end of a chain not yet written; one
// that is rolled back reaches nothing. It would catch an erasure that looks at the
// tables alone: the household's last event would stay, nonce and all.
func TestEraseWithinTransaction(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		ctx := t.Context()
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		must(t, s.CreateLedger(ctx, origin))
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			from, err := tx.LedgerHead(ctx)
			if err != nil {
				return err
			}
			for _, h := range []string{"h1", "h2"} {
				if err := tx.LedgerSetChain(ctx, ledger.SubjectChain, h, ledger.Link{Seq: 1}); err != nil {
					return err
				}
			}
			for _, step := range []func() error{
				func() error { return tx.Savepoint(ctx, "sp") },
				func() error { return tx.EraseHousehold(ctx, "h2") },
				func() error { return tx.RollbackTo(ctx, "sp") },
				func() error { return tx.EraseHousehold(ctx, "h1") },
				func() error { return tx.Savepoint(ctx, "sp") },
				func() error { return tx.RollbackTo(ctx, "sp") },
			} {
				if err := step(); err != nil {
					return err
				}
			}
			if link, err := tx.LedgerChain(ctx, ledger.SubjectChain, "h1"); err != nil || link != (ledger.Link{}) {
				t.Errorf("the erased household's chain ends at %+v, %v, want none", link, err)
			}
			entries := []ledger.Entry{
				{RequestID: "a", Payload: []byte("1"), Kind: ledger.KindAccess, Subject: "h1", Recipient: "r"},
				{RequestID: "b", Payload: []byte("2"), Kind: ledger.KindAccess, Subject: "h2", Recipient: "r"},
				{RequestID: "c", Payload: []byte("3"), Kind: ledger.KindErasure},
			}
			to := from
			for i := range entries {
				entries[i].Index, entries[i].Leaf.Class = to.Size, entries[i].Kind.Class()
				to.Size++
			}
			return tx.LedgerAppend(ctx, from, to, entries, nil)
		})
		if e, err := s.ReadEntry(ctx, 0); !errors.Is(err, ledger.ErrErased) {
			t.Errorf("the erased household's entry: %+v, %v, want ErrErased", e, err)
		}
		for i, subject := range map[uint64]string{1: "h2", 2: ""} {
			if e, err := s.ReadEntry(ctx, i); err != nil || e.Subject != subject {
				t.Errorf("entry %d: %+v, %v, want it whole", i, e, err)
			}
		}
		var chain string
		must(t, s.QueryRow(ctx, `SELECT max(id) || min(id) FROM tlog_chains`, nil, &chain))
		if chain != "h2h2" {
			t.Errorf("chains %q, want that of h2 alone", chain)
		}
	})
}

// Nobody lives any more where an erased household lived: to a third party it is as
// a usage point that was never registered. It would catch a request there that
// fails in another way, for want of the household's tag key, and so tells who has
// been erased.
func TestErasedOccupant(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1")}))
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			if h, err := tx.OccupantOf(ctx, "p1", 10); err != nil || h != "h1" {
				t.Errorf("before: %q, %v", h, err)
			}
			if err := tx.EraseHousehold(ctx, "h1"); err != nil {
				return err
			}
			if h, err := tx.OccupantOf(ctx, "p1", 10); !errors.Is(err, consent.ErrNotFound) {
				t.Errorf("after: %q, %v, want consent.ErrNotFound", h, err)
			}
			return nil
		})
	})
}
