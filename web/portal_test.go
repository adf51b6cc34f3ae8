package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
)

// newPortal mounts the portal over a hub.
func newPortal(t testing.TB, change ...func(*Config)) (*fakeHub, http.Handler) {
	t.Helper()
	hub, conn := newHub(t)
	config := Config{Conn: conn, Now: now, Regulator: func(ctx context.Context) (context.Context, bool) {
		if ctx.Value(certified{}) == nil {
			return nil, false
		}
		return metadata.AppendToOutgoingContext(ctx, asRegulator, "reg"), true
	}}
	for _, c := range change {
		c(&config)
	}
	handler, err := NewHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	return hub, handler
}

// visitor is a browser without scripts that follows no redirects.
type visitor struct {
	t       testing.TB
	handler http.Handler
	cookies []*http.Cookie
	// certificate says that the visitor brings a regulator's.
	certificate bool
}

// certified is in the context of a request that came with a regulator's
// certificate.
type certified struct{}

func regulator(t testing.TB, h http.Handler) *visitor {
	return &visitor{t: t, handler: h, certificate: true}
}

// guest has no session, household has one.
func guest(t testing.TB, h http.Handler) *visitor { return &visitor{t: t, handler: h} }

func household(t testing.TB, h http.Handler) *visitor {
	return &visitor{t: t, handler: h, cookies: []*http.Cookie{{Name: "wattveil", Value: token}}}
}

// reply is an answer, read to its end.
type reply struct {
	status  int
	header  http.Header
	cookies []*http.Cookie // set by the answer
	body    string
}

func (v *visitor) send(r *http.Request) reply {
	v.t.Helper()
	for _, c := range v.cookies {
		r.AddCookie(c)
	}
	if v.certificate {
		r = r.WithContext(context.WithValue(r.Context(), certified{}, true))
	}
	w := httptest.NewRecorder()
	v.handler.ServeHTTP(w, r)
	a := reply{status: w.Code, header: w.Header(), body: w.Body.String()}
	for _, line := range w.Header().Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			v.t.Fatalf("Set-Cookie: %v", err)
		}
		a.cookies = append(a.cookies, c)
	}
	return a
}

func (v *visitor) get(path string) reply {
	v.t.Helper()
	return v.send(httptest.NewRequest(http.MethodGet, path, nil))
}

// post sends a form as a browser does from a page of the portal.
func (v *visitor) post(path string, form url.Values) reply {
	v.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.send(r)
}

// page returns the text of an answer that must have this status.
func page(t testing.TB, a reply, status int) string {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d:\n%s", a.status, status, a.body)
	}
	return a.body
}

// says fails unless the page holds each text, tags and runs of blanks aside.
func says(t testing.TB, html string, texts ...string) {
	t.Helper()
	_, plain, err := parse(html)
	if err != nil {
		t.Fatalf("page is not well-formed: %v\n%s", err, html)
	}
	for _, text := range texts {
		if !strings.Contains(plain, text) {
			t.Errorf("the page does not say %q:\n%s", text, plain)
		}
	}
}

// silent fails if the page holds one of the texts.
func silent(t testing.TB, html string, texts ...string) {
	t.Helper()
	_, plain, err := parse(html)
	if err != nil {
		t.Fatalf("page is not well-formed: %v\n%s", err, html)
	}
	for _, text := range texts {
		if strings.Contains(plain, text) {
			t.Errorf("the page says %q:\n%s", text, plain)
		}
	}
}
