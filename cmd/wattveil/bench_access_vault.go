package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/wattveil/wattveil/server/keys"
)

// benchVault is a Vault in a process of its own, with a transit engine and an audit
// file, as production has them.
type benchVault struct {
	wrapper    *keys.Vault
	url, token string // of who may do everything
	stop       func()
}

// startBenchVault runs server/keys/testvault. It ends with stop, or with this process.
func startBenchVault(ctx context.Context, program, dir string) (_ *benchVault, err error) {
	token := rand.Text()
	cmd := exec.CommandContext(ctx, program, "-stdin", "-dev-root-token", token) //nolint:gosec // the operator names the program
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	v := &benchVault{stop: func() {
		_ = stdin.Close() // it stops
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	}}
	defer func() {
		if err != nil {
			v.stop()
		}
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		return nil, fmt.Errorf("starting Vault: it does not say where it listens")
	}
	for path, body := range map[string]any{
		"sys/mounts/transit": map[string]any{"type": "transit"},
		"sys/config/auditing/request-headers/" + keys.AuditHeader: map[string]any{"hmac": false},
		"sys/audit/file": map[string]any{"type": "file", "options": map[string]string{"file_path": filepath.Join(dir, "vault-audit.log")}},
	} {
		if err := arrangeVault(ctx, url+"/v1/"+path, token, body); err != nil {
			return nil, err
		}
	}
	v.url, v.token = url, token
	v.wrapper, err = keys.NewVault(keys.VaultConfig{Address: url, Token: keys.Secret(token), Timeout: time.Minute, Now: time.Now})
	return v, err
}

// arrangeVault does what an operator would.
func arrangeVault(ctx context.Context, url, token string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("arranging Vault: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("arranging Vault: %w", err)
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("arranging Vault: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("arranging Vault: it answered %d", resp.StatusCode)
	}
	return nil
}
