// Package pgtest gives tests a real PostgreSQL: a throw-away cluster made with
// the machine's own initdb and postgres, one per test binary, and a fresh
// database per test.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// and asks for [Database] where a test needs one. Nothing is started before the
// first test asks. Where there is no PostgreSQL the test is skipped with the
// reason, or fails if WATTVEIL_REQUIRE_POSTGRES=1 (CI). If
// WATTVEIL_TEST_POSTGRES holds the URL of a server and a database on it, that
// server is used instead and databases are made there.
//
// It promises that nothing outlives the test binary: the server ends with it,
// however it ends (on Linux), and its files are removed when it ends in order.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver
)

// shared is the cluster of this test binary.
var shared struct {
	once    sync.Once
	url     string // of a database to connect to while making others
	cluster *Cluster
	err     error
}

// Main runs the tests of a package and stops the shared cluster. It returns what
// os.Exit is to be given.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = max(code, 1)
		}
	}
	return code
}

// Database returns the URL of a new, empty database, dropped when the test
// ends. The server does not sync to disk: for tests that crash it, see [Start].
func Database(tb testing.TB) string {
	tb.Helper()
	Require(tb)
	return fresh(tb, shared.url)
}

// Require skips the test, or fails it, if there is no PostgreSQL: a test with
// many databases does so once.
func Require(tb testing.TB) {
	tb.Helper()
	shared.once.Do(func() {
		if shared.url = os.Getenv("WATTVEIL_TEST_POSTGRES"); shared.url != "" {
			return
		}
		if shared.cluster, shared.err = start(context.Background(), Options{}); shared.err == nil {
			shared.url = shared.cluster.url("postgres")
		}
	})
	need(tb, shared.err)
}

// need skips or fails the test if there is no PostgreSQL, and fails it on any
// other error.
func need(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv("WATTVEIL_REQUIRE_POSTGRES") != "1":
		tb.Skipf("SKIPPED, PostgreSQL not tested: %v (install postgresql, or set WATTVEIL_TEST_POSTGRES to a server's URL)", err)
	default:
		tb.Fatalf("starting PostgreSQL: %v", err)
	}
}

// fresh makes a database on the server at base and returns its URL.
func fresh(tb testing.TB, base string) string {
	tb.Helper()
	admin, err := sql.Open("postgres", base)
	if err != nil {
		tb.Fatalf("reading the server's URL: %v", err)
	}
	tb.Cleanup(func() { _ = admin.Close() })
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	name := "wattveil_test_" + hex.EncodeToString(random[:])
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		tb.Fatalf("making a database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Logf("dropping a database: %v", err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal("the server's URL does not parse")
	}
	u.Path = "/" + name
	return u.String()
}
