package keyguardtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

// The household of a World, and its usage points.
const (
	Home = consent.Household("home")
	UP1  = meter.UsagePoint("UP-1")
	UP2  = meter.UsagePoint("UP-2")
)

// Today is the day of ledgertest.Clock, on which every leaf of a World falls.
var Today = meter.DayOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())

// Through stands a guardian before a guard: the guard itself, or what asks it over
// a wire, until the test ends.
type Through func(t *testing.T, g keyguard.Guardian) keyguard.Guardian

// World is a log, a household whose blocks of ten days are sealed, and a guardian
// of its keys. It is used by one goroutine.
type World struct {
	*testing.T
	Log      *ledgertest.Log[*ledgertest.Tx]
	Keys     *Memory
	Wrapper  *Wrapper
	Writer   *seal.Writer
	Blocks   []seal.Block // one for each of ten days before Today, point and register
	Now      time.Time    // by the guard's clock
	Guardian keyguard.Guardian

	through Through
	private seal.PrivateKey
	target  seal.Target
}

// NewWorld returns a World whose guard is asked through what is given.
func NewWorld(t *testing.T, through Through) *World {
	memory := ledgertest.NewMemory("wattveil.example/hub")
	memory.PutSubjectKey(string(Home), ledger.Hash{1})
	w := &World{
		T:       t,
		Log:     ledgertest.Start(t, memory),
		Keys:    new(Memory),
		Wrapper: new(Wrapper),
		through: through,
		Now:     time.Unix(Today.Start(), 0).Add(time.Minute).UTC(),
	}
	w.Guardian = w.guard(w.Keys, w.Log.Verifier)
	w.household(1)
	for d := Today - 10; d < Today; d++ {
		for _, up := range []meter.UsagePoint{UP1, UP2} {
			for _, r := range []meter.Register{meter.ActiveImport, meter.ActiveExport} {
				w.Blocks = append(w.Blocks, w.seal(up, r, d))
			}
		}
		w.wrap(d)
	}
	return w
}

// Clock is the guard's.
func (w *World) Clock() time.Time { return w.Now }

// elsewhere moves the world to the log of another hub, which holds the same.
func (w *World) elsewhere() {
	memory := ledgertest.NewMemory("wattveil.example/other")
	memory.PutSubjectKey(string(Home), ledger.Hash{1})
	w.Log = ledgertest.Start(w.T, memory)
}

// guard returns another guard over the world's keys.
func (w *World) guard(keys keyguard.Keys, v *ledger.Verifier) keyguard.Guardian {
	return w.through(w.T, keyguard.New(keys, w.Wrapper, v, w.Clock))
}

// household gives home a key pair of the generation and begins a writer.
func (w *World) household(generation uint32) {
	w.Helper()
	var err error
	if w.private, err = seal.NewPrivateKey(rand.Reader); err != nil {
		w.Fatal(err)
	}
	w.target = seal.Target{Household: Home, Generation: generation, Key: w.private.Public(), CapWatts: meter.DefaultCapWatts}
	wrapped, err := w.Wrapper.Wrap(w.Context(), keyguard.HouseholdKey, []seal.Item{{Context: []byte(Home), Data: w.private.Seed()}})
	if err != nil {
		w.Fatal(err)
	}
	known, err := w.Keys.HouseholdKeys(w.Context(), Home)
	if err != nil {
		w.Fatal(err)
	}
	w.Keys.PutHousehold(Home, append(known, keyguard.WrappedKey{Generation: generation, Wrapped: wrapped[0]})...)
	if w.Writer, err = seal.NewWriter(rand.Reader, w.Clock); err != nil {
		w.Fatal(err)
	}
	w.Keys.PutWriter(w.Writer.ID(), w.Writer.PublicKey())
}

func (w *World) seal(up meter.UsagePoint, r meter.Register, d meter.Day) seal.Block {
	w.Helper()
	s := meter.Series{UsagePoint: up, Register: r, Start: d.Start(), Length: 900, Values: make([]int64, 96)}
	for i := range s.Values {
		s.Values[i] = int64(i)
	}
	b, err := w.Writer.Begin().Seal(w.target, s)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// wrap stores the wrap of the writer's day key, twice, as ingest may.
func (w *World) wrap(d meter.Day) {
	w.Helper()
	for range 2 {
		wrap, _, err := w.Writer.Wrap(w.target, d)
		if err != nil {
			w.Fatal(err)
		}
		w.Keys.PutWrap(wrap)
	}
}

// access is the leaf of a third party's access to two days of one point.
func access() ledger.Payload {
	return ledger.Payload{
		Kind: ledger.KindAccess, Subject: string(Home), Recipient: "adviser", Purpose: "advice", PurposeText: ledger.Hash{6}, Consent: "c-1",
		UsagePoints: []string{string(UP1)}, Registers: []string{meter.ActiveImport.String()}, Granularity: "interval",
		From: (Today - 3).Start(), Until: (Today - 1).Start(), KeyFrom: int32(Today - 3), KeyUntil: int32(Today - 2),
		PermissionUntil: Today.End(), Terms: ledger.Hash{7},
	}
}

// own is the leaf of the household's reading of its own data.
func own() ledger.Payload {
	return ledger.Payload{
		Kind: ledger.KindAccess, Subject: string(Home), Purpose: consent.PurposeSelf, Session: ledger.Hash{9},
		UsagePoints: []string{string(UP1), string(UP2)}, Granularity: "interval",
		From: (Today - 10).Start(), Until: Today.End(), KeyFrom: int32(Today - 10), KeyUntil: int32(Today),
	}
}

// agreement is the leaf of the grant under which a third party's access is.
func agreement(access ledger.Payload) ledger.Payload {
	access.Kind = ledger.KindConsentGrant
	access.KeyFrom, access.KeyUntil, access.Intervals, access.Session = 0, 0, 0, ledger.Hash{}
	return access
}

// record puts the grant that a payload needs and then the payload into the log,
// and returns the request that presents both.
func (w *World) record(p ledger.Payload) (keyguard.Request, uint64) {
	w.Helper()
	var r keyguard.Request
	if p.Consent != "" {
		r.Consent, _ = w.open(agreement(p))
	}
	var index uint64
	r.Access, index = w.open(p)
	return r, index
}

// open puts a payload into the log and proves it.
func (w *World) open(p ledger.Payload) (ledger.Opening, uint64) {
	w.Helper()
	receipt, err := w.Log.Propose(w.Context(), rand.Text(), func(context.Context, *ledgertest.Tx, ledger.Position) (ledger.Payload, error) {
		return p, nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return w.Prove(receipt), receipt.Index
}

// Prove opens and proves a leaf of the world's log.
func (w *World) Prove(r ledger.Receipt) ledger.Opening {
	w.Helper()
	return Prove(w.T, w.Log.Store, r)
}

// Prove opens and proves a leaf.
func Prove(t *testing.T, log ledger.Reader, r ledger.Receipt) ledger.Opening {
	t.Helper()
	proof, err := ledger.TLogProof(t.Context(), log, r.Index)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Opening{Payload: r.Payload, Nonce: r.Nonce, Proof: proof}
}

// allow presents the request and returns the keys.
func (w *World) allow(r keyguard.Request) *keyguard.BlockKeys {
	w.Helper()
	keys, err := w.Guardian.BlockKeys(w.Context(), r)
	if err != nil {
		w.Fatalf("refused: %v", err)
	}
	return keys
}

// deny presents the request, wants the error, and that no private key was
// touched on the way.
func (w *World) deny(want error, r keyguard.Request) {
	w.Helper()
	before := w.Wrapper.unwraps()
	keys, err := w.Guardian.BlockKeys(w.Context(), r)
	if !errors.Is(err, want) || keys != nil {
		w.Errorf("answer %v, %v, want %v", keys, err, want)
	}
	if w.Wrapper.unwraps() != before {
		w.Error("a private key was unwrapped for a request that is refused")
	}
}

// opens checks that the answer holds the keys of exactly those blocks that the
// test names, and that they open them.
func (w *World) opens(keys *keyguard.BlockKeys, want func(seal.Block) bool) {
	w.Helper()
	n := 0
	for _, b := range w.Blocks {
		if _, ok := keys.Key(b); ok != want(b) {
			w.Errorf("key of %s %v on %v: %v, want %v", b.UsagePoint, b.Register, b.Day, ok, want(b))
		}
		if want(b) {
			n++
		}
	}
	if len(keys.Keys) != n {
		w.Errorf("%d keys, want %d", len(keys.Keys), n)
	}
}

// Break makes every call fail with err from now on; nil mends it.
func (w *Wrapper) Break(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// Wrapper is a seal.Wrapper in memory. It counts what is unwrapped, and keeps
// what it gave out to see whether it is cleared.
type Wrapper struct {
	mu    sync.Mutex
	items []seal.Item
	given [][]byte
	err   error
	// accesses are the leaves that what was unwrapped was marked with.
	accesses []uint64
}

func (w *Wrapper) unwraps() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.given)
}

// CreateKey does nothing.
func (w *Wrapper) CreateKey(context.Context, string) error { return nil }

// DestroyKey does nothing.
func (w *Wrapper) DestroyKey(context.Context, string) error { return nil }

// Wrap keeps the secrets.
func (w *Wrapper) Wrap(_ context.Context, _ string, items []seal.Item) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var wrapped [][]byte
	for _, i := range items {
		wrapped = append(wrapped, []byte{byte(len(w.items))})
		w.items = append(w.items, seal.Item{Context: bytes.Clone(i.Context), Data: bytes.Clone(i.Data)})
	}
	return wrapped, nil
}

// Unwrap gives them out, if the contexts are the same.
func (w *Wrapper) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if index, ok := seal.AccessOf(ctx); ok {
		w.accesses = append(w.accesses, index)
	}
	var secrets [][]byte
	for _, i := range items {
		item := w.items[i.Data[0]]
		if key != keyguard.HouseholdKey || !bytes.Equal(item.Context, i.Context) {
			return nil, seal.ErrRefused
		}
		secrets = append(secrets, bytes.Clone(item.Data))
	}
	w.given = append(w.given, secrets...)
	return secrets, nil
}
