package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// startSandbox runs the command until the test ends and returns what it printed.
func startSandbox(t *testing.T, flags ...string) sandboxReport {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var stderr bytes.Buffer
	var ended sync.WaitGroup
	ended.Go(func() {
		code := run(ctx, append([]string{"sandbox", "--json"}, flags...), in, &stderr)
		_ = in.CloseWithError(errors.New("ended with " + strconv.Itoa(code)))
	})
	t.Cleanup(func() { stop(); ended.Wait() })
	var r sandboxReport
	if err := json.NewDecoder(out).Decode(&r); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return r
}

// The examples of docs/THIRD_PARTIES.md, run as they stand against the sandbox. It would
// catch a page that no longer tells the truth, in any of the three languages.
func TestThirdPartyExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: it runs programs")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "THIRD_PARTIES.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := startSandbox(t)
	env := append(os.Environ(),
		"URL="+r.URL, "CLIENT_ID="+r.ClientID, "CLIENT_SECRET="+r.ClientSecret, "HOME_POINT="+r.Homes[1].UsagePoint,
		"DATA_FROM="+strconv.FormatInt(r.DataFrom.Unix(), 10), "DATA_UNTIL="+strconv.FormatInt(r.DataUntil.Unix(), 10),
		"DATA_UNTIL_PLUS_30_DAYS="+strconv.FormatInt(r.DataUntil.AddDate(0, 0, 30).Unix(), 10),
	)
	for _, c := range []struct {
		name  string
		needs []string
		file  string
		run   func(file string) []string
		want  []string
	}{
		{"curl", []string{"bash", "curl", "jq"}, "read.sh", func(f string) []string { return []string{"bash", "-euo", "pipefail", f} }, []string{"the home says ACCEPTED", `"values": 168`, `"recorded_as"`}},
		{"go", []string{"go"}, "read.go", func(f string) []string { return []string{"go", "run", f} }, []string{"the home says ACCEPTED", "48 days"}},
		{"python", []string{"python3"}, "read.py", func(f string) []string { return []string{"python3", f} }, []string{"the home says ACCEPTED", " months"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, program := range c.needs {
				if _, err := exec.LookPath(program); err != nil {
					if os.Getenv("CI") == "true" {
						t.Fatalf("%s is not installed", program)
					}
					t.Skipf("SKIPPED, the example is not run: %s is not installed", program)
				}
			}
			file := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(file, example(t, string(text), c.name), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			args := c.run(file)
			cmd := exec.CommandContext(ctx, args[0], args[1:]...)
			cmd.Env = env
			got, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			for _, want := range c.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("it does not say %q: %s", want, got)
				}
			}
		})
	}
}

// example is the block of a page that follows its mark.
func example(t *testing.T, page, name string) []byte {
	t.Helper()
	_, rest, found := strings.Cut(page, "<!-- run: "+name+" -->\n```")
	_, rest, begun := strings.Cut(rest, "\n")
	block, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !begun || !ended {
		t.Fatalf("the page has no example in %s", name)
	}
	return []byte(block + "\n")
}

// Each home answers in its own way, and what they agree to is what can be read. It would
// catch a sandbox in which every request succeeds.
func TestSandboxHomes(t *testing.T) {
	if last := sandboxStart(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)).AddDate(0, 0, 49); last != time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC) {
		t.Errorf("the data ends %s", last)
	}
	r := startSandbox(t, "--stop-after", "1s")
	if len(r.Homes) != len(homeKinds) || r.ClientSecret == "" || time.Since(r.DataUntil) > 25*time.Hour || time.Since(r.DataUntil) < 0 {
		t.Fatalf("it says %+v", r)
	}
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(r.URL, "http://"), time.Second); err != nil {
		t.Error(err)
	}
	c := newSandboxApp(t, r)
	for i, want := range []string{"SENT_TO_PERMISSION_ADMINISTRATOR", "ACCEPTED", "REJECTED", "PARTIAL", "REVOKED", "SENT_TO_PERMISSION_ADMINISTRATOR"} {
		if got := c.asks(r.Homes[i].UsagePoint, want); got != want {
			t.Errorf("a home that %s: %s, want %s", r.Homes[i].Does, got, want)
		}
	}
}

// sandboxApp is a third party's program.
type sandboxApp struct {
	t    *testing.T
	r    sandboxReport
	rest *restClient
}

func newSandboxApp(t *testing.T, r sandboxReport) *sandboxApp {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(r.ClientID, r.ClientSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.AccessToken == "" {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	return &sandboxApp{t, r, &restClient{base: r.URL, token: token.AccessToken}}
}

// asks asks a home, and returns where the request stands when it is as it should be, or
// after ten seconds.
func (a *sandboxApp) asks(point, want string) string {
	a.t.Helper()
	asked := &wattveilv1.RequestConsentResponse{}
	err := a.rest.call(a.t.Context(), http.MethodPost, "/v1/consents", &wattveilv1.RequestConsentRequest{RequestId: "ask-" + point, UsagePoint: point, Terms: &wattveilv1.Terms{
		Purpose: &wattveilv1.Purpose{Code: a.r.Purpose, Text: sandboxText}, Registers: []string{meter.ActiveImport.String()}, Granularity: wattveilv1.Granularity_GRANULARITY_HOUR,
		DataFrom: a.r.DataFrom.Unix(), DataUntil: a.r.DataUntil.Unix(), PermissionUntil: a.r.DataUntil.AddDate(0, 1, 0).Unix(),
	}}, asked)
	if err != nil {
		a.t.Fatal(err)
	}
	got := &wattveilv1.GetConsentResponse{}
	for range 100 {
		if err := a.rest.call(a.t.Context(), http.MethodGet, "/v1/consents/"+asked.GetConsentId(), nil, got); err != nil {
			a.t.Fatal(err)
		}
		if got.GetConsent().GetStatus() == want {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return got.GetConsent().GetStatus()
}
