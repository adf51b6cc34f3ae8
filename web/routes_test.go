package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// visits is a visit for every route: how it is addressed, and what it answers
// to somebody with a session and to somebody without.
var visits = map[string]struct {
	path     string
	form     url.Values
	with     int
	without  int
	location string // of the redirect with a session
}{
	"GET /{$}":                  {path: "/", with: 303, without: 200, location: "/home"},
	"POST /session":             {path: "/session", form: url.Values{"code": {code}}, with: 303, without: 303, location: "/home"},
	"GET /home":                 {path: "/home", with: 200, without: 401},
	"GET /home/download":        {path: "/home/download?form=csv", with: 200, without: 401},
	"GET /sharing":              {path: "/sharing", with: 200, without: 401},
	"GET /sharing/{id}":         {path: "/sharing/live", with: 200, without: 401},
	"POST /sharing/{id}/grant":  {path: "/sharing/asked/grant", form: url.Values{"request": {"r1"}}, with: 303, without: 401, location: "/sharing/asked?entry=1"},
	"POST /sharing/{id}/deny":   {path: "/sharing/asked/deny", form: url.Values{"request": {"r2"}}, with: 303, without: 401, location: "/sharing/asked?entry=1"},
	"GET /sharing/{id}/narrow":  {path: "/sharing/live/narrow", with: 200, without: 401},
	"POST /sharing/{id}/narrow": {path: "/sharing/live/narrow", form: url.Values{"request": {"r4"}, "detail": {"day"}}, with: 303, without: 401, location: "/sharing/live?entry=1"},
	"GET /sharing/{id}/revoke":  {path: "/sharing/live/revoke", with: 200, without: 401},
	"POST /sharing/{id}/revoke": {path: "/sharing/live/revoke", form: url.Values{"request": {"r3"}}, with: 303, without: 401, location: "/sharing/live?entry=1"},
	"GET /sharing/{id}/receipt": {path: "/sharing/live/receipt", with: 303, without: 401, location: "/r/live.mac"},
	"GET /r/{address}":          {path: "/r/live.mac", with: 200, without: 200},
	"GET /r/{address}/file":     {path: "/r/live.mac/file", with: 200, without: 200},
	"GET /r/{address}/revoke":   {path: "/r/live.mac/revoke", with: 200, without: 200},
	"POST /r/{address}/revoke":  {path: "/r/live.mac/revoke", form: url.Values{"request": {"r5"}}, with: 303, without: 303, location: "/r/live.mac"},
	"GET /oauth/authorize":      {path: "/oauth/authorize?client_id=sunwise", with: 200, without: 401},
	"POST /oauth/authorize":     {path: "/oauth/authorize", form: url.Values{"request": {"r5"}, "query": {"client_id=sunwise"}, "checked": {"1762000000"}, "decision": {"allow"}}, with: 303, without: 401, location: "https://sunwise.example/back?code=c"},
	"GET /seen":                 {path: "/seen", with: 200, without: 401},
	"GET /seen/{index}":         {path: "/seen/0", with: 200, without: 401},
	"GET /seen/{index}/proof":   {path: "/seen/0/proof", with: 200, without: 401},
	"GET /erase":                {path: "/erase", with: 200, without: 401},
	"POST /erase":               {path: "/erase", form: url.Values{"sure": {"yes"}}, with: 303, without: 401, location: "/erased?entry=4711"},
	"GET /erased":               {path: "/erased", with: 200, without: 200},
	"GET /public":               {path: "/public", with: 200, without: 200},

	"GET /regulator":                     {path: "/regulator", with: 404, without: 404},
	"GET /regulator/event/{index}":       {path: "/regulator/event/0", with: 404, without: 404},
	"GET /regulator/event/{index}/proof": {path: "/regulator/event/0/proof", with: 404, without: 404},

	"GET /static/{name}": {path: "/static/style.css", with: 200, without: 200},
	"/":                  {path: "/nowhere", with: 404, without: 404},
	"POST /session/end":  {path: "/session/end", form: url.Values{}, with: 303, without: 401, location: "/"},
}

// furnish gives the hub one of everything.
func furnish(t testing.TB, hub *fakeHub) {
	t.Helper()
	if _, err := hub.record(t.Context(), "first", ledger.Payload{
		Kind: ledger.KindAccess, Subject: homeID, Recipient: "sunwise", Purpose: "tariff.advice", Consent: "live", Intervals: 96, Granularity: "hour",
		From: now().Unix() - 86400, Until: now().Unix(),
	}); err != nil {
		t.Fatal(err)
	}
	hub.set(func() {
		hub.consents = []*wattveilv1.Consent{
			aConsent("asked", wattveilv1.ConsentState_CONSENT_STATE_REQUESTED),
			aConsent("live", wattveilv1.ConsentState_CONSENT_STATE_GRANTED),
			aConsent("stopped", wattveilv1.ConsentState_CONSENT_STATE_REVOKED),
			aConsent("denied", wattveilv1.ConsentState_CONSENT_STATE_DENIED),
		}
		hub.events = []*wattveilv1.Event{
			{Index: 0, Kind: "access", Time: now().Unix() - 3600, Recipient: "sunwise", RecipientName: "Sunwise Advice", Purpose: "tariff.advice", ConsentId: "live", From: now().Unix() - 86400, Until: now().Unix(), Intervals: 96},
		}
		hub.asks = anAuthorization()
		hub.release = aRelease(func(i int) int64 { return int64(i) * 1000 })
	})
}

// Catches a route that answers strangers, a route that no test visits, and any
// answer that lacks what every answer must carry.
func TestRoutes(t *testing.T) {
	for _, rt := range routes {
		v, ok := visits[rt.pattern]
		if !ok {
			t.Errorf("no visit to %s", rt.pattern)
			continue
		}
		t.Run(strings.ReplaceAll(rt.pattern, "/", "_"), func(t *testing.T) {
			visit := func(as func(testing.TB, http.Handler) *visitor) (*fakeHub, reply) {
				hub, handler := newPortal(t)
				furnish(t, hub)
				if v.form != nil {
					return hub, as(t, handler).post(v.path, v.form)
				}
				return hub, as(t, handler).get(v.path)
			}
			if (rt.who == signedIn || rt.pattern == "GET /oauth/authorize") != (v.without == http.StatusUnauthorized) {
				t.Errorf("is for %d, but answers strangers with %d", rt.who, v.without)
			}

			hub, resp := visit(guest)
			body := page(t, resp, v.without)
			carries(t, resp, body)
			if rt.who == signedIn {
				says(t, body, "Sign in to see this page.", "Code from your letter")
				silent(t, body, "Sunwise", "Sign out")
				if calls := hub.called(); len(calls) != 0 {
					t.Errorf("called %v for a stranger", calls)
				}
			}

			_, resp = visit(household)
			body = page(t, resp, v.with)
			carries(t, resp, body)
			if got := resp.header.Get("Location"); got != v.location {
				t.Errorf("goes on to %q, want %q", got, v.location)
			}
		})
	}
	if len(visits) != len(routes) {
		t.Errorf("%d visits to %d routes", len(visits), len(routes))
	}
}

// carries checks the headers of an answer, and its markup if it is a page.
func carries(t *testing.T, resp reply, body string) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy":      "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "same-origin",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		got := strings.Replace(resp.header.Get(name), "form-action 'self' https://sunwise.example;", "form-action 'self';", 1) // where an authorization ends
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := resp.header.Get("Cache-Control"); got != "no-store" && !strings.HasPrefix(resp.header.Get("Content-Type"), "text/css") {
		t.Errorf("Cache-Control: %q, so that the back button shows it after signing out", got)
	}
	if strings.HasPrefix(resp.header.Get("Content-Type"), "text/html") && resp.status != http.StatusSeeOther {
		sane(t, body)
	}
}

// Catches a button that another site could press with our visitor's cookie. The
// browser's own header decides; where it is missing the Origin does.
func TestOtherSitesCannotPost(t *testing.T) {
	for name, header := range map[string]http.Header{
		"cross-site":            {"Sec-Fetch-Site": {"cross-site"}},
		"another subdomain":     {"Sec-Fetch-Site": {"same-site"}},
		"older browser, origin": {"Origin": {"https://evil.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			for pattern, v := range visits {
				if !strings.HasPrefix(pattern, "POST ") {
					continue
				}
				hub, handler := newPortal(t)
				furnish(t, hub)
				r, err := http.NewRequest(http.MethodPost, "http://hub.example"+v.path, strings.NewReader(v.form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				r.Header = header.Clone()
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				resp := household(t, handler).send(r)
				body := page(t, resp, http.StatusForbidden)
				carries(t, resp, body)
				says(t, body, "cross_origin")
				if calls := hub.called(); len(calls) != 0 {
					t.Errorf("%s: called %v for another site", pattern, calls)
				}
			}
		})
	}
}

// Catches markup in what companies write about themselves: a name, a purpose, a
// meter's identifier, an unknown kind or reason.
func TestMarkupInTextsIsText(t *testing.T) {
	const evil = `<script>alert("1")</script><img src=x onerror=alert(1)>' style="x`
	hub, handler := newPortal(t)
	furnish(t, hub)
	hub.set(func() {
		for _, c := range hub.consents {
			c.RecipientName, c.Terms.Purpose.Text = evil, evil
			c.Terms.UsagePoints, c.Terms.Registers = []string{evil}, []string{evil}
		}
		hub.asks.ClientName, hub.asks.Asked.Purpose.Text, hub.asks.Asked.Registers = evil, evil, []string{evil}
		hub.events = append(hub.events,
			&wattveilv1.Event{Kind: "access.denied", RecipientName: evil, Purpose: evil, Reason: evil},
			&wattveilv1.Event{Kind: evil, RecipientName: evil})
	})
	v := household(t, handler)
	for _, path := range []string{"/regulator", "/regulator?outcome=" + url.QueryEscape(evil)} {
		body := page(t, regulator(t, handler).get(path), http.StatusOK)
		sane(t, body)
		says(t, body, `alert("1")`)
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") {
			t.Errorf("%s: markup got through", path)
		}
	}
	searched := page(t, regulator(t, handler).get("/regulator?recipient="+url.QueryEscape(evil)+"&before="+url.QueryEscape(evil)), http.StatusOK)
	if sane(t, searched, evil); strings.Contains(searched, "<script") || strings.Contains(searched, "<img") {
		t.Error("/regulator: markup got through from the address")
	}
	for _, path := range []string{"/home", "/sharing", "/sharing/asked", "/sharing/live", "/sharing/live/narrow", "/sharing/live/revoke", "/seen", "/seen/0", "/oauth/authorize?client_id=sunwise&x=" + url.QueryEscape(evil)} {
		body := page(t, v.get(path), http.StatusOK)
		sane(t, body)
		if path != "/home" {
			says(t, body, `alert("1")`)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") {
			t.Errorf("%s: markup got through", path)
		}
	}
}

// Catches an error that shows what the hub said to the portal, or that leaves
// its visitor without a stable reason to quote.
func TestErrorsInWords(t *testing.T) {
	for _, tt := range apiErrors {
		t.Run(tt.reason, func(t *testing.T) {
			hub, handler := newPortal(t)
			hub.set(func() { hub.fail[wattveilv1.ConsentService_ListConsents_FullMethodName] = refusal(tt.code, tt.reason) })
			resp := household(t, handler).get("/sharing")
			body := page(t, resp, tt.status)
			carries(t, resp, body)
			silent(t, body, "words for people", "rpc error")
			says(t, body, tt.says)
		})
	}
}
