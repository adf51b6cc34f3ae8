package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// due are the releases that there should be: of every day since the schedule began, and
// of every span that lies in it and is over. The schedule began with the first day that
// was not due when the first reading came.
func (c *spanCrash) due() map[string]release.Product {
	due := map[string]release.Product{}
	for _, p := range c.plan.Products {
		switch p.Span {
		case release.Day:
			for d := spanFirst - 1; d <= spanLast; d++ {
				due[p.Name+"/"+d.String()] = p
			}
		case release.Week:
			for _, week := range []string{"06", "07", "08", "09"} {
				due[p.Name+"/2026-W"+week] = p
			}
		default:
			due[p.Name+"/2026-02"] = p
		}
	}
	return due
}

// finish checks what is left.
func (c *spanCrash) finish(t *testing.T) {
	t.Helper()
	c.end()
	infos, err := c.list()
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]release.Body{}
	for _, info := range infos {
		b, err := c.fetch("/v1/releases/" + info.GetId())
		if err != nil {
			t.Fatal(err)
		}
		if c.see(info.GetId(), b); bodies[info.GetId()].ID != "" {
			t.Errorf("%s is listed twice", info.GetId())
		}
		bodies[info.GetId()] = c.verify(t, info.GetId(), b)
	}
	if len(c.changed) > 0 {
		t.Errorf("answered otherwise later: %v", c.changed)
	}
	for id := range c.seen {
		if bodies[id].ID == "" {
			t.Errorf("%s was published, and is gone", id)
		}
	}
	report, budget := c.budget(t)
	c.audit(t)
	due := c.due()
	for id := range bodies {
		if _, expected := due[id]; !expected {
			t.Errorf("%s was published before its time, or without all of its days", id)
		}
	}
	var lost []string
	for _, id := range slices.Sorted(maps.Keys(due)) {
		if bodies[id].ID == "" {
			lost = append(lost, id)
			c.excuse(t, id, due[id], budget)
		}
	}
	if c.loud {
		c.checkSums(t, bodies)
	}
	unseen := 0
	for _, p := range report.Products {
		unseen += p.Unseen
	}
	t.Logf("killed %d times; %d releases, %d charges, %d of them for noise that nobody saw; given up: %v", c.kills, len(bodies), len(budget.GetCharges()), unseen, lost)
	if err := c.hub.stop(); err != nil {
		t.Error(err)
	}
}

// verify lets a stranger check a release.
func (c *spanCrash) verify(t *testing.T, id string, answer []byte) release.Body {
	t.Helper()
	write(t, c.site.path("release.json"), string(answer))
	code, stdout, stderr := wattveil(t, "verify", "--json", "release", "--key", c.hub.vkey, "--release", c.site.path("release.json"), "--url", "http://"+c.hub.http)
	if code != 0 {
		t.Errorf("%s: exit code %d: %s%s", id, code, stdout, stderr)
	}
	var got wattveilv1.GetReleaseResponse
	var body release.Body
	if err := protojson.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.GetBody()), &body); err != nil {
		t.Fatal(err)
	}
	return body
}

// budget looks every charge up in the ledger.
func (c *spanCrash) budget(t *testing.T) (r budgetReport, answer *wattveilv1.GetBudgetResponse) {
	t.Helper()
	code, stdout, stderr := wattveil(t, "privacy", "--json", "budget", "--url", "http://"+c.hub.http, "--year", "2026", "--key", c.hub.vkey)
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Spent > uint64(c.plan.YearlyCap) || r.DayMost > uint64(c.plan.DailyCap) || *r.Checked == 0 {
		t.Errorf("privacy budget: exit code %d: %s%s", code, stdout, stderr)
	}
	answer = &wattveilv1.GetBudgetResponse{}
	b, err := c.fetch("/v1/budget?year=2026")
	if err == nil {
		err = protojson.Unmarshal(b, answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, answer
}

// audit opens every record as the regulator does.
func (c *spanCrash) audit(t *testing.T) {
	t.Helper()
	v, err := ledger.NewVerifier(c.hub.vkey)
	if err != nil {
		t.Fatal(err)
	}
	src, err := ledger.HTTPSource("http://"+c.hub.http, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	report, err := ledger.AuditLog(t.Context(), v, src, auditSource{wattveilv1.NewAuditServiceClient(c.client(t, "regulator", "authority"))}, c.keys,
		ledger.AuditOptions{YearlyCapNano: uint64(c.plan.YearlyCap), DailyCapNano: uint64(c.plan.DailyCap)})
	if err != nil || len(report.Findings) > 0 {
		b, _ := json.Marshal(report.Findings)
		t.Errorf("audit: %v, %s", err, b)
	}
}

// touches reports whether a release is made of a day: of the product, and of that name.
func touches(p release.Product, id string, day meter.Day) bool {
	at := time.Unix(day.Start(), 0).UTC()
	weekend := at.Weekday() == time.Saturday || at.Weekday() == time.Sunday
	year, week := at.ISOWeek()
	name := map[release.Span]string{release.Day: day.String(), release.Week: fmt.Sprintf("%04d-W%02d", year, week), release.Month: day.String()[:7]}
	return id == p.Name+"/"+name[p.Span] && (p.Days == release.AllDays || weekend == (p.Days == release.Weekend))
}

// excuse wants a reason for a release that is not there: its price would go over the cap
// of one of its days, and the hub has said that it gave the release up.
func (c *spanCrash) excuse(t *testing.T, id string, p release.Product, budget *wattveilv1.GetBudgetResponse) {
	t.Helper()
	days := map[meter.Day]dp.Rho{}
	for _, charge := range budget.GetCharges() {
		for _, day := range charge.GetDays() {
			days[mustDay(day)] += dp.Rho(charge.GetDayNanoRho())
		}
	}
	price, err := p.DayRho()
	if err != nil {
		t.Fatal(err)
	}
	full := false
	for day, charged := range days {
		full = full || touches(p, id, day) && charged+price > c.plan.DailyCap
	}
	log, err := os.ReadFile(c.hub.log)
	if err != nil {
		t.Fatal(err)
	}
	said := slices.ContainsFunc(strings.Split(string(log), "\n"), func(line string) bool {
		return strings.Contains(line, `"not published: over budget"`) && strings.Contains(line, `"`+id+`"`)
	})
	if !full || !said {
		t.Errorf("%s was not published; a day is at its cap: %t; the hub said so: %t", id, full, said)
	}
}

// checkSums compares the month's sums with what was sent. The noise on each half-hour of
// the curve is 12 Wh; a home's day that is missing, or counted twice, is 200 Wh at least
// and 16 of these, and chance makes as much once in 1e50. Counts have no noise at all:
// their variance is below 1e-5, and a draw other than 0 has odds of e^-50000.
func (c *spanCrash) checkSums(t *testing.T, bodies map[string]release.Body) {
	t.Helper()
	curve := bodies["weekday-curve/2026-02"]
	want := make([]int64, 48)
	for _, text := range curve.Days {
		for _, home := range c.homes {
			for i := range 96 {
				want[i/2] += steady(home, mustDay(text).Start()+int64(i)*900)
			}
		}
	}
	raw := func(b release.Body) []int64 {
		i := slices.IndexFunc(b.Nodes, func(n release.NodeBody) bool { return n.ID == "feeder-1" })
		if i < 0 {
			t.Fatalf("%q has no feeder", b.ID)
		}
		return b.Nodes[i].Raw
	}
	for i, v := range raw(curve) {
		if off := v - want[i]; off < -100 || off > 100 {
			t.Errorf("half-hour %d of the month's weekdays is %d Wh, %d were sent", i, v, want[i])
		}
	}
	if len(curve.Days) != 20 || raw(bodies["month-households/2026-02"])[0] != spanHomes {
		t.Errorf("%d homes on %d weekdays", raw(bodies["month-households/2026-02"])[0], len(curve.Days))
	}
}
