package seal

import (
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/cloudflare/circl/hpke"
	"github.com/cloudflare/circl/kem/xwing"
)

// HPKE (RFC 9180) in base mode with X-Wing, HKDF-SHA-256 and AES-256-GCM, for one
// message: kem 0x647a, kdf 0x0001, aead 0x0002. The encapsulation is circl's; the key
// schedule is here, so that what it derives can be zeroed, and so that [settle] comes
// between the two.

// hpkeSuite names the suite in every derivation.
var hpkeSuite = []byte{'H', 'P', 'K', 'E', byte(hpke.KEM_XWING >> 8), byte(hpke.KEM_XWING & 0xff), 0, byte(hpke.KDF_HKDF_SHA256), 0, byte(hpke.AEAD_AES256GCM)}

// pskIDHash is the hash of the absent identity of a pre-shared key.
var pskIDHash = labeledExtract(nil, "psk_id_hash", nil)

// hpkeContext is the key and the nonce of the one message.
type hpkeContext struct {
	key   [32]byte
	nonce [12]byte
}

func (c *hpkeContext) erase() { *c = hpkeContext{} }

// schedule is KeySchedule of RFC 9180, section 5.1. It clears the shared secret.
func (c *hpkeContext) schedule(shared *[xwing.SharedKeySize]byte, info []byte) {
	settle()
	secret := labeledExtract(shared[:], "secret", nil)
	clear(shared[:])
	context := append(append([]byte{0}, pskIDHash...), labeledExtract(nil, "info_hash", info)...)
	labeledExpand(c.key[:], secret, "key", context)
	labeledExpand(c.nonce[:], secret, "base_nonce", context)
	clear(secret)
}

func labeledExtract(salt []byte, label string, ikm []byte) []byte {
	labeled := make([]byte, 0, 256)
	labeled = append(append(append(append(labeled, "HPKE-v1"...), hpkeSuite...), label...), ikm...)
	out, err := hkdf.Extract(sha256.New, labeled, salt)
	if err != nil {
		panic("seal: extracting: " + err.Error()) // only in a mode that refuses short keys
	}
	return out
}

func labeledExpand(out, secret []byte, label string, info []byte) {
	labeled := make([]byte, 0, 128)
	labeled = append(append(append(append(labeled, 0, byte(len(out)), 'H', 'P', 'K', 'E', '-', 'v', '1'), hpkeSuite...), label...), info...)
	derived, err := hkdf.Expand(sha256.New, secret, string(labeled), len(out))
	if err != nil {
		panic("seal: expanding: " + err.Error()) // only a length beyond 255 hashes
	}
	copy(out, derived)
	clear(derived)
}

// settle costs nanoseconds and saves half of an unwrap. circl's ML-KEM leaves the upper
// halves of the vector registers in use, after which every SHA-256 instruction on amd64
// takes about ten times as long until somebody gives them up (VZEROUPPER). The runtime
// does so after clearing more than 256 bytes by vectors.
func settle() { clear(settled()) }

//go:noinline
func settled() []byte { return make([]byte, 1024) }
