package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// Two processes' stores share one file: each waits for its turn. It would catch a
// transaction that fails because another one wrote first.
func TestSQLiteSharedFile(t *testing.T) {
	at := "sqlite:" + filepath.Join(t.TempDir(), "hub.db")
	var wg sync.WaitGroup
	for i := range 3 {
		s := open(t, at)
		wg.Go(func() {
			w := newWriter(byte(i))
			for j := range 30 {
				b := batch(fmt.Sprint(i, " ", j))
				b.Blocks = []seal.Block{w.block("h", "p", day0)}
				if _, err := s.CommitBatches(t.Context(), []store.Batch{b}); err != nil {
					t.Errorf("storing beside others: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, open(t, at), "blocks"); n != 90 {
		t.Errorf("%d blocks, want 90", n)
	}
}

// crashURL is set in the child process of TestSQLiteKilled.
const crashURL = "STORE_TEST_CRASH_URL"

// The process is killed again and again while it stores batches and spends
// accesses: what it had acknowledged is there exactly once.
func TestSQLiteKilled(t *testing.T) {
	if at := os.Getenv(crashURL); at != "" {
		storeUntilKilled(t, at)
		return
	}
	at := "sqlite:" + filepath.Join(t.TempDir(), "hub.db")
	s := open(t, at)
	window(t, s, day0)
	must(t, s.Close())
	var acked []int
	for round := range 5 {
		acked = append(acked, killAfter(t, at, round, 10*(round+1))...)
	}
	s = open(t, at)
	for _, n := range acked {
		outcomes, err := s.CommitBatches(t.Context(), []store.Batch{numbered(n)})
		must(t, err)
		if outcomes[0].Result != store.Duplicate {
			t.Errorf("batch %d was acknowledged and is not there", n)
		}
		if err := s.SpendAccess(t.Context(), uint64(n), false); !errors.Is(err, keyguard.ErrSpent) {
			t.Errorf("access %d, spent before the kill: %v, want ErrSpent", n, err)
		}
	}
	batches, blocks, records := count(t, s, "batches"), count(t, s, "blocks"), count(t, s, "spool")
	if batches < len(acked) || blocks != batches || records != batches {
		t.Errorf("%d batches, %d blocks, %d spool records, want as many of each and at least %d", batches, blocks, records, len(acked))
	}
	var verdict string
	must(t, s.QueryRow(t.Context(), `PRAGMA integrity_check`, nil, &verdict))
	if verdict != "ok" {
		t.Errorf("integrity check: %s", verdict)
	}
}

// numbered returns a batch all of whose content follows from its number.
func numbered(n int) store.Batch {
	w := &writer{id: seal.WriterID{1}, seq: 10 * uint64(n)}
	b := batch(fmt.Sprint(n))
	b.Blocks = []seal.Block{w.block("h", "p", day0)}
	b.Spool = []seal.SpoolRecord{w.spool(day0)}
	return b
}

// storeUntilKilled stores batches and says so, one line each after it is stored.
func storeUntilKilled(t *testing.T, at string) {
	s, err := store.Open(context.Background(), at, store.Options{})
	must(t, err)
	var round int
	_, err = fmt.Sscan(os.Getenv(crashURL+"_ROUND"), &round)
	must(t, err)
	for n := round * 100_000; ; n++ {
		_, err := s.CommitBatches(context.Background(), []store.Batch{numbered(n)})
		must(t, err)
		must(t, s.SpendAccess(context.Background(), uint64(n), false))
		if _, err := fmt.Fprintf(os.Stdout, "stored %d\n", n); err != nil {
			return // nobody listens any more
		}
	}
}

// killAfter runs a child that stores, kills it after it has said so n times, and
// returns all that it said.
func killAfter(t *testing.T, at string, round, n int) (acked []int) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSQLiteKilled$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashURL+"="+at, fmt.Sprintf("%s_ROUND=%d", crashURL, round))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var k int
		if _, err := fmt.Sscanf(lines.Text(), "stored %d", &k); err != nil {
			if strings.Contains(lines.Text(), "---") || strings.Contains(lines.Text(), "FAIL") {
				t.Errorf("child: %s", lines.Text())
			}
			continue
		}
		if acked = append(acked, k); len(acked) == n {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // it was killed
	if len(acked) < n {
		t.Fatalf("the child stored %d batches, want %d", len(acked), n)
	}
	return acked
}

// Every connection of every pool, the readers' too, syncs each commit, overwrites
// what is deleted, and holds to foreign keys. It would catch a setting that only
// the first connection has, and one that is not put back after a checkpoint, whose
// commit does not sync; a killed process does not show it, lost power does.
func TestSQLitePragmas(t *testing.T) {
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	must(t, s.PutCheckpoint(t.Context(), 1, ledger.Hash{1}, []byte("note")))
	if err := s.PutCheckpoint(t.Context(), 1, ledger.Hash{2}, []byte("other")); !errors.Is(err, ledger.ErrFork) {
		t.Errorf("another root: %v", err)
	}
	check := func(who string, value func(pragma string) (string, error)) {
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "foreign_keys": "1", "trusted_schema": "0", "busy_timeout": "10000",
		} {
			if got, err := value(pragma); err != nil || got != want {
				t.Errorf("%s: %s is %q, %v, want %q", who, pragma, got, err, want)
			}
		}
	}
	for who, pool := range store.Pools(s) {
		// All connections at once, so that each is one of its own.
		for i := range pool.Stats().MaxOpenConnections {
			conn, err := pool.Conn(t.Context())
			must(t, err)
			defer conn.Close()
			check(fmt.Sprint(who, " ", i), func(pragma string) (got string, err error) {
				return got, conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got)
			})
		}
	}
}
