package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"golang.org/x/mod/sumdb/note"
)

// The algorithms of c2sp.org/signed-note that stand on checkpoints.
const (
	algEd25519   = 0x01 // a log's signature
	algCosigned  = 0x04 // a witness's, Ed25519 with a timestamp (c2sp.org/tlog-cosignature)
	algMLDSA44   = 0x06 // a log's or a witness's, ML-DSA-44 with a timestamp (the same)
	timestampLen = 8
)

// ErrVerifierKey: text that is not a verifier key of c2sp.org/signed-note, or of
// an algorithm that does not stand on checkpoints.
var ErrVerifierKey = errors.New("ledger: not a verifier key")

// verifierKey is a public key that checkpoints are checked with. It implements
// note.Verifier.
type verifierKey struct {
	name   string
	hash   uint32
	alg    byte
	verify func(msg, sig []byte) bool
}

func (k *verifierKey) Name() string                { return k.name }
func (k *verifierKey) KeyHash() uint32             { return k.hash }
func (k *verifierKey) Verify(msg, sig []byte) bool { return k.verify(msg, sig) }

// keyHash is the key ID of c2sp.org/signed-note: the first bytes of
// SHA-256(name | "\n" | algorithm | key).
func keyHash(name string, alg byte, public []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{alg})
	h.Write(public)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func formatVerifierKey(name string, alg byte, public []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, alg, public), base64.StdEncoding.EncodeToString(append([]byte{alg}, public...)))
}

// validName says what a key may be called: neither a blank nor a plus.
func validName(name string) bool {
	return name != "" && len(name) < 256 && utf8.ValidString(name) && strings.IndexFunc(name, unicode.IsSpace) < 0 && !strings.Contains(name, "+")
}

// parseVerifierKey reads name+hash+base64 of an algorithm that is known.
func parseVerifierKey(text string) (*verifierKey, error) {
	name, rest, _ := strings.Cut(text, "+")
	digits, key64, _ := strings.Cut(rest, "+")
	hash, herr := strconv.ParseUint(digits, 16, 32)
	raw, kerr := base64.StdEncoding.DecodeString(key64)
	if !validName(name) || len(digits) != 8 || herr != nil || kerr != nil || len(raw) == 0 {
		return nil, ErrVerifierKey
	}
	k := &verifierKey{name: name, hash: uint32(hash), alg: raw[0]}
	public := raw[1:]
	if formatVerifierKey(name, k.alg, public) != text {
		return nil, ErrVerifierKey
	}
	switch {
	case k.alg == algEd25519 && len(public) == ed25519.PublicKeySize:
		k.verify = func(msg, sig []byte) bool { return ed25519.Verify(public, msg, sig) }
	case k.alg == algCosigned && len(public) == ed25519.PublicKeySize:
		k.verify = func(msg, sig []byte) bool {
			at, sig, ok := cutTimestamp(sig)
			return ok && ed25519.Verify(public, cosignedText(msg, at), sig)
		}
	case k.alg == algMLDSA44 && len(public) == mldsa44.PublicKeySize:
		var pk mldsa44.PublicKey
		if pk.UnmarshalBinary(public) != nil {
			return nil, ErrVerifierKey
		}
		k.verify = func(msg, sig []byte) bool {
			at, sig, ok := cutTimestamp(sig)
			c, err := parseCheckpoint(string(msg))
			return ok && err == nil && len(sig) == mldsa44.SignatureSize && mldsa44.Verify(&pk, cosignedMessage(name, c, at), nil, sig)
		}
	default:
		return nil, ErrVerifierKey
	}
	return k, nil
}

func cutTimestamp(sig []byte) (at uint64, rest []byte, ok bool) {
	if len(sig) < timestampLen {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(sig), sig[timestampLen:], true
}

// cosignedText is what an Ed25519 cosignature signs.
func cosignedText(msg []byte, at uint64) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, msg)
}

// cosignedMessage is what an ML-DSA-44 signature signs: the cosigned_message of
// c2sp.org/tlog-cosignature over the whole tree, in TLS presentation language.
func cosignedMessage(name string, c checkpoint, at uint64) []byte {
	b := []byte("subtree/v1\n\x00")
	b = append(append(b, byte(len(name))), name...)
	b = binary.BigEndian.AppendUint64(b, at)
	b = append(append(b, byte(len(c.origin))), c.origin...)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, c.size)
	return append(b, c.root[:]...)
}

// signingKey signs checkpoints. It implements note.Signer.
type signingKey struct {
	name string
	hash uint32
	vkey string
	sign func(msg []byte) ([]byte, error)
}

func (k *signingKey) Name() string                    { return k.name }
func (k *signingKey) KeyHash() uint32                 { return k.hash }
func (k *signingKey) Sign(msg []byte) ([]byte, error) { return k.sign(msg) }

// newSigningKey makes a key of the algorithm from its 32-byte seed. Signatures
// that carry a time carry now's.
func newSigningKey(name string, alg byte, seed []byte, now func() time.Time) (*signingKey, error) {
	if !validName(name) {
		return nil, errors.New("ledger: a signer's name holds no blank and no plus, and is not empty")
	}
	if len(seed) != ed25519.SeedSize { // ML-DSA-44's are as long
		return nil, fmt.Errorf("ledger: signing key: seed of %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	k := &signingKey{name: name}
	var public []byte
	stamp := func() uint64 { return uint64(now().Unix()) }
	switch alg {
	case algEd25519, algCosigned:
		private := ed25519.NewKeyFromSeed(seed)
		public = private.Public().(ed25519.PublicKey)
		k.sign = func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil }
		if alg == algCosigned {
			k.sign = func(msg []byte) ([]byte, error) {
				at := stamp()
				return append(binary.BigEndian.AppendUint64(nil, at), ed25519.Sign(private, cosignedText(msg, at))...), nil
			}
		}
	case algMLDSA44:
		pk, sk := mldsa44.NewKeyFromSeed((*[mldsa44.SeedSize]byte)(seed))
		public = pk.Bytes()
		k.sign = func(msg []byte) ([]byte, error) {
			c, err := parseCheckpoint(string(msg))
			if err != nil {
				return nil, err
			}
			at := stamp()
			sig := binary.BigEndian.AppendUint64(nil, at)
			sig = append(sig, make([]byte, mldsa44.SignatureSize)...)
			return sig, mldsa44.SignTo(sk, cosignedMessage(name, c, at), nil, false, sig[timestampLen:])
		}
	}
	k.hash, k.vkey = keyHash(name, alg, public), formatVerifierKey(name, alg, public)
	return k, nil
}

// WitnessKey is a key with which a witness cosigns checkpoints.
type WitnessKey struct{ key *signingKey }

// NewWitnessKeys returns a witness's keys, Ed25519 and ML-DSA-44, from seeds of 32
// bytes. Cosignatures carry the time of now.
func NewWitnessKeys(name string, ed25519Seed, mldsaSeed []byte, now func() time.Time) ([]WitnessKey, error) {
	var keys []WitnessKey
	for _, k := range []struct {
		alg  byte
		seed []byte
	}{{algCosigned, ed25519Seed}, {algMLDSA44, mldsaSeed}} {
		key, err := newSigningKey(name, k.alg, k.seed, now)
		if err != nil {
			return nil, err
		}
		keys = append(keys, WitnessKey{key})
	}
	return keys, nil
}

// VerifierKey returns the key to hand to those who check the cosignatures.
func (k WitnessKey) VerifierKey() string { return k.key.vkey }

// Cosign returns the signature lines of keys over a checkpoint, whose signature
// lines are left out of account: whoever calls has checked them.
func Cosign(signed []byte, keys []WitnessKey) ([]byte, error) {
	text, err := noteText(signed)
	if err != nil {
		return nil, err
	}
	if _, err := parseCheckpoint(text); err != nil {
		return nil, err
	}
	signers := make([]note.Signer, len(keys))
	for i, k := range keys {
		signers[i] = k.key
	}
	whole, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		return nil, fmt.Errorf("cosigning: %w", err)
	}
	return whole[len(text)+1:], nil
}

// noteText returns the text of a note without checking a signature.
func noteText(signed []byte) (string, error) {
	_, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return "", fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return unverified.Note.Text, nil
}
