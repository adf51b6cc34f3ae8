package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// bench ingest measures a round of either side and prints its object. No rate is
// asserted: a machine under load would fail for nothing.
func TestBenchIngest(t *testing.T) {
	store := pgtest.Start(t, pgtest.Options{Durable: true}).Database(t)
	for _, shape := range []string{"day", "live"} {
		code, stdout, stderr := wattveil(t, "bench", "ingest", "--store", store, "--shape", shape, "--households", "100", "--rounds", "1", "--json")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if !strings.HasPrefix(stderr, "round 1: ") {
			t.Errorf("on standard error: %q", stderr)
		}
		d := json.NewDecoder(strings.NewReader(stdout))
		d.DisallowUnknownFields()
		var r struct {
			Shape    string `json:"shape"`
			Readings int    `json:"readings_per_round"`
			Wattveil struct {
				Rate  float64 `json:"rate"`
				Bytes int64   `json:"bytes"`
				CPU   float64 `json:"cpu_us_per_reading"`
			} `json:"wattveil"`
			Plain struct {
				Rate  float64 `json:"rate"`
				Bytes int64   `json:"bytes"`
			} `json:"plain"`
			RatioRate float64           `json:"ratio_rate"`
			RatioSize float64           `json:"ratio_bytes"`
			Rounds    []json.RawMessage `json:"rounds"`
			Settings  []string          `json:"settings"`
		}
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Shape != shape || r.Readings != 9600 || len(r.Rounds) != 1 {
			t.Errorf("shape %s, %d readings a round, %d rounds", r.Shape, r.Readings, len(r.Rounds))
		}
		if r.Wattveil.Rate <= 0 || r.Wattveil.Bytes <= 0 || r.Wattveil.CPU <= 0 || r.Plain.Rate <= 0 || r.Plain.Bytes <= 0 || r.RatioRate <= 0 || r.RatioSize <= 0 {
			t.Errorf("%s: a measure is missing: %+v", shape, r)
		}
		if !slices.Contains(r.Settings, "fsync=on") || !slices.Contains(r.Settings, "synchronous_commit=on") {
			t.Errorf("settings: %q", r.Settings)
		}
	}
}

// A rate is worth nothing if the server forgets: one that does not sync is
// refused before anything is measured.
func TestBenchRefusesForgetfulServer(t *testing.T) {
	code, stdout, stderr := wattveil(t, "bench", "ingest", "--store", pgtest.Database(t), "--households", "100", "--rounds", "1")
	if code != 2 || stdout != "" || !strings.Contains(stderr, "nothing measured on it would be durable") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// Catches a benchmark that prints a rate whatever the hub did: too few readings
// acknowledged, readings refused, other readings read back.
func TestBenchChecksItsOutput(t *testing.T) {
	b := &benchIngest{shape: "day", households: 100, connections: 2, log: slog.New(slog.DiscardHandler), day: meter.DayOf(demoStart.Unix()) + 1}
	b.results.Readings = b.households * dayIntervals
	r, err := startRig(t.Context(), rigConfig{Dir: t.TempDir(), Start: time.Unix(b.day.End()+600, 0), Log: b.log})
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	operator, err := r.dial("operator", "bench")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wattveilv1.NewRegistryServiceClient(operator).PutUtilities(t.Context(), &wattveilv1.PutUtilitiesRequest{
		Utilities: []*wattveilv1.Utility{{Id: demoUtility, Name: "Bench"}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.send(t.Context(), r, 0); err == nil || !strings.Contains(err.Error(), "refused readings") {
		t.Errorf("no usage point is registered, all is refused: %v", err)
	}
	codes, err := b.populate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	b.results.Readings++
	if err := b.send(t.Context(), r, 1); err == nil || !strings.Contains(err.Error(), "not every reading was acknowledged") {
		t.Errorf("one reading was not acknowledged: %v", err)
	}
	b.results.Readings--
	if err := b.send(t.Context(), r, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := b.reopen(t.Context(), r, codes[1:]); err == nil || !strings.Contains(err.Error(), "not what was sent") {
		t.Errorf("another household's readings came back: %v", err)
	}
	if n, err := b.reopen(t.Context(), r, codes); err != nil || n != 96 {
		t.Errorf("%d readings reopened, %v", n, err)
	}
}

// bench ledger measures a short round of every contender, checks what was written,
// and prints its object, with what was not run by name.
func TestBenchLedger(t *testing.T) {
	for engine, store := range map[string]string{"sqlite": "sqlite:" + t.TempDir(), "postgres": pgtest.Start(t, pgtest.Options{Durable: true}).Database(t)} {
		args := []string{"bench", "ledger", "--store", store, "--households", "100", "--rounds", "1", "--for", "100ms", "--callers", "8", "--capacity", "64", "--json"}
		tessera := os.Getenv("WATTVEIL_TEST_TESSERA")
		if tessera != "" {
			args = append(args, "--tessera", tessera)
		} else if os.Getenv("WATTVEIL_REQUIRE_STRANGERS") != "" {
			t.Error("WATTVEIL_TEST_TESSERA names no program")
		}
		code, stdout, stderr := wattveil(t, args...)
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", engine, code, stderr)
		}
		var r benchLedgerReport
		d := json.NewDecoder(strings.NewReader(stdout))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Wattveil.Rate <= 0 || r.AuditRow.Rate <= 0 || r.GroupCommit.Rate <= 0 || r.HashChain.Rate <= 0 || r.WattveilCapacity.Rate <= 0 || r.RatioGroupCommit <= 0 || r.Wattveil.P99 < r.Wattveil.P50 {
			t.Errorf("%s: a measure is missing: %+v", engine, r)
		}
		if r.Checked.Records < 200 || r.Checked.Households != householdsChecked || len(r.Settings) < 2 {
			t.Errorf("%s: checked %+v; settings %q", engine, r.Checked, r.Settings)
		}
		if ran := tessera != ""; (r.Tessera != nil && r.RatioTessera != nil && r.TesseraCapacity != nil && r.RatioCapacity != nil) != ran || (len(r.NotRun) == 0) != ran {
			t.Errorf("%s: tessera %v, not run %q", engine, r.Tessera, r.NotRun)
		}
	}
}
