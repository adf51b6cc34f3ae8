package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
)

// signed is what a writer, or the hub, signs: that it made this ciphertext under these
// identifiers. Both are hashed, so that a signature can be checked, and shown,
// without the ciphertext.
func signed(bound, ciphertext []byte) []byte {
	m := make([]byte, 0, len(labelSignature)+2*sha256.Size)
	m = append(m, labelSignature...)
	h := sha256.Sum256(bound)
	m = append(m, h[:]...)
	h = sha256.Sum256(ciphertext)
	return append(m, h[:]...)
}

// Check is a signature that is yet to be checked: [Block.Check] and
// [DayKeyWrap.Check] make it, [VerifyAll] checks it. The zero Check is of no
// signature, and not good.
type Check struct {
	signer    ed25519.PublicKey
	message   []byte // as signed makes it
	signature []byte
}

// VerifyAll says of each check whether its signature is good. Many are checked in
// one go, at a quarter of the processor's time; whatever is wrong with one of
// them takes nothing from the others, and says the same as if it were checked
// alone. What is random in it is drawn from crypto/rand, and handed in by nobody: who
// chose it could make a forgery pass.
func VerifyAll(checks []Check) []bool {
	good := make([]bool, len(checks))
	for first := 0; first < len(checks); first += maxEquation {
		some := checks[first:min(first+maxEquation, len(checks))]
		all := len(some) > 1 && holds(rand.Reader, some)
		for i, c := range some {
			good[first+i] = all || c.good()
		}
	}
	return good
}

// good checks one signature. The standard library is the faster for one, and where
// it says yes the equation holds; its no is not the last word, see [holds].
func (c Check) good() bool {
	return len(c.signer) == ed25519.PublicKeySize &&
		(ed25519.Verify(c.signer, c.message, c.signature) || holds(rand.Reader, []Check{c}))
}

// verify is good as an error: nil or ErrSignature.
func (c Check) verify() error {
	if !c.good() {
		return ErrSignature
	}
	return nil
}
