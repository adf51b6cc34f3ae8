package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/store/pgtest"
)

// demoKeys are the keys of what demo --json prints, and of the objects in it:
// a contract with the machines that read it.
var demoKeys = map[string][]string{
	"":          {"days", "households", "key_service", "ledger", "readings_acked", "readings_sent", "reads", "refused", "releases", "seconds_ingest", "store"},
	".releases": {"day", "delta", "epsilon", "households_public", "node", "product", "rmse_percent"},
	".reads":    {"granted", "refused_after_revoke"},
	".ledger":   {"root", "size", "verified"},
}

// runDemo runs demo --json and checks that what it prints is one line with one
// object that has these keys and no other.
func runDemo(t *testing.T, args ...string) demoReport {
	t.Helper()
	code, stdout, stderr := wattveil(t, append([]string{"demo", "--json"}, args...)...)
	if code != 0 || stderr != "" || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("exit code %d, %d lines: %s", code, strings.Count(stdout, "\n"), stderr)
	}
	var top map[string]json.RawMessage
	var report demoReport
	if err := json.Unmarshal([]byte(stdout), &top); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, "", top)
	for _, name := range []string{"reads", "ledger"} {
		var inner map[string]json.RawMessage
		if err := json.Unmarshal(top[name], &inner); err != nil {
			t.Fatal(err)
		}
		checkKeys(t, "."+name, inner)
	}
	var releases []map[string]json.RawMessage
	if err := json.Unmarshal(top["releases"], &releases); err != nil {
		t.Fatal(err)
	}
	for _, r := range releases {
		checkKeys(t, ".releases", r)
	}
	return report
}

func checkKeys(t *testing.T, where string, object map[string]json.RawMessage) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, demoKeys[where]) {
		t.Errorf("keys of %q: %q, want %q", where, got, demoKeys[where])
	}
}

// checkDemo checks what follows from the number of households and of local days
// alone. The file begins at midnight in Central Europe, so that it touches one
// UTC day more. A day is published for the region; of the days of November also
// their mean, on workdays and on weekends, for it, 4 substations and 32 feeders.
func checkDemo(t *testing.T, r demoReport, households, localDays int) {
	t.Helper()
	days, weeks, months := localDays+1, 0, 0
	if localDays >= 7 {
		weeks = localDays / 7
	}
	if localDays >= 33 { // from 29 October to the end of November
		months = 1
	}
	releases := days + weeks + 6*months
	if r.ReadingsSent != uint64(households*localDays*96) || r.Households != households || r.Days != days || len(r.Releases) != days+2*37*months {
		t.Errorf("%d readings sent, %d households, %d days, %d releases", r.ReadingsSent, r.Households, r.Days, len(r.Releases))
	}
	if r.Reads != (demoReads{Granted: 1, RefusedAfterRevoke: 1}) {
		t.Errorf("reads: %+v", r.Reads)
	}
	// A writer, a regulator's key a month, every release and its charge; request,
	// grant, read, revocation, refusal. Map heads come as time goes by, at most one a
	// second.
	keys := (localDays+1)/31 + 1
	size := uint64(1 + keys + 2*releases + 5)
	if r.Ledger.Size < size || r.Ledger.Size > size+60 || !r.Ledger.Verified || len(r.Ledger.Root) != 64 {
		t.Errorf("ledger: %+v, want %d records and map heads", r.Ledger, size)
	}
	perDay := map[string]map[string]int{}
	seen := map[string]bool{}
	for _, x := range r.Releases {
		kind, _, _ := strings.Cut(x.Node, "-")
		at := x.Product + x.Day
		if perDay[at] == nil {
			perDay[at] = map[string]int{}
		}
		perDay[at][kind] += x.HouseholdsPublic
		// Where nobody lives there is no mean that an error could be a part of.
		if seen[at+x.Node] || x.Epsilon <= 0 || x.Delta <= 0 || x.HouseholdsPublic == 0 && x.RMSEPercent != nil || x.RMSEPercent != nil && *x.RMSEPercent < 0 {
			t.Errorf("release: %+v", x)
		}
		seen[at+x.Node] = true
	}
	for day, sums := range perDay {
		want := map[string]int{"region": households}
		if !strings.HasPrefix(day, "day-curve") {
			want["substation"], want["feeder"] = households, households
		}
		if !maps.Equal(sums, want) {
			t.Errorf("%s: households by level %v, want %v", day, sums, want)
		}
	}
}

// The whole story on a few homes: every key of the contract, every count right,
// and the data where --dir says.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	r := runDemo(t, "--households", "20", "--days", "3", "--dir", dir)
	checkDemo(t, r, 20, 3)
	if r.ReadingsAcked != r.ReadingsSent || len(r.Refused) != 0 || r.Store != "SQLite" || r.KeyService != "local keyring" {
		t.Errorf("%d of %d acknowledged, refused %v, store %s, keys %s", r.ReadingsAcked, r.ReadingsSent, r.Refused, r.Store, r.KeyService)
	}
	if _, err := os.Stat(filepath.Join(dir, "hub.db")); err != nil {
		t.Error(err)
	}
	// A demo is a new hub: it never runs into the data of another.
	if code, _, stderr := wattveil(t, "demo", "--dir", dir); code != 2 || !strings.Contains(stderr, "is not empty") {
		t.Errorf("again in the same directory: exit code %d: %s", code, stderr)
	}
}

// The bundled data, all of it: what is refused is exactly what the file is known
// to hold of impossible values. 1,514,688 − 15 − 653 = 1,514,020.
func TestDemoWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED in -short: streams 1.5 million readings twice")
	}
	for store, args := range map[string]func(t *testing.T) []string{
		"SQLite":     func(*testing.T) []string { return nil },
		"PostgreSQL": func(t *testing.T) []string { return []string{"--store", pgtest.Database(t)} },
	} {
		t.Run(store, func(t *testing.T) {
			r := runDemo(t, args(t)...)
			checkDemo(t, r, 322, 49)
			if r.ReadingsSent != 1_514_688 || r.ReadingsAcked != 1_514_020 || r.Days != 50 || len(r.Releases) != 50+2*37 {
				t.Errorf("%d sent, %d acknowledged, %d days, %d releases", r.ReadingsSent, r.ReadingsAcked, r.Days, len(r.Releases))
			}
			if want := map[string]uint64{"negative_delivered": 15, "above_physical_cap": 653}; !maps.Equal(r.Refused, want) {
				t.Errorf("refused: %v, want %v", r.Refused, want)
			}
			if r.Store != store {
				t.Errorf("store: %s", r.Store)
			}
		})
	}
}

// What a newcomer reads last tells what happened and where to look, and what it
// points to exists.
func TestDemoTells(t *testing.T) {
	code, stdout, stderr := wattveil(t, "demo", "--households", "5", "--days", "1")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, text := range []string{
		"5 households moved in", "What happened", "480 readings of 5 real homes", "2 days were closed", "was then refused (1)", "verified from outside", "Where to look next: `wattveil demo --serve`",
	} {
		if !strings.Contains(stdout, text) {
			t.Errorf("it does not say %q:\n%s", text, stdout)
		}
	}
	pages := regexp.MustCompile(`docs/\w+\.md`).FindAllString(stdout, -1)
	if len(pages) == 0 {
		t.Error("it points to no page")
	}
	for _, page := range pages {
		if _, err := os.Stat(filepath.Join("..", "..", page)); err != nil {
			t.Errorf("it points to a page that is not there: %v", err)
		}
	}
}

// demo --serve stays up: the portal answers where it says, the ledger verifies
// by the command it prints, and an interrupt ends it with exit code 0.
func TestDemoServe(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	result := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		result <- run(ctx, []string{"demo", "--serve", "--households", "2", "--days", "1"}, in, &stderr)
		_ = in.Close()
	}()
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // nothing more is said, or nobody listens
	part := func(pattern string) []string {
		t.Helper()
		found := regexp.MustCompile(pattern).FindStringSubmatch(said.String())
		if found == nil {
			t.Fatalf("it does not say %s:\n%s%s", pattern, said.String(), stderr.String())
		}
		return found
	}
	portal := part(`portal is at (http://\S+/) .* letter code ([0-9A-Z-]{14})`)
	resp, err := http.Get(portal[1])
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the portal answers %s", resp.Status)
	}
	if _, err := signIn(t.Context(), strings.Trim(strings.TrimPrefix(portal[1], "http://"), "/"), portal[2]); err != nil {
		t.Errorf("with the printed letter code: %v", err)
	}
	command := part(`wattveil verify log --key '([^']+)' (\S+)`)
	if code, stdout, stderr := wattveil(t, "verify", "log", "--key", command[1], command[2]); code != 0 {
		t.Errorf("the printed command: exit code %d: %s%s", code, stdout, stderr)
	}
	interrupt()
	if code := <-result; code != 0 {
		t.Errorf("exit code %d after an interrupt: %s", code, stderr.String())
	}
}
