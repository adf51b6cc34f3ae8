package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// wideHub is a hub with one permission that has room on every side: two meters,
// both directions, hours, 1 October 2025 to 30 June 2026.
func wideHub(t *testing.T) (*fakeHub, *visitor, *wattveilv1.Consent) {
	t.Helper()
	hub, handler := newPortal(t)
	c := aConsent("live", wattveilv1.ConsentState_CONSENT_STATE_GRANTED)
	c.Terms.UsagePoints = []string{"CH-0001", "CH-0002"}
	c.Terms.Registers = []string{registerUsed, registerFed}
	hub.set(func() { hub.consents = []*wattveilv1.Consent{c} })
	return hub, household(t, handler), c
}

func midnight(t *testing.T, y int, m time.Month, d int) int64 {
	return date{y, m, d}.start(location(t, zurich))
}

// Catches a choice that is not carried out, changes something else, is off by a
// day, or is carried out twice by a double click.
func TestNarrow(t *testing.T) {
	for _, tt := range []struct {
		name string
		form url.Values
		less func(*wattveilv1.Terms)
		says []string
	}{
		{"detail", url.Values{"detail": {"day"}}, func(c *wattveilv1.Terms) { c.Granularity = wattveilv1.Granularity_GRANULARITY_DAY }, []string{"One figure a day."}},
		{"a meter", url.Values{"without-meter": {"CH-0002"}}, func(c *wattveilv1.Terms) { c.UsagePoints = []string{"CH-0001"} }, []string{"Which meters CH-0001 Data from"}},
		{"figures", url.Values{"without-what": {registerFed}}, func(c *wattveilv1.Terms) { c.Registers = []string{registerUsed} }, []string{"What Electricity you use How"}},
		{"first day", url.Values{"first": {"2025-10-26"}}, func(c *wattveilv1.Terms) { c.DataFrom = midnight(t, 2025, 10, 26) }, []string{"Data from 26 October 2025"}},
		{"last day", url.Values{"last": {"2025-12-31"}}, func(c *wattveilv1.Terms) { c.DataUntil = midnight(t, 2026, 1, 1) }, []string{"Data up to 31 December 2025"}},
		{"end", url.Values{"ends": {"2025-11-01"}}, func(c *wattveilv1.Terms) { c.PermissionUntil = midnight(t, 2025, 11, 2) }, []string{"Permission ends 1 November 2025"}},
		{"all at once", url.Values{
			"detail": {"month"}, "without-meter": {"CH-0001"}, "without-what": {registerUsed}, "first": {"2025-11-01"}, "last": {"2026-03-31"}, "ends": {"2026-04-30"},
		}, func(c *wattveilv1.Terms) {
			c.Granularity, c.UsagePoints, c.Registers = wattveilv1.Granularity_GRANULARITY_MONTH, []string{"CH-0002"}, []string{registerFed}
			c.DataFrom, c.DataUntil, c.PermissionUntil = midnight(t, 2025, 11, 1), midnight(t, 2026, 4, 1), midnight(t, 2026, 5, 1)
		}, []string{"One figure a month."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hub, v, c := wideHub(t)
			_, _, want := wideHub(t)
			tt.less(want.GetTerms())
			form := tt.form
			form.Set("request", "the-same-form")
			var to string
			for range 2 {
				resp := v.post("/sharing/live/narrow", form)
				page(t, resp, http.StatusSeeOther)
				to = resp.header.Get("Location")
				if to != "/sharing/live?entry=0" {
					t.Fatalf("goes on to %q", to)
				}
				hub.set(func() {
					if got := c.GetTerms(); got.String() != want.GetTerms().String() {
						t.Errorf("left: %v\nwant: %v", got, want.GetTerms())
					}
				})
			}
			body := page(t, v.get(to), http.StatusOK)
			sane(t, body)
			says(t, body, tt.says...)
			says(t, body, "Sunwise Advice may see your data", "Recorded. This is entry 0 in the record. We checked its proof.")
		})
	}
}

// Catches a form that offers what would allow more, that has something chosen in
// advance, or that does not say what now holds and what cannot be taken back.
func TestNarrowFormOffersLess(t *testing.T) {
	_, v, c := wideHub(t)
	body := page(t, v.get("/sharing/live/narrow"), http.StatusOK)
	sane(t, body)
	says(t, body,
		"Let Sunwise Advice see less?", "What you leave empty stays as it is.",
		"Now: One figure an hour.", "One figure a day", "One figure a month", "Without CH-0001", "Without CH-0002", "Without “Electricity you feed in”",
		"Now: 1 October 2025.", "Now: 30 June 2026.", "It keeps what it has already read.", "You cannot take this back here", "Allow less now", "Leave it as it is")
	silent(t, body, "Every figure your meter sends")
	elements, _, err := parse(body)
	if err != nil {
		t.Fatal(err)
	}
	limits := map[string]string{}
	for _, e := range elements {
		if e.attr["type"] == "date" {
			limits[e.attr["name"]] = e.attr["min"] + " " + e.attr["max"]
		}
		if _, chosen := e.attr["selected"]; chosen {
			t.Error("a level is chosen in advance")
		}
	}
	for name, want := range map[string]string{"first": "2025-10-02 2026-06-30", "last": "2025-10-01 2026-06-29", "ends": "2025-11-01 2026-06-29"} {
		if limits[name] != want {
			t.Errorf("%s may be %q, want %q", name, limits[name], want)
		}
	}

	// Where there is nothing less to have, nothing is offered.
	c.Terms.UsagePoints, c.Terms.Registers = []string{"CH-0001"}, []string{registerUsed}
	c.Terms.Granularity = wattveilv1.Granularity_GRANULARITY_MONTH
	c.Terms.DataFrom, c.Terms.DataUntil, c.Terms.PermissionUntil = midnight(t, 2025, 11, 1), midnight(t, 2025, 11, 2), midnight(t, 2025, 11, 2)
	body = page(t, v.get("/sharing/live/narrow"), http.StatusOK)
	sane(t, body)
	silent(t, body, "Take out", "How much detail", "Data from a later day", "Data up to an earlier day", "Permission ends sooner")
}

// Catches a form that changes something it should not, and an error that leaves
// its visitor without the form or without a reason.
func TestNarrowRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		form   url.Values
		status int
		says   string
	}{
		"nothing chosen":      {url.Values{"detail": {""}, "first": {""}}, 400, "You have not chosen anything."},
		"no meter left":       {url.Values{"without-meter": {"CH-0001", "CH-0002"}}, 400, "Leave at least one meter"},
		"no figures left":     {url.Values{"without-what": {registerUsed, registerFed}}, 400, "one kind of figures"},
		"an earlier first":    {url.Values{"first": {"2025-09-30"}}, 400, "would allow more than now"},
		"a later end":         {url.Values{"ends": {"2026-07-01"}}, 400, "would allow more than now"},
		"no time left":        {url.Values{"first": {"2025-12-31"}, "last": {"2025-12-30"}}, 400, "or nothing at all"},
		"finer":               {url.Values{"detail": {"interval"}}, 400, "would allow more than now"},
		"no such level":       {url.Values{"detail": {"year"}}, 400, "bad_form"},
		"no such day":         {url.Values{"first": {"2025-02-30"}}, 400, "bad_form"},
		"no form":             {url.Values{"request": {""}, "detail": {"day"}}, 400, "bad_form"},
		"a request too long":  {url.Values{"request": {strings.Repeat("a", 65)}, "detail": {"day"}}, 400, "bad_form"},
		"more than any form":  {url.Values{"detail": {"day"}, "x": {strings.Repeat("a", maxForm)}}, 400, "bad_form"},
		"a meter of no one's": {url.Values{"without-meter": {"CH-0003"}}, 303, ""}, // as it was: shown as it stands
	} {
		t.Run(name, func(t *testing.T) {
			hub, v, c := wideHub(t)
			_, _, before := wideHub(t)
			if !tt.form.Has("request") {
				tt.form.Set("request", "r")
			}
			body := page(t, v.post("/sharing/live/narrow", tt.form), tt.status)
			if tt.status != http.StatusSeeOther {
				sane(t, body)
				says(t, body, tt.says)
			}
			hub.set(func() {
				if c.GetTerms().String() != before.GetTerms().String() {
					t.Errorf("left %v", c.GetTerms())
				}
			})
		})
	}
}

// Catches a form for a permission that is not in force, or not there.
func TestNarrowWhatIsNotInForce(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	form := url.Values{"request": {"r"}, "detail": {"day"}}
	for _, id := range []string{"asked", "stopped", "denied"} {
		for _, resp := range []reply{v.get("/sharing/" + id + "/narrow"), v.post("/sharing/"+id+"/narrow", form)} {
			if page(t, resp, http.StatusSeeOther); resp.header.Get("Location") != "/sharing/"+id {
				t.Errorf("%s leads to %q", id, resp.header.Get("Location"))
			}
		}
	}
	page(t, v.get("/sharing/nobodys/narrow"), http.StatusNotFound)
	page(t, v.post("/sharing/nobodys/narrow", form), http.StatusNotFound)
}

// Catches a permission in force beside which there is no way to less.
func TestNarrowIsOffered(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	for path, want := range map[string]bool{"/sharing": true, "/sharing/live": true, "/sharing/asked": false, "/sharing/stopped": false} {
		if body := page(t, v.get(path), http.StatusOK); strings.Contains(body, `/narrow"`) != want {
			t.Errorf("%s offers to allow less: %v, want %v", path, !want, want)
		}
	}
}
