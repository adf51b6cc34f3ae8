package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A household that asks how to erase its data reads what that takes, what it leaves, and
// until when copies live, by the times that the hub states. It would catch a promise that
// the configuration does not keep.
func TestErasePage(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	body := page(t, v.get("/erase"), http.StatusOK)
	sane(t, body)
	if !strings.Contains(body, `action="/erase"`) || !strings.Contains(page(t, v.get("/home"), http.StatusOK), `href="/erase"`) {
		t.Error("nothing leads to the page, or nothing from it")
	}
	says(t, body, "cannot be undone", "Nobody can read them", "What stays",
		onDay(dateOf(now().Unix(), now().Location()).add(43)).Text, onDay(dateOf(now().Unix(), now().Location()).add(36)).Text)
}

// Nothing is erased until the box is ticked; then the visit is over, and the last page
// stands without it. It would catch a form that erases by accident, and a session that
// outlives its household.
func TestErasing(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	v := household(t, handler)
	says(t, page(t, v.post("/erase", url.Values{}), http.StatusOK), "Nothing was erased")
	hub.set(func() {
		if slices.Contains(hub.calls, "/wattveil.v1.SessionService/EraseOwnHousehold") {
			t.Error("erased without a tick")
		}
	})
	done := v.post("/erase", url.Values{"sure": {"yes"}})
	if done.status != http.StatusSeeOther || done.header.Get("Location") != "/erased?entry=4711" {
		t.Errorf("%d to %s", done.status, done.header.Get("Location"))
	}
	body := page(t, v.get("/erased?entry=4711"), http.StatusOK)
	sane(t, body)
	says(t, body, "Your data is erased", "4,711")
	for _, odd := range []string{"", "?entry=x", "?entry=<b>", "?entry=-1"} {
		says(t, page(t, v.get("/erased"+odd), http.StatusOK), "Your data is erased")
	}
}
