package web

import (
	"context"
	"net/http"
)

// indexPage is the front door: what Wattveil is, and the way in.
type indexPage struct {
	CodeRefused bool // the code did not open a session
	SignInFirst bool // the page asked for needs a session
	Ended       bool // the session that came along has ended
	// Back is where to go on to after signing in; empty for the first page.
	Back string
}

func signInPage(code int, page indexPage) view {
	v := show("index", "Sign in", "index", page)
	v.status = code
	return v
}

func (p *portal) index(_ context.Context, r *http.Request) (answer, error) {
	if p.token(r) != "" {
		return seeOther{to: "/home"}, nil
	}
	return signInPage(http.StatusOK, indexPage{}), nil
}
