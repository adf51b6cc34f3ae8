package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/proto"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A household's own program over REST: it signs in with its letter, sees who asks,
// grants, reads its readings and who has read them, revokes, and leaves.
func TestRESTRoundTrip(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.keep(batch("b-1", day(home, yesterday, 100)))
		id := w.ask(w.recipient, "1", home, terms())
		call := func(token, verb, path string, in, out protobuf.Message) {
			t.Helper()
			ok(t, w.rest(token).call(t, verb, path, in, out))
		}
		s := &wattveilv1.OpenSessionResponse{}
		call("", http.MethodPost, "/v1/session", &wattveilv1.OpenSessionRequest{LetterCode: w.homes[home].GetLetterCode()}, s)
		if s.GetToken() == "" || s.GetExpiresAt() != morning.Add(sessionLength).Unix() {
			t.Fatalf("session %v", s.GetExpiresAt())
		}
		me := &wattveilv1.GetHouseholdResponse{}
		call(s.GetToken(), http.MethodGet, "/v1/household", nil, me)
		if me.GetHousehold() != w.homes[home].GetHousehold() || me.GetFirstDay() != "2026-03-02" || me.GetLastDay() != "2026-03-02" {
			t.Errorf("household %v", me)
		}
		list := &wattveilv1.ListConsentsResponse{}
		call(s.GetToken(), http.MethodGet, "/v1/consents?page_size=10", nil, list)
		if len(list.GetConsents()) != 1 || list.GetConsents()[0].GetId() != id {
			t.Fatalf("consents %v", list)
		}
		grant := &wattveilv1.GrantConsentResponse{}
		call(s.GetToken(), http.MethodPost, "/v1/consents/"+id+"/grant", &wattveilv1.GrantConsentRequest{RequestId: "g"}, grant)
		w.proven(grant.GetReceipt())
		own := &wattveilv1.ReadOwnSeriesResponse{}
		call(s.GetToken(), http.MethodGet, fmt.Sprintf("/v1/readings/own?usage_points=%s&from=%d&until=%d", home, yesterday.Unix(), morning.Unix()), nil, own)
		if got := intervals(t, own.GetSeries()); len(got) != 96 || got[yesterday.Unix()] != 100 {
			t.Errorf("own readings: %d", len(got))
		}
		events := &wattveilv1.ListEventsResponse{}
		call(s.GetToken(), http.MethodGet, "/v1/events?kind=access", nil, events)
		if len(events.GetEvents()) != 1 {
			t.Fatalf("events %v", events)
		}
		receipt := &wattveilv1.GetReceiptResponse{}
		call(s.GetToken(), http.MethodGet, fmt.Sprintf("/v1/events/%d/receipt", events.GetEvents()[0].GetIndex()), nil, receipt)
		w.proven(receipt.GetReceipt())
		call(s.GetToken(), http.MethodPost, "/v1/consents/"+id+"/revoke", &wattveilv1.RevokeConsentRequest{RequestId: "r"}, &wattveilv1.RevokeConsentResponse{})
		_, err := w.recipient.ReadSeries(t.Context(), reading("1", id))
		refused(t, err, codes.PermissionDenied, "revoked")
		call(s.GetToken(), http.MethodDelete, "/v1/session", nil, &wattveilv1.CloseSessionResponse{})
		if code, _, reason := w.rest(s.GetToken()).raw(t, http.MethodGet, "/v1/household", nil); code != http.StatusUnauthorized || reason != "session_ended" {
			t.Errorf("after leaving: %d, %s", code, reason)
		}
	})
}

// What REST itself refuses: by status, and with a reason as every error has one.
// Its words are the hub's own; those of the JSON parser quote what was sent.
func TestRESTRefuses(t *testing.T) {
	r := newRig(t, onSQLite(t))
	for what, c := range map[string]struct {
		verb, path, body string
		code             int
		reason           string
	}{
		"no JSON":             {http.MethodPost, "/v1/session", "4711-secret", http.StatusBadRequest, "malformed_message"},
		"another type":        {http.MethodPost, "/v1/session", `{"letter_code": 4711}`, http.StatusBadRequest, "malformed_message"},
		"an unknown field":    {http.MethodPost, "/v1/session", `{"lettercode4711": ""}`, http.StatusBadRequest, "malformed_message"},
		"a misspelt field":    {http.MethodPost, "/v1/consents/x/grant", `{"request_id": "1", "narowed": {}}`, http.StatusBadRequest, "malformed_message"},
		"a bad query":         {http.MethodGet, "/v1/releases?page_size=4711x", "", http.StatusBadRequest, "bad_parameter"},
		"a bad path":          {http.MethodGet, "/v1/events/4711x/receipt", "", http.StatusBadRequest, "bad_parameter"},
		"a misspelt query":    {http.MethodGet, "/v1/releases?page_sise4711=1", "", http.StatusBadRequest, "unknown_parameter"},
		"a query twice":       {http.MethodGet, "/v1/releases?page_size=1&pageSize=4711", "", http.StatusBadRequest, "malformed_message"},
		"a broken query":      {http.MethodGet, "/v1/releases?page_size=%zz4711", "", http.StatusBadRequest, "malformed_message"},
		"no such path":        {http.MethodGet, "/v1/4711", "", http.StatusNotFound, "no_such_call"},
		"another verb":        {http.MethodPut, "/v1/session", "{}", http.StatusNotImplemented, "no_such_call"},
		"nobody":              {http.MethodGet, "/v1/household", "", http.StatusUnauthorized, "no_identity"},
		"no such code":        {http.MethodPost, "/v1/session", `{"letter_code":"0000-0000-4711"}`, http.StatusForbidden, "code_not_valid"},
		"no such release":     {http.MethodGet, "/v1/releases/day-curve/1999-01-01", "", http.StatusNotFound, "not_found"},
		"streams are no REST": {http.MethodPost, "/v1/submit", "{}", http.StatusNotFound, "no_such_call"},
	} {
		code, answer, reason := r.rest("").raw(t, c.verb, c.path, []byte(c.body))
		if code != c.code || reason != c.reason || bytes.Contains(answer, []byte("4711")) {
			t.Errorf("%s: %d, %s: %s", what, code, reason, answer)
		}
	}
	// A client that waits for leave is told before it sends too much.
	large := r.rest("")
	large.client.Transport = &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}
	large.header = http.Header{"Expect": {"100-continue"}}
	if code, _, reason := large.raw(t, http.MethodPost, "/v1/session", make([]byte, maxHTTPBody+1)); code != http.StatusRequestEntityTooLarge || reason != "message_too_large" {
		t.Errorf("too large: %d, %s", code, reason)
	}
	// Without a length announced the body is cut off where it is too large.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.hub.HTTPAddr()+"/v1/session",
		io.MultiReader(strings.NewReader(`{"letter_code":"`), io.LimitReader(zeros{}, 4*maxHTTPBody), strings.NewReader(`"}`)))
	ok(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err == nil { // or the hub has closed the connection by then
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a body without end: %d", resp.StatusCode)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

// What anybody may fetch, and how it may be kept.
func TestPublicFiles(t *testing.T) {
	r := newRig(t, onSQLite(t))
	get := func(path string) (code int, header http.Header, body []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.hub.HTTPAddr()+path, nil)
		ok(t, err)
		resp, err := http.DefaultClient.Do(req)
		ok(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		ok(t, err)
		return resp.StatusCode, resp.Header, b
	}
	_, header, doc := get("/openapi.json")
	if string(doc) != proto.OpenAPI || !json.Valid(doc) || header.Get("Content-Type") != "application/json" {
		t.Error("the description of REST is not what the hub was built from")
	}
	if _, _, note := get("/checkpoint"); !bytes.HasPrefix(note, []byte("hub.test/ledger\n2\n")) {
		t.Errorf("checkpoint %q", note)
	}
	if code, _, _ := get("/tile/0/x001/000"); code != http.StatusNotFound {
		t.Errorf("a tile that is not there: %d", code)
	}
	for _, path := range []string{"/", "/v1/releases", "/openapi.json", "/checkpoint"} {
		_, header, _ := get(path)
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") == "" {
			t.Errorf("%s: headers %v", path, header)
		}
	}
	if _, header, _ := get("/v1/releases"); header.Get("Cache-Control") != "no-store" {
		t.Error("an answer of the API may be kept")
	}
}

// Alive is whoever runs; ready is who has a store and is not stopping.
func TestHealth(t *testing.T) {
	r := newRig(t, onSQLite(t))
	check := func(path string, want int) {
		t.Helper()
		if code, _, _ := r.rest("").raw(t, http.MethodGet, path, nil); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	check("/healthz", http.StatusOK)
	check("/readyz", http.StatusOK)
	ok(t, r.store.Close())
	check("/healthz", http.StatusOK)
	check("/readyz", http.StatusServiceUnavailable)
}
