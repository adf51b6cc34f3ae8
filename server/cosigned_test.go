package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/witness"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// watched is a town whose reads need the cosignatures of two of two witnesses, each
// a real one over HTTP that can be taken away.
type watched struct {
	*town
	down      [2]atomic.Bool
	witnesses [2]*witness.Witness
}

// newWatched starts witnesses before the hub: they learn its keys from the first
// start of an unwatched hub over the same store.
func newWatched(t *testing.T, change ...func(*Config)) *watched {
	t.Helper()
	w := &watched{town: newTown(t, onSQLite(t), change...)}
	var policy strings.Builder
	for i := range w.down {
		keys, err := ledger.NewWitnessKeys(fmt.Sprintf("w%d.example", i), bytes.Repeat([]byte{byte(2*i + 1)}, 32), bytes.Repeat([]byte{byte(2*i + 2)}, 32), w.clock.now)
		ok(t, err)
		wit, err := witness.New(t.TempDir(), keys, []string{w.hub.VerifierKey()})
		ok(t, err)
		w.witnesses[i] = wit
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if w.down[i].Load() {
				http.Error(rw, "down", http.StatusBadGateway)
				return
			}
			wit.Handler().ServeHTTP(rw, r)
		}))
		t.Cleanup(srv.Close)
		for j, k := range keys {
			fmt.Fprintf(&policy, "witness w%d-%d %s %s\n", i, j, k.VerifierKey(), srv.URL)
		}
	}
	policy.WriteString("group q all w0-0 w0-1 w1-0 w1-1\nquorum q\n")
	path := filepath.Join(t.TempDir(), "policy")
	ok(t, os.WriteFile(path, []byte(policy.String()), 0o600))
	w.cfg.Ledger.Policy, w.cfg.Ledger.ReleaseRequires, w.cfg.Ledger.CosignTimeout = path, requireCosigned, 10*time.Second
	w.restart()
	return w
}

// Every start says in the ledger which keys sign and what releases a household's
// keys: weaker terms than before are on record. It would catch a policy that is
// taken away for an afternoon.
func TestKeyPolicyIsRecorded(t *testing.T) {
	w := newWatched(t)
	policy, err := os.ReadFile(w.cfg.Ledger.Policy)
	ok(t, err)
	w.cfg.Ledger.ReleaseRequires = requireSigned
	w.restart()
	var got []ledger.Hash
	for _, e := range w.events(w.regulator, string(ledger.KindAdmin)) {
		receipt, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
		ok(t, err)
		if p := w.proven(receipt.GetReceipt()); p.Detail == ledger.DetailKeyPolicy {
			got = append(got, p.Digest)
		}
	}
	keys := w.hub.VerifierKey()
	want := []ledger.Hash{
		ledger.KeyPolicyDigest(keys, requireSigned, nil), ledger.KeyPolicyDigest(keys, requireCosigned, policy), ledger.KeyPolicyDigest(keys, requireSigned, policy),
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records of keys and policy, want %d that follow the starts", len(got), len(want))
	}
}

// A read waits for the witnesses, and its receipt carries their word, Ed25519 and
// ML-DSA-44. While one of them is away nothing is opened, though everything else
// goes on; the record of the read stays, and its key is never handed out.
func TestCosignedReads(t *testing.T) {
	w := newWatched(t)
	family, _ := w.signIn(w.homes[home])
	w.keep(batch("b-1", day(home, yesterday, 100)))
	id := w.granted(family, "ask-1", terms())
	got, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id))
	ok(t, err)
	policy, _, err := w.cfg.Ledger.policy()
	ok(t, err)
	r := got.GetReceipt()
	if _, err := w.verifier().WithPolicy(policy).Proof(r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof())); err != nil {
		t.Errorf("the receipt: %v", err)
	}

	w.down[1].Store(true)
	w.cfg.Ledger.CosignTimeout = 300 * time.Millisecond
	w.restart()
	_, err = w.recipient.ReadSeries(t.Context(), reading("r-2", id))
	refused(t, err, codes.Unavailable, "not_cosigned")
	family, _ = w.signIn(w.homes[home])
	_, err = family.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
	refused(t, err, codes.Unavailable, "not_cosigned")
	w.keep(batch("b-2", day(nextDoor, yesterday, 100)))
	if n := len(w.events(w.recipient, string(ledger.KindAccess))); n != 2 {
		t.Errorf("%d reads are recorded, want both", n)
	}
	w.down[1].Store(false)
	_, err = w.recipient.ReadSeries(t.Context(), reading("r-2", id))
	refused(t, err, codes.AlreadyExists, "request_id_used")
	w.cfg.Ledger.CosignTimeout = 10 * time.Second
	w.restart()
	_, err = w.recipient.ReadSeries(t.Context(), reading("r-3", id))
	ok(t, err)
}

// Reads go on through a rotation of the ledger's keys, cosigned by witnesses of which one
// is given the new keys early and one late, and nobody is started again. It would catch a
// part of the hub that verifies with the keys it started with: a read would be refused
// that is cosigned, or wait in vain.
func TestCosignedReadsThroughARotation(t *testing.T) {
	w := newWatched(t, shortOverlap)
	w.keep(batch("b-1", day(home, yesterday, 100)))
	family, _ := w.signIn(w.homes[home])
	id := w.granted(family, "ask-1", terms())
	policy, _, err := w.cfg.Ledger.policy()
	ok(t, err)
	n := 0
	read := func(what string) {
		t.Helper()
		n++
		got, err := w.recipient.ReadSeries(t.Context(), reading(fmt.Sprint("r-", n), id))
		ok(t, err)
		r := got.GetReceipt()
		if _, err := w.verifier().WithPolicy(policy).Proof(r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof())); err != nil {
			t.Errorf("%s: the receipt: %v", what, err)
		}
	}
	read("before")
	_, err = w.operator.RotateLedgerKeys(t.Context(), &wattveilv1.RotateLedgerKeysRequest{})
	ok(t, err)
	read("in the overlap, both witnesses with the old keys")
	ok(t, w.witnesses[0].Replace(w.hub.VerifierKey()))
	read("in the overlap, one with the new")
	ok(t, w.witnesses[1].Replace(w.hub.VerifierKey()))
	w.clock.add(time.Hour)
	ok(t, w.hub.Rotate(t.Context()))
	read("after the overlap")
}

// A store that was set back together with every memory of this machine is found by
// its witnesses, who have seen more.
func TestBehindTheWitnesses(t *testing.T) {
	w := newWatched(t)
	family, _ := w.signIn(w.homes[home])
	w.keep(batch("b-1", day(home, yesterday, 100)))
	tamper := storetest.OpenTamper(t, w.cfg.Store)
	tamper.Save(t)
	id := w.granted(family, "ask-1", terms())
	_, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id))
	ok(t, err)
	w.stop()
	tamper.SetBack(t)
	hub, err := New(t.Context(), w.cfg, Deps{Store: w.store, Keys: w.keys, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger()})
	if errors.Is(err, ledger.ErrRollback) {
		return // found while starting
	}
	ok(t, err)
	defer hub.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for hub.sequencer.Failure() == nil && ctx.Err() == nil {
		runtime.Gosched()
	}
	if err := hub.sequencer.Failure(); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("the hub goes on: %v", err)
	}
}
