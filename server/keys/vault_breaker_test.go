package keys_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// breakerStub answers with a status, 200 meaning well, and counts the calls that came.
type breakerStub struct {
	status  atomic.Int64
	calls   atomic.Int64
	wait    atomic.Pointer[chan struct{}] // if set, calls are answered once it is closed
	waiting chan struct{}                 // if set, told of every call that waits
}

func (s *breakerStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.calls.Add(1)
	if wait := s.wait.Load(); wait != nil {
		if s.waiting != nil {
			s.waiting <- struct{}{}
		}
		select {
		case <-*wait:
		case <-r.Context().Done():
			return
		}
	}
	if status := s.status.Load(); status != 200 {
		w.WriteHeader(int(status))
		return
	}
	fmt.Fprintf(w, `{"data":{"type":"aes256-gcm96","derived":true,"batch_results":[{"ciphertext":"%s"}]}}`, ciphertext)
}

func breakerVault(t *testing.T) (*breakerStub, *clock, *keys.Vault) {
	t.Helper()
	stub, clock := &breakerStub{}, newClock()
	stub.status.Store(200)
	c := faultConfig(serve(t, stub.ServeHTTP))
	c.Now, c.BreakAfter, c.BreakFor = clock.now, 3, 10*time.Second
	return stub, clock, newVault(t, c)
}

// TestVaultBreaks catches a hub that goes on calling a Vault which is away, one that stays
// away itself when Vault is back, and one that takes a refusal, or a failure now and then,
// for an outage.
func TestVaultBreaks(t *testing.T) {
	stub, clock, v := breakerVault(t)
	for i, step := range []struct {
		after  time.Duration
		status int64
		came   int64 // how many calls reached the server
		want   error
	}{
		{0, 503, 1, seal.ErrUnavailable},
		{0, 503, 1, seal.ErrUnavailable},
		{0, 200, 1, nil}, // not in a row
		{0, 403, 2, seal.ErrRefused},
		{0, 400, 2, seal.ErrRefused},
		{0, 403, 2, seal.ErrRefused},
		{0, 400, 2, seal.ErrRefused}, // refusals are answers; each asks for the key as well
		{0, 503, 1, seal.ErrUnavailable},
		{0, 503, 1, seal.ErrUnavailable},
		{0, 503, 1, seal.ErrUnavailable}, // the third in a row
		{0, 200, 0, seal.ErrUnavailable},
		{9 * time.Second, 200, 0, seal.ErrUnavailable},
		{time.Second, 503, 1, seal.ErrUnavailable}, // the probe
		{9 * time.Second, 200, 0, seal.ErrUnavailable},
		{time.Second, 200, 1, nil}, // another
		{0, 503, 1, seal.ErrUnavailable},
		{0, 503, 1, seal.ErrUnavailable},
		{0, 200, 1, nil},
		{0, 503, 1, seal.ErrUnavailable},
		{0, 503, 1, seal.ErrUnavailable},
		{0, 503, 1, seal.ErrUnavailable},
		{-time.Hour, 200, 1, nil}, // a clock that was set back keeps nobody out
	} {
		clock.advance(step.after)
		stub.status.Store(step.status)
		stub.calls.Store(0)
		wantIs(t, wrapFault(t, v), step.want)
		if came := stub.calls.Load(); came != step.came {
			t.Fatalf("step %d: %d calls came, want %d", i, came, step.came)
		}
	}
}

// TestVaultProbesOnce catches a crowd that falls upon a Vault which has just come back, or
// that waits for the probe, which may take long.
func TestVaultProbesOnce(t *testing.T) {
	stub, clock, v := breakerVault(t)
	stub.status.Store(500)
	for range 3 {
		wantIs(t, wrapFault(t, v), seal.ErrUnavailable)
	}
	clock.advance(10 * time.Second)
	stub.status.Store(200)
	stub.calls.Store(0)
	wait := make(chan struct{})
	stub.wait.Store(&wait)
	var answered, away atomic.Int64
	var wg sync.WaitGroup
	const crowd = 16
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // for when more than one probes
	defer cancel()
	for range crowd {
		wg.Go(func() {
			_, err := v.Wrap(ctx, "hub", []seal.Item{{}})
			if err == nil {
				answered.Add(1)
				return
			}
			wantIs(t, err, seal.ErrUnavailable)
			if away.Add(1) == crowd-1 {
				close(wait) // the probe is answered once all others have been turned away
			}
		})
	}
	wg.Wait()
	if answered.Load() != 1 || stub.calls.Load() != 1 {
		t.Errorf("%d of the crowd were answered, by %d calls; want 1 and 1", answered.Load(), stub.calls.Load())
	}
	wantIs(t, wrapFault(t, v), nil)
}

// TestVaultCallersInAHurry catches a caller who shuts the others out by not waiting, and a
// probe whose caller leaves and after which nobody may call any more.
func TestVaultCallersInAHurry(t *testing.T) {
	stub, clock, v := breakerVault(t)
	wait := make(chan struct{})
	stub.waiting = make(chan struct{})
	hurry := func() {
		t.Helper()
		stub.wait.Store(&wait)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := v.Wrap(ctx, "hub", []seal.Item{{}})
			wantIs(t, err, context.Canceled)
		}()
		select {
		case <-stub.waiting:
		case <-done:
			t.Fatal("the call did not reach the server")
		}
		cancel()
		<-done
		stub.wait.Store(nil)
	}
	for range 5 {
		hurry()
	}
	wantIs(t, wrapFault(t, v), nil)
	stub.status.Store(500)
	for range 3 {
		wantIs(t, wrapFault(t, v), seal.ErrUnavailable)
	}
	clock.advance(10 * time.Second)
	hurry() // the probe
	stub.status.Store(200)
	wantIs(t, wrapFault(t, v), nil)
}

// TestVaultCredentialMissing catches a hub that blames Vault for a file of its own: it
// calls as soon as the file is there.
func TestVaultCredentialMissing(t *testing.T) {
	stub, dir := &loginStub{token: faultToken, renew: 403}, newDir(t)
	c := faultConfig(serveAll(t, stub.ServeHTTP))
	c.Token, c.TokenFile, c.BreakAfter, c.Now = "", dir+"/token", 2, newClock().now
	v := newVault(t, c)
	for range 5 {
		wantIs(t, wrapFault(t, v), seal.ErrUnavailable)
	}
	writeFile(t, dir, "token", []byte(faultToken))
	wantIs(t, wrapFault(t, v), nil)
}
