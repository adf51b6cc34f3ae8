package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/wattveil/wattveil/server/store"
)

var add = flag.Bool("add", false, "add new migrations to testdata/migrations.golden")

// A fresh database takes every step, and taking them again changes nothing. It
// would catch a step that cannot run on one of the engines.
func TestMigrateFreshAndAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		at := url(t)
		s := open(t, at)
		must(t, s.PutHubSecret(t.Context(), secret("kept", "wrapped")))
		must(t, s.Migrate(t.Context()))
		steps, err := s.Migrations(t.Context())
		must(t, err)
		for i, m := range steps {
			if m.Version != i+1 || !m.Applied {
				t.Errorf("step %+v, want number %d, applied", m, i+1)
			}
		}
		again, err := store.Open(t.Context(), at, store.Options{})
		must(t, err)
		defer again.Close()
		if _, err := again.HubSecret(t.Context(), "kept"); err != nil {
			t.Errorf("reading what was stored before: %v", err)
		}
	})
}

// A store that lacks a step is refused unless its opener asks for the step. It
// would catch a program that reads rows of a schema it does not have.
func TestSchemaPending(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		at := url(t)
		bare, err := store.OpenBare(at, store.Options{Migrate: true})
		must(t, err)
		defer bare.Close()
		if _, err := store.Open(t.Context(), at, store.Options{}); !errors.Is(err, store.ErrSchemaPending) {
			t.Errorf("opening an empty database: %v, want ErrSchemaPending", err)
		}
		must(t, bare.MigrateTo(t.Context(), only(t, 2)))
		if _, err := store.Open(t.Context(), at, store.Options{}); !errors.Is(err, store.ErrSchemaPending) {
			t.Errorf("opening a half migrated database: %v, want ErrSchemaPending", err)
		}
		must(t, bare.Migrate(t.Context()))
		s, err := store.Open(t.Context(), at, store.Options{})
		must(t, err)
		must(t, s.Close())
	})
}

// only returns the first n of this program's migrations.
func only(t *testing.T, n int) fstest.MapFS {
	t.Helper()
	names, err := fs.Glob(store.MigrationFiles, "migrations/*.sql")
	must(t, err)
	out := fstest.MapFS{}
	for _, name := range names[:n] {
		text, err := fs.ReadFile(store.MigrationFiles, name)
		must(t, err)
		out[name] = &fstest.MapFile{Data: text}
	}
	return out
}

// What another program did to the schema is refused, by Open and by Migrate. It
// would catch an old program let loose on a new database, and a migration that
// was edited after it had run somewhere.
func TestSchemaRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		stmt string
		want error
	}{
		{"edited", `UPDATE schema_migrations SET checksum = 'other' WHERE version = 2`, store.ErrSchemaChanged},
		{"newer", `INSERT INTO schema_migrations (version, name, checksum) SELECT max(version) + 1, 'later', 'x' FROM schema_migrations`, store.ErrSchemaNewer},
		{"a hole", `DELETE FROM schema_migrations WHERE version = 2`, store.ErrSchemaChanged},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
				at := url(t)
				s := open(t, at)
				do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.Exec(ctx, test.stmt) })
				for _, migrate := range []bool{false, true} {
					if _, err := store.Open(t.Context(), at, store.Options{Migrate: migrate}); !errors.Is(err, test.want) {
						t.Errorf("opening with Migrate %v: %v, want %v", migrate, err, test.want)
					}
				}
				if _, err := s.Migrations(t.Context()); !errors.Is(err, test.want) {
					t.Errorf("listing migrations: %v, want %v", err, test.want)
				}
			})
		})
	}
}

// A step that fails half way leaves nothing of itself, and none of the steps that
// ran with it. It would catch DDL outside the transaction.
func TestMigrateAllOrNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		s, err := store.OpenBare(url(t), store.Options{Migrate: true})
		must(t, err)
		defer s.Close()
		must(t, s.MigrateTo(t.Context(), only(t, 1)))
		broken := only(t, 2)
		broken["migrations/0003_broken.sql"] = &fstest.MapFile{Data: []byte("CREATE TABLE half (x {{int64}}) {{table}}; SELECT * FROM nowhere;")}
		if err := s.MigrateTo(t.Context(), broken); err == nil {
			t.Fatal("a broken step was applied")
		}
		steps, err := s.Migrations(t.Context())
		must(t, err)
		if !steps[0].Applied || steps[1].Applied {
			t.Errorf("after a failure: %+v, want the first step alone", steps)
		}
		for _, table := range []string{"half", "blocks"} {
			var n int
			if err := s.QueryRow(t.Context(), `SELECT count(*) FROM `+table, nil, &n); err == nil {
				t.Errorf("table %s is there after a failure", table)
			}
		}
		must(t, s.Migrate(t.Context()))
	})
}

// Steps are numbered without a gap. It would catch two branches that each add a
// step, merged.
func TestMigrationNumbers(t *testing.T) {
	for _, names := range [][]string{
		{"0002_a.sql"}, {"0001_a.sql", "0003_b.sql"}, {"0001_a.sql", "0001_b.sql"}, {"1_a.sql"}, {"first.sql"},
	} {
		fsys := fstest.MapFS{}
		for _, n := range names {
			fsys["migrations/"+n] = &fstest.MapFile{}
		}
		s, err := store.OpenBare("sqlite:"+filepath.Join(t.TempDir(), "hub.db"), store.Options{Migrate: true})
		must(t, err)
		defer s.Close()
		if err := s.MigrateTo(t.Context(), fsys); err == nil {
			t.Errorf("%v were taken for migrations", names)
		}
	}
}

// Processes that start together migrate once. It would catch a migrator without
// a lock.
func TestMigrateConcurrently(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		at := url(t)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				s, err := store.Open(t.Context(), at, store.Options{Migrate: true})
				if err != nil {
					t.Errorf("opening: %v", err)
					return
				}
				if err := s.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			})
		}
		wg.Wait()
	})
}

// A database that should be there is not made by accident, and one that is made
// is its owner's alone.
func TestSQLiteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?&#%.db")
	if _, err := store.Open(t.Context(), "sqlite:"+path, store.Options{}); err == nil {
		t.Error("a missing file was opened")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after opening a missing file: %v, want that it does not exist", err)
	}
	s := open(t, "sqlite:"+path)
	must(t, s.PutHubSecret(t.Context(), secret("x", "wrapped")))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode of the file%s is %v, want 0600", suffix, info.Mode())
		}
	}
}

// Only two forms of URL are known, and a URL never comes back in an error: it may
// hold a password.
func TestURL(t *testing.T) {
	for _, url := range []string{"", "sqlite:", "mysql://u:hunter2@h/d", "hub.db", "postgres://u:hunter2@h:notaport/d", "postgres://u:hunter2@h/d?sslmode=hunter2"} {
		_, err := store.Open(t.Context(), url, store.Options{Migrate: true})
		if !errors.Is(err, store.ErrURL) {
			t.Errorf("%q: %v, want ErrURL", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error for %q holds the password", url)
		}
	}
}

// Migrations are only ever added: a file that has been in a release has run on
// databases that nobody here sees. A new one is added to the golden file with
// go test ./server/store -run TestMigrationsAreOnlyAdded -add.
func TestMigrationsAreOnlyAdded(t *testing.T) {
	const golden = "testdata/migrations.golden"
	_, _, sums, err := store.Schema()
	must(t, err)
	text, err := os.ReadFile(golden)
	must(t, err)
	known := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		name, sum, _ := strings.Cut(strings.TrimSpace(line), " ")
		known[name] = true
		switch sums[name] {
		case "":
			t.Errorf("migration %s was removed", name)
		case sum:
		default:
			t.Errorf("migration %s was edited: add another one instead", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if known[name] {
			continue
		}
		if !*add {
			t.Errorf("migration %s is not in %s: see this test's comment", name, golden)
			continue
		}
		text = fmt.Appendf(text, "%s %s\n", name, sums[name])
	}
	if *add {
		must(t, os.WriteFile(golden, text, 0o644))
	}
}

// The schema is a document: every column says what it holds, and every table
// what it is for.
func TestSchemaSaysWhatItHolds(t *testing.T) {
	sqlite, postgres, _, err := store.Schema()
	must(t, err)
	column := regexp.MustCompile(`^    [a-z_]+ +[a-z]`)
	for engine, text := range map[string]string{"sqlite": sqlite, "postgres": postgres} {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if column.MatchString(line) && !strings.Contains(line, " -- ") {
				t.Errorf("%s: column without a comment: %s", engine, line)
			}
			if strings.HasPrefix(line, "CREATE TABLE") && !strings.Contains(line, "PARTITION OF") && !strings.HasPrefix(lines[i-1], "--") {
				t.Errorf("%s: table without a comment: %s", engine, line)
			}
			if strings.Contains(line, "{{") || strings.Contains(line, "<no value>") {
				t.Errorf("%s: a word was not replaced: %s", engine, line)
			}
		}
	}
}
