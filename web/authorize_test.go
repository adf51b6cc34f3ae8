package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// askingHub is a hub at which a third party asks for something that leaves room on every
// side: two meters, both directions, hours.
func askingHub(t *testing.T, change ...func(*wattveilv1.CheckAuthorizationResponse)) (*fakeHub, http.Handler) {
	t.Helper()
	hub, handler := newPortal(t)
	hub.set(func() {
		hub.asks = anAuthorization()
		hub.asks.Asked.Registers = []string{registerUsed, registerFed}
		for _, c := range change {
			c(hub.asks)
		}
	})
	return hub, handler
}

const asksAt = "/oauth/authorize?client_id=sunwise&scope=FB=4;IntervalDuration=3600&state=a%26b"

// decide fills in the form of the page as a visitor would.
func decideOn(v *visitor, page string, choices url.Values) reply {
	form := url.Values{}
	elements, _, err := parse(page)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, e := range elements {
		if e.attr["type"] == "hidden" {
			form.Set(e.attr["name"], e.attr["value"])
		}
	}
	for k, values := range choices {
		form[k] = values
	}
	return v.post("/oauth/authorize", form)
}

// Catches a page that hides who asks, why, for what, or where the visitor goes afterwards;
// one on which allowing is the easier choice, or what the return key chooses; and a policy
// under which a browser would not go on.
func TestAuthorizePage(t *testing.T) {
	_, handler := askingHub(t)
	resp := household(t, handler).get(asksAt)
	body := page(t, resp, http.StatusOK)
	sane(t, body)
	says(t, body,
		"Sunwise Advice asks to see your electricity use", "You decide.", "We compare your use with tariffs and tell you which one fits.", "These are the own words of Sunwise Advice.",
		"Electricity you use", "Electricity you feed in", "One figure an hour.", "Which meters CH-0001", "1 October 2025", "Permission ends 30 June 2026",
		"This is about everyone who lives in your home.", "Allow less than it asks for", "It asks for: One figure an hour.", "at sunwise.example", "You can stop sharing at any time")
	if policy := resp.header.Get("Content-Security-Policy"); !strings.Contains(policy, "; form-action 'self' https://sunwise.example; ") {
		t.Errorf("policy %s", policy)
	}
	elements, _, err := parse(body)
	if err != nil {
		t.Fatal(err)
	}
	var buttons []element
	for _, e := range elements {
		if e.name == "button" && e.attr["name"] == "decision" {
			buttons = append(buttons, e)
		}
	}
	if len(buttons) != 2 || buttons[0].attr["value"] != "deny" || buttons[1].attr["value"] != "allow" || buttons[0].attr["class"] != buttons[1].attr["class"] || buttons[0].attr["type"] != buttons[1].attr["type"] {
		t.Errorf("buttons %+v", buttons)
	}
}

// Catches a decision that is not sent as it was made, and narrowed terms that nobody chose.
func TestAuthorizeDecisions(t *testing.T) {
	for name, tt := range map[string]struct {
		choices  url.Values
		to       string
		allow    bool
		narrowed func(*wattveilv1.Terms)
	}{
		"allow":       {url.Values{"decision": {"allow"}, "detail": {""}, "first": {""}}, "https://sunwise.example/back?code=c", true, nil},
		"deny":        {url.Values{"decision": {"deny"}, "detail": {"day"}}, "https://sunwise.example/back?error=access_denied", false, nil},
		"less detail": {url.Values{"decision": {"allow"}, "detail": {"day"}}, "https://sunwise.example/back?code=c", true, func(t *wattveilv1.Terms) { t.Granularity = wattveilv1.Granularity_GRANULARITY_DAY }},
		"less of all": {url.Values{"decision": {"allow"}, "without-what": {registerFed}, "first": {"2025-11-01"}, "last": {"2026-03-31"}, "ends": {"2026-04-30"}}, "https://sunwise.example/back?code=c", true, func(c *wattveilv1.Terms) {
			c.Registers, c.DataFrom, c.DataUntil, c.PermissionUntil = []string{registerUsed}, midnight(t, 2025, 11, 1), midnight(t, 2026, 4, 1), midnight(t, 2026, 5, 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			hub, handler := askingHub(t)
			v := household(t, handler)
			body := page(t, v.get(asksAt), http.StatusOK)
			resp := decideOn(v, body, tt.choices)
			if page(t, resp, http.StatusSeeOther); resp.header.Get("Location") != tt.to {
				t.Errorf("goes on to %q, want %q", resp.header.Get("Location"), tt.to)
			}
			hub.set(func() {
				if len(hub.decisions) != 1 {
					t.Fatalf("%d decisions", len(hub.decisions))
				}
				d := hub.decisions[0]
				if d.GetAllow() != tt.allow || d.GetQuery() != strings.TrimPrefix(asksAt, authorizePath+"?") || d.GetCheckedAt() != now().Unix() || len(d.GetRequestId()) < 20 {
					t.Errorf("decided %v", d)
				}
				if tt.narrowed == nil {
					if d.GetNarrowed() != nil {
						t.Errorf("narrowed to %v", d.GetNarrowed())
					}
					return
				}
				want := hub.asks.GetAsked()
				tt.narrowed(want)
				if d.GetNarrowed().String() != want.String() {
					t.Errorf("narrowed to %v\nwant %v", d.GetNarrowed(), want)
				}
			})
		})
	}
}

// Catches a form that decides something else than its visitor chose, or that leaves it
// without a reason.
func TestAuthorizeRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		choices url.Values
		status  int
		says    string
	}{
		"an earlier first": {url.Values{"decision": {"allow"}, "first": {"2025-09-30"}}, 400, "would allow more than it asks for"},
		"no figures left":  {url.Values{"decision": {"allow"}, "without-what": {registerUsed, registerFed}}, 400, "Nothing would be left."},
		"no such day":      {url.Values{"decision": {"allow"}, "first": {"2025-02-30"}}, 400, "bad_form"},
		"no decision":      {url.Values{}, 400, "bad_form"},
		"another one":      {url.Values{"decision": {"maybe"}}, 400, "bad_form"},
		"no time":          {url.Values{"decision": {"allow"}, "checked": {"x"}}, 400, "bad_form"},
		"no request":       {url.Values{"decision": {"allow"}, "request": {""}}, 400, "bad_form"},
		"too long":         {url.Values{"decision": {"allow"}, "query": {strings.Repeat("a", maxAuthorization+1)}}, 400, "bad_form"},
	} {
		t.Run(name, func(t *testing.T) {
			hub, handler := askingHub(t)
			v := household(t, handler)
			body := page(t, decideOn(v, page(t, v.get(asksAt), http.StatusOK), tt.choices), tt.status)
			sane(t, body)
			says(t, body, tt.says)
			hub.set(func() {
				if len(hub.decisions) != 0 {
					t.Errorf("decided %v", hub.decisions)
				}
			})
		})
	}
}

// Catches a visitor who is lost on the way: a browser keeps the session from a request that
// another site has it make, a visitor without one signs in and comes back, and nobody is
// sent anywhere else by that way.
func TestSignInAndBack(t *testing.T) {
	_, handler := askingHub(t)
	from := func(v *visitor, site string) reply {
		r := httptest.NewRequest(http.MethodGet, asksAt, nil)
		r.Header.Set("Sec-Fetch-Site", site)
		return v.send(r)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		resp := from(guest(t, handler), site)
		body := page(t, resp, http.StatusOK)
		sane(t, body)
		if to := resp.header.Get("Refresh"); to != "0; url="+asksAt {
			t.Errorf("goes on to %q", to)
		}
	}
	for _, site := range []string{"same-origin", "none", ""} {
		resp := from(guest(t, handler), site)
		body := page(t, resp, http.StatusUnauthorized)
		sane(t, body)
		says(t, body, "Sign in to see this page.", "Code from your letter", "go on")
		if resp.header.Get("Refresh") != "" || !strings.Contains(body, `name="back" value="/oauth/authorize?client_id=sunwise&amp;`) {
			t.Errorf("%s: no way back", site)
		}
	}
	if resp := from(household(t, handler), "cross-site"); resp.status != http.StatusOK || resp.header.Get("Refresh") != "" {
		t.Error("a browser that sends the session is sent round")
	}
	for back, want := range map[string]string{
		asksAt: asksAt, "": "/home", "/home": "/home", "/sharing": "/home", "https://evil.example/": "/home", "//evil.example/oauth/authorize?": "/home",
		"/oauth/authorize?a\r\nSet-Cookie: x=y": "/home", "/oauth/authorize/../../x": "/home", authorizePath + "?" + strings.Repeat("a", maxAuthorization+1): "/home",
	} {
		resp := guest(t, handler).post("/session", url.Values{"code": {code}, "back": {back}})
		if page(t, resp, http.StatusSeeOther); resp.header.Get("Location") != want {
			t.Errorf("%.40q: goes on to %q", back, resp.header.Get("Location"))
		}
	}
	body := page(t, guest(t, handler).post("/session", url.Values{"code": {"WRONG"}, "back": {asksAt}}), http.StatusForbidden)
	if !strings.Contains(body, `name="back" value="/oauth/authorize?`) {
		t.Error("a wrong code loses the way back")
	}

	hub, handler := askingHub(t)
	hub.set(func() { hub.ended = true })
	resp := household(t, handler).get(asksAt)
	body = page(t, resp, http.StatusUnauthorized)
	says(t, body, "Your session has ended.")
	if !strings.Contains(body, `name="back"`) || len(resp.cookies) != 1 {
		t.Error("an ended session loses the way back, or stays")
	}
}

// Catches a mistake of the third party that sends the visitor to an address nobody has
// vouched for, or that is kept from the third party.
func TestMistakenAuthorizations(t *testing.T) {
	_, handler := askingHub(t)
	resp := household(t, handler).get("/oauth/authorize?client_id=other")
	body := page(t, resp, http.StatusBadRequest)
	sane(t, body)
	says(t, body, "We cannot show this request", "Nothing was shared.", "invalid_request: redirect_uri is missing or not registered")
	if resp.header.Get("Location") != "" {
		t.Error("sent on")
	}
	_, handler = askingHub(t, func(c *wattveilv1.CheckAuthorizationResponse) {
		c.Error = &wattveilv1.AuthorizationError{Code: "invalid_scope", RedirectTo: "https://sunwise.example/back?error=invalid_scope"}
	})
	resp = household(t, handler).get(asksAt)
	if page(t, resp, http.StatusSeeOther); resp.header.Get("Location") != "https://sunwise.example/back?error=invalid_scope" {
		t.Errorf("goes on to %q", resp.header.Get("Location"))
	}
	page(t, household(t, handler).get("/oauth/authorize?"+strings.Repeat("a", maxAuthorization+1)), http.StatusBadRequest)
	page(t, guest(t, handler).get("/oauth/authorize?"+strings.Repeat("a", maxAuthorization+1)), http.StatusBadRequest)
}

// Catches a request about others' meters that can be allowed, or that shows which meters
// it is about.
func TestAuthorizationAboutOthers(t *testing.T) {
	_, handler := askingHub(t, func(c *wattveilv1.CheckAuthorizationResponse) { c.Asked.UsagePoints = []string{"CH-0002"} })
	body := page(t, household(t, handler).get(asksAt), http.StatusOK)
	sane(t, body)
	says(t, body, "This is not about your home.", "Do not allow")
	silent(t, body, "CH-0002", "Allow less")
	if strings.Contains(body, `value="allow"`) {
		t.Error("it can be allowed")
	}
}

// Catches a program's own scheme, and what is asked for besides, that the page leaves out.
func TestAuthorizationOfAProgram(t *testing.T) {
	_, handler := askingHub(t, func(c *wattveilv1.CheckAuthorizationResponse) {
		c.RedirectOrigin, c.Asked.Once, c.Asked.FutureUsagePoints = "com.example.app:", true, true
	})
	resp := household(t, handler).get(asksAt)
	says(t, page(t, resp, http.StatusOK), "at com.example.app", "Once, within a day of its first reading", "Meters that your home gets later are included.")
	if policy := resp.header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' com.example.app:;") {
		t.Errorf("policy %s", policy)
	}
}

// Catches an error of the hub on this page that loses its words.
func TestAuthorizeErrors(t *testing.T) {
	hub, handler := askingHub(t)
	v := household(t, handler)
	body := page(t, v.get(asksAt), http.StatusOK)
	hub.set(func() {
		hub.fail[wattveilv1.AuthorizationService_DecideAuthorization_FullMethodName] = refusal(codes.Unavailable, "store_busy")
	})
	says(t, page(t, decideOn(v, body, url.Values{"decision": {"allow"}}), http.StatusServiceUnavailable), "We do not know whether your choice was recorded.")
}
