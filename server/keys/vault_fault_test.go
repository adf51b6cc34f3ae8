package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// The tests in this file speak to a few lines of HTTP instead of a Vault,
// because no real server can be made to answer 502, stall, break off or send
// nonsense when a test wants it to. What a Vault answers when it is well is
// tested against a real one.

const (
	// What an answer repeats of a request must not reach an error.
	faultToken  = "hvs.the-token-of-the-hub"
	faultSecret = "the-secret-to-wrap"
)

// keyAnswer is what Vault says of a suitable key.
const keyAnswer = `{"data":{"type":"aes256-gcm96","derived":true}}`

// ciphertext is one that no server has made.
var ciphertext = []byte("vault:v1:" + strings.Repeat("A", 40))

// TestVaultFaults maps what can come back to what a caller must do: try again
// later, give up on the key, or give up on the call. It catches a fault that is
// taken for a destroyed key, above all.
func TestVaultFaults(t *testing.T) {
	type answer struct {
		status int
		body   string
	}
	var (
		exists  = answer{200, keyAnswer}
		noKey   = answer{404, `{"errors":[]}`}
		noMount = answer{404, `{"errors":["no handler for route \"transit/keys/wattveil-hub\". route entry not found."]}`}
		denied  = answer{403, `{"errors":["permission denied"]}`}
	)
	for _, c := range []struct {
		what  string
		batch answer // to encrypt and decrypt
		key   answer // to reading the key, which follows a refusal
		want  error
	}{
		{"sealed", answer{503, `{"errors":["Vault is sealed"]}`}, exists, seal.ErrUnavailable},
		{"standby without a leader", answer{500, `{"errors":["local node not active but active cluster node not found"]}`}, exists, seal.ErrUnavailable},
		{"internal error", answer{500, `{"errors":["1 error occurred"]}`}, noKey, seal.ErrUnavailable},
		{"balancer without a server", answer{502, "<html>Bad Gateway</html>"}, exists, seal.ErrUnavailable},
		{"balancer out of patience", answer{504, ""}, exists, seal.ErrUnavailable},
		{"rate limited", answer{429, `{"errors":["request path \"transit/…\": rate limit quota exceeded"]}`}, exists, seal.ErrUnavailable},
		{"replica behind", answer{412, `{"errors":["required index state not present"]}`}, exists, seal.ErrUnavailable},
		{"key missing", answer{400, `{"errors":["encryption key not found"]}`}, noKey, seal.ErrKeyGone},
		{"key missing, other words", answer{400, `{"errors":["no such key"]}`}, noKey, seal.ErrKeyGone},
		{"key missing, behind a policy", denied, noKey, seal.ErrKeyGone},
		{"wrong context", answer{400, `{"data":{"batch_results":[{"error":"cipher: message authentication failed"}]}}`}, exists, seal.ErrRefused},
		{"wrong context, older server", answer{200, `{"data":{"batch_results":[{"error":"cipher: message authentication failed"}]}}`}, exists, seal.ErrRefused},
		{"no permission", denied, denied, seal.ErrRefused},
		{"no permission on this alone", denied, exists, seal.ErrRefused},
		{"refused, and then away", answer{400, `{"errors":["?"]}`}, answer{503, ""}, seal.ErrRefused},
		{"engine not mounted", noMount, noMount, seal.ErrRefused},
		{"namespace missing", noMount, noMount, seal.ErrRefused},
		{"not a Vault", answer{404, "404 page not found\n"}, answer{404, "404 page not found\n"}, seal.ErrRefused},
		{"method not allowed", answer{405, `{"errors":["unsupported operation"]}`}, exists, seal.ErrRefused},
		{"too large for the server", answer{413, ""}, exists, seal.ErrRefused},
		{"a page of something else", answer{200, "<html>Log in to the hotel's network</html>"}, exists, seal.ErrUnavailable},
		{"nothing", answer{200, ""}, exists, seal.ErrUnavailable},
		{"no content", answer{204, ""}, exists, seal.ErrUnavailable},
		{"another shape", answer{200, `{"data":{"batch_results":"none"}}`}, exists, seal.ErrUnavailable},
		{"fewer items", answer{200, `{"data":{"batch_results":[]}}`}, exists, seal.ErrUnavailable},
		{"more items", answer{200, `{"data":{"batch_results":[{},{}]}}`}, exists, seal.ErrUnavailable},
		{"an item without content", answer{200, `{"data":{"batch_results":[{}]}}`}, exists, seal.ErrUnavailable},
		{"an item of nonsense", answer{200, `{"data":{"batch_results":[{"ciphertext":"?","plaintext":"?"}]}}`}, exists, seal.ErrUnavailable},
		{"an endless answer", answer{200, strings.Repeat(" ", 33<<20)}, exists, seal.ErrUnavailable},
	} {
		t.Run(c.what, func(t *testing.T) {
			v := newVault(t, faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
				a := c.batch
				if r.Method == http.MethodGet {
					a = c.key
				}
				// The worst server repeats all it was told.
				body, _ := io.ReadAll(r.Body)
				a.body = strings.Replace(a.body, "errors\":[\"", "errors\":[\""+r.Header.Get("X-Vault-Token")+faultSecret+" ", 1)
				if len(body) > 0 {
					w.Header().Set("X-Echo", r.Header.Get("X-Vault-Token"))
				}
				w.WriteHeader(a.status)
				_, _ = io.WriteString(w, a.body)
			})))
			for _, err := range batchErrors(t.Context(), v) {
				wantIs(t, err, c.want)
				wantSilent(t, err)
			}
		})
	}
}

// TestVaultManagementFaults does the same for the calls that make and destroy:
// a fault at any of their requests is neither success nor a key that is gone.
func TestVaultManagementFaults(t *testing.T) {
	for _, fail := range []struct {
		status int
		want   error
	}{{503, seal.ErrUnavailable}, {500, seal.ErrUnavailable}, {403, seal.ErrRefused}, {404, seal.ErrRefused}} {
		for step := 1; ; step++ {
			seen := 0
			v := newVault(t, faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch seen++; {
				case seen >= step:
					w.WriteHeader(fail.status)
					_, _ = io.WriteString(w, `{"errors":["fault"]}`)
				case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".destroyed"):
					w.WriteHeader(404)
					_, _ = io.WriteString(w, `{"errors":[]}`)
				case r.Method == http.MethodGet:
					_, _ = io.WriteString(w, keyAnswer)
				default:
					w.WriteHeader(204)
				}
			})))
			err := v.CreateKey(t.Context(), "hub")
			created := seen < step
			seen = 0
			destroyErr := v.DestroyKey(t.Context(), "hub")
			if created && seen < step {
				wantIs(t, errors.Join(err, destroyErr), nil)
				break // no request is left to fail
			}
			if !created {
				wantIs(t, err, fail.want)
				wantSilent(t, err)
			}
			if seen >= step {
				wantIs(t, destroyErr, fail.want)
				wantSilent(t, destroyErr)
			}
		}
	}
}

// TestVaultAway catches a server that is not there, stalls or breaks off.
func TestVaultAway(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		wantAway(t, faultConfig("http://"+listener.Addr().String()), "connection refused")
	})
	t.Run("no answer", func(t *testing.T) {
		c := faultConfig(serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}))
		c.Timeout = 20 * time.Millisecond
		wantAway(t, c, "timed out")
	})
	t.Run("half an answer, then silence", func(t *testing.T) {
		c := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{"data":{"batch_results":[`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		c.Timeout = 20 * time.Millisecond
		wantAway(t, c, "timed out")
	})
	t.Run("half an answer, then the end", func(t *testing.T) {
		c := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"data":{"batch_results":[`)
		}))
		wantAway(t, c, "broken off")
	})
	t.Run("the caller leaves", func(t *testing.T) {
		entered := make(chan struct{}, 8)
		v := newVault(t, faultConfig(serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			entered <- struct{}{}
			<-r.Context().Done()
		})))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-entered
			cancel()
		}()
		_, err := v.Wrap(ctx, "hub", []seal.Item{{Data: []byte(faultSecret)}})
		wantIs(t, err, seal.ErrUnavailable)
		wantIs(t, err, context.Canceled)
		wantSilent(t, err)
	})
}

// TestVaultRetries catches a hub that gives up at the first hiccup, one that
// never does, and one that repeats what was refused.
func TestVaultRetries(t *testing.T) {
	for _, c := range []struct {
		what     string
		retries  int
		failures int
		status   int
		attempts int64
		want     error
	}{
		{"passes", 2, 0, 503, 1, nil},
		{"passes at the third attempt", 2, 2, 503, 3, nil},
		{"does not pass", 2, 100, 503, 3, seal.ErrUnavailable},
		{"rate limited, then passes", 2, 1, 429, 2, nil},
		{"no retries wanted", -1, 100, 503, 1, seal.ErrUnavailable},
		{"refused", 2, 100, 403, 1, seal.ErrRefused},
	} {
		t.Run(c.what, func(t *testing.T) {
			var attempts atomic.Int64
			config := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, keyAnswer) // a refusal asks whether the key exists
					return
				}
				if attempts.Add(1) <= int64(c.failures) {
					w.WriteHeader(c.status)
					return
				}
				body, _ := io.ReadAll(r.Body)
				if !bytes.Contains(body, []byte("plaintext")) {
					t.Error("a retry lost the request's body")
				}
				fmt.Fprintf(w, `{"data":{"batch_results":[{"ciphertext":"%s"}]}}`, ciphertext)
			}))
			config.Retries = c.retries
			_, err := newVault(t, config).Wrap(t.Context(), "hub", []seal.Item{{Data: []byte(faultSecret)}})
			wantIs(t, err, c.want)
			if attempts.Load() != c.attempts {
				t.Errorf("%d attempts, want %d", attempts.Load(), c.attempts)
			}
		})
	}
}

// serve answers with the handler, save the renewal of a token, which is refused.
func serve(t *testing.T, handler http.HandlerFunc) (url string) {
	t.Helper()
	return serveAll(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth/token/renew-self" {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"errors":["lease is not renewable"]}`)
			return
		}
		handler(w, r)
	})
}

func serveAll(t *testing.T, handler http.HandlerFunc) (url string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

func faultConfig(url string) keys.VaultConfig {
	return keys.VaultConfig{
		Address: url, Token: faultToken, Timeout: time.Minute, Retries: -1, RetryWait: time.Millisecond,
		BreakAfter: -1, Now: newClock().now,
	}
}

// batchErrors answers what Wrap and Unwrap say.
func batchErrors(ctx context.Context, v *keys.Vault) []error {
	_, wrapErr := v.Wrap(ctx, "hub", []seal.Item{{Context: []byte(faultSecret), Data: []byte(faultSecret)}})
	_, unwrapErr := v.Unwrap(ctx, "hub", []seal.Item{{Context: []byte(faultSecret), Data: ciphertext}})
	return []error{wrapErr, unwrapErr}
}

// wantAway checks every method, and that the cause is named.
func wantAway(t *testing.T, c keys.VaultConfig, cause string) {
	t.Helper()
	v := newVault(t, c)
	errs := batchErrors(t.Context(), v)
	for _, err := range append(errs, v.CreateKey(t.Context(), "hub"), v.DestroyKey(t.Context(), "hub")) {
		wantIs(t, err, seal.ErrUnavailable)
		wantSilent(t, err)
		if !strings.Contains(err.Error(), cause) {
			t.Errorf("%v; want it to say %q", err, cause)
		}
	}
}

// wantSilent checks that an error repeats no secret, context, key name or address.
func wantSilent(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, said := range []string{faultToken, faultSecret, string(ciphertext), "wattveil-hub", "transit/", "127.0.0.1", "vault.example"} {
		if strings.Contains(err.Error(), said) {
			t.Errorf("the error repeats %q: %v", said, err)
		}
	}
}
