package web

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// maxToken bounds a session token in bytes; the hub's have 43.
const maxToken = 256

// cookieName is that of the session cookie. With the prefix, a browser accepts
// the cookie only from this very host, over https, for all its paths.
func (p *portal) cookieName() string {
	if p.secure {
		return "__Host-wattveil"
	}
	return "wattveil"
}

// cookie carries a session token to the browser for age; nothing removes it.
// Its lifetime is relative: the hub's clock may follow its data and not the
// browser's.
func (p *portal) cookie(token string, age time.Duration) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure is the operator's: false only for a hub on one's own machine, without https
		Name: p.cookieName(), Value: token, Path: "/", MaxAge: int(age / time.Second),
		HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteStrictMode,
	}
	if token == "" || c.MaxAge <= 0 {
		c.Value, c.MaxAge = "", -1
	}
	return c
}

// token returns the visitor's session token, or "" without one that could be.
func (p *portal) token(r *http.Request) string {
	c, err := r.Cookie(p.cookieName())
	if err != nil || len(c.Value) > maxToken {
		return ""
	}
	for _, b := range []byte(c.Value) {
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-_.~+/=", b) >= 0) {
			return ""
		}
	}
	return c.Value
}

// signIn trades the letter's code for a session.
func (p *portal) signIn(ctx context.Context, r *http.Request) (answer, error) {
	resp, err := p.sessions.OpenSession(ctx, &wattveilv1.OpenSessionRequest{LetterCode: r.PostFormValue("code")})
	switch status.Code(err) {
	case codes.OK:
		age := time.Unix(resp.GetExpiresAt(), 0).Sub(p.now())
		return seeOther{cmp.Or(wayBack(r.PostFormValue("back")), "/home"), p.cookie(resp.GetToken(), age)}, nil
	case codes.PermissionDenied, codes.InvalidArgument, codes.NotFound, codes.Unauthenticated:
		// One answer, whatever is wrong with the code.
		return signInPage(http.StatusForbidden, indexPage{CodeRefused: true, Back: wayBack(r.PostFormValue("back"))}), nil
	default:
		return nil, err
	}
}

// signOut ends the session at the hub first, so that a stolen copy of the cookie
// is worth nothing from then on.
func (p *portal) signOut(ctx context.Context, _ *http.Request) (answer, error) {
	_, err := p.sessions.CloseSession(ctx, &wattveilv1.CloseSessionRequest{})
	if err != nil && status.Code(err) != codes.Unauthenticated {
		return nil, err
	}
	return seeOther{"/", p.cookie("", 0)}, nil
}

// signInFirst answers a visitor without a session who asks for a page that needs
// one.
func signInFirst() view {
	v := signInPage(http.StatusUnauthorized, indexPage{SignInFirst: true})
	v.guest = true
	return v
}
