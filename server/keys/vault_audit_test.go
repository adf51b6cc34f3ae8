package keys_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultAuditLog catches an opening that cannot be held against the ledger: in the log
// of a real Vault, set up as docs/OPERATING.md says, every decryption for an access has
// the index of its leaf in the clear, and nothing else has one.
func TestVaultAuditLog(t *testing.T) {
	server := devServer(t)
	log := filepath.Join(newDir(t), "audit.log")
	if err := server.admin.Sys().EnableAuditWithOptions("file",
		&api.EnableAuditOptions{Type: "file", Options: map[string]string{"file_path": log}}); err != nil {
		t.Fatal(err)
	}
	server.write(t, "sys/config/auditing/request-headers/"+keys.AuditHeader, map[string]any{"hmac": false})

	mount := server.mount(t)
	c := server.config(mount)
	c.Token, c.AppRole, c.Now = "", server.role(t, mount, keys.VaultRotationPolicy(mount)), newClock().now
	v := newVault(t, c)
	create(t, v, "hub")
	items := []seal.Item{{Context: []byte("c"), Data: wrapOne(t, v, "hub")}}
	unwrap := func(ctx context.Context) {
		t.Helper()
		if _, err := v.Unwrap(ctx, "hub", items); err != nil {
			t.Fatal(err)
		}
	}
	unwrap(t.Context())
	unwrap(seal.WithAccess(t.Context(), 0))
	unwrap(seal.WithAccess(t.Context(), 1844674407370955161))
	marked := seal.WithAccess(t.Context(), 77)
	if _, err := v.Wrap(marked, "hub", items); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Rewrap(marked, "hub", items); err != nil {
		t.Fatal(err)
	}
	wantIs(t, v.CreateKey(marked, "hub"), nil)
	_, err := v.Unwrap(marked, "nobody", items) // refused, and then looked for
	wantIs(t, err, seal.ErrKeyGone)

	got := map[string][]string{} // by operation, of each request in turn
	for _, request := range auditedRequests(t, filepath.Dir(log)) {
		operation, ok := strings.CutPrefix(request.Path, mount+"/")
		if !ok {
			operation = request.Path
		}
		operation, _, _ = strings.Cut(operation, "/")
		got[operation] = append(got[operation], strings.Join(request.Headers[strings.ToLower(keys.AuditHeader)], "+"))
	}
	if want := "[ 0 1844674407370955161 77]"; fmt.Sprint(got["decrypt"]) != want {
		t.Errorf("decryptions are logged with %q, want %s", got["decrypt"], want)
	}
	for operation, headers := range got {
		if operation != "decrypt" && strings.Join(headers, "") != "" {
			t.Errorf("%s is logged with %q, want nothing", operation, headers)
		}
	}
	if len(got["encrypt"]) == 0 || len(got["rewrap"]) == 0 || len(got["keys"]) == 0 {
		t.Errorf("the log lacks calls: %v", got)
	}
}

type auditedRequest struct {
	Path    string              `json:"path"`
	Headers map[string][]string `json:"headers"`
}

func auditedRequests(t *testing.T, dir string) (requests []auditedRequest) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(readFile(t, dir, "audit.log")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Type    string         `json:"type"`
			Request auditedRequest `json:"request"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Type == "request" {
			requests = append(requests, line.Request)
		}
	}
	return requests
}

// TestVaultAuditApart catches a header that one caller leaves for another: many unwrap at
// once, each for an access of its own or for none, each with a secret that says for which,
// and every request has the header that belongs to what it holds. Each is refused once by a
// server that is busy, because a retry needs the header as well.
func TestVaultAuditApart(t *testing.T) {
	const callers, calls = 32, 20
	var right, wrong atomic.Int64
	var busy sync.Map
	c := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request struct {
			Batch []struct {
				Context []byte `json:"context"`
			} `json:"batch_input"`
		}
		_ = json.Unmarshal(body, &request)
		label, said, _ := strings.Cut(string(request.Batch[0].Context), "\x00")
		want, _, _ := strings.Cut(said, "/")
		if label != "wattveil/transit/v1" || strings.Join(r.Header.Values(keys.AuditHeader), "+") != want {
			wrong.Add(1)
		}
		if _, again := busy.LoadOrStore(said, true); !again {
			w.WriteHeader(503)
			return
		}
		right.Add(1)
		_, _ = io.WriteString(w, `{"data":{"batch_results":[{"plaintext":"c2VjcmV0"}]}}`)
	}))
	c.Retries = 2
	v := newVault(t, c)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for i := range calls {
				ctx, said := t.Context(), fmt.Sprintf("/%d/%d", n, i)
				if n%4 > 0 {
					index := uint64(n*calls + i)
					ctx, said = seal.WithAccess(ctx, index), fmt.Sprint(index)+said
				}
				if _, err := v.Unwrap(ctx, "hub", []seal.Item{{Context: []byte(said), Data: ciphertext}}); err != nil {
					t.Errorf("unwrapping: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if wrong.Load() != 0 || right.Load() != callers*calls {
		t.Errorf("%d requests had another's header, or none; %d of %d were answered", wrong.Load(), right.Load(), callers*calls)
	}
}
