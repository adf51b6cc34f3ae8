package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// shortOverlap retires the older of two generations of the ledger's keys after an hour.
func shortOverlap(c *Config) { c.Ledger.KeyOverlap = time.Hour }

// keyed is a town whose ledger's keys change, and somebody who has kept the first.
type keyed struct {
	*town
	kept *ledger.Verifier
}

func newKeyed(t *testing.T, url string, change ...func(*Config)) *keyed {
	t.Helper()
	w := &keyed{town: newTown(t, url, append(change, shortOverlap)...)}
	w.kept = w.verifier()
	w.keep(batch("b-1", series(home, yesterday, 7)))
	return w
}

func (w *keyed) rotateLedger(retireNow bool) *wattveilv1.LedgerKeys {
	w.t.Helper()
	got, err := w.operator.RotateLedgerKeys(w.t.Context(), &wattveilv1.RotateLedgerKeysRequest{RetireNow: retireNow})
	ok(w.t, err)
	return got.GetKeys()
}

// tended lets the hub do what is due.
func (w *keyed) tended() { w.t.Helper(); ok(w.t, w.hub.Rotate(w.t.Context())) }

// reads lets the household of home read its own readings, which takes a record that the
// keeper of keys believes, and returns the record's receipt.
func (w *keyed) reads() *wattveilv1.Receipt {
	w.t.Helper()
	c, _ := w.signIn(w.homes[home])
	got, err := c.ReadOwnSeries(w.t.Context(), &wattveilv1.ReadOwnSeriesRequest{UsagePoints: []string{home}, From: yesterday.Unix(), Until: morning.Unix()})
	ok(w.t, err)
	if len(got.GetSeries()) == 0 {
		w.t.Error("a read gave nothing")
	}
	return got.GetReceipt()
}

// proves reports whether a receipt convinces somebody.
func proves(v *ledger.Verifier, r *wattveilv1.Receipt) bool {
	_, err := v.Proof(r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof()))
	return err == nil
}

// signatures says how many signatures the newest checkpoint has.
func (w *keyed) signatures() int {
	w.t.Helper()
	note, err := w.store.Checkpoint(w.t.Context())
	ok(w.t, err)
	return bytes.Count(note, []byte("\u2014 "+w.cfg.Origin+" "))
}

// steps lists what is on record about the ledger's keys, and how often they were stated.
func (w *keyed) steps() (changes []string, stated int) {
	w.t.Helper()
	for _, e := range w.events(w.regulator, string(ledger.KindAdmin)) {
		got, err := w.regulator.GetReceipt(w.t.Context(), &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
		ok(w.t, err)
		switch p := w.proven(got.GetReceipt()); {
		case strings.HasPrefix(p.Detail, ledger.DetailLedgerKeys):
			changes = append(changes, fmt.Sprintf("%s %x", p.Detail, p.Digest[:4]))
		case p.Detail == ledger.DetailKeyPolicy && p.Digest == ledger.KeyPolicyDigest(w.hub.VerifierKey(), requireSigned, nil):
			stated++
		}
	}
	return changes, stated
}

// seeds reports whether a generation's seeds are stored.
func (w *keyed) seeds(generation uint32) bool {
	w.t.Helper()
	n := 0
	for _, name := range ledgerSeeds {
		_, err := w.store.HubSecretOf(w.t.Context(), name, generation)
		if err == nil {
			n++
		} else if !errors.Is(err, store.ErrNotFound) {
			w.t.Fatal(err)
		}
	}
	if n == 1 {
		w.t.Errorf("half of generation %d is stored", generation)
	}
	return n == len(ledgerSeeds)
}

// follow takes the holder of the first keys as far as the hub's answer does.
func (w *keyed) follow(keys *wattveilv1.LedgerKeys) *ledger.Verifier {
	w.t.Helper()
	v := w.kept
	for _, g := range keys.GetGenerations()[1:] {
		r := g.GetBinding()
		next, at, err := v.Succeed(g.GetVerifierKeys(), []byte(g.GetStatement()), ledger.Opening{Payload: r.GetPayload(), Nonce: ledger.Hash(r.GetNonce()), Proof: []byte(r.GetProof())})
		ok(w.t, err)
		if at.Index != r.GetIndex() {
			w.t.Errorf("the receipt says record %d and proves %d", r.GetIndex(), at.Index)
		}
		v = next
	}
	if v.Keys() != keys.GetVerifierKeys() || v.Keys() != w.hub.VerifierKey() {
		w.t.Errorf("step by step one has\n%s\nand the hub says\n%s", v.Keys(), keys.GetVerifierKeys())
	}
	return v
}

// The ledger's keys change while the hub goes on: in the overlap old and new convince,
// afterwards the new alone; what was proved before stays proved; readings are opened all
// along; whoever kept the first keys is led to the newest; and the old seeds are gone. It
// would catch a keeper of keys that stays with the keys it started with, a retirement
// that comes early or never, and a step that is not on record.
func TestLedgerKeysRotate(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newKeyed(t, url)
		before := w.reads()
		keys := w.rotateLedger(false)
		if n := len(keys.GetGenerations()); n != 2 || w.signatures() != 4 {
			t.Fatalf("%d generations, %d signatures", n, w.signatures())
		}
		if g := keys.GetGenerations()[0]; g.GetRetiresAt() != w.clock.now().Add(time.Hour).Unix() || g.GetRetiredAt() != 0 {
			t.Errorf("the first generation: %v", g)
		}
		if _, stated := w.steps(); stated != 1 {
			t.Errorf("the new keys are stated %d times", stated)
		}
		overlap := w.reads()
		newer := w.follow(keys)
		if again := w.rotateLedger(false); len(again.GetGenerations()) != 2 {
			t.Error("asked again in the overlap, it makes a third generation")
		}
		w.clock.add(time.Hour - time.Second)
		w.tended()
		if !w.seeds(1) || w.signatures() != 4 {
			t.Error("the older generation is retired before the overlap is over")
		}
		w.clock.add(time.Second)
		w.tended()
		after := w.reads()
		if w.seeds(1) || !w.seeds(2) || w.signatures() != 2 {
			t.Errorf("after the overlap: seeds %t, %t; %d signatures", w.seeds(1), w.seeds(2), w.signatures())
		}
		for what, c := range map[string]struct {
			receipt  *wattveilv1.Receipt
			old, new bool
		}{"before": {before, true, true}, "in the overlap": {overlap, true, true}, "after": {after, false, true}} {
			if proves(w.kept, c.receipt) != c.old || proves(newer, c.receipt) != c.new {
				t.Errorf("%s: proved to the holder of the old keys %t, want %t; of the new %t, want %t", what, proves(w.kept, c.receipt), c.old, proves(newer, c.receipt), c.new)
			}
		}
		said, err := w.public().GetLedgerKeys(t.Context(), &wattveilv1.GetLedgerKeysRequest{})
		ok(t, err)
		w.follow(said.GetKeys()) // somebody who slept through all of it
		if g := said.GetKeys().GetGenerations()[0]; g.GetRetiredAt() != w.clock.now().Unix() || g.GetRetiredIndex() <= said.GetKeys().GetGenerations()[1].GetBinding().GetIndex() || g.GetRetiresAt() != 0 {
			t.Errorf("the retired generation: %v", g)
		}
		signed, err := w.public().GetCheckpoint(t.Context(), &wattveilv1.GetCheckpointRequest{})
		ok(t, err)
		if signed.GetVerifierKeys() != w.hub.VerifierKey() || !strings.HasPrefix(signed.GetVerifierKeys(), signed.GetVerifierKey()+"\n") {
			t.Errorf("beside the checkpoint stand %s and %s", signed.GetVerifierKey(), signed.GetVerifierKeys())
		}
		key := w.hub.VerifierKey()
		w.restart()
		if w.hub.VerifierKey() != key {
			t.Error("after a restart it has other keys")
		}
		w.rotateLedger(false)
		w.rotateLedger(true)
		w.reads()
		_, err = w.operator.RotateLedgerKeys(t.Context(), &wattveilv1.RotateLedgerKeysRequest{RetireNow: true})
		refused(t, err, codes.FailedPrecondition, "no_overlap")
		said, err = w.public().GetLedgerKeys(t.Context(), &wattveilv1.GetLedgerKeysRequest{})
		ok(t, err)
		third := w.follow(said.GetKeys())
		if w.signatures() != 2 || w.seeds(2) || !w.seeds(3) {
			t.Error("the second generation is not retired")
		}
		changes, _ := w.steps()
		if len(changes) != 4 {
			t.Errorf("on record are %q", changes)
		}
		history, err := w.store.Checkpoints(t.Context(), 0, 1000)
		ok(t, err)
		if _, err := ledger.VerifyLog(t.Context(), third, ledger.ReaderSource(w.store), ledger.VerifyOptions{Seen: history}); err != nil {
			t.Errorf("the ledger and all its checkpoints: %v", err)
		}
	})
}

// unsigned is a signer whose process dies before it signs.
type unsigned struct{}

var errCut = errors.New("cut")

func (unsigned) Sign(context.Context, ledger.Head) ([]byte, error) { return nil, errCut }

// cut stops the hub, and takes a step of a rotation in its place: in a process that dies
// after the record is committed, or, with a signer, whenever it likes.
func (w *keyed) cut(signed bool, step func(*ledgerRotation) error) error {
	w.t.Helper()
	w.stop()
	d := Deps{Store: w.store, Keys: w.keys, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger()}
	keys, err := openLedgerKeys(w.t.Context(), w.cfg.Origin, d)
	ok(w.t, err)
	var signer ledger.Signer = unsigned{}
	if signed {
		signer = keys.signer()
	}
	seq := ledger.NewSequencer(ledger.Store[*store.Tx](w.store), signer, ledger.Options{Now: w.clock.now, Rand: rand.Reader, Sealed: true})
	defer seq.Close()
	r := newLedgerRotation(keys, seq, ledger.NewProver(w.store), w.cfg.Ledger.KeyOverlap, d.Log, func(context.Context) error { return errCut })
	return step(r)
}

// A rotation that is cut short, after any step, goes on when the hub is started again, and
// ends as if nothing had happened: each step once on record, one generation that signs,
// the other's seeds destroyed, no checkpoint that somebody could not verify. It would
// catch a step that is taken twice, one that is forgotten, and a checkpoint that the
// first start signs with the wrong keys.
func TestLedgerRotationIsResumed(t *testing.T) {
	make2 := func(r *ledgerRotation) error { return r.next(t.Context(), 1) }
	for _, c := range []struct {
		name       string
		rotated    bool // the cut comes in the overlap
		signed     bool
		step       func(r *ledgerRotation) error
		want       error
		signatures int // of the first checkpoint after
		seeds      [2]bool
	}{
		{"nothing is done", false, true, func(*ledgerRotation) error { return nil }, nil, 2, [2]bool{true, false}},
		{"keys are stored", false, true, make2, nil, 2, [2]bool{true, true}},
		{"they are bound, and not signed with", false, false, func(r *ledgerRotation) error { return r.rotate(t.Context(), false) }, ledger.ErrUnsigned, 4, [2]bool{true, true}},
		{"they are bound, and not stated", false, true, func(r *ledgerRotation) error { return r.rotate(t.Context(), false) }, errCut, 4, [2]bool{true, true}},
		{"the hub is started again in the overlap", true, true, func(*ledgerRotation) error { return nil }, nil, 4, [2]bool{true, true}},
		{"the old are retired, and that is not signed", true, false, func(r *ledgerRotation) error { return r.rotate(t.Context(), true) }, ledger.ErrUnsigned, 2, [2]bool{true, true}},
		{"the old are retired, and not destroyed", true, true, func(r *ledgerRotation) error {
			all, err := r.store.LedgerKeys(t.Context())
			if err != nil {
				return err
			}
			return r.recordRetired(t.Context(), all[0])
		}, nil, 2, [2]bool{true, true}},
		{"the old are destroyed", true, true, func(r *ledgerRotation) error { return r.rotate(t.Context(), true) }, nil, 2, [2]bool{false, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newKeyed(t, onSQLite(t))
			before := w.reads()
			if c.rotated {
				w.rotateLedger(false)
			}
			if err := w.cut(c.signed, c.step); !errors.Is(err, c.want) {
				t.Fatalf("the cut: %v, want %v", err, c.want)
			}
			w.start() // which records something, so that there is a checkpoint of its own
			w.connect()
			if n := w.signatures(); n != c.signatures {
				t.Errorf("after the cut the checkpoint has %d signatures, want %d", n, c.signatures)
			}
			if got := [2]bool{w.seeds(1), w.seeds(2)}; got != c.seeds {
				t.Errorf("after the cut seeds are stored: %v, want %v", got, c.seeds)
			}
			w.reads()
			if c.name == "nothing is done" {
				w.rotateLedger(false)
			}
			for range 2 {
				w.tended()
			}
			w.clock.add(time.Hour)
			for range 2 {
				w.tended()
			}
			w.reads()
			if w.seeds(1) || !w.seeds(2) || w.signatures() != 2 {
				t.Errorf("in the end: seeds %t, %t; %d signatures", w.seeds(1), w.seeds(2), w.signatures())
			}
			changes, stated := w.steps()
			if len(changes) != 2 || stated == 0 {
				t.Errorf("on record are %q, and the keys %d times", changes, stated)
			}
			said, err := w.public().GetLedgerKeys(t.Context(), &wattveilv1.GetLedgerKeysRequest{})
			ok(t, err)
			v := w.follow(said.GetKeys())
			if !proves(v, before) {
				t.Error("what was proved before is proved no more")
			}
			history, err := w.store.Checkpoints(t.Context(), 0, 1000)
			ok(t, err)
			if _, err := ledger.VerifyLog(t.Context(), v, ledger.ReaderSource(w.store), ledger.VerifyOptions{Seen: history}); err != nil {
				t.Errorf("the ledger and all its checkpoints: %v", err)
			}
		})
	}
}

// Of two processes that sign one ledger the other follows, without being told: its next
// signature is made with the keys that are in force. It would catch one that goes on with
// retired keys, or that misses the overlap.
func TestTwoProcessesFollowARotation(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newKeyed(t, url)
		err := w.cut(true, func(mine *ledgerRotation) error {
			mine.state = func(context.Context) error { return nil }
			d := Deps{Store: w.store, Keys: w.keys, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger()}
			other, err := openLedgerKeys(t.Context(), w.cfg.Origin, d)
			ok(t, err)
			seq := ledger.NewSequencer(ledger.Store[*store.Tx](w.store), other.signer(), ledger.Options{Now: w.clock.now, Rand: rand.Reader, Sealed: true})
			defer seq.Close()
			record := func(name string, signatures int) {
				t.Helper()
				_, err := seq.Propose(t.Context(), name, func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
					return ledger.Payload{Kind: ledger.KindAdmin, Detail: name}, nil
				})
				ok(t, err)
				if n := w.signatures(); n != signatures {
					t.Errorf("%s: the other process signs with %d keys, want %d", name, n, signatures)
				}
			}
			record("before", 2)
			ok(t, mine.rotate(t.Context(), false))
			record("overlap", 4)
			if other.verifier.Keys() != mine.verifier.Keys() {
				t.Error("the other process verifies with other keys")
			}
			ok(t, mine.rotate(t.Context(), true))
			record("after", 2)
			note, err := w.store.Checkpoint(t.Context())
			ok(t, err)
			if _, _, err := w.kept.Checkpoint(note); !errors.Is(err, ledger.ErrCheckpoint) {
				t.Errorf("the retired keys have signed: %v", err)
			}
			return nil
		})
		ok(t, err)
	})
}

// Who can write to the store, and has no seed of the ledger, cannot make the hub believe
// keys of his own, retired or not, though he records a leaf that binds them: the hub signs
// no more, and says so, rather than hand them to everybody and to the keeper of keys.
func TestForgedLedgerKeys(t *testing.T) {
	for _, retired := range []bool{false, true} {
		w := newKeyed(t, onSQLite(t))
		key := w.hub.VerifierKey()
		thief, err := ledger.NewSigningKeys(w.cfg.Origin, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), w.clock.now)
		ok(t, err)
		ok(t, w.store.PutLedgerKeys(t.Context(), store.NewLedgerKeys{Generation: 2, VerifierKeys: thief.VerifierKeys(), Key: hubKey, CreatedAt: 1}))
		_, err = w.hub.sequencer.Propose(t.Context(), "forged", func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
			word, err := thief.Bind(thief.VerifierKeys(), at.Index)
			err = errors.Join(err, tx.BindLedgerKeys(ctx, 2, at.Index, word, 1))
			if retired {
				err = errors.Join(err, tx.RetireLedgerKeys(ctx, 2, at.Index, 1))
			}
			return ledger.Payload{Kind: ledger.KindAdmin, Detail: ledger.DetailLedgerKeys, Digest: ledger.VerifierKeysDigest(thief.VerifierKeys())}, err
		})
		if !errors.Is(err, ledger.ErrUnsigned) {
			t.Errorf("retired %t: recording them: %v", retired, err)
		}
		if _, err := w.public().GetLedgerKeys(t.Context(), &wattveilv1.GetLedgerKeysRequest{}); err == nil || w.hub.VerifierKey() != key {
			t.Errorf("retired %t: the hub hands them out: %v", retired, err)
		}
		w.stop()
		hub, err := New(t.Context(), w.cfg, Deps{Store: w.store, Keys: w.keys, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger()})
		if err == nil {
			hub.Close()
			t.Errorf("retired %t: a hub starts with them", retired)
		}
	}
}

// While the key service is away nothing is begun, and the ledger goes on; keys that
// somebody exchanged in the store sign nothing.
func TestLedgerRotationRefused(t *testing.T) {
	w := newKeyed(t, onSQLite(t))
	w.keys.away.Store(true)
	_, err := w.operator.RotateLedgerKeys(t.Context(), &wattveilv1.RotateLedgerKeysRequest{})
	refused(t, err, codes.Unavailable, "key_service_unavailable")
	w.keys.away.Store(false)
	if all, err := w.store.LedgerKeys(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d generations, %v", len(all), err)
	}
	w.reads()
	w.rotateLedger(false)
	w.stop()
	stored, err := w.store.HubSecrets(t.Context(), store.WrappedSecret{}, 100)
	ok(t, err)
	var old, fresh store.WrappedSecret
	for _, s := range stored {
		if s.Name == ledgerSeeds[0] && s.Generation == 1 {
			old = s
		} else if s.Name == ledgerSeeds[0] {
			fresh = s
		}
	}
	_, err = w.store.RewrapHubSecrets(t.Context(), []store.WrappedSecret{fresh}, [][]byte{old.Wrapped})
	ok(t, err)
	hub, err := New(t.Context(), w.cfg, Deps{Store: w.store, Keys: w.keys, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger()})
	if !errors.Is(err, seal.ErrKeyMismatch) {
		t.Errorf("a hub over an older seed under a newer number: %v", err)
	}
	if hub != nil {
		hub.Close()
	}
}
