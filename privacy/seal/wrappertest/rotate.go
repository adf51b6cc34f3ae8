package wrappertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// TestRotator runs what a seal.Rotator promises beyond a Wrapper, which passes Test
// as well. open is that of Test.
func TestRotator(t *testing.T, open func(t *testing.T) seal.Rotator) {
	t.Run("rotating", func(t *testing.T) { rotating(t, open(t)) })
	t.Run("rewrapping", func(t *testing.T) { rewrapping(t, open(t)) })
	t.Run("a rewrap fails whole", func(t *testing.T) { rewrapFailsWhole(t, open(t)) })
	t.Run("retiring", func(t *testing.T) { retiring(t, open(t)) })
	t.Run("retiring again", func(t *testing.T) { retiringAgain(t, open(t)) })
	t.Run("rotating apart", func(t *testing.T) { rotatingApart(t, open(t)) })
	t.Run("rotating what is gone", func(t *testing.T) { rotatingGone(t, open(t)) })
	t.Run("destroying all versions", func(t *testing.T) { destroyingVersions(t, open(t)) })
	t.Run("versions of strangers", func(t *testing.T) { strangeVersions(t, open(t)) })
	t.Run("rotation of a cancelled caller", func(t *testing.T) { rotationCancelled(t, open(t)) })
	t.Run("rotating under load", func(t *testing.T) { rotatingUnderLoad(t, open(t)) })
}

var rotated = []seal.Item{
	{Context: []byte("household-1"), Data: []byte("secret 1")},
	{Context: nil, Data: []byte("secret 2")},
	{Context: []byte("household-1"), Data: nil},
}

// rotating catches a rotation that shuts what was wrapped before it, or that goes on
// wrapping under the version before.
func rotating(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	var sealed [][][]byte
	for version := uint64(1); version <= 4; version++ {
		wantVersions(t, w, "hub", 1, version)
		now := wrap(t, w, "hub", rotated)
		for _, c := range now {
			wantVersion(t, w, c, version)
		}
		sealed = append(sealed, now)
		rotate(t, w, "hub", version+1)
	}
	create(t, w, "hub") // as every start does: it changes nothing
	wantVersions(t, w, "hub", 1, 5)
	for _, then := range sealed {
		wantOpen(t, w, "hub", rotated, then)
	}
}

// rewrapping catches a rewrap that changes a secret or lets go of its context, that
// stays under the old version, or that drops and swaps items where a batch ends.
func rewrapping(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	for version, n := range []int{0, 1, 3, 1001} {
		items := make([]seal.Item, n)
		for i := range items {
			items[i] = seal.Item{Context: fmt.Appendf(nil, "household-%d", i), Data: fmt.Appendf(nil, "secret %d", i)}
		}
		old := wrap(t, w, "hub", items)
		rotate(t, w, "hub", uint64(version)+2)
		fresh := rewrap(t, w, "hub", items, old)
		for _, c := range fresh {
			wantVersion(t, w, c, uint64(version)+2)
		}
		wantOpen(t, w, "hub", items, fresh)
		wantOpen(t, w, "hub", items, old)
	}
	items := rotated[:1]
	newest := wrap(t, w, "hub", items)
	again := rewrap(t, w, "hub", items, newest)
	wantOpen(t, w, "hub", items, again)
	wantVersion(t, w, again[0], 5)
	_, err := w.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("another"), Data: again[0]}})
	wantError(t, err, seal.ErrRefused)
}

// rewrapFailsWhole catches a partial answer, and a rewrap that moves a secret to
// another context.
func rewrapFailsWhole(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	items := slices.Repeat([]seal.Item{{Context: []byte("c"), Data: []byte("secret")}}, 1100)
	for i, c := range wrap(t, w, "hub", items) {
		items[i].Data = c
	}
	for _, bad := range []int{0, 1099} {
		for what, item := range map[string]seal.Item{
			"context": {Context: []byte("another"), Data: items[bad].Data},
			"data":    {Context: []byte("c"), Data: []byte("not a ciphertext")},
			"nothing": {Context: []byte("c")},
		} {
			mixed := slices.Clone(items)
			mixed[bad] = item
			answer, err := w.Rewrap(t.Context(), "hub", mixed)
			wantError(t, err, seal.ErrRefused)
			if answer != nil {
				t.Errorf("item %d with another %s: %d items answered", bad, what, len(answer))
			}
		}
	}
}

// retiring catches a retired version that still opens or rewraps something, one taken
// for a key that is gone, and a retirement that takes a younger version along.
func retiring(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	first := wrap(t, w, "hub", rotated)
	rotate(t, w, "hub", 2)
	second := wrap(t, w, "hub", rotated)
	rotate(t, w, "hub", 3)
	third := rewrap(t, w, "hub", rotated, second)

	wantError(t, w.RetireVersions(t.Context(), "hub", 2), nil)
	wantVersions(t, w, "hub", 2, 3)
	wantShut(t, w, "hub", rotated, first)
	wantOpen(t, w, "hub", rotated, second)
	wantOpen(t, w, "hub", rotated, third)

	wantError(t, w.RetireVersions(t.Context(), "hub", 3), nil)
	wantVersions(t, w, "hub", 3, 3)
	wantShut(t, w, "hub", rotated, first)
	wantShut(t, w, "hub", rotated, second)
	wantOpen(t, w, "hub", rotated, third)
	wantVersion(t, w, first[0], 1) // it is still known for what it was
	create(t, w, "hub")
	wantOpen(t, w, "hub", rotated, wrap(t, w, "hub", rotated))
}

// retiringAgain catches a retirement that cannot be repeated after a crash, one that
// brings a version back, and one that would leave no version at all.
func retiringAgain(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	first := wrap(t, w, "hub", rotated)
	for _, harmless := range []uint64{0, 1, 1} {
		wantError(t, w.RetireVersions(t.Context(), "hub", harmless), nil)
	}
	for _, above := range []uint64{2, 1 << 40, 1<<64 - 1} {
		wantError(t, w.RetireVersions(t.Context(), "hub", above), seal.ErrRefused)
	}
	wantOpen(t, w, "hub", rotated, first)
	rotate(t, w, "hub", 2)
	for _, oldest := range []uint64{2, 2, 1, 0, 2} {
		wantError(t, w.RetireVersions(t.Context(), "hub", oldest), nil)
		wantVersions(t, w, "hub", 2, 2)
		wantShut(t, w, "hub", rotated, first)
	}
	rotate(t, w, "hub", 3) // numbers are not used again
	wantError(t, w.RetireVersions(t.Context(), "hub", 4), seal.ErrRefused)
}

// rotatingApart catches a rotation or retirement that reaches another key.
func rotatingApart(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	create(t, w, "hub-2")
	kept := wrap(t, w, "hub-2", rotated)
	rotate(t, w, "hub", 2)
	wantError(t, w.RetireVersions(t.Context(), "hub", 2), nil)
	wantVersions(t, w, "hub-2", 1, 1)
	wantOpen(t, w, "hub-2", rotated, kept)
	_, err := w.Rewrap(t.Context(), "hub", []seal.Item{{Context: rotated[0].Context, Data: kept[0]}})
	wantError(t, err, seal.ErrRefused)
}

// rotatingGone catches a rotation that brings a name to life, or back, and a name that
// reaches a path or a URL.
func rotatingGone(t *testing.T, w seal.Rotator) {
	create(t, w, "window-1")
	sealed := wrap(t, w, "window-1", rotated[:1])
	wantError(t, w.DestroyKey(t.Context(), "window-1"), nil)
	for name, want := range map[string]error{
		"window-1": seal.ErrKeyGone, "nobody": seal.ErrKeyGone,
		"": seal.ErrRefused, "..": seal.ErrRefused, "window-1/config": seal.ErrRefused, "window-1.destroyed": seal.ErrRefused,
	} {
		_, rotateErr := w.RotateKey(t.Context(), name)
		_, rewrapErr := w.Rewrap(t.Context(), name, []seal.Item{{Context: rotated[0].Context, Data: sealed[0]}})
		_, _, versionsErr := w.KeyVersions(t.Context(), name)
		for call, err := range map[string]error{
			"rotating": rotateErr, "rewrapping": rewrapErr, "versions": versionsErr,
			"retiring": w.RetireVersions(t.Context(), name, 1),
		} {
			if !errors.Is(err, want) {
				t.Errorf("%s of %q: error %v, want %v", call, name, err, want)
			}
		}
	}
	_, err := w.Wrap(t.Context(), "nobody", rotated)
	wantError(t, err, seal.ErrKeyGone)
	wantError(t, w.CreateKey(t.Context(), "window-1"), seal.ErrKeyGone)
}

// destroyingVersions catches a destruction that takes the newest version only.
func destroyingVersions(t *testing.T, w seal.Rotator) {
	create(t, w, "window-1")
	var sealed [][]byte
	for version := range uint64(3) {
		sealed = append(sealed, wrap(t, w, "window-1", rotated[:1])...)
		rotate(t, w, "window-1", version+2)
	}
	wantError(t, w.RetireVersions(t.Context(), "window-1", 2), nil)
	wantError(t, w.DestroyKey(t.Context(), "window-1"), nil)
	for _, c := range sealed {
		_, err := w.Unwrap(t.Context(), "window-1", []seal.Item{{Context: rotated[0].Context, Data: c}})
		wantError(t, err, seal.ErrKeyGone)
	}
}

// strangeVersions catches an answer about what no key of this service has wrapped.
func strangeVersions(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	good := wrap(t, w, "hub", rotated[:1])[0]
	for _, c := range [][]byte{
		nil,
		{},
		{0},
		{1},
		{2},
		[]byte("vault:v1:"),
		[]byte("vault:v0:" + string(good)),
		good[:9],
		bytes.Repeat(good, 1000),
		bytes.Repeat([]byte{0xff}, 100),
		make([]byte, 100),
	} {
		version, err := w.VersionOf(c)
		if !errors.Is(err, seal.ErrRefused) || version != 0 {
			t.Errorf("version %d of a stranger of %d bytes, error %v; want seal.ErrRefused", version, len(c), err)
		}
	}
}

// rotationCancelled catches a change made for a caller who has left.
func rotationCancelled(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	sealed := wrap(t, w, "hub", rotated)
	rotate(t, w, "hub", 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, rotateErr := w.RotateKey(ctx, "hub")
	_, rewrapErr := w.Rewrap(ctx, "hub", []seal.Item{{Context: rotated[0].Context, Data: sealed[0]}})
	_, _, versionsErr := w.KeyVersions(ctx, "hub")
	for _, err := range []error{rotateErr, rewrapErr, versionsErr, w.RetireVersions(ctx, "hub", 2)} {
		wantError(t, err, seal.ErrUnavailable)
		wantError(t, err, context.Canceled)
	}
	wantVersions(t, w, "hub", 1, 2)
	wantOpen(t, w, "hub", rotated, sealed)
}

// rotatingUnderLoad catches callers who are turned away, or given something else, by a
// rotation that is under way (run with -race), and rotations that share a number's key.
func rotatingUnderLoad(t *testing.T, w seal.Rotator) {
	create(t, w, "hub")
	done := make(chan struct{})
	var callers, rotators sync.WaitGroup
	for n := range 4 {
		callers.Go(func() {
			items := []seal.Item{{Context: fmt.Appendf(nil, "household-%d", n), Data: fmt.Appendf(nil, "secret %d", n)}}
			for {
				select {
				case <-done:
					return
				default:
				}
				sealed, err := w.Wrap(t.Context(), "hub", items)
				if err == nil {
					sealed, err = w.Rewrap(t.Context(), "hub", []seal.Item{{Context: items[0].Context, Data: sealed[0]}})
				}
				if err == nil {
					sealed, err = w.Unwrap(t.Context(), "hub", []seal.Item{{Context: items[0].Context, Data: sealed[0]}})
				}
				if err != nil || !bytes.Equal(sealed[0], items[0].Data) {
					t.Errorf("while rotating: error %v, or another secret", err)
					return
				}
			}
		})
	}
	for range 2 {
		rotators.Go(func() {
			for range 5 {
				if _, err := w.RotateKey(t.Context(), "hub"); err != nil {
					t.Errorf("rotating: %v", err)
				}
			}
		})
	}
	rotators.Wait()
	close(done)
	callers.Wait()
	wantVersions(t, w, "hub", 1, 11)
	var retirers sync.WaitGroup
	for oldest := uint64(2); oldest <= 11; oldest += 3 {
		retirers.Go(func() { wantError(t, w.RetireVersions(t.Context(), "hub", oldest), nil) })
	}
	retirers.Wait()
	wantVersions(t, w, "hub", 11, 11)
}

func rotate(t *testing.T, w seal.Rotator, key string, want uint64) {
	t.Helper()
	if version, err := w.RotateKey(t.Context(), key); err != nil || version != want {
		t.Fatalf("rotated to version %d, error %v; want version %d", version, err, want)
	}
}

// rewrap answers the ciphertexts wrapped anew.
func rewrap(t *testing.T, w seal.Rotator, key string, items []seal.Item, sealed [][]byte) [][]byte {
	t.Helper()
	closed := make([]seal.Item, len(items))
	for i := range items {
		closed[i] = seal.Item{Context: items[i].Context, Data: sealed[i]}
	}
	fresh, err := w.Rewrap(t.Context(), key, closed)
	if err != nil || len(fresh) != len(items) {
		t.Fatalf("wrapping %d items anew: %d ciphertexts, error %v", len(items), len(fresh), err)
	}
	return fresh
}

// wantShut checks of every ciphertext by itself that it neither opens nor rewraps.
func wantShut(t *testing.T, w seal.Rotator, key string, items []seal.Item, sealed [][]byte) {
	t.Helper()
	for i, c := range sealed {
		closed := []seal.Item{{Context: items[i].Context, Data: c}}
		_, err := w.Unwrap(t.Context(), key, closed)
		wantError(t, err, seal.ErrRefused)
		_, err = w.Rewrap(t.Context(), key, closed)
		wantError(t, err, seal.ErrRefused)
	}
}

func wantVersions(t *testing.T, w seal.Rotator, key string, oldest, newest uint64) {
	t.Helper()
	if o, n, err := w.KeyVersions(t.Context(), key); err != nil || o != oldest || n != newest {
		t.Errorf("versions %d to %d, error %v; want %d to %d", o, n, err, oldest, newest)
	}
}

func wantVersion(t *testing.T, w seal.Rotator, ciphertext []byte, want uint64) {
	t.Helper()
	if version, err := w.VersionOf(ciphertext); err != nil || version != want {
		t.Errorf("wrapped under version %d, error %v; want %d", version, err, want)
	}
}
