package seal

import (
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/cloudflare/circl/kem/xwing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// DayKeyWrap is a day key sealed to its household's public key. Only the holder
// of the household's private key, keyguard, can open it.
//
// Every transaction that stores blocks carries the wrap of their day key until
// one that contained it is known to be committed, so the same wrap may be
// stored several times. Seq tells those rows apart and is bound to nothing: any
// copy opens, and all copies hold the same key.
type DayKeyWrap struct {
	Household  consent.Household
	Generation uint32 // of the household's key pair
	Day        meter.Day
	Writer     WriterID
	Seq        uint64 // unique within Writer
	Sealed     []byte // version ‖ encapsulated key (1120) ‖ ciphertext (48)
	Signature  []byte // Ed25519 by Writer
}

// SpoolKeyWrap is a spool key sealed to the public key of the window of Day.
// Seq is as in [DayKeyWrap].
type SpoolKeyWrap struct {
	Day       meter.Day
	Writer    WriterID
	Seq       uint64
	Sealed    []byte
	Signature []byte
}

const (
	wrapVersion = 1
	wrapSize    = 1 + xwing.CiphertextSize + 32 + 16 // 1169
	// encapsulationSeed is the randomness of one X-Wing encapsulation.
	encapsulationSeed = xwing.EncapsulationSeedSize // 64
)

// bound is the HPKE info of the wrap, and what its signature covers. It names
// the recipient by its key, so that a wrap cannot be presented as made for another.
func (w *DayKeyWrap) bound(recipient PublicKey) fields {
	return make(fields, 0, 192).
		text(labelDayKeyWrap).byte(wrapVersion).
		text(string(w.Household)).uint32(w.Generation).uint32(uint32(w.Day)).
		bytes(w.Writer[:]).bytes(recipient.k.hash[:])
}

func (w *SpoolKeyWrap) bound(recipient PublicKey) fields {
	return make(fields, 0, 192).
		text(labelSpoolKeyWrap).byte(wrapVersion).
		uint32(uint32(w.Day)).
		bytes(w.Writer[:]).bytes(recipient.k.hash[:])
}

// Verify checks that the writer whose public key is given made this wrap for
// recipient. The error is ErrSignature or ErrKey.
func (w DayKeyWrap) Verify(writer ed25519.PublicKey, recipient PublicKey) error {
	if recipient.k == nil {
		return ErrKey
	}
	return w.Check(writer, recipient).verify()
}

// Check is Verify for [VerifyAll]: without a recipient the wrap is not good.
func (w DayKeyWrap) Check(writer ed25519.PublicKey, recipient PublicKey) Check {
	if recipient.k == nil {
		return Check{}
	}
	return Check{writer, signed(w.bound(recipient), w.Sealed), w.Signature}
}

// UnwrapDayKey opens a wrap with the household's private key of the wrap's
// generation. The error is ErrKey, ErrFormat or ErrOpen.
//
// It proves that the wrap was made for this household, generation, day and
// writer, not that the writer made it: whoever can write to the store can wrap
// a key of their own. Nothing opens under such a key except what they sealed
// themselves, and that fails in [Open], which checks the block's signature.
func UnwrapDayKey(household PrivateKey, w DayKeyWrap) (DayKey, error) {
	if household.x.open() == nil {
		return DayKey{}, ErrKey
	}
	key := new([32]byte)
	return DayKey{newSecret(key)}, unwrap(key[:], household, w.bound(household.public), w.Sealed)
}

// OpenSpoolKey opens a wrap with the private key of its window, after checking
// that the writer whose public key is given made it: what a spool key opens
// enters totals. The error is ErrKey, ErrSignature, ErrFormat or ErrOpen.
func OpenSpoolKey(window PrivateKey, w SpoolKeyWrap, writer ed25519.PublicKey) (SpoolKey, error) {
	if window.x.open() == nil {
		return SpoolKey{}, ErrKey
	}
	bound := w.bound(window.public)
	if err := (Check{writer, signed(bound, w.Sealed), w.Signature}).verify(); err != nil {
		return SpoolKey{}, err
	}
	key := new([32]byte)
	return SpoolKey{newSecret(key)}, unwrap(key[:], window, bound, w.Sealed)
}

// wrap seals a 32-byte key to recipient, with 64 bytes of rand for the
// encapsulation.
func wrap(rand io.Reader, recipient PublicKey, bound, key []byte) ([]byte, error) {
	return encapsulate(rand, wrapVersion, recipient, bound, key)
}

// unwrap reverses wrap into key.
func unwrap(key []byte, recipient PrivateKey, bound, sealed []byte) error {
	if len(sealed) != wrapSize || sealed[0] != wrapVersion {
		return ErrFormat
	}
	var err error
	erasing(func() {
		var plain []byte
		if plain, err = decapsulate(recipient, bound, sealed); err == nil && len(plain) != len(key) {
			err = ErrOpen
		}
		if err == nil {
			copy(key, plain)
		}
		clear(plain)
	})
	return err
}

// encapsulate returns version ‖ encapsulated key ‖ ciphertext.
func encapsulate(rand io.Reader, version byte, recipient PublicKey, bound, plain []byte) ([]byte, error) {
	var seed [encapsulationSeed]byte
	defer clear(seed[:])
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("encapsulating key: %w", err)
	}
	var shared [xwing.SharedKeySize]byte
	var context hpkeContext
	defer context.erase()
	sealed := make([]byte, 1+xwing.CiphertextSize, 1+xwing.CiphertextSize+len(plain)+tagSize)
	sealed[0] = version
	recipient.k.x.EncapsulateTo(sealed[1:], shared[:], seed[:])
	context.schedule(&shared, bound)
	return newAEAD(context.key[:]).Seal(sealed, context.nonce[:], plain, nil), nil
}

// decapsulate reverses encapsulate; sealed is longer than an encapsulated key. The error
// is ErrOpen.
func decapsulate(recipient PrivateKey, bound, sealed []byte) ([]byte, error) {
	encapsulated, ciphertext := sealed[1:1+xwing.CiphertextSize], sealed[1+xwing.CiphertextSize:]
	var shared [xwing.SharedKeySize]byte
	var context hpkeContext
	defer context.erase()
	recipient.x.open().DecapsulateTo(shared[:], encapsulated)
	context.schedule(&shared, bound)
	plain, err := newAEAD(context.key[:]).Open(nil, context.nonce[:], ciphertext, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}
