package web

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A permission on hold says that nothing can be read, offers to stop it, and nothing that
// the hub would refuse. It would catch a page on which a held permission looks live.
func TestHeldPermission(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	hub.set(func() { hub.consents[1].State = wattveilv1.ConsentState_CONSENT_STATE_SUSPENDED })
	who := household(t, handler)
	body := page(t, who.get("/sharing/live"), http.StatusOK)
	says(t, body, "is on hold", "It can read nothing until the hold ends", "Stop sharing")
	silent(t, body, "Allow less", "may see your data")
	says(t, page(t, who.get("/sharing"), http.StatusOK), "(on hold)")
}

// Who ended a permission is said, and by whom it was not. It would catch an end by another
// that is put down to the home, or to time.
func TestEndedByAnother(t *testing.T) {
	for cause, words := range map[string]string{
		"third_party": "The company gave it up", "operator": "The operator of this hub ended it",
		"regulator": "The regulator ended it", "occupant_change": "It ended when you moved out",
	} {
		c := aConsent("over", wattveilv1.ConsentState_CONSENT_STATE_TERMINATED)
		c.Cause, c.EndedAt = cause, now().Unix()
		if got := inWords(c, time.UTC).Outcome; got != words+", 1 November 2025, 12:00." {
			t.Errorf("%s: %q", cause, got)
		}
	}
}

// A meter that is taken out of all ends the inclusion of those to come; taking back
// anything else does not. It would catch a new meter that joins what its home had cut.
func TestNarrowingFutureMeters(t *testing.T) {
	terms := &wattveilv1.Terms{UsagePoints: []string{"a", "b"}, Registers: []string{registerUsed}, Granularity: wattveilv1.Granularity_GRANULARITY_HOUR, FutureUsagePoints: true, DataUntil: 9}
	for _, c := range []struct {
		form url.Values
		want bool
	}{{url.Values{"without-meter": {"b"}}, false}, {url.Values{"detail": {"day"}}, true}} {
		rest, problem, err := remaining(terms, c.form, time.UTC)
		if err != nil || problem != "" || rest.GetFutureUsagePoints() != c.want {
			t.Errorf("%v: %v, %q, %v", c.form, rest, problem, err)
		}
	}
}
