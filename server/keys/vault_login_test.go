package keys_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// loginStub logs everybody in, renews, and encrypts for the last token it granted. Its
// fields are set between calls.
type loginStub struct {
	mu       sync.Mutex
	login    int // status of logins; 0 answers with a lease
	renew    int // status of renewals
	lease    int // seconds that a login grants
	renewed  int // seconds that a renewal grants
	logins   int
	renewals int
	token    string
	bodies   []string // of logins, with their paths
}

func (s *loginStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	switch {
	case strings.HasSuffix(r.URL.Path, "/login"):
		s.bodies = append(s.bodies, r.URL.Path+" "+string(body))
		if s.login != 0 {
			w.WriteHeader(s.login)
			fmt.Fprintf(w, `{"errors":["%s %s"]}`, faultSecret, faultToken)
			return
		}
		s.logins++
		s.token = fmt.Sprintf("token-%d", s.logins)
		fmt.Fprintf(w, `{"auth":{"client_token":"%s","lease_duration":%d,"renewable":true}}`, s.token, s.lease)
	case strings.HasSuffix(r.URL.Path, "/renew-self"):
		s.renewals++
		if s.renew != 0 {
			w.WriteHeader(s.renew)
			return
		}
		fmt.Fprintf(w, `{"auth":{"client_token":"%s","lease_duration":%d,"renewable":true}}`, s.token, s.renewed)
	case r.Header.Get("X-Vault-Token") != s.token:
		w.WriteHeader(403)
	case r.Method == http.MethodGet:
		_, _ = io.WriteString(w, keyAnswer)
	default:
		fmt.Fprintf(w, `{"data":{"batch_results":[{"ciphertext":"%s"}]}}`, ciphertext)
	}
}

func (s *loginStub) set(f func(*loginStub)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func wrapFault(t *testing.T, v *keys.Vault) error {
	t.Helper()
	_, err := v.Wrap(t.Context(), "hub", []seal.Item{{Data: []byte(faultSecret)}})
	wantSilent(t, err)
	return err
}

// TestVaultRenews catches a token that is let go although Vault would renew it, a login for
// each lease, a renewal for each call, and a hub that hangs on a token that is about to
// reach its greatest age.
func TestVaultRenews(t *testing.T) {
	stub, clock := &loginStub{lease: 3600, renewed: 3600}, newClock()
	c := faultConfig(serveAll(t, stub.ServeHTTP))
	c.Token, c.AppRole, c.Now = "", keys.AppRole{RoleID: "role", SecretID: faultSecret}, clock.now
	v := newVault(t, c)
	for i, step := range []struct {
		after            time.Duration // since the step before
		login, renew     int           // what they answer
		renewed          int           // seconds
		logins, renewals int           // afterwards
		want             error
	}{
		{0, 0, 0, 3600, 1, 0, nil},
		{39 * time.Minute, 0, 0, 3600, 1, 0, nil},
		{2 * time.Minute, 0, 0, 3600, 1, 1, nil},                        // past two thirds
		{39 * time.Minute, 0, 0, 3600, 1, 1, nil},                       // of the new lease, too
		{2 * time.Minute, 0, 503, 3600, 1, 2, nil},                      // Vault is away, the token is good
		{9 * time.Second, 0, 503, 3600, 1, 2, nil},                      // it is not asked again at once
		{2 * time.Second, 0, 503, 3600, 1, 3, nil},                      // but soon
		{11 * time.Second, 0, 403, 3600, 2, 4, nil},                     // refused: a new login
		{41 * time.Minute, 0, 0, 1801, 2, 5, nil},                       // less, but worth it
		{25 * time.Minute, 0, 0, 1799, 3, 6, nil},                       // not worth it any more
		{41 * time.Minute, 400, 403, 3600, 3, 7, nil},                   // no way, and a token that is good
		{20 * time.Minute, 400, 403, 3600, 3, 7, seal.ErrRefused},       // until it ends
		{9 * time.Second, 0, 0, 3600, 3, 7, seal.ErrRefused},            // who was refused does not insist
		{time.Second, 503, 0, 3600, 3, 7, seal.ErrUnavailable},          // an ended token is not renewed
		{0, 0, 0, 3600, 4, 7, nil},                                      // back
		{2 * time.Hour, 503, 0, 3600, 4, 7, seal.ErrUnavailable},        // after a long sleep
		{100 * 24 * time.Hour, 503, 0, 3600, 4, 7, seal.ErrUnavailable}, // after a longer one
	} {
		clock.advance(step.after)
		stub.set(func(s *loginStub) { s.login, s.renew, s.renewed = step.login, step.renew, step.renewed })
		wantIs(t, wrapFault(t, v), step.want)
		stub.set(func(s *loginStub) {
			if s.logins != step.logins || s.renewals != step.renewals {
				t.Fatalf("step %d: %d logins and %d renewals, want %d and %d", i, s.logins, s.renewals, step.logins, step.renewals)
			}
		})
	}
}

// TestVaultRenewsGivenToken catches a token that ends under a hub although it could have
// been renewed, renewals without end of one that cannot be, and a call that fails because
// of them.
func TestVaultRenewsGivenToken(t *testing.T) {
	for what, c := range map[string]struct {
		status, seconds int
		renewals        []int // after the first call, 9 s, 11 s and 41 min
	}{
		"renewable":           {0, 3600, []int{1, 1, 1, 2}},
		"close to its end":    {0, 3, []int{1, 1, 2, 3}},
		"for ever":            {0, 0, []int{1, 1, 1, 1}},
		"not renewable":       {400, 0, []int{1, 1, 1, 1}},
		"not allowed":         {403, 0, []int{1, 1, 1, 1}},
		"Vault has a bad day": {500, 0, []int{1, 1, 2, 3}},
	} {
		t.Run(what, func(t *testing.T) {
			stub, clock := &loginStub{token: faultToken, renew: c.status, renewed: c.seconds}, newClock()
			config := faultConfig(serveAll(t, stub.ServeHTTP))
			config.Now = clock.now
			v := newVault(t, config)
			for i, after := range []time.Duration{0, 9 * time.Second, 2 * time.Second, 41 * time.Minute} {
				clock.advance(after)
				wantIs(t, wrapFault(t, v), nil)
				stub.set(func(s *loginStub) {
					if s.renewals != c.renewals[i] {
						t.Errorf("%d renewals at call %d, want %d", s.renewals, i, c.renewals[i])
					}
				})
			}
		})
	}
}

// TestVaultRenewCall catches a hub whose token ends while it has nothing to do.
func TestVaultRenewCall(t *testing.T) {
	stub, clock := &loginStub{lease: 3600, renewed: 3600}, newClock()
	c := faultConfig(serveAll(t, stub.ServeHTTP))
	c.Token, c.AppRole, c.Now = "", keys.AppRole{RoleID: "role", SecretID: faultSecret}, clock.now
	v := newVault(t, c)
	for range 100 {
		wantIs(t, v.Renew(t.Context()), nil)
		clock.advance(time.Minute)
	}
	stub.set(func(s *loginStub) {
		if s.logins != 1 || s.renewals != 2 {
			t.Errorf("%d logins and %d renewals in 100 minutes, want 1 and 2", s.logins, s.renewals)
		}
		s.login, s.renew = 400, 400
	})
	clock.advance(time.Hour)
	err := v.Renew(t.Context())
	wantIs(t, err, seal.ErrRefused)
	wantSilent(t, err)
}

// TestVaultRenewedByVault renews at a real Vault, as the hub's policy allows it: a token
// that was given, and one of an AppRole. It catches a renewal that Vault does not take.
func TestVaultRenewedByVault(t *testing.T) {
	server := devServer(t)
	mount := server.mount(t)
	if err := server.admin.Sys().PutPolicy("hub", keys.VaultPolicy(mount)); err != nil {
		t.Fatal(err)
	}
	create(t, server.open(t, mount), "hub")
	renewed := func(accessor string) bool {
		t.Helper()
		answer := server.write(t, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
		_, ok := answer["last_renewal"]
		return ok
	}
	t.Run("given", func(t *testing.T) {
		token := server.token(t, "hub")
		v := newVault(t, withToken(server.config(mount), token))
		wrapOne(t, v, "hub")
		looked := server.write(t, "auth/token/lookup", map[string]any{"token": string(token)})
		if !renewed(looked["accessor"].(string)) {
			t.Error("the token was not renewed")
		}
	})
	t.Run("approle", func(t *testing.T) {
		clock := newClock()
		c := server.config(mount)
		c.Token, c.AppRole, c.Now = "", server.role(t, mount), clock.now
		v := newVault(t, c)
		accessors := func() map[string]bool {
			list, err := server.admin.Logical().ListWithContext(t.Context(), "auth/token/accessors")
			if err != nil {
				t.Fatal(err)
			}
			set := map[string]bool{}
			for _, a := range list.Data["keys"].([]any) {
				set[a.(string)] = true
			}
			return set
		}
		before := accessors()
		wrapOne(t, v, "hub")
		clock.advance(41 * time.Minute)
		wrapOne(t, v, "hub")
		var made []string
		for a := range accessors() {
			if !before[a] {
				made = append(made, a)
			}
		}
		if len(made) != 1 || !renewed(made[0]) {
			t.Errorf("%d tokens were made, want one, renewed", len(made))
		}
	})
}

// TestVaultKubernetes catches a login that a Vault would not understand, a service
// account's token that is read once (Kubernetes replaces it), and one that gets into an
// error.
func TestVaultKubernetes(t *testing.T) {
	stub, clock, dir := &loginStub{lease: 3600, renew: 403}, newClock(), newDir(t)
	c := faultConfig(serveAll(t, stub.ServeHTTP))
	c.Token, c.Now = "", clock.now
	c.Kubernetes = keys.Kubernetes{Mount: "clusters/one", Role: "hub", TokenFile: filepath.Join(dir, "token")}
	v := newVault(t, c)
	wantIs(t, wrapFault(t, v), seal.ErrUnavailable) // not there yet
	writeFile(t, dir, "token", []byte("two lines\nof something"))
	wantIs(t, wrapFault(t, v), seal.ErrUnavailable)

	writeFile(t, dir, "token", []byte(faultSecret+"\n"))
	stub.set(func(s *loginStub) { s.login = 403 })
	wantIs(t, wrapFault(t, v), seal.ErrRefused)
	stub.set(func(s *loginStub) { s.login = 0 })
	wantIs(t, wrapFault(t, v), seal.ErrRefused) // who was refused does not insist
	clock.advance(10 * time.Second)
	wantIs(t, wrapFault(t, v), nil)
	wantIs(t, wrapFault(t, v), nil)

	writeFile(t, dir, "token", []byte("another-token"))
	clock.advance(41 * time.Minute)
	wantIs(t, wrapFault(t, v), nil)
	stub.set(func(s *loginStub) {
		if len(s.bodies) != 3 || s.logins != 2 {
			t.Fatalf("%d logins of %d came through, want 2 of 3", s.logins, len(s.bodies))
		}
		for i, want := range []string{faultSecret, faultSecret, "another-token"} {
			path, body, _ := strings.Cut(s.bodies[i], " ")
			var said map[string]string
			if err := json.Unmarshal([]byte(body), &said); err != nil || path != "/v1/auth/clusters/one/login" ||
				len(said) != 2 || said["role"] != "hub" || said["jwt"] != want {
				t.Errorf("login %d at %s does not say role and token", i, path)
			}
		}
	})
}
