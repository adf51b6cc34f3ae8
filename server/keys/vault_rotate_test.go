package keys_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultTrims catches a retired version that Vault only hides: one that an operator
// could bring back by lowering the bounds, or find in Vault's archive.
func TestVaultTrims(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	v := server.open(t, mount)
	create(t, v, "hub")
	before := wrapOne(t, v, "hub")
	rotateKey(t, v, "hub")
	after := wrapOne(t, v, "hub")
	if !strings.HasPrefix(string(before), "vault:v1:") || !strings.HasPrefix(string(after), "vault:v2:") {
		t.Errorf("ciphertexts of versions %.9q and %.9q, want 1 and 2", before, after)
	}
	wantIs(t, v.RetireVersions(t.Context(), "hub", 2), nil)
	bounds := server.key(t, mount, "hub")
	for _, bound := range []string{"min_available_version", "min_decryption_version", "min_encryption_version"} {
		if got := fmt.Sprint(bounds[bound]); got != "2" {
			t.Errorf("%s is %s, want 2", bound, got)
		}
	}
	for _, lower := range []map[string]any{{"min_decryption_version": 1}, {"min_decryption_version": 1, "min_encryption_version": 1}} {
		if _, err := server.admin.Logical().WriteWithContext(t.Context(), mount+"/keys/wattveil-hub/config", lower); err == nil {
			t.Errorf("Vault took %v after the trimming", lower)
		}
	}
	wantOpens(t, v, "hub", after)
	_, err := v.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: before}})
	wantIs(t, err, seal.ErrRefused)
}

// TestVaultRetireInterrupted catches a retirement that, cut short between its steps or
// helped along by an operator, cannot be finished, or lowers a bound that is higher.
func TestVaultRetireInterrupted(t *testing.T) {
	server := devServer(t)
	for what, left := range map[string]map[string]any{
		"nothing":               nil,
		"both bounds":           {"min_decryption_version": 2, "min_encryption_version": 2},
		"decryption alone":      {"min_decryption_version": 2},
		"encryption alone":      {"min_encryption_version": 3},
		"decryption beyond":     {"min_decryption_version": 3},
		"bounds that go beyond": {"min_decryption_version": 3, "min_encryption_version": 3},
	} {
		t.Run(what, func(t *testing.T) {
			mount := server.mount(t)
			v := server.open(t, mount)
			create(t, v, "hub")
			rotateKey(t, v, "hub")
			rotateKey(t, v, "hub")
			sealed := wrapOne(t, v, "hub")
			if left != nil {
				server.write(t, mount+"/keys/wattveil-hub/config", left)
			}
			wantIs(t, v.RetireVersions(t.Context(), "hub", 2), nil)
			bounds := server.key(t, mount, "hub")
			if got := fmt.Sprint(bounds["min_available_version"]); got != "2" {
				t.Errorf("min_available_version is %s, want 2", got)
			}
			for bound, was := range left {
				if got, want := fmt.Sprint(bounds[bound]), fmt.Sprint(was); got < want {
					t.Errorf("%s is %s, want no less than %s", bound, got, want)
				}
			}
			wantOpens(t, v, "hub", sealed)
		})
	}
}

// TestVaultRetiredOnDisk catches what the other tests cannot see: key material that stays
// in Vault's storage. The archive entry shrinks by a version, and stays so.
func TestVaultRetiredOnDisk(t *testing.T) {
	dir := newDir(t)
	server := startVault(t, nil, "-storage", dir)
	made, err := server.admin.Sys().Init(vaultInit())
	if err != nil {
		t.Fatal(err)
	}
	server.unseal(t, made)
	mount := server.mount(t)
	v := newVault(t, withToken(server.config(mount), keys.Secret(made.RootToken)))
	create(t, v, "hub")
	for range 9 {
		rotateKey(t, v, "hub")
	}
	archive := func() (size int64) {
		t.Helper()
		if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && strings.HasSuffix(path, "/archive/_wattveil-hub") {
				size += info.Size()
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return size
	}
	all := archive()
	wantIs(t, v.RetireVersions(t.Context(), "hub", 10), nil)
	if left := archive(); all == 0 || left == 0 || left > all/3 {
		t.Errorf("the archive of ten versions has %d bytes, that of one %d", all, left)
	}
}

// TestVaultPoliciesApart catches a hub that could rotate keys away under its own data
// with the policy that only wraps, and a rotating process that could read.
func TestVaultPoliciesApart(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	root := server.open(t, mount)
	create(t, root, "hub")
	sealed := wrapOne(t, root, "hub")
	closed := []seal.Item{{Context: []byte("c"), Data: sealed}}
	policy := func(name, text string) *keys.Vault {
		t.Helper()
		if err := server.admin.Sys().PutPolicy(name, text); err != nil {
			t.Fatal(err)
		}
		return newVault(t, withToken(server.config(mount), server.token(t, name)))
	}

	hub := policy("hub-alone", keys.VaultPolicy(mount))
	_, err := hub.RotateKey(t.Context(), "hub")
	wantIs(t, err, seal.ErrRefused)
	_, err = hub.Rewrap(t.Context(), "hub", closed)
	wantIs(t, err, seal.ErrRefused)
	wantOpens(t, hub, "hub", sealed)

	rotating := policy("rotating-alone", keys.VaultRotationPolicy(mount))
	rotateKey(t, rotating, "hub")
	fresh, err := rotating.Rewrap(t.Context(), "hub", closed)
	wantIs(t, err, nil)
	wantIs(t, rotating.RetireVersions(t.Context(), "hub", 2), nil)
	_, err = rotating.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: fresh[0]}})
	wantIs(t, err, seal.ErrRefused)
	wantIs(t, rotating.CreateKey(t.Context(), "new"), seal.ErrRefused)
	wantIs(t, rotating.DestroyKey(t.Context(), "hub"), seal.ErrRefused)
	wantOpens(t, hub, "hub", fresh[0])
}

// TestVaultRotationFaults maps, for the calls of a rotation, what can come back at any of
// their requests; it catches a fault that is taken for success, or for a key that is gone.
func TestVaultRotationFaults(t *testing.T) {
	calls := map[string]func(*keys.Vault) error{
		"rotating": func(v *keys.Vault) error { _, err := v.RotateKey(t.Context(), "hub"); return err },
		"retiring": func(v *keys.Vault) error { return v.RetireVersions(t.Context(), "hub", 2) },
		"versions": func(v *keys.Vault) error { _, _, err := v.KeyVersions(t.Context(), "hub"); return err },
		"rewrapping": func(v *keys.Vault) error {
			_, err := v.Rewrap(t.Context(), "hub", []seal.Item{{Context: []byte(faultSecret), Data: ciphertext}})
			return err
		},
	}
	for _, call := range calls {
		for _, fail := range []struct {
			status int
			body   string
			want   error
		}{
			{503, `{"errors":["Vault is sealed"]}`, seal.ErrUnavailable},
			{500, `{"errors":["` + faultSecret + `"]}`, seal.ErrUnavailable},
			{403, `{"errors":["permission denied"]}`, seal.ErrRefused},
			{404, `{"errors":["no handler for route"]}`, seal.ErrRefused},
			{200, `<html>`, seal.ErrUnavailable},
		} {
			for step := int64(1); ; step++ {
				var seen atomic.Int64
				transit := newTransitStub()
				v := newVault(t, faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
					if seen.Add(1) == step && !(fail.status == 200 && r.Method != http.MethodGet) {
						w.WriteHeader(fail.status)
						_, _ = io.WriteString(w, fail.body)
						return
					}
					transit.ServeHTTP(w, r)
				})))
				err := call(v)
				if seen.Load() < step {
					wantIs(t, err, nil)
					break // no request is left to fail
				}
				if fail.status != 200 || err != nil {
					wantIs(t, err, fail.want)
					wantSilent(t, err)
				}
			}
		}
	}
}

// TestVaultForgetsBounds catches a retirement that believes a server which keeps nothing,
// and one that asks it for ever.
func TestVaultForgetsBounds(t *testing.T) {
	var asked atomic.Int64
	v := newVault(t, faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"data":{"latest_version":3,"min_decryption_version":1}}`)
	})))
	wantIs(t, v.RetireVersions(t.Context(), "hub", 2), seal.ErrUnavailable)
	if n := asked.Load(); n > 20 {
		t.Errorf("%d requests", n)
	}
}

// transitStub is a server that keeps the versions of one key, and nothing else.
type transitStub struct{ bounds map[string]int64 }

func newTransitStub() *transitStub {
	return &transitStub{map[string]int64{"latest_version": 2, "min_decryption_version": 1}}
}

func (s *transitStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(map[string]any{"data": s.bounds})
	case strings.HasSuffix(r.URL.Path, "/rotate"):
		s.bounds["latest_version"]++
	case strings.Contains(r.URL.Path, "/rewrap/"):
		fmt.Fprintf(w, `{"data":{"batch_results":[{"ciphertext":"%s"}]}}`, ciphertext)
	default:
		_ = json.NewDecoder(r.Body).Decode(&s.bounds)
	}
}
