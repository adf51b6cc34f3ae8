package keys_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestKeyringRetiredBytes catches a retired version whose bytes stay, in the directory
// or in the files that were replaced on the way, also by the rotation (hard links stand
// for a reader who still has them open).
func TestKeyringRetiredBytes(t *testing.T) {
	dir, aside := newDir(t), t.TempDir()
	k := openKeyring(t, dir)
	create(t, k, "hub")
	path := filepath.Join(dir, "hub.key")
	_, roots, err := keys.ParseKeyFile("hub", readFile(t, dir, "hub.key"))
	if err != nil {
		t.Fatal(err)
	}
	link := func(name string) {
		t.Helper()
		if err := os.Link(path, filepath.Join(aside, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("created")
	rotateKey(t, k, "hub")
	link("rotated")
	wantIs(t, k.RetireVersions(t.Context(), "hub", 2), nil)
	for _, name := range []string{"created", "rotated"} {
		if left := readFile(t, aside, name); !bytes.Equal(left, make([]byte, len(left))) {
			t.Errorf("the file as %s was not overwritten", name)
		}
	}
	for _, name := range list(t, dir) {
		if bytes.Contains(readFile(t, dir, name), roots[0][:]) {
			t.Errorf("the retired version is still in %s", name)
		}
	}
	oldest, left, err := keys.ParseKeyFile("hub", readFile(t, dir, "hub.key"))
	if err != nil || oldest != 2 || len(left) != 1 {
		t.Errorf("the file holds %d versions from %d, error %v; want one, 2", len(left), oldest, err)
	}
}

// TestKeyringRotationInterrupted catches a crash that loses a key while its versions
// change, that leaves half a change, or that leaves an old file behind. Each case is what
// the directory holds after a power failure just behind one step of retiring version 1;
// every step is durable before the next begins, and a rotation has the same steps.
func TestKeyringRotationInterrupted(t *testing.T) {
	for _, c := range []struct {
		after string
		leave func(t *testing.T, dir string, before, after []byte)
		want  uint64 // the oldest version
	}{
		{"written beside", func(t *testing.T, dir string, _, after []byte) {
			writeFile(t, dir, "hub.key.tmp", after)
		}, 1},
		{"half written beside", func(t *testing.T, dir string, _, after []byte) {
			writeFile(t, dir, "hub.key.tmp", after[:20])
		}, 1},
		{"old file named twice", func(t *testing.T, dir string, _, after []byte) {
			writeFile(t, dir, "hub.key.tmp", after)
			linkReplaced(t, dir)
		}, 1},
		{"renamed", func(t *testing.T, dir string, _, after []byte) {
			linkReplaced(t, dir)
			writeFile(t, dir, "hub.key.tmp", after)
			renameFile(t, dir, "hub.key.tmp", "hub.key")
		}, 2},
		{"overwritten", func(t *testing.T, dir string, before, after []byte) {
			linkReplaced(t, dir)
			writeFile(t, dir, "hub.key.replaced", make([]byte, len(before)))
			writeFile(t, dir, "hub.key.tmp", after)
			renameFile(t, dir, "hub.key.tmp", "hub.key")
		}, 2},
		{"removed", func(t *testing.T, dir string, _, after []byte) { writeFile(t, dir, "hub.key", after) }, 2},
	} {
		t.Run(c.after, func(t *testing.T) {
			dir := newDir(t)
			k := openKeyring(t, dir)
			create(t, k, "hub")
			first := wrapOne(t, k, "hub")
			rotateKey(t, k, "hub")
			second := wrapOne(t, k, "hub")
			k.Close()
			before := readFile(t, dir, "hub.key")
			_, roots, err := keys.ParseKeyFile("hub", before)
			if err != nil {
				t.Fatal(err)
			}
			c.leave(t, dir, before, keys.FormatKeyFile("hub", 2, roots[1]))

			k = openKeyring(t, dir)
			for _, name := range list(t, dir) {
				if strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".replaced") {
					t.Errorf("%s was left behind", name)
				}
			}
			if oldest, newest, err := k.KeyVersions(t.Context(), "hub"); err != nil || oldest != c.want || newest != 2 {
				t.Errorf("versions %d to %d, error %v; want %d to 2", oldest, newest, err, c.want)
			}
			wantOpens(t, k, "hub", second)
			wantIs(t, k.RetireVersions(t.Context(), "hub", 2), nil)
			wantOpens(t, k, "hub", second)
			_, err = k.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: first}})
			wantIs(t, err, seal.ErrRefused)
		})
	}
}

// TestKeyringSettles catches an old file that a change left behind in this very process,
// and that the same change asked for again, or a destruction, passes by.
func TestKeyringSettles(t *testing.T) {
	for what, end := range map[string]func(*keys.Keyring) error{
		"retiring again": func(k *keys.Keyring) error { return k.RetireVersions(t.Context(), "hub", 1) },
		"rotating":       func(k *keys.Keyring) error { _, err := k.RotateKey(t.Context(), "hub"); return err },
		"destroying":     func(k *keys.Keyring) error { return k.DestroyKey(t.Context(), "hub") },
	} {
		for _, twice := range []bool{false, true} { // the left-over is the file itself, or another
			dir := newDir(t)
			k := openKeyring(t, dir)
			create(t, k, "hub")
			sealed := wrapOne(t, k, "hub")
			if twice {
				linkReplaced(t, dir)
			} else {
				writeFile(t, dir, "hub.key.replaced", []byte("an older file"))
			}
			wantIs(t, end(k), nil)
			for _, name := range list(t, dir) {
				if strings.HasSuffix(name, ".replaced") {
					t.Errorf("%s left %s behind", what, name)
				}
			}
			if what == "destroying" {
				wantGone(t, k, "hub", sealed)
			} else {
				wantOpens(t, k, "hub", sealed)
			}
		}
	}
}

// TestKeyringRotationWithoutRandomness catches a version made of what little came.
func TestKeyringRotationWithoutRandomness(t *testing.T) {
	k, err := keys.OpenKeyring(newDir(t), io.LimitReader(rand.Reader, 32+31))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	create(t, k, "hub")
	_, err = k.RotateKey(t.Context(), "hub")
	wantIs(t, err, seal.ErrUnavailable)
	if _, newest, err := k.KeyVersions(t.Context(), "hub"); err != nil || newest != 1 {
		t.Errorf("newest version %d, error %v; want 1", newest, err)
	}
}

// TestKeyringVersionsBounded catches a file that grows without end when nobody retires,
// and a key that cannot be used, or rid of its versions, once it is full.
func TestKeyringVersionsBounded(t *testing.T) {
	dir := newDir(t)
	openKeyring(t, dir).Close()
	writeFile(t, dir, "hub.key", keys.FormatKeyFile("hub", 3, make([][32]byte, 1024)...))
	k := openKeyring(t, dir)
	_, err := k.RotateKey(t.Context(), "hub")
	wantIs(t, err, seal.ErrRefused)
	wantOpens(t, k, "hub", wrapOne(t, k, "hub"))
	wantIs(t, k.RetireVersions(t.Context(), "hub", 4), nil)
	rotateKey(t, k, "hub")
	wantIs(t, k.RetireVersions(t.Context(), "hub", 1027), nil)
	if oldest, newest, err := k.KeyVersions(t.Context(), "hub"); err != nil || oldest != 1027 || newest != 1027 {
		t.Errorf("versions %d to %d, error %v; want 1027 alone", oldest, newest, err)
	}
}

func rotateKey(t *testing.T, w seal.Rotator, key string) {
	t.Helper()
	if _, err := w.RotateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// linkReplaced gives the hub's key file its second name.
func linkReplaced(t *testing.T, dir string) {
	t.Helper()
	if err := os.Link(filepath.Join(dir, "hub.key"), filepath.Join(dir, "hub.key.replaced")); err != nil {
		t.Fatal(err)
	}
}

func renameFile(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}
