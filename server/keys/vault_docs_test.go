package keys_test

import (
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultDocumented catches a set-up for operators that no longer is what the code
// needs and what the tests run under.
func TestVaultDocumented(t *testing.T) {
	page := string(readFile(t, "../../docs", "OPERATING.md"))
	texts := map[string]string{
		"the policy":             keys.VaultPolicy("wattveil"),
		"the policy of rotation": keys.VaultRotationPolicy("wattveil"),
		"the audited header":     "vault write sys/config/auditing/request-headers/" + keys.AuditHeader + " hmac=false\n",
	}
	for _, role := range hubRoles {
		texts["the policy of "+role] = "vault policy write wattveil-" + role + " - <<'EOF'\n" + keys.VaultRolePolicy("wattveil", "wattveil-", role) + "EOF\n"
	}
	for what, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("docs/OPERATING.md lacks %s:\n%s", what, text)
		}
	}
}
