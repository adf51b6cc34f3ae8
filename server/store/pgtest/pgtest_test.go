package pgtest_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	_ "github.com/lib/pq"

	"github.com/wattveil/wattveil/server/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func exec1(t *testing.T, dsn, stmt string) error {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), stmt)
	return err
}

// Every test has a database of its own, empty when it gets it.
func TestDatabase(t *testing.T) {
	for range 2 {
		if err := exec1(t, pgtest.Database(t), `CREATE TABLE mine (x int)`); err != nil {
			t.Errorf("in a fresh database: %v", err)
		}
	}
}

// What a durable cluster has acknowledged is there after a crash.
func TestCrash(t *testing.T) {
	c := pgtest.Start(t, pgtest.Options{Durable: true})
	dsn := c.Database(t)
	if err := exec1(t, dsn, `CREATE TABLE kept (x int)`); err != nil {
		t.Fatal(err)
	}
	c.Crash(t)
	if err := exec1(t, dsn, `SELECT * FROM kept`); err == nil {
		t.Error("a crashed server answers")
	}
	c.Restart(t)
	if err := exec1(t, dsn, `INSERT INTO kept VALUES (1)`); err != nil {
		t.Errorf("after the crash: %v", err)
	}
}

// holdEnv is set in the child process of TestServerEndsWithItsTest.
const holdEnv = "PGTEST_HOLD"

// A test binary that is killed takes its server with it. It would catch machines
// that fill up with servers nobody stops.
func TestServerEndsWithItsTest(t *testing.T) {
	if os.Getenv(holdEnv) != "" {
		fmt.Fprintln(os.Stdout, "server", pgtest.Database(t))
		_, _ = io.ReadAll(os.Stdin) // until it is killed
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux ties a process to the one that started it")
	}
	if os.Getenv("WATTVEIL_TEST_POSTGRES") != "" {
		t.Skip("SKIPPED: the server is not ours")
	}
	pgtest.Require(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestServerEndsWithItsTest$")
	child.Env = append(os.Environ(), holdEnv+"=1")
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("reading from the child: %v", err)
	}
	db, err := sql.Open("postgres", strings.TrimSpace(strings.TrimPrefix(line, "server ")))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var data string
	if err := db.QueryRowContext(t.Context(), `SHOW data_directory`).Scan(&data); err != nil {
		t.Fatalf("reaching the child's server: %v", err)
	}
	defer os.RemoveAll(filepath.Dir(data)) // nobody else does: the child does not end in order
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if _, err := db.ExecContext(t.Context(), `SELECT pg_sleep(600)`); err == nil {
		t.Error("the server outlived the test that started it by ten minutes")
	}
}
