package keys_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultRequests catches a request that goes without its token, namespace or
// protection: the type that forbids Vault to create, and the context's label.
func TestVaultRequests(t *testing.T) {
	var mu sync.Mutex
	var got []string
	c := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("X-Vault-Token") != faultToken || r.Header.Get("X-Vault-Namespace") != "energy/hub" ||
			r.Header.Get("X-Vault-Request") != "true" {
			t.Error("a request lacks a header")
		}
		got = append(got, fmt.Sprintf("%s %s %s", r.Method, r.URL.Path, body))
		fmt.Fprintf(w, `{"data":{"type":"aes256-gcm96","derived":true,"batch_results":[{"ciphertext":"%s","plaintext":"c2VjcmV0"}]}}`, ciphertext)
	}))
	c.Namespace, c.Mount, c.Prefix = "energy/hub", "/kms/transit/", "hub-7-"
	v := newVault(t, c)
	if _, err := v.Wrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: []byte("secret")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Unwrap(t.Context(), "hub", []seal.Item{{Data: ciphertext}}); err != nil {
		t.Fatal(err)
	}
	wantIs(t, v.DestroyKey(t.Context(), "hub"), nil)
	wantIs(t, v.CreateKey(t.Context(), "hub"), seal.ErrKeyGone) // this server says of all keys that they exist
	want := []string{
		`PUT /v1/kms/transit/encrypt/hub-7-hub {"batch_input":[{"plaintext":"c2VjcmV0","context":"d2F0dHZlaWwvdHJhbnNpdC92MQBj"}],"type":"none"}`,
		`PUT /v1/kms/transit/decrypt/hub-7-hub {"batch_input":[{"ciphertext":"` + string(ciphertext) + `","context":"d2F0dHZlaWwvdHJhbnNpdC92MQA="}]}`,
		`PUT /v1/kms/transit/keys/hub-7-hub.destroyed {"derived":true,"type":"aes256-gcm96"}`,
		`GET /v1/kms/transit/keys/hub-7-hub `,
		`PUT /v1/kms/transit/keys/hub-7-hub/config {"deletion_allowed":true}`,
		`DELETE /v1/kms/transit/keys/hub-7-hub `,
		`GET /v1/kms/transit/keys/hub-7-hub.destroyed `,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("requests\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestVaultChunks catches a batch that goes out whole: a Vault refuses it.
func TestVaultChunks(t *testing.T) {
	var sizes []int
	v := newVault(t, faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := bytes.Count(body, []byte("plaintext"))
		sizes = append(sizes, n)
		item := fmt.Sprintf(`{"ciphertext":"%s"}`, ciphertext)
		fmt.Fprintf(w, `{"data":{"batch_results":[%s]}}`, strings.TrimSuffix(strings.Repeat(item+",", n), ","))
	})))
	sealed, err := v.Wrap(t.Context(), "hub", make([]seal.Item, 2001))
	if err != nil || len(sealed) != 2001 {
		t.Fatalf("%d ciphertexts, error %v", len(sealed), err)
	}
	if fmt.Sprint(sizes) != "[1000 1000 1]" {
		t.Errorf("batches of %v, want 1000, 1000 and 1", sizes)
	}
}

// FuzzCanonicalCiphertext catches a panic, and a second spelling of a
// ciphertext that passes: accepted ones consist of the bytes that Vault writes.
func FuzzCanonicalCiphertext(f *testing.F) {
	for _, seed := range []string{
		string(ciphertext), "vault:v0:" + strings.Repeat("A", 40), "vault:v01:" + strings.Repeat("A", 40),
		"vault:v1:" + strings.Repeat("A", 40) + "\n", "vault:v1:AA==", "vault:v1:", "vault:v", "vault:v+1:" + strings.Repeat("A", 40), "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, c []byte) {
		if !keys.CanonicalCiphertext(c) {
			return
		}
		for _, b := range c {
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=:", rune(b)) {
				t.Errorf("accepted byte %#x", b)
			}
		}
		if bytes.HasPrefix(c, []byte("vault:v0")) {
			t.Error("accepted version 0 or a leading zero")
		}
	})
}
