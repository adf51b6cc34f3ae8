package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Catches a read that is listed under the wrong heading, a refused attempt that
// is not marked, an own look mixed with those of others, and an entry that is
// not listed at all.
func TestSeen(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	hub.set(func() {
		midnight := date{2025, 10, 31}.start(location(t, zurich))
		hub.events = []*wattveilv1.Event{
			{Index: 48_213, Kind: "access", Time: now().Unix(), RecipientName: "Sunwise Advice", Purpose: "tariff.advice", ConsentId: "live", From: midnight - 86400, Until: midnight, Intervals: 2880},
			{Index: 9, Kind: "access.denied", Time: now().Unix(), RecipientName: "Bright Roof", Purpose: "report", ConsentId: "stopped", From: midnight, Until: midnight + 86400, Reason: "revoked"},
			{Index: 8, Kind: "access", Time: now().Unix(), Purpose: purposeSelf, Intervals: 96},
			{Index: 7, Kind: "consent.grant", Time: now().Unix(), RecipientName: "Sunwise Advice", ConsentId: "live"},
			{Index: 6, Kind: "erasure", Time: now().Unix()},
		}
	})
	v := household(t, handler)
	body := page(t, v.get("/seen"), http.StatusOK)
	sane(t, body)
	_, rest, _ := strings.Cut(body, `id="reads"`)
	reads, rest, _ := strings.Cut(rest, `id="decisions"`)
	decided, own, _ := strings.Cut(rest, `id="own"`)
	for heading, want := range map[string]struct {
		html    string
		entries []string
	}{
		"companies": {reads, []string{`href="/seen/48213"`, `href="/seen/9"`, `href="/sharing/live/revoke"`}},
		"decisions": {decided, []string{`href="/seen/7"`, `href="/seen/6"`}},
		"own":       {own, []string{`href="/seen/8"`}},
	} {
		if n := strings.Count(want.html, `href="/seen/`); n != strings.Count(strings.Join(want.entries, " "), "/seen/") {
			t.Errorf("%s: %d entries", heading, n)
		}
		for _, e := range want.entries {
			if !strings.Contains(want.html, e) {
				t.Errorf("%s: %s is missing", heading, e)
			}
		}
	}
	says(t, body,
		"Sunwise Advice read at most 2,880 figures of 30 October 2025.", "Entry 48,213",
		"We compare your use with tariffs and tell you which one fits.",
		"Refused Bright Roof tried to read 31 October 2025, but you had stopped sharing.",
		"Not checked here: that this list is complete.")
	if n := strings.Count(body, `/revoke"`); n != 1 {
		t.Errorf("Stop sharing %d times: a stopped one cannot be stopped", n)
	}

	hub.set(func() { hub.events = nil })
	says(t, page(t, v.get("/seen"), http.StatusOK), "No company or service has read your data.")
	says(t, page(t, v.get("/seen?before=older"), http.StatusOK), "older entries", "No company or service on this page.", "Newest entries")
}

// Catches a reason for which the page has no words: the hub only ever adds to
// them, so an unknown one is quoted.
func TestRefusalsInWords(t *testing.T) {
	if got := refusalOf("revoked"); got != "you had stopped sharing" {
		t.Error(got)
	}
	if got := refusalOf("brand_new"); got != "reason brand_new" {
		t.Error(got)
	}
}

// Catches a tick without a check that ran: the three outcomes of a check look
// like themselves.
func TestEntry(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*fakeHub)
		says  string
		never []string
	}{
		{"fits", func(*fakeHub) {}, "✓ The proof fits.", []string{"■", "○"}},
		{"another payload", func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Payload[len(r.Payload)-1] ^= 1 } }, "■ The proof does not fit.", []string{"✓", "○"}},
		{"unreadable payload", func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Payload = []byte{2} } }, "■ The proof does not fit.", []string{"✓", "○", "read your data"}},
		{"another nonce", func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Nonce = r.Nonce[:31] } }, "■ The proof does not fit.", []string{"✓", "○"}},
		{"another index", func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Index = 5 } }, "■ The proof does not fit.", []string{"✓", "○"}},
		{"no proof", func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Proof = "" } }, "■ The proof does not fit.", []string{"✓", "○"}},
		{"no key", func(h *fakeHub) {
			h.fail[wattveilv1.AuditService_GetCheckpoint_FullMethodName] = refusal(codes.Unavailable, "closing")
		}, "○ Not checked.", []string{"✓", "■"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hub, handler := newPortal(t)
			furnish(t, hub)
			hub.set(func() { tt.spoil(hub) })
			body := page(t, household(t, handler).get("/seen/0"), http.StatusOK)
			sane(t, body)
			says(t, body, tt.says)
			silent(t, body, tt.never...)
			if tt.name == "fits" {
				says(t, body, "Sunwise Advice read your data", "At most 96 figures", "One figure an hour", "We compare your use")
			}
		})
	}
}

// Catches an entry of another home that is confirmed to exist, and an index that
// is none.
func TestNoSuchEntry(t *testing.T) {
	_, handler := newPortal(t)
	v := household(t, handler)
	for _, index := range []string{"99", "18446744073709551616", "-1", "x"} {
		page(t, v.get("/seen/"+index), http.StatusNotFound)
		page(t, v.get("/seen/"+index+"/proof"), http.StatusNotFound)
	}
}

// Catches a proof file that convinces nobody: read as the JSON that the API's
// REST door writes, and checked with the log's key alone, it proves the entry.
func TestProofFileStandsAlone(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	resp := household(t, handler).get("/seen/0/proof")
	if got := resp.header.Get("Content-Disposition"); got != `attachment; filename="wattveil-entry-0.json"` {
		t.Errorf("Content-Disposition: %s", got)
	}
	var file struct {
		Index   string
		Payload []byte
		Nonce   []byte
		Proof   string
	}
	if err := json.Unmarshal([]byte(page(t, resp, http.StatusOK)), &file); err != nil {
		t.Fatal(err)
	}
	verifier, err := ledger.NewVerifier(hub.log.VKey)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier.Proof(file.Payload, ledger.Hash(file.Nonce), []byte(file.Proof))
	if err != nil || file.Index != "0" || got.Index != 0 || got.Payload.Recipient != "sunwise" {
		t.Errorf("index %s, %+v, %v", file.Index, got, err)
	}
}
