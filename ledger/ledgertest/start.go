package ledgertest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
)

// Log is a running sequencer over a store, with what its readers need.
type Log[T ledger.Tx] struct {
	*ledger.Sequencer[T]
	Store    ledger.Store[T]
	Verifier *ledger.Verifier
	VKey     string
}

// Start runs a sequencer over store, with a signer of its own and a clock
// of this package, until the test ends. Starting twice over one
// store gives the second the same key and a signer without memory, as after a
// restart.
func Start[T ledger.Tx](t testing.TB, store ledger.Store[T]) *Log[T] {
	t.Helper()
	var head ledger.Head
	err := store.Transact(t.Context(), func(ctx context.Context, tx T) (err error) {
		head, err = tx.LedgerHead(ctx)
		return err
	})
	if err != nil {
		t.Fatalf("reading the head: %v", err)
	}
	seed := sha256.Sum256([]byte("ledgertest " + head.Origin))
	signer, vkey, err := ledger.NewSigner(head.Origin, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := ledger.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	log := &Log[T]{
		Sequencer: ledger.NewSequencer(store, signer, ledger.Options{Now: Clock(), Rand: rand.Reader}),
		Store:     store,
		Verifier:  verifier,
		VKey:      vkey,
	}
	t.Cleanup(log.Close)
	return log
}

// Verify fails the test unless the whole log verifies, and returns what it holds.
func (l *Log[T]) Verify(t testing.TB) ledger.Report {
	t.Helper()
	report, err := ledger.VerifyLog(t.Context(), l.Verifier, ledger.ReaderSource(l.Store), ledger.VerifyOptions{})
	if err != nil {
		t.Fatalf("verifying the log: %v", err)
	}
	return report
}

// Clock returns a clock that begins on 2026-01-01 and moves on by a
// millisecond each time it is read. It is safe for concurrent use.
func Clock() func() time.Time {
	var ticks atomic.Int64
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
}
