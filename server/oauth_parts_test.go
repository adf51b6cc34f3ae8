package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// A hub in six processes: the part that has consents hands out tokens, and each part that
// third parties call knows them, by its own grants in the database: through the portal's
// REST a client lists its consents in one and its events in another. It would catch a part
// that may not look a token up, and a token that is forgotten on the way.
func TestTokensInParts(t *testing.T) {
	s := newSix(t)
	s.settle()
	made, err := s.as(store.RoleAccess, "operator", "ops").PutClient(t.Context(), &wattveilv1.PutClientRequest{Client: &wattveilv1.Client{
		Id: "sunwise", Name: "Sunwise", GrantTypes: []string{"client_credentials"}, Purpose: &wattveilv1.Purpose{Code: "advice", Text: "Advice."},
	}})
	ok(t, err)
	ask := func(r store.Role, verb, path, token string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), verb, "http://"+s.hubs[r].HTTPAddr()+path, strings.NewReader(form.Encode()))
		ok(t, err)
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth("sunwise", made.GetClientSecret())
		} else {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		ok(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		ok(t, err)
		return resp.StatusCode, string(text)
	}
	code, text := ask(store.RoleAccess, http.MethodPost, "/oauth/token", "", url.Values{"grant_type": {"client_credentials"}})
	var answer struct {
		Token string `json:"access_token"`
	}
	ok(t, json.Unmarshal([]byte(text), &answer))
	if code != http.StatusOK || answer.Token == "" {
		t.Fatalf("%d %s", code, text)
	}
	for _, path := range []string{"/v1/consents", "/v1/events"} {
		if code, text := ask(store.RolePortal, http.MethodGet, path, answer.Token, nil); code != http.StatusOK {
			t.Errorf("%s through the portal: %d %s", path, code, text)
		}
		if code, text := ask(store.RolePortal, http.MethodGet, path, answer.Token+"x", nil); code != http.StatusUnauthorized || !strings.Contains(text, "token_not_valid") {
			t.Errorf("%s with another token: %d %s", path, code, text)
		}
	}
	if code, _ := ask(store.RoleLedger, http.MethodGet, "/v1/events", answer.Token, nil); code != http.StatusOK {
		t.Errorf("at the part that shows the record: %d", code)
	}
	if code, _ := ask(store.RolePortal, http.MethodGet, "/oauth/authorize?client_id=sunwise", "x", nil); code != http.StatusUnauthorized {
		t.Errorf("the page without a session: %d", code)
	}
	ok(t, s.hubs[store.RoleAccess].Tend(t.Context()))
}
