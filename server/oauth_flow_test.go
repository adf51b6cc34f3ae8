package server

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// The whole way of a third party, by golang.org/x/oauth2 and a household's browser: it sends
// the browser, the household sees what is asked and allows it, the code becomes tokens, and
// they read; the answers are Green Button's, the scope comes back byte for byte, and the
// decision is in the ledger.
func TestThirdPartyByOAuth(t *testing.T) {
	onStores(t, func(t *testing.T, at string) {
		w := newTown(t, at)
		w.keep(batch("b-1", day(home, yesterday, 100)))
		p := w.thirdParty("sunwise")
		h, session := w.signIn(w.homes[home])
		verifier := oauth2.GenerateVerifier()
		query := p.query(oauth2.S256ChallengeOption(verifier))

		visit := w.browser(session)
		resp, page := visit.visit(http.MethodGet, "/oauth/authorize?"+query, nil)
		if resp.StatusCode != http.StatusOK || !strings.Contains(page, "Energy Advice") || !strings.Contains(page, "To tell you where your energy goes.") || !strings.Contains(page, home) || !strings.Contains(page, secondMeter) {
			t.Fatalf("%d: %s", resp.StatusCode, page)
		}
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' https://adviser.example;") {
			t.Errorf("a browser would not go on: %s", policy)
		}
		form := fields(page)
		form.Set("decision", "allow")
		resp, page = visit.visit(http.MethodPost, "/oauth/authorize", form)
		to, err := url.Parse(resp.Header.Get("Location"))
		ok(t, err)
		if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), callback+"?") || to.Query().Get("state") != "xyzzy" || to.Query().Get("iss") != "http://"+w.hub.HTTPAddr() {
			t.Fatalf("%d to %s: %s", resp.StatusCode, to, page)
		}

		token, err := p.Exchange(t.Context(), to.Query().Get("code"), oauth2.VerifierOption(verifier))
		ok(t, err)
		list, err := h.ListConsents(t.Context(), &wattveilv1.ListConsentsRequest{})
		ok(t, err)
		c := list.GetConsents()[0]
		base := "http://" + w.hub.HTTPAddr() + "/espi/1_1/resource/"
		for name, want := range map[string]string{
			"scope": espiScope, "resourceURI": base + "Batch/Subscription/" + c.GetId(), "customerResourceURI": base + "Batch/RetailCustomer/" + c.GetId(),
			"authorizationURI": base + "Authorization/" + c.GetId(),
		} {
			if got, _ := token.Extra(name).(string); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if token.Type() != "Bearer" || token.RefreshToken == "" || token.Extra("expires_in") != 3600.0 {
			t.Errorf("a token of type %s, for %v s", token.Type(), token.Extra("expires_in"))
		}
		if c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_GRANTED || c.GetRecipient() != "sunwise" || c.GetTerms().GetDataFrom() != morning.AddDate(0, 0, -30).Truncate(24*time.Hour).Unix() {
			t.Errorf("consent %v", c)
		}
		got := &wattveilv1.ReadSeriesResponse{}
		ok(t, w.rest(token.AccessToken).call(t, http.MethodPost, "/v1/readings/read", reading("r-1", c.GetId()), got))
		if n := intervals(t, got.GetSeries()); len(n) != 96 || n[yesterday.Unix()] != 100 {
			t.Errorf("read %d intervals", len(n))
		}
		if p := w.proven(got.GetReceipt()); p.Kind != ledger.KindAccess || p.Recipient != "sunwise" || p.Consent != c.GetId() {
			t.Errorf("proves %+v", p)
		}
		if n := len(w.events(h, string(ledger.KindConsentGrant))); n != 1 {
			t.Errorf("%d records of the grant", n)
		}

		next, err := p.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		ok(t, err)
		if next.AccessToken == token.AccessToken || next.RefreshToken == token.RefreshToken || next.Extra("scope") != espiScope {
			t.Error("refreshing gives what was there, or less")
		}
		for _, a := range []string{token.AccessToken, next.AccessToken} { // the older one has its hour
			ok(t, w.rest(a).call(t, http.MethodGet, "/v1/consents/"+c.GetId(), nil, &wattveilv1.GetConsentResponse{}))
		}
	})
}

// What the household does not allow is a no that the client hears of as such, and a record.
func TestHouseholdSaysNo(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	h, session := w.signIn(w.homes[home])
	visit := w.browser(session)
	_, page := visit.visit(http.MethodGet, "/oauth/authorize?"+p.query(), nil)
	form := fields(page)
	form.Set("decision", "deny")
	resp, _ := visit.visit(http.MethodPost, "/oauth/authorize", form)
	to, err := url.Parse(resp.Header.Get("Location"))
	ok(t, err)
	if q := to.Query(); q.Get("error") != "access_denied" || q.Get("state") != "xyzzy" || q.Get("iss") == "" || q.Has("code") {
		t.Errorf("sent to %s", to)
	}
	if n := len(w.events(h, string(ledger.KindConsentDeny))); n != 1 {
		t.Errorf("%d records of a no", n)
	}
}

// A household that allows less gets what it chose, and the client learns what is left: in
// the scope of the tokens, and again after a later narrowing.
func TestHouseholdAllowsLess(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	h, session := w.signIn(w.homes[home])
	visit := w.browser(session)
	verifier := oauth2.GenerateVerifier()
	_, page := visit.visit(http.MethodGet, "/oauth/authorize?"+p.query(oauth2.S256ChallengeOption(verifier)), nil)
	form := fields(page)
	for k, v := range map[string]string{"decision": "allow", "detail": "day", "without-meter": secondMeter, "first": "2026-02-20", "ends": "2026-06-30"} {
		form.Set(k, v)
	}
	resp, page := visit.visit(http.MethodPost, "/oauth/authorize", form)
	to, err := url.Parse(resp.Header.Get("Location"))
	ok(t, err)
	token, err := p.Exchange(t.Context(), to.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("%v: %s", err, page)
	}
	if got, want := token.Extra("scope"), "FB=4_5_15;IntervalDuration=86400;AdditionalScope=historical-2026-02-19_ongoing-2027-03-02"; got != want {
		t.Errorf("scope %q, want %q", got, want)
	}
	list, err := h.ListConsents(t.Context(), &wattveilv1.ListConsentsRequest{})
	ok(t, err)
	c := list.GetConsents()[0]
	terms := c.GetTerms()
	if terms.GetGranularity() != wattveilv1.Granularity_GRANULARITY_DAY || len(terms.GetUsagePoints()) != 1 || terms.GetUsagePoints()[0] != home ||
		terms.GetDataFrom() != time.Date(2026, 2, 19, 23, 0, 0, 0, time.UTC).Unix() || terms.GetPermissionUntil() != time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC).Unix() {
		t.Errorf("granted %v", terms)
	}
	terms.Granularity = wattveilv1.Granularity_GRANULARITY_MONTH
	_, err = h.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{RequestId: "n", ConsentId: c.GetId(), Narrowed: terms})
	ok(t, err)
	if got := p.refresh(token.RefreshToken).text("scope"); !strings.Contains(got, "IntervalDuration=2592000;") {
		t.Errorf("after narrowing the scope is %q", got)
	}
}

// EDDIE's way: HTTP Basic, the form as multipart/form-data, no PKCE, a scope with raw
// semicolons in the address, which comes back byte for byte.
func TestEDDIEsWay(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("eddie")
	h, _ := w.signIn(w.homes[home])
	const scope = "FB=4_16_51;IntervalDuration=900;AdditionalScope=historical-2026-01-01_ongoing-2026-12-31_sou-default_noedit"
	back, id := p.decide(h, "response_type=code&client_id=eddie&redirect_uri="+callback+"&scope="+scope+"&state=a-b")
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for k, v := range map[string]string{"grant_type": "authorization_code", "code": back.Get("code"), "redirect_uri": callback, "client_id": "eddie"} {
		ok(t, m.WriteField(k, v))
	}
	ok(t, m.Close())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Endpoint.TokenURL, &body)
	ok(t, err)
	req.Header.Set("Content-Type", m.FormDataContentType())
	req.SetBasicAuth("eddie", p.ClientSecret)
	got := w.do(req)
	if got.code != http.StatusOK || got.text("scope") != scope || !strings.HasSuffix(got.text("authorizationURI"), "/"+id) {
		t.Errorf("%d %v", got.code, got.body)
	}
}

// curl, the secret in the form.
func TestCurl(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl on this machine")
	}
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	out, err := exec.CommandContext(t.Context(), path, "--silent", "--show-error", "--fail", p.Endpoint.TokenURL, "-d", "grant_type=client_credentials", "-d", "client_id=sunwise", "-d", "client_secret="+p.ClientSecret).Output()
	if err != nil || !bytes.Contains(out, []byte(`"access_token":"wv_ct_`)) || !bytes.Contains(out, []byte("/Batch/Bulk/sunwise")) {
		t.Errorf("%v: %s", err, out)
	}
}

// A client's own token lets it in as the third party that it is: it asks, lists and reads
// as with a certificate, and is nobody else.
func TestClientCredentials(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 100)))
	p := w.thirdParty("sunwise")
	own := clientcredentials.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, TokenURL: p.Endpoint.TokenURL, AuthStyle: oauth2.AuthStyleInHeader}
	token, err := own.Token(t.Context())
	ok(t, err)
	c := w.bearing(token.AccessToken)
	h, _ := w.signIn(w.homes[home])
	id := w.ask(c, "1", home, terms())
	_, err = h.GrantConsent(t.Context(), &wattveilv1.GrantConsentRequest{RequestId: "1", ConsentId: id})
	ok(t, err)
	_, err = c.ReadSeries(t.Context(), reading("1", id))
	ok(t, err)
	_, err = c.GetHousehold(t.Context(), &wattveilv1.GetHouseholdRequest{})
	refused(t, err, codes.PermissionDenied, "not_for_you")
	_, err = w.recipient.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
	refused(t, err, codes.NotFound, "not_found")
	w.clock.add(time.Hour)
	_, err = c.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
	refused(t, err, codes.Unauthenticated, "token_not_valid")
}
