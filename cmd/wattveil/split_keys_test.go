package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
)

// vaultToken makes a role's policy, as OPERATING.md has it, and returns a token that holds
// it and no other.
func (s *split) vaultToken(r store.Role) string {
	s.t.Helper()
	ctx, policy := s.t.Context(), "wattveil-"+string(r)
	s.must(arrangeVault(ctx, s.vault.url+"/v1/sys/policies/acl/"+policy, s.vault.token, map[string]any{"policy": keys.VaultRolePolicy("transit", "wattveil-", string(r))}))
	body, err := json.Marshal(map[string]any{"policies": []string{policy}, "no_default_policy": true})
	s.must(err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.vault.url+"/v1/auth/token/create", bytes.NewReader(body))
	s.must(err)
	req.Header.Set("X-Vault-Token", s.vault.token)
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer resp.Body.Close()
	var made struct {
		Auth struct {
			Token    string   `json:"client_token"`
			Policies []string `json:"token_policies"`
		} `json:"auth"`
	}
	s.must(json.NewDecoder(resp.Body).Decode(&made))
	if len(made.Auth.Policies) != 1 || made.Auth.Policies[0] != policy {
		s.t.Fatalf("the token of %s has the policies %q", r, made.Auth.Policies)
	}
	return made.Auth.Token
}

// The operator rotates all that wraps what is stored, and the households' pairs, at the
// keyguard, which may rewrap the secrets of every part and open none. What the other parts
// have then they open when they start again, which parts away makes them do. It would catch
// a rotation that reaches some parts' secrets alone, and a part that may not look whether
// its secret is wrapped under a version that stays.
func (s *split) keysRotate(t *testing.T) {
	s.must(s.ca.writeClient(s.dir, "operator", "operator", "office"))
	at := func(r store.Role, args ...string) (code int, out string) {
		var stdout, stderr bytes.Buffer
		file := func(name string) string { return filepath.Join(s.dir, name) }
		code = run(t.Context(), append(args, "--hub", s.grpc[r], "--cert", file("operator.pem"), "--key", file("operator.key"), "--ca", s.path(r, "ca.pem"), "--json"), &stdout, &stderr)
		return code, stdout.String() + stderr.String()
	}
	status := func() map[string]keyReport {
		t.Helper()
		var got struct{ Keys []keyReport }
		if code, out := at(store.RoleKeyguard, "keys", "status"); code != 0 || json.Unmarshal([]byte(out), &got) != nil {
			t.Fatalf("keys status: exit code %d: %s", code, out)
		}
		keys := map[string]keyReport{}
		for _, k := range got.Keys {
			keys[k.Name] = k
		}
		return keys
	}
	before := status()
	if before["hub"].Stored != 9 || before["households"].Stored == 0 {
		t.Errorf("before: %+v", before)
	}
	s.eventually(t, "rotating", func(int) error {
		if code, out := at(store.RoleKeyguard, "keys", "rotate", "--retire-now"); code != 0 {
			return fmt.Errorf("exit code %d: %s", code, out)
		}
		return nil
	})
	for name, k := range status() {
		if k.Oldest != k.Newest || k.Newest <= before[name].Newest || k.Old != 0 || k.Lost != 0 || k.Stored != before[name].Stored {
			t.Errorf("after a rotation: %+v", k)
		}
	}
	if code, out := at(store.RoleKeyguard, "keys", "rotate", "--pairs"); code != 0 {
		t.Errorf("new pairs: exit code %d: %s", code, out)
	}
	if k := status()["households"]; k.Stored != 2*before["households"].Stored {
		t.Errorf("after a round of new pairs: %+v", k)
	}
	for _, r := range []store.Role{store.RoleLedger, store.RoleAccess} {
		if code, out := at(r, "keys", "rotate"); code != 2 || !strings.Contains(out, "Unimplemented") {
			t.Errorf("rotating at %s: exit code %d: %s", r, code, out)
		}
	}
	// The ledger's own keys are looked at and rotated where it signs; the others follow.
	for _, args := range [][]string{{"keys", "status"}, {"keys", "rotate", "--ledger"}} {
		if code, out := at(store.RoleLedger, args...); code != 0 || !strings.Contains(out, "split.test/ledger+") && args[1] == "rotate" {
			t.Errorf("%v at the ledger: exit code %d: %s", args, code, out)
		}
	}
}
