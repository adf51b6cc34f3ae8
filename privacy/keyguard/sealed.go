package keyguard

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/seal"
)

// SealAnswer encrypts an answer to the process that asked, whose public key was
// made for this one request, with 64 bytes of random. It opens for that key and as
// the answer to that request alone. The error is ErrAnswer, seal.ErrKey, or that
// of the random source.
func SealAnswer(random io.Reader, to seal.PublicKey, r Request, k *BlockKeys) ([]byte, error) {
	plain, err := k.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding answer: %w", err)
	}
	defer clear(plain)
	sealed, err := seal.SealMessage(random, to, r.digest(), plain)
	if err != nil {
		return nil, fmt.Errorf("sealing answer: %w", err)
	}
	return sealed, nil
}

// OpenAnswer opens the answer to a request with the private key that was made for
// it. Anything amiss is ErrAnswer.
func OpenAnswer(key seal.PrivateKey, r Request, sealed []byte) (*BlockKeys, error) {
	plain, err := seal.OpenMessage(key, r.digest(), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	defer clear(plain)
	return DecodeBlockKeys(plain)
}

// digest is the SHA-256 of the whole request: a label, then each field in order,
// preceded by its length, or that of a list by its number, as 4 bytes big-endian.
func (r Request) digest() [sha256.Size]byte {
	b := field(nil, "wattveil keyguard request v1")
	for _, o := range []ledger.Opening{r.Access, r.Consent} {
		b = field(field(field(b, o.Payload), o.Nonce[:]), o.Proof)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.UsagePoints)))
	for _, p := range r.UsagePoints {
		b = field(b, p)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Registers)))
	for _, reg := range r.Registers {
		b = field(b, reg[:])
	}
	b = binary.BigEndian.AppendUint32(b, uint32(r.From))
	b = binary.BigEndian.AppendUint32(b, uint32(r.To))
	return sha256.Sum256(b)
}

func field[B ~string | ~[]byte](b []byte, f B) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
}
