package keys

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
)

// breaker spares a Vault that is away, and those who would wait for it: after so many
// calls in a row that it did not answer, calls are turned away at once for a while. Then
// one is let through as a probe; its answer closes the breaker, and its failure opens it
// for as long again.
//
// What counts is whether Vault answers, a refusal being an answer. A caller who leaves
// before it does says nothing: otherwise one in a hurry could shut the others out.
type breaker struct {
	now   func() time.Time
	limit int           // failures in a row that open it; below 1 none do
	pause time.Duration // that it stays open

	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // when a probe may go; zero while closed
	probing  bool
}

var errPaused = fmt.Errorf("%w: vault did not answer the last calls", seal.ErrUnavailable)

// enter answers whether the call is the probe, or errPaused if it may not be made. Of a
// call that may, leave says how it went.
func (b *breaker) enter() (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return false, nil
	}
	wait := b.until.Sub(b.now())
	// A clock that was set back must not keep it open for longer.
	if b.probing || wait > 0 && wait <= b.pause {
		return false, errPaused
	}
	b.probing = true
	return true, nil
}

// leave takes how the call ended: a fault as vaultFault makes them, or nil. left says that
// its caller did not wait for the end.
func (b *breaker) leave(probe bool, fault error, left bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	switch {
	case left || errors.Is(fault, errCredential):
	case !errors.Is(fault, seal.ErrUnavailable):
		b.failures, b.until = 0, time.Time{}
	default:
		b.failures++
		if probe || b.until.IsZero() && b.limit > 0 && b.failures >= b.limit {
			b.until = b.now().Add(b.pause)
		}
	}
}
