package seal

import (
	"crypto/ed25519"
	"io"
)

// The doors that only this package's tests have.

// Bound returns the associated data of a block.
func Bound(b Block) []byte { return b.bound() }

// OpenWhole opens a block without a permit and without looking at its
// signature: what the encryption alone holds together.
func OpenWhole(key BlockKey, b Block) (Opened, error) { return b.open(key) }

// DayKeyOf returns the day key that the writer made for the target.
func DayKeyOf(w *Writer, t Target, b Block) DayKey {
	_, key, err := w.dayKey(t, b.Day)
	if err != nil {
		panic(err)
	}
	return MakeDayKey(key)
}

// MakeDayKey, MakeBlockKey and MakeSpoolKey make keys of bytes.
func MakeDayKey(b [32]byte) DayKey { return DayKey{newSecret(&b)} }

// MakeBlockKey is as MakeDayKey.
func MakeBlockKey(b [32]byte) BlockKey { return BlockKey{newSecret(&b)} }

// MakeSpoolKey is as MakeDayKey.
func MakeSpoolKey(b [32]byte) SpoolKey { return SpoolKey{newSecret(&b)} }

// BytesOf returns the bytes of a key where they lie in memory.
func BytesOf(k interface{ bytes() []byte }) []byte { return k.bytes() }

// SigningBytes returns a writer's signing key where it lies in memory.
func SigningBytes(w *Writer) []byte { return *w.signing.open() }

// UseUp sets the last sequence number that the writer has used.
func UseUp(w *Writer, last uint64) { w.seq.Store(last) }

// Used returns the last sequence number that the writer has used.
func Used(w *Writer) uint64 { return w.seq.Load() }

// KeysHeld returns how many day keys and spool keys the writer holds.
func KeysHeld(w *Writer) int64 { return w.days.count.Load() + w.windows.count.Load() }

// FillKeys makes the writer believe that it holds all the keys it may.
func FillKeys(w *Writer) { w.days.count.Store(maxKeys) }

// KeysInMemory returns the day keys where the writer holds them.
func KeysInMemory(w *Writer) (keys []*[32]byte) {
	for i := range w.days.shards {
		for _, e := range w.days.shards[i].keys {
			keys = append(keys, &e.key)
		}
	}
	return keys
}

// RunningBytes returns the key of a set where it lies in memory.
func RunningBytes(k RunningKey) []byte { return k.set.key[:] }

// SealingBytes is RunningBytes of a set that is being sealed.
func SealingBytes(s *RunningSealer) []byte { return s.set.key[:] }

// UseUpRunning sets the number of records that the set has.
func UseUpRunning(s *RunningSealer, records uint32) { s.set.records = records }

// SignAgain signs a wrap as it stands, as the hub would: what is left to find
// fault with it is the encryption.
func SignAgain(w *RunningKeyWrap, window PublicKey, signer ed25519.PrivateKey) {
	w.Signature = ed25519.Sign(signer, signed(w.bound(window), w.Sealed))
}

// MakeCheck makes a check of anything.
func MakeCheck(signer, message, signature []byte) Check { return Check{signer, message, signature} }

// Good checks one signature.
func Good(c Check) bool { return c.good() }

// Holds is the equation, with coefficients read from random.
func Holds(random io.Reader, checks []Check) bool { return holds(random, checks) }

// MaxEquation is how many signatures are checked at once.
const MaxEquation = maxEquation
