package storetest

import (
	"database/sql"
	"path/filepath"
	"testing"
)

// Folder returns the folder that holds everything the engine has on disk, after
// making it write out what it holds in memory: on SQLite the folder of the file
// and its log, on PostgreSQL the data folder of the whole server, which must run
// on this machine and let us in as a superuser.
func (t *Tables) Folder(tb testing.TB) string {
	tb.Helper()
	if t.path != "" {
		return filepath.Dir(t.path) // every commit is in the file or in its log
	}
	if _, err := t.db.ExecContext(tb.Context(), `CHECKPOINT`); err != nil {
		tb.Fatalf("making the server write out: %v", err)
	}
	var folder string
	if err := t.db.QueryRowContext(tb.Context(), `SELECT current_setting('data_directory')`).Scan(&folder); err != nil {
		tb.Fatalf("asking for the data folder: %v", err)
	}
	return folder
}

// Plain is a table of readings in the clear: what a store must not look like.
// It is made in an SQLite file of its own, a row a value, so that a search for
// plain values can be shown to find them there.
func Plain(tb testing.TB, path string, values []int64) {
	tb.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		tb.Fatalf("making a plain table: %v", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(tb.Context(), `CREATE TABLE readings (usage_point text, start integer, value integer)`); err != nil {
		tb.Fatalf("making a plain table: %v", err)
	}
	for i, v := range values {
		if _, err := db.ExecContext(tb.Context(), `INSERT INTO readings VALUES ('home-1', $1, $2)`, 1700000000+900*i, v); err != nil {
			tb.Fatalf("filling a plain table: %v", err)
		}
	}
}
