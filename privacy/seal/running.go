package seal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"

	"github.com/wattveil/wattveil/meter"
)

// RunningID names one set of running sums: 16 random bytes, new with every set.
type RunningID [16]byte

// RunningKeyWrap is the key of one set of running sums, sealed to the public key
// of a window and signed by the hub. It is what makes a set count: without it,
// stored records are bytes that nobody can open.
//
// A set has one wrap. It states how many records the set has, so that none can
// be taken away unnoticed.
type RunningKeyWrap struct {
	ID        RunningID
	From      meter.Day // the day whose closing made the set
	Window    meter.Day // the day whose closing takes it up
	Records   uint32    // how many the set has
	Sealed    []byte    // version ‖ encapsulated key (1120) ‖ ciphertext (48)
	Signature []byte    // Ed25519 by the hub's key for releases, 64 bytes
}

// RunningRecord is a piece of a set, sealed under the set's key. Its length tells
// the length of what it holds in pages of 4096 bytes, and nothing else of it.
type RunningRecord struct {
	ID         RunningID
	Seq        uint32 // from 1 to the set's Records; the nonce
	Ciphertext []byte // version ‖ AES-256-GCM
}

// MaxRunning is the most bytes that one record holds.
const MaxRunning = 1 << 20

const (
	runningVersion = 1
	runningPage    = 4096
	runningHeader  = 4 // the length of what a record holds
)

// bound is the HPKE info of the wrap, and what its signature covers.
func (w *RunningKeyWrap) bound(window PublicKey) fields {
	return make(fields, 0, 192).
		text(labelRunningKeyWrap).byte(wrapVersion).
		bytes(w.ID[:]).uint32(uint32(w.From)).uint32(uint32(w.Window)).uint32(w.Records).
		bytes(window.k.hash[:])
}

// runningSet is a set whose key is known: one that is being sealed, or one that
// was opened.
type runningSet struct {
	id      RunningID
	from    meter.Day
	records uint32 // sealed so far, or in all
	// key is nil once erased. It is a pointer, and so is what everything holds a set by:
	// see [shut].
	key *[32]byte
}

// bound is the associated data of a record of the set.
func (s *runningSet) bound(seq uint32) fields {
	return make(fields, 0, 96).
		text(labelRunningRecord).byte(runningVersion).
		bytes(s.id[:]).uint32(uint32(s.from)).uint32(seq)
}

func (s *runningSet) erase() {
	if s.key != nil {
		clear(s.key[:])
		s.key = nil
	}
}

// RunningSealer seals one set of running sums, at the closing of the day that
// made it: every record, then the wrap of the key. It is for one goroutine at a
// time.
//
// What it seals is as sensitive as readings: whoever knows a household's running
// sums before and after a day knows that day. Three things keep them shut. The
// set's key is random, and lives in the sealer alone until [RunningSealer.Wrap]
// or [RunningSealer.Erase]. The private key of the window that it is wrapped to
// must be destroyed at that window's closing: with it, a copy of the tables opens
// for ever. And random must never give the same bytes twice, as in a process that
// was set back to a snapshot: two sets under one key give away the difference of
// their contents.
//
// A set is worth nothing until its wrap is stored. Records may be stored as they
// come, in any number of transactions; the wrap is stored last, in the
// transaction that gives up the set before it. A crash in between leaves records
// without a wrap, which nobody can open and anyone may delete.
type RunningSealer struct {
	random io.Reader
	set    *runningSet
}

// NewRunningSealer begins a set at the closing of day from, with an id and a key
// from random, which must be cryptographically secure. The error is that of
// random.
func NewRunningSealer(random io.Reader, from meter.Day) (*RunningSealer, error) {
	set := &runningSet{from: from, key: new([32]byte)}
	if _, err := io.ReadFull(random, set.id[:]); err != nil {
		return nil, fmt.Errorf("drawing id of running sums: %w", err)
	}
	if _, err := io.ReadFull(random, set.key[:]); err != nil {
		return nil, fmt.Errorf("drawing key of running sums: %w", err)
	}
	return &RunningSealer{random, set}, nil
}

// Seal seals plaintext, which it leaves as it is and whose form is its caller's
// affair, as the next record of the set. Every record that it returns belongs to
// the set: one that is not stored is missing at [RunningOpener.Complete].
//
// The error is ErrRunningSize for more than MaxRunning bytes, which uses up no
// number, or ErrWriterSpent after Wrap, after Erase, and after 2³²−1 records.
func (s *RunningSealer) Seal(plaintext []byte) (RunningRecord, error) {
	if len(plaintext) > MaxRunning {
		return RunningRecord{}, fmt.Errorf("sealing running sums: %w", ErrRunningSize)
	}
	if s.set.key == nil || s.set.records == math.MaxUint32 {
		return RunningRecord{}, fmt.Errorf("sealing running sums: %w", ErrWriterSpent)
	}
	s.set.records++
	seq := s.set.records
	// Encryption is in place, so that no copy of the plaintext stays behind.
	buf := make([]byte, 0, 1+pagedSize(len(plaintext))+tagSize)
	buf = appendPaged(append(buf, runningVersion), plaintext)
	nonce := nonceOf(uint64(seq))
	return RunningRecord{
		ID: s.set.id, Seq: seq,
		Ciphertext: newAEAD(s.set.key[:]).Seal(buf[:1], nonce[:], buf[1:], s.set.bound(seq)),
	}, nil
}

// Wrap ends the set: it seals the key to the public key of window, signs with
// the hub's key for releases that the set has the records sealed so far, and
// erases the key. It ends the sealer whatever it returns; a sealer whose wrap
// failed has sealed for nothing.
//
// The error is ErrKey, or ErrWriterSpent after Wrap or Erase, or that of the
// random source.
func (s *RunningSealer) Wrap(window meter.Day, key PublicKey, signer ed25519.PrivateKey) (RunningKeyWrap, error) {
	defer s.Erase()
	w, err := s.wrap(window, key, signer)
	if err != nil {
		return RunningKeyWrap{}, fmt.Errorf("wrapping key of running sums: %w", err)
	}
	return w, nil
}

func (s *RunningSealer) wrap(window meter.Day, key PublicKey, signer ed25519.PrivateKey) (RunningKeyWrap, error) {
	if s.set.key == nil {
		return RunningKeyWrap{}, ErrWriterSpent
	}
	if key.k == nil || len(signer) != ed25519.PrivateKeySize {
		return RunningKeyWrap{}, ErrKey
	}
	w := RunningKeyWrap{ID: s.set.id, From: s.set.from, Window: window, Records: s.set.records}
	bound := w.bound(key)
	var err error
	if w.Sealed, err = wrap(s.random, key, bound, s.set.key[:]); err != nil {
		return RunningKeyWrap{}, err
	}
	w.Signature = ed25519.Sign(signer, signed(bound, w.Sealed))
	return w, nil
}

// Erase clears the key: what was sealed and not wrapped opens nowhere. It may be
// called at any time and more than once.
func (s *RunningSealer) Erase() { s.set.erase() }

// RunningKey opens one set of running sums. It is to be erased when the set has
// been taken up. Copies share the key; the zero RunningKey, and one that was
// erased, opens nothing. It is for one goroutine at a time; printing it shows
// nothing.
type RunningKey struct{ set *runningSet }

// OpenRunningKey opens a wrap with the private key of its window, after checking
// that the hub whose key for releases is given made it: what the set holds
// enters totals. The error is ErrKey, ErrSignature, ErrFormat or ErrOpen.
//
// It does not say that this is the set to be taken up. The hub has signed others
// before, and whoever can write to the store can put an older one back: the
// caller compares From and Window with the days that it expects. It takes no
// permit: only privacy/release may call it.
func OpenRunningKey(private PrivateKey, w RunningKeyWrap, signer ed25519.PublicKey) (RunningKey, error) {
	if private.x.open() == nil {
		return RunningKey{}, ErrKey
	}
	bound := w.bound(private.public)
	if err := (Check{signer, signed(bound, w.Sealed), w.Signature}).verify(); err != nil {
		return RunningKey{}, err
	}
	set := &runningSet{id: w.ID, from: w.From, records: w.Records, key: new([32]byte)}
	if err := unwrap(set.key[:], private, bound, w.Sealed); err != nil {
		return RunningKey{}, err
	}
	return RunningKey{set}, nil
}

// Erase clears the key, in all its copies and openers.
func (k RunningKey) Erase() {
	if k.set != nil {
		k.set.erase()
	}
}

// Opener begins to read the set. A set that is read several times takes an
// opener each time.
func (k RunningKey) Opener() *RunningOpener { return &RunningOpener{set: k.set} }

// Format prints no key, whatever the verb.
func (RunningKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue logs no key.
func (RunningKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the key from encoding/json and its like.
func (RunningKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// RunningOpener reads a set once, in any order, and keeps one bit for each
// record. It is for one goroutine at a time.
type RunningOpener struct {
	set    *runningSet
	seen   []uint64 // bit (seq−1) mod 64 of word (seq−1) / 64, as far as was seen
	opened uint32
}

// Open opens a record of the set, which the caller clears after use. The error
// is ErrOpen for one that is not of the set or was opened before, ErrFormat, or
// ErrKey if the key is erased or none.
//
// What it returns is what the hub sealed, but may not be all: nothing is to be
// made of it that lasts before Complete has said so.
func (o *RunningOpener) Open(r RunningRecord) ([]byte, error) {
	if o.set == nil || o.set.key == nil {
		return nil, ErrKey
	}
	if len(r.Ciphertext) == 0 || r.Ciphertext[0] != runningVersion {
		return nil, ErrFormat
	}
	if r.ID != o.set.id || r.Seq == 0 || r.Seq > o.set.records || o.has(r.Seq) {
		return nil, ErrOpen
	}
	nonce := nonceOf(uint64(r.Seq))
	paged, err := newAEAD(o.set.key[:]).Open(nil, nonce[:], r.Ciphertext[1:], o.set.bound(r.Seq))
	if err != nil {
		return nil, ErrOpen
	}
	plain, err := parsePaged(paged)
	if err != nil {
		clear(paged)
		return nil, err
	}
	o.mark(r.Seq)
	return plain, nil
}

// Complete says whether every record of the set has been opened, once each. The
// error is ErrOpen if one is missing, or ErrKey if there never was a key.
func (o *RunningOpener) Complete() error {
	if o.set == nil {
		return ErrKey
	}
	if o.opened != o.set.records {
		return ErrOpen
	}
	return nil
}

func (o *RunningOpener) has(seq uint32) bool {
	word := int((seq - 1) / 64)
	return word < len(o.seen) && o.seen[word]>>((seq-1)%64)&1 == 1
}

func (o *RunningOpener) mark(seq uint32) {
	word := int((seq - 1) / 64)
	if word >= len(o.seen) {
		o.seen = append(o.seen, make([]uint64, word+1-len(o.seen))...)
	}
	o.seen[word] |= 1 << ((seq - 1) % 64)
	o.opened++
}

// The plaintext of a record, as spool records are padded:
//
//	length (4) ‖ that many bytes ‖ zero bytes
//
// up to a multiple of 4096 bytes.

// pagedSize returns the length of the plaintext of a record that holds n bytes.
func pagedSize(n int) int {
	return (runningHeader + n + runningPage - 1) / runningPage * runningPage
}

func appendPaged(dst, content []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(content)))
	dst = append(dst, content...)
	return append(dst, make([]byte, pagedSize(len(content))-runningHeader-len(content))...)
}

// parsePaged returns the content of what appendPaged wrote, in place, and accepts
// nothing else: the error is ErrFormat.
func parsePaged(plain []byte) ([]byte, error) {
	if len(plain) < runningHeader {
		return nil, ErrFormat
	}
	n := binary.BigEndian.Uint32(plain)
	if n > MaxRunning || len(plain) != pagedSize(int(n)) {
		return nil, ErrFormat
	}
	end := runningHeader + int(n)
	for _, b := range plain[end:] {
		if b != 0 {
			return nil, ErrFormat
		}
	}
	return plain[runningHeader:end:end], nil
}
