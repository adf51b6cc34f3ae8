package keys_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/privacy/seal/wrappertest"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultContract runs the suite that every Wrapper passes, against a real
// server: as root, who may do everything, also what must not happen (root is
// what turns an encryption under a missing name into a new key); and under the
// least policy, where the same refusals come back with other codes.
func TestVaultContract(t *testing.T) {
	server := devServer(t)
	t.Run("root", func(t *testing.T) {
		wrappertest.Test(t, func(t *testing.T) seal.Wrapper { return server.open(t, server.mount(t)) })
		wrappertest.TestRotator(t, func(t *testing.T) seal.Rotator { return server.open(t, server.mount(t)) })
	})
	t.Run("least policy", func(t *testing.T) {
		wrappertest.Test(t, func(t *testing.T) seal.Wrapper {
			mount := server.mount(t)
			c := server.config(mount)
			c.Token, c.AppRole, c.Now = "", server.role(t, mount), newClock().now
			return newVault(t, c)
		})
	})
	t.Run("least policies of one who rotates as well", func(t *testing.T) {
		wrappertest.TestRotator(t, func(t *testing.T) seal.Rotator {
			mount := server.mount(t)
			c := server.config(mount)
			c.Token, c.AppRole, c.Now = "", server.role(t, mount, keys.VaultRotationPolicy(mount)), newClock().now
			return newVault(t, c)
		})
	})
}

// TestVaultNoUpsert catches an encryption that leaves a key behind in Vault
// although it was refused: the suite sees only what comes back.
func TestVaultNoUpsert(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	v := server.open(t, mount)
	_, err := v.Wrap(t.Context(), "nobody", []seal.Item{{Data: []byte("secret")}})
	wantIs(t, err, seal.ErrKeyGone)
	answer, err := server.admin.Logical().ListWithContext(t.Context(), mount+"/keys")
	if err != nil || answer != nil {
		t.Errorf("keys in Vault: %v, error %v; want none", answer, err)
	}
}

// TestVaultDestroyInterrupted catches a destruction that, cut short between its
// steps, leaves a name that can be used for new data, or that cannot be
// finished. The states are made by hand, as an operator sees them.
func TestVaultDestroyInterrupted(t *testing.T) {
	server := devServer(t)
	for _, c := range []struct {
		after string
		leave func(t *testing.T, mount string)
	}{
		{"tombstone made", func(*testing.T, string) {}},
		{"deletion allowed", func(t *testing.T, mount string) {
			server.write(t, mount+"/keys/wattveil-window-1/config", map[string]any{"deletion_allowed": true})
		}},
		{"deleted", func(t *testing.T, mount string) {
			server.write(t, mount+"/keys/wattveil-window-1/config", map[string]any{"deletion_allowed": true})
			if _, err := server.admin.Logical().DeleteWithContext(t.Context(), mount+"/keys/wattveil-window-1"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.after, func(t *testing.T) {
			mount := server.mount(t)
			v := server.open(t, mount)
			create(t, v, "window-1")
			sealed := wrapOne(t, v, "window-1")
			server.write(t, mount+"/keys/wattveil-window-1.destroyed", nil)
			c.leave(t, mount)
			wantIs(t, v.CreateKey(t.Context(), "window-1"), seal.ErrKeyGone)
			wantIs(t, v.DestroyKey(t.Context(), "window-1"), nil)
			wantGone(t, v, "window-1", sealed)
		})
	}
}

// TestVaultTombstoneStays catches a tombstone that goes as easily as a key.
func TestVaultTombstoneStays(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	v := server.open(t, mount)
	create(t, v, "window-1")
	wantIs(t, v.DestroyKey(t.Context(), "window-1"), nil)
	if _, err := server.admin.Logical().DeleteWithContext(t.Context(), mount+"/keys/wattveil-window-1.destroyed"); err == nil {
		t.Error("Vault deleted the tombstone without its deletion having been allowed")
	}
	wantIs(t, v.CreateKey(t.Context(), "window-1"), seal.ErrKeyGone)
}

// TestVaultUnsuitableKey catches a key that somebody made in another way and
// that the hub would use as if its contexts were bound, or its bytes inside.
func TestVaultUnsuitableKey(t *testing.T) {
	server := devServer(t)
	for _, c := range []map[string]any{
		{"derived": false},
		{"derived": true, "exportable": true},
		{"derived": true, "allow_plaintext_backup": true},
		{"derived": true, "type": "chacha20-poly1305"},
	} {
		mount := server.mount(t)
		server.write(t, mount+"/keys/wattveil-hub", c)
		if err := server.open(t, mount).CreateKey(t.Context(), "hub"); err == nil {
			t.Errorf("took a key made with %v", c)
		} else {
			wantIs(t, err, seal.ErrRefused)
		}
	}
}

// TestVaultNotGone catches what would be fatal to mistake for a destroyed key:
// an engine that is not mounted, and a token that may not look.
func TestVaultNotGone(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	create(t, server.open(t, mount), "hub")
	sealed := wrapOne(t, server.open(t, mount), "hub")
	if err := server.admin.Sys().PutPolicy("nothing", `path "x" { capabilities = ["read"] }`); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]keys.VaultConfig{
		"no such mount": server.config("elsewhere"),
		"no permission": withToken(server.config(mount), server.token(t, "nothing")),
		"no such token": withToken(server.config(mount), "made-up"),
	} {
		t.Run(what, func(t *testing.T) {
			v := newVault(t, c)
			items := []seal.Item{{Context: []byte("c"), Data: sealed}}
			_, err := v.Unwrap(t.Context(), "hub", items)
			wantIs(t, err, seal.ErrRefused)
			_, err = v.Wrap(t.Context(), "hub", items)
			wantIs(t, err, seal.ErrRefused)
			wantIs(t, v.CreateKey(t.Context(), "hub"), seal.ErrRefused)
			wantIs(t, v.DestroyKey(t.Context(), "hub"), seal.ErrRefused)
		})
	}
	wantOpens(t, server.open(t, mount), "hub", sealed)
}

// TestVaultTokenEnds catches a hub that stays shut out after its token was
// revoked, and one that hammers the login: another login helps at once, but a
// refusal that follows it is believed for ten seconds.
func TestVaultTokenEnds(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	clock := newClock()
	c := server.config(mount)
	c.Token, c.AppRole, c.Now = "", server.role(t, mount), clock.now
	v := newVault(t, c)
	create(t, v, "hub")
	sealed := wrapOne(t, v, "hub")
	revoke := func() {
		t.Helper()
		if err := server.admin.Sys().RevokePrefix("auth/" + c.AppRole.Mount); err != nil {
			t.Fatal(err)
		}
	}
	revoke()
	_, err := v.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: sealed}})
	wantIs(t, err, seal.ErrRefused)
	clock.advance(11 * time.Second)
	wantOpens(t, v, "hub", sealed)
	clock.advance(11 * time.Second)
	revoke()
	wantOpens(t, v, "hub", sealed)

	t.Run("wrong role id", func(t *testing.T) { // (this old Vault answers 500 to a wrong secret id)
		c := c
		role := c.AppRole
		role.RoleID = "made-up"
		c.AppRole = role
		wantIs(t, newVault(t, c).CreateKey(t.Context(), "hub"), seal.ErrRefused)
	})
	t.Run("secret id in a file", func(t *testing.T) {
		c := c
		dir := newDir(t)
		role := c.AppRole
		writeFile(t, dir, "secret-id", []byte(string(role.SecretID)+"\n"))
		role.SecretID, role.SecretIDFile = "", filepath.Join(dir, "secret-id")
		c.AppRole = role
		wantOpens(t, newVault(t, c), "hub", sealed)
	})
}

// TestVaultTokenFile catches a token file that is read once: an agent writes a
// new token into it before the old one ends.
func TestVaultTokenFile(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	if err := server.admin.Sys().PutPolicy("hub", keys.VaultPolicy(mount)); err != nil {
		t.Fatal(err)
	}
	dir, clock := newDir(t), newClock()
	c := server.config(mount)
	c.Token, c.TokenFile, c.Now = "", filepath.Join(dir, "token"), clock.now
	v := newVault(t, c)
	wantIs(t, v.CreateKey(t.Context(), "hub"), seal.ErrUnavailable) // not there yet

	first := server.token(t, "hub")
	writeFile(t, dir, "token", []byte(string(first)+"\n"))
	create(t, v, "hub")
	sealed := wrapOne(t, v, "hub")

	if err := server.admin.Auth().Token().RevokeTree(string(first)); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	_, err := v.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte("secret")}})
	wantIs(t, err, seal.ErrRefused) // the file still holds the old one
	writeFile(t, dir, "token", []byte(string(server.token(t, "hub"))))
	clock.advance(time.Minute)
	wantOpens(t, v, "hub", sealed)
}

// TestVaultSealed catches a sealed Vault taken for anything but one that will
// be back.
func TestVaultSealed(t *testing.T) {
	server := devServer(t)
	v := server.open(t, server.mount(t))
	create(t, v, "hub")
	sealed := wrapOne(t, v, "hub")
	if err := server.admin.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, v, sealed)
}

// TestVaultKilled kills the server without warning, twice, and catches a
// destruction or a key that it had confirmed and does not remember; and what a
// restarted Vault answers before it is unsealed, and a dead one.
func TestVaultKilled(t *testing.T) {
	dir := newDir(t)
	server := startVault(t, nil, "-storage", dir)
	made, err := server.admin.Sys().Init(vaultInit())
	if err != nil {
		t.Fatal(err)
	}
	server.unseal(t, made)
	mount := server.mount(t)
	open := func(s *vaultServer) *keys.Vault {
		return newVault(t, withToken(s.config(mount), keys.Secret(made.RootToken)))
	}

	v := open(server)
	create(t, v, "hub")
	create(t, v, "window-1")
	hub, window := wrapOne(t, v, "hub"), wrapOne(t, v, "window-1")
	server.kill()
	wantUnavailable(t, v, hub)

	server = startVault(t, nil, "-storage", dir)
	v = open(server)
	wantUnavailable(t, v, hub)
	server.unseal(t, made)
	wantOpens(t, v, "window-1", window)
	wantIs(t, v.DestroyKey(t.Context(), "window-1"), nil)
	server.kill()

	server = startVault(t, nil, "-storage", dir)
	server.unseal(t, made)
	v = open(server)
	wantOpens(t, v, "hub", hub)
	wantGone(t, v, "window-1", window)
}

// TestVaultTLS catches a private CA that does not count, and a client that
// talks to a server it cannot know.
func TestVaultTLS(t *testing.T) {
	dir := newDir(t)
	cert := selfSigned(t, dir)
	server := startVault(t, cert, "-tls-cert", filepath.Join(dir, "cert.pem"), "-tls-key", filepath.Join(dir, "key.pem"),
		"-dev-root-token", rootToken)
	c := server.config(server.mount(t))
	t.Setenv("VAULT_SKIP_VERIFY", "true") // must not count
	err := newVault(t, c).CreateKey(t.Context(), "hub")
	wantIs(t, err, seal.ErrUnavailable)
	if !strings.Contains(err.Error(), "certificate is not trusted") {
		t.Errorf("the error does not name the cause: %v", err)
	}
	c.CAFile = filepath.Join(dir, "cert.pem")
	create(t, newVault(t, c), "hub")
}

// TestVaultTwoHubs catches two hubs on one engine that meet each other's keys.
func TestVaultTwoHubs(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	c := server.config(mount)
	one := newVault(t, c)
	c.Prefix = "other-"
	two := newVault(t, c)
	create(t, one, "window-1")
	sealed := wrapOne(t, one, "window-1")
	wantIs(t, two.DestroyKey(t.Context(), "window-1"), nil)
	wantOpens(t, one, "window-1", sealed)
	_, err := two.Unwrap(t.Context(), "window-1", []seal.Item{{Context: []byte("c"), Data: sealed}})
	wantIs(t, err, seal.ErrKeyGone)
}

// wantUnavailable asks every method.
func wantUnavailable(t *testing.T, w seal.Wrapper, sealed []byte) {
	t.Helper()
	_, wrapErr := w.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte("secret")}})
	_, unwrapErr := w.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: sealed}})
	for _, err := range []error{wrapErr, unwrapErr, w.CreateKey(t.Context(), "hub"), w.DestroyKey(t.Context(), "hub")} {
		wantIs(t, err, seal.ErrUnavailable)
	}
}

func withToken(c keys.VaultConfig, token keys.Secret) keys.VaultConfig {
	c.Token = token
	return c
}

// selfSigned writes cert.pem and key.pem for the loopback address.
func selfSigned(t *testing.T, dir string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, dir, "cert.pem", cert)
	writeFile(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return cert
}
