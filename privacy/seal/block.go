package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// WriterID names a [Writer]: 16 random bytes. Two processes, or one process
// before and after a restart, never share one.
type WriterID [16]byte

// String returns the id as 32 hexadecimal digits.
func (w WriterID) String() string { return hex.EncodeToString(w[:]) }

// Block is the intervals of one [meter.Series] inside one UTC day, sealed. All
// fields are stored as columns. Those before Ciphertext are in clear and bound
// to it: change one, or move the ciphertext to another row, and it does not
// open. Its length tells the number of intervals and the cap, never a value.
type Block struct {
	Household  consent.Household
	Generation uint32 // of the household's key pair
	UsagePoint meter.UsagePoint
	Register   meter.Register
	Start      int64 // unix seconds UTC of the first interval's start
	Length     int64 // seconds per interval
	Count      int   // intervals, Missing ones included
	Revision   uint32
	Day        meter.Day // the UTC day in which every interval starts
	Writer     WriterID
	Seq        uint64 // unique within Writer; the nonce
	Ciphertext []byte // version ‖ AES-256-GCM
	Signature  []byte // Ed25519 by Writer, 64 bytes
}

const blockVersion = 1

// bound is the associated data of the block, and what its signature covers.
func (b *Block) bound() fields {
	return make(fields, 0, 320).
		text(labelBlock).byte(blockVersion).
		text(string(b.Household)).uint32(b.Generation).
		text(string(b.UsagePoint)).bytes(b.Register[:]).
		uint64(uint64(b.Start)).uint64(uint64(b.Length)).uint32(uint32(b.Count)).
		uint32(b.Revision).uint32(uint32(b.Day)).
		bytes(b.Writer[:]).uint64(b.Seq)
}

// inOneDay reports whether count intervals, at least one, from start on all
// start within day. It holds no more than 86,400 intervals to be so.
func inOneDay(day meter.Day, start, length int64, count int) bool {
	return start >= day.Start() && start < day.End() &&
		length > 0 && length <= secondsPerDay &&
		count > 0 && int64(count-1) <= (day.End()-1-start)/length
}

const secondsPerDay = 86400

// Verify checks that the writer whose public key is given made this block, as
// all its fields stand. It needs no key and no permit: anyone who holds the row
// may check it. The error is ErrSignature.
func (b Block) Verify(writer ed25519.PublicKey) error {
	return b.Check(writer).verify()
}

// Check is Verify for [VerifyAll].
func (b Block) Check(writer ed25519.PublicKey) Check {
	return Check{writer, signed(b.bound(), b.Ciphertext), b.Signature}
}

// newAEAD returns AES-256-GCM (NIST SP 800-38D) under key.
func newAEAD(key []byte) cipher.AEAD {
	c, err := aes.NewCipher(key)
	if err != nil {
		panic("seal: " + err.Error()) // only a key of another length
	}
	a, err := cipher.NewGCM(c)
	if err != nil {
		panic("seal: " + err.Error()) // only a block size other than 16
	}
	return a
}

// nonceOf is the sequence number in 12 bytes, big endian. A writer burns a
// number with each use and a key belongs to one writer, so no pair of key and
// nonce comes twice.
func nonceOf(seq uint64) (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], seq)
	return n
}
