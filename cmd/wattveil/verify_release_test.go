package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// published is an audited hub that has published a whole November, and its public
// files, kept by somebody else.
type published struct {
	*audited
	url string
}

func newPublished(t *testing.T) *published {
	t.Helper()
	p := &published{audited: newAudited(t)}
	p.url = "http://" + p.rig.hub.HTTPAddr()
	p.rig.clock.set(time.Date(2018, time.December, 3, 0, 0, 0, 0, time.UTC))
	if err := p.rig.hub.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.save("2018.json", p.get("/v1/budget?year=2018", &wattveilv1.GetBudgetResponse{}))
	if code, _, stderr := wattveil(t, "export", "--store", p.store, "--dir", p.path("mirror")); code != 0 {
		t.Fatal(stderr)
	}
	return p
}

func (p *published) get(path string, into proto.Message) proto.Message {
	p.t.Helper()
	anybody := restClient{base: p.url}
	if err := anybody.call(p.t.Context(), http.MethodGet, path, nil, into); err != nil {
		p.t.Fatal(err)
	}
	return into
}

func (p *published) save(name string, m proto.Message) {
	p.t.Helper()
	b, err := protojson.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(name), b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *published) release(id string) *wattveilv1.GetReleaseResponse {
	p.t.Helper()
	got := &wattveilv1.GetReleaseResponse{}
	p.get("/v1/releases/"+id, got)
	return got
}

// verify runs verify release and returns what it says.
func (p *published) verify(want int, args ...string) (v releaseVerdict) {
	p.t.Helper()
	code, stdout, stderr := wattveil(p.t, append([]string{"verify", "--json", "release", "--key", p.path("hub.vkey")}, args...)...)
	if code != want {
		p.t.Fatalf("%v: exit code %d, want %d: %s%s", args, code, want, stdout, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &v); err != nil && want < 2 {
		p.t.Fatal(err)
	}
	return v
}

// offline verifies a release as somebody with files alone.
func (p *published) offline(want int, got *wattveilv1.GetReleaseResponse, args ...string) releaseVerdict {
	p.t.Helper()
	p.save("release.json", got)
	return p.verify(want, append([]string{"--release", p.path("release.json"), "--budget", p.path("2018.json"), "--dir", p.path("mirror")}, args...)...)
}

// resign lets somebody else sign a body after changing it, and state their own key: what
// a hub could do that publishes something else than it recorded.
func resign(t *testing.T, got *wattveilv1.GetReleaseResponse, change func(b *release.Body)) *wattveilv1.GetReleaseResponse {
	t.Helper()
	var b release.Body
	if err := json.Unmarshal([]byte(got.GetBody()), &b); err != nil {
		t.Fatal(err)
	}
	change(&b)
	text, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := proto.Clone(got).(*wattveilv1.GetReleaseResponse)
	forged.Body, forged.PublicKey, forged.Signature = string(text), public, release.Sign(private, text)
	return forged
}

// Whoever has a release checks it: from the hub, or from files alone. Every product that
// the default catalogue makes of a month holds, and is of that catalogue and no other.
func TestVerifyRelease(t *testing.T) {
	p := newPublished(t)
	seen := map[string]int{}
	for _, info := range p.get("/v1/releases?page_size=500", &wattveilv1.ListReleasesResponse{}).(*wattveilv1.ListReleasesResponse).GetReleases() {
		seen[info.GetProduct()]++
		if info.GetProduct() == "day-curve" && seen["day-curve"] > 3 {
			continue // one is like the other
		}
		v := p.offline(0, p.release(info.GetId()), "--catalogue", "../../docs/catalogue.example.yaml")
		if !v.OK || v.ID != info.GetId() || v.Version != 3 || *v.Index != info.GetLeafIndex() || v.Charge == nil || *v.Charge >= *v.Index || !v.Estimates || !v.Catalogue || v.Nodes == 0 || v.RhoNano == 0 {
			t.Errorf("%s: %+v", info.GetId(), v)
		}
	}
	for _, product := range p.rig.catalogue.Products {
		if seen[product.Name] == 0 {
			t.Errorf("no %s was published in all of November", product.Name)
		}
	}
	if v := p.verify(0, "--id", "month-histogram/2018-11", "--url", p.url); v.Catalogue || v.DayRhoNano != 2*v.RhoNano || len(v.Days) != 30 {
		t.Errorf("%+v", v)
	}
	code, stdout, _ := wattveil(t, "verify", "release", "--key", p.path("hub.vkey"), "--id", "month-histogram/2018-11", "--url", p.url)
	if code != 0 || !strings.Contains(stdout, "verified: month-histogram/2018-11 is record ") || !strings.Contains(stdout, "ρ = 0.003 for a household over 30 days, 0.006 for any one of them") {
		t.Errorf("exit code %d: %s", code, stdout)
	}

	catalogue, err := os.ReadFile("../../docs/catalogue.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.path("cheaper.yaml"), strings.Replace(string(catalogue), "rho: 0.0005, clip_wh: 21551", "rho: 0.0004, clip_wh: 21551", 1))
	p.verify(0, "--id", "month-histogram/2018-11", "--url", p.url, "--catalogue", p.path("cheaper.yaml"))
	if v := p.verify(1, "--id", "day-curve/2018-11-01", "--url", p.url, "--catalogue", p.path("cheaper.yaml")); v.Index == nil || !strings.Contains(v.What, "none of the catalogue's") {
		t.Errorf("another catalogue: %+v", v)
	}

	// What cannot be checked at all is not answered with no.
	p.verify(2, "--id", "day-curve/2017-11-01", "--url", p.url)
	p.verify(2, "--release", p.path("release.json"), "--dir", p.path("mirror"))
	p.verify(2, "--release", p.path("release.json"), "--budget", p.path("2018.json"))
	p.verify(2, "--release", p.path("hub.vkey"), "--url", p.url)
	p.verify(2, "--release", p.path("none.json"), "--url", p.url)
	p.verify(2, "--release", p.path("release.json"), "--budget", p.path("hub.vkey"), "--url", p.url)
	p.verify(2, "--release", p.path("release.json"), "--url", p.url, "--catalogue", p.path("hub.vkey"))
	p.verify(2, "--id", "day-curve/2018-11-01", "--dir", p.path("mirror"), "--budget", p.path("2018.json"))
}

// Whatever was altered in a release after it was recorded is found from files alone, and
// the answer names its record. It would catch a body, an opening or a place in the
// ledger that is believed because it comes with the rest.
func TestVerifyAlteredRelease(t *testing.T) {
	p := newPublished(t)
	honest := p.release("weekday-curve/2018-11")
	day := p.release("day-curve/2018-11-05")
	changed := func(change func(r *wattveilv1.GetReleaseResponse)) *wattveilv1.GetReleaseResponse {
		r := proto.Clone(honest).(*wattveilv1.GetReleaseResponse)
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		release *wattveilv1.GetReleaseResponse
		says    string
	}{
		"body": {changed(func(r *wattveilv1.GetReleaseResponse) {
			r.Body = strings.Replace(r.GetBody(), `"raw":[`, `"raw":[1`, 1)
		}), "signature"},
		"signature":      {changed(func(r *wattveilv1.GetReleaseResponse) { r.Signature[7] ^= 1 }), "signature"},
		"key":            {changed(func(r *wattveilv1.GetReleaseResponse) { r.PublicKey = day.GetPublicKey()[:31] }), "signature"},
		"payload":        {changed(func(r *wattveilv1.GetReleaseResponse) { r.Payload[len(r.Payload)-1] ^= 1 }), "does not commit"},
		"nonce":          {changed(func(r *wattveilv1.GetReleaseResponse) { r.Nonce[3] ^= 1 }), "does not commit"},
		"no nonce":       {changed(func(r *wattveilv1.GetReleaseResponse) { r.Nonce = nil }), "does not commit"},
		"another record": {changed(func(r *wattveilv1.GetReleaseResponse) { r.LeafIndex-- }), "does not commit"},
		"no such record": {changed(func(r *wattveilv1.GetReleaseResponse) { r.LeafIndex = 1 << 40 }), "does not have its record"},
		"record of a day": {changed(func(r *wattveilv1.GetReleaseResponse) {
			r.LeafIndex, r.Payload, r.Nonce = day.GetLeafIndex(), day.GetPayload(), day.GetNonce()
		}), "another text"},
		"a number, by another":    {resign(t, honest, func(b *release.Body) { b.Guarantee.SoFar[0].RhoNano = 0; b.Guarantee.SoFar[0].Epsilon = 0 }), "another text"},
		"an estimate, by another": {resign(t, honest, func(b *release.Body) { b.Nodes[0].Estimate[9] += 100 }), "estimates of node"},
		"a price, by another":     {resign(t, honest, func(b *release.Body) { b.Guarantee.RhoNano /= 2 }), "the guarantee"},
		"of another hub":          {resign(t, honest, func(b *release.Body) { b.Origin = "other.example/ledger" }), "another ledger"},
		"of a version to come":    {resign(t, honest, func(b *release.Body) { b.Version = 4 }), "unknown format"},
	} {
		v := p.offline(1, c.release)
		if v.OK || v.Index == nil || *v.Index != c.release.GetLeafIndex() || !strings.Contains(v.What, c.says) || v.ID != "" {
			t.Errorf("%s: %+v, want %q", name, v, c.says)
		}
	}
	p.offline(0, honest)
	code, stdout, _ := wattveil(t, "verify", "release", "--key", p.path("hub.vkey"), "--release", p.path("release.json"), "--url", p.url, "--catalogue", "../../docs/catalogue.example.yaml")
	if code != 0 || !strings.Contains(stdout, "one of the catalogue's") {
		t.Errorf("exit code %d: %s", code, stdout)
	}

	// A ledger that was changed convicts itself, at its own record.
	bundles, err := filepath.Glob(p.path("mirror/tile/entries/000.p/*"))
	if err != nil || len(bundles) != 1 {
		t.Fatalf("%d bundles, %v", len(bundles), err)
	}
	bundle := bundles[0]
	b, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	b[2*102+60] ^= 1
	write(t, bundle, string(b))
	if v := p.offline(1, honest); v.Index == nil || *v.Index != 2 {
		t.Errorf("a leaf changed: %+v", v)
	}
}

// Whatever a hub's database says of the charge that paid for a release, the ledger has
// the last word: a charge lowered, moved, taken away or put after the release is found,
// and named by its record. It would catch a release whose noise nobody paid for.
func TestVerifyUnpaidRelease(t *testing.T) {
	p := newPublished(t)
	const id = "week-energy/2018-W45"
	fetched := []string{"--id", id, "--url", p.url}
	honest := p.verify(0, fetched...)
	tamper := storetest.OpenTamper(t, p.store)
	where := fmt.Sprintf(" WHERE leaf_index = %d", *honest.Charge)
	for _, c := range []struct {
		name, do, undo, says string
		at                   uint64
	}{
		{"lowered", "rho_nano = rho_nano - 1", "rho_nano = rho_nano + 1", "another price", *honest.Charge},
		{"lowered by day", "day_rho_nano = day_rho_nano - 1", "day_rho_nano = day_rho_nano + 1", "another price", *honest.Charge},
		{"of other days", "block_day = block_day + 1", "block_day = block_day - 1", "no budget was charged", *honest.Index},
		{"of another product", "product = 'x'", "product = 'week-energy'", "no budget was charged", *honest.Index},
	} {
		tamper.Exec(t, `UPDATE budget_spends SET `+c.do+where)
		if v := p.verify(1, fetched...); v.Index == nil || *v.Index != c.at || !strings.Contains(v.What, c.says) {
			t.Errorf("%s: %+v", c.name, v)
		}
		tamper.Exec(t, `UPDATE budget_spends SET `+c.undo+where)
	}
	for name, c := range map[string]struct{ to, says string }{
		"moved to another charge's record":             {fmt.Sprint(*honest.Charge - 1), "another price"},
		"moved to the release's record":                {fmt.Sprint(*honest.Index), "does not commit"},
		"moved beyond the ledger":                      {fmt.Sprint(1 << 40), "does not have its record"},
		"said to be from before charges were recorded": {"NULL", "no budget was charged"},
	} {
		tamper.Exec(t, `UPDATE budget_spends SET leaf_index = `+c.to+where)
		if v := p.verify(1, fetched...); v.Index == nil || !strings.Contains(v.What, c.says) {
			t.Errorf("%s: %+v, want %q", name, v, c.says)
		}
		tamper.Exec(t, fmt.Sprintf(`UPDATE budget_spends SET leaf_index = %d WHERE id LIKE '%s/%%'`, *honest.Charge, id))
	}
	p.verify(0, fetched...)
}
