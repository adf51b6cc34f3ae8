package storetest

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// What these questions are asked for is found when it is there, on both
// engines: a check that cannot fail would let anything pass.
func TestFindsWhatIsWrong(t *testing.T) {
	for engine, at := range map[string]func(t *testing.T) (url, driver, dsn string){
		"sqlite": func(t *testing.T) (string, string, string) {
			path := filepath.Join(t.TempDir(), "hub.db")
			return "sqlite:" + path, "sqlite", path
		},
		"postgres": func(t *testing.T) (string, string, string) {
			url := pgtest.Database(t)
			return url, "postgres", url
		},
	} {
		t.Run(engine, func(t *testing.T) {
			url, driver, dsn := at(t)
			s, err := store.Open(t.Context(), url, store.Options{Migrate: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			db, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			exec := func(query string) {
				t.Helper()
				if _, err := db.ExecContext(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
			blob := map[string]string{"sqlite": "X'01'", "postgres": `'\x01'`}[engine]
			exec(`INSERT INTO windows (day, state, public_key, wrapped_private, attempts) VALUES (10000, 1, ` + blob + `, ` + blob + `, 0)`)
			tables := Open(t, url)
			expect := func(when string, nonces, orphans, slots, spooled int) {
				t.Helper()
				if n := tables.NoncesUsedTwice(t); len(n) != nonces {
					t.Errorf("%s: nonces used twice: %v, want %d", when, n, nonces)
				}
				if n := tables.Orphans(t); n != orphans {
					t.Errorf("%s: %d orphans, want %d", when, n, orphans)
				}
				if n := tables.Slots(t); n != slots {
					t.Errorf("%s: %d slots, want %d", when, n, slots)
				}
				if n := tables.Spooled(t, 10000); n != spooled {
					t.Errorf("%s: %d records spooled, want %d", when, n, spooled)
				}
			}
			block := func(household, seq string) {
				t.Helper()
				exec(`INSERT INTO blocks (start_s, seq, revision, day, length_s, intervals, generation, household, usage_point, register, writer, ciphertext, signature)
					VALUES (864000000, ` + seq + `, 0, 10000, 900, 4, 1, '` + household + `', 'p', ` + blob + `, ` + blob + `, ` + blob + `, ` + blob + `)`)
			}
			expect("empty", 0, 0, 0, 0)

			block("h1", "7")
			expect("a block without key and writer", 0, 2, 4, 0)
			exec(`INSERT INTO day_keys (seq, day, generation, household, writer, sealed, signature) VALUES (1, 10000, 2, 'h1', ` + blob + `, ` + blob + `, ` + blob + `)`)
			expect("a key of another generation", 0, 2, 4, 0)
			exec(`INSERT INTO day_keys (seq, day, generation, household, writer, sealed, signature) VALUES (2, 10000, 1, 'h1', ` + blob + `, ` + blob + `, ` + blob + `)`)
			exec(`INSERT INTO writers (writer, public_key, started_us, leaf_index) VALUES (` + blob + `, ` + blob + `, 0, 0)`)
			expect("key and writer", 0, 0, 4, 0)
			if n := tables.Writers(t); n != 1 {
				t.Errorf("%d writers, want 1", n)
			}

			exec(`INSERT INTO spool (day, writer, seq, ciphertext) VALUES (10000, ` + blob + `, 7, ` + blob + `)`)
			expect("a record under a block's number, without key", 1, 1, 4, 1)
			exec(`INSERT INTO spool_keys (day, writer, seq, sealed, signature) VALUES (10000, ` + blob + `, 2, ` + blob + `, ` + blob + `)`)
			expect("its key under a wrap's number", 2, 0, 4, 1)
			block("h2", "7") // the table's key keeps numbers apart within a household and day only
			expect("two households under one number", 2, 1, 8, 1)

			exec(`INSERT INTO batches (utility, batch_id, mac, answer_mac, accepted_us, intervals, refused) VALUES ('u', 'b-1', ` + blob + `, ` + blob + `, 0, 4, 2)`)
			if b := tables.Batches(t); len(b) != 1 || b["u/b-1"] != (Batch{"u", "b-1", 4, 2}) {
				t.Errorf("batches: %+v", b)
			}
			if entries, err := os.ReadDir(tables.Folder(t)); err != nil || len(entries) == 0 {
				t.Errorf("the folder holds %d entries, %v", len(entries), err)
			}
		})
	}
}
