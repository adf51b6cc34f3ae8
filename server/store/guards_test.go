package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

// Nobody changes or removes a leaf, not even the owner of the tables (on PostgreSQL
// here a superuser), in whatever way SQL has; leaves are added all the same. It would
// catch a guard with a gap: REPLACE, an upsert, TRUNCATE, replication's mode.
func TestLeavesAreKept(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.CreateLedger(t.Context(), origin))
		append2(t, s, ledger.Entry{RequestID: "a", Payload: []byte{1}, Kind: ledger.KindAdmin}, ledger.Entry{RequestID: "b", Payload: []byte{1}, Kind: ledger.KindAdmin})
		statements := []string{
			`UPDATE tlog_leaves SET leaf = leaf WHERE idx = 0`,
			`UPDATE tlog_leaves SET idx = 7 WHERE idx = 1`,
			`DELETE FROM tlog_leaves WHERE idx = 1`,
			`DELETE FROM tlog_leaves`,
			`INSERT INTO tlog_leaves (idx, leaf) SELECT idx, leaf FROM tlog_leaves WHERE idx = 0 ON CONFLICT (idx) DO UPDATE SET leaf = excluded.leaf`,
		}
		if s.Engine() == "postgres" {
			statements = append(statements,
				`TRUNCATE tlog_leaves`, `TRUNCATE tlog_leaves CASCADE`,
				`SET LOCAL session_replication_role = replica; DELETE FROM tlog_leaves WHERE idx = 1`)
		} else {
			statements = append(statements, `REPLACE INTO tlog_leaves (idx, leaf) SELECT idx, leaf FROM tlog_leaves WHERE idx = 0`)
		}
		for _, statement := range statements {
			err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Exec(ctx, statement) })
			if err == nil || !strings.Contains(err.Error(), "a leaf of the ledger is never changed") {
				t.Errorf("%s: %v, want the guard's refusal", statement, err)
			}
		}
		leaves, err := s.ReadLeaves(t.Context(), 0, 10)
		must(t, err)
		if len(leaves) != 2 {
			t.Errorf("%d leaves, want both", len(leaves))
		}
		append2(t, s, ledger.Entry{RequestID: "c", Payload: []byte{1}, Kind: ledger.KindAdmin})
	})
}

// An erasure leaves every leaf, and takes the private halves of keys with the public
// one. A public key is replaced with its generation or not at all: whoever may erase
// cannot have readings sealed to a key of its own. Nor is a key replaced by one that
// nobody can open, or a generation changed without its key; and an erased household never
// has a key again.
func TestKeysOfHomesAreKept(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateLedger(t.Context(), origin))
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		append2(t, s, ledger.Entry{RequestID: "a", Payload: accessPayload(t, "h1", 1), Kind: ledger.KindAccess, Subject: "h1", Recipient: "r"})
		attempt := func(what, refusal, statement string, args ...any) {
			t.Helper()
			err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Exec(ctx, statement, args...) })
			if err == nil || !strings.Contains(err.Error(), refusal) {
				t.Errorf("%s: %v, want the guard's refusal", what, err)
			}
		}
		const kept, gone = "a public key is replaced only by the next generation's", "an erased household gets no key"
		swapped := func(when string) {
			t.Helper()
			attempt(when+" a public key is swapped", kept, `UPDATE households SET public_key = $1 WHERE id = 'h1'`, []byte("mine"))
			attempt(when+" a pair comes without its private half", kept, `UPDATE households SET generation = 2, public_key = $1 WHERE id = 'h1'`, []byte("mine"))
			attempt(when+" a generation changes alone", kept, `UPDATE households SET generation = 2 WHERE id = 'h1'`)
			attempt(when+" a round changes alone", kept, `UPDATE households SET pair_round = 1 WHERE id = 'h1'`)
		}
		swapped("before an erasure")
		erase(t, s, "h1")
		for h, want := range map[string]int{"h1": 0, "h2": 1} {
			var n int
			must(t, s.QueryRow(t.Context(), `SELECT count(*) FROM household_keys WHERE household = $1`, []any{h}, &n))
			if n != want {
				t.Errorf("%s has %d private keys, want %d", h, n, want)
			}
		}
		swapped("after an erasure")
		attempt("a private half for who is erased", gone, `INSERT INTO household_keys (household, generation, wrapped_private) VALUES ('h1', 2, $1)`, []byte("mine"))
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.Exec(ctx, `INSERT INTO household_keys (household, generation, wrapped_private) VALUES ('h2', 2, $1)`, []byte("half"))
		})
		attempt("a pair with the old public key", kept, `UPDATE households SET generation = 2, public_key = public_key WHERE id = 'h2'`)
		attempt("a pair of a round that is over", kept, `UPDATE households SET generation = 2, public_key = $1, pair_round = -1 WHERE id = 'h2'`, []byte("new"))
		leaves, err := s.ReadLeaves(t.Context(), 0, 10)
		must(t, err)
		if len(leaves) != 1 {
			t.Errorf("%d leaves after an erasure, want the one there was", len(leaves))
		}
	})
}

// A window can be held open and nothing of it changed by whoever stores readings:
// the column that stands for the right holds nothing, ever.
func TestHeldIsNothing(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		window(t, s, day0)
		err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.Exec(ctx, `UPDATE windows SET held = 1`)
		})
		if err == nil {
			t.Error("windows.held was set")
		}
	})
}

// Spent budget stays spent, and no cap is raised, whatever the program does: the
// accounts take a charge and nothing back.
func TestBudgetIsKept(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		window(t, s, day0)
		do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.Reserve(ctx, spanning("a", day0)) })
		for _, table := range []string{"budget_years", "budget_days"} {
			for _, change := range []string{"spent_nano = 0", "spent_nano = spent_nano - 1", "cap_nano = cap_nano + 1"} {
				err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
					return tx.Exec(ctx, `UPDATE `+table+` SET `+change)
				})
				if err == nil || !strings.Contains(err.Error(), "spent budget is never given back") {
					t.Errorf("%s: %s: %v, want the guard's refusal", table, change, err)
				}
			}
		}
		do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.Reserve(ctx, spanning("b", day0)) })
	})
}
