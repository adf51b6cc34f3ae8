package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// thirdParty is a client that an operator has made, as its program would be: it knows its
// name, its secret and where the hub is.
type thirdParty struct {
	w  *town
	id string
	oauth2.Config
}

const (
	callback  = "https://adviser.example/callback"
	espiScope = "FB=4_5_15;IntervalDuration=900_3600;BlockDuration=daily;HistoryLength=2592000;SubscriptionFrequency=daily"
)

// thirdParty registers a client, as an operator does.
func (w *town) thirdParty(id string, change ...func(*wattveilv1.Client)) *thirdParty {
	w.t.Helper()
	c := &wattveilv1.Client{
		Id: id, Name: "Energy Advice", GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"}, RedirectUris: []string{callback},
		Purpose: &wattveilv1.Purpose{Code: "advice", Text: "To tell you where your energy goes."},
	}
	for _, f := range change {
		f(c)
	}
	made, err := w.operator.PutClient(w.t.Context(), &wattveilv1.PutClientRequest{Client: c})
	ok(w.t, err)
	base := "http://" + w.hub.HTTPAddr()
	return &thirdParty{w: w, id: id, Config: oauth2.Config{
		ClientID: id, ClientSecret: made.GetClientSecret(), RedirectURL: c.GetRedirectUris()[0], Scopes: []string{espiScope},
		Endpoint: oauth2.Endpoint{AuthURL: base + "/oauth/authorize", TokenURL: base + "/oauth/token", AuthStyle: oauth2.AuthStyleInHeader},
	}}
}

func public(c *wattveilv1.Client) {
	c.TokenEndpointAuthMethod, c.GrantTypes = "none", []string{"authorization_code", "refresh_token"}
}

// query is the query of the address that a browser is sent to.
func (p *thirdParty) query(opts ...oauth2.AuthCodeOption) string {
	u, err := url.Parse(p.AuthCodeURL("xyzzy", opts...))
	ok(p.w.t, err)
	return u.RawQuery
}

// decide has a household decide by a call of its own, and returns where it is sent.
func (p *thirdParty) decide(h *client, query string, change ...func(*wattveilv1.DecideAuthorizationRequest)) (url.Values, string) {
	p.w.t.Helper()
	resp, err := h.DecideAuthorization(p.w.t.Context(), decision(p.w, query, change...))
	ok(p.w.t, err)
	u, err := url.Parse(resp.GetRedirectTo())
	ok(p.w.t, err)
	return u.Query(), resp.GetConsentId()
}

func decision(w *town, query string, change ...func(*wattveilv1.DecideAuthorizationRequest)) *wattveilv1.DecideAuthorizationRequest {
	req := &wattveilv1.DecideAuthorizationRequest{RequestId: "d-1", Query: query, CheckedAt: w.clock.now().Unix(), Allow: true}
	for _, c := range change {
		c(req)
	}
	return req
}

// authorized is a token of a household's grant.
func (p *thirdParty) authorized(h *client, opts ...oauth2.AuthCodeOption) (*oauth2.Token, string) {
	p.w.t.Helper()
	verifier := oauth2.GenerateVerifier()
	back, id := p.decide(h, p.query(append(opts, oauth2.S256ChallengeOption(verifier))...), func(r *wattveilv1.DecideAuthorizationRequest) { r.RequestId = verifier })
	token, err := p.Exchange(p.w.t.Context(), back.Get("code"), oauth2.VerifierOption(verifier))
	ok(p.w.t, err)
	return token, id
}

// reply is an answer of an endpoint.
type reply struct {
	code   int
	header http.Header
	body   map[string]any
}

func (r reply) text(key string) string { s, _ := r.body[key].(string); return s }

// form posts a form to an endpoint, as the client or, without a name, as nobody.
func (p *thirdParty) form(path string, as bool, values url.Values) reply {
	p.w.t.Helper()
	req, err := http.NewRequestWithContext(p.w.t.Context(), http.MethodPost, "http://"+p.w.hub.HTTPAddr()+path, strings.NewReader(values.Encode()))
	ok(p.w.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if as {
		req.SetBasicAuth(url.QueryEscape(p.ClientID), url.QueryEscape(p.ClientSecret))
	}
	return p.w.do(req)
}

// do sends a request and reads a JSON answer.
func (w *town) do(req *http.Request) reply {
	w.t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	ok(w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ok(w.t, err)
	out := reply{code: resp.StatusCode, header: resp.Header, body: map[string]any{}}
	if len(text) > 0 && json.Unmarshal(text, &out.body) != nil {
		w.t.Fatalf("%s: %d, not JSON: %s", req.URL.Path, resp.StatusCode, text)
	}
	return out
}

// code exchanges a code by hand.
func (p *thirdParty) code(code string, extra ...string) reply {
	p.w.t.Helper()
	values := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.RedirectURL}}
	for i := 0; i+1 < len(extra); i += 2 {
		values.Set(extra[i], extra[i+1])
	}
	return p.form("/oauth/token", true, values)
}

// refresh exchanges a refresh token by hand.
func (p *thirdParty) refresh(token string) reply {
	p.w.t.Helper()
	return p.form("/oauth/token", true, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// wants checks the status and the error of an answer, and that it is not kept.
func wants(t *testing.T, what string, r reply, code int, name string) {
	t.Helper()
	if r.code != code || r.text("error") != name || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d, %q (%s), %s; want %d, %q", what, r.code, r.text("error"), r.text("error_description"), r.header.Get("Cache-Control"), code, name)
	}
}

// browser is a household's, with its session.
type browser struct {
	w       *town
	token   string
	client  *http.Client
	headers http.Header
}

func (w *town) browser(token string) *browser {
	return &browser{w: w, token: token, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, headers: http.Header{"Sec-Fetch-Site": {"same-origin"}}}
}

// visited is an answer to a browser.
type visited struct {
	StatusCode int
	Header     http.Header
}

func (b *browser) visit(verb, path string, form url.Values) (visited, string) {
	b.w.t.Helper()
	req, err := http.NewRequestWithContext(b.w.t.Context(), verb, "http://"+b.w.hub.HTTPAddr()+path, strings.NewReader(form.Encode()))
	ok(b.w.t, err)
	req.Header = b.headers.Clone()
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.token != "" {
		req.AddCookie(&http.Cookie{Name: "wattveil", Value: b.token})
	}
	resp, err := b.client.Do(req)
	ok(b.w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ok(b.w.t, err)
	return visited{resp.StatusCode, resp.Header}, string(text)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// fields are the hidden fields of a page's forms.
func fields(page string) url.Values {
	values := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		values.Set(m[1], strings.NewReplacer("&amp;", "&", "&#43;", "+", "&#34;", `"`).Replace(m[2]))
	}
	return values
}
