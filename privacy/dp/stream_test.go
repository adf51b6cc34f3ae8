package dp_test

import (
	"crypto/sha256"
	"encoding/binary"
)

// stream is a reproducible sequence of words for property tests: SHA-256 of a
// label and a counter.
type stream struct {
	label string
	next  uint64
	rest  []byte
}

func (s *stream) read(b []byte) {
	for i := range b {
		if len(s.rest) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.label), s.next))
			s.next++
			s.rest = h[:]
		}
		b[i], s.rest = s.rest[0], s.rest[1:]
	}
}

func (s *stream) word() uint64 {
	var b [8]byte
	s.read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// sized returns an integer of either sign whose magnitude has a uniform number
// of bits, up to 64: small, large and extreme ones in equal shares.
func (s *stream) sized() int64 {
	return int64(s.word() >> (s.word() % 64))
}
