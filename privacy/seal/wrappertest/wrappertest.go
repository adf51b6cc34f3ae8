// Package wrappertest is the contract of seal.Wrapper, as tests. Every
// implementation passes it as it stands: the local keyring and Vault's transit
// engine in server/keys, and whatever comes after them.
//
// Durability is the one promise it cannot check, because only the
// implementation knows how to come back after a crash; their own tests do.
package wrappertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// maxSecret is the largest Item.Data that every Wrapper takes, in bytes.
const maxSecret = 4 << 10

// Test runs the contract. open answers a Wrapper that holds no key and shares
// none with any other Wrapper that it has answered; it registers its own clean-up.
func Test(t *testing.T, open func(t *testing.T) seal.Wrapper) {
	t.Run("round trip", func(t *testing.T) { roundTrip(t, open(t)) })
	t.Run("batches", func(t *testing.T) { batches(t, open(t)) })
	t.Run("fresh ciphertexts", func(t *testing.T) { freshCiphertexts(t, open(t)) })
	t.Run("context binds", func(t *testing.T) { contextBinds(t, open(t)) })
	t.Run("keys are apart", func(t *testing.T) { keysAreApart(t, open(t)) })
	t.Run("altered ciphertext", func(t *testing.T) { alteredCiphertext(t, open(t)) })
	t.Run("a batch fails whole", func(t *testing.T) { batchFailsWhole(t, open(t)) })
	t.Run("missing key", func(t *testing.T) { missingKey(t, open(t)) })
	t.Run("creating twice", func(t *testing.T) { creatingTwice(t, open(t)) })
	t.Run("destroying", func(t *testing.T) { destroying(t, open(t)) })
	t.Run("destroying before creating", func(t *testing.T) { destroyingFirst(t, open(t)) })
	t.Run("key names", func(t *testing.T) { keyNames(t, open(t)) })
	t.Run("secret size", func(t *testing.T) { secretSize(t, open(t)) })
	t.Run("cancelled caller", func(t *testing.T) { cancelledCaller(t, open(t)) })
	t.Run("caller's memory", func(t *testing.T) { callersMemory(t, open(t)) })
	t.Run("many callers", func(t *testing.T) { manyCallers(t, open(t)) })
	t.Run("destroying under load", func(t *testing.T) { destroyingUnderLoad(t, open(t)) })
}

// roundTrip catches a wrapper that mangles, reorders or pads: what was wrapped
// comes back, whatever its bytes, with any context, the empty one included.
func roundTrip(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	items := []seal.Item{
		{Context: []byte("household-1"), Data: []byte("a secret of thirty-two bytes....")},
		{Context: nil, Data: []byte("no context")},
		{Context: []byte{0, 0xff, '\n', '"'}, Data: []byte{0, 0xff, 0, 0}},
		{Context: []byte("household-1"), Data: []byte("the same context again")},
		{Context: bytes.Repeat([]byte{7}, 500), Data: []byte{1}},
		{Context: []byte("empty secret"), Data: nil},
	}
	sealed := wrap(t, w, "hub", items)
	for i, c := range sealed {
		if d := items[i].Data; len(d) > 8 && bytes.Contains(c, d) {
			t.Errorf("ciphertext %d holds its secret in plain", i)
		}
	}
	wantOpen(t, w, "hub", items, sealed)
}

// batches catches a chunk boundary that drops, doubles or swaps items: Vault
// takes a thousand in a call, and callers hand over any number.
func batches(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	for _, n := range []int{0, 1, 999, 1000, 1001, 2500} {
		items := make([]seal.Item, n)
		for i := range items {
			items[i] = seal.Item{Context: fmt.Appendf(nil, "household-%d", i), Data: fmt.Appendf(nil, "secret %d", i)}
		}
		wantOpen(t, w, "hub", items, wrap(t, w, "hub", items))
	}
}

// freshCiphertexts catches a fixed nonce: the same secret in the same context
// never looks the same twice, within a batch or across calls.
func freshCiphertexts(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	items := slices.Repeat([]seal.Item{{Context: []byte("c"), Data: []byte("same secret")}}, 50)
	seen := map[string]bool{}
	for _, c := range slices.Concat(wrap(t, w, "hub", items), wrap(t, w, "hub", items)) {
		if seen[string(c)] {
			t.Fatal("two wraps of one secret are equal")
		}
		seen[string(c)] = true
	}
}

// contextBinds catches a context that is accepted but ignored (a Vault key made
// without derivation does that): a row moved to another household stays shut.
func contextBinds(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	contexts := [][]byte{nil, []byte("a"), []byte("b"), []byte("ab"), []byte("a\x00"), {0}}
	for i, context := range contexts {
		sealed := wrap(t, w, "hub", []seal.Item{{Context: context, Data: []byte("secret")}})
		for j, other := range contexts {
			_, err := w.Unwrap(t.Context(), "hub", []seal.Item{{Context: other, Data: sealed[0]}})
			if i == j {
				wantError(t, err, nil)
			} else {
				wantError(t, err, seal.ErrRefused)
			}
		}
	}
}

// keysAreApart catches one root shared by all names: then destroying a window's
// key would destroy nothing.
func keysAreApart(t *testing.T, w seal.Wrapper) {
	create(t, w, "window-1")
	create(t, w, "window-2")
	item := seal.Item{Context: []byte("c"), Data: []byte("secret")}
	sealed := wrap(t, w, "window-1", []seal.Item{item})
	item.Data = sealed[0]
	_, err := w.Unwrap(t.Context(), "window-2", []seal.Item{item})
	wantError(t, err, seal.ErrRefused)
}

// alteredCiphertext catches every way for a changed ciphertext to be taken:
// each single bit flipped (version digits and encoding included), any
// truncation, anything before or after, nothing at all.
func alteredCiphertext(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	context := []byte("household-1")
	good := wrap(t, w, "hub", []seal.Item{{Context: context, Data: []byte("secret")}})[0]
	refused := func(what string, c []byte) {
		t.Helper()
		answer, err := w.Unwrap(t.Context(), "hub", []seal.Item{{Context: context, Data: c}})
		if !errors.Is(err, seal.ErrRefused) || answer != nil {
			t.Errorf("%s: answered %d items, error %v; want none and seal.ErrRefused", what, len(answer), err)
		}
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			refused(fmt.Sprintf("bit %d of byte %d flipped", bit, i), bad)
		}
	}
	for n := range good {
		refused(fmt.Sprintf("cut to %d bytes", n), good[:n])
	}
	refused("a byte more", append(bytes.Clone(good), 0))
	refused("a line feed more", append(bytes.Clone(good), '\n'))
	refused("a byte in front", append([]byte{0}, good...))
	refused("twice", append(bytes.Clone(good), good...))
	refused("absurdly long", bytes.Repeat(good, 1000))
	refused("not a ciphertext", []byte("household readings"))
	wantOpen(t, w, "hub", []seal.Item{{Context: context, Data: []byte("secret")}}, [][]byte{good})
}

// batchFailsWhole catches a partial answer: one bad item, even in a later
// chunk, and the caller gets nothing.
func batchFailsWhole(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	items := make([]seal.Item, 1500)
	for i := range items {
		items[i] = seal.Item{Context: []byte("c"), Data: []byte("secret")}
	}
	for i, c := range wrap(t, w, "hub", items) {
		items[i].Data = c
	}
	for _, bad := range []int{0, 700, 1499} {
		mixed := slices.Clone(items)
		mixed[bad].Context = []byte("another")
		answer, err := w.Unwrap(t.Context(), "hub", mixed)
		wantError(t, err, seal.ErrRefused)
		if answer != nil {
			t.Errorf("item %d bad: %d items answered", bad, len(answer))
		}
	}
}

// missingKey catches a service that makes a key because someone encrypted under
// its name (Vault does, given the chance): a typing error, or a wrap that comes
// after a destruction, must not bring a name to life.
func missingKey(t *testing.T, w seal.Wrapper) {
	create(t, w, "other")
	sealed := wrap(t, w, "other", []seal.Item{{Data: []byte("secret")}})
	for range 2 {
		_, err := w.Wrap(t.Context(), "nobody", []seal.Item{{Data: []byte("secret")}})
		wantError(t, err, seal.ErrKeyGone)
		_, err = w.Wrap(t.Context(), "nobody", []seal.Item{{Context: []byte("c"), Data: []byte("secret")}})
		wantError(t, err, seal.ErrKeyGone)
		_, err = w.Unwrap(t.Context(), "nobody", []seal.Item{{Data: sealed[0]}})
		wantError(t, err, seal.ErrKeyGone)
	}
}

// creatingTwice catches a second CreateKey that replaces the first one's key:
// every start of the hub calls it.
func creatingTwice(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	items := []seal.Item{{Context: []byte("c"), Data: []byte("secret")}}
	sealed := wrap(t, w, "hub", items)
	create(t, w, "hub")
	wantOpen(t, w, "hub", items, sealed)
}

// destroying catches a destruction that can be taken back, by the caller or by
// itself, or that takes another key along.
func destroying(t *testing.T, w seal.Wrapper) {
	create(t, w, "window-1")
	create(t, w, "window-10")
	items := []seal.Item{{Context: []byte("c"), Data: []byte("secret")}}
	gone, kept := wrap(t, w, "window-1", items), wrap(t, w, "window-10", items)
	for range 2 {
		wantError(t, w.DestroyKey(t.Context(), "window-1"), nil)
		_, err := w.Unwrap(t.Context(), "window-1", []seal.Item{{Context: []byte("c"), Data: gone[0]}})
		wantError(t, err, seal.ErrKeyGone)
		_, err = w.Wrap(t.Context(), "window-1", items)
		wantError(t, err, seal.ErrKeyGone)
		wantError(t, w.CreateKey(t.Context(), "window-1"), seal.ErrKeyGone)
	}
	wantOpen(t, w, "window-10", items, kept)
	create(t, w, "window-10")
}

// destroyingFirst catches a closing that overtakes an opening: a name destroyed
// before it was created cannot be created any more.
func destroyingFirst(t *testing.T, w seal.Wrapper) {
	wantError(t, w.DestroyKey(t.Context(), "window-1"), nil)
	wantError(t, w.CreateKey(t.Context(), "window-1"), seal.ErrKeyGone)
	_, err := w.Wrap(t.Context(), "window-1", []seal.Item{{Data: []byte("secret")}})
	wantError(t, err, seal.ErrKeyGone)
}

// keyNames catches a name that reaches a path, a URL or a tombstone.
func keyNames(t *testing.T, w seal.Wrapper) {
	allow := func(name string) {
		t.Helper()
		create(t, w, name)
		items := []seal.Item{{Data: []byte("secret")}}
		wantOpen(t, w, name, items, wrap(t, w, name, items))
	}
	deny := func(name string) {
		t.Helper()
		items := []seal.Item{{Data: []byte("secret")}}
		_, wrapErr := w.Wrap(t.Context(), name, items)
		_, unwrapErr := w.Unwrap(t.Context(), name, items)
		_, emptyErr := w.Wrap(t.Context(), name, nil)
		for _, err := range []error{
			w.CreateKey(t.Context(), name), w.DestroyKey(t.Context(), name), wrapErr, unwrapErr, emptyErr,
		} {
			if !errors.Is(err, seal.ErrRefused) {
				t.Errorf("name %q: %v, want seal.ErrRefused", name, err)
			}
		}
	}
	allow("h")
	allow("2018-10-29")
	allow("a--b")
	allow(strings.Repeat("k", 64))
	deny("")
	deny(strings.Repeat("k", 65))
	deny("Hub")
	deny("-hub")
	deny("hub-")
	deny("hub_1")
	deny("hub 1")
	deny("hub.key")
	deny("hub.destroyed")
	deny("hub/config")
	deny(".")
	deny("..")
	deny("../hub")
	deny("/hub")
	deny("hub\x00")
	deny("hub\n")
	deny("hub%2f")
	deny("hüb")
}

// secretSize catches both a limit below the documented one and none at all:
// wrappers hold keys, not data.
func secretSize(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	items := []seal.Item{{Context: []byte("c"), Data: bytes.Repeat([]byte{0xa5}, maxSecret)}}
	wantOpen(t, w, "hub", items, wrap(t, w, "hub", items))
	items[0].Data = append(items[0].Data, 1)
	_, err := w.Wrap(t.Context(), "hub", items)
	wantError(t, err, seal.ErrRefused)
}

// cancelledCaller catches a call that goes on after its caller has left, and
// one whose error a caller could take for a refusal.
func cancelledCaller(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	items := []seal.Item{{Data: []byte("secret")}}
	sealed := wrap(t, w, "hub", items)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, wrapErr := w.Wrap(ctx, "hub", items)
	_, unwrapErr := w.Unwrap(ctx, "hub", []seal.Item{{Data: sealed[0]}})
	for _, err := range []error{w.CreateKey(ctx, "new"), w.DestroyKey(ctx, "hub"), wrapErr, unwrapErr} {
		wantError(t, err, seal.ErrUnavailable)
		wantError(t, err, context.Canceled)
	}
	wantOpen(t, w, "hub", items, sealed)
}

// callersMemory catches a wrapper that writes into what it was given, or that
// answers memory which it goes on using.
func callersMemory(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	item := seal.Item{Context: []byte("context"), Data: []byte("secret")}
	first := wrap(t, w, "hub", []seal.Item{item})
	copied := bytes.Clone(first[0])
	wrap(t, w, "hub", []seal.Item{item})
	if string(item.Context) != "context" || string(item.Data) != "secret" {
		t.Error("wrapping changed its input")
	}
	if !bytes.Equal(first[0], copied) {
		t.Error("a second wrap changed the answer of the first")
	}
	wantOpen(t, w, "hub", []seal.Item{item}, first)
	if !bytes.Equal(first[0], copied) {
		t.Error("unwrapping changed its input")
	}
}

// manyCallers catches shared state without a lock (run with -race), with
// callers that create, wrap, unwrap and destroy at once.
func manyCallers(t *testing.T, w seal.Wrapper) {
	create(t, w, "hub")
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			own := fmt.Sprintf("window-%d", n)
			create(t, w, own)
			create(t, w, "hub")
			for i := range 20 {
				for _, name := range []string{"hub", own} {
					items := []seal.Item{{Context: []byte(own), Data: fmt.Appendf(nil, "secret %d", i)}}
					sealed, err := w.Wrap(t.Context(), name, items)
					if err != nil {
						t.Errorf("wrapping: %v", err)
						return
					}
					opened, err := w.Unwrap(t.Context(), name, []seal.Item{{Context: []byte(own), Data: sealed[0]}})
					if err != nil || !bytes.Equal(opened[0], items[0].Data) {
						t.Errorf("unwrapping: error %v, or another secret", err)
						return
					}
				}
			}
			wantError(t, w.DestroyKey(t.Context(), own), nil)
		})
	}
	wg.Wait()
}

// destroyingUnderLoad catches a destruction that returns while the key still
// opens something, and a race that leaves the name alive: afterwards no caller
// gets anything, and those before got either an answer or ErrKeyGone.
func destroyingUnderLoad(t *testing.T, w seal.Wrapper) {
	create(t, w, "window-1")
	items := []seal.Item{{Context: []byte("c"), Data: []byte("secret")}}
	sealed := wrap(t, w, "window-1", items)
	closed := []seal.Item{{Context: []byte("c"), Data: sealed[0]}}
	done := make(chan struct{})
	var wg sync.WaitGroup
	attempt := func(call func() error) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := call(); err != nil && !errors.Is(err, seal.ErrKeyGone) {
					t.Errorf("while destroying: %v", err)
					return
				}
			}
		})
	}
	attempt(func() error { _, err := w.Unwrap(t.Context(), "window-1", closed); return err })
	attempt(func() error { _, err := w.Wrap(t.Context(), "window-1", items); return err })
	attempt(func() error { return w.CreateKey(t.Context(), "window-1") })
	var destroyers sync.WaitGroup
	for range 3 {
		destroyers.Go(func() {
			wantError(t, w.DestroyKey(t.Context(), "window-1"), nil)
			if _, err := w.Unwrap(t.Context(), "window-1", closed); err == nil {
				t.Error("opened after the destruction returned")
			}
		})
	}
	destroyers.Wait()
	close(done)
	wg.Wait()
	_, err := w.Wrap(t.Context(), "window-1", items)
	wantError(t, err, seal.ErrKeyGone)
	_, err = w.Unwrap(t.Context(), "window-1", closed)
	wantError(t, err, seal.ErrKeyGone)
	wantError(t, w.CreateKey(t.Context(), "window-1"), seal.ErrKeyGone)
}

func create(t *testing.T, w seal.Wrapper, key string) {
	t.Helper()
	if err := w.CreateKey(t.Context(), key); err != nil {
		t.Errorf("creating key %q: %v", key, err)
	}
}

func wrap(t *testing.T, w seal.Wrapper, key string, items []seal.Item) [][]byte {
	t.Helper()
	sealed, err := w.Wrap(t.Context(), key, items)
	if err != nil {
		t.Fatalf("wrapping %d items: %v", len(items), err)
	}
	if len(sealed) != len(items) {
		t.Fatalf("wrapping %d items: %d ciphertexts", len(items), len(sealed))
	}
	return sealed
}

// wantOpen checks that the ciphertexts open, in order, to the items' secrets.
func wantOpen(t *testing.T, w seal.Wrapper, key string, items []seal.Item, sealed [][]byte) {
	t.Helper()
	closed := make([]seal.Item, len(items))
	for i := range items {
		closed[i] = seal.Item{Context: items[i].Context, Data: sealed[i]}
	}
	opened, err := w.Unwrap(t.Context(), key, closed)
	if err != nil {
		t.Fatalf("unwrapping %d items: %v", len(items), err)
	}
	if len(opened) != len(items) {
		t.Fatalf("unwrapping %d items: %d secrets", len(items), len(opened))
	}
	for i := range items {
		if !bytes.Equal(opened[i], items[i].Data) {
			t.Fatalf("item %d of %d came back changed", i, len(items))
		}
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}
