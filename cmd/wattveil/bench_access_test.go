package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/server/store/pgtest"
)

// bench access measures a short round of every contender and prints its object, with
// what was not run by name. No rate is asserted.
func TestBenchAccess(t *testing.T) {
	for engine, store := range map[string]string{"sqlite": "sqlite:" + t.TempDir(), "postgres": pgtest.Start(t, pgtest.Options{Durable: true}).Database(t)} {
		args := []string{"bench", "access", "--store", store, "--households", "4", "--enrolled", "20", "--rounds", "1", "--for", "100ms", "--json"}
		vault := os.Getenv("WATTVEIL_TEST_VAULT")
		if vault != "" {
			args = append(args, "--vault", vault)
		} else if os.Getenv("WATTVEIL_REQUIRE_VAULT") != "" {
			t.Error("WATTVEIL_TEST_VAULT names no program")
		}
		code, stdout, stderr := wattveil(t, args...)
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", engine, code, stderr)
		}
		var r benchAccessReport
		d := json.NewDecoder(strings.NewReader(stdout))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Wattveil.Rate <= 0 || r.Wattveil.P99 < r.Wattveil.P50 || r.Single.P50 <= 0 || r.Plain.Rate <= 0 || r.PlainSingle.P50 <= 0 || r.EnrolmentKeyring.Seconds <= 0 || r.EnrolmentKeyring.Pairs <= 0 || r.PerHousehold == 0 {
			t.Errorf("%s: a measure is missing: %+v", engine, r)
		}
		if r.EnrolmentKeyring.Households != 20 || len(r.Rounds) != 1 || len(r.Settings) < 4 {
			t.Errorf("%s: %d enrolled, %d rounds, settings %q", engine, r.EnrolmentKeyring.Households, len(r.Rounds), r.Settings)
		}
		if ran := vault != ""; (r.Vault != nil && r.VaultSingle != nil && r.Enrolment != nil && r.Enrolment.Households == 20) != ran || (len(r.NotRun) == 0) != ran {
			t.Errorf("%s: vault %v, not run %q", engine, r.Vault, r.NotRun)
		}
	}
}

// Catches a benchmark that prints a rate whatever it was answered: another household's
// month, a value or an hour that is another, and a plain table that leaves a row out.
func TestBenchAccessChecksAnswers(t *testing.T) {
	b := &benchAccess{store: "sqlite:" + t.TempDir(), households: 2, log: slog.New(slog.DiscardHandler)}
	b.db.store = b.store
	w, err := b.world(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	p, err := b.plainReads(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := errors.Join(w.read(t.Context(), "right", 0), p.read(t.Context(), "", 0)); err != nil {
		t.Fatalf("what was sent: %v", err)
	}
	w.wants[0][700]++
	p.wants[0][700]++
	if err := w.read(t.Context(), "value", 0); !errors.Is(err, errNotSent) {
		t.Errorf("another value than was sent: %v", err)
	}
	if err := p.read(t.Context(), "", 0); !errors.Is(err, errNotSent) {
		t.Errorf("another value in the plain table: %v", err)
	}
	w.wants[1] = w.wants[1][:743]
	if err := w.read(t.Context(), "hour", 1); !errors.Is(err, errNotSent) {
		t.Errorf("an hour more than was sent: %v", err)
	}
	b.rounds, b.length = 1, time.Second
	if _, err := b.step("wattveil", 2, 0, w.read).run(t.Context()); !errors.Is(err, errNotSent) {
		t.Errorf("a turn whose answers are wrong: %v", err)
	}
}

// Catches a turn that reads a household twice, which would measure what is at hand.
func TestTurnsRepeatNothing(t *testing.T) {
	turns, seen := newTurns(10, 7), map[int]bool{}
	for {
		h, ok := turns.next()
		if !ok {
			break
		}
		if seen[h] || h < 0 || h >= 10 {
			t.Errorf("household %d again", h)
		}
		seen[h] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d households of 10", len(seen))
	}
	left := newTurns(100, 0)
	c, n, err := closedLoop(t.Context(), 4, time.Minute, func(context.Context, int, int) error {
		if _, ok := left.next(); !ok {
			return errAllCalled
		}
		return nil
	})
	if err != nil || n != 100 || c.Rate <= 0 {
		t.Errorf("a loop that has nothing left measured %d of 100 calls, %v", n, err)
	}
}
