package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// hook is a third party's server, on this machine.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	keyIDs []string
}

func (h *hook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	_, id, _ := strings.Cut(r.Header.Get("Signature-Input"), `keyid="`)
	id, _, _ = strings.Cut(id, `"`)
	h.bodies, h.keyIDs = append(h.bodies, b), append(h.keyIDs, id)
}

func (h *hook) calls() (bodies [][]byte, keyIDs []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.bodies), slices.Clone(h.keyIDs)
}

// told are the kinds of what it took.
func (h *hook) told(t *testing.T) (kinds []string) {
	t.Helper()
	bodies, _ := h.calls()
	for _, b := range bodies {
		var m struct{ Notifications []struct{ Kind string } }
		ok(t, json.Unmarshal(b, &m))
		for _, n := range m.Notifications {
			kinds = append(kinds, n.Kind)
		}
	}
	return kinds
}

// newHook starts a receiver, and returns what lets a hub call it.
func newHook(t *testing.T) (*hook, func(*Config)) {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewTLSServer(h)
	t.Cleanup(h.Close)
	ca := filepath.Join(t.TempDir(), "receivers.pem")
	ok(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600))
	_, port, err := net.SplitHostPort(h.Listener.Addr().String())
	ok(t, err)
	n, err := strconv.Atoi(port)
	ok(t, err)
	return h, func(c *Config) {
		c.PublicURL = "https://hub.test"
		c.Notify.Ports, c.Notify.AllowNetworks, c.Notify.CAFile = []uint16{uint16(n)}, []string{"127.0.0.0/8"}, ca
	}
}

// A third party puts its endpoint and is told: of the grant, that readings came, of the
// revocation; each once, signed with the key that the hub publishes. What it is sent is what
// it would have pulled.
func TestToldOfChanges(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		h, reachable := newHook(t)
		w := newTown(t, url, reachable)
		ctx := t.Context()
		put, err := w.recipient.PutEndpoint(ctx, &wattveilv1.PutEndpointRequest{Url: h.URL + "/told", Form: wattveilv1.EndpointForm_ENDPOINT_FORM_WEBHOOK})
		ok(t, err)
		if e := put.GetEndpoint(); e.GetRecipient() != recipient || e.GetUrl() != h.URL+"/told" || e.GetState() != wattveilv1.EndpointState_ENDPOINT_STATE_ACTIVE || e.GetPutAt() != morning.Unix() {
			t.Errorf("put %v", e)
		}
		tested, err := w.recipient.TestEndpoint(ctx, &wattveilv1.TestEndpointRequest{})
		ok(t, err)
		if tested.GetStatus() != http.StatusOK || tested.GetProblem() != "" || !slices.Equal(h.told(t), []string{"ping"}) {
			t.Errorf("tested: %v, told %v", tested, h.told(t))
		}
		id := w.ask(w.recipient, "1", home, terms())
		household, _ := w.signIn(w.homes[home])
		_, err = household.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "g", ConsentId: id})
		ok(t, err)
		w.keep(batch("b-1", day(home, yesterday, 100)))
		w.keep(batch("b-2", day(home, yesterday.AddDate(0, 0, -1), 100)))
		ok(t, w.hub.notifier.tend(ctx))
		revoked, err := household.RevokeConsent(ctx, &wattveilv1.RevokeConsentRequest{RequestId: "r", ConsentId: id})
		ok(t, err)
		want := []string{"ping", "consent.granted", "readings.available", "consent.revoked"}
		until(t, "everything is told", func() bool { return len(h.told(t)) >= len(want) })
		if got := h.told(t); !slices.Equal(got, want) {
			t.Errorf("told %v", got)
		}
		list, err := w.recipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{})
		ok(t, err)
		pulled := list.GetNotifications()
		if len(pulled) != 3 || list.GetNextSince() != 3 || pulled[2].GetLeafIndex() != revoked.GetReceipt().GetIndex() || pulled[2].GetCause() != "household" || pulled[2].GetConsentId() != id {
			t.Fatalf("pulled %v", pulled)
		}
		if r := pulled[1]; r.GetFrom() != yesterday.AddDate(0, 0, -1).Unix() || r.GetUntil() != yesterday.AddDate(0, 0, 1).Unix() {
			t.Errorf("readings of %d to %d", r.GetFrom(), r.GetUntil())
		}
		bodies, keyIDs := h.calls()
		if w.sentAs(keyIDs[0]) == nil {
			t.Error("signed with a key that is not published")
		}
		_, rest, _ := w.restAs("recipient", recipient, "/v1/notifications?since=2")
		last := bodies[len(bodies)-1]
		at := bytes.Index(last, []byte(`{"sequence":"3"`))
		if end := bytes.LastIndexByte(last, ']'); at < 0 || !bytes.Contains(compact(t, rest), last[at:end]) {
			t.Errorf("sent %s\npulled %s", last, rest)
		}
		if bytes.Contains(bytes.Join(bodies, nil), []byte(home)) || bytes.Contains(bytes.Join(bodies, nil), []byte(w.homes[home].GetHousehold())) {
			t.Error("what is sent names a usage point, or a household")
		}
		until(t, "the calls are written down", func() bool {
			got, err := w.recipient.GetEndpoint(ctx, &wattveilv1.GetEndpointRequest{})
			ok(t, err)
			return got.GetEndpoint().GetWaiting() == 0 && got.GetEndpoint().GetTakenAt() == morning.Unix()
		})
	})
}

func compact(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	ok(t, json.Compact(&out, b))
	return out.Bytes()
}

// sentAs returns the published public key of an id, or nil, and checks that its id is the
// thumbprint which others compute.
func (w *town) sentAs(id string) ed25519.PublicKey {
	w.t.Helper()
	_, b, _ := w.rest("").raw(w.t, http.MethodGet, "/.well-known/jwks.json", nil)
	var set jose.JSONWebKeySet
	ok(w.t, json.Unmarshal(b, &set))
	found := set.Key(id)
	if len(found) != 1 {
		return nil
	}
	sum, err := found[0].Thumbprint(crypto.SHA256)
	ok(w.t, err)
	if base64.RawURLEncoding.EncodeToString(sum) != id {
		w.t.Errorf("key %s has the thumbprint %x", id, sum)
	}
	return found[0].Key.(ed25519.PublicKey)
}

// restAs calls REST as the holder of a certificate, behind the edge that verifies it.
func (w *town) restAs(kind, id, path string) (code int, body []byte, header http.Header) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	k := kindOfName[kind]
	req := httptest.NewRequest(http.MethodGet, path, nil)
	w.hub.http.Handler.ServeHTTP(rec, req.WithContext(withPrincipal(req.Context(), Principal{Kind: k, ID: id})))
	return rec.Code, rec.Body.Bytes(), rec.Header()
}

// Whom the hub would call, and whom not, is told at once and by name.
func TestPutEndpointRefuses(t *testing.T) {
	h, reachable := newHook(t)
	w := newTown(t, onSQLite(t), reachable, func(c *Config) { c.Notify.AllowNetworks = nil })
	port := h.URL[strings.LastIndex(h.URL, ":"):]
	webhook := wattveilv1.EndpointForm_ENDPOINT_FORM_WEBHOOK
	for _, c := range []struct {
		url    string
		form   wattveilv1.EndpointForm
		code   codes.Code
		reason string
	}{
		{h.URL, webhook, codes.InvalidArgument, "notify_url_refused"},
		{"https://localhost" + port, webhook, codes.InvalidArgument, "notify_url_refused"},
		{"https://[::1]" + port, webhook, codes.InvalidArgument, "notify_url_refused"},
		{"https://169.254.169.254" + port + "/latest/meta-data/", webhook, codes.InvalidArgument, "notify_url_refused"},
		{"https://10.0.0.1" + port, webhook, codes.InvalidArgument, "notify_url_refused"},
		{"https://93.184.215.14:22", webhook, codes.InvalidArgument, "bad_notify_url"},
		{"http://93.184.215.14" + port, webhook, codes.InvalidArgument, "bad_notify_url"},
		{"", webhook, codes.InvalidArgument, "bad_notify_url"},
		{"https://93.184.215.14" + port, 0, codes.InvalidArgument, "bad_endpoint_form"},
		{"https://93.184.215.14" + port, 9, codes.InvalidArgument, "bad_endpoint_form"},
		{"https://93.184.215.14" + port, wattveilv1.EndpointForm_ENDPOINT_FORM_PULL, codes.InvalidArgument, "bad_notify_url"},
	} {
		_, err := w.recipient.PutEndpoint(t.Context(), &wattveilv1.PutEndpointRequest{Url: c.url, Form: c.form})
		refused(t, err, c.code, c.reason)
	}
	_, err := w.recipient.GetEndpoint(t.Context(), &wattveilv1.GetEndpointRequest{})
	refused(t, err, codes.NotFound, "not_found")
	_, err = w.recipient.TestEndpoint(t.Context(), &wattveilv1.TestEndpointRequest{})
	refused(t, err, codes.NotFound, "not_found")
	_, err = w.recipient.ListNotifications(t.Context(), &wattveilv1.ListNotificationsRequest{})
	refused(t, err, codes.NotFound, "not_found")
	for range endpointPutsPerHour {
		_, err = w.recipient.PutEndpoint(t.Context(), &wattveilv1.PutEndpointRequest{})
	}
	refused(t, err, codes.ResourceExhausted, "too_many_endpoints")
	if bodies, _ := h.calls(); len(bodies) != 0 {
		t.Error("somebody was called")
	}
}

// A third party that only pulls is told the same, goes on from where it was, and is told if
// it cannot; each sees its own, and the operator sees how all fare.
func TestPulled(t *testing.T) {
	w := newTown(t, onSQLite(t))
	ctx := t.Context()
	pull := &wattveilv1.PutEndpointRequest{Form: wattveilv1.EndpointForm_ENDPOINT_FORM_PULL}
	for _, r := range []*client{w.recipient, w.otherRecipient} {
		_, err := r.PutEndpoint(ctx, pull)
		ok(t, err)
	}
	household, _ := w.signIn(w.homes[home])
	since := uint64(0)
	pulled := func(want ...string) {
		t.Helper()
		var got []string
		for {
			list, err := w.recipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{Since: since, PageSize: 2})
			ok(t, err)
			if len(list.GetNotifications()) == 0 {
				break
			}
			for _, n := range list.GetNotifications() {
				got = append(got, n.GetKind())
			}
			since = list.GetNextSince()
		}
		if !slices.Equal(got, want) {
			t.Errorf("pulled %v, want %v", got, want)
		}
	}
	pulled()
	for i := range 3 {
		id := w.ask(w.recipient, fmt.Sprint(i), home, terms())
		_, err := household.DenyConsent(ctx, &wattveilv1.DenyConsentRequest{RequestId: fmt.Sprint("d", i), ConsentId: id})
		ok(t, err)
	}
	pulled("consent.denied", "consent.denied", "consent.denied")
	pulled()
	other, err := w.otherRecipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{})
	ok(t, err)
	if len(other.GetNotifications()) != 0 {
		t.Errorf("another's: %v", other)
	}
	_, err = w.recipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{Since: 99})
	refused(t, err, codes.OutOfRange, "cursor_lost")
	_, err = w.recipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{PageSize: 501})
	refused(t, err, codes.InvalidArgument, "bad_page_size")
	_, err = w.recipient.TestEndpoint(ctx, &wattveilv1.TestEndpointRequest{})
	refused(t, err, codes.FailedPrecondition, "nothing_to_call")

	var names []string
	for token := ""; ; {
		list, err := w.operator.ListEndpoints(ctx, &wattveilv1.ListEndpointsRequest{PageSize: 1, PageToken: token})
		ok(t, err)
		for _, e := range list.GetEndpoints() {
			names = append(names, fmt.Sprint(e.GetRecipient(), " ", e.GetLastSequence()))
		}
		if token = list.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"adviser 3", "aggregator 0"}) {
		t.Errorf("the operator sees %v", names)
	}
	_, err = w.operator.ListEndpoints(ctx, &wattveilv1.ListEndpointsRequest{PageToken: "no/name"})
	refused(t, err, codes.InvalidArgument, "bad_page_token")
	_, err = w.recipient.DeleteEndpoint(ctx, &wattveilv1.DeleteEndpointRequest{})
	ok(t, err)
	_, err = w.recipient.DeleteEndpoint(ctx, &wattveilv1.DeleteEndpointRequest{})
	refused(t, err, codes.NotFound, "not_found")
}

// Erasing a household is told to whoever had its consent, and to nobody else.
func TestToldOfHouseholdErased(t *testing.T) {
	w := newTown(t, onSQLite(t))
	ctx := t.Context()
	for _, r := range []*client{w.recipient, w.otherRecipient} {
		_, err := r.PutEndpoint(ctx, &wattveilv1.PutEndpointRequest{Form: wattveilv1.EndpointForm_ENDPOINT_FORM_PULL})
		ok(t, err)
	}
	id := w.ask(w.recipient, "1", home, terms())
	household, _ := w.signIn(w.homes[home])
	_, err := household.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "g", ConsentId: id})
	ok(t, err)
	w.clock.add(time.Hour)
	_, err = w.operator.EraseHousehold(ctx, &wattveilv1.EraseHouseholdRequest{Household: w.homes[home].GetHousehold(), LegalBasis: "gdpr-17"})
	ok(t, err)
	list, err := w.recipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{})
	ok(t, err)
	if n := list.GetNotifications(); len(n) != 1 || n[0].GetKind() != "consent.erased" || n[0].GetConsentId() != id || n[0].GetAt() != morning.Add(time.Hour).Unix() {
		t.Errorf("told %v", n)
	}
	if other, err := w.otherRecipient.ListNotifications(ctx, &wattveilv1.ListNotificationsRequest{}); err != nil || len(other.GetNotifications()) != 0 {
		t.Errorf("another is told %v, %v", other, err)
	}
}

// The key that signs changes by itself: the next is published before it signs, and the one
// before after that; a restart changes nothing. One that came out is withdrawn at once.
func TestNotificationKeyRotates(t *testing.T) {
	h, reachable := newHook(t)
	w := newTown(t, onSQLite(t), reachable)
	ctx := t.Context()
	_, err := w.recipient.PutEndpoint(ctx, &wattveilv1.PutEndpointRequest{Url: h.URL, Form: wattveilv1.EndpointForm_ENDPOINT_FORM_WEBHOOK})
	ok(t, err)
	signs := func() string {
		t.Helper()
		w.clock.add(time.Hour) // so that it may be tested again
		ok(t, w.hub.notifier.tend(ctx))
		_, err := w.recipient.TestEndpoint(ctx, &wattveilv1.TestEndpointRequest{})
		ok(t, err)
		_, ids := h.calls()
		id := ids[len(ids)-1]
		if w.sentAs(id) == nil {
			t.Error("signed with a key that is not published")
		}
		return id
	}
	published := func() (n int) { return len(w.hub.notifier.keys.set.Published()) }
	first := signs()
	w.clock.add(180 * 24 * time.Hour)
	if second := signs(); second != first || published() != 2 {
		t.Errorf("the next key signs as soon as it is made, or is not published: %d are", published())
	}
	w.restart()
	w.clock.add(7 * 24 * time.Hour)
	second := signs()
	if second == first || published() != 2 || w.sentAs(first) == nil {
		t.Error("the next key does not sign in its time, or the one before is gone too soon")
	}
	w.clock.add(7 * 24 * time.Hour)
	if signs() != second || published() != 1 {
		t.Errorf("%d keys are published after the overlap", published())
	}
	rotated, err := w.operator.RotateNotificationKey(ctx, &wattveilv1.RotateNotificationKeyRequest{})
	ok(t, err)
	again, err := w.operator.RotateNotificationKey(ctx, &wattveilv1.RotateNotificationKeyRequest{})
	ok(t, err)
	if rotated.GetGeneration() != 3 || again.GetGeneration() != 3 || rotated.GetSignsAt() != w.clock.now().Add(7*24*time.Hour).Unix() {
		t.Errorf("rotated to %v, then %v", rotated, again)
	}
	withdrawn, err := w.operator.RotateNotificationKey(ctx, &wattveilv1.RotateNotificationKeyRequest{WithdrawNow: true})
	ok(t, err)
	if withdrawn.GetGeneration() != 4 || withdrawn.GetSignsAt() != w.clock.now().Unix() || published() != 1 || w.sentAs(second) != nil {
		t.Errorf("withdrawn: %v, %d published", withdrawn, published())
	}
	if last := signs(); last == second || w.sentAs(last) == nil {
		t.Error("a withdrawn key signs")
	}
}

// A process of the access role alone tells third parties, as its own database user. It would
// catch a statement that the grants do not allow.
func TestToldByAccessAlone(t *testing.T) {
	pgtest.Require(t)
	h, reachable := newHook(t)
	s := newSixWith(t, reachable)
	s.settle()
	ctx, op := t.Context(), s.as(store.RoleAccess, "operator", "ops")
	_, err := op.PutRecipients(ctx, &wattveilv1.PutRecipientsRequest{Recipients: []*wattveilv1.Recipient{{Id: recipient, Name: "Energy Advice"}}})
	ok(t, err)
	r := s.as(store.RoleAccess, "recipient", recipient)
	_, err = r.PutEndpoint(ctx, &wattveilv1.PutEndpointRequest{Url: h.URL, Form: wattveilv1.EndpointForm_ENDPOINT_FORM_WEBHOOK})
	ok(t, err)
	asked, err := r.RequestConsent(ctx, &wattveilv1.RequestConsentRequest{RequestId: "1", UsagePoint: home, Terms: terms()})
	ok(t, err)
	_, err = r.WithdrawConsent(ctx, &wattveilv1.WithdrawConsentRequest{RequestId: "2", ConsentId: asked.GetConsentId()})
	ok(t, err)
	until(t, "the third party is told", func() bool { return slices.Equal(h.told(t), []string{"consent.invalid"}) })
	ok(t, s.hubs[store.RoleAccess].notifier.tend(ctx))
	_, err = op.ListEndpoints(ctx, &wattveilv1.ListEndpointsRequest{})
	ok(t, err)
	_, err = op.RotateNotificationKey(ctx, &wattveilv1.RotateNotificationKeyRequest{WithdrawNow: true})
	ok(t, err)
	_, err = r.DeleteEndpoint(context.WithoutCancel(ctx), &wattveilv1.DeleteEndpointRequest{})
	ok(t, err)
}

// An OAuth client that says at registration where it wants to be told is told there by
// BatchLists, as Green Button has it, unless it has said otherwise itself.
func TestClientIsToldWhereItRegistered(t *testing.T) {
	w := newTown(t, onSQLite(t))
	ctx := t.Context()
	put := func(uri string) *wattveilv1.Endpoint {
		t.Helper()
		_, err := w.operator.PutClient(ctx, &wattveilv1.PutClientRequest{Client: &wattveilv1.Client{
			Id: recipient, Name: "Energy Advice", RedirectUris: []string{"https://adviser.example/back"}, NotifyUri: uri, Purpose: terms().GetPurpose(),
		}})
		ok(t, err)
		rows, err := w.operator.ListEndpoints(ctx, &wattveilv1.ListEndpointsRequest{})
		ok(t, err)
		if len(rows.GetEndpoints()) == 0 {
			return nil
		}
		return rows.GetEndpoints()[0]
	}
	if e := put(""); e != nil {
		t.Errorf("without an address: %v", e)
	}
	if e := put("https://adviser.example/notices"); e.GetUrl() != "https://adviser.example/notices" || e.GetForm() != wattveilv1.EndpointForm_ENDPOINT_FORM_GREEN_BUTTON || e.GetRecipient() != recipient {
		t.Errorf("with one: %v", e)
	}
	_, err := w.recipient.PutEndpoint(ctx, &wattveilv1.PutEndpointRequest{Form: wattveilv1.EndpointForm_ENDPOINT_FORM_PULL})
	ok(t, err)
	if e := put("https://adviser.example/other"); e.GetForm() != wattveilv1.EndpointForm_ENDPOINT_FORM_PULL {
		t.Errorf("against its own word: %v", e)
	}
}
