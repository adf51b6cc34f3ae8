package keys_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/privacy/seal/wrappertest"
	"github.com/wattveil/wattveil/server/keys"
)

// TestKeyringContract runs the suite that every Wrapper passes.
func TestKeyringContract(t *testing.T) {
	wrappertest.Test(t, func(t *testing.T) seal.Wrapper { return openKeyring(t, newDir(t)) })
	wrappertest.TestRotator(t, func(t *testing.T) seal.Rotator { return openKeyring(t, newDir(t)) })
}

// TestKeyringReopened catches keys, or the memory of destroyed ones, that live
// only as long as the process.
func TestKeyringReopened(t *testing.T) {
	dir := newDir(t)
	k := openKeyring(t, dir)
	create(t, k, "hub")
	create(t, k, "window-1")
	hub, window := wrapOne(t, k, "hub"), wrapOne(t, k, "window-1")
	if err := k.DestroyKey(t.Context(), "window-1"); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k = openKeyring(t, dir)
	wantOpens(t, k, "hub", hub)
	wantGone(t, k, "window-1", window)
}

// TestKeyringDestroyRemovesBytes catches a destruction that leaves the key in
// the directory, in the file itself or through a name that somebody else gave
// the same file (a hard link stands for a reader who still has it open).
func TestKeyringDestroyRemovesBytes(t *testing.T) {
	dir := newDir(t)
	k := openKeyring(t, dir)
	create(t, k, "window-1")
	file := readFile(t, dir, "window-1.key")
	_, roots, err := keys.ParseKeyFile("window-1", file)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(filepath.Join(dir, "window-1.key"), link); err != nil {
		t.Fatal(err)
	}
	if err := k.DestroyKey(t.Context(), "window-1"); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadFile(link)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != len(file) || !bytes.Equal(left, make([]byte, len(file))) {
		t.Error("the key's bytes were not overwritten")
	}
	for _, name := range list(t, dir) {
		if bytes.Contains(readFile(t, dir, name), roots[0][:]) {
			t.Errorf("the key is still in %s", name)
		}
	}
}

// TestKeyringInterrupted catches a crash that brings a destroyed key back,
// half-makes one, or leaves key bytes behind. Each case is what the directory
// holds after a power failure just behind one step of creating or destroying;
// every step is durable before the next begins.
func TestKeyringInterrupted(t *testing.T) {
	for _, c := range []struct {
		after string
		leave func(t *testing.T, dir string, key []byte)
		alive bool
	}{
		{"creating: file written beside", func(t *testing.T, dir string, key []byte) {
			remove(t, dir, "window-1.key")
			writeFile(t, dir, "window-1.key.tmp", key)
		}, false},
		{"creating: half a file written beside", func(t *testing.T, dir string, key []byte) {
			remove(t, dir, "window-1.key")
			writeFile(t, dir, "window-1.key.tmp", key[:20])
		}, false},
		{"creating: renamed", func(*testing.T, string, []byte) {}, true},
		{"destroying: tombstone written beside", func(t *testing.T, dir string, _ []byte) {
			writeFile(t, dir, "window-1.destroyed.tmp", []byte("wattveil"))
		}, true},
		{"destroying: tombstone renamed", func(t *testing.T, dir string, _ []byte) {
			writeFile(t, dir, "window-1.destroyed", nil)
		}, false},
		{"destroying: key overwritten", func(t *testing.T, dir string, key []byte) {
			writeFile(t, dir, "window-1.destroyed", nil)
			writeFile(t, dir, "window-1.key", make([]byte, len(key)))
		}, false},
		{"destroying: key removed", func(t *testing.T, dir string, _ []byte) {
			writeFile(t, dir, "window-1.destroyed", nil)
			remove(t, dir, "window-1.key")
		}, false},
	} {
		t.Run(c.after, func(t *testing.T) {
			dir := newDir(t)
			k := openKeyring(t, dir)
			create(t, k, "window-1")
			sealed := wrapOne(t, k, "window-1")
			k.Close()
			c.leave(t, dir, readFile(t, dir, "window-1.key"))

			k = openKeyring(t, dir)
			for _, name := range list(t, dir) {
				if strings.HasSuffix(name, ".tmp") || !c.alive && strings.HasSuffix(name, ".key") {
					t.Errorf("%s was left behind", name)
				}
			}
			switch {
			case c.alive:
				wantOpens(t, k, "window-1", sealed)
			case strings.HasPrefix(c.after, "creating"):
				create(t, k, "window-1") // it never was, so it may be
			default:
				wantGone(t, k, "window-1", sealed)
			}
		})
	}
}

// TestKeyringFirstOpeningInterrupted catches a first start that, cut short,
// makes every later one fail.
func TestKeyringFirstOpeningInterrupted(t *testing.T) {
	for _, left := range [][]string{{"lock"}, {"lock", "keyring.tmp"}} {
		dir := newDir(t)
		for _, name := range left {
			writeFile(t, dir, name, nil)
		}
		create(t, openKeyring(t, dir), "hub")
	}
}

// TestKeyringAlone catches two processes on one directory: one could then make
// a key while the other destroys it.
func TestKeyringAlone(t *testing.T) {
	dir := newDir(t)
	k := openKeyring(t, dir)
	if _, err := keys.OpenKeyring(dir, rand.Reader); !errors.Is(err, keys.ErrInUse) {
		t.Errorf("second opening: %v, want ErrInUse", err)
	}
	k.Close()
	openKeyring(t, dir)
}

// TestKeyringExposed catches keys that another user of the machine can read.
func TestKeyringExposed(t *testing.T) {
	made := func(t *testing.T) (dir string) {
		dir = newDir(t)
		k := openKeyring(t, dir)
		create(t, k, "hub")
		k.Close()
		return dir
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o644} {
		dir := made(t)
		chmod(t, filepath.Join(dir, "hub.key"), mode)
		wantNoOpening(t, dir)
	}
	for _, mode := range []os.FileMode{0o750, 0o705, 0o710, 0o777} {
		dir := made(t)
		chmod(t, dir, mode)
		wantNoOpening(t, dir)
	}
	t.Run("while open", func(t *testing.T) {
		dir := newDir(t)
		k := openKeyring(t, dir)
		create(t, k, "hub")
		chmod(t, filepath.Join(dir, "hub.key"), 0o644)
		_, err := k.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte("secret")}})
		wantIs(t, err, seal.ErrRefused)
	})
	t.Run("as made", func(t *testing.T) {
		dir := filepath.Join(newDir(t), "new")
		k := openKeyring(t, dir)
		create(t, k, "hub")
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("directory made with mode %v, error %v", info.Mode(), err)
		}
		for _, name := range list(t, dir) {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s made with mode %v, error %v", name, info.Mode(), err)
			}
		}
	})
}

// TestKeyringWrongPlace catches a configuration that points somewhere else: a
// keyring must not settle, still less tidy up, among another program's files.
func TestKeyringWrongPlace(t *testing.T) {
	t.Run("another program's directory", func(t *testing.T) {
		dir := newDir(t)
		writeFile(t, dir, "draft.tmp", []byte("precious"))
		wantNoOpening(t, dir)
		if got := list(t, dir); len(got) != 1 || string(readFile(t, dir, "draft.tmp")) != "precious" {
			t.Errorf("the directory was changed: %v", got)
		}
	})
	t.Run("a later version", func(t *testing.T) {
		dir := newDir(t)
		openKeyring(t, dir).Close()
		writeFile(t, dir, "keyring", []byte("wattveil keyring v2\n"))
		wantNoOpening(t, dir)
	})
	t.Run("a file", func(t *testing.T) {
		dir := newDir(t)
		writeFile(t, dir, "file", nil)
		wantNoOpening(t, filepath.Join(dir, "file"))
	})
	t.Run("no parent", func(t *testing.T) {
		wantNoOpening(t, filepath.Join(newDir(t), "a", "b"))
	})
	t.Run("no randomness", func(t *testing.T) {
		if _, err := keys.OpenKeyring(newDir(t), nil); err == nil {
			t.Error("opened")
		}
	})
}

// TestKeyringDamagedKey catches a key file that is used although it is not what
// was written, and one that is taken for a key that is gone: data under a
// damaged key may still be saved by a backup, data under a destroyed one not.
func TestKeyringDamagedKey(t *testing.T) {
	for _, c := range []struct {
		what   string
		damage func(t *testing.T, dir string)
	}{
		{"empty", func(t *testing.T, dir string) { writeFile(t, dir, "hub.key", nil) }},
		{"zeros", func(t *testing.T, dir string) { writeFile(t, dir, "hub.key", make([]byte, 73)) }},
		{"too long", func(t *testing.T, dir string) { writeFile(t, dir, "hub.key", make([]byte, 1<<20)) }},
		{"another key's file", func(t *testing.T, dir string) {
			writeFile(t, dir, "hub.key", readFile(t, dir, "two.key"))
		}},
		{"a symbolic link", func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, "hub.key"), filepath.Join(dir, "moved")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("moved", filepath.Join(dir, "hub.key")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := newDir(t)
			k := openKeyring(t, dir)
			create(t, k, "hub")
			create(t, k, "two")
			sealed := wrapOne(t, k, "hub")
			c.damage(t, dir)
			_, err := k.Unwrap(t.Context(), "hub", []seal.Item{{Data: sealed}})
			wantIs(t, err, seal.ErrRefused)
			wantIs(t, k.CreateKey(t.Context(), "hub"), seal.ErrRefused)
		})
	}
}

// TestKeyringRandomnessFails catches a key or a nonce made of what little
// randomness came.
func TestKeyringRandomnessFails(t *testing.T) {
	dir := newDir(t)
	k, err := keys.OpenKeyring(dir, io.LimitReader(rand.Reader, 32+11))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	create(t, k, "hub")
	_, err = k.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte("secret")}})
	wantIs(t, err, seal.ErrUnavailable)
	wantIs(t, k.CreateKey(t.Context(), "two"), seal.ErrUnavailable)
	for _, name := range list(t, dir) {
		if strings.HasPrefix(name, "two") {
			t.Errorf("%s was made", name)
		}
	}
}

// TestKeyringClosed catches use after the lock is gone.
func TestKeyringClosed(t *testing.T) {
	k := openKeyring(t, newDir(t))
	create(t, k, "hub")
	if err := errors.Join(k.Close(), k.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := k.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte("secret")}})
	wantIs(t, err, seal.ErrUnavailable)
	wantIs(t, k.CreateKey(t.Context(), "two"), seal.ErrUnavailable)
	wantIs(t, k.DestroyKey(t.Context(), "hub"), seal.ErrUnavailable)
}

// newDir answers a private directory; t.TempDir alone is open to the world.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	chmod(t, dir, 0o700)
	return dir
}

func openKeyring(t *testing.T, dir string) *keys.Keyring {
	t.Helper()
	k, err := keys.OpenKeyring(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func wantNoOpening(t *testing.T, dir string) {
	t.Helper()
	if k, err := keys.OpenKeyring(dir, rand.Reader); err == nil {
		k.Close()
		t.Error("the keyring opened")
	}
}

func create(t *testing.T, w seal.Wrapper, key string) {
	t.Helper()
	if err := w.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// wrapOne wraps a fixed secret; wantOpens and wantGone take it back.
func wrapOne(t *testing.T, w seal.Wrapper, key string) []byte {
	t.Helper()
	sealed, err := w.Wrap(t.Context(), key, []seal.Item{{Context: []byte("c"), Data: []byte("secret")}})
	if err != nil {
		t.Fatal(err)
	}
	return sealed[0]
}

func wantOpens(t *testing.T, w seal.Wrapper, key string, sealed []byte) {
	t.Helper()
	opened, err := w.Unwrap(t.Context(), key, []seal.Item{{Context: []byte("c"), Data: sealed}})
	if err != nil || string(opened[0]) != "secret" {
		t.Errorf("unwrapping: error %v, or another secret", err)
	}
}

func wantGone(t *testing.T, w seal.Wrapper, key string, sealed []byte) {
	t.Helper()
	_, err := w.Unwrap(t.Context(), key, []seal.Item{{Context: []byte("c"), Data: sealed}})
	wantIs(t, err, seal.ErrKeyGone)
	_, err = w.Wrap(t.Context(), key, []seal.Item{{Data: []byte("secret")}})
	wantIs(t, err, seal.ErrKeyGone)
	wantIs(t, w.CreateKey(t.Context(), key), seal.ErrKeyGone)
	wantIs(t, w.DestroyKey(t.Context(), key), nil)
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
