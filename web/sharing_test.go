package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Catches a request that hides what it asks for: who, why in their words, what,
// how fine and what that shows, which meters, from when to when, until when.
func TestRequestSaysEverything(t *testing.T) {
	hub, handler := newPortal(t)
	hub.set(func() {
		c := aConsent("asked", wattveilv1.ConsentState_CONSENT_STATE_REQUESTED)
		c.Terms.Registers = []string{registerUsed, registerFed}
		hub.consents = []*wattveilv1.Consent{c}
	})
	body := page(t, household(t, handler).get("/sharing"), http.StatusOK)
	sane(t, body)
	says(t, body,
		"Sunwise Advice asks to see your electricity use",
		"We compare your use with tariffs and tell you which one fits.", "These are the own words of Sunwise Advice.",
		"Electricity you use", "Electricity you feed in",
		"One figure an hour. It can show when you get up, cook, go out and go to bed.",
		"All meters of your home",
		"1 October 2025. This includes readings from before it asked", "Data up to 30 June 2026", "Permission ends 30 June 2026",
		"You can stop sharing at any time.")
}

// Catches a wording missing for a level of detail, and one that makes a level
// the page does not know look harmless.
func TestEveryLevelOfDetailHasWords(t *testing.T) {
	for value, name := range wattveilv1.Granularity_name {
		g := wattveilv1.Granularity(value)
		if _, known := details[g]; known != (g != wattveilv1.Granularity_GRANULARITY_UNSPECIFIED) {
			t.Errorf("%s: known %v", name, known)
		}
	}
	if d := detailOf(99); !strings.Contains(d.Name, "does not know") {
		t.Errorf("an unknown level is called %q", d.Name)
	}
}

// Catches a page on which allowing is easier, bigger or earlier in the eye than
// not allowing: same element, same class, same row, both one activation away.
func TestAllowAndDenyAreAlike(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	elements, _, err := parse(page(t, household(t, handler).get("/sharing"), http.StatusOK))
	if err != nil {
		t.Fatal(err)
	}
	forms := make(map[string][]element) // the elements of a form by its action
	var row []string
	for i, e := range elements {
		if e.name == "form" && strings.HasPrefix(e.attr["action"], "/sharing/asked/") {
			forms[e.attr["action"]] = elements[i : i+3]
			row = append(row, e.attr["action"])
		}
	}
	if !slices.Equal(row, []string{"/sharing/asked/grant", "/sharing/asked/deny"}) {
		t.Fatalf("forms %v", row)
	}
	grant, deny := forms[row[0]], forms[row[1]]
	for i := range grant {
		if grant[i].name != deny[i].name || grant[i].attr["class"] != deny[i].attr["class"] {
			t.Errorf("%+v beside %+v", grant[i], deny[i])
		}
	}
	if a, b := grant[1].attr["value"], deny[1].attr["value"]; a == b || len(a) < 20 || len(a) > 64 {
		t.Errorf("request ids %q and %q: they must differ and cannot be guessed", a, b)
	}
}

// Catches a decision that is not carried out, is carried out twice by a double
// click, or is called recorded without its entry.
func TestDecisions(t *testing.T) {
	for _, tt := range []struct {
		button, id string
		says       []string
		state      wattveilv1.ConsentState
	}{
		{"grant", "asked", []string{"Sunwise Advice may see your data", "Recorded. This is entry 1 in the record. We checked its proof.", "Stop sharing"}, wattveilv1.ConsentState_CONSENT_STATE_GRANTED},
		{"deny", "asked", []string{"Sunwise Advice gets nothing", "Recorded. This is entry 1", "You did not allow it"}, wattveilv1.ConsentState_CONSENT_STATE_DENIED},
		{"revoke", "live", []string{"You stopped sharing with Sunwise Advice", "Recorded. This is entry 1", "every new request is refused"}, wattveilv1.ConsentState_CONSENT_STATE_REVOKED},
	} {
		t.Run(tt.button, func(t *testing.T) {
			hub, handler := newPortal(t)
			furnish(t, hub)
			v := household(t, handler)
			form := url.Values{"request": {"the-same-form"}}
			first := v.post("/sharing/"+tt.id+"/"+tt.button, form)
			page(t, first, http.StatusSeeOther)
			again := v.post("/sharing/"+tt.id+"/"+tt.button, form)
			page(t, again, http.StatusSeeOther)
			to := first.header.Get("Location")
			if again.header.Get("Location") != to {
				t.Errorf("the second click leads to %q, the first to %q", again.header.Get("Location"), to)
			}
			body := page(t, v.get(to), http.StatusOK)
			sane(t, body)
			says(t, body, tt.says...)
			if c, _ := hub.find(tt.id); c.GetState() != tt.state {
				t.Errorf("state %v", c.GetState())
			}
		})
	}
}

// Catches a page that says recorded on the word of the hub, or of the address
// bar: the proof must fit, and be of this decision.
func TestRecordedOnlyIfTheProofFits(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *fakeHub) (path string){
		"an entry about something else": func(*testing.T, *fakeHub) string { return "/sharing/live?entry=0" },
		"no such entry":                 func(*testing.T, *fakeHub) string { return "/sharing/denied?entry=99" },
		"a forged payload": func(t *testing.T, hub *fakeHub) string {
			hub.set(func() { hub.forge = func(r *wattveilv1.Receipt) { r.Nonce[0] ^= 1 } })
			return decided(t, hub)
		},
		"another log's proof": func(t *testing.T, hub *fakeHub) string {
			hub.set(func() {
				hub.forge = func(r *wattveilv1.Receipt) { r.Proof = strings.Replace(r.Proof, "index 1", "index 0", 1) }
			})
			return decided(t, hub)
		},
		"no key to check with": func(t *testing.T, hub *fakeHub) string {
			hub.set(func() {
				hub.fail[wattveilv1.AuditService_GetCheckpoint_FullMethodName] = refusal(codes.Unavailable, "closing")
			})
			return decided(t, hub)
		},
	} {
		t.Run(name, func(t *testing.T) {
			hub, handler := newPortal(t)
			furnish(t, hub)
			path := spoil(t, hub)
			body := page(t, household(t, handler).get(path), http.StatusOK)
			says(t, body, "Not checked.")
			silent(t, body, "Recorded.")
		})
	}
}

// decided makes the hub record a denial, as entry 1.
func decided(t *testing.T, hub *fakeHub) string {
	t.Helper()
	if _, err := hub.DenyConsent(t.Context(), &wattveilv1.DenyConsentRequest{RequestId: "r", ConsentId: "asked"}); err != nil {
		t.Fatal(err)
	}
	return "/sharing/asked?entry=1"
}

// Catches an error page where another tab, or another person of the home, was
// quicker: the visitor learns how it stands.
func TestDecidedElsewhere(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	page(t, v.post("/sharing/asked/deny", url.Values{"request": {"tab-1"}}), http.StatusSeeOther)
	resp := v.post("/sharing/asked/grant", url.Values{"request": {"tab-2"}})
	page(t, resp, http.StatusSeeOther)
	says(t, page(t, v.get(resp.header.Get("Location")), http.StatusOK), "Sunwise Advice gets nothing")
	if c, _ := hub.find("asked"); c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_DENIED {
		t.Errorf("state %v", c.GetState())
	}
}

// Catches a decision sent without the form that asks for it.
func TestDecisionsNeedTheirForm(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	for _, form := range []url.Values{nil, {"request": {""}}, {"request": {strings.Repeat("a", 65)}}, {"other": {"x"}}} {
		page(t, household(t, handler).post("/sharing/asked/grant", form), http.StatusBadRequest)
	}
	if slices.Contains(hub.called(), wattveilv1.ConsentService_GrantConsent_FullMethodName) {
		t.Error("granted without a form")
	}
}

// Catches a Stop that takes more than two activations from the first page, or
// that does not say what stopping does not do.
func TestStopInTwoClicks(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	if body := page(t, v.get("/sharing"), http.StatusOK); !strings.Contains(body, `href="/sharing/live/revoke"`) {
		t.Error("no Stop sharing beside the permission")
	}
	body := page(t, v.get("/sharing/live/revoke"), http.StatusOK)
	sane(t, body)
	says(t, body, "Stop sharing with Sunwise Advice?", "every new request from Sunwise Advice is refused", "Sunwise Advice keeps what it has already read", "Stop sharing now", "Keep sharing")
	if !strings.Contains(body, `action="/sharing/live/revoke"`) {
		t.Error("no button that stops")
	}
	if to := v.get("/sharing/stopped/revoke").header.Get("Location"); to != "/sharing/stopped" {
		t.Errorf("stopping what has stopped leads to %q", to)
	}
	page(t, v.get("/sharing/nobodys/revoke"), http.StatusNotFound)
}

// Catches a permission shown as in force after its time, because the hub has not
// yet written down that it ended; and endings without their cause.
func TestEndedPermissions(t *testing.T) {
	hub, handler := newPortal(t)
	hub.set(func() {
		over := aConsent("over", wattveilv1.ConsentState_CONSENT_STATE_GRANTED)
		over.Terms.PermissionUntil = now().Add(-time.Second).Unix()
		expired := aConsent("expired", wattveilv1.ConsentState_CONSENT_STATE_EXPIRED)
		expired.Terms.PermissionUntil = now().Add(-time.Hour).Unix()
		late := aConsent("late", wattveilv1.ConsentState_CONSENT_STATE_REQUESTED)
		late.Terms.PermissionUntil = now().Unix()
		hub.consents = []*wattveilv1.Consent{over, expired, late, aConsent("stopped", wattveilv1.ConsentState_CONSENT_STATE_REVOKED), aConsent("denied", wattveilv1.ConsentState_CONSENT_STATE_DENIED)}
	})
	v := household(t, handler)
	body := page(t, v.get("/sharing"), http.StatusOK)
	says(t, body, "Nobody is asking", "No company may see your data", "It ended by itself, ", "Nobody decided before it ended, ", "You stopped sharing, 1 November 2025, 12:00.", "You did not allow it, 31 October 2025, 13:00.")
	silent(t, body, "Allow", "Stop sharing with")
	for _, id := range []string{"over", "expired", "late"} {
		says(t, page(t, v.get("/sharing/"+id), http.StatusOK), "The permission of Sunwise Advice has ended")
	}
}
