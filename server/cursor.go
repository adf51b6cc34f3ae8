package server

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// cursor says what a third party was given of a consent: for each UTC day how many
// blocks there were. Blocks are only added, so a day whose number is the same has not
// changed, in whatever order transactions commit; the hub writes nothing down for it.
type cursor struct {
	consent consent.ID
	terms   ledger.Hash // of the terms it was made under
	at      int64       // unix seconds: steps that were over by then were given
	first   meter.Day
	days    []dayMark // of first and the days after it
}

// dayMark is what was stored of a UTC day when it was given.
type dayMark struct {
	all  uint32 // blocks of the household
	ours uint32 // of them, blocks of what the consent covers
}

// mark returns what was given of a day; of another than the cursor's, nothing was.
func (c *cursor) mark(d meter.Day) dayMark {
	if d < c.first || int64(d-c.first) >= int64(len(c.days)) {
		return dayMark{}
	}
	return c.days[d-c.first]
}

// Bounds of a cursor. Two hundred years of days are more than there are readings.
const (
	maxCursorDays  = 73_000
	maxCursorBytes = 96 << 10 // in plain; 128 KiB in base64
	cursorVersion  = 1
	// cursorPad: the length of a cursor tells its holder hardly how many runs of equal
	// days there are.
	cursorPad = 256
)

// encode writes the cursor: runs of days that are alike are one entry. A cursor that
// would be too long forgets its newest days, which are then given again.
func (c *cursor) encode() []byte {
	b := []byte{cursorVersion, byte(len(c.consent))}
	b = append(b, c.consent...)
	b = append(b, c.terms[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.at))
	b = binary.BigEndian.AppendUint32(b, uint32(c.first))
	var runs []byte
	n := 0
	for i := 0; i < len(c.days) && i < maxCursorDays; {
		j := i + 1
		for j < len(c.days) && j < maxCursorDays && c.days[j] == c.days[i] {
			j++
		}
		if len(b)+len(runs) > maxCursorBytes-cursorPad-4*binary.MaxVarintLen32 {
			break
		}
		runs = binary.AppendUvarint(runs, uint64(j-i))
		runs = binary.AppendUvarint(runs, uint64(c.days[i].all))
		runs = binary.AppendUvarint(runs, uint64(c.days[i].ours))
		i, n = j, n+1
	}
	b = append(binary.AppendUvarint(b, uint64(n)), runs...)
	return append(b, make([]byte, (cursorPad-len(b)%cursorPad)%cursorPad)...)
}

// decodeCursor reads what encode writes, and nothing else.
func decodeCursor(b []byte) (c *cursor, ok bool) {
	whole := b
	if len(b) > maxCursorBytes || len(b) < 2 || b[0] != cursorVersion {
		return nil, false
	}
	n := int(b[1])
	if b = b[2:]; len(b) < n+len(ledger.Hash{})+12 {
		return nil, false
	}
	c = &cursor{consent: consent.ID(b[:n])}
	b = b[n+copy(c.terms[:], b[n:]):]
	c.at, c.first = int64(binary.BigEndian.Uint64(b)), meter.Day(binary.BigEndian.Uint32(b[8:]))
	b = b[12:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<32-1 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	ok = true
	for runs := next(); ok && runs > 0; runs-- {
		days, m := next(), dayMark{uint32(next()), uint32(next())}
		if !ok || days == 0 || uint64(len(c.days))+days > maxCursorDays {
			return nil, false
		}
		for range days {
			c.days = append(c.days, m)
		}
	}
	return c, ok && bytes.Equal(c.encode(), whole)
}

// cursorSealer seals cursors, each to the third party that it is given to: how many
// blocks there are of what was not granted is nobody's business, and a cursor that could
// be altered would be a question about them.
type cursorSealer struct{ key hidden }

// cursorLabel names what is sealed, and the key it is sealed under.
const cursorLabel = "wattveil read cursor v1"

// aead is the third party's own: AES-256-GCM with random nonces, of which a key bears
// 2^32, more than a third party can ask for in a decade.
func (s cursorSealer) aead(to consent.Recipient) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.key.bytes(), nil, cursorLabel+"\x00"+string(to), 32)
	if err != nil {
		return nil, fmt.Errorf("sealing a cursor: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing a cursor: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (s cursorSealer) seal(to consent.Recipient, c *cursor) (string, error) {
	aead, err := s.aead(to)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, c.encode(), []byte(cursorLabel))), nil //nolint:gosec // the nonce is drawn inside
}

// open opens a cursor that was given to the third party, or returns errCursor. None is
// the beginning.
func (s cursorSealer) open(to consent.Recipient, text string) (*cursor, error) {
	if text == "" {
		return &cursor{}, nil
	}
	if len(text) > base64.RawURLEncoding.EncodedLen(maxCursorBytes+64) {
		return nil, errCursor
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errCursor
	}
	aead, err := s.aead(to)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(cursorLabel))
	if err != nil {
		return nil, errCursor
	}
	c, ok := decodeCursor(plain)
	if !ok {
		return nil, errCursor
	}
	return c, nil
}

// What is wrong with a cursor. The way on is the same: to begin anew.
var (
	errCursor       = about("cursor", invalid("bad_cursor", "the cursor is not one that this hub gave to this third party; leave it out to begin anew"))
	errCursorOther  = about("cursor", invalid("cursor_of_another_consent", "the cursor is of another consent; leave it out to begin anew"))
	errCursorNarrow = about("cursor", &inputError{codes.FailedPrecondition, "cursor_of_older_terms", "the terms have changed since the cursor was given; leave it out to begin anew: what they cover is given again"})
)

// fits says whether a cursor that was opened is of a consent as it stands.
func (c *cursor) fits(of consent.Consent) error {
	switch {
	case c.consent == "": // the beginning
		return nil
	case c.consent != of.ID:
		return errCursorOther
	case c.terms != of.Terms.Hash():
		return errCursorNarrow
	}
	return nil
}
