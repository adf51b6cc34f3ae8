package keys_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultState leads a real Vault through its life, and catches a state that sends an
// operator to the wrong place. The client is the same all along: it needs no restart.
func TestVaultState(t *testing.T) {
	dir := newDir(t)
	server := startVault(t, nil, "-storage", dir)
	c := server.config("wattveil/transit")
	v := newVault(t, c)
	wantState(t, v, keys.StateUninitialised, seal.ErrUnavailable)
	made, err := server.admin.Sys().Init(vaultInit())
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, v, keys.StateSealed, seal.ErrUnavailable)
	server.unseal(t, made)
	wantState(t, v, keys.StateDenied, seal.ErrRefused) // no such token

	mount := server.mount(t)
	v = newVault(t, withToken(server.config(mount), keys.Secret(made.RootToken)))
	wantState(t, v, keys.StateReady, nil)
	create(t, v, "state") // the name that is asked for may be a key's
	wantState(t, v, keys.StateReady, nil)
	sealed := wrapOne(t, v, "state")

	if err := server.admin.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	wantState(t, v, keys.StateSealed, seal.ErrUnavailable)
	wantUnavailable(t, v, sealed)
	server.unseal(t, made)
	wantState(t, v, keys.StateReady, nil)
	wantOpens(t, v, "state", sealed)

	server.kill()
	wantState(t, v, keys.StateUnreachable, seal.ErrUnavailable)
}

// TestVaultStateDenied catches a client that is called ready although it could do nothing,
// and one under the least policy that is called denied.
func TestVaultStateDenied(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	if err := server.admin.Sys().PutPolicy("nothing", `path "x" { capabilities = ["read"] }`); err != nil {
		t.Fatal(err)
	}
	role := server.role(t, mount)
	clock := newClock()
	login := func(change func(*keys.VaultConfig)) keys.VaultConfig {
		c := server.config(mount)
		c.Token, c.AppRole, c.Now = "", role, clock.now
		change(&c)
		return c
	}
	wantState(t, newVault(t, login(func(*keys.VaultConfig) {})), keys.StateReady, nil)
	for what, c := range map[string]struct {
		config keys.VaultConfig
		want   error
	}{
		"no such token":       {withToken(server.config(mount), "made-up"), seal.ErrRefused},
		"no permission":       {withToken(server.config(mount), server.token(t, "nothing")), seal.ErrRefused},
		"no such engine":      {server.config("elsewhere"), seal.ErrRefused},
		"no such role":        {login(func(c *keys.VaultConfig) { c.AppRole.RoleID = "made-up" }), seal.ErrRefused},
		"no file with secret": {login(func(c *keys.VaultConfig) { c.AppRole = keys.AppRole{}; c.TokenFile = "missing" }), seal.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) { wantState(t, newVault(t, c.config), keys.StateDenied, c.want) })
	}

	// A token that is revoked while the hub runs, and the login that helps.
	c := login(func(*keys.VaultConfig) {})
	v := newVault(t, c)
	wantState(t, v, keys.StateReady, nil)
	if err := server.admin.Sys().RevokePrefix("auth/" + role.Mount); err != nil {
		t.Fatal(err)
	}
	wantState(t, v, keys.StateDenied, seal.ErrRefused)
	clock.advance(11 * time.Second)
	wantState(t, v, keys.StateReady, nil)
}

// TestVaultStateFaults does it for what only a stand-in can be: something else at the
// address, a namespace that is not there, a server that stalls, one that is lost after
// its health was asked for.
func TestVaultStateFaults(t *testing.T) {
	const well = `{"initialized":true,"sealed":false,"standby":true}`
	for what, c := range map[string]struct {
		health, key func(w http.ResponseWriter)
		state       keys.State
		want        error
	}{
		"well":               {answers(200, well), answers(404, `{"errors":[]}`), keys.StateReady, nil},
		"a standby":          {answers(299, well), answers(200, keyAnswer), keys.StateReady, nil},
		"sealed":             {answers(299, `{"initialized":true,"sealed":true}`), nil, keys.StateSealed, seal.ErrUnavailable},
		"new":                {answers(299, `{"initialized":false,"sealed":true}`), nil, keys.StateUninitialised, seal.ErrUnavailable},
		"a page":             {answers(200, "<html>"+faultToken), nil, keys.StateUnreachable, seal.ErrUnavailable},
		"not a Vault":        {answers(404, "page not found"), nil, keys.StateUnreachable, seal.ErrUnavailable},
		"a proxy that locks": {answers(403, "go away"), nil, keys.StateUnreachable, seal.ErrUnavailable},
		"a balancer":         {answers(502, ""), nil, keys.StateUnreachable, seal.ErrUnavailable},
		"lost in between":    {answers(200, well), answers(503, ""), keys.StateUnreachable, seal.ErrUnavailable},
		"no such namespace": {
			answers(200, well), answers(404, `{"errors":["no handler for route \"transit/keys/wattveil-state\""]}`),
			keys.StateDenied, seal.ErrRefused,
		},
		"denied": {answers(200, well), answers(403, `{"errors":["`+faultToken+`"]}`), keys.StateDenied, seal.ErrRefused},
	} {
		t.Run(what, func(t *testing.T) {
			config := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/sys/health" {
					if r.Header.Get("X-Vault-Token") != "" || r.Header.Get("X-Vault-Namespace") != "" {
						t.Error("health is asked for with a token, or in a namespace that need not have it")
					}
					c.health(w)
					return
				}
				if r.Header.Get("X-Vault-Namespace") != "energy" {
					t.Error("the key is asked for in another namespace")
				}
				c.key(w)
			}))
			config.Namespace = "energy"
			wantState(t, newVault(t, config), c.state, c.want)
		})
	}
	t.Run("stalls", func(t *testing.T) {
		config := faultConfig(serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		config.Timeout = 20 * time.Millisecond
		wantState(t, newVault(t, config), keys.StateUnreachable, seal.ErrUnavailable)
	})
	t.Run("while calls are turned away", func(t *testing.T) {
		stub, _, v := breakerVault(t)
		stub.status.Store(500)
		for range 4 {
			wantIs(t, wrapFault(t, v), seal.ErrUnavailable)
		}
		stub.calls.Store(0)
		_, _ = v.State(t.Context())
		if stub.calls.Load() == 0 {
			t.Error("the state was not asked for")
		}
	})
}

// TestKeyringState says what a keyring answers: ready, until it is closed.
func TestKeyringState(t *testing.T) {
	k := openKeyring(t, newDir(t))
	wantState(t, k, keys.StateReady, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.State(ctx)
	wantIs(t, err, context.Canceled)
	k.Close()
	wantState(t, k, keys.StateUnreachable, seal.ErrUnavailable)
}

// TestStateNames catches a name that changes under those who look for it.
func TestStateNames(t *testing.T) {
	for state, want := range map[keys.State]string{
		keys.StateUnreachable: "unreachable", keys.StateUninitialised: "uninitialised", keys.StateSealed: "sealed",
		keys.StateDenied: "denied", keys.StateReady: "ready", 99: "unreachable",
	} {
		if state.String() != want {
			t.Errorf("state %d is called %q, want %q", state, state, want)
		}
	}
}

func answers(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// stateful is a key service that says how it is.
type stateful interface {
	State(ctx context.Context) (keys.State, error)
}

func wantState(t *testing.T, service stateful, want keys.State, wantErr error) {
	t.Helper()
	state, err := service.State(t.Context())
	if state != want {
		t.Errorf("%v, want %v (error %v)", state, want, err)
	}
	wantIs(t, err, wantErr)
	wantSilent(t, err)
}
