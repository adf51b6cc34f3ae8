package seal

import (
	"crypto/sha256"
	"io"

	"github.com/cloudflare/circl/kem/xwing"
)

const (
	messageVersion = 1
	// messageFrame is what a sealed message takes beside its plaintext.
	messageFrame = 1 + xwing.CiphertextSize + 16 // 1137
)

// SealMessage encrypts plain from one process to another, whose public key was
// made for this one message, with 64 bytes of rand. It opens for nobody else, and
// as an answer to nothing else: about is the hash of the question. It is 1137
// bytes longer than plain. The error is ErrKey, or that of the random source.
//
// It proves no origin: whoever knows the question can answer it. The connection
// that carries it says who did.
func SealMessage(rand io.Reader, to PublicKey, about [sha256.Size]byte, plain []byte) ([]byte, error) {
	if to.k == nil {
		return nil, ErrKey
	}
	return encapsulate(rand, messageVersion, to, boundMessage(to, about), plain)
}

// OpenMessage reverses SealMessage. The error is ErrKey, ErrFormat or ErrOpen.
func OpenMessage(key PrivateKey, about [sha256.Size]byte, sealed []byte) ([]byte, error) {
	if key.x.open() == nil {
		return nil, ErrKey
	}
	if len(sealed) < messageFrame || sealed[0] != messageVersion {
		return nil, ErrFormat
	}
	return decapsulate(key, boundMessage(key.public, about), sealed)
}

// boundMessage is the HPKE info of a message.
func boundMessage(recipient PublicKey, about [sha256.Size]byte) fields {
	return make(fields, 0, 128).text(labelMessage).byte(messageVersion).bytes(about[:]).bytes(recipient.k.hash[:])
}
