package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Catches a session cookie that a script could read, another site could send,
// or that would travel in the clear.
func TestSessionCookie(t *testing.T) {
	for name, secure := range map[string]bool{"wattveil": false, "__Host-wattveil": true} {
		t.Run(name, func(t *testing.T) {
			_, handler := newPortal(t, func(c *Config) { c.SecureCookies = secure })
			resp := guest(t, handler).post("/session", url.Values{"code": {code}})
			page(t, resp, http.StatusSeeOther)
			cookies := resp.cookies
			if len(cookies) != 1 {
				t.Fatalf("%d cookies", len(cookies))
			}
			c := cookies[0]
			if c.Name != name || c.Value != token || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteStrictMode ||
				c.Path != "/" || c.Domain != "" || c.MaxAge != 12*3600 || !c.Expires.IsZero() {
				t.Errorf("cookie %+v", c)
			}
		})
	}
}

// Catches a sign-in page that tells a wrong code from a used one, or answers
// with a session.
func TestOneAnswerForBadCodes(t *testing.T) {
	var first string
	for _, c := range []codes.Code{codes.PermissionDenied, codes.NotFound, codes.InvalidArgument, codes.Unauthenticated} {
		hub, handler := newPortal(t)
		hub.set(func() {
			hub.fail[wattveilv1.SessionService_OpenSession_FullMethodName] = refusal(c, "code_"+c.String())
		})
		resp := guest(t, handler).post("/session", url.Values{"code": {"WRONG"}})
		body := page(t, resp, http.StatusForbidden)
		says(t, body, "This code does not work. It may have been used or have ended.")
		sane(t, body)
		if strings.Contains(body, "WRONG") || len(resp.cookies) != 0 {
			t.Errorf("%v: code shown again, or a cookie: %v", c, resp.cookies)
		}
		if first == "" {
			first = body
		}
		if body != first {
			t.Errorf("%v: another answer than for the first", c)
		}
	}
}

// Catches guessing that is not slowed down in words.
func TestTooManyTries(t *testing.T) {
	hub, handler := newPortal(t)
	hub.set(func() {
		hub.fail[wattveilv1.SessionService_OpenSession_FullMethodName] = refusal(codes.ResourceExhausted, "too_many_attempts")
	})
	body := page(t, guest(t, handler).post("/session", url.Values{"code": {code}}), http.StatusTooManyRequests)
	says(t, body, "Too many tries", "Wait a minute")
}

// Catches a sign-out that only forgets the cookie: a stolen copy of it must be
// worth nothing, so the session ends at the hub first.
func TestSignOut(t *testing.T) {
	hub, handler := newPortal(t)
	v := household(t, handler)
	resp := v.post("/session/end", nil)
	page(t, resp, http.StatusSeeOther)
	if c := resp.cookies; len(c) != 1 || c[0].Value != "" || c[0].MaxAge >= 0 {
		t.Errorf("cookies %v", c)
	}
	if !slices.Contains(hub.called(), wattveilv1.SessionService_CloseSession_FullMethodName) {
		t.Error("the hub's session goes on")
	}
	says(t, page(t, v.get("/home"), http.StatusUnauthorized), "Your session has ended.")

	hub, handler = newPortal(t)
	hub.set(func() {
		hub.fail[wattveilv1.SessionService_CloseSession_FullMethodName] = refusal(codes.Unavailable, "store_unavailable")
	})
	resp = household(t, handler).post("/session/end", nil)
	page(t, resp, http.StatusServiceUnavailable)
	if c := resp.cookies; len(c) != 0 {
		t.Errorf("signed out in appearance only: %v", c)
	}
}

// Catches a dead session that keeps its visitor in a loop: the page says so, the
// cookie goes, and the next page is the front door.
func TestEndedSession(t *testing.T) {
	hub, handler := newPortal(t)
	hub.set(func() { hub.ended = true })
	resp := household(t, handler).get("/sharing")
	body := page(t, resp, http.StatusUnauthorized)
	says(t, body, "Your session has ended.", "Code from your letter")
	silent(t, body, "Sign out")
	if c := resp.cookies; len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("the cookie stays: %v", c)
	}
}

// Catches a cookie that is not a token on its way into the metadata of a call.
func TestStrangeCookies(t *testing.T) {
	for _, value := range []string{"", "a b", "a\x7f", "a,b", "a:b", "ä", strings.Repeat("a", maxToken+1)} {
		hub, handler := newPortal(t)
		r := httptest.NewRequest(http.MethodGet, "/home", nil)
		r.Header.Set("Cookie", "wattveil="+value)
		page(t, guest(t, handler).send(r), http.StatusUnauthorized)
		if calls := hub.called(); len(calls) != 0 {
			t.Errorf("%q: called %v", value, calls)
		}
	}
}

// Catches a session passed on where it does not belong: what is public is asked
// for without it.
func TestPublicCallsCarryNoSession(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	page(t, v.get("/public"), http.StatusOK)
	page(t, v.post("/session", url.Values{"code": {code}}), http.StatusSeeOther)
}
