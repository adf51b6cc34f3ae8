package keyguard_test

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
	"github.com/wattveil/wattveil/privacy/keyguard/keyguardtest"
	"github.com/wattveil/wattveil/privacy/seal"
)

const (
	home = consent.Household("home")
	up1  = meter.UsagePoint("UP-1")
	up2  = meter.UsagePoint("UP-2")
)

// today is the day of ledgertest.Clock, on which every leaf of these tests falls.
var today = meter.DayOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix())

// world is a log, a household whose blocks of ten days are sealed, and a guard.
type world struct {
	*testing.T
	log     *ledgertest.Log[*ledgertest.Tx]
	keys    *keyguardtest.Memory
	wrapper *wrapper
	private seal.PrivateKey
	target  seal.Target
	writer  *seal.Writer
	blocks  []seal.Block // one for each of ten days before today, point and register
	now     time.Time
	guard   *keyguard.Guard
}

func newWorld(t *testing.T) *world {
	memory := ledgertest.NewMemory("wattveil.example/hub")
	memory.PutSubjectKey(string(home), ledger.Hash{1})
	w := &world{
		T:       t,
		log:     ledgertest.Start(t, memory),
		keys:    new(keyguardtest.Memory),
		wrapper: new(wrapper),
		now:     time.Unix(today.Start(), 0).Add(time.Minute).UTC(),
	}
	w.guard = keyguard.New(w.keys, w.wrapper, w.log.Verifier, w.clock)
	w.household(1)
	for d := today - 10; d < today; d++ {
		for _, up := range []meter.UsagePoint{up1, up2} {
			for _, r := range []meter.Register{meter.ActiveImport, meter.ActiveExport} {
				w.blocks = append(w.blocks, w.seal(up, r, d))
			}
		}
		w.wrap(d)
	}
	return w
}

func (w *world) clock() time.Time { return w.now }

// household gives home a key pair of the generation and begins a writer.
func (w *world) household(generation uint32) {
	w.Helper()
	var err error
	if w.private, err = seal.NewPrivateKey(rand.Reader); err != nil {
		w.Fatal(err)
	}
	w.target = seal.Target{Household: home, Generation: generation, Key: w.private.Public(), CapWatts: meter.DefaultCapWatts}
	wrapped, err := w.wrapper.Wrap(w.Context(), keyguard.HouseholdKey, []seal.Item{{Context: []byte(home), Data: w.private.Seed()}})
	if err != nil {
		w.Fatal(err)
	}
	known, err := w.keys.HouseholdKeys(w.Context(), home)
	if err != nil {
		w.Fatal(err)
	}
	w.keys.PutHousehold(home, append(known, keyguard.WrappedKey{Generation: generation, Wrapped: wrapped[0]})...)
	if w.writer, err = seal.NewWriter(rand.Reader, w.clock); err != nil {
		w.Fatal(err)
	}
	w.keys.PutWriter(w.writer.ID(), w.writer.PublicKey())
}

func (w *world) seal(up meter.UsagePoint, r meter.Register, d meter.Day) seal.Block {
	w.Helper()
	s := meter.Series{UsagePoint: up, Register: r, Start: d.Start(), Length: 900, Values: make([]int64, 96)}
	for i := range s.Values {
		s.Values[i] = int64(i)
	}
	b, err := w.writer.Begin().Seal(w.target, s)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// wrap stores the wrap of the writer's day key, twice, as ingest may.
func (w *world) wrap(d meter.Day) {
	w.Helper()
	for range 2 {
		wrap, _, err := w.writer.Wrap(w.target, d)
		if err != nil {
			w.Fatal(err)
		}
		w.keys.PutWrap(wrap)
	}
}

// access is the leaf of a third party's access to two days of one point.
func access() ledger.Payload {
	return ledger.Payload{
		Kind: ledger.KindAccess, Subject: string(home), Recipient: "adviser", Purpose: "advice", Consent: "c-1",
		UsagePoints: []string{string(up1)}, Registers: []string{meter.ActiveImport.String()}, Granularity: "interval",
		From: (today - 3).Start(), Until: (today - 1).Start(), KeyFrom: int32(today - 3), KeyUntil: int32(today - 2),
	}
}

// own is the leaf of the household's reading of its own data.
func own() ledger.Payload {
	return ledger.Payload{
		Kind: ledger.KindAccess, Subject: string(home), Purpose: consent.PurposeSelf, Session: ledger.Hash{9},
		UsagePoints: []string{string(up1), string(up2)}, Granularity: "interval",
		From: (today - 10).Start(), Until: today.End(), KeyFrom: int32(today - 10), KeyUntil: int32(today),
	}
}

// record puts a payload into the log and returns the request that presents it.
func (w *world) record(p ledger.Payload) (keyguard.Request, uint64) {
	w.Helper()
	receipt, err := w.log.Propose(w.Context(), rand.Text(), func(context.Context, *ledgertest.Tx, ledger.Position) (ledger.Payload, error) {
		return p, nil
	})
	if err != nil {
		w.Fatal(err)
	}
	proof, err := ledger.TLogProof(w.Context(), w.log.Store, receipt.Index)
	if err != nil {
		w.Fatal(err)
	}
	return keyguard.Request{Payload: receipt.Payload, Nonce: receipt.Nonce, Proof: proof}, receipt.Index
}

// allow presents the request and returns the keys.
func (w *world) allow(r keyguard.Request) *keyguard.BlockKeys {
	w.Helper()
	keys, err := w.guard.BlockKeys(w.Context(), r)
	if err != nil {
		w.Fatalf("refused: %v", err)
	}
	return keys
}

// deny presents the request, wants the error, and that no private key was
// touched on the way.
func (w *world) deny(want error, r keyguard.Request) {
	w.Helper()
	before := w.wrapper.unwraps()
	keys, err := w.guard.BlockKeys(w.Context(), r)
	if !errors.Is(err, want) || keys != nil {
		w.Errorf("answer %v, %v, want %v", keys, err, want)
	}
	if w.wrapper.unwraps() != before {
		w.Error("a private key was unwrapped for a request that is refused")
	}
}

// opens checks that the answer holds the keys of exactly those blocks that the
// test names, and that they open them.
func (w *world) opens(keys *keyguard.BlockKeys, want func(seal.Block) bool) {
	w.Helper()
	n := 0
	for _, b := range w.blocks {
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

// wrapper is a seal.Wrapper in memory. It counts what is unwrapped, and keeps
// what it gave out to see whether it is cleared.
type wrapper struct {
	mu    sync.Mutex
	items []seal.Item
	given [][]byte
	err   error
	// accesses are the leaves that what was unwrapped was marked with.
	accesses []uint64
}

func (w *wrapper) unwraps() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.given)
}

func (w *wrapper) CreateKey(context.Context, string) error  { return nil }
func (w *wrapper) DestroyKey(context.Context, string) error { return nil }

func (w *wrapper) Wrap(_ context.Context, _ string, items []seal.Item) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var wrapped [][]byte
	for _, i := range items {
		wrapped = append(wrapped, []byte{byte(len(w.items))})
		w.items = append(w.items, seal.Item{Context: bytes.Clone(i.Context), Data: bytes.Clone(i.Data)})
	}
	return wrapped, nil
}

func (w *wrapper) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
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
