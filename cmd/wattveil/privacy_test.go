package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/store/storetest"
)

// Anybody sees what a year's releases have cost, and that every charge is on record;
// a charge that was lowered, moved or invented in the database is named. It would
// catch a budget that is believed because the hub says it.
func TestPrivacyBudget(t *testing.T) {
	a := newAudited(t)
	url := "http://" + a.rig.hub.HTTPAddr()
	budget := func(want int, more ...string) (r budgetReport) {
		t.Helper()
		code, stdout, stderr := wattveil(t, append([]string{"privacy", "--json", "budget", "--url", url, "--year", "2018"}, more...)...)
		if code != want {
			t.Fatalf("exit code %d, want %d: %s%s", code, want, stdout, stderr)
		}
		if err := json.Unmarshal([]byte(stdout), &r); err != nil && want < 2 {
			t.Fatal(err)
		}
		return r
	}
	withKey := []string{"--key", a.path("hub.vkey")}
	r := budget(0, withKey...)
	cost, err := a.rig.plan.DayRho()
	if err != nil {
		t.Fatal(err)
	}
	days := len(r.Products)
	if days != 1 || r.Products[0].Days < 2 || r.Products[0].Unseen != 0 || r.Spent != uint64(cost)*uint64(r.Products[0].Days) ||
		r.Left != r.Cap-r.Spent || *r.Checked != r.Products[0].Charges || r.Epsilon <= 0 || r.CapEps <= r.Epsilon {
		t.Errorf("report %+v", r)
	}
	if code, stdout, stderr := wattveil(t, "privacy", "budget", "--url", url, "--year", "2018"); code != 0 || !strings.Contains(stdout, "day-curve") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if r := budget(0, "--year", "2019"); r.Spent != 0 || r.Left != r.Cap || len(r.Products) != 0 {
		t.Errorf("a year without charges: %+v", r)
	}
	budget(2, "--year", "1")

	tamper := storetest.OpenTamper(t, a.store)
	tamper.Exec(t, `UPDATE budget_spends SET rho_nano = rho_nano - 1`)
	if r := budget(1, withKey...); r.Index == nil || !strings.Contains(r.What, "price") {
		t.Errorf("a price lowered: %+v", r)
	}
	tamper.Exec(t, `UPDATE budget_spends SET rho_nano = rho_nano + 1, leaf_index = leaf_index + 1`)
	if r := budget(1, withKey...); r.OK {
		t.Errorf("charges moved to other records: %+v", r)
	}
}
