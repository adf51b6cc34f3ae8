package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/server/store"
)

// An erasure in the same batch as an event of the household leaves none of it
// behind, whichever came first: the event is answered as one of a household that
// is not there. It would catch a last event that stays, nonce and all, or a chain
// that begins again.
func TestEraseWithinBatch(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		must(t, s.CreateLedger(t.Context(), origin))
		log := ledgertest.Start(t, ledger.Store[*store.Tx](s))
		event := func(id, h string) ledger.Proposal[*store.Tx] {
			return ledger.Proposal[*store.Tx]{RequestID: id, Func: func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
				return ledger.Payload{Kind: ledger.KindAccess, Subject: h, Recipient: "r"}, nil
			}}
		}
		erasure := func(id string, h consent.Household, fail error) ledger.Proposal[*store.Tx] {
			return ledger.Proposal[*store.Tx]{RequestID: id, Func: func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
				e, err := tx.EraseHousehold(ctx, h, 1000)
				return ledger.Payload{Kind: ledger.KindErasure, Erased: e.Events, MapKeys: e.MapKeys}, errors.Join(err, fail)
			}}
		}
		// Behind a held batch, so that they are one.
		started, release := make(chan struct{}), make(chan struct{})
		held := event("held", "h1")
		inner := held.Func
		held.Func = func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
			close(started)
			<-release
			return inner(ctx, tx, at)
		}
		go func() { _, _ = log.Propose(t.Context(), held.RequestID, held.Func) }()
		<-started
		go func() {
			for log.Waiting() < 5 {
				runtime.Gosched()
			}
			close(release)
		}()
		boom := errors.New("boom")
		got := log.ProposeAll(t.Context(), []ledger.Proposal[*store.Tx]{
			event("before", "h1"), erasure("undone", "h2", boom), erasure("done", "h1", nil), event("after", "h1"), event("other", "h2"),
		})
		for i, want := range []error{ledger.ErrNoSubjectKey, boom, nil, ledger.ErrNoSubjectKey, nil} {
			if !errors.Is(got[i].Err, want) {
				t.Errorf("proposal %d: %v, want %v", i, got[i].Err, want)
			}
		}
		p, err := ledger.DecodePayload(got[2].Receipt.Payload)
		must(t, err)
		if len(p.Erased) != 1 || p.Erased[0] != (ledger.Erased{Index: 0, Recipient: "r", RecipientSeq: 1}) || len(p.MapKeys) != 1 {
			t.Errorf("the erasure's leaf says %+v, %x", p.Erased, p.MapKeys)
		}
		var chain string
		must(t, s.QueryRow(t.Context(), `SELECT max(id) || min(id) FROM tlog_chains WHERE kind = 1`, nil, &chain))
		if chain != "h2h2" {
			t.Errorf("chains %q, want that of h2 alone", chain)
		}
		log.Verify(t)
	})
}

// A household of many events is erased in steps: its keys with the first, and
// every event in exactly one. It would catch a long story that is only forgotten
// as far as one leaf has room to say.
func TestEraseInSteps(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1")}))
		must(t, s.CreateLedger(t.Context(), origin))
		var entries []ledger.Entry
		for i := range 5 {
			entries = append(entries, ledger.Entry{RequestID: fmt.Sprint(i), Payload: accessPayload(t, "h1", uint64(i+1)), Kind: ledger.KindAccess, Subject: "h1", Recipient: "r"})
		}
		append2(t, s, entries...)
		var seqs []uint64
		for step := range 3 {
			do(t, s, func(ctx context.Context, tx *store.Tx) error {
				e, err := tx.EraseHousehold(ctx, "h1", 2)
				for _, ev := range e.Events {
					seqs = append(seqs, ev.RecipientSeq)
				}
				if e.More != (step < 2) || (len(e.MapKeys) > 0) != (step == 0) {
					t.Errorf("step %d: more %v, %d map keys", step, e.More, len(e.MapKeys))
				}
				return err
			})
			if keys, err := s.HouseholdKeys(t.Context(), "h1"); err != nil || len(keys) != 0 {
				t.Errorf("step %d left %d private keys, %v", step, len(keys), err)
			}
		}
		if !slices.Equal(seqs, []uint64{1, 2, 3, 4, 5}) {
			t.Errorf("erased events %v of its recipient, want 1 to 5", seqs)
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
			if _, err := tx.EraseHousehold(ctx, "h1", 10); err != nil {
				return err
			}
			if h, err := tx.OccupantOf(ctx, "p1", 10); !errors.Is(err, consent.ErrNotFound) {
				t.Errorf("after: %q, %v, want consent.ErrNotFound", h, err)
			}
			return nil
		})
	})
}
