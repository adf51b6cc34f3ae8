package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// secureHTTP lets third parties present their certificates over HTTP, as in production.
func secureHTTP(c *Config) {
	c.HTTP = c.GRPC
	c.HTTP.Listen = "127.0.0.1:0"
}

// download makes a GET with a third party's certificate.
func (w *town) download(id, path string) (http.Header, []byte) {
	w.t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: w.ca.client(w.t, "recipient", id), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://"+w.hub.HTTPAddr()+path, nil)
	ok(w.t, err)
	resp, err := c.Do(req)
	ok(w.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(w.t, err)
	return resp.Header, body
}

// A third party downloads what it may read, under the same gate as any read, with the
// number of its record; the household downloads its own.
func TestExport(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url, secureHTTP)
		w.keep(batch("b-1", day(home, yesterday, 100), day(secondMeter, yesterday, 300), revised(3, series(home, yesterday, 7))))
		h, token := w.signIn(w.homes[home])
		id := w.granted(h, "1", terms())
		path := fmt.Sprintf("/v1/readings/export?consent_id=%s&purpose=advice&from=%d&until=%d&format=", id, yesterday.Unix(), yesterday.AddDate(0, 0, 1).Unix())
		got, body := w.download(recipient, path+"csv")
		rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
		ok(t, err)
		if len(rows) != 97 || strings.Join(rows[1], ",") != "home-a,1-0:1.29.0*255,2026-03-02T00:00:00Z,2026-03-02T01:00:00+01:00,900,7,Wh,measured,3" ||
			strings.Join(rows[2], ",") != "home-a,1-0:1.29.0*255,2026-03-02T00:15:00Z,2026-03-02T01:15:00+01:00,900,101,Wh,measured,0" {
			t.Errorf("%d rows, the first %q", len(rows), rows[:min(3, len(rows))])
		}
		for header, want := range map[string]string{
			"Content-Type": "text/csv; charset=utf-8; header=present", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Content-Disposition": `attachment; filename="readings-20260302T000000Z-20260303T000000Z.csv"`,
		} {
			if got.Get(header) != want {
				t.Errorf("%s: %q", header, got.Get(header))
			}
		}
		events := w.events(w.recipient, string(ledger.KindAccess))
		if len(events) != 1 || got.Get("Wattveil-Event") != fmt.Sprint(events[0].GetIndex()) {
			t.Errorf("the answer names record %q of %d", got.Get("Wattveil-Event"), len(events))
		}
		got, file := w.download(recipient, path+"parquet")
		if !bytes.HasPrefix(file, []byte("PAR1")) || !bytes.HasSuffix(file, []byte("PAR1")) || got.Get("Content-Type") != "application/vnd.apache.parquet" {
			t.Errorf("%d bytes that are no Parquet", len(file))
		}

		own := &restClient{base: "https://" + w.hub.HTTPAddr(), token: token, client: &http.Client{Transport: &http.Transport{TLSClientConfig: anonymous(w), DisableKeepAlives: true}}}
		code, answer, reason := own.raw(t, http.MethodGet, fmt.Sprintf("/v1/readings/own/export?format=csv&from=%d&until=%d", yesterday.Unix(), morning.Unix()), nil)
		if n := bytes.Count(answer, []byte("\n")); code != http.StatusOK || n != 1+2*96 {
			t.Errorf("own: %d, %s, %d lines", code, reason, n)
		}
	})
}

// What is wrong with a download is said as REST says it, with the parameter's name, and
// before there is a file. Whoever has no right finds out no more than by reading.
func TestExportRefuses(t *testing.T) {
	w := newTown(t, onSQLite(t), secureHTTP)
	w.keep(batch("b-1", day(home, yesterday, 100)))
	h, token := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	good := fmt.Sprintf("format=csv&consent_id=%s&purpose=advice&from=%d&until=%d", id, yesterday.Unix(), morning.Unix())
	anybody := func(token string) *restClient {
		return &restClient{base: "https://" + w.hub.HTTPAddr(), token: token, client: &http.Client{Transport: &http.Transport{TLSClientConfig: anonymous(w), DisableKeepAlives: true}}}
	}
	party := func(id string) *restClient {
		return &restClient{base: "https://" + w.hub.HTTPAddr(), client: &http.Client{Transport: &http.Transport{TLSClientConfig: w.ca.client(t, "recipient", id), DisableKeepAlives: true}}}
	}
	for what, c := range map[string]struct {
		as        *restClient
		verb      string
		query     string
		code      int
		reason    string
		parameter string
	}{
		"no format":             {party(recipient), "", strings.Replace(good, "format=csv&", "", 1), 400, "bad_format", "format"},
		"another format":        {party(recipient), "", strings.Replace(good, "=csv", "=xlsx", 1), 400, "bad_format", "format"},
		"a misspelt parameter":  {party(recipient), "", good + "&usage_point=" + home, 400, "unknown_parameter", ""},
		"a time that is none":   {party(recipient), "", strings.Replace(good, "&from=", "&from=x", 1), 400, "bad_parameter", "from"},
		"no time":               {party(recipient), "", good[:strings.Index(good, "&until")], 400, "bad_parameter", "until"},
		"a time twice":          {party(recipient), "", good + "&until=1", 400, "bad_parameter", "until"},
		"backwards":             {party(recipient), "", strings.Replace(good, "&until=1", "&until=0", 1), 400, "bad_range", "until"},
		"no consent":            {party(recipient), "", strings.Replace(good, id, "", 1), 400, "bad_access", "consent_id"},
		"no purpose":            {party(recipient), "", strings.Replace(good, "=advice", "=", 1), 400, "bad_access", "purpose"},
		"a bad request id":      {party(recipient), "", good + "&request_id=", 400, "bad_request_id", "request_id"},
		"a bad register":        {party(recipient), "", good + "&registers=1.8.0", 400, "bad_register", "registers"},
		"a bad usage point":     {party(recipient), "", good + "&usage_points=a%20b", 400, "bad_name", "usage_points"},
		"a query that is none":  {party(recipient), "", good + "&%zz", 400, "malformed_message", ""},
		"the purpose of others": {party(recipient), "", strings.Replace(good, "=advice", "=sale", 1), 403, "purpose_not_granted", ""},
		"another's consent":     {party(otherRecipient), "", good, 403, "not_consented", ""},
		"nobody":                {anybody(""), "", good, 401, "no_identity", ""},
		"a household":           {anybody(token), "", good, 403, "not_for_you", ""},
		"no GET":                {party(recipient), http.MethodPost, good, 404, "no_such_call", ""},
	} {
		verb := http.MethodGet
		if c.verb != "" {
			verb = c.verb
		}
		code, answer, reason := c.as.raw(t, verb, "/v1/readings/export?"+c.query, nil)
		if code != c.code || reason != c.reason || c.parameter != "" && !bytes.Contains(answer, []byte(`"parameter":"`+c.parameter+`"`)) {
			t.Errorf("%s: %d, %s: %s", what, code, reason, answer)
		}
	}
	before := len(w.events(w.regulator, ""))
	if code, _, _ := party(recipient).raw(t, http.MethodHead, "/v1/readings/export?"+good, nil); code != http.StatusNotImplemented {
		t.Errorf("HEAD: %d", code)
	}
	if code, _, reason := anybody(token).raw(t, http.MethodGet, "/v1/readings/own/export?"+good, nil); code != 400 || reason != "unknown_parameter" {
		t.Errorf("own with a consent: %d, %s", code, reason)
	}
	if n := len(w.events(w.regulator, "")); n != before {
		t.Errorf("%d records", n-before)
	}
}

// A download that fails half way breaks off, so that nobody takes what there is for all.
// It would catch an error that is written into the file.
func TestExportBreaksOff(t *testing.T) {
	for _, format := range []string{"csv", "parquet"} {
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			q, err := parseQuery(r, "format", "from", "until")
			if err != nil {
				t.Errorf("query: %v", err)
			}
			n := 0
			serveTable(rw, r, q, func(context.Context) (func() (*wattveilv1.SeriesPart, error), error) {
				return func() (*wattveilv1.SeriesPart, error) {
					if n++; n > 100 {
						return nil, errors.New("the store is away")
					}
					return &wattveilv1.SeriesPart{Zone: "Europe/Zurich", Series: []*wattveilv1.Series{day(home, yesterday, 1), day(home, yesterday.Add(24*time.Hour), 1)}}, nil
				}, nil
			})
		}))
		resp, err := http.Get(srv.URL + "?from=0&until=1&format=" + format) //nolint:noctx // a test server
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the file looks whole", format)
		}
		srv.Close()
	}
}

// anonymous trusts the hub and shows no certificate.
func anonymous(w *town) *tls.Config {
	c := w.ca.client(w.t, "recipient", recipient)
	c.Certificates = nil
	return c
}
