package consent

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// The stored form of Terms, all integers big-endian:
//
//	uint8   version, 2 where there are conditions, otherwise 1
//	string  purpose code                (string: uint32 length, then the bytes)
//	string  purpose text
//	uint32  number of usage points, then as many strings, ascending
//	uint32  number of registers, then as many times 6 bytes, ascending
//	uint8   granularity
//	int64   data from, data until, permission until (unix seconds)
//	uint8   conditions, not 0; of version 2
const (
	termsVersion     = 1
	termsConditional = 2
)

// ErrEncoding reports bytes that Terms.Encode did not write.
var ErrEncoding = errors.New("consent: stored terms are malformed")

// Encode returns the canonical bytes of t, which are its stored form: equal
// terms have equal bytes, and valid ones are read back by DecodeTerms.
func (t Terms) Encode() []byte {
	t = t.Normalize()
	b := []byte{termsVersion}
	if t.conditions() != 0 {
		b[0] = termsConditional
	}
	b = appendString(b, t.Purpose.Code)
	b = appendString(b, t.Purpose.Text)
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.UsagePoints)))
	for _, p := range t.UsagePoints {
		b = appendString(b, string(p))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.Registers)))
	for _, r := range t.Registers {
		b = append(b, r[:]...)
	}
	b = append(b, byte(t.Granularity))
	for _, v := range [...]int64{t.DataFrom, t.DataUntil, t.PermissionUntil} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	if c := t.conditions(); c != 0 {
		b = append(b, byte(c))
	}
	return b
}

// Hash returns the SHA-256 of Encode. It stands in the leaf of every decision,
// so that nobody can later claim other terms.
func (t Terms) Hash() ledger.Hash { return sha256.Sum256(t.Encode()) }

// DecodeTerms reads what Encode wrote for valid terms and nothing else;
// otherwise it returns ErrEncoding, or ErrTerms if the bytes are well formed
// and the terms are not.
func DecodeTerms(b []byte) (Terms, error) {
	d := decoder{rest: b}
	version := d.byte()
	if version != termsVersion && version != termsConditional {
		return Terms{}, ErrEncoding
	}
	var t Terms
	t.Purpose.Code = d.string(MaxIdentifier)
	t.Purpose.Text = d.string(MaxPurposeText)
	for range d.count(MaxUsagePoints) {
		t.UsagePoints = append(t.UsagePoints, meter.UsagePoint(d.string(meter.MaxIdentifier)))
	}
	for range d.count(MaxRegisters) {
		t.Registers = append(t.Registers, meter.Register(d.take(6)))
	}
	t.Granularity = Granularity(d.byte())
	t.DataFrom = d.int64()
	t.DataUntil = d.int64()
	t.PermissionUntil = d.int64()
	if version == termsConditional {
		c := uint32(d.byte())
		t.Future, t.Once = c&ledger.ConditionFuture != 0, c&ledger.ConditionOnce != 0
		d.bad = d.bad || c == 0 || c != t.conditions()
	}
	if d.bad || len(d.rest) > 0 {
		return Terms{}, ErrEncoding
	}
	if err := t.Validate(); err != nil {
		return Terms{}, err
	}
	return t, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// decoder reads the pieces of an encoding. After the first piece that is not
// there, bad is set and every further piece is zero.
type decoder struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes; n zero bytes if they are not there.
func (d *decoder) take(n int) []byte {
	if d.bad || len(d.rest) < n {
		d.bad = true
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte   { return d.take(1)[0] }
func (d *decoder) int64() int64 { return int64(binary.BigEndian.Uint64(d.take(8))) }

// count reads a length that may be at most limit, so that a malformed one
// cannot ask for memory.
func (d *decoder) count(limit uint32) int {
	n := binary.BigEndian.Uint32(d.take(4))
	if n > limit {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) string(limit uint32) string { return string(d.take(d.count(limit))) }
