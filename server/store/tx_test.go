package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wattveil/wattveil/server/store"
)

// put adds a hub secret inside a transaction, as something to look for later.
func put(ctx context.Context, tx *store.Tx, name string) error {
	return tx.Exec(ctx, `INSERT INTO hub_secrets (name, generation, wrapped, created_s) VALUES ($1, 1, $2, 1)`, name, []byte{1})
}

func has(t testing.TB, s *store.Store, name string) bool {
	t.Helper()
	_, err := s.HubSecret(t.Context(), name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// A transaction whose context ends leaves nothing, wherever it ends, and the next
// one works. It would catch a write that commits by itself after the transaction
// around it was rolled back.
func TestContextEnds(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		for _, test := range []struct {
			name string
			fn   func(ctx context.Context, cancel func(), tx *store.Tx) error
		}{
			{"before it begins", nil},
			{"between statements", func(ctx context.Context, cancel func(), tx *store.Tx) error {
				if err := put(ctx, tx, "a"); err != nil {
					return err
				}
				cancel()
				_ = put(ctx, tx, "b")
				// Whatever fn does with another context, it is too late.
				_ = put(context.WithoutCancel(ctx), tx, "c")
				return nil
			}},
			{"before COMMIT", func(ctx context.Context, cancel func(), tx *store.Tx) error {
				defer cancel()
				return put(ctx, tx, "a")
			}},
			{"after a savepoint", func(ctx context.Context, cancel func(), tx *store.Tx) error {
				if err := tx.Savepoint(ctx, "sp"); err != nil {
					return err
				}
				cancel()
				_ = put(ctx, tx, "a")
				_ = tx.RollbackTo(ctx, "sp")
				_ = put(context.WithoutCancel(ctx), tx, "b")
				return nil
			}},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			if test.fn == nil {
				cancel()
			}
			err := s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { return test.fn(ctx, cancel, tx) })
			if err == nil {
				t.Errorf("context ends %s: the transaction committed", test.name)
			}
			if errors.Is(err, store.ErrUnknownOutcome) {
				t.Errorf("context ends %s: %v, want that it certainly did not commit", test.name, err)
			}
			for _, name := range []string{"a", "b", "c"} {
				if has(t, s, name) {
					t.Errorf("context ends %s: %s was stored", test.name, name)
				}
			}
			do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.Savepoint(ctx, "sp") })
			cancel()
		}
	})
}

// A deadline that passes is the caller's own: nobody is told that the database is
// away.
func TestDeadlinePasses(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
		defer cancel()
		_, readErr := s.HubSecret(ctx, "a")
		for what, err := range map[string]error{
			"a transaction": s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { return put(ctx, tx, "a") }),
			"in a transaction": s.Transact(t.Context(), func(_ context.Context, tx *store.Tx) error {
				if err := put(ctx, tx, "a"); err != nil {
					return err
				}
				return ctx.Err()
			}),
			"a read": readErr,
		} {
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrRetry) {
				t.Errorf("%s: %v, want DeadlineExceeded alone", what, err)
			}
		}
	})
}

// A savepoint's name is put into SQL as it is, so only plain ones are taken; and
// setting one again lets go of those set since.
func TestSavepointNames(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			for _, name := range []string{"", "a b", "a;drop", "A", "a1"} {
				if err := tx.Savepoint(ctx, name); err == nil {
					t.Errorf("savepoint %q was set", name)
				}
			}
			for _, name := range []string{"a", "b", "a"} {
				if err := tx.Savepoint(ctx, name); err != nil {
					return err
				}
			}
			if err := tx.RollbackTo(ctx, "b"); err == nil {
				t.Error("rolled back to a savepoint that is gone")
			}
			return tx.RollbackTo(ctx, "a")
		})
	})
}
