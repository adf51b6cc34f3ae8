package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// espiReply is what the Green Button door answers.
type espiReply struct {
	code   int
	header http.Header
	body   []byte
}

// espi asks for an address, whole or below the hub's own, with a token.
func (w *town) espi(token, verb, address, body string) espiReply {
	w.t.Helper()
	if !strings.HasPrefix(address, "http") {
		address = "http://" + w.hub.HTTPAddr() + address
	}
	req, err := http.NewRequestWithContext(w.t.Context(), verb, address, strings.NewReader(body))
	ok(w.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	ok(w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ok(w.t, err)
	return espiReply{resp.StatusCode, resp.Header, text}
}

func (w *town) get(token, address string) espiReply {
	w.t.Helper()
	return w.espi(token, http.MethodGet, address, "")
}

// fault is the reason of a refusal, and the parameter it names.
func (r espiReply) fault() (reason, parameter string) {
	var f struct{ Error, Parameter string }
	_ = json.Unmarshal(r.body, &f)
	return f.Error, f.Parameter
}

// metered is an interval: of what usage point, by its name, and from when.
type metered struct {
	point string
	start int64
}

// values reads a feed as a client does.
func (r espiReply) values(t testing.TB) map[metered]int64 {
	t.Helper()
	if r.code != http.StatusOK || r.header.Get("Content-Type") != espi.MediaType {
		t.Fatalf("answered %d, %s: %.300s", r.code, r.header.Get("Content-Type"), r.body)
	}
	out := map[metered]int64{}
	reader, err := espi.NewReader(bytes.NewReader(r.body))
	ok(t, err)
	for {
		v, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		ok(t, err)
		n, exact := v.Number.Int()
		if !exact || v.Unit != "Wh" {
			t.Fatalf("a value in %q that is no whole number", v.Unit)
		}
		out[metered{v.Meter, v.Start}] = n
	}
}

// clientToken is a token of the third party itself.
func (p *thirdParty) clientToken() string {
	p.w.t.Helper()
	c := clientcredentials.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, TokenURL: p.Endpoint.TokenURL}
	token, err := c.Token(p.w.t.Context())
	ok(p.w.t, err)
	return token.AccessToken
}

// A Green Button client goes from the token's resourceURI to the readings by the links it
// finds, in whole Wh, and the single resources say the same as the batch. It would catch a
// link that leads nowhere, a value that is off by a power of ten, and a feed of more than
// the household agreed to.
func TestGreenButton(t *testing.T) {
	onStores(t, func(t *testing.T, store string) {
		w := newTown(t, store)
		w.keep(batch("b-1", day(home, yesterday, 100), day(secondMeter, yesterday, 1000), day(nextDoor, yesterday, 5000)))
		h, _ := w.signIn(w.homes[home])
		p := w.thirdParty("green")
		token, id := p.authorized(h)
		resource, _ := token.Extra("resourceURI").(string)
		if !strings.HasSuffix(resource, "/Batch/Subscription/"+id) {
			t.Fatalf("resourceURI %q", resource)
		}
		got := w.get(token.AccessToken, resource).values(t)
		if len(got) != 2*96 {
			t.Fatalf("read %d intervals", len(got))
		}
		for at, v := range got {
			if i := (at.start - yesterday.Unix()) / 900; v != 100+i && v != 1000+i {
				t.Errorf("%v is %d Wh", at, v)
			}
		}
		base := strings.TrimSuffix(resource, "/Batch/Subscription/"+id)
		points := w.get(token.AccessToken, base+"/Subscription/"+id+"/UsagePoint")
		entries := espiEntries(t, points.body)
		if len(entries) != 2 {
			t.Fatalf("%d usage points", len(entries))
		}
		// Down by the links: usage point, meter reading, block.
		all := map[metered]int64{}
		for _, point := range entries {
			readings := espiEntries(t, w.get(token.AccessToken, espiLink(t, point, "related", "espi-feed/MeterReading")).body)
			for _, reading := range readings {
				blocks := w.get(token.AccessToken, espiLink(t, reading, "related", "espi-feed/IntervalBlock"))
				for _, block := range espiEntries(t, blocks.body) {
					one := w.get(token.AccessToken, espiLink(t, block, "self", "espi-entry/IntervalBlock"))
					if one.code != http.StatusOK || !bytes.Contains(one.body, []byte("<IntervalBlock")) {
						t.Errorf("a block by itself: %d", one.code)
					}
				}
				maps.Copy(all, blockValues(t, blocks.body))
				kind := w.get(token.AccessToken, espiLink(t, reading, "related", "espi-entry/ReadingType"))
				if kind.code != http.StatusOK || !bytes.Contains(kind.body, []byte("<powerOfTenMultiplier>0<")) {
					t.Errorf("its reading type: %d, %.200s", kind.code, kind.body)
				}
			}
			clock := w.get(token.AccessToken, espiLink(t, point, "related", "espi-entry/LocalTimeParameters"))
			if !bytes.Contains(clock.body, []byte("AE0E3000")) {
				t.Errorf("its clock: %d, %.300s", clock.code, clock.body)
			}
		}
		if !maps.Equal(all, got) {
			t.Errorf("the blocks hold %d values, the batch %d", len(all), len(got))
		}
		// The same below the other prefix, cut to a range whose offset was not escaped.
		other := strings.Replace(resource, "/espi/1_1", "/DataCustodian/espi/1_1", 1)
		cut := w.get(token.AccessToken, other+"?published-min="+yesterday.Add(2*time.Hour).In(time.FixedZone("", 3600)).Format(time.RFC3339)+"&published-max="+yesterday.Add(3*time.Hour).Format(time.RFC3339))
		if got := cut.values(t); len(got) != 8 || !bytes.Contains(cut.body, []byte("/DataCustodian/espi/1_1/resource/Subscription/")) {
			t.Errorf("an hour of two meters holds %d intervals", len(got))
		}
		if status := w.get(token.AccessToken, base+"/ReadServiceStatus"); !bytes.Contains(status.body, []byte("<currentStatus>1<")) {
			t.Errorf("service status: %d, %s", status.code, status.body)
		}
		if customer, _ := token.Extra("customerResourceURI").(string); w.get(token.AccessToken, customer).code != http.StatusOK {
			t.Error("the customer's resource is not there")
		}
		if summary := w.get(token.AccessToken, espiLink(t, entries[0], "self", "espi-entry/UsagePoint")+"/UsageSummary"); !bytes.Contains(summary.body, []byte("<UsageSummary")) {
			t.Errorf("a summary: %d, %.300s", summary.code, summary.body)
		}
	})
}

// espiEntries are the entries of a document.
func espiEntries(t *testing.T, document []byte) []espi.Entry {
	t.Helper()
	d, err := espi.NewDecoder(bytes.NewReader(document))
	if err != nil {
		t.Fatalf("%v: %.300s", err, document)
	}
	var out []espi.Entry
	for {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v: %.300s", err, document)
		}
		out = append(out, e)
	}
}

func espiLink(t *testing.T, e espi.Entry, rel, kind string) string {
	t.Helper()
	for _, l := range e.Links {
		if l.Rel == rel && l.Type == kind {
			return l.Href
		}
	}
	t.Fatalf("%s has no link %s to %s: %v", e.Title, rel, kind, e.Links)
	return ""
}

// blockValues are the values of blocks.
func blockValues(t *testing.T, document []byte) map[metered]int64 {
	t.Helper()
	out := map[metered]int64{}
	for _, e := range espiEntries(t, document) {
		_, point, _ := strings.Cut(espiLink(t, e, "self", "espi-entry/IntervalBlock"), "/UsagePoint/")
		point, _, _ = strings.Cut(point, "/")
		for _, c := range e.Contents {
			if b, ok := c.(*espi.IntervalBlock); ok {
				for _, r := range b.Readings {
					out[metered{point, r.Start}] = r.Value
				}
			}
		}
	}
	return out
}

// Another's subscription is as absent as none, from whatever side it is asked for, and
// nothing answers without a token. It would catch an address that opens to who guesses it.
func TestGreenButtonOfAnother(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0), day(nextDoor, yesterday, 0)))
	h, _ := w.signIn(w.homes[home])
	next, _ := w.signIn(w.homes[nextDoor])
	mine, theirs := w.thirdParty("mine"), w.thirdParty("theirs")
	token, id := mine.authorized(h)
	_, other := theirs.authorized(next)
	point := espiEntries(t, w.get(token.AccessToken, "/espi/1_1/resource/Subscription/"+id+"/UsagePoint").body)[0]
	name := point.Links[0].Href[strings.LastIndexByte(point.Links[0].Href, '/')+1:]
	absent := w.get(token.AccessToken, "/espi/1_1/resource/Batch/Subscription/00000000000000000000000000000000")
	for _, address := range []string{
		"/Batch/Subscription/" + other, "/Subscription/" + other + "/UsagePoint", "/Authorization/" + other, "/Batch/RetailCustomer/" + other,
		"/Batch/Subscription/" + other + "/UsagePoint/" + name, "/Batch/Subscription/no%2Fid", "/Batch/Subscription/..%20",
	} {
		got := w.get(token.AccessToken, "/espi/1_1/resource"+address)
		if got.code != absent.code || !bytes.Equal(got.body, absent.body) {
			t.Errorf("%s: %d, %s, and one that never was: %d, %s", address, got.code, got.body, absent.code, absent.body)
		}
	}
	for _, address := range []string{"/ReadServiceStatus", "/Batch/Subscription/" + id, "/Authorization", "/ReadingType/x", "/Batch/Bulk/mine"} {
		for _, token := range []string{"", "wv_at_none", "nonsense"} {
			if got := w.get(token, "/espi/1_1/resource"+address); got.code != http.StatusUnauthorized || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s with the token %q: %d, %s", address, token, got.code, got.body)
			}
		}
	}
	bulk := w.get(mine.clientToken(), "/espi/1_1/resource/Batch/Bulk/theirs")
	if bulk.code != http.StatusNotFound {
		t.Errorf("another's bulk: %d", bulk.code)
	}
}

// What cannot be understood is 400 with the parameter's name, whatever the resource; data
// that is on its way is 202 with the time to wait.
func TestGreenButtonQueries(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	p := w.thirdParty("green")
	token, id := p.authorized(h)
	for query, name := range map[string]string{
		"published-min=yesterday": "published-min", "depth=-1": "depth", "start-index=0": "start-index", "nonsense=1": "nonsense",
		"max-results=x": "max-results", "updated-min=1": "updated-min", "published-min=2020-01-02T00:00:00Z&published-max=2020-01-01T00:00:00Z": "published-max",
	} {
		for _, address := range []string{"/ReadServiceStatus", "/Batch/Subscription/" + id, "/Subscription/" + id + "/UsagePoint", "/Authorization/" + id, "/ReadingType/x", "/LocalTimeParameters/x"} {
			got := w.get(token.AccessToken, "/espi/1_1/resource"+address+"?"+query)
			if reason, parameter := got.fault(); got.code != http.StatusBadRequest || reason != "bad_parameter" || parameter != name {
				t.Errorf("%s?%s: %d, %s", address, query, got.code, got.body)
			}
		}
	}
	waits := w.get(token.AccessToken, "/espi/1_1/resource/Batch/Subscription/"+id)
	if waits.code != http.StatusAccepted || waits.header.Get("Retry-After") != "3600" || len(waits.body) != 0 {
		t.Errorf("nothing there yet: %d, %v, %s", waits.code, waits.header, waits.body)
	}
	if got := w.get(token.AccessToken, "/espi/1_1/resource/Batch/Subscription/"+id+"?depth=0"); got.code != http.StatusOK || bytes.Contains(got.body, []byte("MeterReading</title>")) {
		t.Errorf("the usage points alone: %d", got.code)
	}
	page := w.get(token.AccessToken, "/espi/1_1/resource/Subscription/"+id+"/UsagePoint?start-index=2&max-results=5")
	if entries := espiEntries(t, page.body); len(entries) != 1 {
		t.Errorf("the second of two usage points: %d", len(entries))
	}
}

// The third party's own token lists what it was granted, reads all of it in one feed, and
// gives a grant up; after that the grant is shown as ended and reads nothing.
func TestGreenButtonAuthorizations(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0), day(nextDoor, yesterday, 5000)))
	h, _ := w.signIn(w.homes[home])
	next, _ := w.signIn(w.homes[nextDoor])
	p := w.thirdParty("green")
	token, id := p.authorized(h)
	_, other := p.authorized(next)
	own := p.clientToken()
	statuses := func() map[string]int64 {
		out := map[string]int64{}
		for _, e := range espiEntries(t, w.get(own, "/espi/1_1/resource/Authorization").body) {
			a, _ := e.Contents[0].(*espi.Authorization)
			out[a.ResourceURI[strings.LastIndexByte(a.ResourceURI, '/')+1:]] = a.Status
		}
		return out
	}
	if got := statuses(); !maps.Equal(got, map[string]int64{id: espi.Active, other: espi.Active}) {
		t.Errorf("granted: %v", got)
	}
	if got := espiEntries(t, w.get(token.AccessToken, "/espi/1_1/resource/Authorization").body); len(got) != 1 {
		t.Errorf("a token of one grant sees %d", len(got))
	}
	bulk := w.get(own, "/espi/1_1/resource/Batch/Bulk/green")
	if got := slices.Collect(maps.Values(bulk.values(t))); len(got) == 0 || slices.Max(got) < 5000 {
		t.Errorf("in bulk: %d values", len(got))
	}
	if got := w.get(own, "/espi/1_1/resource/ApplicationInformation"); got.code != http.StatusOK || !bytes.Contains(got.body, []byte("<client_id>green<")) || bytes.Contains(got.body, []byte(p.ClientSecret)) {
		t.Errorf("its registration: %d, %.300s", got.code, got.body)
	}
	bad := w.espi(own, http.MethodPut, "/espi/1_1/resource/Authorization/"+id, `<!DOCTYPE a [<!ENTITY b "c">]><Authorization xmlns="http://naesb.org/espi"><status>0</status></Authorization>`)
	if bad.code != http.StatusBadRequest {
		t.Errorf("a document type: %d", bad.code)
	}
	put := w.espi(own, http.MethodPut, "/espi/1_1/resource/Authorization/"+id, `<entry xmlns="http://www.w3.org/2005/Atom"><content><Authorization xmlns="http://naesb.org/espi"><status>0</status></Authorization></content></entry>`)
	if put.code != http.StatusOK || !bytes.Contains(put.body, []byte("<status>0<")) {
		t.Errorf("given up: %d, %.300s", put.code, put.body)
	}
	if got := w.espi(own, http.MethodDelete, "/espi/1_1/resource/Authorization/"+other, ""); got.code != http.StatusNoContent {
		t.Errorf("deleted: %d, %s", got.code, got.body)
	}
	if got := statuses(); !maps.Equal(got, map[string]int64{id: espi.Revoked, other: espi.Revoked}) {
		t.Errorf("given up: %v", got)
	}
	if got := w.get(token.AccessToken, "/espi/1_1/resource/Batch/Subscription/"+id); got.code != http.StatusUnauthorized && got.code != http.StatusForbidden {
		t.Errorf("read after the end: %d", got.code)
	}
	seen, err := h.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
	ok(t, err)
	if seen.GetConsent().GetCause() != "third_party" {
		t.Errorf("the household sees %v", seen.GetConsent())
	}
}

// What EDDIE's connector does, call for call: a grant by its own scope, meters, the history,
// the readings of each meter, and the end. It would catch a member that its strict reader
// misses or does not know.
func TestEDDIE(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0), day(secondMeter, yesterday, 1000)))
	h, _ := w.signIn(w.homes[home])
	p := w.thirdParty("eddie")
	scope := "FB=4;IntervalDuration=900;AdditionalScope=historical-" + yesterday.AddDate(0, 0, -7).Format("2006-01-02") + "_ongoing-" + yesterday.AddDate(0, 0, 30).Format("2006-01-02") + "_sou-default_noedit"
	p.Scopes = []string{scope}
	token, _ := p.authorized(h)
	if got, _ := token.Extra("scope").(string); got != scope {
		t.Fatalf("the scope came back as %q", got)
	}
	uri, _ := token.Extra("authorizationURI").(string)
	authUID := uri[strings.LastIndexByte(uri, '/')+1:]
	own := p.clientToken()
	listed := w.get(own, "/api/v2/meters?is_activated=false&authorizations="+authUID)
	var list struct {
		Meters []map[string]json.RawMessage `json:"meters"`
		Next   *string                      `json:"next"`
	}
	if err := json.Unmarshal(listed.body, &list); err != nil || len(list.Meters) != 2 || list.Next != nil {
		t.Fatalf("meters: %v, %s", err, listed.body)
	}
	required := []string{
		"uid", "authorization_uid", "created", "user_email", "user_uid", "is_archived", "is_activated", "is_expanded", "notes", "status", "status_message", "status_ts",
		"ongoing_monitoring", "utility", "bill_count", "bill_coverage", "bill_sources", "interval_count", "interval_coverage", "interval_sources", "exports", "exports_list", "blocks",
	}
	all := map[metered]int64{}
	for _, m := range list.Meters {
		if keys := slices.Sorted(maps.Keys(m)); !slices.Equal(keys, slices.Sorted(slices.Values(required))) {
			t.Errorf("a meter has the members %v", keys)
		}
		var uid string
		ok(t, json.Unmarshal(m["uid"], &uid))
		collected := w.espi(own, http.MethodPost, "/api/v2/meters/historical-collection", `{"meters":["`+uid+`"]}`)
		if !bytes.Contains(collected.body, []byte(`"success":true`)) {
			t.Errorf("history: %d, %s", collected.code, collected.body)
		}
		one := w.get(own, "/api/v2/meters/"+uid+"?expand_meter_blocks=true")
		if !bytes.Contains(one.body, []byte(`"service_class":"electric"`)) {
			t.Errorf("one meter: %d, %s", one.code, one.body)
		}
		feed := w.get(token.AccessToken, "/DataCustodian/espi/1_1/resource/Batch/Subscription/"+authUID+"/UsagePoint/"+uid+"?"+url.Values{
			"published-min": {yesterday.Format(time.RFC3339)}, "published-max": {yesterday.AddDate(0, 0, 1).Format(time.RFC3339)},
		}.Encode())
		values := feed.values(t)
		for _, title := range []string{"UsagePoint", "LocalTimeParameters", "MeterReading", "ReadingType", "IntervalBlock"} {
			if n := bytes.Count(feed.body, []byte("<title>"+title+"</title>")); n != 1 {
				t.Errorf("%d entries are titled %s", n, title)
			}
		}
		if len(values) != 96 {
			t.Errorf("%d intervals of a meter", len(values))
		}
		maps.Copy(all, values)
	}
	revoked := w.espi(own, http.MethodPost, "/api/v2/authorizations/"+authUID+"/revoke", "")
	if revoked.code != http.StatusOK || !bytes.Contains(revoked.body, []byte(`"is_revoked":true`)) {
		t.Errorf("revoked: %d, %s", revoked.code, revoked.body)
	}
}
