package seal

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Writer seals. It holds what ingest may hold and no more: households' public
// keys are handed to it, and the day keys and spool keys it made itself live in
// its memory until [Writer.Forget]. They are never written down and never read
// back: a restarted process begins a new Writer, with a new id, a new signing
// key and new day keys.
//
// Nonces are sequence numbers of the writer. A number is used up the moment
// something is sealed under it; whether that is ever stored makes no difference.
//
// All methods are safe for concurrent use.
type Writer struct {
	id      WriterID
	signing shut[ed25519.PrivateKey]
	now     func() time.Time
	seq     atomic.Uint64 // last one used
	stamp   atomic.Int64  // last acceptance, µs

	randMu sync.Mutex
	rand   io.Reader

	// Pointers, as the keys lie behind one more: see [shut].
	days    *keyTable // day keys
	windows *keyTable // spool keys
}

// Target is whose block is sealed: a household, the generation of its key pair
// and that generation's public key. CapWatts is the registered cap of the usage
// point (meter.Limits); it fixes the width at which values are packed.
type Target struct {
	Household  consent.Household
	Generation uint32
	Key        PublicKey
	CapWatts   int64
}

// NewWriter returns a writer with a fresh id and signing key. rand must be
// cryptographically secure; it is read under a lock. now is the clock of
// acceptance.
//
// Before the first transaction that stores anything it sealed, the writer's id
// and public key are to be stored for those who will open.
func NewWriter(rand io.Reader, now func() time.Time) (*Writer, error) {
	w := &Writer{now: now, rand: rand}
	if err := w.random(w.id[:]); err != nil {
		return nil, fmt.Errorf("drawing writer id: %w", err)
	}
	var seed [ed25519.SeedSize]byte
	defer clear(seed[:])
	if err := w.random(seed[:]); err != nil {
		return nil, fmt.Errorf("drawing signing key: %w", err)
	}
	signing := ed25519.NewKeyFromSeed(seed[:])
	w.signing = shutIn(&signing)
	w.days, w.windows = newKeyTable(), newKeyTable()
	return w, nil
}

// ID returns the writer's id.
func (w *Writer) ID() WriterID { return w.id }

// PublicKey returns the key that the writer's signatures are checked with.
func (w *Writer) PublicKey() ed25519.PublicKey { return w.signing.open().Public().(ed25519.PublicKey) }

// Forget zeroes and drops the keys of every day before the given one. The
// writer will not seal for those days again (ErrWriterSpent): it never makes
// two keys that bear the same name. Data that comes later still is sealed by a
// new Writer.
func (w *Writer) Forget(before meter.Day) {
	w.days.forget(before)
	w.windows.forget(before)
}

// next burns a sequence number. Numbers start at 1.
func (w *Writer) next() (uint64, error) {
	for {
		last := w.seq.Load()
		if last == math.MaxUint64 {
			return 0, ErrWriterSpent
		}
		if w.seq.CompareAndSwap(last, last+1) {
			return last + 1, nil
		}
	}
}

// accept returns the time now in µs, later than every time it returned before,
// whatever the clock does.
func (w *Writer) accept() int64 {
	for {
		last := w.stamp.Load()
		now := max(w.now().UnixMicro(), last+1)
		if w.stamp.CompareAndSwap(last, now) {
			return now
		}
	}
}

func (w *Writer) random(b []byte) error {
	w.randMu.Lock()
	defer w.randMu.Unlock()
	_, err := io.ReadFull(w.rand, b)
	return err
}

func (w *Writer) sign(bound, ciphertext []byte) []byte {
	return ed25519.Sign(*w.signing.open(), signed(bound, ciphertext))
}
