package storetest

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"
)

// Tamper changes a store's tables past everything that guards them, as somebody
// with the database's password would: for tests that say who notices. Its methods
// fail the test on an error.
type Tamper struct {
	db     *sql.DB
	sqlite bool
	lifted bool // the tables' own guards are gone
}

// OpenTamper opens the tables at a store's URL for changes, until the test ends.
func OpenTamper(tb testing.TB, storeURL string) *Tamper {
	tb.Helper()
	driver, dsn := "postgres", storeURL
	path, sqlite := strings.CutPrefix(storeURL, "sqlite:")
	if sqlite {
		u := url.URL{Scheme: "file", Path: path, RawQuery: "mode=rw&_txlock=immediate&_pragma=busy_timeout(10000)"}
		driver, dsn = "sqlite", u.String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		tb.Fatal("opening the tables: the URL does not parse")
	}
	tb.Cleanup(func() { _ = db.Close() })
	return &Tamper{db: db, sqlite: sqlite}
}

// guards are the triggers that keep leaves and households' keys as they are, and their
// tables.
var guards = [...][2]string{
	{"leaves_are_kept", "tlog_leaves"},
	{"leaves_are_kept_as_they_are", "tlog_leaves"},
	{"public_key_is_kept", "households"},
	{"erased_get_no_keys", "household_keys"},
}

// lift drops the tables' own guards, as their owner can.
func (t *Tamper) lift(tb testing.TB) {
	tb.Helper()
	if t.lifted {
		return
	}
	for _, guard := range guards {
		statement := `DROP TRIGGER IF EXISTS ` + guard[0]
		if !t.sqlite {
			statement += ` ON ` + guard[1]
		}
		if _, err := t.db.ExecContext(tb.Context(), statement); err != nil {
			tb.Fatalf("lifting the guard %s: %v", guard[0], err)
		}
	}
	t.lifted = true
}

// Exec runs one statement, which must change something.
func (t *Tamper) Exec(tb testing.TB, statement string, args ...any) {
	tb.Helper()
	t.lift(tb)
	res, err := t.db.ExecContext(tb.Context(), statement, args...)
	if err != nil {
		tb.Fatalf("tampering: %v", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		tb.Fatalf("tampering changed %d rows, %v", n, err)
	}
}

// Backup copies a whole SQLite database, as it stands, to a new file.
func Backup(tb testing.TB, storeURL, path string) {
	tb.Helper()
	t := OpenTamper(tb, storeURL)
	if _, err := t.db.ExecContext(tb.Context(), `VACUUM INTO $1`, path); err != nil {
		tb.Fatalf("copying the database: %v", err)
	}
	if err := t.db.Close(); err != nil {
		tb.Fatalf("copying the database: %v", err)
	}
}

// ledgerTables are all tables of the ledger, and those that change with it.
var ledgerTables = []string{
	"tlog_head", "tlog_leaves", "tlog_private", "tlog_tiles", "tlog_checkpoints", "tlog_chains", "tlog_tag_keys", "tlog_envelope_heads", "consents",
}

// Save copies the ledger's tables, for SetBack.
func (t *Tamper) Save(tb testing.TB) {
	tb.Helper()
	for _, table := range ledgerTables {
		if _, err := t.db.ExecContext(tb.Context(), `CREATE TABLE saved_`+table+` AS SELECT * FROM `+table); err != nil {
			tb.Fatalf("saving %s: %v", table, err)
		}
	}
}

// SetBack puts the ledger's tables back to what Save copied, all at once: what a
// restored backup looks like.
func (t *Tamper) SetBack(tb testing.TB) {
	tb.Helper()
	t.lift(tb)
	tx, err := t.db.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatalf("setting back: %v", err)
	}
	defer tx.Rollback()
	for _, table := range ledgerTables {
		for _, statement := range []string{`DELETE FROM ` + table, `INSERT INTO ` + table + ` SELECT * FROM saved_` + table} {
			if _, err := tx.ExecContext(tb.Context(), statement); err != nil {
				tb.Fatalf("setting %s back: %v", table, err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatalf("setting back: %v", err)
	}
}
