package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Whoever has a receipt's address sees what was agreed and its story, and stops the
// sharing in two steps, without a session. It would catch a receipt that asks for one, a
// button that acts on a mere visit, and a page that leaves out what was agreed.
func TestReceipt(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	who := guest(t, handler)
	body := page(t, who.get("/r/live.mac"), http.StatusOK)
	says(t, body, "Sunwise Advice may see electricity data of this home", "Electricity you use", "One figure an hour", "Permission ends",
		"was allowed to see your data", "Entry 4", "Stop sharing", "Anyone who has the address")
	silent(t, body, "Sign out")
	body = page(t, who.get("/r/live.mac/revoke"), http.StatusOK)
	says(t, body, "Stop sharing with Sunwise Advice?", "every new request")
	says(t, page(t, who.get("/r/live.mac"), http.StatusOK), "may see electricity data")
	form := url.Values{"request": {"r1"}}
	for range 2 { // pressed twice
		if resp := who.post("/r/live.mac/revoke", form); resp.header.Get("Location") != "/r/live.mac" {
			t.Fatalf("goes on to %q", resp.header.Get("Location"))
		}
	}
	body = page(t, who.get("/r/live.mac"), http.StatusOK)
	says(t, body, "The permission of Sunwise Advice has ended", "Every new request is refused")
	silent(t, body, `/r/live.mac/revoke"`)
	if resp := who.get("/r/live.mac/revoke"); resp.header.Get("Location") != "/r/live.mac" {
		t.Error("an ended permission can be stopped again")
	}
}

// An address that nobody was given is a page that does not exist, whatever is asked of it.
func TestReceiptAddresses(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	who := guest(t, handler)
	for _, address := range []string{"live", "live.", "live.other", "nobody.mac", strings.Repeat("x", 300), "%2e%2e"} {
		page(t, who.get("/r/"+address+"/revoke"), http.StatusNotFound)
		page(t, who.post("/r/"+address+"/revoke", url.Values{"request": {"r"}}), http.StatusNotFound)
	}
	page(t, who.post("/r/live.mac/revoke", url.Values{}), http.StatusBadRequest)
}
