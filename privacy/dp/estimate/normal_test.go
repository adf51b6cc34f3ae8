package estimate_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"testing"
)

// normals is a reproducible sequence of standard normal numbers: AES in counter
// mode under a key from a label, so that a test that passes once passes always.
// The odds in comments are those that a label chosen blindly is unlucky.
type normals struct {
	stream cipher.Stream
}

func newNormals(t testing.TB, label string) *normals {
	t.Helper()
	key := sha256.Sum256([]byte(label))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	return &normals{stream: cipher.NewCTR(block, make([]byte, aes.BlockSize))}
}

func (n *normals) word() uint64 {
	var b [8]byte
	n.stream.XORKeyStream(b[:], b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// uniform returns a number strictly between 0 and 1.
func (n *normals) uniform() float64 { return (float64(n.word()>>12) + 0.5) / (1 << 52) }

func (n *normals) below(limit int) int { return int(n.word() % uint64(limit)) }

// draw returns a normal number of standard deviation sigma.
func (n *normals) draw(sigma float64) float64 {
	return sigma * math.Sqrt2 * math.Erfinv(2*n.uniform()-1)
}

// near fails unless got is within tolerance of want, as a part of the larger of
// want and one.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
