package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
)

// A hub that cannot start says why and leaves nothing behind: no listener, no
// goroutine.
func TestNewFails(t *testing.T) {
	r := newRig(t, onSQLite(t))
	r.stop()
	r.start()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer taken.Close()
	deps := Deps{Store: r.store, Keys: r.keys, Clock: r.clock.now, Random: rand.Reader, Log: r.log.logger()}
	stranger, err := keys.OpenKeyring(filepath.Join(t.TempDir(), "keys"), rand.Reader)
	ok(t, err)
	defer stranger.Close()
	for what, c := range map[string]struct {
		config func(*Config)
		deps   func(*Deps)
		want   error
	}{
		"a configuration that is not valid": {func(c *Config) { c.Origin = "" }, nil, ErrConfig},
		"no certificate":                    {func(c *Config) { c.GRPC.Cert = "/none" }, nil, ErrConfig},
		"a CA file without certificate":     {func(c *Config) { c.GRPC.ClientCA = c.GRPC.Key }, nil, ErrConfig},
		"another ledger's store":            {func(c *Config) { c.Origin = "other.test/ledger" }, nil, store.ErrConflict},
		"another hub's keys":                {nil, func(d *Deps) { d.Keys = stranger }, seal.ErrRefused},
		"the gRPC port is taken":            {func(c *Config) { c.GRPC.Listen = taken.Addr().String() }, nil, nil},
		"the HTTP port is taken":            {func(c *Config) { c.HTTP.Listen = taken.Addr().String() }, nil, nil},
		"no randomness":                     {nil, func(d *Deps) { d.Random = bytes.NewReader(nil) }, nil},
	} {
		before := runtime.NumGoroutine()
		cfg, d := r.cfg, deps
		if c.config != nil {
			c.config(&cfg)
		}
		if c.deps != nil {
			c.deps(&d)
		}
		hub, err := New(t.Context(), cfg, d)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if hub != nil {
			t.Errorf("%s: a hub all the same", what)
		}
		until(t, what+": nothing is left", func() bool { return runtime.NumGoroutine() <= before })
	}
}

// A hub that never served ends as well, and so does one that is closed twice.
func TestCloseWithoutServe(t *testing.T) {
	r := newRig(t, onSQLite(t))
	r.stop()
	before := runtime.NumGoroutine()
	hub, err := New(t.Context(), r.cfg, Deps{Store: r.store, Keys: r.keys, Clock: r.clock.now, Random: rand.Reader, Log: r.log.logger()})
	ok(t, err)
	hub.Close()
	hub.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := hub.Serve(ended); err != nil {
		t.Errorf("serving what is closed: %v", err)
	}
	until(t, "nothing is left", func() bool { return runtime.NumGoroutine() <= before })
}

// What makes a hub itself outlives it: the next one over the same store and keys
// signs with the same key, knows the same letters and the same batches.
func TestRestartKeepsIdentity(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		key := w.hub.VerifierKey()
		w.keep(batch("b-1", series(home, yesterday, 1)))
		code := w.homes[nextDoor].GetLetterCode()
		w.restart()
		if w.hub.VerifierKey() != key {
			t.Error("the ledger has another key")
		}
		if a := w.send(w.utility, batch("b-1", series(home, yesterday, 1))); !a.GetDuplicate() {
			t.Error("a batch is not known again")
		}
		_, err := w.public().OpenSession(t.Context(), &wattveilv1.OpenSessionRequest{LetterCode: code})
		ok(t, err)
	})
}

// Two hubs that start over one empty store at the same moment agree on its
// secrets: the first to store one wins.
func TestTwoHubsStartAtOnce(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{Migrate: true})
		ok(t, err)
		defer s.Close()
		ring, err := keys.OpenKeyring(filepath.Join(t.TempDir(), "keys"), rand.Reader)
		ok(t, err)
		defer ring.Close()
		ok(t, ring.CreateKey(t.Context(), hubKey))
		type result struct {
			s    *secrets
			keys *ledgerKeys
			err  error
		}
		results := make(chan result, 4)
		for range cap(results) {
			go func() {
				d := Deps{Store: s, Keys: ring, Clock: (&clock{}).now, Random: rand.Reader}
				secrets, err := loadSecrets(t.Context(), d.Store, d.Keys, d.Random, d.Clock, allRoles)
				keys, keysErr := openLedgerKeys(t.Context(), "hub.test/ledger", d)
				results <- result{secrets, keys, errors.Join(err, keysErr)}
			}()
		}
		var first *secrets
		var keys string
		for range cap(results) {
			r := <-results
			ok(t, r.err)
			if first == nil {
				first, keys = r.s, r.keys.verifier.Keys()
			}
			if r.keys.verifier.Keys() != keys || !bytes.Equal(r.s.release.bytes(), first.release.bytes()) || !bytes.Equal(r.s.batches.bytes(), first.batches.bytes()) || !bytes.Equal(r.s.codes.bytes(), first.codes.bytes()) {
				t.Error("two hubs have different secrets")
			}
		}
		if bytes.Equal(first.batches.bytes(), first.codes.bytes()) {
			t.Error("two secrets are one")
		}
	})
}

// The stored hashes of a batch and of its answer: HMAC-SHA256, every text and list length-prefixed by
// 8 bytes big endian, numbers likewise. If it changes, every hub in the field
// refuses what its utilities send again.
func TestBatchMAC(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	s := &wattveilv1.Series{UsagePoint: "up-1", Register: "1-0:1.29.0*255", Start: 1_772_409_600, LengthSeconds: 900, Values: []int64{1, -2, 300}, Qualities: []byte{0, 1, 15}, Revision: 2}
	p := &prepared{refused: []refusal{{"up-1", "1-0:1.29.0*255", 1_772_410_500, meter.NegativeDelivered}}}
	p.batch.Intervals = 1
	got, answer := contentMAC(key, "stadtwerk", batch("b-1", s)), answerMAC(key, p)
	const want, wantAnswer = "d862aba41efb8733264810bd80de1516ee0db8224af0081f4a22e0cc7e7ba291", "c6262792a8fd1cca3c490e6c6493c709276db7a7dfc910e428b13d52a3f26880"
	if hex.EncodeToString(got[:]) != want || hex.EncodeToString(answer[:]) != wantAnswer {
		t.Errorf("%x, %x", got, answer)
	}

	// Fields do not run into each other.
	seen := map[[32]byte]string{}
	for what, ss := range map[string][]*wattveilv1.Series{
		"nothing":             {},
		"an empty series":     {{}},
		"a point":             {{UsagePoint: "ab"}},
		"a point, a register": {{UsagePoint: "a", Register: "b"}},
		"a register":          {{Register: "ab"}},
		"a quality":           {{Qualities: []byte("a")}},
		"a value":             {{Values: []int64{1}}},
		"two values":          {{Values: []int64{1, 0}}},
		"two series":          {{Values: []int64{1}}, {}},
		"a revision":          {{Revision: 1}},
		"a start":             {{Start: 1}},
		"a length":            {{LengthSeconds: 1}},
	} {
		mac := contentMAC(key, "stadtwerk", batch("b-1", ss...))
		if other, twice := seen[mac]; twice {
			t.Errorf("%s and %s have one hash", what, other)
		}
		seen[mac] = what
	}
	if contentMAC(key, "nachbar", batch("b-1", s)) == got || contentMAC(key[1:], "stadtwerk", batch("b-1", s)) == got {
		t.Error("neither the utility nor the key is in the hash")
	}
}

// A row that is not there lets nobody in.
func TestUnregisteredCallsAreNotServed(t *testing.T) {
	r := newRig(t, onSQLite(t))
	err := r.as("operator", "ops").conn.Invoke(t.Context(), "/wattveil.v1.MeterService/NoSuch", &wattveilv1.GetBudgetRequest{}, &wattveilv1.GetBudgetResponse{})
	if got := status.Code(err); got != codes.Unimplemented {
		t.Errorf("an unknown method: %s", got)
	}
}
