package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A deployment as the documentation describes it, by commands alone: a witness is
// set up from the hub's printed keys, its printed policy is demanded by the hub, a
// regulator makes and posts a key and audits, the log is exported, and everyone
// checks under the policy. It would catch commands whose outputs do not fit the
// others' inputs.
func TestLedgerCommands(t *testing.T) {
	s, err := newSite(t.Context(), t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	says := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := wattveil(t, args...)
		if code != want {
			t.Fatalf("%s: exit code %d, want %d: %s%s", strings.Join(args, " "), code, want, stdout, stderr)
		}
		return stdout
	}
	hub := s.start(t)
	write(t, s.path("hub.vkey"), hub.vkey)
	policy := startWitness(t, s)
	write(t, s.path("policy"), policy+"quorum witness-example\n")
	if err := hub.stop(); err != nil {
		t.Fatal(err)
	}
	yaml, err := os.ReadFile(s.path("hub.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.path("hub.yaml"), string(yaml)+"ledger: {policy: policy, release_requires: cosigned, export: public, export_every: 1s}\n")
	hub = s.start(t)

	if err := s.ca.writeClient(s.dir, "regulator", "regulator", "authority"); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("ca.pem"), string(s.ca.pem))
	door := []string{"--hub", hub.grpc, "--cert", s.path("regulator.pem"), "--client-key", s.path("regulator.key"), "--ca", s.path("ca.pem")}
	says(0, "regulator", "key", "--out", s.path("envelope"))
	says(2, "regulator", "key", "--out", s.path("envelope")) // a secret is never overwritten
	today := time.Now().UTC()
	post := append([]string{"regulator", "post", "--envelope-key", s.path("envelope"), "--from", today.Format(time.DateOnly), "--until", today.AddDate(0, 0, 30).Format(time.DateOnly)}, door...)
	if first, again := says(0, post...), says(0, post...); first != again {
		t.Errorf("posted twice: %q and %q", first, again)
	}
	says(2, append([]string{"regulator", "post", "--envelope-key", s.path("envelope"), "--from", "soon", "--until", "later"}, door...)...)

	// The witness is asked on its own time.
	log := []string{"verify", "--key", s.path("hub.vkey"), "--policy", s.path("policy"), "log", "--url", "http://" + hub.http} // not --history: what was signed before there was a witness is not cosigned
	for late := time.After(30 * time.Second); ; {
		code, _, stderr := wattveil(t, log...)
		if code == 0 {
			break
		}
		select {
		case <-late:
			t.Fatalf("not cosigned within 30 s: %s", stderr)
		case <-time.After(50 * time.Millisecond):
		}
	}
	says(0, append([]string{"verify", "--key", s.path("hub.vkey"), "audit", "--url", "http://" + hub.http, "--envelope-key", s.path("envelope")}, door...)...)
	for range 2 { // again adds nothing
		says(0, "export", "--store", s.store, "--dir", s.path("copy"))
	}
	says(0, "verify", "--key", s.path("hub.vkey"), "log", "--dir", s.path("copy"))
	for late := time.After(30 * time.Second); ; {
		if code, _, _ := wattveil(t, "verify", "--key", s.path("hub.vkey"), "log", "--dir", s.path("public")); code == 0 {
			break
		}
		select {
		case <-late:
			t.Fatal("the hub has exported nothing within 30 s")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := hub.stop(); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startWitness runs a witness until the test ends, and returns the lines that it
// prints for a policy.
func startWitness(t *testing.T, s *site) string {
	t.Helper()
	dir := t.TempDir()
	read, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"witness", "--dir", dir, "--name", "witness.example", "--log", s.path("hub.vkey"), "--listen", "127.0.0.1:0"}, out, io.Discard)
		_ = out.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("the witness ended with exit code %d", code)
		}
	})
	var policy strings.Builder
	for lines := bufio.NewScanner(read); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "witness ") || strings.HasPrefix(line, "group ") {
			fmt.Fprintln(&policy, line)
		}
		if strings.HasPrefix(lines.Text(), "group ") {
			return policy.String()
		}
	}
	t.Fatal("the witness printed no policy")
	return ""
}
