package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/rfc6962"
)

// Hash is a SHA-256 digest, or 32 random bytes.
type Hash = [sha256.Size]byte

// LeafSize is the length of every leaf of version 1, in bytes.
const LeafSize = 98

const leafVersion = 1

// ErrLeaf reports bytes that are not a leaf.
var ErrLeaf = errors.New("ledger: malformed leaf")

// Class is all that a leaf tells the public about its kind. Granting, revoking
// and reading share one class, so that nobody counts revocations.
type Class uint8

// The classes. Their numbers are part of the leaf and never change.
const (
	ClassEvent   Class = 1 // a consent's life, an access, a refusal
	ClassRelease Class = 2 // a published total, or what was charged for one; its opening is public
	ClassErasure Class = 3 // private rows were destroyed
	ClassMapHead Class = 4 // root of the map of household chains
	ClassAdmin   Class = 5 // keys, policy, epochs
)

// Valid reports whether c is an assigned class.
func (c Class) Valid() bool { return ClassEvent <= c && c <= ClassAdmin }

// String returns the lower-case name of the class, or "class(n)".
func (c Class) String() string {
	switch c {
	case ClassEvent:
		return "event"
	case ClassRelease:
		return "release"
	case ClassErasure:
		return "erasure"
	case ClassMapHead:
		return "map_head"
	case ClassAdmin:
		return "admin"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Leaf is one entry of the log, as the public sees it.
type Leaf struct {
	Class      Class
	Tag        Hash // SubjectTag of the household's event, or random
	Commitment Hash // Commit of nonce and payload
	Envelope   Hash // SHA-256 of the regulator's sealed copy; zero if there is none
}

// Bytes returns the leaf's stored and hashed form:
// version(1) | class(1) | tag(32) | commitment(32) | envelope(32).
func (l Leaf) Bytes() [LeafSize]byte {
	var b [LeafSize]byte
	b[0] = leafVersion
	b[1] = byte(l.Class)
	copy(b[2:], l.Tag[:])
	copy(b[34:], l.Commitment[:])
	copy(b[66:], l.Envelope[:])
	return b
}

// ParseLeaf reads what Leaf.Bytes writes, and returns ErrLeaf for anything else.
func ParseLeaf(b []byte) (Leaf, error) {
	switch {
	case len(b) != LeafSize:
		return Leaf{}, fmt.Errorf("%w: %d bytes", ErrLeaf, len(b))
	case b[0] != leafVersion:
		return Leaf{}, fmt.Errorf("%w: version %d", ErrLeaf, b[0])
	case !Class(b[1]).Valid():
		return Leaf{}, fmt.Errorf("%w: class %d", ErrLeaf, b[1])
	}
	return Leaf{
		Class:      Class(b[1]),
		Tag:        Hash(b[2:34]),
		Commitment: Hash(b[34:66]),
		Envelope:   Hash(b[66:98]),
	}, nil
}

// Hash returns the RFC 6962 leaf hash, SHA-256(0x00 ‖ leaf bytes).
func (l Leaf) Hash() Hash {
	b := l.Bytes()
	return hashLeaf(b[:])
}

// Commit returns SHA-256("hub-leaf-v1" ‖ nonce ‖ payload), which hides the
// payload for as long as the 32 random bytes of the nonce are secret, and for
// ever once they are destroyed.
func Commit(nonce Hash, payload []byte) Hash {
	h := sha256.New()
	h.Write([]byte("hub-leaf-v1"))
	h.Write(nonce[:])
	h.Write(payload)
	return Hash(h.Sum(nil))
}

// SubjectTag returns HMAC-SHA256(key, "ev" ‖ uint64 BE seq), the tag of a
// household's seq-th event (counted from 1) under its tag key.
func SubjectTag(key Hash, seq uint64) Hash {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("ev"))
	h.Write(binary.BigEndian.AppendUint64(nil, seq))
	return Hash(h.Sum(nil))
}

func hashLeaf(b []byte) Hash { return Hash(rfc6962.DefaultHasher.HashLeaf(b)) }

// hashChildren is RFC 6962's interior node in the form the compact package wants.
func hashChildren(left, right []byte) []byte {
	return rfc6962.DefaultHasher.HashChildren(left, right)
}

// EmptyRoot is the root of a log without leaves, SHA-256 of nothing.
func EmptyRoot() Hash { return Hash(rfc6962.DefaultHasher.EmptyRoot()) }
