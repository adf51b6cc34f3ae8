package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
)

// aVault starts the Vault test server, or skips loudly.
func aVault(t *testing.T, dir string) *benchVault {
	t.Helper()
	program := os.Getenv("WATTVEIL_TEST_VAULT")
	if program == "" {
		if os.Getenv("WATTVEIL_REQUIRE_VAULT") == "1" {
			t.Fatal("WATTVEIL_REQUIRE_VAULT=1, but WATTVEIL_TEST_VAULT names no testvault binary")
		}
		t.Skip("NOT TESTED against a real Vault: build server/keys/testvault and name the binary in WATTVEIL_TEST_VAULT")
	}
	v, err := startBenchVault(t.Context(), program, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.stop)
	return v
}

// A hub over a real Vault reads on record; Vault's own log and the ledger fit. Then
// somebody with the hub's token opens a household's key past the ledger, in every way that
// is open to them, and each is found by its line. It would catch a log that nobody can
// hold against the ledger, and a check that passes whatever the log says.
func TestReconcile(t *testing.T) {
	dir := t.TempDir()
	vault := aVault(t, dir)
	a := newAuditedOn(t, "", vault.wrapper)
	log := filepath.Join(dir, "vault-audit.log")
	reconcile := func(more ...string) (int, reconcileVerdict) {
		t.Helper()
		args := append([]string{"verify", "--json", "reconcile", "--vault-audit", log}, more...)
		for i := 1; i < len(a.args); i++ { // those of verify audit, but for its cap
			if a.args[i] == "--cap-nano" {
				i++
				continue
			}
			args = append(args, a.args[i])
		}
		code, stdout, stderr := wattveil(t, args...)
		var v reconcileVerdict
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatalf("exit code %d, %q %s", code, stdout, stderr)
		}
		return code, v
	}
	const anyTime = "--within=0" // the demonstration's clock follows its data, and Vault's does not
	code, v := reconcile(anyTime)
	if code != 0 || !v.OK || v.Openings == 0 || v.Openings+v.Unopened != v.Accesses || len(v.Findings) != 0 {
		t.Fatalf("an honest hub: exit code %d, %+v", code, v)
	}
	if code, v := reconcile(); code != 1 || v.Findings[0].Code != openingElsewhen {
		t.Errorf("by clocks that are years apart: exit code %d, %+v", code, v.Findings)
	}

	stored, err := a.rig.store.HouseholdSecrets(t.Context(), store.WrappedSecret{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	item := []seal.Item{{Context: []byte(stored[0].Name), Data: stored[0].Wrapped}}
	open := func(ctx context.Context) {
		t.Helper()
		if _, err := vault.wrapper.Unwrap(ctx, "households", item); err != nil {
			t.Fatal(err)
		}
	}
	var honest []uint64
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d, err := range keys.ReadVaultAudit(f, "wattveil-households") {
		if err != nil {
			t.Fatal(err)
		}
		honest = append(honest, d.Index)
	}
	open(t.Context())
	open(seal.WithAccess(t.Context(), 0))
	open(seal.WithAccess(t.Context(), 1<<40))
	for _, index := range honest { // a household's own may be presented again on its day
		open(seal.WithAccess(t.Context(), index))
	}
	code, v = reconcile(anyTime)
	var found []string
	for _, f := range v.Findings {
		found = append(found, f.Code)
	}
	want := []string{openingUnmarked, openingOfOther, openingUnknown, openingRepeated}
	if found = slices.Compact(found); code != 1 || !slices.Equal(found, want) {
		t.Errorf("exit code %d, found %v, want %v", code, found, want)
	}
	for _, f := range v.Findings {
		if f.Line == 0 || f.What == "" {
			t.Errorf("a finding that cannot be looked up: %+v", f)
		}
	}
}
