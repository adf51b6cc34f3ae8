package seal

import (
	"fmt"
	"log/slog"
)

// shut holds something behind two pointers, where no verb of fmt gets at it. fmt follows
// one pointer that it is handed; inside of something it prints a pointer as a number, but
// with a verb that suits none, such as %s, it follows one more. Methods are no help: fmt
// calls none on what lies in an unexported field.
type shut[T any] struct{ inner *shutter[T] }

type shutter[T any] struct{ value *T }

func shutIn[T any](v *T) shut[T] { return shut[T]{&shutter[T]{v}} }

// open returns what was shut in, or nil.
func (s shut[T]) open() *T {
	if s.inner == nil {
		return nil
	}
	return s.inner.value
}

// secret is 32 bytes that are printed by nothing. Copies share the bytes; the zero secret
// is 32 zero bytes, under which nothing was sealed.
//
// What Erase overwrites is these bytes. Go promises no more: the runtime may have moved a
// stack that held a copy, a cipher expands the key into memory of its own, and freed
// memory is not cleared before it is used again.
type secret struct {
	_   [0]func() // == would compare where they lie
	key shut[[32]byte]
}

func newSecret(key *[32]byte) secret { return secret{key: shutIn(key)} }

func (s secret) bytes() []byte {
	if k := s.key.open(); k != nil {
		return k[:]
	}
	return make([]byte, 32)
}

// Erase overwrites the key, in all its copies. It may be called more than once, and not
// while another goroutine uses the key.
func (s secret) Erase() {
	if k := s.key.open(); k != nil {
		clear(k[:])
	}
}

// Format prints no key, whatever the verb.
func (secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue logs no key.
func (secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the key from encoding/json and its like.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[key]"
