package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

// A run is repeated after a home that was unknown has been registered: what was
// refused then is stored now, and what was stored is neither refused nor doubled.
//
// It would catch a repetition that is acknowledged although its refused readings
// were never stored, and one that fails because its answer has changed.
func TestIngestAgainStoresWhatWasRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := newSite(t.Context(), dir, "sqlite:"+filepath.Join(dir, "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	hub := s.start(t)
	homes := []string{"home-1", "home-2"}
	first := meter.DayOf(since)
	codes, err := s.register(t.Context(), hub, homes[:1], since)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ca.writeClient(dir, "works", "utility", testUtility); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "homes.csv")
	if err := os.WriteFile(file, []byte(strings.Join(profileLines(t, homes, first, 2), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	ingest := func(wantCode int) (r ingestReport) {
		t.Helper()
		code, stdout, stderr := wattveil(t, "ingest", "--hub", hub.grpc, "--cert", s.path("works.pem"), "--key", s.path("works.key"),
			"--ca", s.path("tls/ca.pem"), "--norm", "profile", "--unit", "Wh", "--run", "night", "--json", file)
		if code != wantCode {
			t.Fatalf("exit code %d, want %d: %s%s", code, wantCode, stdout, stderr)
		}
		if err := json.Unmarshal([]byte(stdout), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ingest(1); r.Acked != 2*96 || r.Refused["unknown_usage_point"] != 2*96 {
		t.Fatalf("%d acknowledged, refused %v", r.Acked, r.Refused)
	}
	late, err := s.register(t.Context(), hub, homes[1:], since)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(codes, late)
	if r := ingest(0); r.Acked != 4*96 || len(r.Refused) != 0 {
		t.Errorf("%d acknowledged, refused %v", r.Acked, r.Refused)
	}
	for _, home := range homes {
		session, err := signIn(t.Context(), hub.http, codes[home])
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := readOwn(t.Context(), session, since, (first + 2).Start())
		if err != nil {
			t.Fatal(err)
		}
		want := map[int64]int64{}
		for at := first.Start(); at < (first + 2).Start(); at += 900 {
			want[at] = load(home, at)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s reads %d readings that are not the %d sent", home, len(got), len(want))
		}
	}
}
