package notify_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onStores runs a scenario on SQLite and, where there is one, on PostgreSQL.
func onStores(t *testing.T, scenario func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { scenario(t, onSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { scenario(t, pgtest.Database(t)) })
}

func onSQLite(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "hub.db") }

// hub is a store with what delivers from it, and a clock that the test moves.
type hub struct {
	t     testing.TB
	store *store.Store
	now   atomic.Int64
	keys  *notify.Keys
	log   bytes.Buffer
	logMu sync.Mutex
}

func newHub(t testing.TB, url string) *hub {
	t.Helper()
	h := &hub{t: t}
	h.now.Store(1_772_000_000)
	s, err := store.Open(t.Context(), url, store.Options{Migrate: true})
	ok(t, err)
	t.Cleanup(func() { _ = s.Close() })
	h.store, h.keys = s, notify.NewKeys(h.clock)
	key, err := notify.NewKey(bytes.Repeat([]byte{7}, ed25519.SeedSize), 0, 0)
	ok(t, err)
	h.keys.Replace([]notify.Key{key})
	return h
}

func (h *hub) clock() time.Time { return time.Unix(h.now.Load(), 0) }

func (h *hub) Write(b []byte) (int, error) {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return h.log.Write(b)
}

// process is one that delivers, and calls receivers on this machine over TLS.
func (h *hub) process(change ...func(*notify.Config, *notify.Guard)) *notify.Deliverer {
	h.t.Helper()
	guard := &notify.Guard{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: allPorts}
	c := notify.Config{
		Outbox: h.store, Composer: notify.Composer{Origin: "hub.test/ledger", PublicURL: func() string { return "https://hub.test" }}, Clock: h.clock, Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(h, nil)), Patience: time.Minute,
	}
	for _, fn := range change {
		fn(&c, guard)
	}
	if c.Sender == nil {
		c.Sender = notify.NewPoster(guard, h.keys, roots(h.t), h.clock)
	}
	return notify.NewDeliverer(c)
}

var allPorts = func() (all []uint16) {
	for p := range uint16(65535) {
		all = append(all, p+1)
	}
	return all
}()

// roots trust the servers of httptest.
func roots(t testing.TB) *x509.CertPool {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// put gives a third party an endpoint.
func (h *hub) put(r, url string, form notify.Form) {
	h.t.Helper()
	ok(h.t, h.store.PutEndpoint(h.t.Context(), consent.Recipient(r), url, form, h.now.Load()))
}

// change stores consents of a third party, one after the other, each in the state.
func (h *hub) change(r string, state consent.State, ids ...string) {
	h.t.Helper()
	ok(h.t, h.store.Transact(h.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for _, id := range ids {
			terms := consent.Terms{
				Purpose: consent.Purpose{Code: "advice", Text: "Advice."}, UsagePoints: []meter.UsagePoint{"p1"}, Registers: []meter.Register{meter.ActiveImport},
				Granularity: consent.Interval, DataUntil: 4_000_000_000, PermissionUntil: 4_000_000_000,
			}
			c := consent.Consent{ID: consent.ID(id), Household: "h1", Recipient: consent.Recipient(r), State: state, Terms: terms, Asked: terms, RequestedAt: 1, DecidedAt: 2}
			if err := tx.PutConsent(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (h *hub) deliver(d *notify.Deliverer) {
	h.t.Helper()
	ok(h.t, d.DeliverDue(h.t.Context()))
}

func (h *hub) endpoint(r string) store.EndpointRow {
	h.t.Helper()
	row, err := h.store.Endpoint(h.t.Context(), consent.Recipient(r))
	ok(h.t, err)
	return row
}

// received is one notification as a webhook has it.
type received struct {
	Sequence  uint64 `json:"sequence,string"`
	Kind      string `json:"kind"`
	ConsentID string `json:"consentId"`
	At        int64  `json:"at,string"`
	From      int64  `json:"from,string"`
	Until     int64  `json:"until,string"`
}

// receiver is a third party's server. answer decides, by what came; nil takes everything.
type receiver struct {
	*httptest.Server
	t      testing.TB
	keys   *notify.Keys
	answer func(w http.ResponseWriter, got []received) int

	mu    sync.Mutex
	calls int
	came  []received
	body  []byte
	at    atomic.Int32 // calls at this moment
	most  atomic.Int32
}

func newReceiver(h *hub, answer func(w http.ResponseWriter, got []received) int) *receiver {
	r := &receiver{t: h.t, keys: h.keys, answer: answer}
	r.Server = httptest.NewTLSServer(r)
	h.t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	n := r.at.Add(1)
	defer r.at.Add(-1)
	for most := r.most.Load(); n > most && !r.most.CompareAndSwap(most, n); most = r.most.Load() {
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	if err := verify(req, r.URL+req.URL.RequestURI(), body, r.keys.Published()[0].Public); err != nil {
		r.t.Errorf("a call that is not signed: %v", err)
	}
	var m struct {
		Hub           string
		Notifications []received
	}
	if req.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(body, &m); err != nil || m.Hub != "hub.test/ledger" {
			r.t.Errorf("%s: %v", body, err)
		}
	}
	r.mu.Lock()
	r.calls, r.body = r.calls+1, body
	r.mu.Unlock()
	status := http.StatusOK
	if r.answer != nil {
		status = r.answer(w, m.Notifications)
	}
	if status == http.StatusOK {
		r.mu.Lock()
		r.came = append(r.came, m.Notifications...)
		r.mu.Unlock()
	}
	w.WriteHeader(status)
}

// kinds are what it took, in order, as kind and consent.
func (r *receiver) kinds() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.came {
		out = append(out, n.Kind+" "+n.ConsentID)
	}
	return out
}

// verify checks a call as its receiver does, from RFC 9421 and not from our code.
func verify(req *http.Request, url string, body []byte, key ed25519.PublicKey) error {
	digest := sha256.Sum256(body)
	if got, want := req.Header.Get("Content-Digest"), "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":"; got != want {
		return fmt.Errorf("digest %s", got)
	}
	input, labelled := strings.CutPrefix(req.Header.Get("Signature-Input"), "wattveil=")
	signed, also := strings.CutPrefix(req.Header.Get("Signature"), "wattveil=:")
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(signed, ":"))
	if !labelled || !also || err != nil {
		return fmt.Errorf("signature %q, %q", input, signed)
	}
	components, params, _ := strings.Cut(strings.TrimPrefix(input, "("), ")")
	if !regexp.MustCompile(`^;created=\d+;keyid="[\w-]{43}";alg="ed25519";tag="wattveil-notification"$`).MatchString(params) {
		return fmt.Errorf("parameters %s", params)
	}
	var base strings.Builder
	for _, name := range strings.Fields(components) {
		value := req.Header.Get(strings.Trim(name, `"`))
		switch name {
		case `"@method"`:
			value = req.Method
		case `"@target-uri"`:
			value = url
		}
		fmt.Fprintf(&base, "%s: %s\n", name, value)
	}
	if strings.Count(components, "@") != 2 || !strings.Contains(components, `"content-digest"`) {
		return fmt.Errorf("covers %s", components)
	}
	fmt.Fprintf(&base, `"@signature-params": %s`, input)
	if !ed25519.Verify(key, []byte(base.String()), signature) {
		return fmt.Errorf("signature over\n%s", base.String())
	}
	return nil
}
