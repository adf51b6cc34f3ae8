package keys_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestKeyringGolden catches any change of a stored byte. testdata/keyring-v2.golden
// holds what goes in and what comes out; the formats are spelled out in
// keyfile.go and ciphertext.go, and keyring-v2.py computes the same values from
// them in another language.
func TestKeyringGolden(t *testing.T) {
	golden := readGolden(t, "testdata/keyring-v2.golden")
	dir := newDir(t)
	random := bytes.Join([][]byte{golden["root1"], golden["root2"], golden["nonce"]}, nil)
	k, err := keys.OpenKeyring(dir, bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	name := string(golden["name"])
	wantFile := func(label string) {
		t.Helper()
		if got := readFile(t, dir, name+".key"); !bytes.Equal(got, golden[label]) {
			t.Errorf("key file %x\nwant     %x, as %s", got, golden[label], label)
		}
	}
	create(t, k, name)
	wantFile("created")
	if version, err := k.RotateKey(t.Context(), name); err != nil || version != 2 {
		t.Fatalf("rotated to version %d, error %v", version, err)
	}
	wantFile("rotated")
	sealed, err := k.Wrap(t.Context(), name, []seal.Item{{Context: golden["context"], Data: golden["secret"]}})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sealed[0], golden["ciphertext"]) {
		t.Errorf("ciphertext %x\nwant       %x", sealed[0], golden["ciphertext"])
	}
	wantIs(t, k.RetireVersions(t.Context(), name, 2), nil)
	wantFile("retired")
	opened, err := k.Unwrap(t.Context(), name, []seal.Item{{Context: golden["context"], Data: golden["ciphertext"]}})
	if err != nil || !bytes.Equal(opened[0], golden["secret"]) {
		t.Errorf("the golden ciphertext does not open: %v", err)
	}
}

// TestKeyringVersion1 catches a keyring that lost what was stored before keys had
// versions: its files and ciphertexts are version 1 of their key, open as they are,
// and can be rotated, wrapped anew and retired like any other.
func TestKeyringVersion1(t *testing.T) {
	golden := readGolden(t, "testdata/keyring-v1.golden")
	dir, name := newDir(t), string(golden["name"])
	openKeyring(t, dir).Close()
	writeFile(t, dir, name+".key", golden["keyfile"])
	k := openKeyring(t, dir)
	item := seal.Item{Context: golden["context"], Data: golden["ciphertext"]}
	opens := func(item seal.Item) {
		t.Helper()
		opened, err := k.Unwrap(t.Context(), name, []seal.Item{item})
		if err != nil || !bytes.Equal(opened[0], golden["secret"]) {
			t.Fatalf("does not open: %v", err)
		}
	}
	opens(item)
	create(t, k, name)
	if version, err := k.VersionOf(item.Data); err != nil || version != 1 {
		t.Errorf("ciphertext of version %d, error %v; want 1", version, err)
	}
	if oldest, newest, err := k.KeyVersions(t.Context(), name); err != nil || oldest != 1 || newest != 1 {
		t.Errorf("versions %d to %d, error %v; want 1 to 1", oldest, newest, err)
	}
	if _, err := k.RotateKey(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	opens(item)
	fresh, err := k.Rewrap(t.Context(), name, []seal.Item{item})
	if err != nil {
		t.Fatal(err)
	}
	wantIs(t, k.RetireVersions(t.Context(), name, 2), nil)
	opens(seal.Item{Context: item.Context, Data: fresh[0]})
	_, err = k.Unwrap(t.Context(), name, []seal.Item{item})
	wantIs(t, err, seal.ErrRefused)
}

// FuzzParseKeyFile catches a file that is accepted although formatKeyFile would
// not have written it, and any panic. Of the format before, which is no longer
// written, one root key of version 1 is all that can come out.
func FuzzParseKeyFile(f *testing.F) {
	one, two := [32]byte{1, 2, 3}, [32]byte{4, 5, 6}
	good := keys.FormatKeyFile("hub", 7, one, two)
	f.Add("hub", good)
	f.Add("hub", good[:len(good)-1])
	f.Add("hub", append(bytes.Clone(good), 0))
	f.Add("two", good)
	f.Add("", []byte{})
	f.Add("hub", keys.FormatKeyFile("hub", 0, one))
	f.Add("hub", keys.FormatKeyFile("hub", 1))
	f.Add("hub", keys.FormatKeyFile("hub", 1<<63, one))
	golden := readGolden(f, "testdata/keyring-v1.golden")
	f.Add(string(golden["name"]), golden["keyfile"])
	f.Fuzz(func(t *testing.T, name string, file []byte) {
		if len(name) > 64 {
			return
		}
		oldest, roots, err := keys.ParseKeyFile(name, file)
		if err != nil {
			return
		}
		if file[4] == 1 {
			if oldest != 1 || len(roots) != 1 {
				t.Errorf("format 1 holds versions from %d, %d of them", oldest, len(roots))
			}
		} else if !bytes.Equal(keys.FormatKeyFile(name, oldest, roots...), file) {
			t.Error("accepted another spelling of a key file")
		}
	})
}

// FuzzKeyringVersionOf catches a panic, a version that no key has, and an answer for
// what cannot be a ciphertext.
func FuzzKeyringVersionOf(f *testing.F) {
	for _, path := range []string{"testdata/keyring-v1.golden", "testdata/keyring-v2.golden"} {
		c := readGolden(f, path)["ciphertext"]
		f.Add(c)
		f.Add(c[:len(c)/2])
	}
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Add(append([]byte{2}, make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, c []byte) {
		version, err := new(keys.Keyring).VersionOf(c)
		switch {
		case err != nil:
			wantIs(t, err, seal.ErrRefused)
		case version == 0 || c[0] == 1 && version != 1 || len(c) < 1+12+16:
			t.Errorf("version %d of %d bytes", version, len(c))
		}
	})
}

// readGolden reads "name hex" lines.
func readGolden(t testing.TB, path string) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string][]byte{}
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if golden[name], err = hex.DecodeString(value); err != nil {
			t.Fatal(err)
		}
	}
	return golden
}
