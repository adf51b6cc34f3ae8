package store_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// onBoth runs a test on both engines. url returns where a new, empty store may
// be; each call names another.
func onBoth(t *testing.T, test func(t *testing.T, url func(t *testing.T) string)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "hub.db") })
	})
	t.Run("postgres", func(t *testing.T) {
		pgtest.Require(t) // here rather than in every subtest
		test(t, func(t *testing.T) string { return pgtest.Database(t) })
	})
}

// onBothOpen runs a test on a migrated, empty store of either engine.
func onBothOpen(t *testing.T, test func(t *testing.T, s *store.Store)) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) { test(t, open(t, url(t))) })
}

// open opens and migrates the store at url until the test ends.
func open(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Migrate: true})
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do runs fn in a transaction that must succeed.
func do(t testing.TB, s *store.Store, fn func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	must(t, s.Transact(t.Context(), fn))
}
