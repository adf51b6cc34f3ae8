package keys_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/server/keys"
)

const auditedKey = "wattveil-households"

// auditLine is an entry as Vault 1.13 writes it, shortened.
func auditLine(kind, path, headers, err string) string {
	return fmt.Sprintf(`{"time":"2026-03-03T06:00:00.5Z","type":%q,"auth":{"token_type":"service"},"request":{"id":"5c1f","operation":"update","mount_type":"transit","path":%q,"headers":{%s},"data":{"batch_input":"hmac-sha256:00"}},"error":%q}`,
		kind, path, headers, err)
}

func readAudit(text string) (out []keys.Decryption, err error) {
	for d, e := range keys.ReadVaultAudit(strings.NewReader(text), auditedKey) {
		if e != nil {
			return out, e
		}
		out = append(out, d)
	}
	return out, nil
}

// What opened is what Vault answered, under the one key: requests alone, refusals and other
// keys are none. It would catch an opening that is passed over, and one that is counted
// twice because Vault logs question and answer.
func TestReadVaultAudit(t *testing.T) {
	const marked, path = `"x-wattveil-leaf":["77"]`, "transit/decrypt/" + auditedKey
	got, err := readAudit(strings.Join([]string{
		auditLine("request", path, marked, ""),
		auditLine("response", path, marked, ""),
		auditLine("response", path, `"X-Wattveil-Leaf":["0"],"x-other":["a","b"]`, ""),
		"",
		auditLine("response", "hub/"+path, "", ""),
		auditLine("response", path, marked, "permission denied"),
		auditLine("response", "transit/decrypt/wattveil-hub", marked, ""),
		auditLine("response", "transit/encrypt/"+auditedKey, marked, ""),
		auditLine("response", "transit/export/encryption-key/"+auditedKey, "", ""),
		auditLine("response", "transit/export/encryption-key/"+auditedKey+"/2", "", ""),
		auditLine("response", "transit/backup/"+auditedKey, "", ""),
		auditLine("response", "transit/backup/"+auditedKey, "", "permission denied"),
		auditLine("response", "transit/keys/"+auditedKey, "", ""),
	}, "\n"))
	if err != nil || len(got) != 6 || !got[3].Key || !got[4].Key || !got[5].Key || got[2].Key {
		t.Fatalf("%v, %v", got, err)
	}
	got = got[:3]
	for i, want := range []keys.Decryption{{Line: 2, Index: 77, Marked: true}, {Line: 3, Marked: true}, {Line: 5}} {
		if g := got[i]; g.Line != want.Line || g.Index != want.Index || g.Marked != want.Marked || g.Request != "5c1f" || g.Time.Unix() != 1772517600 {
			t.Errorf("%+v, want %+v", g, want)
		}
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"no JSON":          {"2026-03-03 ok\n", keys.ErrAuditLog},
		"other JSON":       {`{"a":1}`, keys.ErrAuditLog},
		"a hashed header":  {auditLine("response", path, `"x-wattveil-leaf":["hmac-sha256:6b"]`, ""), keys.ErrAuditHashed},
		"two indices":      {auditLine("response", path, `"x-wattveil-leaf":["1","2"]`, ""), keys.ErrAuditLog},
		"no number":        {auditLine("response", path, `"x-wattveil-leaf":["-1"]`, ""), keys.ErrAuditLog},
		"another spelling": {auditLine("response", path, `"x-wattveil-leaf":["077"]`, ""), keys.ErrAuditLog},
	} {
		if _, err := readAudit(auditLine("response", path, marked, "") + "\n" + c.text); !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), "line 2") {
			t.Errorf("%s: %v, want %v in line 2", name, err, c.want)
		}
	}
}

// FuzzReadVaultAudit takes any text for a log or refuses it.
func FuzzReadVaultAudit(f *testing.F) {
	f.Add(auditLine("response", "transit/decrypt/"+auditedKey, `"x-wattveil-leaf":["77"]`, ""))
	f.Add("{}\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readAudit(text)
		if n := strings.Count(text, "\n") + 1; len(got) > n {
			t.Errorf("%d decryptions in %d lines (%v)", len(got), n, err)
		}
	})
}
