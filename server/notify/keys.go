package notify

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"sync/atomic"
	"time"
)

// Key is a generation of the key that calls are signed with. Nothing that prints shows its
// private half.
type Key struct {
	ID     string // RFC 7638 thumbprint of the public half
	Public ed25519.PublicKey
	sign   func(message []byte) []byte

	SignsAt int64 // from here on, until a later one does; unix seconds
	EndsAt  int64 // it is published no more; 0 for no end yet
}

// NewKey makes a key from its seed, of 32 bytes, which it copies.
func NewKey(seed []byte, signsAt, endsAt int64) (Key, error) {
	if len(seed) != ed25519.SeedSize {
		return Key{}, errors.New("notify: a seed has 32 bytes")
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	return Key{
		ID: thumbprint(public), Public: public, SignsAt: signsAt, EndsAt: endsAt,
		sign: func(message []byte) []byte { return ed25519.Sign(private, message) },
	}, nil
}

// thumbprint is RFC 7638's, of an Ed25519 key (RFC 8037).
func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Keys are the generations that are published. Safe for concurrent use.
type Keys struct {
	clock func() time.Time
	all   atomic.Pointer[[]Key]
}

// NewKeys returns an empty set.
func NewKeys(clock func() time.Time) *Keys { return &Keys{clock: clock} }

// Replace puts other keys in their place.
func (k *Keys) Replace(all []Key) { k.all.Store(&all) }

// Published returns the keys that have not ended, the next one too.
func (k *Keys) Published() (out []Key) {
	now := k.clock().Unix()
	if all := k.all.Load(); all != nil {
		for _, key := range *all {
			if key.EndsAt == 0 || now < key.EndsAt {
				out = append(out, key)
			}
		}
	}
	return out
}

// ErrNoKey says that no key signs at this moment.
var ErrNoKey = errors.New("notify: no key signs")

// Signing returns the key that signs now: of those that do, the one that began last.
func (k *Keys) Signing() (Key, error) {
	now := k.clock().Unix()
	var signing *Key
	published := k.Published()
	for i := range published {
		if key := &published[i]; key.SignsAt <= now && (signing == nil || key.SignsAt >= signing.SignsAt) {
			signing = key
		}
	}
	if signing == nil {
		return Key{}, ErrNoKey
	}
	return *signing, nil
}
