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
//	format      1 byte, 0x02
//	version     8 bytes, big-endian, of the root key; at least 1
//	nonce       12 random bytes
//	sealed      AES-256-GCM of the secret; associated data is all before the nonce
//
// under the key
//
//	HKDF-SHA256(root key, no salt, info)                  RFC 5869, 32 bytes
//	info = "wattveil/keyring/v2" ‖ 0x00 ‖
//	       u8 len(name) ‖ name ‖ u32 big-endian len(context) ‖ context
//
// so that each context has a key of its own, and a wrong one opens nothing. A
// random nonce is safe for 2³² secrets in one context (NIST SP 800-38D, 8.3);
// a context wraps a few.
//
// Format 0x01 is what was written before keys had versions: without the version,
// which is 1, and with v1 in the info. It opens for as long as version 1 does.
const (
	ciphertextFormat1 = 1
	ciphertextFormat2 = 2
	derivationLabel1  = "wattveil/keyring/v1\x00"
	derivationLabel2  = "wattveil/keyring/v2\x00"
	nonceSize         = 12
	tagSize           = 16
)

// ciphertext is a keyring's ciphertext, taken apart.
type ciphertext struct {
	label   string // of the derivation
	version uint64 // of the root key
	head    []byte // what is authenticated beside the secret
	nonce   []byte
	sealed  []byte
}

// parseCiphertext accepts a ciphertext of either format, whose length can be one.
func parseCiphertext(c []byte) (ciphertext, error) {
	var p ciphertext
	switch {
	case len(c) > 0 && c[0] == ciphertextFormat1:
		p.label, p.version, p.head = derivationLabel1, 1, c[:1]
	case len(c) >= 9 && c[0] == ciphertextFormat2:
		p.label, p.version, p.head = derivationLabel2, binary.BigEndian.Uint64(c[1:9]), c[:9]
	}
	const least = nonceSize + tagSize
	if rest := c[len(p.head):]; p.version > 0 && len(rest) >= least && len(rest) <= maxSecret+least {
		p.nonce, p.sealed = rest[:nonceSize], rest[nonceSize:]
		return p, nil
	}
	return ciphertext{}, fmt.Errorf("%w: not a ciphertext of a keyring", seal.ErrRefused)
}

// contextAEAD makes the cipher of one context under one named root key.
func contextAEAD(label, name string, root *rootKey, context []byte) (cipher.AEAD, error) {
	info := make([]byte, 0, len(label)+1+len(name)+4+len(context))
	info = append(info, label...)
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

// sealSecret makes the ciphertext of one item under the newest root key. The
// nonce must be fresh.
func sealSecret(name string, roots *rootKeys, item seal.Item, nonce []byte) ([]byte, error) {
	version := roots.newest()
	aead, err := contextAEAD(derivationLabel2, name, roots.at(version), item.Context)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 9+nonceSize+len(item.Data)+tagSize)
	out = append(out, ciphertextFormat2)
	out = binary.BigEndian.AppendUint64(out, version)
	head := out
	out = append(out, nonce...)
	return aead.Seal(out, nonce, item.Data, head), nil
}

// openSecret reverses sealSecret, under whichever version is needed and still
// there. Its errors are all seal.ErrRefused.
func openSecret(name string, roots *rootKeys, item seal.Item) ([]byte, error) {
	c, err := parseCiphertext(item.Data)
	if err != nil {
		return nil, err
	}
	root := roots.at(c.version)
	if root == nil {
		return nil, fmt.Errorf("%w: wrapped under a version that the key does not have", seal.ErrRefused)
	}
	aead, err := contextAEAD(c.label, name, root, item.Context)
	if err != nil {
		return nil, fmt.Errorf("%w: deriving: %w", seal.ErrRefused, err)
	}
	secret, err := aead.Open(nil, c.nonce, c.sealed, c.head)
	if err != nil {
		return nil, fmt.Errorf("%w: wrong context or altered ciphertext", seal.ErrRefused)
	}
	return secret, nil
}
