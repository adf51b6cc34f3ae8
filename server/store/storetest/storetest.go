// Package storetest looks at a store's tables past the hub and past package
// store: for tests that must not take either's word for what is on disk.
//
// It promises to change nothing of what it looks at, and to ask in SQL of its
// own: a query that the store gets wrong is not asked twice the same way.
package storetest

import (
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	_ "github.com/lib/pq"  // drivers
	_ "modernc.org/sqlite" //
)

// Tables are the tables of one store. Their methods fail the test on an error.
// Safe for concurrent use.
type Tables struct {
	db   *sql.DB
	path string // of the SQLite file; empty on PostgreSQL
}

// Open opens the tables at a store's URL until the test ends.
func Open(tb testing.TB, storeURL string) *Tables {
	tb.Helper()
	t := &Tables{}
	driver, dsn := "postgres", storeURL
	if path, ok := strings.CutPrefix(storeURL, "sqlite:"); ok {
		t.path = path
		u := url.URL{Scheme: "file", Path: path, RawQuery: "mode=rw&_pragma=busy_timeout(10000)&_pragma=query_only(1)"}
		driver, dsn = "sqlite", u.String()
	}
	var err error
	if t.db, err = sql.Open(driver, dsn); err != nil {
		tb.Fatal("opening the tables: the URL does not parse")
	}
	tb.Cleanup(func() { _ = t.db.Close() })
	return t
}

// Batch is a stored batch.
type Batch struct {
	Utility, ID        string
	Intervals, Refused int
}

// Batches returns every stored batch by its utility and id; a name that is
// stored twice fails the test.
func (t *Tables) Batches(tb testing.TB) map[string]Batch {
	tb.Helper()
	all := map[string]Batch{}
	t.each(tb, `SELECT utility, batch_id, intervals, refused FROM batches`, func(scan func(...any) error) error {
		var b Batch
		if err := scan(&b.Utility, &b.ID, &b.Intervals, &b.Refused); err != nil {
			return err
		}
		if _, twice := all[b.Utility+"/"+b.ID]; twice {
			tb.Errorf("batch %s of %s is stored twice", b.ID, b.Utility)
		}
		all[b.Utility+"/"+b.ID] = b
		return nil
	})
	return all
}

// Slots returns how many intervals all blocks hold together, missing ones and
// every copy counted.
func (t *Tables) Slots(tb testing.TB) int {
	tb.Helper()
	return t.count(tb, `SELECT coalesce(sum(intervals), 0) FROM blocks`)
}

// Spooled returns how many records wait for the release of a UTC day, counted
// from 1970-01-01.
func (t *Tables) Spooled(tb testing.TB, day int) int {
	tb.Helper()
	return t.count(tb, fmt.Sprintf(`SELECT count(*) FROM spool WHERE day = %d`, day))
}

// Writers returns how many writers have registered.
func (t *Tables) Writers(tb testing.TB) int {
	tb.Helper()
	return t.count(tb, `SELECT count(*) FROM writers`)
}

// Households lists the households that are registered, by name.
func (t *Tables) Households(tb testing.TB) (names []string) {
	tb.Helper()
	t.each(tb, `SELECT id FROM households ORDER BY id`, func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		names = append(names, name)
		return err
	})
	return names
}

// NoncesUsedTwice names every number that a writer used more than once, over
// everything that it seals: blocks, spool records, and the wraps of their keys.
// A nonce is such a number.
func (t *Tables) NoncesUsedTwice(tb testing.TB) []string {
	tb.Helper()
	var twice []string
	t.each(tb, `SELECT writer, seq, count(*) FROM (
			SELECT writer, seq FROM blocks UNION ALL SELECT writer, seq FROM spool
			UNION ALL SELECT writer, seq FROM day_keys UNION ALL SELECT writer, seq FROM spool_keys
		) sealed GROUP BY writer, seq HAVING count(*) > 1 ORDER BY writer, seq`, func(scan func(...any) error) error {
		var writer []byte
		var seq, n int64
		err := scan(&writer, &seq, &n)
		twice = append(twice, fmt.Sprintf("writer %x used number %d %d times", writer, seq, n))
		return err
	})
	return twice
}

// Orphans counts rows that nobody can ever open: blocks and spool records whose
// key was not stored with them or before them, or whose writer is not
// registered, so that nobody can tell where they came from.
func (t *Tables) Orphans(tb testing.TB) int {
	tb.Helper()
	return t.count(tb, `SELECT count(*) FROM blocks b WHERE NOT EXISTS (
			SELECT 1 FROM day_keys k WHERE k.household = b.household AND k.generation = b.generation AND k.day = b.day AND k.writer = b.writer)`) +
		t.count(tb, `SELECT count(*) FROM spool s WHERE NOT EXISTS (
			SELECT 1 FROM spool_keys k WHERE k.day = s.day AND k.writer = s.writer)`) +
		t.count(tb, `SELECT count(*) FROM (SELECT writer FROM blocks UNION ALL SELECT writer FROM spool) s
			WHERE NOT EXISTS (SELECT 1 FROM writers w WHERE w.writer = s.writer)`)
}

func (t *Tables) count(tb testing.TB, query string) (n int) {
	tb.Helper()
	if err := t.db.QueryRowContext(tb.Context(), query).Scan(&n); err != nil {
		tb.Fatalf("looking into the tables: %v", err)
	}
	return n
}

func (t *Tables) each(tb testing.TB, query string, row func(scan func(...any) error) error) {
	tb.Helper()
	rows, err := t.db.QueryContext(tb.Context(), query)
	if err != nil {
		tb.Fatalf("looking into the tables: %v", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			tb.Fatalf("looking into the tables: %v", err)
		}
	}
	if err := rows.Err(); err != nil {
		tb.Fatalf("looking into the tables: %v", err)
	}
}
