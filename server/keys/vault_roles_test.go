package keys_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

var hubRoles = []string{"ingest", "release", "access", "keyguard", "ledger"}

// What each role may do with the keys of a hub. It is a statement of policy: it follows
// from what the roles' code calls, and no name is added to make a test pass.
var roleCalls = []struct {
	what string
	may  []string
	call func(ctx context.Context, v *keys.Vault, at deployed) error
}{
	{"say how the service is", hubRoles, func(ctx context.Context, v *keys.Vault, _ deployed) error {
		_, err := v.State(ctx)
		return err
	}},
	{"keep its token", hubRoles, func(ctx context.Context, v *keys.Vault, _ deployed) error { return v.Renew(ctx) }},

	{"see the hub's key", hubRoles, versionsOf("hub")},
	{"make the hub's key", []string{"ledger"}, making("hub")},
	{"wrap under the hub's key", []string{"ingest", "release", "access", "ledger"}, wrapping("hub")},
	{"unwrap under the hub's key", []string{"ingest", "release", "access", "ledger"}, unwrapping("hub")},
	{"rotate the hub's key", []string{"keyguard"}, rotating("hub")},
	{"rewrap under the hub's key", []string{"keyguard"}, rewrapping("hub")},
	{"retire the hub's key", []string{"keyguard"}, retiring("hub")},
	{"destroy the hub's key", nil, destroying("hub")},

	{"see the households' key", []string{"access", "keyguard"}, versionsOf("households")},
	{"make the households' key", []string{"keyguard"}, making("households")},
	{"wrap under the households' key", []string{"access", "keyguard"}, wrapping("households")},
	{"unwrap under the households' key", []string{"keyguard"}, unwrapping("households")},
	{"rotate the households' key", []string{"keyguard"}, rotating("households")},
	{"rewrap under the households' key", []string{"keyguard"}, rewrapping("households")},
	{"retire the households' key", []string{"keyguard"}, retiring("households")},
	{"destroy the households' key", nil, destroying("households")},

	{"make a window's key", []string{"release"}, making("window-2026-03-02")},
	{"wrap under a window's key", []string{"release"}, wrapping("window-1")},
	{"unwrap under a window's key", []string{"release"}, unwrapping("window-1")},
	{"destroy a window's key", []string{"release"}, destroying("window-1")},

	{"make a key of its own", nil, making("mine")},
	{"list all keys", nil, func(_ context.Context, _ *keys.Vault, at deployed) error { return at.list() }},
}

// deployed is an engine as a hub has left it that has run for a while: with keys, and
// something wrapped under each.
type deployed struct {
	mount  string
	sealed map[string][]byte
	list   func() error
}

func versionsOf(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, _ deployed) error {
		_, _, err := v.KeyVersions(ctx, key)
		return err
	}
}

func making(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, _ deployed) error { return v.CreateKey(ctx, key) }
}

func destroying(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, _ deployed) error { return v.DestroyKey(ctx, key) }
}

func wrapping(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, _ deployed) error {
		_, err := v.Wrap(ctx, key, []seal.Item{{Context: []byte("c"), Data: []byte("secret")}})
		return err
	}
}

func unwrapping(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, at deployed) error {
		_, err := v.Unwrap(ctx, key, []seal.Item{{Context: []byte("c"), Data: at.sealed[key]}})
		return err
	}
}

func rewrapping(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, at deployed) error {
		_, err := v.Rewrap(ctx, key, []seal.Item{{Context: []byte("c"), Data: at.sealed[key]}})
		return err
	}
}

func rotating(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, _ deployed) error {
		_, err := v.RotateKey(ctx, key)
		return err
	}
}

// retiring destroys the first of two versions.
func retiring(key string) func(context.Context, *keys.Vault, deployed) error {
	return func(ctx context.Context, v *keys.Vault, _ deployed) error { return v.RetireVersions(ctx, key, 2) }
}

// deploy makes an engine with the keys of a hub, each rotated once.
func (s *vaultServer) deploy(t *testing.T) deployed {
	t.Helper()
	at := deployed{mount: s.mount(t), sealed: map[string][]byte{}}
	root := s.open(t, at.mount)
	for _, key := range []string{"hub", "households", "window-1"} {
		create(t, root, key)
		rotateKey(t, root, key)
		at.sealed[key] = wrapOne(t, root, key)
	}
	return at
}

// as logs in to the engine under a role's policy alone.
func (s *vaultServer) as(t *testing.T, role string, at *deployed) (*keys.Vault, *api.Client) {
	t.Helper()
	name := "role-" + role + "-" + strings.ReplaceAll(at.mount, "/", "-")
	if err := s.admin.Sys().PutPolicy(name, keys.VaultRolePolicy(at.mount, "wattveil-", role)); err != nil {
		t.Fatalf("Vault does not take the policy of %s: %v", role, err)
	}
	token := s.token(t, name)
	raw, err := s.admin.Clone()
	if err != nil {
		t.Fatal(err)
	}
	raw.SetToken(string(token))
	at.list = func() error {
		if _, err := raw.Logical().ListWithContext(t.Context(), at.mount+"/keys"); err != nil {
			return fmt.Errorf("%w: %w", seal.ErrRefused, err)
		}
		return nil
	}
	return newVault(t, withToken(s.config(at.mount), token)), raw
}

// TestVaultRolePolicies catches a policy under which a role cannot work, and one that
// gives it what another role alone needs: every call is made under every role's policy.
func TestVaultRolePolicies(t *testing.T) {
	server := devServer(t)
	for _, role := range hubRoles {
		t.Run(role, func(t *testing.T) {
			for _, c := range roleCalls {
				at := server.deploy(t) // anew: calls change it
				v, _ := server.as(t, role, &at)
				switch err := c.call(t.Context(), v, at); {
				case slices.Contains(c.may, role):
					if err != nil {
						t.Errorf("it may not %s: %v", c.what, err)
					}
				case err == nil:
					t.Errorf("it may %s", c.what)
				default:
					wantIs(t, err, seal.ErrRefused)
				}
			}
		})
	}
}

// TestVaultRolePoliciesRaw catches what no method here calls, and who has stolen a role's
// token could: taking a key out, making it one that can be taken out or deleted, another
// prefix's or mount's keys, and Vault's own settings.
func TestVaultRolePoliciesRaw(t *testing.T) {
	server := devServer(t)
	for _, role := range hubRoles {
		at := server.deploy(t)
		_, raw := server.as(t, role, &at)
		write := func(path string, body map[string]any) error {
			_, err := raw.Logical().WriteWithContext(t.Context(), path, body)
			return err
		}
		read := func(path string) error {
			_, err := raw.Logical().ReadWithContext(t.Context(), path)
			return err
		}
		for _, key := range []string{"hub", "households"} {
			for _, change := range []map[string]any{{"exportable": true}, {"allow_plaintext_backup": true}, {"deletion_allowed": true}, {"min_decryption_version": 1, "exportable": true}} {
				if err := write(at.mount+"/keys/wattveil-"+key+"/config", change); err == nil {
					t.Errorf("%s sets %v on %s", role, change, key)
				}
			}
		}
		for _, key := range []string{"hub", "households", "window-1"} {
			for _, path := range []string{"/export/encryption-key/", "/export/hmac-key/", "/backup/"} {
				if err := read(at.mount + path + "wattveil-" + key); err == nil {
					t.Errorf("%s reads %s%s", role, path, key)
				}
			}
			if err := write(at.mount+"/datakey/plaintext/wattveil-"+key, nil); err == nil {
				t.Errorf("%s makes a data key under %s", role, key)
			}
			if err := write(at.mount+"/keys/other-"+key, nil); err == nil {
				t.Errorf("%s makes %s of another hub", role, key)
			}
		}
		for _, path := range []string{"sys/mounts", "sys/policies/acl", "sys/audit", "auth/token/lookup-self"} {
			if err := read(path); err == nil {
				t.Errorf("%s reads %s", role, path)
			}
		}
	}
}

// TestVaultRolePolicyOfNobody catches a policy for a role that has no need of Vault.
func TestVaultRolePolicyOfNobody(t *testing.T) {
	for _, role := range []string{"portal", "", "operator"} {
		if p := keys.VaultRolePolicy("wattveil", "wattveil-", role); p != "" {
			t.Errorf("%q has the policy\n%s", role, p)
		}
	}
}
