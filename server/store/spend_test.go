package store_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/server/store"
)

// Accesses that are spent in one transaction are each decided alone: one leaf that
// comes twice opens once, a household's own counts each time, one that no row can
// hold fails by itself, and nothing is spent for who has gone before its turn. It
// would catch an answer that is given to another, a group that falls with one of
// its own, and a caller who is told of success before the commit.
func TestSpendTogether(t *testing.T) {
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	must(t, s.SpendAccess(t.Context(), 5, false))
	gone, leave := context.WithCancel(t.Context())
	calls := []struct {
		ctx   context.Context
		index uint64
		self  bool
	}{
		{t.Context(), 1, false},
		{t.Context(), 2, false},
		{t.Context(), 2, false},
		{t.Context(), 3, true},
		{t.Context(), 3, true},
		{t.Context(), 4, false},
		{t.Context(), 5, false},
		{gone, 6, false},
		{t.Context(), math.MaxUint64, false},
	}
	errs := make([]chan error, len(calls))
	spend := func(i int) {
		errs[i] = make(chan error, 1)
		go func() { errs[i] <- s.SpendAccess(calls[i].ctx, calls[i].index, calls[i].self) }()
	}
	do(t, s, func(context.Context, *store.Tx) error { // while it lasts nothing is spent
		reach := func(waiting int, running bool) {
			for w, r := store.SpendsWaiting(s); w != waiting || r != running; w, r = store.SpendsWaiting(s) {
				runtime.Gosched()
			}
		}
		reach(0, false) // what spent leaf 5 has ended
		first := make(chan error, 1)
		go func() { first <- s.SpendAccess(gone, 7, true) }()
		reach(0, true) // it is taken, and the others wait
		for i := range calls {
			spend(i)
		}
		reach(len(calls), true)
		for i := range calls {
			select {
			case err := <-errs[i]:
				t.Errorf("call %d was answered before its transaction: %v", i, err)
			default:
			}
		}
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who left while waiting: %v", err)
		}
		return nil
	})
	outcomes := make([]error, len(calls))
	for i := range calls {
		outcomes[i] = <-errs[i]
	}
	for _, i := range []int{0, 3, 4, 5} {
		if outcomes[i] != nil {
			t.Errorf("call %d: %v", i, outcomes[i])
		}
	}
	twice := []error{outcomes[1], outcomes[2]}
	if n := slices.Index(twice, nil); n < 0 || !errors.Is(twice[1-n], keyguard.ErrSpent) {
		t.Errorf("one leaf twice: %v, want one success and ErrSpent", twice)
	}
	if !errors.Is(outcomes[6], keyguard.ErrSpent) || !errors.Is(outcomes[7], context.Canceled) {
		t.Errorf("spent before: %v; gone: %v", outcomes[6], outcomes[7])
	}
	if err := outcomes[8]; err == nil || errors.Is(err, keyguard.ErrSpent) {
		t.Errorf("an index that no row can hold: %v", err)
	}
	must(t, s.SpendAccess(t.Context(), 6, false))
	for index, want := range map[uint64]int{1: 1, 2: 1, 3: 2, 4: 1, 5: 1, 6: 1} {
		var uses int
		must(t, s.QueryRow(t.Context(), `SELECT uses FROM keyguard_spent WHERE leaf_index = $1`, []any{int64(index)}, &uses))
		if uses != want {
			t.Errorf("leaf %d: %d uses, want %d", index, uses, want)
		}
	}
}
