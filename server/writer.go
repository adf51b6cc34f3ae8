package server

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// writers holds the writer that this process seals with. A writer that has
// forgotten the keys of a closed day, or holds as many as it may, cannot seal
// for that day again without giving two keys one name: then a new one takes its
// place. Batches keep the writer they were sealed by.
type writers struct {
	sequencer *ledger.Sequencer[*store.Tx]
	random    io.Reader
	clock     Clock

	last atomic.Int64 // acceptance, unix µs

	making sync.Mutex // held while a writer is made and registered: one at a time

	mu        sync.Mutex
	current   *seal.Writer
	forgotten meter.Day // days before it are forgotten
}

// instant returns the clock's time, later than every time it returned before: what
// one writer accepts stays before what the next one accepts, even if the clock
// stands still or is set back.
func (w *writers) instant() time.Time {
	for {
		last := w.last.Load()
		now := max(w.clock().UnixMicro(), last+1)
		if w.last.CompareAndSwap(last, now) {
			return time.UnixMicro(now)
		}
	}
}

// get returns the writer in use, making the first. It does not wait for one that takes its
// place.
func (w *writers) get(ctx context.Context) (*seal.Writer, error) {
	if current := w.inUse(); current != nil {
		return current, nil
	}
	return w.replace(ctx, nil)
}

func (w *writers) inUse() *seal.Writer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// replace returns a writer other than spent, making one unless somebody has.
func (w *writers) replace(ctx context.Context, spent *seal.Writer) (*seal.Writer, error) {
	w.making.Lock()
	defer w.making.Unlock()
	if current := w.inUse(); current != nil && current != spent {
		return current, nil
	}
	fresh, err := seal.NewWriter(w.random, w.instant)
	if err != nil {
		return nil, fmt.Errorf("making writer: %w", err)
	}
	if err := w.register(ctx, fresh); err != nil {
		return nil, fmt.Errorf("registering writer: %w", err)
	}
	w.mu.Lock()
	w.current = fresh
	w.mu.Unlock()
	if spent != nil {
		// Its keys go at once. A batch that is still on its way is sealed again.
		spent.Forget(math.MaxInt32)
	}
	return fresh, nil
}

// register writes a writer into the ledger before it seals anything, so that a
// block can be traced to a registered origin: sealing to a public key proves
// none.
func (w *writers) register(ctx context.Context, fresh *seal.Writer) error {
	id, key := fresh.ID(), fresh.PublicKey()
	_, err := w.sequencer.Propose(ctx, fmt.Sprintf("writer/%x", id), func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
		if err := tx.PutWriter(ctx, id, key, at.Time, at.Index); err != nil {
			return ledger.Payload{}, err
		}
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: fmt.Sprintf("writer %x", id), Digest: writerDigest(id, key)}, nil
	})
	if errors.Is(err, ledger.ErrUnsigned) { // it is on record, and readings do not wait for a signature
		return nil
	}
	return err
}

// forget drops and zeroes the keys of days before the given one, once when that
// day is new: a writer that is filled with late data is not spent every time
// somebody looks whether there is something to forget.
func (w *writers) forget(before meter.Day) {
	w.mu.Lock()
	newly := before > w.forgotten
	if newly {
		w.forgotten = before
		w.current.Forget(before)
	}
	w.mu.Unlock()
	if newly {
		runtime.GC() // once a day: copies in dead memory go with it, see [seal.ErasesCopies]
	}
}

// writerDigest binds a writer's id to its public key in the ledger.
func writerDigest(id seal.WriterID, key ed25519.PublicKey) ledger.Hash {
	return sha256.Sum256(append(append([]byte("wattveil writer v1\x00"), id[:]...), key...))
}
