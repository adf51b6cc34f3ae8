package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// bench delta measures short rounds and prints its object. No time is asserted.
func TestBenchDelta(t *testing.T) {
	for engine, store := range map[string]string{"sqlite": "sqlite:" + t.TempDir(), "postgres": pgtest.Start(t, pgtest.Options{Durable: true}).Database(t)} {
		code, stdout, stderr := wattveil(t, "bench", "delta", "--store", store, "--households", "5", "--callers", "2", "--rounds", "2", "--json")
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", engine, code, stderr)
		}
		var r benchDeltaReport
		d := json.NewDecoder(strings.NewReader(stdout))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		for what, s := range map[string]deltaSide{"wattveil": r.Wattveil, "idle": r.Idle, "plain": r.Plain} {
			if s.Seconds <= 0 || s.P50 <= 0 || s.P99 < s.P50 {
				t.Errorf("%s: %s: %+v", engine, what, s)
			}
		}
		if r.Subscriptions != 5 || len(r.Rounds) != 2 || len(r.Settings) < 3 {
			t.Errorf("%s: %+v", engine, r)
		}
	}
}

// Catches a benchmark that prints a time whatever it was answered.
func TestBenchDeltaChecksAnswers(t *testing.T) {
	b := &benchDelta{store: "sqlite:" + t.TempDir(), households: 1, callers: 1, rounds: 1, log: slog.New(slog.DiscardHandler), cursors: make([]string, 1)}
	b.access = benchAccess{store: b.store, households: 1, later: 1, log: b.log}
	b.access.db.store = b.store
	w, err := b.access.world(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for what, c := range map[string]struct{ first, days int }{"a day less": {0, accessDays - 1}, "another day": {1, accessDays}, "nothing": {0, 0}} {
		b.cursors[0] = ""
		if err := b.poll(t.Context(), w, 0, strings.ReplaceAll(what, " ", "-"), accessFirst+meter.Day(c.first), c.days); !errors.Is(err, errNotSent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	b.cursors[0] = ""
	if err := b.poll(t.Context(), w, 0, "right", accessFirst, accessDays); err != nil {
		t.Error(err)
	}
	if err := b.poll(t.Context(), w, 0, "again", accessFirst, accessDays); !errors.Is(err, errNotSent) {
		t.Errorf("an empty answer passes: %v", err)
	}
}
