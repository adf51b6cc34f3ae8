package plain_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/server/store/pgtest"
	"github.com/wattveil/wattveil/server/store/plain"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// Every event that was acknowledged is a row, whoever else was storing: a baseline
// that lost some would be faster than it is.
func TestAudit(t *testing.T) {
	for engine, url := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "audit.db") },
		"postgres": pgtestDatabase,
	} {
		t.Run(engine, func(t *testing.T) {
			a, err := plain.OpenAudit(t.Context(), url(t))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.Close() }()
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					payload := fmt.Append(nil, "event ", i)
					for range 5 {
						for _, store := range []func() error{
							func() error { return a.Row(t.Context(), time.Now(), payload) },
							func() error { return a.Group(t.Context(), time.Now(), payload) },
							func() error { return a.Chain(t.Context(), time.Now(), payload) },
						} {
							if err := store(); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			wg.Wait()
			if rows, chained, err := a.Count(t.Context()); err != nil || rows != 160 || chained != 80 {
				t.Errorf("%d rows and %d in the chain, %v; want 160 and 80", rows, chained, err)
			}
		})
	}
}

func pgtestDatabase(t *testing.T) string { return pgtest.Database(t) }
