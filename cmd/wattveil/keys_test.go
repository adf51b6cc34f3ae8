package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/store/storetest"
)

// The operator looks at the keys of a serving hub, rotates them and erases a household,
// over the door that operators have. It would catch commands that no hub answers, and an
// erasure by accident.
func TestKeysCommands(t *testing.T) {
	dir := t.TempDir()
	s, err := newSite(t.Context(), dir, "sqlite:"+filepath.Join(dir, "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	hub := s.start(t)
	if _, err := s.register(t.Context(), hub, []string{"home-1", "home-2"}, since); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]string{"operator": "operator", "works": "utility"} {
		if err := s.ca.writeClient(dir, name, kind, "test"); err != nil {
			t.Fatal(err)
		}
	}
	as := func(who string, args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		code = run(t.Context(), append(args, "--hub", hub.grpc, "--cert", s.path(who+".pem"), "--key", s.path(who+".key"), "--ca", s.path("tls/ca.pem")), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	var status struct {
		State string
		Keys  []keyReport
		Pairs *pairReport
	}
	look := func() {
		t.Helper()
		code, out := as("operator", "keys", "status", "--json")
		if code != 0 || json.Unmarshal([]byte(out), &status) != nil || status.State != "ready" || len(status.Keys) != 2 {
			t.Fatalf("exit code %d: %s", code, out)
		}
	}
	look()
	if k := status.Keys[0]; k.Name != "households" || k.Newest != 1 || k.Stored != 2 || k.Old != 0 {
		t.Errorf("at first: %+v", k)
	}
	if code, out := as("operator", "keys", "rotate"); code != 0 || !strings.Contains(out, "households: version 2; older versions are destroyed at 2") {
		t.Errorf("rotating: exit code %d: %s", code, out)
	}
	look()
	if k := status.Keys[0]; k.Oldest != 1 || k.Newest != 2 || k.Old != 0 || k.Retires == "" {
		t.Errorf("between rotation and destruction: %+v", k)
	}
	if code, out := as("operator", "keys", "rotate", "--retire-now"); code != 0 || !strings.Contains(out, "households: version 2; nothing older opens") {
		t.Errorf("rotating: exit code %d: %s", code, out)
	}
	look()
	for _, k := range status.Keys {
		if k.Oldest != 2 || k.Newest != 2 || k.Old != 0 {
			t.Errorf("after rotating: %+v", k)
		}
	}
	if status.Pairs == nil || *status.Pairs != (pairReport{Households: 2, Private: 2}) {
		t.Errorf("pairs at first: %+v", status.Pairs)
	}
	if code, out := as("operator", "keys", "rotate", "--pairs"); code != 0 || !strings.Contains(out, "household-pairs: round 1, begun 2") || !strings.Contains(out, "2 households, of which 0 use a pair from before it and 0 one") {
		t.Errorf("new pairs: exit code %d: %s", code, out)
	}
	look()
	if p := status.Pairs; p == nil || p.Round != 1 || p.Old != 0 || p.Private != 4 || status.Keys[0].Stored != 4 || status.Keys[0].Newest != 2 {
		t.Errorf("after a round: %+v, %+v", status.Pairs, status.Keys[0])
	}
	if code, out := as("operator", "keys", "rotate", "--pairs", "--retire-now"); code != 2 {
		t.Errorf("retiring pairs: exit code %d: %s", code, out)
	}
	household := storetest.Open(t, s.store).Households(t)[0]
	for what, c := range map[string]struct {
		who  string
		args []string
		code int
	}{
		"without saying yes": {"operator", []string{"keys", "erase", "--basis", "gdpr-17-1-b", household}, 2},
		"by a utility":       {"works", []string{"keys", "erase", "--yes", "--basis", "gdpr-17-1-b", household}, 2},
		"of nobody":          {"operator", []string{"keys", "erase", "--yes", "--basis", "gdpr-17-1-b", "nobody"}, 2},
	} {
		if code, out := as(c.who, c.args...); code != c.code {
			t.Errorf("erasing %s: exit code %d: %s", what, code, out)
		}
	}
	if code, out := as("operator", "keys", "erase", "--yes", "--basis", "gdpr-17-1-b", household); code != 0 || !strings.Contains(out, "erased") {
		t.Errorf("erasing: exit code %d: %s", code, out)
	}
	if look(); status.Keys[0].Stored != 2 {
		t.Errorf("%d keys after an erasure, want the 2 of one household", status.Keys[0].Stored)
	}
}
