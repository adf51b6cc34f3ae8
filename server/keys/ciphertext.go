package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/wattveil/wattveil/privacy/seal"
)

// A keyring's ciphertext, all of it:
//
//	version     1 byte, 0x01
//	nonce       12 random bytes
//	sealed      AES-256-GCM of the secret; associated data is the version byte
//
// under the key
//
//	HKDF-SHA256(root key, no salt, info)                  RFC 5869, 32 bytes
//	info = "wattveil/keyring/v1" ‖ 0x00 ‖
//	       u8 len(name) ‖ name ‖ u32 big-endian len(context) ‖ context
//
// so that each context has a key of its own, and a wrong one opens nothing. A
// random nonce is safe for 2³² secrets in one context (NIST SP 800-38D, 8.3);
// a context wraps a few.
const (
	ciphertextVersion = 1
	derivationLabel   = "wattveil/keyring/v1\x00"
	nonceSize         = 12
	tagSize           = 16
	ciphertextGrowth  = 1 + nonceSize + tagSize
)

// contextAEAD makes the cipher of one context under one named root key.
func contextAEAD(name string, root *[rootKeySize]byte, context []byte) (cipher.AEAD, error) {
	info := make([]byte, 0, len(derivationLabel)+1+len(name)+4+len(context))
	info = append(info, derivationLabel...)
	info = append(info, byte(len(name)))
	info = append(info, name...)
	info = binary.BigEndian.AppendUint32(info, uint32(len(context)))
	info = append(info, context...)
	key, err := hkdf.Key(sha256.New, root[:], nil, string(info), rootKeySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealSecret makes the ciphertext of one item. The nonce must be fresh.
func sealSecret(name string, root *[rootKeySize]byte, item seal.Item, nonce []byte) ([]byte, error) {
	aead, err := contextAEAD(name, root, item.Context)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(item.Data)+ciphertextGrowth)
	out = append(out, ciphertextVersion)
	out = append(out, nonce...)
	return aead.Seal(out, nonce, item.Data, out[:1]), nil
}

// openSecret reverses sealSecret. Its errors are all seal.ErrRefused.
func openSecret(name string, root *[rootKeySize]byte, item seal.Item) ([]byte, error) {
	c := item.Data
	if len(c) < ciphertextGrowth || len(c) > maxSecret+ciphertextGrowth || c[0] != ciphertextVersion {
		return nil, fmt.Errorf("%w: not a ciphertext of this version", seal.ErrRefused)
	}
	aead, err := contextAEAD(name, root, item.Context)
	if err != nil {
		return nil, fmt.Errorf("%w: deriving: %w", seal.ErrRefused, err)
	}
	secret, err := aead.Open(nil, c[1:1+nonceSize], c[1+nonceSize:], c[:1])
	if err != nil {
		return nil, fmt.Errorf("%w: wrong context or altered ciphertext", seal.ErrRefused)
	}
	return secret, nil
}
