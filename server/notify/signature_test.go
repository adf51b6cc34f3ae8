package notify

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// rfcKey is test-key-ed25519 of RFC 9421, appendix B.1.4.
func rfcKey(t *testing.T) Key {
	t.Helper()
	block, _ := pem.Decode([]byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n"))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ok(t, err)
	key, err := NewKey(parsed.(ed25519.PrivateKey).Seed(), 0, 0)
	ok(t, err)
	return key
}

// The example of RFC 9421, appendix B.2.6, to the bit.
func TestSignatureOfTheRFC(t *testing.T) {
	base, input := signatureBase([]component{
		{"date", "Tue, 20 Apr 2021 02:07:55 GMT"},
		{"@method", "POST"},
		{"@path", "/foo"},
		{"@authority", "example.com"},
		{"content-type", "application/json"},
		{"content-length", "18"},
	}, []component{{"created", "1618884473"}, {"keyid", `"test-key-ed25519"`}})
	want := `("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`
	if input != want {
		t.Errorf("parameters %s", input)
	}
	const signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
	if got := base64.StdEncoding.EncodeToString(rfcKey(t).sign([]byte(base))); got != signature {
		t.Errorf("signed %s over\n%s", got, base)
	}
}

// A call is signed as another implementation signs it, which testdata/signature.mjs runs. It
// would catch a reading of the RFC that is ours alone.
func TestSignedAsOthersSign(t *testing.T) {
	body := []byte(`{"hub":"hub.example/ledger"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://receiver.example:8443/hook?of=adviser&x=%20y", nil)
	ok(t, err)
	req.Header.Set("Content-Type", "application/json")
	sign(req, body, rfcKey(t), 1618884473)
	var got strings.Builder
	for _, name := range []string{"Content-Digest", "Signature-Input", "Signature"} {
		fmt.Fprintf(&got, "%s: %s\n", strings.ToLower(name), req.Header.Get(name))
	}
	golden, err := os.ReadFile("testdata/signature.golden")
	ok(t, err)
	if got.String() != string(golden) {
		t.Errorf("signed\n%swant\n%s", got.String(), golden)
	}
}

// What is sent to a URL without a path arrives at "/", and is signed so.
func TestTargetURI(t *testing.T) {
	for raw, want := range map[string]string{
		"https://a.example": "https://a.example/", "https://a.example?x=1": "https://a.example/?x=1", "https://a.example:8443/b/": "https://a.example:8443/b/",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, raw, nil)
		ok(t, err)
		if got := targetURI(*req.URL); got != want {
			t.Errorf("%s is signed as %s", raw, got)
		}
	}
}

// Which key signs, and which are published, at every moment of a rotation: the next is
// published before it signs, the old one after it has; one that is withdrawn is gone at once.
func TestKeysOverTime(t *testing.T) {
	key := func(n byte, signs, ends int64) Key {
		seed := [ed25519.SeedSize]byte{n}
		k, err := NewKey(seed[:], signs, ends)
		ok(t, err)
		return k
	}
	one, two, three := key(1, 100, 300), key(2, 200, 250), key(3, 250, 0)
	now := int64(0)
	keys := NewKeys(func() time.Time { return time.Unix(now, 0) })
	if _, err := keys.Signing(); err != ErrNoKey {
		t.Errorf("no key at all signs: %v", err)
	}
	keys.Replace([]Key{one, two, three})
	for _, c := range []struct {
		now       int64
		signs     string
		published int
	}{{99, "", 3}, {100, one.ID, 3}, {199, one.ID, 3}, {200, two.ID, 3}, {249, two.ID, 3}, {250, three.ID, 2}, {299, three.ID, 2}, {300, three.ID, 1}} {
		now = c.now
		signing, err := keys.Signing()
		if signing.ID != c.signs || (err == nil) != (c.signs != "") || len(keys.Published()) != c.published {
			t.Errorf("at %d: signs %q, %v; %d published", now, signing.ID, err, len(keys.Published()))
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v", one, one, one); strings.Contains(shown, "1 0 0 0") || strings.Contains(shown, "0x1, 0x0") {
		t.Errorf("a key prints its seed: %s", shown)
	}
	if _, err := NewKey([]byte{1}, 0, 0); err == nil {
		t.Error("a short seed makes a key")
	}
}
