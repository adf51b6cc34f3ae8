package keys_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/wattveil/wattveil/server/keys"
)

// rootToken is the root token of every server started with devServer.
const rootToken = "root-token-of-the-test"

// vaultServer is a running testvault.
type vaultServer struct {
	url   string
	admin *api.Client // as root
	kill  func()      // as kill -9 does
}

// devServer starts an unsealed Vault that keeps its state in memory.
func devServer(t *testing.T, flags ...string) *vaultServer {
	t.Helper()
	return startVault(t, nil, append(flags, "-dev-root-token", rootToken)...)
}

// startVault runs the binary that WATTVEIL_TEST_VAULT names. The server ends
// with the test, or, its standard input being closed, with this process.
func startVault(t *testing.T, ca []byte, flags ...string) *vaultServer {
	t.Helper()
	binary := os.Getenv("WATTVEIL_TEST_VAULT")
	if binary == "" {
		if os.Getenv("CI") == "true" && os.Getenv("WATTVEIL_REQUIRE_VAULT") == "1" {
			t.Fatal("WATTVEIL_REQUIRE_VAULT=1, but WATTVEIL_TEST_VAULT names no testvault binary")
		}
		t.Skip("NOT TESTED against a real Vault: build server/keys/testvault and name the binary in WATTVEIL_TEST_VAULT")
	}
	cmd := exec.Command(binary, append(flags, "-stdin")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var killed atomic.Bool
	kill := func() {
		if killed.Swap(true) {
			return
		}
		_ = cmd.Process.Kill()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		_ = stdin.Close()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		kill()
		t.Fatalf("testvault did not start: %s", stderr.String())
	}
	return &vaultServer{url: url, admin: adminOf(t, url, ca), kill: kill}
}

// adminOf makes a client of the library itself, as root, to arrange what an
// operator would.
func adminOf(t *testing.T, url string, ca []byte) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = url
	config.MaxRetries = 0
	if ca != nil {
		if err := config.ConfigureTLS(&api.TLSConfig{CACertBytes: ca}); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	admin.SetToken(rootToken)
	return admin
}

var mounts atomic.Int64

// mount mounts a transit engine of its own and answers its path.
func (s *vaultServer) mount(t *testing.T) string {
	t.Helper()
	path := fmt.Sprintf("wattveil/transit-%d", mounts.Add(1))
	if err := s.admin.Sys().Mount(path, &api.MountInput{Type: "transit"}); err != nil {
		t.Fatal(err)
	}
	return path
}

// config is a root's configuration for the mount, impatient as tests are.
func (s *vaultServer) config(mount string) keys.VaultConfig {
	return keys.VaultConfig{
		Address: s.url, Mount: mount, Token: rootToken,
		Timeout: time.Minute, Retries: -1, RetryWait: time.Millisecond, BreakAfter: -1, Now: newClock().now,
	}
}

func (s *vaultServer) open(t *testing.T, mount string) *keys.Vault {
	t.Helper()
	return newVault(t, s.config(mount))
}

func (s *vaultServer) write(t *testing.T, path string, data map[string]any) map[string]any {
	t.Helper()
	answer, err := s.admin.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		return nil
	}
	return answer.Data
}

// role makes an AppRole that may do what VaultPolicy says on the mount, and what the
// further policies say.
func (s *vaultServer) role(t *testing.T, mount string, further ...string) keys.AppRole {
	t.Helper()
	name := strings.ReplaceAll(mount, "/", "-")
	var policies []string
	for i, policy := range append(further, keys.VaultPolicy(mount)) {
		policies = append(policies, fmt.Sprintf("%s-%d", name, i))
		if err := s.admin.Sys().PutPolicy(policies[i], policy); err != nil {
			t.Fatal(err)
		}
	}
	method := "approle-" + name
	if err := s.admin.Sys().EnableAuthWithOptions(method, &api.EnableAuthOptions{Type: "approle"}); err != nil {
		t.Fatal(err)
	}
	path := "auth/" + method + "/role/hub"
	s.write(t, path, map[string]any{"token_policies": policies, "token_no_default_policy": true, "token_ttl": "1h"})
	role, err := s.admin.Logical().ReadWithContext(t.Context(), path+"/role-id")
	if err != nil {
		t.Fatal(err)
	}
	secret := s.write(t, path+"/secret-id", nil)
	return keys.AppRole{
		Mount: method, RoleID: role.Data["role_id"].(string), SecretID: keys.Secret(secret["secret_id"].(string)),
	}
}

// key answers what Vault says of the hub's transit key of that name.
func (s *vaultServer) key(t *testing.T, mount, name string) map[string]any {
	t.Helper()
	answer, err := s.admin.Logical().ReadWithContext(t.Context(), mount+"/keys/wattveil-"+name)
	if err != nil || answer == nil {
		t.Fatalf("reading the key: %v", err)
	}
	return answer.Data
}

// unseal unseals a Vault that keeps its state, and makes its root the admin.
func (s *vaultServer) unseal(t *testing.T, made *api.InitResponse) {
	t.Helper()
	if status, err := s.admin.Sys().Unseal(made.Keys[0]); err != nil || status.Sealed {
		t.Fatalf("unsealing: sealed still, or error %v", err)
	}
	s.admin.SetToken(made.RootToken)
}

// token makes a token with that policy alone.
func (s *vaultServer) token(t *testing.T, policy string) keys.Secret {
	t.Helper()
	made, err := s.admin.Auth().Token().CreateWithContext(t.Context(),
		&api.TokenCreateRequest{Policies: []string{policy}, NoDefaultPolicy: true})
	if err != nil {
		t.Fatal(err)
	}
	return keys.Secret(made.Auth.ClientToken)
}

// vaultInit asks for a Vault that one share unseals.
func vaultInit() *api.InitRequest { return &api.InitRequest{SecretShares: 1, SecretThreshold: 1} }

// clock is a clock that stands until it is told otherwise.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2018, 10, 29, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func newVault(t *testing.T, c keys.VaultConfig) *keys.Vault {
	t.Helper()
	v, err := keys.NewVault(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
