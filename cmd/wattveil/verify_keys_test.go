package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// rotating is a log whose keys change, a hub that tells of them, and somebody who has
// kept the first.
type rotating struct {
	*ledgertest.Rotating
	t     *testing.T
	url   string
	dir   string
	bound []uint64                     // leaves that bind the generations after the first
	lie   func(*wattveilv1.LedgerKeys) // changes what the hub says; or nil
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{Rotating: ledgertest.StartRotating(t, "hub.example/ledger"), t: t, dir: t.TempDir()}
	mux := http.NewServeMux()
	mux.Handle("/", ledger.TileHandler(r.Store))
	mux.HandleFunc("GET /v1/ledger-keys", func(w http.ResponseWriter, _ *http.Request) {
		b, err := protojson.Marshal(&wattveilv1.GetLedgerKeysResponse{Keys: r.keys()})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	write(t, r.path("kept.vkey"), r.Signing(0).VerifierKeys())
	r.Grow(t, "first", 3)
	return r
}

func (r *rotating) path(name string) string { return filepath.Join(r.dir, name) }

// bind binds the next generation.
func (r *rotating) bind() { r.bound = append(r.bound, r.Bind(r.t).Index) }

func (r *rotating) keys() *wattveilv1.LedgerKeys {
	keys := &wattveilv1.LedgerKeys{VerifierKeys: r.VerifierKeys(r.t), Generations: []*wattveilv1.LedgerKeyGeneration{{Number: 1, VerifierKeys: r.Signing(0).VerifierKeys()}}}
	for i, index := range r.bound {
		keys.Generations = append(keys.Generations, &wattveilv1.LedgerKeyGeneration{
			Number: uint32(i + 2), VerifierKeys: r.Signing(i + 1).VerifierKeys(),
			Statement: string(r.Statement(r.t, i+1, index)), Binding: receiptOf(index, r.Opening(r.t, index)),
		})
	}
	if r.lie != nil {
		r.lie(keys)
	}
	return keys
}

func receiptOf(index uint64, o ledger.Opening) *wattveilv1.Receipt {
	return &wattveilv1.Receipt{Index: index, Payload: o.Payload, Nonce: o.Nonce[:], Proof: string(o.Proof)}
}

// verify runs `wattveil verify log` over the hub, with a file of keys.
func (r *rotating) verify(key string, args ...string) (v verdict, code int) {
	r.t.Helper()
	code, stdout, stderr := wattveil(r.t, append([]string{"verify", "--json", "log", "--key", r.path(key), "--url", r.url}, args...)...)
	if code < 2 && json.Unmarshal([]byte(stdout), &v) != nil {
		r.t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	return v, code
}

func (r *rotating) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// Whoever has the first keys verifies to the end of the overlap, learns that there are
// others, and takes them up, in the overlap or after it, one rotation later or two. It
// would catch keys that are taken up without the old keys' word, or without looking for
// it in the ledger.
func TestVerifyLogSavesKeys(t *testing.T) {
	r := newRotating(t)
	if v, code := r.verify("kept.vkey", "--save-keys", r.path("same.vkey")); code != 0 || v.NewKeys || r.read("same.vkey") != r.read("kept.vkey")+"\n" {
		t.Errorf("before any change: exit code %d, %+v, saved %q", code, v, r.read("same.vkey"))
	}
	r.bind()
	r.Grow(t, "overlap", 2)
	if v, code := r.verify("kept.vkey"); code != 0 || !v.OK || !v.NewKeys {
		t.Errorf("in the overlap: exit code %d, %+v", code, v)
	}
	if v, code := r.verify("kept.vkey", "--save-keys", r.path("second.vkey")); code != 0 || v.NewKeys || r.read("second.vkey") != r.VerifierKeys(t)+"\n" {
		t.Errorf("taken up in the overlap: exit code %d, %+v, saved\n%s", code, v, r.read("second.vkey"))
	}
	r.Retire(t, 0)
	r.Grow(t, "after", 2)
	if v, code := r.verify("kept.vkey"); code != 1 || v.OK || !v.NewKeys {
		t.Errorf("with the retired keys: exit code %d, %+v", code, v)
	}
	if v, code := r.verify("second.vkey", "--history"); code != 0 || v.NewKeys {
		t.Errorf("with the keys that were taken up: exit code %d, %+v", code, v)
	}
	r.bind()
	r.Retire(t, 1)
	r.Grow(t, "twice", 2)
	write(t, r.path("newest.vkey"), r.Signing(2).VerifierKeys()) // by somebody who came late
	for _, key := range []string{"kept.vkey", "second.vkey"} {
		if v, code := r.verify(key, "--save-keys", r.path(key), "--history"); code != 0 || v.NewKeys || r.read(key) != r.VerifierKeys(t)+"\n" {
			t.Errorf("two changes later, with %s: exit code %d, %+v, saved\n%s", key, code, v, r.read(key))
		}
	}
	if v, code := r.verify("newest.vkey", "--save-keys", r.path("newest.vkey")); code != 0 || strings.TrimSpace(r.read("newest.vkey")) != r.Signing(2).VerifierKeys() {
		t.Errorf("with the newest keys alone: exit code %d, %+v", code, v)
	}
	if _, code := r.verify("kept.vkey", "--save-keys", r.path("no/such/folder")); code != 2 {
		t.Errorf("where nothing can be saved: exit code %d", code)
	}
	if code, _, _ := wattveil(t, "verify", "log", "--key", r.path("kept.vkey"), "--dir", r.dir, "--save-keys", r.path("x")); code != 2 {
		t.Errorf("keys asked of a directory: exit code %d", code)
	}
}

// What a hub says of its keys is believed only as far as the old keys and the ledger go,
// and nothing is saved that is not. It would catch a hub, or a thief of the old keys,
// that gives somebody keys of its own.
func TestVerifyLogRefusesKeys(t *testing.T) {
	thief := ledgertest.StartRotating(t, "hub.example/ledger") // with the same first keys
	thief.Grow(t, "forged", 5)
	forged := thief.Bind(t).Index
	other := ledgertest.StartRotating(t, "hub.example/other").Signing(0).VerifierKeys()
	for name, c := range map[string]struct {
		lie  func(r *rotating, keys *wattveilv1.LedgerKeys)
		what string
	}{
		"other keys":          {func(_ *rotating, k *wattveilv1.LedgerKeys) { k.Generations[1].VerifierKeys = other }, "does not bind"},
		"no statement":        {func(_ *rotating, k *wattveilv1.LedgerKeys) { k.Generations[1].Statement = "" }, "does not bind"},
		"no receipt":          {func(_ *rotating, k *wattveilv1.LedgerKeys) { k.Generations[1].Binding = nil }, "opens to no keys"},
		"a receipt of others": {func(r *rotating, k *wattveilv1.LedgerKeys) { k.Generations[1].Binding = receiptOf(1, r.Opening(t, 1)) }, "does not bind"},
		"no keys":             {func(_ *rotating, k *wattveilv1.LedgerKeys) { k.Generations = nil }, "do not follow"},
		"strangers' alone":    {func(_ *rotating, k *wattveilv1.LedgerKeys) { k.Generations = k.Generations[1:] }, "do not follow"},
		"bound elsewhere, under the old keys": {func(_ *rotating, k *wattveilv1.LedgerKeys) {
			k.Generations[1].Binding, k.Generations[1].Statement = receiptOf(forged, thief.Opening(t, forged)), string(thief.Statement(t, 1, forged))
		}, "does not have what binds"},
	} {
		r := newRotating(t)
		r.bind()
		r.Grow(t, "overlap", 5)
		r.lie = func(k *wattveilv1.LedgerKeys) { c.lie(r, k) }
		v, code := r.verify("kept.vkey", "--save-keys", r.path("saved.vkey"))
		if code != 1 || v.OK || !strings.Contains(v.What, c.what) {
			t.Errorf("%s: exit code %d, %+v", name, code, v)
		}
		if _, err := os.Stat(r.path("saved.vkey")); err == nil {
			t.Errorf("%s: saved all the same", name)
		}
	}
}

// A deployment changes the ledger's keys by commands alone, while it serves, with a
// witness whose word every read needs: nobody is started again. It would catch commands
// whose outputs do not fit the others' inputs, and a hub or a witness that has to be
// told.
func TestLedgerRotationCommands(t *testing.T) {
	s, err := newSite(t.Context(), t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	hub := s.start(t)
	write(t, s.path("hub.vkey"), hub.vkey) // which the witness watches
	write(t, s.path("kept.vkey"), hub.vkey)
	policy := startWitness(t, s)
	write(t, s.path("policy"), policy+"quorum witness-example\n")
	if err := hub.stop(); err != nil {
		t.Fatal(err)
	}
	yaml, err := os.ReadFile(s.path("hub.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.path("hub.yaml"), string(yaml)+"ledger: {policy: policy, release_requires: cosigned}\n")
	hub = s.start(t)
	if err := s.ca.writeClient(s.dir, "operator", "operator", "office"); err != nil {
		t.Fatal(err)
	}
	keys := func(want int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append(append([]string{"keys"}, args...), "--hub", hub.grpc, "--cert", s.path("operator.pem"), "--key", s.path("operator.key"), "--ca", s.path("tls/ca.pem")), &stdout, &stderr)
		if code != want {
			t.Fatalf("keys %s: exit code %d: %s%s", strings.Join(args, " "), code, &stdout, &stderr)
		}
		return stdout.String() + stderr.String()
	}
	cosigned := func(key string) {
		t.Helper()
		for late := time.After(30 * time.Second); ; {
			code, _, stderr := wattveil(t, "verify", "--key", s.path(key), "--policy", s.path("policy"), "log", "--url", "http://"+hub.http)
			if code == 0 {
				return
			}
			select {
			case <-late:
				t.Fatalf("not cosigned within 30 s: %s", stderr)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	cosigned("kept.vkey")
	if said := keys(2, "rotate", "--ledger", "--retire-now"); !strings.Contains(said, "none beside it") {
		t.Errorf("retiring the only keys: %s", said)
	}
	said := keys(0, "rotate", "--ledger")
	for _, want := range []string{"ledger, generation 1: since 2", ", signs until 2", "ledger, generation 2: since 2", "publish these verifier keys", "\nuntil ", hub.vkey} {
		if !strings.Contains(said, want) {
			t.Errorf("rotating does not say %q: %s", want, said)
		}
	}
	cosigned("kept.vkey")
	code, stdout, stderr := wattveil(t, "verify", "--key", s.path("kept.vkey"), "--policy", s.path("policy"), "log", "--url", "http://"+hub.http, "--save-keys", s.path("new.vkey"))
	if code != 0 || !strings.Contains(stdout, "new generations of keys: 1; all keys are in ") {
		t.Fatalf("taking up the new keys: exit code %d: %s%s", code, stdout, stderr)
	}
	fresh, err := os.ReadFile(s.path("new.vkey"))
	if err != nil || !strings.Contains(said, string(fresh)) {
		t.Errorf("what was printed is not what was saved, %v:\n%s\n%s", err, said, fresh)
	}
	if err := os.Rename(s.path("new.vkey"), s.path("hub.vkey")); err != nil { // the witness is given it
		t.Fatal(err)
	}
	if said := keys(0, "rotate", "--ledger", "--retire-now"); !strings.Contains(said, ", retired 2") {
		t.Errorf("retiring: %s", said)
	}
	cosigned("hub.vkey")
	if code, stdout, _ := wattveil(t, "verify", "log", "--key", s.path("kept.vkey"), "--url", "http://"+hub.http); code != 1 || !strings.Contains(stdout, "--save-keys") {
		t.Errorf("with the retired keys: exit code %d: %s", code, stdout)
	}
	var status struct {
		Ledger []generationReport `json:"ledger"`
	}
	if err := json.Unmarshal([]byte(keys(0, "status", "--json")), &status); err != nil || len(status.Ledger) != 2 || status.Ledger[0].Retired == "" || status.Ledger[1].Record == nil || status.Ledger[1].Retires != "" {
		t.Errorf("the status is %+v, %v", status.Ledger, err)
	}
	if err := hub.stop(); err != nil {
		t.Fatal(err)
	}
	hub = s.start(t)
	cosigned("hub.vkey")
	if first, _, _ := strings.Cut(string(fresh), "\n"); !strings.HasPrefix(hub.vkey, first+"\n") {
		t.Errorf("a hub that is started again prints %s", hub.vkey)
	}
	if err := hub.stop(); err != nil {
		t.Error(err)
	}
}
