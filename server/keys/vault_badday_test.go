package keys_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultRestarted catches a client that does not find its way back by itself: Vault is
// killed, comes back sealed at the same address and is unsealed, and is sealed and unsealed
// once more while it runs; all that with the calls that go on coming.
func TestVaultRestarted(t *testing.T) {
	dir := newDir(t)
	server := startVault(t, nil, "-storage", dir)
	made, err := server.admin.Sys().Init(vaultInit())
	if err != nil {
		t.Fatal(err)
	}
	server.unseal(t, made)
	mount, clock := server.mount(t), newClock()
	c := server.config(mount)
	c.Token, c.AppRole, c.Now, c.BreakAfter, c.BreakFor = "", server.role(t, mount), clock.now, 3, time.Second
	v := newVault(t, c)
	create(t, v, "hub")
	sealed := wrapOne(t, v, "hub")
	outage := func(want keys.State) {
		t.Helper()
		for range 6 {
			wantUnavailable(t, v, sealed)
			clock.advance(time.Second)
		}
		wantState(t, v, want, seal.ErrUnavailable)
	}
	recovered := func() {
		t.Helper()
		clock.advance(time.Second)
		wantOpens(t, v, "hub", sealed)
		wantState(t, v, keys.StateReady, nil)
	}

	server.kill()
	outage(keys.StateUnreachable)
	server = startVault(t, nil, "-storage", dir, "-listen", strings.TrimPrefix(server.url, "http://"))
	outage(keys.StateSealed)
	server.unseal(t, made)
	recovered()
	if err := server.admin.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	outage(keys.StateSealed)
	server.unseal(t, made)
	recovered()
}

// TestVaultKeyDeletedByHand catches a key that somebody deleted in Vault itself and that
// passes for anything else than gone; and, since no tombstone forbids the name, a key made
// anew that opens what was wrapped under the old one, or takes it for damaged for good.
func TestVaultKeyDeletedByHand(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	v := server.open(t, mount)
	create(t, v, "hub")
	sealed := wrapOne(t, v, "hub")
	server.write(t, mount+"/keys/wattveil-hub/config", map[string]any{"deletion_allowed": true})
	if _, err := server.admin.Logical().DeleteWithContext(t.Context(), mount+"/keys/wattveil-hub"); err != nil {
		t.Fatal(err)
	}
	closed := []seal.Item{{Context: []byte("c"), Data: sealed}}
	for range 2 {
		_, unwrapErr := v.Unwrap(t.Context(), "hub", closed)
		_, wrapErr := v.Wrap(t.Context(), "hub", closed)
		_, rewrapErr := v.Rewrap(t.Context(), "hub", closed)
		_, rotateErr := v.RotateKey(t.Context(), "hub")
		_, _, versionsErr := v.KeyVersions(t.Context(), "hub")
		for _, err := range []error{unwrapErr, wrapErr, rewrapErr, rotateErr, versionsErr, v.RetireVersions(t.Context(), "hub", 1)} {
			wantIs(t, err, seal.ErrKeyGone)
			wantSilent(t, err)
		}
	}
	wantState(t, v, keys.StateReady, nil)
	create(t, v, "hub")
	_, err := v.Unwrap(t.Context(), "hub", closed)
	wantIs(t, err, seal.ErrRefused)
	wantOpens(t, v, "hub", wrapOne(t, v, "hub"))
}

// TestVaultGivenTokenRevoked catches a token without a way to another one whose end passes
// for a key that is gone, or for something that will pass.
func TestVaultGivenTokenRevoked(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	if err := server.admin.Sys().PutPolicy("hub", keys.VaultPolicy(mount)); err != nil {
		t.Fatal(err)
	}
	token := server.token(t, "hub")
	v := newVault(t, withToken(server.config(mount), token))
	create(t, v, "hub")
	sealed := wrapOne(t, v, "hub")
	if err := server.admin.Auth().Token().RevokeTree(string(token)); err != nil {
		t.Fatal(err)
	}
	_, unwrapErr := v.Unwrap(t.Context(), "hub", []seal.Item{{Context: []byte("c"), Data: sealed}})
	for _, err := range []error{unwrapErr, v.CreateKey(t.Context(), "hub"), v.DestroyKey(t.Context(), "hub")} {
		wantIs(t, err, seal.ErrRefused)
		wantSilent(t, err)
		if err != nil && strings.Contains(err.Error(), string(token)) {
			t.Error("the error repeats the token")
		}
	}
	wantState(t, v, keys.StateDenied, seal.ErrRefused)
	wantOpens(t, server.open(t, mount), "hub", sealed)
}

// TestVaultLoginGarbage catches a login that is believed whatever comes back, and one after
// which no other can be made.
func TestVaultLoginGarbage(t *testing.T) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `<html>`, `{"auth":null}`, `{"auth":{}}`, `{"auth":{"client_token":""}}`, `{"auth":7}`,
		`{"auth":{"client_token":"two\nlines","lease_duration":3600}}`, `{"auth":{"client_token":"\u0001"}}`,
		`{"auth":{"client_token":"` + faultToken,
	} {
		stub, well := &loginStub{lease: 3600, renewed: 3600}, false
		c := faultConfig(serveAll(t, func(w http.ResponseWriter, r *http.Request) {
			if !well && strings.HasSuffix(r.URL.Path, "/login") {
				_, _ = io.WriteString(w, body)
				return
			}
			stub.ServeHTTP(w, r)
		}))
		c.Token, c.AppRole = "", keys.AppRole{RoleID: "role", SecretID: faultSecret}
		v := newVault(t, c)
		for range 2 {
			if err := wrapFault(t, v); err == nil {
				t.Errorf("a login was taken that answers %q", body)
			} else {
				wantIs(t, err, seal.ErrUnavailable)
			}
		}
		well = true
		if err := wrapFault(t, v); err != nil {
			t.Errorf("after a login that answers %q: %v", body, err)
		}
	}
}

// TestVaultSlow catches a slow Vault that is waited for again and again, by each caller for
// as long as its attempts may last.
func TestVaultSlow(t *testing.T) {
	stub, clock := &breakerStub{}, newClock()
	stub.status.Store(200)
	wait := make(chan struct{})
	stub.wait.Store(&wait)
	c := faultConfig(serve(t, stub.ServeHTTP))
	c.Now, c.BreakAfter, c.BreakFor, c.Timeout, c.Retries = clock.now, 2, time.Second, 20*time.Millisecond, 1
	v := newVault(t, c)
	for range 10 {
		wantIs(t, wrapFault(t, v), seal.ErrUnavailable)
	}
	if came := stub.calls.Load(); came != 2*2 {
		t.Errorf("%d attempts came, want two for each of two calls", came)
	}
	close(wait)
	clock.advance(time.Second)
	wantIs(t, wrapFault(t, v), nil)
}

// TestVaultLost catches an address behind which the name is lost: nobody can be found there,
// and the error does not say where.
func TestVaultLost(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	v := newVault(t, faultConfig("http://"+listener.Addr().String()))
	wantState(t, v, keys.StateUnreachable, seal.ErrUnavailable)
	_, rotateErr := v.RotateKey(t.Context(), "hub")
	_, _, versionsErr := v.KeyVersions(t.Context(), "hub")
	for _, err := range []error{rotateErr, versionsErr, v.RetireVersions(t.Context(), "hub", 2)} {
		wantIs(t, err, seal.ErrUnavailable)
		wantSilent(t, err)
	}
}
