package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// registration is a registration that is well formed.
func registration(change ...func(map[string]any)) map[string]any {
	m := map[string]any{
		"client_name": "Sunwise Advice", "redirect_uris": []string{callback}, "purpose_code": "advice", "purpose_text": "To tell you where your energy goes.",
		"grant_types": []string{"authorization_code", "refresh_token"}, "contacts": []string{"dev@sunwise.example"}, "software_version": "ignored",
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func (w *town) register(verb, path, token string, body any) reply {
	w.t.Helper()
	text, err := json.Marshal(body)
	ok(w.t, err)
	req, err := http.NewRequestWithContext(w.t.Context(), verb, "http://"+w.hub.HTTPAddr()+path, bytes.NewReader(text))
	ok(w.t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return w.do(req)
}

// A client registers itself, waits, is approved by an operator, and is a third party from
// then on. Before that it gets nothing and no household sees it; after that what was
// approved cannot be changed. On both engines.
func TestDynamicRegistration(t *testing.T) {
	onStores(t, func(t *testing.T, at string) {
		w := newTown(t, at)
		got := w.register(http.MethodPost, "/oauth/register", "", registration())
		id, own, token := got.text("client_id"), "/oauth/register/"+got.text("client_id"), got.text("registration_access_token")
		if got.code != http.StatusCreated || got.text("approval") != "pending" || got.body["client_secret_expires_at"] != 0.0 || got.text("registration_client_uri") != "http://"+w.hub.HTTPAddr()+own {
			t.Fatalf("%d %v", got.code, got.body)
		}
		p := &thirdParty{w: w, id: id, Config: oauth2.Config{
			ClientID: id, ClientSecret: got.text("client_secret"), RedirectURL: callback, Scopes: []string{espiScope},
			Endpoint: oauth2.Endpoint{TokenURL: "http://" + w.hub.HTTPAddr() + "/oauth/token"},
		}}
		check := func() *wattveilv1.AuthorizationError {
			t.Helper()
			got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: p.query()})
			ok(t, err)
			return got.GetError()
		}
		if e := check(); e.GetCode() != "unauthorized_client" || e.GetRedirectTo() != "" {
			t.Errorf("a pending client asks: %v", e)
		}
		wants(t, "a pending client", p.refresh("x"), http.StatusBadRequest, "unauthorized_client")

		wants(t, "no token", w.register(http.MethodGet, own, "", nil), http.StatusUnauthorized, "invalid_token")
		wants(t, "another's token", w.register(http.MethodGet, own, token+"x", nil), http.StatusUnauthorized, "invalid_token")
		wants(t, "another client", w.register(http.MethodGet, "/oauth/register/nobody", token, nil), http.StatusUnauthorized, "invalid_token")
		wants(t, "the secret", w.register(http.MethodGet, own, p.ClientSecret, nil), http.StatusUnauthorized, "invalid_token")
		if got := w.register(http.MethodGet, own, token, nil); got.code != http.StatusOK || got.text("client_name") != "Sunwise Advice" || got.text("client_secret") != "" {
			t.Errorf("%d %v", got.code, got.body)
		}
		changed := w.register(http.MethodPut, own, token, registration(func(m map[string]any) { m["client_name"] = "Sunwise" }))
		if changed.code != http.StatusOK || changed.text("client_name") != "Sunwise" {
			t.Errorf("%d %v", changed.code, changed.body)
		}

		list, err := w.operator.ListClients(t.Context(), &wattveilv1.ListClientsRequest{State: wattveilv1.ClientState_CLIENT_STATE_PENDING})
		ok(t, err)
		if c := list.GetClients(); len(c) != 1 || c[0].GetId() != id || c[0].GetName() != "Sunwise" || !slices.Equal(c[0].GetRedirectUris(), []string{callback}) || c[0].GetPurpose().GetText() == "" {
			t.Errorf("an operator sees %v", c)
		}
		_, err = w.operator.ApproveClient(t.Context(), &wattveilv1.ApproveClientRequest{ClientId: id})
		ok(t, err)
		_, err = w.operator.ApproveClient(t.Context(), &wattveilv1.ApproveClientRequest{ClientId: id})
		ok(t, err)
		_, err = w.operator.RefuseClient(t.Context(), &wattveilv1.RefuseClientRequest{ClientId: id})
		refused(t, err, codes.FailedPrecondition, "conflict")
		_, err = w.operator.ApproveClient(t.Context(), &wattveilv1.ApproveClientRequest{ClientId: "nobody"})
		refused(t, err, codes.NotFound, "not_found")
		if e := check(); e != nil {
			t.Errorf("an approved client asks: %v", e)
		}
		h, _ := w.signIn(w.homes[home])
		granted, _ := p.authorized(h)
		if c, err := w.bearing(granted.AccessToken).ListConsents(t.Context(), &wattveilv1.ListConsentsRequest{}); err != nil || c.GetConsents()[0].GetRecipientName() != "Sunwise" {
			t.Errorf("%v %v", c, err)
		}

		wants(t, "changing what was approved", w.register(http.MethodPut, own, token, registration(func(m map[string]any) { m["redirect_uris"] = []string{"https://evil.example/"} })), http.StatusForbidden, "unauthorized_client")
		if got := w.register(http.MethodDelete, own, token, nil); got.code != http.StatusNoContent {
			t.Errorf("deleting: %d %v", got.code, got.body)
		}
		if w.lets(granted.AccessToken) {
			t.Error("a token outlives its client")
		}
		wants(t, "after that", w.register(http.MethodGet, own, token, nil), http.StatusUnauthorized, "invalid_token")
	})
}

// What a client may not say of itself, by the code of RFC 7591 and in words; nothing of it
// is stored.
func TestBadRegistrations(t *testing.T) {
	w := newTown(t, onSQLite(t))
	set := func(key string, value any) map[string]any {
		return registration(func(m map[string]any) { m[key] = value })
	}
	for what, c := range map[string]struct {
		body any
		code string
	}{
		"no object":             {"x", "invalid_client_metadata"},
		"no name":               {set("client_name", ""), "invalid_client_metadata"},
		"a name that turns":     {set("client_name", "Sun\u202ewise"), "invalid_client_metadata"},
		"another method":        {set("token_endpoint_auth_method", "private_key_jwt"), "invalid_client_metadata"},
		"another grant":         {set("grant_types", []string{"password"}), "invalid_client_metadata"},
		"refreshing nothing":    {set("grant_types", []string{"refresh_token"}), "invalid_client_metadata"},
		"no purpose":            {set("purpose_text", ""), "invalid_client_metadata"},
		"the household's own":   {set("purpose_code", "self"), "invalid_client_metadata"},
		"no address":            {set("redirect_uris", []string{}), "invalid_redirect_uri"},
		"http":                  {set("redirect_uris", []string{"http://adviser.example/"}), "invalid_redirect_uri"},
		"localhost by name":     {set("redirect_uris", []string{"http://localhost/"}), "invalid_redirect_uri"},
		"a fragment":            {set("redirect_uris", []string{callback + "#x"}), "invalid_redirect_uri"},
		"a script":              {set("redirect_uris", []string{"javascript:alert(1)"}), "invalid_redirect_uri"},
		"a policy of its own":   {set("redirect_uris", []string{"https://a.example;script-src/x"}), "invalid_redirect_uri"},
		"twice the same":        {set("redirect_uris", []string{callback, callback}), "invalid_redirect_uri"},
		"notices to this host":  {set("notify_uri", "https://127.0.0.1/x"), "invalid_client_metadata"},
		"notices to a network":  {set("notify_uri", "https://10.0.0.1/x"), "invalid_client_metadata"},
		"notices to link-local": {set("notify_uri", "https://[fe80::1]/x"), "invalid_client_metadata"},
		"notices in the clear":  {set("notify_uri", "http://adviser.example/x"), "invalid_client_metadata"},
		"a secret without grant": {registration(func(m map[string]any) {
			m["token_endpoint_auth_method"], m["grant_types"] = "none", []string{"client_credentials"}
		}), "invalid_client_metadata"},
		"too long": {set("client_name", strings.Repeat("x", 40<<10)), "invalid_client_metadata"},
	} {
		wants(t, what, w.register(http.MethodPost, "/oauth/register", "", c.body), http.StatusBadRequest, c.code)
	}
	list, err := w.operator.ListClients(t.Context(), &wattveilv1.ListClientsRequest{})
	ok(t, err)
	if n := len(list.GetClients()); n != 0 {
		t.Errorf("%d clients stored", n)
	}
	for i := range registrationsPerMinute {
		if got := w.register(http.MethodPost, "/oauth/register", "", registration()); got.code != http.StatusCreated {
			t.Fatalf("registration %d: %d %v", i, got.code, got.body)
		}
	}
	wants(t, "one too many", w.register(http.MethodPost, "/oauth/register", "", registration()), http.StatusTooManyRequests, "temporarily_unavailable")
}

// How a client shows who it is: in the header or in the form, and in one of them. Whatever
// does not fit has one answer, which is given so often a minute; the right secret lets in
// all the while.
func TestClientAuthentication(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	grant := url.Values{"grant_type": {"client_credentials"}}
	with := func(pairs ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	if got := p.form("/oauth/token", true, grant); got.code != http.StatusOK {
		t.Errorf("in the header: %d %v", got.code, got.body)
	}
	if got := p.form("/oauth/token", false, with("client_id", "sunwise", "client_secret", p.ClientSecret)); got.code != http.StatusOK {
		t.Errorf("in the form: %d %v", got.code, got.body)
	}
	wants(t, "in both", p.form("/oauth/token", true, with("client_id", "sunwise", "client_secret", p.ClientSecret)), http.StatusBadRequest, "invalid_request")
	wants(t, "as another in both", p.form("/oauth/token", true, with("client_id", "moonwise")), http.StatusBadRequest, "invalid_request")
	wants(t, "nobody", p.form("/oauth/token", false, grant), http.StatusBadRequest, "invalid_request")
	first := p.form("/oauth/token", false, with("client_id", "sunwise", "client_secret", "wrong"))
	wants(t, "a wrong secret", first, http.StatusUnauthorized, "invalid_client")
	if first.header.Get("WWW-Authenticate") != `Basic realm="wattveil"` {
		t.Errorf("WWW-Authenticate: %q", first.header.Get("WWW-Authenticate"))
	}
	for what, values := range map[string]url.Values{
		"no such client":    with("client_id", "nobody", "client_secret", p.ClientSecret),
		"no secret":         with("client_id", "sunwise"),
		"a third party":     with("client_id", recipient, "client_secret", "x"),
		"not a name at all": with("client_id", "a b\x00", "client_secret", "x"),
	} {
		got := p.form("/oauth/token", false, values)
		wants(t, what, got, http.StatusUnauthorized, "invalid_client")
		if fmt.Sprint(got.body) != fmt.Sprint(first.body) {
			t.Errorf("%s: %v, and a wrong secret: %v", what, got.body, first.body)
		}
	}
	for range failuresPerMinute {
		p.form("/oauth/token", false, with("client_id", "sunwise", "client_secret", "wrong"))
	}
	slow := p.form("/oauth/token", false, with("client_id", "sunwise", "client_secret", "wrong"))
	wants(t, "one too many", slow, http.StatusTooManyRequests, "invalid_client")
	if slow.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if got := p.form("/oauth/token", true, grant); got.code != http.StatusOK {
		t.Errorf("the right secret meanwhile: %d", got.code)
	}
	w.clock.add(time.Minute)
	wants(t, "a minute later", p.form("/oauth/token", false, with("client_id", "sunwise", "client_secret", "wrong")), http.StatusUnauthorized, "invalid_client")
}

// What the endpoints do not take: an address with parameters, a verb but POST, another
// body, a parameter twice, a grant that is not there or not the client's.
func TestEndpointsAreStrict(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise", func(c *wattveilv1.Client) { c.GrantTypes = []string{"authorization_code"} })
	form := func(verb, path, kind, body string) reply {
		req, err := http.NewRequestWithContext(t.Context(), verb, "http://"+w.hub.HTTPAddr()+path, strings.NewReader(body))
		ok(t, err)
		req.SetBasicAuth("sunwise", p.ClientSecret)
		req.Header.Set("Content-Type", kind)
		return w.do(req)
	}
	const encoded = "application/x-www-form-urlencoded"
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/par"} {
		wants(t, path+" by GET", form(http.MethodGet, path, encoded, ""), http.StatusMethodNotAllowed, "invalid_request")
		wants(t, path+" by address", form(http.MethodPost, path+"?token=x&grant_type=refresh_token&refresh_token=x", encoded, ""), http.StatusBadRequest, "invalid_request")
		wants(t, path+" in JSON", form(http.MethodPost, path, "application/json", `{"token":"x"}`), http.StatusBadRequest, "invalid_request")
		wants(t, path+" twice", form(http.MethodPost, path, encoded, "token=x&token=x&grant_type=x&grant_type=x"), http.StatusBadRequest, "invalid_request")
		wants(t, path+" half", form(http.MethodPost, path, "multipart/form-data; boundary=x", "--x\r\n"), http.StatusBadRequest, "invalid_request")
		wants(t, path+" too much", form(http.MethodPost, path, encoded, "token="+strings.Repeat("x", 200<<10)), http.StatusRequestEntityTooLarge, "invalid_request")
		wants(t, path+" ill encoded", form(http.MethodPost, path, encoded, "token=%zz"), http.StatusBadRequest, "invalid_request")
	}
	wants(t, "a file", form(http.MethodPost, "/oauth/token", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"code\"; filename=\"x\"\r\n\r\nx\r\n--x--\r\n"), http.StatusBadRequest, "invalid_request")
	for body, name := range map[string]string{
		"":                                  "invalid_request",
		"grant_type=password":               "unsupported_grant_type",
		"grant_type=authorization_code":     "invalid_request",
		"grant_type=refresh_token":          "unauthorized_client",
		"grant_type=client_credentials":     "unauthorized_client",
		"grant_type=authorization_code&x=y": "invalid_request",
	} {
		wants(t, body, form(http.MethodPost, "/oauth/token", encoded, body), http.StatusBadRequest, name)
	}
	back, _ := p.decide(first(w.signIn(w.homes[home])), p.query())
	if got := p.code(back.Get("code")); got.code != http.StatusOK || got.text("refresh_token") != "" {
		t.Errorf("a client that may not refresh: %d %v", got.code, got.body)
	}
}

func first(c *client, _ string) *client { return c }

// RFC 8414: what the hub says of itself is where things are.
func TestAuthorizationServerMetadata(t *testing.T) {
	w := newTown(t, onSQLite(t))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.hub.HTTPAddr()+"/.well-known/oauth-authorization-server", nil)
	ok(t, err)
	got := w.do(req)
	issuer := "http://" + w.hub.HTTPAddr()
	if got.text("issuer") != issuer || got.body["authorization_response_iss_parameter_supported"] != true || fmt.Sprint(got.body["code_challenge_methods_supported"]) != "[S256]" {
		t.Errorf("%v", got.body)
	}
	_, session := w.signIn(w.homes[home])
	for name, value := range got.body {
		if address, is := value.(string); is && strings.HasSuffix(name, "_endpoint") {
			path := strings.TrimPrefix(address, issuer)
			if resp, _ := w.browser(session).visit(http.MethodGet, path, nil); resp.StatusCode == http.StatusNotFound || path == address {
				t.Errorf("%s: %s is not there", name, address)
			}
		}
	}
}

// RFC 9126: a pushed request is opened by its reference, by its client alone, for ten
// minutes; what is wrong with it is told where it is pushed.
func TestPushedRequests(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	w.thirdParty("moonwise")
	h, session := w.signIn(w.homes[home])
	values := url.Values{"response_type": {"code"}, "redirect_uri": {callback}, "scope": {espiScope}, "state": {"s"}}
	wants(t, "a bad scope", p.form("/oauth/par", true, url.Values{"response_type": {"code"}, "redirect_uri": {callback}, "scope": {"FB=99"}}), http.StatusBadRequest, "invalid_scope")
	wants(t, "an address of others", p.form("/oauth/par", true, url.Values{"response_type": {"code"}, "redirect_uri": {"https://evil.example/"}, "scope": {"FB=4"}}), http.StatusBadRequest, "invalid_request")
	wants(t, "nobody", p.form("/oauth/par", false, values), http.StatusUnauthorized, "invalid_client")
	pushed := p.form("/oauth/par", true, values)
	reference := pushed.text("request_uri")
	if pushed.code != http.StatusCreated || !strings.HasPrefix(reference, "urn:ietf:params:oauth:request_uri:") || pushed.body["expires_in"] != 600.0 {
		t.Fatalf("%d %v", pushed.code, pushed.body)
	}
	query := url.Values{"client_id": {"sunwise"}, "request_uri": {reference}}.Encode()
	if resp, page := w.browser(session).visit(http.MethodGet, "/oauth/authorize?"+query, nil); resp.StatusCode != http.StatusOK || !strings.Contains(page, "Energy Advice") {
		t.Errorf("%d", resp.StatusCode)
	}
	resp, _ := w.browser(session).visit(http.MethodGet, "/oauth/authorize?"+url.Values{"client_id": {"moonwise"}, "request_uri": {reference}}.Encode(), nil)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another client's reference: %d", resp.StatusCode)
	}
	shown := w.clock.now()
	w.clock.add(30 * time.Minute) // the household takes its time
	back, _ := p.decide(h, query, func(r *wattveilv1.DecideAuthorizationRequest) { r.CheckedAt = shown.Unix() })
	if got := p.code(back.Get("code")); got.code != http.StatusOK || got.text("scope") != espiScope {
		t.Errorf("%d %v", got.code, got.body)
	}
	if resp, _ := w.browser(session).visit(http.MethodGet, "/oauth/authorize?"+query, nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("opened after ten minutes: %d", resp.StatusCode)
	}
}

// RFC 9396: what is asked for in authorization_details is what the household sees and
// grants, and comes back as granted.
func TestAuthorizationDetails(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	p.Scopes = nil
	h, _ := w.signIn(w.homes[home])
	details := fmt.Sprintf(`[{"type":"wattveil_readings","purpose":{"code":"tariff","text":"To compare tariffs."},"usage_points":[%q],"registers":[%q],"granularity":"day","data_from":%d,"data_until":%d,"permission_until":%d}]`,
		home, energyIn, yesterday.Unix(), yesterday.AddDate(0, 1, 0).Unix(), yesterday.AddDate(0, 2, 0).Unix())
	query := p.query(oauth2.SetAuthURLParam("authorization_details", details))
	got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: query})
	ok(t, err)
	asked := got.GetAsked()
	if got.GetError() != nil || asked.GetPurpose().GetCode() != "tariff" || !slices.Equal(asked.GetUsagePoints(), []string{home}) || asked.GetGranularity() != wattveilv1.Granularity_GRANULARITY_DAY {
		t.Fatalf("%v", got)
	}
	token, id := p.authorized(h, oauth2.SetAuthURLParam("authorization_details", details))
	back, err := json.Marshal(token.Extra("authorization_details"))
	ok(t, err)
	var want, have any
	ok(t, json.Unmarshal([]byte(details), &want))
	ok(t, json.Unmarshal(back, &have))
	if a, b := fmt.Sprint(want), fmt.Sprint(have); a != b {
		t.Errorf("granted %s, asked for %s", b, a)
	}
	c, err := h.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
	ok(t, err)
	if c.GetConsent().GetTerms().GetPurpose().GetText() != "To compare tariffs." {
		t.Errorf("%v", c)
	}
	once := `[{"type":"wattveil_readings","granularity":"month","include_future_usage_points":true,"once":true}]`
	_, id = p.authorized(h, oauth2.SetAuthURLParam("authorization_details", once))
	c, err = h.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
	ok(t, err)
	if got := c.GetConsent().GetTerms(); !got.GetOnce() || !got.GetFutureUsagePoints() || !slices.Equal(got.GetUsagePoints(), []string{home, secondMeter}) {
		t.Errorf("granted %v", got)
	}
	for what, bad := range map[string]string{
		"another type":        strings.Replace(details, "wattveil_readings", "other", 1),
		"a misspelt field":    strings.Replace(details, "permission_until", "permision_until", 1),
		"no granularity":      strings.Replace(details, `"granularity":"day",`, "", 1),
		"a range that is not": strings.Replace(details, fmt.Sprint(yesterday.Unix()), fmt.Sprint(yesterday.AddDate(1, 0, 0).Unix()), 1),
		"two":                 "[" + details[1:len(details)-1] + "," + details[1:],
		"no JSON":             "x",
	} {
		got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: p.query(oauth2.SetAuthURLParam("authorization_details", bad))})
		ok(t, err)
		if got.GetError().GetCode() != "invalid_authorization_details" || got.GetError().GetRedirectTo() == "" {
			t.Errorf("%s: %v", what, got.GetError())
		}
	}
}

// Asking by OAuth about homes tells nothing: reading a request looks at no usage point,
// and a household that is asked about others' meters can only say no, which looks like any
// no and leaves no record of theirs.
func TestAuthorizationIsNoOracle(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	p.Scopes = nil
	h, session := w.signIn(w.homes[home])
	about := func(point string) string {
		return p.query(oauth2.SetAuthURLParam("authorization_details", fmt.Sprintf(`[{"type":"wattveil_readings","usage_points":[%q],"granularity":"day"}]`, point)))
	}
	var answers []string
	for _, point := range []string{home, nextDoor, empty, "no-such-point"} {
		got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: about(point)})
		ok(t, err)
		got.Asked.UsagePoints = nil
		answers = append(answers, got.String())
	}
	if answers = slices.Compact(answers); len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	before := len(w.events(w.regulator, ""))
	visit := w.browser(session)
	for _, point := range []string{nextDoor, empty, "no-such-point"} {
		_, page := visit.visit(http.MethodGet, "/oauth/authorize?"+about(point), nil)
		if !strings.Contains(page, "This is not about your home") || strings.Contains(page, `value="allow"`) || strings.Contains(page, "<bdi>"+point) {
			t.Errorf("%s: %s", point, page)
		}
		_, err := h.DecideAuthorization(t.Context(), decision(w, about(point)))
		refused(t, err, codes.FailedPrecondition, "nothing_to_grant")
		back, id := p.decide(h, about(point), func(r *wattveilv1.DecideAuthorizationRequest) { r.Allow = false })
		if back.Get("error") != "access_denied" || id != "" {
			t.Errorf("%s: %v, %q", point, back, id)
		}
	}
	if after := len(w.events(w.regulator, "")); after != before {
		t.Errorf("%d records", after-before)
	}
}

// The same decision sent twice decides once; the code before is void then. A decision
// after that code was used gives none.
func TestDecidingTwice(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	h, _ := w.signIn(w.homes[home])
	one, id := p.decide(h, p.query())
	two, again := p.decide(h, p.query())
	if id != again {
		t.Errorf("two consents of one decision")
	}
	wants(t, "the code before", p.code(one.Get("code")), http.StatusBadRequest, "invalid_grant")
	if got := p.code(two.Get("code")); got.code != http.StatusOK {
		t.Errorf("%d %v", got.code, got.body)
	}
	_, err := h.DecideAuthorization(t.Context(), decision(w, p.query()))
	refused(t, err, codes.FailedPrecondition, "conflict")
	_, err = h.DecideAuthorization(t.Context(), decision(w, p.query(), func(r *wattveilv1.DecideAuthorizationRequest) { r.Allow = false }))
	refused(t, err, codes.FailedPrecondition, "wrong_state")
	if n := len(w.events(h, "")); n != 2 {
		t.Errorf("%d records of one decision", n)
	}
	_, err = h.DecideAuthorization(t.Context(), decision(w, p.query(), func(r *wattveilv1.DecideAuthorizationRequest) {
		r.RequestId, r.Narrowed = "wider", terms(func(t *wattveilv1.Terms) { t.DataFrom = 0 })
	}))
	refused(t, err, codes.InvalidArgument, "wider_than_asked")
}
