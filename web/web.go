package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Config is what the portal needs of its surroundings.
type Config struct {
	// Conn reaches the hub's API. Required.
	Conn grpc.ClientConnInterface
	// Now is the hub's clock. Required.
	Now func() time.Time
	// Regulator returns a context under which calls are made in the name of the
	// regulator whose client certificate came with the request that ctx is of, and
	// false for everybody else. Nil means that nobody is one.
	Regulator func(ctx context.Context) (context.Context, bool)
	// SecureCookies says that visitors come over https: the session cookie is
	// then refused to everything else. Only a hub on one's own machine does
	// without.
	SecureCookies bool
	// Log receives what went wrong with a page: its route, a code and a reason,
	// never a path, a name or a reading. Nil discards it.
	Log *slog.Logger
}

// callTimeout bounds what a page waits for the API, all its calls together.
const callTimeout = 30 * time.Second

// maxForm bounds a form in bytes; the longest takes out all but one of a home's
// 256 meters, each of up to 64 characters.
const maxForm = 32 << 10

// portal serves the pages. Its fields never change once it is made.
type portal struct {
	sessions wattveilv1.SessionServiceClient
	readings wattveilv1.ReadingServiceClient
	consents wattveilv1.ConsentServiceClient
	audit    wattveilv1.AuditServiceClient
	releases wattveilv1.ReleaseServiceClient

	authorizations wattveilv1.AuthorizationServiceClient

	now       func() time.Time
	regulator func(context.Context) (context.Context, bool)
	secure    bool
	log       *slog.Logger
	pages     pages
	files     files
}

// route is one way in. Every handler is mounted through the routes table, and a
// test walks it.
type route struct {
	pattern string
	// who says whom the page is for; for others no call is made.
	who   audience
	serve func(*portal, context.Context, *http.Request) (answer, error)
}

// audience is whom a page is for. The zero audience is nobody.
type audience int

const (
	anyone     audience = iota + 1
	signedIn            // households with a session; others get the sign-in page
	regulators          // whoever has a regulator's certificate; for others the page does not exist
)

// routes is every page of the portal. {id} is a permission, {index} an entry of
// the record, {address} what makes a receipt's address unguessable.
var routes = []route{
	{"GET /{$}", anyone, (*portal).index},
	{"POST /session", anyone, (*portal).signIn},
	{"POST /session/end", signedIn, (*portal).signOut},
	{"GET /home", signedIn, (*portal).home},
	{"GET /home/download", signedIn, (*portal).download},
	{"GET /sharing", signedIn, (*portal).sharing},
	{"GET /sharing/{id}", signedIn, (*portal).permission},
	{"POST /sharing/{id}/grant", signedIn, (*portal).grant},
	{"POST /sharing/{id}/deny", signedIn, (*portal).deny},
	{"GET /sharing/{id}/narrow", signedIn, (*portal).narrowAsk},
	{"POST /sharing/{id}/narrow", signedIn, (*portal).narrow},
	{"GET /sharing/{id}/revoke", signedIn, (*portal).revokeConfirm},
	{"POST /sharing/{id}/revoke", signedIn, (*portal).revoke},
	{"GET /sharing/{id}/receipt", signedIn, (*portal).receiptOf},
	{"GET /r/{address}", anyone, (*portal).receiptPage},
	{"GET /r/{address}/file", anyone, (*portal).receiptFile},
	{"GET /r/{address}/revoke", anyone, (*portal).receiptRevokeAsk},
	{"POST /r/{address}/revoke", anyone, (*portal).receiptRevoke},
	{"GET /oauth/authorize", anyone, (*portal).authorizeAsk},
	{"POST /oauth/authorize", signedIn, (*portal).authorizeDecide},
	{"GET /seen", signedIn, (*portal).seen},
	{"GET /seen/{index}", signedIn, (*portal).entry},
	{"GET /seen/{index}/proof", signedIn, (*portal).proof},
	{"GET /erase", signedIn, (*portal).eraseAsk},
	{"POST /erase", signedIn, (*portal).erase},
	{"GET /erased", anyone, (*portal).erased},
	{"GET /public", anyone, (*portal).public},
	{"GET /regulator", regulators, (*portal).regulatorEvents},
	{"GET /regulator/event/{index}", regulators, (*portal).regulatorEvent},
	{"GET /regulator/event/{index}/proof", regulators, (*portal).proof},
	{"GET /static/{name}", anyone, (*portal).static},
	{"/", anyone, (*portal).missing},
}

// NewHandler returns the portal, to be mounted at "/". All templates are parsed
// here, so that a page that cannot be drawn fails the start and not a visitor.
// The handler is safe for concurrent use.
func NewHandler(c Config) (http.Handler, error) {
	if c.Conn == nil || c.Now == nil {
		return nil, errors.New("web: Config needs Conn and Now")
	}
	files, err := loadFiles()
	if err != nil {
		return nil, fmt.Errorf("loading static files: %w", err)
	}
	pages, err := parsePages()
	if err != nil {
		return nil, fmt.Errorf("parsing pages: %w", err)
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &portal{
		sessions: wattveilv1.NewSessionServiceClient(c.Conn),
		readings: wattveilv1.NewReadingServiceClient(c.Conn),
		consents: wattveilv1.NewConsentServiceClient(c.Conn),
		audit:    wattveilv1.NewAuditServiceClient(c.Conn),
		releases: wattveilv1.NewReleaseServiceClient(c.Conn),

		authorizations: wattveilv1.NewAuthorizationServiceClient(c.Conn),

		now: c.Now, regulator: c.Regulator, secure: c.SecureCookies, log: log, pages: pages, files: files,
	}
	if p.regulator == nil {
		p.regulator = func(context.Context) (context.Context, bool) { return nil, false }
	}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.Handle(r.pattern, p.handler(r))
	}
	// Another site may not press our buttons with our visitor's cookie.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(p.handler(route{"cross-origin", anyone, (*portal).crossOrigin}))
	return securityHeaders(guard.Handler(mux)), nil
}

// handler turns a route into what net/http serves.
func (p *portal) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)

		ctx, refused := p.admit(ctx, rt, r)
		if refused != nil {
			p.write(w, r, rt, refused)
			return
		}
		a, err := rt.serve(p, ctx, r)
		if err != nil {
			a = p.failed(ctx, rt, r, err)
		}
		p.write(w, r, rt, a)
	})
}

// admit returns the context under which a page calls the API in its visitor's
// name, or the answer to somebody whom the page is not for. A certificate counts
// for the regulator's pages alone, and a session for the household's.
func (p *portal) admit(ctx context.Context, rt route, r *http.Request) (context.Context, answer) {
	switch rt.who {
	case anyone:
		return ctx, nil
	case signedIn:
		token := p.token(r)
		if token == "" {
			return nil, signInFirst()
		}
		return asVisitor(ctx, token), nil
	case regulators:
		if as, ok := p.regulator(ctx); ok {
			return as, nil
		}
	}
	return nil, p.failed(ctx, rt, r, errNoPage)
}

// asVisitor returns a context in which calls are made in the name of a session.
func asVisitor(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// write sends an answer. One that cannot be drawn is an error page instead, and
// never half a page.
func (p *portal) write(w http.ResponseWriter, r *http.Request, rt route, a answer) {
	err := a.send(p, w, r)
	if err == nil {
		return
	}
	p.log.LogAttrs(r.Context(), slog.LevelError, "page not drawn", slog.String("route", rt.pattern), slog.String("cause", err.Error()))
	http.Error(w, "This page cannot be shown at the moment.", http.StatusInternalServerError)
}

// securityHeaders sets what every answer carries. The referrer stays within the
// portal rather than being withheld altogether: without it browsers send no
// usable Origin with a form, and the cross-origin guard has nothing to go by
// where Sec-Fetch-Site is missing.
func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy(""))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// After signing out the back button shows nothing.
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// contentPolicy is what a browser may do with a page: nothing of others', and forms go to
// the portal alone. Browsers hold the rule about forms against where an answer sends them
// on to, too: a page whose form ends elsewhere names that place.
func contentPolicy(formEnds string) string {
	if formEnds != "" {
		formEnds = " " + formEnds
	}
	return "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'" + formEnds + "; frame-ancestors 'none'; base-uri 'none'"
}

// answer is what a page does in the end.
type answer interface {
	send(p *portal, w http.ResponseWriter, r *http.Request) error
}

// seeOther sends the browser on, so that loading again repeats nothing.
type seeOther struct {
	to     string
	cookie *http.Cookie // set if not nil
}

func (a seeOther) send(_ *portal, w http.ResponseWriter, r *http.Request) error {
	if a.cookie != nil {
		http.SetCookie(w, a.cookie)
	}
	http.Redirect(w, r, a.to, http.StatusSeeOther)
	return nil
}

// download is a file for the visitor to keep.
type download struct {
	name, mediaType string
	body            []byte
}

func (a download) send(_ *portal, w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", a.mediaType)
	w.Header().Set("Content-Disposition", `attachment; filename="`+a.name+`"`)
	_, _ = w.Write(a.body) // the visitor has gone: nobody to tell
	return nil
}
