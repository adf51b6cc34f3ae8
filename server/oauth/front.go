package oauth

import (
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// maxBody bounds what an endpoint takes in, in bytes: a pushed request is the longest.
const maxBody = 2 * maxQuery

// front stands before every endpoint that takes a form. It is where the hub is stricter
// than the library, which would also read parameters from the address, take the first of
// two, and answer GET.
//
// A form comes as application/x-www-form-urlencoded, as RFC 6749 has it, or as
// multipart/form-data, which is what EDDIE sends.
func (s *Server) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Pragma", "no-cache")
		w = &challenging{ResponseWriter: w}
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			s.fail(w, r, op.NewStatusError(problem(CodeInvalidRequest, "only POST is answered here").library(), http.StatusMethodNotAllowed))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := readForm(r); err != nil {
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readForm parses a form into r.Form and r.PostForm, once for all that come after.
func readForm(r *http.Request) error {
	if r.URL.RawQuery != "" {
		return problem(CodeInvalidRequest, "parameters belong into the body, not into the address")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/x-www-form-urlencoded":
		err = r.ParseForm()
	case err == nil && kind == "multipart/form-data":
		if err = r.ParseMultipartForm(maxBody); err == nil && len(r.MultipartForm.File) > 0 { //nolint:gosec // the body is bounded by who calls
			return problem(CodeInvalidRequest, "a part of the form is a file")
		}
	default:
		return problem(CodeInvalidRequest, "the body is neither application/x-www-form-urlencoded nor multipart/form-data")
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return op.NewStatusError(problem(CodeInvalidRequest, "the form is too large").library(), http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return problem(CodeInvalidRequest, "the form does not parse")
	}
	for key, values := range r.PostForm {
		if len(values) > 1 {
			return problem(CodeInvalidRequest, "a parameter is there twice: ", shown(key))
		}
	}
	_, _, err = credentials(r)
	return err
}

// credentials returns how a client names itself, and its secret, from the Authorization
// header or from the form (RFC 6749, section 2.3.1). Using both is an error.
func credentials(r *http.Request) (id, secret string, err error) {
	id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if r.Header.Get("Authorization") == "" {
		return id, secret, nil
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return "", "", errUnknownClient()
	}
	basic, err1 := url.QueryUnescape(name)
	basicSecret, err2 := url.QueryUnescape(password)
	switch {
	case err1 != nil || err2 != nil:
		return "", "", errUnknownClient()
	case secret != "" || id != "" && id != basic:
		return "", "", problem(CodeInvalidRequest, "the client shows who it is in two ways")
	}
	return basic, basicSecret, nil
}

// challenging says with every 401 how a client may show who it is (RFC 6749, section 5.2).
type challenging struct{ http.ResponseWriter }

func (c *challenging) WriteHeader(code int) {
	switch code {
	case http.StatusUnauthorized:
		c.Header().Set("WWW-Authenticate", `Basic realm="wattveil"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		c.Header().Set("Retry-After", "60")
	}
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (c *challenging) Unwrap() http.ResponseWriter { return c.ResponseWriter }
