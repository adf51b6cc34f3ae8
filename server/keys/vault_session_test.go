package keys_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// TestVaultLease catches a login for every call, one that comes too late, and a
// hub that stops using a good token because the next one is not to be had.
func TestVaultLease(t *testing.T) {
	var logins atomic.Int64
	var shut atomic.Bool
	clock := newClock()
	c := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			if shut.Load() {
				w.WriteHeader(503)
				return
			}
			fmt.Fprintf(w, `{"auth":{"client_token":"token-%d","lease_duration":3600}}`, logins.Add(1))
			return
		}
		if want := fmt.Sprintf("token-%d", logins.Load()); r.Header.Get("X-Vault-Token") != want {
			t.Error("a call goes with an older token")
		}
		fmt.Fprintf(w, `{"data":{"batch_results":[{"ciphertext":"%s"}]}}`, ciphertext)
	}))
	c.Token, c.AppRole, c.Now = "", keys.AppRole{RoleID: "role", SecretID: faultSecret}, clock.now
	v := newVault(t, c)
	wrap := func() error {
		_, err := v.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte(faultSecret)}})
		return err
	}
	for _, step := range []struct {
		after  time.Duration // since the step before
		shut   bool          // the login answers 503
		logins int64         // afterwards
		want   error
	}{
		{0, false, 1, nil},
		{0, false, 1, nil},
		{39 * time.Minute, false, 1, nil},
		{2 * time.Minute, true, 1, nil},                      // past two thirds, but the old token is good
		{18 * time.Minute, true, 1, nil},                     // still
		{2 * time.Minute, true, 1, seal.ErrUnavailable},      // now it has ended
		{0, false, 2, nil},                                   // back
		{40*time.Minute + time.Second, false, 3, nil},        // in good time
		{100 * 24 * time.Hour, false, 4, nil},                // after a long sleep
		{100 * 24 * time.Hour, true, 4, seal.ErrUnavailable}, // and with no way back
	} {
		clock.advance(step.after)
		shut.Store(step.shut)
		err := wrap()
		wantIs(t, err, step.want)
		if step.want != nil {
			wantSilent(t, err)
		}
		if logins.Load() != step.logins {
			t.Fatalf("%d logins, want %d", logins.Load(), step.logins)
		}
	}
}

// TestVaultLoginOnce catches a crowd that logs in one by one when the token
// ends under all of them.
func TestVaultLoginOnce(t *testing.T) {
	var logins atomic.Int64
	clock := newClock()
	c := faultConfig(serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/login"):
			fmt.Fprintf(w, `{"auth":{"client_token":"token-%d"}}`, logins.Add(1))
		case r.Header.Get("X-Vault-Token") == "token-1":
			w.WriteHeader(403)
		default:
			fmt.Fprintf(w, `{"data":{"batch_results":[{"ciphertext":"%s"}]}}`, ciphertext)
		}
	}))
	c.Token, c.AppRole, c.Now = "", keys.AppRole{RoleID: "role", SecretID: faultSecret}, clock.now
	v := newVault(t, c)
	_, err := v.Wrap(t.Context(), "hub", []seal.Item{{}})
	wantIs(t, err, seal.ErrRefused) // so soon after a login, it is believed
	clock.advance(time.Minute)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := v.Wrap(t.Context(), "hub", []seal.Item{{}})
			wantIs(t, err, nil)
		})
	}
	wg.Wait()
	if logins.Load() != 2 {
		t.Errorf("%d logins, want 2", logins.Load())
	}
}
