package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// What a leaf commits to is sealed to the regulators whose keys are valid, so that
// they can open every leaf without asking the hub, and nobody else can. One batch
// of leaves shares a random secret of 32 bytes, which is sealed to each regulator
// once (an EnvelopeHead), since an encapsulation costs more than all else:
//
//	head     = HPKE Seal (RFC 9180, base mode, KEM MLKEM768-X25519, HKDF-SHA256, AES-256-GCM,
//	           info "wattveil envelope v1" | origin | first(8)) of the secret
//	key      = HKDF-Expand(SHA-256, secret, "wattveil envelope key v1" | index(8), 32)
//	envelope = version(1)=1 | first(8) | AES-256-GCM(key, zero nonce, nonce(32) | map key(32) | payload)
//
// where first is the index of the batch's first leaf, index the leaf's own, and
// integers are big-endian. Associated data of the last is version, first and index.
// The map key is the household's in the map, zeros where the leaf has none. A leaf
// holds the SHA-256 of its envelope; the envelope is in an erasable row, and the
// secret opens nothing without it.
const (
	envelopeVersion = 1
	envelopeHeader  = 1 + 8
	envelopeInfo    = "wattveil envelope v1"
	envelopeKeyInfo = "wattveil envelope key v1"
)

// DetailEnvelopeKey is the Detail of the admin leaf that posts a regulator's key:
// its Digest is the key's ID, From and Until say when it is valid.
const DetailEnvelopeKey = "envelope_key"

var (
	// ErrEnvelopeKey: not a key that envelopes are sealed to.
	ErrEnvelopeKey = errors.New("ledger: not an envelope key")
	// ErrEnvelope: an envelope that does not open, or not to what its leaf is.
	ErrEnvelope = errors.New("ledger: envelope does not open")
	// ErrNoEnvelopeHead: nobody sealed the envelope's batch to a key that is at hand.
	ErrNoEnvelopeHead = errors.New("ledger: envelope is sealed to other keys")
)

// EnvelopeKey is a regulator's public key.
type EnvelopeKey struct {
	ID          Hash   // SHA-256 of Public
	Public      []byte // MLKEM768-X25519 in the form of RFC 9180, 1216 bytes
	From, Until int64  // valid in [From, Until), unix s
}

// EnvelopeHead carries the secret of a batch of envelopes to one regulator.
type EnvelopeHead struct {
	FirstIndex uint64
	KeyID      Hash
	Sealed     []byte
}

// EnvelopeKeyID returns the name of a public key, or ErrEnvelopeKey.
func EnvelopeKeyID(public []byte) (Hash, error) {
	if _, err := hpke.MLKEM768X25519().NewPublicKey(public); err != nil {
		return Hash{}, ErrEnvelopeKey
	}
	return sha256.Sum256(public), nil
}

// EnvelopePrivateKey is a regulator's own half. It never leaves the regulator.
type EnvelopePrivateKey struct {
	key hpke.PrivateKey
	id  Hash
}

// NewEnvelopePrivateKey draws a key of 32 bytes from random.
func NewEnvelopePrivateKey(random io.Reader) (EnvelopePrivateKey, error) {
	var seed [32]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return EnvelopePrivateKey{}, fmt.Errorf("drawing an envelope key: %w", err)
	}
	return ParseEnvelopePrivateKey(seed[:])
}

// ParseEnvelopePrivateKey reads what Bytes returns, or returns ErrEnvelopeKey.
func ParseEnvelopePrivateKey(seed []byte) (EnvelopePrivateKey, error) {
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		return EnvelopePrivateKey{}, ErrEnvelopeKey
	}
	return EnvelopePrivateKey{key, sha256.Sum256(key.PublicKey().Bytes())}, nil
}

// Bytes returns the 32 bytes to keep secret.
func (k EnvelopePrivateKey) Bytes() ([]byte, error) { return k.key.Bytes() }

// Public returns the key to post.
func (k EnvelopePrivateKey) Public() []byte { return k.key.PublicKey().Bytes() }

// ID returns the name of the key.
func (k EnvelopePrivateKey) ID() Hash { return k.id }

func batchInfo(origin string, first uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(envelopeInfo+origin), first)
}

// envelopeSealers makes the sealers of batches. It keeps the keys it has parsed.
// One goroutine uses it.
type envelopeSealers struct {
	origin string
	parsed map[Hash]hpke.PublicKey
}

// batch returns the sealer of the batch that begins at first, and its heads.
func (s *envelopeSealers) batch(first uint64, keys []EnvelopeKey, random io.Reader) (*envelopeSealer, []EnvelopeHead, error) {
	out := &envelopeSealer{first: first}
	if _, err := io.ReadFull(random, out.secret[:]); err != nil {
		return nil, nil, fmt.Errorf("drawing a secret: %w", err)
	}
	heads := make([]EnvelopeHead, len(keys))
	for i, k := range keys {
		public, ok := s.parsed[k.ID]
		if !ok {
			var err error
			if public, err = hpke.MLKEM768X25519().NewPublicKey(k.Public); err != nil || sha256.Sum256(k.Public) != k.ID {
				return nil, nil, ErrEnvelopeKey
			}
			if s.parsed == nil {
				s.parsed = make(map[Hash]hpke.PublicKey)
			}
			s.parsed[k.ID] = public
		}
		sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), batchInfo(s.origin, first), out.secret[:])
		if err != nil {
			return nil, nil, err
		}
		heads[i] = EnvelopeHead{first, k.ID, sealed}
	}
	return out, heads, nil
}

// envelopeSealer seals the leaves of one batch. The zero sealer seals nothing.
type envelopeSealer struct {
	first  uint64
	secret Hash
}

// envelope returns the sealed copy of what the leaf at index commits to.
func (s *envelopeSealer) envelope(index uint64, payload []byte, nonce, mapKey Hash) ([]byte, error) {
	if s.secret == (Hash{}) {
		return nil, nil
	}
	aead, err := envelopeAEAD(s.secret, index)
	if err != nil {
		return nil, err
	}
	header := binary.BigEndian.AppendUint64([]byte{envelopeVersion}, s.first)
	plain := slices.Concat(nonce[:], mapKey[:], payload)
	var zero [12]byte // a key seals once
	return aead.Seal(header, zero[:], plain, binary.BigEndian.AppendUint64(header, index)), nil
}

func envelopeAEAD(secret Hash, index uint64) (cipher.AEAD, error) {
	info := binary.BigEndian.AppendUint64([]byte(envelopeKeyInfo), index)
	key, err := hkdf.Expand(sha256.New, secret[:], string(info), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// EnvelopeOpener opens envelopes with a regulator's keys. It is not safe for
// concurrent use.
type EnvelopeOpener struct {
	origin  string
	keys    map[Hash]EnvelopePrivateKey
	secrets map[uint64]Hash // by first index of the batch; the newest few
	order   []uint64
}

// keptSecrets is how many batches an opener remembers: records come in order, so
// the newest batch is nearly always the one that is asked for.
const keptSecrets = 4096

// NewEnvelopeOpener returns the opener for the log named origin.
func NewEnvelopeOpener(origin string, keys ...EnvelopePrivateKey) *EnvelopeOpener {
	o := &EnvelopeOpener{origin: origin, keys: make(map[Hash]EnvelopePrivateKey), secrets: make(map[uint64]Hash)}
	for _, k := range keys {
		o.keys[k.id] = k
	}
	return o
}

// AddHead takes in the head of a batch. One for another regulator's key is
// ignored; one for a key at hand that does not open is ErrEnvelope.
func (o *EnvelopeOpener) AddHead(h EnvelopeHead) error {
	k, ok := o.keys[h.KeyID]
	if !ok {
		return nil
	}
	secret, err := hpke.Open(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), batchInfo(o.origin, h.FirstIndex), h.Sealed)
	if err != nil || len(secret) != len(Hash{}) {
		return ErrEnvelope
	}
	if _, known := o.secrets[h.FirstIndex]; !known {
		if o.order = append(o.order, h.FirstIndex); len(o.order) > keptSecrets {
			delete(o.secrets, o.order[0])
			o.order = o.order[1:]
		}
	}
	o.secrets[h.FirstIndex] = Hash(secret)
	return nil
}

// Open opens the envelope of the leaf at index. ErrEnvelope for one that is
// malformed, damaged or another leaf's; ErrNoEnvelopeHead if no head of its batch
// was taken in.
func (o *EnvelopeOpener) Open(index uint64, envelope []byte) (payload []byte, nonce, mapKey Hash, err error) {
	if len(envelope) < envelopeHeader || envelope[0] != envelopeVersion {
		return nil, nonce, mapKey, ErrEnvelope
	}
	first := binary.BigEndian.Uint64(envelope[1:])
	secret, ok := o.secrets[first]
	if !ok {
		return nil, nonce, mapKey, ErrNoEnvelopeHead
	}
	aead, err := envelopeAEAD(secret, index)
	if err != nil {
		return nil, nonce, mapKey, err
	}
	var zero [12]byte
	data := binary.BigEndian.AppendUint64(slices.Clone(envelope[:envelopeHeader]), index)
	plain, err := aead.Open(nil, zero[:], envelope[envelopeHeader:], data)
	if err != nil || len(plain) < 2*len(nonce) {
		return nil, nonce, mapKey, ErrEnvelope
	}
	return plain[64:], Hash(plain[:32]), Hash(plain[32:64]), nil
}
