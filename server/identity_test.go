package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

func uri(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	ok(t, err)
	return u
}

// Who a certificate names, and which certificates name nobody. It catches a
// certificate that passes for somebody by a second name, by a name written in
// another way, or by none.
func TestCertificates(t *testing.T) {
	r := newRig(t, onSQLite(t))
	names := func(uris ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, u := range uris {
				c.URIs = append(c.URIs, uri(t, u))
			}
		}
	}
	for what, c := range map[string]struct {
		change func(*x509.Certificate)
		known  bool
	}{
		"a regulator":               {names("wattveil://regulator/reg"), true},
		"and a name of other use":   {names("https://reg.example/", "wattveil://regulator/reg"), true},
		"a part of the hub":         {names("wattveil://role/access"), true},
		"an unknown part":           {names("wattveil://role/keys"), false},
		"a part as a kind":          {names("wattveil://access/reg"), false},
		"no name":                   {names(), false},
		"only the common name":      {func(c *x509.Certificate) { c.Subject.CommonName = "wattveil://regulator/reg" }, false},
		"only a name of other use":  {names("https://regulator/reg"), false},
		"two names":                 {names("wattveil://regulator/reg", "wattveil://operator/ops"), false},
		"the same name twice":       {names("wattveil://regulator/reg", "wattveil://regulator/reg"), false},
		"an unknown kind":           {names("wattveil://auditor/reg"), false},
		"a household":               {names("wattveil://household/reg"), false},
		"no id":                     {names("wattveil://regulator/"), false},
		"an id of two parts":        {names("wattveil://regulator/reg/x"), false},
		"an id of other characters": {names("wattveil://regulator/r%20g"), false},
		"an escaped id":             {names("wattveil://regulator/%72eg"), false},
		"a user before the kind":    {names("wattveil://x@regulator/reg"), false},
		"a port after the kind":     {names("wattveil://regulator:1/reg"), false},
		"a query":                   {names("wattveil://regulator/reg?as=operator"), false},
		"no authority":              {names("wattveil:regulator/reg"), false},
	} {
		conn := clientOf(r.dial(r.ca.clientWith(t, c.change)))
		_, err := conn.GetCheckpoint(t.Context(), &wattveilv1.GetCheckpointRequest{})
		if c.known {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		t.Run(what, func(t *testing.T) { refused(t, err, codes.Unauthenticated, "unknown_certificate") })
	}
}

// Certificates that TLS itself refuses: the connection does not come about, and
// the caller is told that it is its certificate.
func TestCertificatesOfOthers(t *testing.T) {
	r := newRig(t, onSQLite(t))
	stranger := newAuthority(t)
	strangers := stranger.client(t, "operator", "ops")
	strangers.RootCAs = r.ca.pool // it trusts the hub; the hub does not trust it
	for what, c := range map[string]*tls.Config{
		"of another authority": strangers,
		"none":                 {RootCAs: r.ca.pool, MinVersion: tls.VersionTLS13},
		"expired": r.ca.clientWith(t, func(c *x509.Certificate) {
			c.URIs = []*url.URL{CertificateURI("operator", "ops")}
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}),
		"for servers only": r.ca.clientWith(t, func(c *x509.Certificate) {
			c.URIs = []*url.URL{CertificateURI("operator", "ops")}
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		"below TLS 1.3": func() *tls.Config {
			c := r.ca.client(t, "operator", "ops")
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}(),
	} {
		if err := greet(r.hub.GRPCAddr(), c); err == nil || !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s: %v", what, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := clientOf(r.dial(c)).GetCheckpoint(ctx, &wattveilv1.GetCheckpointRequest{})
		cancel()
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// greet connects and listens. The hub judges the certificate after the client's
// part of the handshake, so that a client which sends at once may see a broken
// connection before it sees why.
func greet(addr string, c *tls.Config) error {
	c = c.Clone()
	c.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", addr, c)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Read(make([]byte, 1))
	return err
}

// The HTTP edge tells the in-process server who a certificate names in one
// metadata key. Nobody else can set it: not as a header of any spelling, not as
// metadata over mutual TLS, where it must not even change who the caller is.
func TestNobodySmugglesAPrincipal(t *testing.T) {
	w := newTown(t, onSQLite(t))
	for _, header := range []string{
		"Wattveil-Internal-Principal", "Grpc-Metadata-Wattveil-Internal-Principal", "grpcgateway-wattveil-internal-principal",
		"Grpc-Metadata-Grpc-Metadata-Wattveil-Internal-Principal", "wattveil-internal-principal", "Grpc-Metadata-wattveil-internal-principal-bin",
	} {
		c := w.rest("")
		c.header = http.Header{header: {"operator/ops"}}
		if code, _, reason := c.raw(t, http.MethodPost, "/v1/utilities", []byte(`{}`)); code != http.StatusUnauthorized || reason != "no_identity" {
			t.Errorf("%s: %d, %s", header, code, reason)
		}
	}
	for _, key := range []string{internalPrincipal, "authorization", "x-forwarded-for"} {
		_, token := w.signIn(w.homes[home])
		value := map[string]string{internalPrincipal: "operator/ops", "authorization": "Bearer " + token}[key]
		ctx := metadata.AppendToOutgoingContext(t.Context(), key, value)
		_, err := w.recipient.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{})
		refused(t, err, codes.PermissionDenied, "not_for_you")
		_, err = w.recipient.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
		refused(t, err, codes.PermissionDenied, "not_for_you")
	}
	// In process the key counts, once and well formed; that is how the edge is heard.
	for value, code := range map[string]codes.Code{"operator/ops": codes.OK, "household/x": codes.Unauthenticated, "operator": codes.Unauthenticated, "operator/": codes.Unauthenticated} {
		_, err := w.public().PutUtilities(metadata.AppendToOutgoingContext(t.Context(), internalPrincipal, value), &wattveilv1.PutUtilitiesRequest{})
		if status.Code(err) != code {
			t.Errorf("%q in process: %v, want %s", value, err, code)
		}
	}
}

// With TLS on the HTTP door a certificate counts as on the other one, and one
// that names nobody is refused; none is needed.
func TestCertificatesOverREST(t *testing.T) {
	r := newRig(t, onSQLite(t), func(c *Config) {
		c.HTTP = c.GRPC
	})
	for what, c := range map[string]struct {
		tls    *tls.Config
		code   int
		reason string
	}{
		"operator":    {r.ca.client(t, "operator", "ops"), http.StatusOK, ""},
		"regulator":   {r.ca.client(t, "regulator", "reg"), http.StatusForbidden, "not_for_you"},
		"nobody":      {&tls.Config{RootCAs: r.ca.pool}, http.StatusUnauthorized, "no_identity"},
		"a name less": {r.ca.clientWith(t, func(*x509.Certificate) {}), http.StatusUnauthorized, "unknown_certificate"},
	} {
		door := &restClient{base: "https://" + r.hub.HTTPAddr(), client: &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls, DisableKeepAlives: true}}}
		door.header = http.Header{"Wattveil-Internal-Principal": {"operator/ops"}}
		if code, _, reason := door.raw(t, http.MethodPost, "/v1/utilities", []byte(`{}`)); code != c.code || reason != c.reason {
			t.Errorf("%s: %d, %s; want %d, %s", what, code, reason, c.code, c.reason)
		}
	}
}

// A session is a session only if the header is one bearer token that is live.
func TestBearer(t *testing.T) {
	w := newTown(t, onSQLite(t))
	_, token := w.signIn(w.homes[home])
	for what, c := range map[string]struct {
		values []string
		code   codes.Code
	}{
		"a session":        {[]string{"Bearer " + token}, codes.OK},
		"two":              {[]string{"Bearer " + token, "Bearer " + token}, codes.Unauthenticated},
		"another scheme":   {[]string{"Basic " + token}, codes.Unauthenticated},
		"no scheme":        {[]string{token}, codes.Unauthenticated},
		"nothing":          {[]string{"Bearer "}, codes.Unauthenticated},
		"too long":         {[]string{"Bearer " + strings.Repeat("x", 4096)}, codes.Unauthenticated},
		"one letter wrong": {[]string{"Bearer " + token[1:] + "A"}, codes.Unauthenticated},
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": c.values})
		_, err := w.public().GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
		if status.Code(err) != c.code {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
		if c.code != codes.OK {
			refused(t, err, codes.Unauthenticated, "session_ended")
		}
	}
}
