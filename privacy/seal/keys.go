package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"

	"github.com/cloudflare/circl/kem/xwing"

	"github.com/wattveil/wattveil/meter"
)

// Sizes of keys, in bytes.
const (
	PublicKeySize  = xwing.PublicKeySize // 1216
	PrivateKeySize = xwing.SeedSize      // 32
)

// PublicKey is what a household's day keys, or a window's spool keys, are
// wrapped to: an X-Wing public key (draft-connolly-cfrg-xwing-kem), which joins
// ML-KEM-768 and X25519. The zero PublicKey is no key; using it is ErrKey.
// Values are immutable and may be shared.
type PublicKey struct{ k *publicKey }

// publicKey is the expanded form, about 6 KiB: expanding takes a seventh of the
// time of a wrap.
type publicKey struct {
	x    xwing.PublicKey
	hash [sha256.Size]byte // of the packed form
}

// ParsePublicKey checks the 1216 bytes of an X-Wing public key (FIPS 203
// section 7.2 for its ML-KEM part) and returns it, or ErrKey.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != PublicKeySize {
		return PublicKey{}, ErrKey
	}
	k := &publicKey{hash: sha256.Sum256(b)}
	err := k.x.Unpack(b)
	settle()
	if err != nil {
		return PublicKey{}, ErrKey
	}
	return PublicKey{k}, nil
}

// Bytes returns the 1216 bytes that ParsePublicKey takes, or nil for the zero key.
func (p PublicKey) Bytes() []byte {
	if p.k == nil {
		return nil
	}
	b := make([]byte, PublicKeySize)
	p.k.x.Pack(b)
	return b
}

// Equal reports whether both are the same key.
func (p PublicKey) Equal(q PublicKey) bool {
	if p.k == nil || q.k == nil {
		return p.k == q.k
	}
	return p.k.hash == q.k.hash
}

// PrivateKey opens what was wrapped to its PublicKey. The zero PrivateKey opens
// nothing. Values are immutable and may be shared; printing one shows nothing.
type PrivateKey struct {
	x      shut[xwing.PrivateKey]
	public PublicKey
}

// NewPrivateKey makes a key from 32 bytes of rand, which must be
// cryptographically secure.
func NewPrivateKey(rand io.Reader) (PrivateKey, error) {
	var seed [PrivateKeySize]byte
	defer clear(seed[:])
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("making private key: %w", err)
	}
	return ParsePrivateKey(seed[:])
}

// ParsePrivateKey returns the key of a 32-byte seed, or ErrKey for another length.
func ParsePrivateKey(seed []byte) (PrivateKey, error) {
	if len(seed) != PrivateKeySize {
		return PrivateKey{}, ErrKey
	}
	x, public := xwing.DeriveKeyPair(seed)
	settle()
	k := &publicKey{x: *public}
	k.hash = sha256.Sum256(PublicKey{k}.Bytes())
	return PrivateKey{shutIn(x), PublicKey{k}}, nil
}

// Seed returns the 32 bytes that ParsePrivateKey takes, or nil for the zero
// key. They are the key itself: wrap them, then clear them.
func (p PrivateKey) Seed() []byte {
	x := p.x.open()
	if x == nil {
		return nil
	}
	b := make([]byte, PrivateKeySize)
	x.Pack(b)
	return b
}

// Public returns the key's public half.
func (p PrivateKey) Public() PublicKey { return p.public }

// DayKey is the secret of one household, key generation, UTC day and writer.
// Block keys are derived from it; it encrypts nothing itself.
type DayKey struct{ secret }

// BlockKey opens the blocks of one usage point and register under one day key.
// It is the smallest thing that keyguard hands out.
type BlockKey struct{ secret }

// BlockKeySize is the length of a block key in bytes.
const BlockKeySize = 32

// ParseBlockKey returns the block key of 32 bytes, which it copies; ErrKey for any other
// number.
func ParseBlockKey(b []byte) (BlockKey, error) {
	if len(b) != BlockKeySize {
		return BlockKey{}, ErrKey
	}
	key := [BlockKeySize]byte(b)
	return BlockKey{newSecret(&key)}, nil
}

// Append appends the key's bytes, on their way to where they are sealed.
func (k BlockKey) Append(b []byte) []byte { return append(b, k.bytes()...) }

// SpoolKey seals the spool records of one writer for one window.
type SpoolKey struct{ secret }

// BlockKey derives the key of a usage point and register: HKDF-SHA-256
// (RFC 5869) with the day key as input, no salt, and as info the
// length-prefixed label, format version, usage point and register.
func (k DayKey) BlockKey(point meter.UsagePoint, register meter.Register) BlockKey {
	key := new([32]byte)
	erasing(func() { deriveBlockKey(key, k.bytes(), point, register) })
	return BlockKey{newSecret(key)}
}

func deriveBlockKey(key *[32]byte, dayKey []byte, point meter.UsagePoint, register meter.Register) {
	info := make(fields, 0, 128).
		text(labelBlockKey).byte(blockVersion).text(string(point)).bytes(register[:])
	derived, err := hkdf.Key(sha256.New, dayKey, nil, string(info), len(key))
	if err != nil {
		panic("seal: deriving block key: " + err.Error()) // only a length beyond 255 hashes
	}
	copy(key[:], derived)
	clear(derived)
}

// Erase overwrites the key in all its copies, as far as Go lets it: the expanded ML-KEM
// key lies in circl's memory, and is only let go. An erased key is not to be used.
func (p PrivateKey) Erase() {
	if x := p.x.open(); x != nil {
		*x = xwing.PrivateKey{}
	}
}

// Format prints no key, whatever the verb.
func (PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue logs no key.
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the key from encoding/json and its like.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }
