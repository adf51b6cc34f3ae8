package keys_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultConfig says which configurations stand.
func TestVaultConfig(t *testing.T) {
	for _, name := range []string{"VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT"} {
		t.Setenv(name, "")
	}
	dir := newDir(t)
	writeFile(t, dir, "empty.pem", []byte("no certificate"))
	clock := newClock().now
	good := keys.VaultConfig{Address: "https://vault.example:8200", Token: faultToken, Now: clock}
	check := func(ok bool, what string, change func(*keys.VaultConfig)) {
		t.Helper()
		c := good
		change(&c)
		_, err := keys.NewVault(c)
		if (err == nil) != ok {
			t.Errorf("%s: error %v", what, err)
		}
		if err != nil {
			wantSilent(t, err)
		}
	}
	allow := func(what string, change func(*keys.VaultConfig)) { t.Helper(); check(true, what, change) }
	deny := func(what string, change func(*keys.VaultConfig)) { t.Helper(); check(false, what, change) }

	allow("address and token", func(*keys.VaultConfig) {})
	allow("plain http to this machine", func(c *keys.VaultConfig) { c.Address = "http://127.0.0.1:8200" })
	allow("plain http to this machine by name", func(c *keys.VaultConfig) { c.Address = "http://localhost:8200/" })
	deny("plain http elsewhere", func(c *keys.VaultConfig) { c.Address = "http://vault.example:8200" })
	deny("plain http to a name that looks like here", func(c *keys.VaultConfig) { c.Address = "http://localhost.example" })
	deny("no address", func(c *keys.VaultConfig) { c.Address = "" })
	deny("an address without a scheme", func(c *keys.VaultConfig) { c.Address = "vault.example:8200" })
	deny("an address with a password", func(c *keys.VaultConfig) { c.Address = "https://u:" + faultToken + "@vault.example" })
	deny("an address with a path", func(c *keys.VaultConfig) { c.Address = "https://vault.example/v1" })
	deny("a socket", func(c *keys.VaultConfig) { c.Address = "unix:///run/vault" })
	allow("a deep mount", func(c *keys.VaultConfig) { c.Mount = "energy/wattveil/transit" })
	deny("a mount that climbs", func(c *keys.VaultConfig) { c.Mount = "transit/../sys" })
	deny("a mount with a query", func(c *keys.VaultConfig) { c.Mount = "transit?x" })
	deny("a prefix that could end a name", func(c *keys.VaultConfig) { c.Prefix = "a." })
	deny("a prefix with a slash", func(c *keys.VaultConfig) { c.Prefix = "a/" })
	deny("no token", func(c *keys.VaultConfig) { c.Token = "" })
	deny("a token with a line feed", func(c *keys.VaultConfig) { c.Token = faultToken + "\n" })
	deny("two ways in", func(c *keys.VaultConfig) { c.TokenFile, c.Now = "token", clock })
	deny("no clock", func(c *keys.VaultConfig) { c.Now = nil })
	allow("a token file that is not there yet", func(c *keys.VaultConfig) { c.Token, c.TokenFile, c.Now = "", "token", clock })
	role := func(r keys.AppRole) func(c *keys.VaultConfig) {
		return func(c *keys.VaultConfig) { c.Token, c.AppRole, c.Now = "", r, clock }
	}
	allow("an approle", role(keys.AppRole{RoleID: "r", SecretID: faultSecret}))
	allow("an approle with a file", role(keys.AppRole{RoleID: "r", SecretIDFile: "f", Mount: "machines/approle"}))
	deny("an approle without a role", role(keys.AppRole{SecretID: faultSecret}))
	deny("an approle without a secret", role(keys.AppRole{RoleID: "r"}))
	deny("an approle with two secrets", role(keys.AppRole{RoleID: "r", SecretID: faultSecret, SecretIDFile: "f"}))
	deny("an approle mount that climbs", role(keys.AppRole{RoleID: "r", SecretID: faultSecret, Mount: "../sys"}))
	pod := func(k keys.Kubernetes) func(c *keys.VaultConfig) {
		return func(c *keys.VaultConfig) { c.Token, c.Kubernetes = "", k }
	}
	allow("a pod", pod(keys.Kubernetes{Role: "hub"}))
	allow("a pod with all said", pod(keys.Kubernetes{Role: "hub", Mount: "/clusters/one/", TokenFile: "f"}))
	deny("a pod without a role", pod(keys.Kubernetes{TokenFile: "f"}))
	deny("a pod mount that climbs", pod(keys.Kubernetes{Role: "hub", Mount: "../sys"}))
	deny("a pod with a token as well", func(c *keys.VaultConfig) { c.Kubernetes.Role = "hub" })
	deny("a CA file that is missing", func(c *keys.VaultConfig) { c.CAFile = filepath.Join(dir, "missing.pem") })
	deny("a CA file without a certificate", func(c *keys.VaultConfig) { c.CAFile = filepath.Join(dir, "empty.pem") })

	t.Setenv("VAULT_ADDR", "https://vault.example:8200")
	t.Setenv("VAULT_TOKEN", faultToken)
	if _, err := keys.NewVault(keys.VaultConfig{Now: clock}); err != nil {
		t.Errorf("from the environment alone: %v", err)
	}
	t.Setenv("VAULT_ADDR", "http://vault.example:8200")
	if _, err := keys.NewVault(keys.VaultConfig{Now: clock}); err == nil {
		t.Error("an address from the environment goes unchecked")
	}
}

// TestSecretHidden catches a configuration that prints its secrets.
func TestSecretHidden(t *testing.T) {
	c := keys.VaultConfig{Token: faultToken, AppRole: keys.AppRole{SecretID: faultSecret}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{c, c.Token, c.AppRole} {
			text := fmt.Sprintf(format, value)
			if strings.Contains(text, faultToken) || strings.Contains(text, faultSecret) ||
				strings.Contains(text, fmt.Sprintf("%x", faultToken)) {
				t.Errorf("%s prints a secret", format)
			}
		}
	}
	if text, err := c.Token.MarshalText(); err != nil || strings.Contains(string(text), faultToken) {
		t.Error("marshalling prints a secret")
	}
}
