package seal

import (
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Contribution is what one household's series adds to the totals of a window.
// CapWatts is the registered cap of the usage point, as in [Target].
type Contribution struct {
	Household consent.Household
	CapWatts  int64
	Series    meter.Series // inside one UTC day
}

// Spooled is a contribution as it comes out of the spool.
type Spooled struct {
	Household consent.Household
	Opened
}

// SpoolRecord is all contributions of one batch to one window, sealed in one
// piece under the writer's [SpoolKey] of that window. It lives until its window
// closes. Its length tells how many contributions of how many intervals it
// holds, never a value.
type SpoolRecord struct {
	Day        meter.Day // names the window
	Writer     WriterID
	Seq        uint64 // unique within Writer; the nonce
	Ciphertext []byte // version ‖ AES-256-GCM
}

const (
	spoolVersion = 1
	spoolPadding = 256
)

// bound is the associated data of the record.
func (r *SpoolRecord) bound() fields {
	return make(fields, 0, 96).
		text(labelSpoolRecord).byte(spoolVersion).
		uint32(uint32(r.Day)).bytes(r.Writer[:]).uint64(r.Seq)
}

// Spool seals contributions for the window of day. The transaction that stores
// the record carries [Writer.SpoolKey] of the same day.
//
// Contributions are kept in their order; those of one batch that state the same
// interval twice are to be in the order in which their blocks were sealed. The
// window's day is not held against theirs: which days enter a window is the
// release's affair.
//
// The error is ErrSeries, ErrKey, ErrKeyMismatch or ErrWriterSpent, or that of
// the random source.
func (b Batch) Spool(day meter.Day, window PublicKey, contributions []Contribution) (SpoolRecord, error) {
	var record SpoolRecord
	var err error
	erasing(func() { record, err = b.spool(day, window, contributions) })
	if err != nil {
		return SpoolRecord{}, fmt.Errorf("sealing contributions: %w", err)
	}
	return record, nil
}

func (b Batch) spool(day meter.Day, window PublicKey, contributions []Contribution) (SpoolRecord, error) {
	seq, err := b.w.next()
	if err != nil {
		return SpoolRecord{}, err
	}
	_, key, err := b.w.spoolKey(day, window)
	if err != nil {
		return SpoolRecord{}, err
	}
	defer clear(key[:])
	buf, err := appendSpool([]byte{spoolVersion}, b.accepted, contributions)
	if err != nil {
		return SpoolRecord{}, err
	}
	record := SpoolRecord{Day: day, Writer: b.w.id, Seq: seq}
	nonce := nonceOf(seq)
	record.Ciphertext = newAEAD(key[:]).Seal(buf[:1], nonce[:], buf[1:], record.bound())
	return record, nil
}

// OpenSpool opens a record with the key that [OpenSpoolKey] returned for its
// window and writer. The error is ErrFormat or ErrOpen. It takes no permit:
// only privacy/release may import it, and what it opens leaves release as noised
// totals alone.
func OpenSpool(key SpoolKey, r SpoolRecord) ([]Spooled, error) {
	if len(r.Ciphertext) == 0 || r.Ciphertext[0] != spoolVersion {
		return nil, ErrFormat
	}
	nonce := nonceOf(r.Seq)
	var plain []byte
	var err error
	erasing(func() { plain, err = newAEAD(key.bytes()).Open(nil, nonce[:], r.Ciphertext[1:], r.bound()) })
	if err != nil {
		return nil, ErrOpen
	}
	return parseSpool(plain, r.Writer, r.Seq)
}

// SpoolKey returns the wrap of the writer's spool key for the window of day, to
// be stored in the same transaction as the records sealed under it; known and
// Seq as in [Writer.Wrap]. The error is ErrKey, ErrKeyMismatch or ErrWriterSpent,
// or that of the random source.
func (w *Writer) SpoolKey(day meter.Day, window PublicKey) (wrap SpoolKeyWrap, known bool, err error) {
	erasing(func() { wrap, known, err = w.wrapSpoolKey(day, window) })
	return wrap, known, err
}

func (w *Writer) wrapSpoolKey(day meter.Day, window PublicKey) (wrap SpoolKeyWrap, known bool, err error) {
	c, key, err := w.spoolKey(day, window)
	if err != nil {
		return SpoolKeyWrap{}, false, fmt.Errorf("wrapping spool key: %w", err)
	}
	defer clear(key[:])
	wrap = SpoolKeyWrap{Day: day, Writer: w.id}
	wrap.Sealed, wrap.Signature, known, err = c.carry(w, window, wrap.bound(window), key[:])
	if err != nil {
		return SpoolKeyWrap{}, false, fmt.Errorf("wrapping spool key: %w", err)
	}
	if known {
		return SpoolKeyWrap{}, true, nil
	}
	if wrap.Seq, err = w.next(); err != nil {
		return SpoolKeyWrap{}, false, fmt.Errorf("wrapping spool key: %w", err)
	}
	return wrap, false, nil
}

// CommittedSpool is [Writer.Committed] for the spool key of day.
func (w *Writer) CommittedSpool(day meter.Day) {
	if c := w.windows.find(keyName{day: day}); c != nil {
		c.commit()
	}
}

// spoolKey returns the writer's key for the window of day, made at the first
// call, with the state of its wrap. The caller clears the key.
func (w *Writer) spoolKey(day meter.Day, window PublicKey) (*carrier, [32]byte, error) {
	if window.k == nil {
		return nil, [32]byte{}, ErrKey
	}
	return w.windows.get(keyName{day: day}, window, w.random)
}
