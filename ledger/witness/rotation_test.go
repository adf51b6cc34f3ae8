package witness_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// A witness goes on through a change of its log's keys: with the old keys to the end of
// the overlap, with the new ones from whenever it was given them, without a restart, and
// after one. It would catch a witness that stops cosigning when the keys change, one that
// a thief of the old keys leads astray, and one that forgets what it cosigned.
func TestWitnessFollowsRotation(t *testing.T) {
	log, dir := ledgertest.StartRotating(t, origin), t.TempDir()
	w := open(t, dir, 3, log.Signing(0).VerifierKeys())
	var cosigned uint64
	bring := func(what string, signed []byte, want int) {
		t.Helper()
		size, _, err := ledger.ReadCheckpoint(signed)
		if err != nil {
			t.Fatal(err)
		}
		var proof []ledger.Hash
		if cosigned > 0 && cosigned < size {
			if proof, err = ledger.NewProver(log.Store).Consistency(t.Context(), cosigned, size); err != nil {
				t.Fatal(err)
			}
		}
		rec := post(w, ledger.AddCheckpoint{Old: cosigned, Proof: proof, Checkpoint: signed})
		if rec.Code != want {
			t.Errorf("%s: %d %s, want %d", what, rec.Code, rec.Body, want)
		}
		if rec.Code == http.StatusOK {
			cosigned = size
		}
	}
	bring("before", log.Grow(t, "before", 3), 200)
	log.Bind(t)
	bring("in the overlap, by the old keys", log.Grow(t, "overlap", 2), 200)
	if err := w.Replace(log.VerifierKeys(t)); err != nil {
		t.Fatal(err)
	}
	bring("in the overlap, by the new keys", log.Grow(t, "known", 2), 200)
	stolen := signedAlone(t, log, log.Signing(0), "stolen")
	bring("signed with the old keys alone, in the overlap", stolen, 403)
	log.Retire(t, 0)
	bring("after the overlap", log.Grow(t, "after", 2), 200)

	w = open(t, dir, 3, log.VerifierKeys(t))
	bring("after a restart", log.Grow(t, "again", 2), 200)
	bring("signed with retired keys", signedAlone(t, log, log.Signing(0), "stolen-again"), 403)
	if err := w.Replace(log.Signing(1).VerifierKeys()); err != nil {
		t.Fatal(err)
	}
	bring("by the newest keys alone", log.Grow(t, "last", 1), 200)

	other := ledgertest.StartRotating(t, "wattveil.example/other")
	if err := w.Replace(other.VerifierKeys(t)); err == nil {
		t.Error("it takes keys of a log that it does not watch")
	}
	if err := w.Replace("until 5"); !errors.Is(err, ledger.ErrVerifierKey) {
		t.Errorf("it takes what are no keys: %v", err)
	}
	bring("after keys that were refused", log.Grow(t, "more", 1), 200)
}

// signedAlone lets the log grow, and signs its head with one generation alone.
func signedAlone(t *testing.T, log *ledgertest.Rotating, keys *ledger.SigningKeys, name string) []byte {
	t.Helper()
	size, root, err := ledger.ReadCheckpoint(log.Grow(t, name, 1))
	if err != nil {
		t.Fatal(err)
	}
	signer := ledger.NewTermSigner(origin, func(context.Context, uint64) ([]*ledger.SigningKeys, error) { return []*ledger.SigningKeys{keys}, nil })
	note, err := signer.Sign(t.Context(), ledger.Head{Origin: origin, Size: size, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return note
}

// A cosigner and a keeper of keys that started before a rotation go on through it: the
// verifier that they hold follows. It would catch a hub whose reads stop with
// not_cosigned when the old keys are retired.
func TestCosignerFollowsRotation(t *testing.T) {
	log := ledgertest.StartRotating(t, origin)
	wit := open(t, t.TempDir(), 3, log.Signing(0).VerifierKeys())
	srv := httptest.NewServer(wit.Handler())
	t.Cleanup(srv.Close)
	text := "witness w " + keys(t, 3)[0].VerifierKey() + " " + srv.URL + "\nwitness x " + keys(t, 3)[1].VerifierKey() + " " + srv.URL + "\ngroup q all w x\nquorum q\n"
	policy, err := ledger.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v := log.First(t)
	demanded := v.WithPolicy(policy)
	cosigner := ledger.NewCosigner(ledger.CosignerConfig{
		Store: log.Store, Verifier: v, Policy: policy, Client: http.DefaultClient, Retry: 5 * time.Millisecond,
		Fail: func(err error) { t.Errorf("the log fails: %v", err) },
	})
	running(t, cosigner)
	await := func(what string, index uint64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cosigner.Notify()
		note, err := cosigner.Await(ctx, index)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		o := log.OpeningUnder(t, index, note)
		if _, err := demanded.Proof(o.Payload, o.Nonce, o.Proof); err != nil {
			t.Errorf("%s: the receipt: %v", what, err)
		}
	}
	grow := func(name string) uint64 {
		size, _, err := ledger.ReadCheckpoint(log.Grow(t, name, 2))
		if err != nil {
			t.Fatal(err)
		}
		return size - 1
	}
	await("before", grow("before"))
	bound := log.Bind(t).Index
	await("the leaf that binds the keys", bound)
	if err := v.Replace(log.VerifierKeys(t)); err != nil {
		t.Fatal(err)
	}
	await("in the overlap", grow("overlap"))
	if err := wit.Replace(log.VerifierKeys(t)); err != nil {
		t.Fatal(err)
	}
	await("the leaf that retires the old ones", log.Retire(t, 0).Index)
	await("after", grow("after"))
}
