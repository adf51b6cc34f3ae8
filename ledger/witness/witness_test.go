package witness_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/ledger/witness"
)

const origin = "wattveil.example/witnessed"

func now() time.Time { return time.Unix(1_767_268_800, 0) }

// log is a log that grows, over a store that can be exchanged.
type log struct {
	*testing.T
	store *ledgertest.Memory
	seq   *ledger.Sequencer[*ledgertest.Tx]
	vkey  string
}

func newLog(t *testing.T) *log {
	t.Helper()
	l := &log{T: t, store: ledgertest.NewMemory(origin)}
	signer, vkey, err := ledger.NewSigner(origin, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	l.vkey = vkey
	l.seq = ledger.NewSequencer(ledger.Store[*ledgertest.Tx](l.store), signer, ledger.Options{Now: ledgertest.Clock(), Rand: rand.Reader})
	t.Cleanup(l.seq.Close)
	return l
}

// grow adds leaves, until the log has that size, and returns its checkpoint.
func (l *log) grow(history string, size int) []byte {
	l.Helper()
	leaves, err := l.store.ReadLeaves(l.Context(), 0, 1<<20)
	if err != nil {
		l.Fatal(err)
	}
	for i := len(leaves); i < size; i++ {
		_, err := l.seq.Propose(l.Context(), fmt.Sprint(history, i), func(context.Context, *ledgertest.Tx, ledger.Position) (ledger.Payload, error) {
			return ledger.Payload{Kind: ledger.KindAdmin, Detail: history}, nil
		})
		if err != nil {
			l.Fatal(err)
		}
	}
	note, err := l.store.Checkpoint(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	return note
}

func (l *log) proof(from, to uint64) []ledger.Hash {
	l.Helper()
	hashes, err := ledger.NewProver(l.store).Consistency(l.Context(), from, to)
	if err != nil {
		l.Fatal(err)
	}
	return hashes
}

func keys(t *testing.T, seed byte) []ledger.WitnessKey {
	t.Helper()
	k, err := ledger.NewWitnessKeys(fmt.Sprintf("w%d.example", seed), bytes.Repeat([]byte{seed}, 32), bytes.Repeat([]byte{seed + 1}, 32), now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t *testing.T, dir string, seed byte, logs ...string) *witness.Witness {
	t.Helper()
	w, err := witness.New(dir, keys(t, seed), logs)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// post asks a witness in this process.
func post(w *witness.Witness, req ledger.AddCheckpoint) *httptest.ResponseRecorder {
	return raw(w, req.Marshal())
}

func raw(w *witness.Witness, body []byte) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	return rec
}

// The protocol, answer by answer: what extends is cosigned with every key; what
// goes back, forks, is unknown or unsigned is not; and a restart forgets nothing.
func TestProtocol(t *testing.T) {
	l, dir := newLog(t), t.TempDir()
	w := open(t, dir, 3, l.vkey)
	five := l.grow("h", 5)
	expect := func(what string, rec *httptest.ResponseRecorder, code int, body string) {
		t.Helper()
		if rec.Code != code || !strings.Contains(rec.Body.String(), body) {
			t.Errorf("%s: %d %q, want %d %q", what, rec.Code, rec.Body, code, body)
		}
		if code == http.StatusConflict && rec.Header().Get("Content-Type") != "text/x.tlog.size" {
			t.Errorf("%s: content type %q", what, rec.Header().Get("Content-Type"))
		}
	}
	first := post(w, ledger.AddCheckpoint{Checkpoint: five})
	expect("the first", first, 200, "— w3.example ")
	if n := strings.Count(first.Body.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want one of each key", n)
	}
	expect("the first again, as if it were new", post(w, ledger.AddCheckpoint{Checkpoint: five}), 409, "5\n")
	expect("the first again", post(w, ledger.AddCheckpoint{Old: 5, Checkpoint: five}), 200, "w3.example")
	nine := l.grow("h", 9)
	expect("without a proof", post(w, ledger.AddCheckpoint{Old: 5, Checkpoint: nine}), 422, "")
	expect("with a proof from elsewhere", post(w, ledger.AddCheckpoint{Old: 5, Proof: l.proof(4, 9), Checkpoint: nine}), 422, "")
	expect("grown", post(w, ledger.AddCheckpoint{Old: 5, Proof: l.proof(5, 9), Checkpoint: nine}), 200, "w3.example")
	expect("rolled back", post(w, ledger.AddCheckpoint{Old: 5, Checkpoint: five}), 409, "9\n")
	expect("an old size beyond the checkpoint", post(w, ledger.AddCheckpoint{Old: 9, Checkpoint: five}), 400, "")

	w = open(t, dir, 3, l.vkey)
	expect("rolled back, after a restart", post(w, ledger.AddCheckpoint{Old: 5, Checkpoint: five}), 409, "9\n")
	fork := newLog(t)
	forked := fork.grow("other", 9)
	expect("forked, as long", post(w, ledger.AddCheckpoint{Old: 9, Checkpoint: forked}), 409, "9\n")
	forked = fork.grow("other", 12)
	expect("forked, longer", post(w, ledger.AddCheckpoint{Old: 9, Proof: fork.proof(9, 12), Checkpoint: forked}), 422, "")

	unsigned := bytes.Replace(nine, []byte("\n9\n"), []byte("\n8\n"), 1)
	expect("signed by nobody", post(w, ledger.AddCheckpoint{Old: 9, Checkpoint: unsigned}), 403, "")
	unknown := bytes.ReplaceAll(nine, []byte(origin), []byte("wattveil.example/unknown"))
	expect("of an unknown log", post(w, ledger.AddCheckpoint{Checkpoint: unknown}), 404, "")
	for what, body := range map[string][]byte{"nothing": nil, "no old size": []byte("\n\nx"), "too long": make([]byte, ledger.MaxAddCheckpoint+1), "no checkpoint": []byte("old 0\n\nx\n")} {
		expect(what, raw(w, body), 400, "")
	}
}

// What could not be written is not cosigned, and what cannot be read is not begun
// anew.
func TestDisk(t *testing.T) {
	l, dir := newLog(t), t.TempDir()
	w := open(t, dir, 3, l.vkey)
	five := l.grow("h", 5)
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if rec := post(w, ledger.AddCheckpoint{Checkpoint: five}); rec.Code != 500 || strings.Contains(rec.Body.String(), "w3.example") {
		t.Errorf("without its directory: %d %s", rec.Code, rec.Body)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if rec := post(w, ledger.AddCheckpoint{Checkpoint: five}); rec.Code != 200 {
		t.Errorf("with its directory: %d", rec.Code)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if err := os.WriteFile(files[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.New(dir, keys(t, 3), []string{l.vkey}); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("over a damaged file: %v", err)
	}
}

// world is a log with a cosigner and two witnesses over HTTP.
type world struct {
	*log
	cosigner *ledger.Cosigner
	verifier *ledger.Verifier
	policy   *ledger.Policy
	down     [2]atomic.Bool
	failed   chan error
}

func newWorld(t *testing.T, l *log, dirs [2]string, quorum string) *world {
	t.Helper()
	w := &world{log: l, failed: make(chan error, 16)}
	var text strings.Builder
	for i, dir := range dirs {
		seed := byte(3 + 2*i)
		inner := open(t, dir, seed, l.vkey).Handler()
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if w.down[i].Load() {
				http.Error(rw, "down", http.StatusServiceUnavailable)
				return
			}
			inner.ServeHTTP(rw, r)
		}))
		t.Cleanup(srv.Close)
		for j, k := range keys(t, seed) {
			fmt.Fprintf(&text, "witness w%d-%d %s %s\n", i, j, k.VerifierKey(), srv.URL)
		}
		fmt.Fprintf(&text, "group w%d all w%d-0 w%d-1\n", i, i, i)
	}
	var err error
	if w.policy, err = ledger.ParsePolicy([]byte(text.String() + "group q " + quorum + " w0 w1\nquorum q\n")); err != nil {
		t.Fatal(err)
	}
	if w.verifier, err = ledger.NewVerifier(l.vkey); err != nil {
		t.Fatal(err)
	}
	w.cosigner = ledger.NewCosigner(ledger.CosignerConfig{
		Store: l.store, Verifier: w.verifier, Policy: w.policy, Client: http.DefaultClient, Retry: 5 * time.Millisecond,
		Fail: func(err error) {
			select {
			case w.failed <- err:
			default:
			}
		},
	})
	running(t, w.cosigner)
	return w
}

// running runs a cosigner until the test ends.
func running(t *testing.T, c *ledger.Cosigner) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// await waits for a cosigned checkpoint over a leaf, and checks it as its holder
// would.
func (w *world) await(index uint64, within time.Duration) error {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	w.cosigner.Notify()
	note, err := w.cosigner.Await(ctx, index)
	if err != nil {
		return err
	}
	if size, _, err := w.verifier.WithPolicy(w.policy).Checkpoint(note); err != nil || size <= index {
		w.Errorf("awaited leaf %d, got size %d, %v", index, size, err)
	}
	stored, err := w.store.Checkpoint(w.Context())
	if err != nil || !bytes.Equal(stored, note) {
		w.Errorf("the stored checkpoint is another, %v", err)
	}
	return nil
}

// Cosignatures come back into the store, from the witnesses that are there; below
// the quorum nothing passes, and above it one that is away is not missed. A receipt
// under a cosigned checkpoint proves itself.
func TestCosigner(t *testing.T) {
	for quorum, withOne := range map[string]bool{"1": true, "2": false} {
		l := newLog(t)
		w := newWorld(t, l, [2]string{t.TempDir(), t.TempDir()}, quorum)
		l.grow("h", 3)
		if err := w.await(2, 10*time.Second); err != nil {
			t.Fatalf("quorum %s, both there: %v", quorum, err)
		}
		w.down[0].Store(true)
		l.grow("h", 300)
		within := 10 * time.Second
		if !withOne {
			within = 200 * time.Millisecond
		}
		if err := w.await(299, within); (err == nil) != withOne || err != nil && !errors.Is(err, ledger.ErrNotCosigned) {
			t.Errorf("quorum %s, one there: %v", quorum, err)
		}
		w.down[0].Store(false)
		l.grow("h", 301)
		if err := w.await(300, 10*time.Second); err != nil {
			t.Errorf("quorum %s, both there again: %v", quorum, err)
		}
		note, err := l.store.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e, err := l.store.ReadEntry(t.Context(), 17)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := ledger.NewProver(l.store).TLogProofUnder(t.Context(), 17, e.Leaf, note)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.verifier.WithPolicy(w.policy).Proof(e.Payload, e.Nonce, proof); err != nil {
			t.Errorf("quorum %s: receipt: %v", quorum, err)
		}
	}
}

// A log that was set back, or replaced, is found out by its witnesses, at the
// cosigner's first question.
func TestBehindItsWitness(t *testing.T) {
	for name, c := range map[string]struct {
		history string
		size    int
		want    error
	}{
		"set back":         {"h", 4, ledger.ErrRollback},
		"beside, as long":  {"other", 9, ledger.ErrFork},
		"beside, longer":   {"other", 20, ledger.ErrFork},
		"beside, and back": {"other", 4, ledger.ErrRollback},
	} {
		dirs := [2]string{t.TempDir(), t.TempDir()}
		l := newLog(t)
		w := newWorld(t, l, dirs, "2")
		l.grow("h", 9)
		if err := w.await(8, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		other := newLog(t)
		other.grow(c.history, c.size)
		again := newWorld(t, other, dirs, "2")
		if err := <-again.failed; !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		select {
		case err := <-w.failed:
			t.Errorf("%s: the true log failed: %v", name, err)
		default:
		}
	}
}

// A witness that answers nonsense is no witness.
func TestLyingWitness(t *testing.T) {
	l := newLog(t)
	five := l.grow("h", 5)
	stranger, err := ledger.Cosign(five, keys(t, 50))
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"another's signature": func(w http.ResponseWriter) { _, _ = w.Write(stranger) },
		"garbage":             func(w http.ResponseWriter) { _, _ = io.WriteString(w, "— w3.example AAAA\n") },
		"nothing":             func(http.ResponseWriter) {},
		"endless":             func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 1<<20)) },
		"conflict without size": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusConflict)
		},
	} {
		var asked atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); answer(w) }))
		k := keys(t, 3)[0].VerifierKey()
		policy, err := ledger.ParsePolicy([]byte("witness w " + k + " " + srv.URL + "\nquorum w\n"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := ledger.NewVerifier(l.vkey)
		if err != nil {
			t.Fatal(err)
		}
		c := ledger.NewCosigner(ledger.CosignerConfig{
			Store: l.store, Verifier: v, Policy: policy, Client: http.DefaultClient, Retry: time.Millisecond,
			Fail: func(err error) { t.Errorf("%s: the hub fails: %v", name, err) },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		c.Run(ctx)
		if _, err := c.Await(ctx, 0); !errors.Is(err, ledger.ErrNotCosigned) || asked.Load() == 0 {
			t.Errorf("%s: asked %d times: %v", name, asked.Load(), err)
		}
		cancel()
		srv.Close()
	}
}
