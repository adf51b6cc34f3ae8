package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// lets says whether a token lets anybody in.
func (w *town) lets(token string) bool {
	w.t.Helper()
	_, err := w.bearing(token).ListConsents(w.t.Context(), &wattveilv1.ListConsentsRequest{})
	if err != nil {
		refused(w.t, err, codes.Unauthenticated, "token_not_valid")
	}
	return err == nil
}

// A code works once, for its client, its address and two minutes. A second use revokes what
// the first one gave, on both engines: that outcome is an error and is committed all the
// same.
func TestCodes(t *testing.T) {
	onStores(t, func(t *testing.T, at string) {
		w := newTown(t, at)
		p, other := w.thirdParty("sunwise"), w.thirdParty("moonwise")
		h, _ := w.signIn(w.homes[home])
		back, _ := p.decide(h, p.query())
		code := back.Get("code")
		wants(t, "a wrong code", p.code("wv_ac_"+strings.Repeat("A", 43)), http.StatusBadRequest, "invalid_grant")
		wants(t, "an access token as a code", p.code("wv_at_"+code[6:]), http.StatusBadRequest, "invalid_grant")
		wants(t, "another client's", other.code(code), http.StatusBadRequest, "invalid_grant")
		wants(t, "another address", p.code(code, "redirect_uri", callback+"/other"), http.StatusBadRequest, "invalid_grant")
		first := p.code(code)
		if first.code != http.StatusOK || !w.lets(first.text("access_token")) {
			t.Fatalf("after wrong uses the right one gives %d %v", first.code, first.body)
		}
		wants(t, "another client's, used", other.code(code), http.StatusBadRequest, "invalid_grant")
		if !w.lets(first.text("access_token")) {
			t.Error("another client's try revokes a token")
		}
		wants(t, "a second use", p.code(code), http.StatusBadRequest, "invalid_grant")
		if w.lets(first.text("access_token")) {
			t.Error("a code was used twice and what it gave is still good")
		}
		wants(t, "its refresh token", p.refresh(first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		if !strings.Contains(string(w.log.bytes()), "was used twice") {
			t.Error("nobody is told of a second use")
		}

		back, _ = p.decide(h, p.query(), func(r *wattveilv1.DecideAuthorizationRequest) { r.RequestId = "d-2" })
		w.clock.add(2 * time.Minute)
		wants(t, "an expired code", p.code(back.Get("code")), http.StatusBadRequest, "invalid_grant")
	})
}

// PKCE cannot be left out by who keeps no secret, nor taken out or put in on the way, and
// is never plain.
func TestPKCECannotBeDowngraded(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p, secretive := w.thirdParty("app", public), w.thirdParty("sunwise")
	h, _ := w.signIn(w.homes[home])
	verifier := oauth2.GenerateVerifier()
	challenge := oauth2.S256ChallengeFromVerifier(verifier)
	set := oauth2.SetAuthURLParam
	for what, query := range map[string]string{
		"none of a public client": p.query(),
		"plain":                   p.query(set("code_challenge", verifier), set("code_challenge_method", "plain")),
		"plain, not named":        p.query(set("code_challenge", verifier)),
		"plain of any":            secretive.query(set("code_challenge", verifier), set("code_challenge_method", "plain")),
		"a method alone":          secretive.query(set("code_challenge_method", "S256")),
		"no SHA-256":              p.query(set("code_challenge", challenge[1:]), set("code_challenge_method", "S256")),
	} {
		got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: query})
		ok(t, err)
		if got.GetError().GetCode() != "invalid_request" || !strings.HasPrefix(got.GetError().GetRedirectTo(), callback+"?") {
			t.Errorf("%s: %v", what, got.GetError())
		}
	}
	exchange := func(p *thirdParty, code string, extra ...string) reply {
		values := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "client_id": {p.id}}
		for i := 0; i+1 < len(extra); i += 2 {
			values.Set(extra[i], extra[i+1])
		}
		return p.form("/oauth/token", p.ClientSecret != "", values)
	}
	back, _ := p.decide(h, p.query(oauth2.S256ChallengeOption(verifier)))
	code := back.Get("code")
	wants(t, "no verifier", exchange(p, code), http.StatusBadRequest, "invalid_grant")
	wants(t, "another's verifier", exchange(p, code, "code_verifier", oauth2.GenerateVerifier()), http.StatusBadRequest, "invalid_grant")
	wants(t, "the challenge as verifier", exchange(p, code, "code_verifier", challenge), http.StatusBadRequest, "invalid_grant")
	wants(t, "a public client with a secret", exchange(p, code, "code_verifier", verifier, "client_secret", "x"), http.StatusUnauthorized, "invalid_client")
	if got := exchange(p, code, "code_verifier", verifier); got.code != http.StatusOK {
		t.Errorf("the right one: %d %v", got.code, got.body)
	}
	// The challenge was taken out of the address on its way, which a verifier shows.
	back, _ = secretive.decide(h, secretive.query(), func(r *wattveilv1.DecideAuthorizationRequest) { r.RequestId = "d-2" })
	wants(t, "a verifier without a challenge", exchange(secretive, back.Get("code"), "code_verifier", verifier), http.StatusBadRequest, "invalid_grant")
}

// An address that is not registered is never redirected to, whatever else is wrong, nor is
// that of a client which nobody has vouched for; what is wrong otherwise is told to the
// registered one, with state and issuer.
func TestRedirectsOnlyWhereRegistered(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.thirdParty("sunwise", func(c *wattveilv1.Client) { c.RedirectUris = []string{callback, "https://adviser.example/cb?x=1"} })
	native := w.thirdParty("app", public, func(c *wattveilv1.Client) {
		c.RedirectUris = []string{"http://127.0.0.1/cb", "com.example.app:/cb"}
	})
	_, session := w.signIn(w.homes[home])
	visit := w.browser(session)
	s256 := "&code_challenge=" + oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier()) + "&code_challenge_method=S256"
	for what, query := range map[string]string{
		"another host":         "client_id=sunwise&redirect_uri=https://evil.example/callback",
		"a longer path":        "client_id=sunwise&redirect_uri=" + callback + "/x",
		"another case":         "client_id=sunwise&redirect_uri=https://ADVISER.example/callback",
		"a user before it":     "client_id=sunwise&redirect_uri=https://adviser.example@evil.example/callback",
		"a query more":         "client_id=sunwise&redirect_uri=" + url.QueryEscape(callback+"?x=1"),
		"a fragment":           "client_id=sunwise&redirect_uri=" + url.QueryEscape(callback+"#x"),
		"none":                 "client_id=sunwise",
		"two":                  "client_id=sunwise&redirect_uri=" + callback + "&redirect_uri=https://evil.example/",
		"a script":             "client_id=sunwise&redirect_uri=javascript:alert(1)",
		"no such client":       "client_id=nobody&redirect_uri=" + callback,
		"a mere third party":   "client_id=" + recipient + "&redirect_uri=" + callback,
		"no client":            "redirect_uri=" + callback,
		"a port of another":    "client_id=sunwise&redirect_uri=https://adviser.example:444/callback",
		"not of this machine":  "client_id=app&redirect_uri=http://127.0.0.1.evil.example/cb" + s256,
		"another scheme's":     "client_id=app&redirect_uri=com.example.other:/cb" + s256,
		"a request of nowhere": "client_id=sunwise&request_uri=https://evil.example/r",
	} {
		resp, page := visit.visit(http.MethodGet, "/oauth/authorize?response_type=code&scope=FB=4&state=s&"+query, nil)
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" || strings.Contains(page, "evil.example") {
			t.Errorf("%s: %d to %q", what, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for what, c := range map[string]struct{ query, to, code string }{
		"no response type": {"client_id=sunwise&scope=FB=4&redirect_uri=" + callback, callback + "?", "unsupported_response_type"},
		"a token at once":  {"client_id=sunwise&scope=FB=4&response_type=token&redirect_uri=" + callback, callback + "?", "unsupported_response_type"},
		"in a fragment":    {"client_id=sunwise&scope=FB=4&response_type=code&response_mode=fragment&redirect_uri=" + callback, callback + "?", "invalid_request"},
		"no scope":         {"client_id=sunwise&response_type=code&redirect_uri=" + callback, callback + "?", "invalid_scope"},
		"a request object": {"client_id=sunwise&response_type=code&scope=FB=4&request=x&redirect_uri=" + callback, callback + "?", "request_not_supported"},
		"with a query":     {"client_id=sunwise&response_type=code&redirect_uri=" + url.QueryEscape("https://adviser.example/cb?x=1"), "https://adviser.example/cb?x=1&", "invalid_scope"},
	} {
		resp, _ := visit.visit(http.MethodGet, "/oauth/authorize?state=s&"+c.query, nil)
		to, err := url.Parse(resp.Header.Get("Location"))
		ok(t, err)
		if q := to.Query(); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), c.to) || q.Get("error") != c.code || q.Get("state") != "s" || q.Get("iss") == "" {
			t.Errorf("%s: %d to %s", what, resp.StatusCode, to)
		}
	}
	// A program on this machine listens where it can (RFC 8252).
	for _, to := range []string{"http://127.0.0.1:49152/cb", "com.example.app:/cb"} {
		native.RedirectURL = to
		got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: native.query(oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))})
		ok(t, err)
		if got.GetError() != nil {
			t.Errorf("%s: %v", to, got.GetError())
		}
	}
}

// A scope that cannot be agreed to is told to the client by name.
func TestBadScopes(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	for what, c := range map[string]struct{ scope, words string }{
		"over 256 characters":        {"FB=4;BR=" + strings.Repeat("a", 249), "longer than 256 characters"},
		"an unknown function block":  {"FB=4_5_99", "unknown function block 99"},
		"a contradictory range":      {"FB=4;AdditionalScope=historical-2026-05-02_ongoing-2026-05-01", "ends before"},
		"a range that is over":       {"FB=4;AdditionalScope=historical-2027-01-01_ongoing-none", "ends before it begins"},
		"two lengths of history":     {"FB=4;HistoryLength=2592000;AdditionalScope=historical-2026-01-01_ongoing-none", "both say"},
		"an unknown term":            {"FB=4;Everything=1", "unknown term: Everything"},
		"an unknown term with marks": {"FB=4;<script>=1", "unknown term: one of another name"},
		"OpenID's":                   {"openid", "unknown term"},
	} {
		p.Scopes = []string{c.scope}
		got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: p.query()})
		ok(t, err)
		if e := got.GetError(); e.GetCode() != "invalid_scope" || !strings.Contains(e.GetDescription(), c.words) || !strings.HasPrefix(e.GetRedirectTo(), callback) {
			t.Errorf("%s: %v", what, e)
		}
	}
}

// A refresh token works once. An old one that comes back revokes all tokens of its consent,
// the newest too; other households' stay. On both engines.
func TestReplayedRefreshToken(t *testing.T) {
	onStores(t, func(t *testing.T, at string) {
		w := newTown(t, at)
		p, other := w.thirdParty("sunwise"), w.thirdParty("moonwise")
		a, _ := w.signIn(w.homes[home])
		b, _ := w.signIn(w.homes[nextDoor])
		first, _ := p.authorized(a)
		neighbour, _ := p.authorized(b)
		wants(t, "another client's", other.refresh(first.RefreshToken), http.StatusBadRequest, "invalid_grant")
		wants(t, "an access token", p.refresh(first.AccessToken), http.StatusBadRequest, "invalid_grant")
		second := p.refresh(first.RefreshToken)
		third := p.refresh(second.text("refresh_token"))
		if second.code != http.StatusOK || third.code != http.StatusOK || !w.lets(first.AccessToken) {
			t.Fatalf("rotation: %d, %d", second.code, third.code)
		}
		wants(t, "an old one", p.refresh(first.RefreshToken), http.StatusBadRequest, "invalid_grant")
		wants(t, "the newest after that", p.refresh(third.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		for _, token := range []string{first.AccessToken, second.text("access_token"), third.text("access_token")} {
			if w.lets(token) {
				t.Error("a token of the family is still good")
			}
		}
		if !w.lets(neighbour.AccessToken) || p.refresh(neighbour.RefreshToken).code != http.StatusOK {
			t.Error("another household's tokens are gone too")
		}
	})
}

// Tokens run out by the hub's clock, and none outlives its permission or is handed out
// after it. A request shown an hour ago, or by a clock far ahead, is not decided on.
func TestTokensAndClocks(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	h, _ := w.signIn(w.homes[home])
	token, id := p.authorized(h)
	w.clock.add(time.Hour - time.Second)
	if !w.lets(token.AccessToken) {
		t.Error("an access token is gone before its hour")
	}
	w.clock.add(time.Second)
	if w.lets(token.AccessToken) {
		t.Error("an access token outlives its hour")
	}
	w.clock.add(-time.Hour) // set back: what had run out is good again, what was used is not
	if !w.lets(token.AccessToken) {
		t.Error("a clock that goes back ends a token")
	}
	w.clock.add(time.Hour)
	for range 3 { // it slides
		w.clock.add(6 * 24 * time.Hour)
		next := p.refresh(token.RefreshToken)
		if next.code != http.StatusOK {
			t.Fatalf("refreshing after 6 days: %d %v", next.code, next.body)
		}
		token.RefreshToken = next.text("refresh_token")
	}
	soon := w.clock.now().Add(20 * time.Minute)
	got, err := h.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
	ok(t, err)
	narrowed := got.GetConsent().GetTerms()
	narrowed.PermissionUntil = soon.Unix()
	_, err = h.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{RequestId: "n", ConsentId: id, Narrowed: narrowed})
	ok(t, err)
	next := p.refresh(token.RefreshToken)
	if next.body["expires_in"] != 1200.0 {
		t.Errorf("a token of a permission that ends in 20 minutes lasts %v s", next.body["expires_in"])
	}
	w.clock.add(20 * time.Minute)
	wants(t, "after the permission", p.refresh(next.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	if w.lets(next.text("access_token")) {
		t.Error("a token outlives the permission")
	}

	for what, at := range map[string]time.Duration{"an hour and a second ago": -time.Hour - time.Second, "two minutes ahead": 2 * time.Minute} {
		_, err := h.DecideAuthorization(t.Context(), decision(w, p.query(), func(r *wattveilv1.DecideAuthorizationRequest) {
			r.RequestId, r.CheckedAt = "late", w.clock.now().Add(at).Unix()
		}))
		if refused(t, err, codes.InvalidArgument, "invalid_request"); err == nil {
			t.Errorf("%s: decided", what)
		}
	}
	for _, at := range []time.Duration{-time.Hour, 30 * time.Second} {
		p.decide(h, p.query(), func(r *wattveilv1.DecideAuthorizationRequest) {
			r.RequestId, r.CheckedAt = "in-time"+at.String(), w.clock.now().Add(at).Unix()
		})
	}
}

// A suspended client is out from the next call on: with the tokens that it has, and for new
// ones. Approved again, it is in with what has not run out.
func TestSuspendedClient(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p := w.thirdParty("sunwise")
	h, _ := w.signIn(w.homes[home])
	token, _ := p.authorized(h)
	own := p.form("/oauth/token", true, url.Values{"grant_type": {"client_credentials"}})
	_, err := w.operator.SuspendClient(t.Context(), &wattveilv1.SuspendClientRequest{ClientId: "sunwise"})
	ok(t, err)
	if w.lets(token.AccessToken) || w.lets(own.text("access_token")) {
		t.Error("tokens of a suspended client let in")
	}
	wants(t, "refreshing", p.refresh(token.RefreshToken), http.StatusUnauthorized, "invalid_client")
	wants(t, "its own token", p.form("/oauth/token", true, url.Values{"grant_type": {"client_credentials"}}), http.StatusUnauthorized, "invalid_client")
	got, err := w.public().CheckAuthorization(t.Context(), &wattveilv1.CheckAuthorizationRequest{Query: p.query()})
	ok(t, err)
	if e := got.GetError(); e.GetCode() != "unauthorized_client" || e.GetRedirectTo() != "" {
		t.Errorf("asking: %v", e)
	}
	_, err = w.operator.ApproveClient(t.Context(), &wattveilv1.ApproveClientRequest{ClientId: "sunwise"})
	ok(t, err)
	if !w.lets(token.AccessToken) || p.refresh(token.RefreshToken).code != http.StatusOK {
		t.Error("approved again, it is still out")
	}
}

// The token of one household's grant is of use for that consent and for no other, be it
// another household's of the same third party, another third party's, or none at all: they
// look the same, and a read is refused and recorded the same.
func TestTokenOfAnotherConsent(t *testing.T) {
	onStores(t, func(t *testing.T, at string) {
		w := newTown(t, at)
		w.keep(batch("b-1", day(home, yesterday, 100), day(nextDoor, yesterday, 100)))
		p, other := w.thirdParty("sunwise"), w.thirdParty("moonwise")
		a, _ := w.signIn(w.homes[home])
		b, _ := w.signIn(w.homes[nextDoor])
		token, own := p.authorized(a)
		_, neighbours := p.authorized(b)
		_, others := other.authorized(a)
		c := w.bearing(token.AccessToken)
		_, err := c.ReadSeries(t.Context(), reading("own", own))
		ok(t, err)
		for _, id := range []string{neighbours, others, "0123456789abcdef0123456789abcdef"} {
			_, err := c.GetConsent(t.Context(), &wattveilv1.GetConsentRequest{ConsentId: id})
			refused(t, err, codes.NotFound, "not_found")
			_, err = c.ReadSeries(t.Context(), reading("r-"+id, id))
			refused(t, err, codes.PermissionDenied, "not_consented")
		}
		list, err := c.ListConsents(t.Context(), &wattveilv1.ListConsentsRequest{})
		ok(t, err)
		if got := list.GetConsents(); len(got) != 1 || got[0].GetId() != own {
			t.Errorf("lists %d consents", len(got))
		}
		for _, e := range w.events(w.regulator, string(ledger.KindAccessDenied)) {
			if e.GetReason() != "not_consented" || e.GetHousehold() != "" || e.GetRecipient() != "sunwise" {
				t.Errorf("recorded: %v", e)
			}
		}
		if n := len(w.events(w.regulator, string(ledger.KindAccessDenied))); n != 3 {
			t.Errorf("%d refusals recorded, want 3", n)
		}
		// The same request id again is answered the same; the consent is untouched.
		_, err = c.ReadSeries(t.Context(), reading("r-"+neighbours, neighbours))
		refused(t, err, codes.PermissionDenied, "not_consented")
		for what, call := range map[string]func() error{
			"ask another home": func() error {
				_, err := c.RequestConsent(t.Context(), &wattveilv1.RequestConsentRequest{RequestId: "x", UsagePoint: nextDoor, Terms: terms()})
				return err
			},
			"see events": func() error {
				_, err := c.ListEvents(t.Context(), &wattveilv1.ListEventsRequest{})
				return err
			},
			"see a receipt": func() error {
				_, err := c.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: 1})
				return err
			},
		} {
			if err := call(); err == nil {
				t.Errorf("a token of one consent may %s", what)
			} else {
				refused(t, err, codes.PermissionDenied, "token_of_one_consent")
			}
		}
	})
}

// What a household revokes is over: the next read is refused and says so, no token follows,
// and introspection says inactive. An erasure leaves no token at all.
func TestRevokedConsentEndsTokens(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 100)))
	p := w.thirdParty("sunwise")
	h, _ := w.signIn(w.homes[home])
	token, id := p.authorized(h)
	active := func(token string) any {
		return p.form("/oauth/introspect", true, url.Values{"token": {token}}).body["active"]
	}
	if active(token.AccessToken) != true || active(token.RefreshToken) != true {
		t.Error("live tokens are not active")
	}
	_, err := h.RevokeConsent(t.Context(), &wattveilv1.RevokeConsentRequest{RequestId: "r", ConsentId: id})
	ok(t, err)
	_, err = w.bearing(token.AccessToken).ReadSeries(t.Context(), reading("1", id))
	refused(t, err, codes.PermissionDenied, "revoked")
	wants(t, "refreshing", p.refresh(token.RefreshToken), http.StatusBadRequest, "invalid_grant")
	if active(token.AccessToken) != false || active(token.RefreshToken) != false {
		t.Error("tokens of a revoked consent are active")
	}
	_, err = w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: w.homes[home].GetHousehold(), LegalBasis: "gdpr-17-1-b"})
	ok(t, err)
	if w.lets(token.AccessToken) {
		t.Error("a token of an erased household lets in")
	}
}

// RFC 7009: an access token ends alone, a refresh token with its family; nobody revokes
// another's, and nobody learns what there was.
func TestRevocationEndpoint(t *testing.T) {
	w := newTown(t, onSQLite(t))
	p, other := w.thirdParty("sunwise"), w.thirdParty("moonwise")
	h, _ := w.signIn(w.homes[home])
	token, _ := p.authorized(h)
	revoke := func(p *thirdParty, token string) {
		t.Helper()
		if got := p.form("/oauth/revoke", true, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}); got.code != http.StatusOK {
			t.Errorf("%d %v", got.code, got.body)
		}
	}
	revoke(other, token.AccessToken)
	revoke(other, token.RefreshToken)
	revoke(p, "no such token")
	next := p.refresh(token.RefreshToken)
	if next.code != http.StatusOK || !w.lets(token.AccessToken) {
		t.Fatal("revoked by another client")
	}
	revoke(p, token.AccessToken)
	if w.lets(token.AccessToken) || !w.lets(next.text("access_token")) {
		t.Error("revoking an access token does not end it, and it alone")
	}
	revoke(p, next.text("refresh_token"))
	if w.lets(next.text("access_token")) {
		t.Error("an access token outlives the refresh token of its grant")
	}
	if got := other.form("/oauth/introspect", true, url.Values{"token": {next.text("access_token")}}); got.code != http.StatusOK || len(got.body) != 1 || got.body["active"] != false {
		t.Errorf("another client's question: %v", got.body)
	}
}
