package server

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// The regulator's pages are there for whoever brings a regulator's certificate to
// the HTTP door, and for nobody else: not for another certificate, not for a
// session, not for a header that claims one. It would catch a page that trusts
// what a visitor says.
func TestRegulatorPages(t *testing.T) {
	w := newTown(t, onSQLite(t), func(c *Config) { c.HTTP = c.GRPC })
	h, token := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	_, err := w.recipient.ReadSeries(t.Context(), reading("1", id))
	ok(t, err)
	list, err := w.regulator.ListEvents(t.Context(), &wattveilv1.ListEventsRequest{Kind: "access"})
	ok(t, err)
	read := list.GetEvents()[0].GetIndex()
	visit := func(c *tls.Config, path string, header http.Header) (code int, body string) {
		t.Helper()
		door := &restClient{base: "https://" + w.hub.HTTPAddr(), header: header, client: &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}}
		code, answer, _ := door.raw(t, http.MethodGet, path, nil)
		return code, string(answer)
	}
	paths := []string{"/regulator", "/regulator?outcome=access&recipient=" + recipient, fmt.Sprint("/regulator/event/", read), fmt.Sprintf("/regulator/event/%d/proof", read)}

	household := w.homes[home].GetHousehold()
	regulator := w.ca.client(t, "regulator", "reg")
	for path, says := range map[string][]string{
		paths[0]: {"The newest checkpoint fits.", "hub.test/ledger", household, "Energy Advice"},
		paths[1]: {fmt.Sprintf(`href="/regulator/event/%d"`, read), household},
		paths[2]: {"The proof fits.", household, "✓ The entry commits to exactly what stands below."},
		paths[3]: {`"payload"`, `"proof"`},
	} {
		code, body := visit(regulator, path, nil)
		if code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
		for _, s := range says {
			if !strings.Contains(body, s) {
				t.Errorf("%s does not say %q", path, s)
			}
		}
	}

	nobody := &tls.Config{RootCAs: w.ca.pool, MinVersion: tls.VersionTLS13}
	_, missing := visit(nobody, "/no-such-page", nil)
	for who, c := range map[string]struct {
		tls    *tls.Config
		header http.Header
	}{
		"nobody":      {nobody, nil},
		"an operator": {w.ca.client(t, "operator", "ops"), nil},
		"a recipient": {w.ca.client(t, "recipient", recipient), nil},
		"a utility":   {w.ca.client(t, "utility", utility), nil},
		"a claim":     {nobody, http.Header{"Wattveil-Internal-Principal": {"regulator/reg"}, "Grpc-Metadata-Wattveil-Internal-Principal": {"regulator/reg"}}},
	} {
		for _, path := range paths {
			if code, body := visit(c.tls, path, c.header); code != http.StatusNotFound || body != missing {
				t.Errorf("%s is answered %d on %s", who, code, path)
			}
		}
	}
	for _, path := range paths {
		code, body := visit(nobody, path, http.Header{"Cookie": {"__Host-wattveil=" + token}, "Authorization": {"Bearer " + token}})
		if code != http.StatusNotFound || strings.Contains(body, household) {
			t.Errorf("a household is answered %d on %s", code, path)
		}
	}
	// Both at once: each page asks in the one name that it is for.
	both := http.Header{"Cookie": {"__Host-wattveil=" + token}}
	for _, path := range []string{"/seen", "/regulator"} {
		if code, _ := visit(regulator, path, both); code != http.StatusOK {
			t.Errorf("%s with certificate and session: %d", path, code)
		}
	}
	if code, _ := visit(regulator, "/seen", nil); code != http.StatusUnauthorized {
		t.Errorf("a household's page with a certificate: %d", code)
	}
}
