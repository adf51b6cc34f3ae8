package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// audited is a hub in which everything has happened, with what a household and a
// regulator check it by.
type audited struct {
	*demo
	rig   *rig
	t     *testing.T
	dir   string
	args  []string // of verify audit, after "verify --json"
	store string
}

func newAudited(t *testing.T) *audited {
	t.Helper()
	return newAuditedOn(t, "", nil)
}

// newAuditedOn makes one on a store, SQLite if none is named, and on a key service, a
// keyring if none is.
func newAuditedOn(t *testing.T, store string, service server.KeyService) *audited {
	t.Helper()
	a := &audited{t: t, dir: t.TempDir(), store: store}
	if store == "" {
		a.store = "sqlite:" + filepath.Join(a.dir, "hub.db")
	}
	rig, err := startRig(t.Context(), rigConfig{Dir: a.dir, Store: a.store, Keys: service, Start: demoStart, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rig.stop)
	a.rig = rig
	a.demo = &demo{stage: rig, catalogue: rig.catalogue, cmd: &cobra.Command{}, flags: &demoFlags{households: 3, days: 2}, say: func(string, ...any) {}}
	a.report = demoReport{Refused: map[string]uint64{}}
	for _, step := range []func() error{
		func() error { return a.load(t.Context()) }, func() error { return a.register(t.Context()) }, func() error { return a.ingest(t.Context()) },
		func() error { return a.collect(t.Context()) }, func() error { return a.consent(t.Context()) }, func() error { return a.complete(t.Context()) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rig.ca.writeClient(a.dir, "regulator", "regulator", demoRegulator); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"hub.vkey": rig.hub.VerifierKey(), "ca.pem": string(rig.ca.pem)}
	a.args = []string{
		"audit", "--key", a.path("hub.vkey"), "--hub", rig.hub.GRPCAddr(), "--url", "http://" + rig.hub.HTTPAddr(), "--ca", a.path("ca.pem"),
		"--cert", a.path("regulator.pem"), "--client-key", a.path("regulator.key"), "--cap-nano", "1000000000",
	}
	for i, k := range a.envelopeKeys {
		seed, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("envelope-", i)
		files[name] = hex.EncodeToString(seed)
		a.args = append(a.args, "--envelope-key", a.path(name))
	}
	for name, text := range files {
		if err := os.WriteFile(a.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.await()
	return a
}

// await returns when a map head knows of the household. One that a busy machine
// wrote before its events is followed by another when the clock has moved on.
func (a *audited) await() {
	a.t.Helper()
	a.rig.clock.set(a.rig.clock.Now().Add(time.Minute))
	for late := time.After(30 * time.Second); ; {
		if _, v := a.audit(); v.Map == 1 {
			return
		}
		select {
		case <-late:
			a.t.Fatal("no map head of the household within 30 s")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a *audited) path(name string) string { return filepath.Join(a.dir, name) }

// audit runs verify audit and returns its exit code and what it says.
func (a *audited) audit() (int, auditVerdict) {
	a.t.Helper()
	code, stdout, stderr := wattveil(a.t, append([]string{"verify", "--json"}, a.args...)...)
	var v auditVerdict
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		a.t.Fatalf("exit code %d, %q %s", code, stdout, stderr)
	}
	return code, v
}

// household fetches the household's record and runs verify household over it.
func (a *audited) checkHousehold() (int, householdVerdict) {
	a.t.Helper()
	record := &wattveilv1.GetHouseholdRecordResponse{}
	if err := a.household.call(a.t.Context(), http.MethodGet, "/v1/household/record", nil, record); err != nil {
		a.t.Fatal(err)
	}
	b, err := protojson.Marshal(record)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(a.path("record.json"), b, 0o600); err != nil {
		a.t.Fatal(err)
	}
	code, stdout, stderr := wattveil(a.t, "verify", "--json", "household", "--key", a.path("hub.vkey"), "--record", a.path("record.json"), "--url", "http://"+a.rig.hub.HTTPAddr())
	var v householdVerdict
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		a.t.Fatalf("exit code %d, %q %s", code, stdout, stderr)
	}
	return code, v
}

// Both checks pass over an honest hub, and say what there was.
func TestChecksPass(t *testing.T) {
	a := newAudited(t)
	code, v := a.audit()
	if code != 0 || !v.OK || v.Opened != v.Size || v.Accesses[demoRecipient]["heating-advice"] != 1 || v.Refusals["revoked"] != 1 || v.RhoNano[2018] == 0 || v.Map != 1 {
		t.Errorf("audit: exit code %d, %+v", code, v)
	}
	rho, err := a.rig.catalogue.Products[0].Rho()
	if err != nil || v.MaxDayRhoNano < uint64(rho) || !strings.HasPrefix(v.MaxDay, "2018-1") {
		t.Errorf("audit: a day was charged %d nano-rho at most, on %q; a day's curve costs %d, %v", v.MaxDayRhoNano, v.MaxDay, rho, err)
	}
	a.args = append(a.args, "--day-cap-nano", fmt.Sprint(v.MaxDayRhoNano))
	if code, v := a.audit(); code != 0 {
		t.Errorf("audit of days at their cap: exit code %d, %+v", code, v.Findings)
	}
	a.args[len(a.args)-1] = fmt.Sprint(v.MaxDayRhoNano - 1)
	if code, v := a.audit(); code != 1 || len(v.Findings) == 0 || v.Findings[0].Code != ledger.AuditBudget {
		t.Errorf("audit of days over their cap: exit code %d, %+v", code, v.Findings)
	}
	code, h := a.checkHousehold()
	if code != 0 || !h.OK || h.Events != 5 || h.Accesses[demoRecipient] != 1 {
		t.Errorf("household: exit code %d, %+v", code, h)
	}
}

// What an audit says of the accounts, to a person and to a program: the years, and
// the day that was charged the most, which is named only if there is one.
func TestAuditAccounts(t *testing.T) {
	for name, tt := range map[string]struct {
		report ledger.AuditReport
		words  []string
		json   []string
		never  []string
	}{
		"charged": {
			ledger.AuditReport{RhoNano: map[int]uint64{2025: 7, 2026: 18}, MaxDayRhoNano: 12, MaxDay: 20454},
			[]string{"releases of days of 2025 cost 7 nano-rho", "releases of days of 2026 cost 18 nano-rho", "no day was charged more than 2026-01-01: 12 nano-rho"},
			[]string{`"rho_nano":{"2025":7,"2026":18}`, `"max_day_rho_nano":12`, `"max_day":"2026-01-01"`},
			nil,
		},
		"nothing": {ledger.AuditReport{}, nil, []string{`"max_day_rho_nano":0`}, []string{`"max_day":`, "1970", "no day was charged"}},
	} {
		for form, want := range map[string][]string{"words": tt.words, "json": tt.json} {
			var out bytes.Buffer
			cmd := &cobra.Command{}
			cmd.SetOut(&out)
			cmd.Flags().Bool("json", form == "json", "")
			if err := deliverAudit(cmd, tt.report); err != nil {
				t.Fatal(err)
			}
			for _, w := range want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%s, in %s: %s lacks %s", name, form, &out, w)
				}
			}
			for _, w := range tt.never {
				if strings.Contains(out.String(), w) {
					t.Errorf("%s, in %s: %s says %s", name, form, &out, w)
				}
			}
		}
	}
}

// What somebody with the database's password does to the private rows behind the
// public log is found by the regulator, by name, and by the household where it is
// the household's.
func TestTamperedRows(t *testing.T) {
	const access = `(SELECT idx FROM tlog_private WHERE kind = 'access' AND recipient <> '')`
	for name, c := range map[string]struct {
		statement string
		code      ledger.AuditCode
		household string // what it finds; empty if it is not the household's to find
	}{
		"payload changed":      {`UPDATE tlog_private SET envelope = NULL, payload = (SELECT payload FROM tlog_private WHERE kind = 'consent.grant') WHERE idx = ` + access, ledger.AuditEnvelope, "chain"},
		"envelope exchanged":   {`UPDATE tlog_private SET envelope = (SELECT envelope FROM tlog_private WHERE kind = 'consent.grant') WHERE idx = ` + access, ledger.AuditEnvelope, ""},
		"nonce changed":        {`UPDATE tlog_private SET nonce = (SELECT nonce FROM tlog_private WHERE kind = 'consent.grant') WHERE idx = ` + access, "", "does not follow"},
		"event dropped":        {`DELETE FROM tlog_private WHERE idx = ` + access, ledger.AuditNotOpened, "chain"},
		"given to another":     {`UPDATE tlog_private SET subject = 'somebody' WHERE idx = ` + access, "", "chain"},
		"hidden with its head": {`DELETE FROM tlog_envelope_heads WHERE first_idx <= ` + access, ledger.AuditEnvelope, ""},
		"secret exchanged":     {`UPDATE tlog_tag_keys SET tag_key = (SELECT nonce FROM tlog_private LIMIT 1)`, "", "does not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAudited(t)
			storetest.OpenTamper(t, a.store).Exec(t, c.statement)
			if code, v := a.audit(); c.code != "" && (code != 1 || !slices.ContainsFunc(v.Findings, func(f auditFinding) bool { return f.Code == c.code && f.Index != nil })) {
				t.Errorf("audit: exit code %d, %+v; want %s", code, v.Findings, c.code)
			}
			if code, h := a.checkHousehold(); c.household != "" && (code != 1 || h.Index == nil || !strings.Contains(h.What, c.household)) {
				t.Errorf("household: exit code %d, %+v; want %q", code, h.verdict, c.household)
			}
		})
	}
}

// A consent that is put back to "granted" in its row, past the ledger, opens
// nothing unnoticed: the read that it lets through is an access after its revocation.
func TestTamperedConsent(t *testing.T) {
	a := newAudited(t)
	storetest.OpenTamper(t, a.store).Exec(t, `UPDATE consents SET state = 2, deadline_s = 4000000000, ended_s = 0 WHERE state = 4`)
	third, err := a.rig.dial("recipient", demoRecipient)
	if err != nil {
		t.Fatal(err)
	}
	consents, err := wattveilv1.NewConsentServiceClient(third).ListConsents(t.Context(), &wattveilv1.ListConsentsRequest{})
	if err != nil || len(consents.GetConsents()) != 1 {
		t.Fatal(err)
	}
	_, err = wattveilv1.NewReadingServiceClient(third).ReadSeries(t.Context(), &wattveilv1.ReadSeriesRequest{
		RequestId: "read-3", ConsentId: consents.GetConsents()[0].GetId(), Purpose: "heating-advice", From: demoStart.Unix(), Until: demoStart.AddDate(0, 0, 1).Unix(),
	})
	if err != nil {
		t.Fatalf("the tampered row does not let it through: %v", err)
	}
	if code, v := a.audit(); code != 1 || len(v.Findings) != 1 || v.Findings[0].Code != ledger.AuditRevoked || v.Findings[0].Index == nil {
		t.Errorf("audit: exit code %d, %+v; want %s", code, v.Findings, ledger.AuditRevoked)
	}
}
