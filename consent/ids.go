package consent

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Household names the people of one home at one place, all its usage points
// together. A new occupant is a new household.
type Household string

// Recipient names a third party that asks to read.
type Recipient string

// ID names one consent.
type ID string

// MaxIdentifier is the longest Household, Recipient, ID or request id, in bytes.
const MaxIdentifier = 64

// ErrIdentifier reports a text that is not 1 to 64 characters of
// A-Z a-z 0-9 . _ : - . The text itself is never in the error.
var ErrIdentifier = errors.New("consent: identifier is not 1 to 64 characters of A-Z a-z 0-9 . _ : -")

// ParseHousehold returns s as a Household, or ErrIdentifier.
func ParseHousehold(s string) (Household, error) { return parse[Household](s) }

// ParseRecipient returns s as a Recipient, or ErrIdentifier.
func ParseRecipient(s string) (Recipient, error) { return parse[Recipient](s) }

// ParseID returns s as an ID, or ErrIdentifier.
func ParseID(s string) (ID, error) { return parse[ID](s) }

func parse[T ~string](s string) (T, error) {
	if !identifier(s) {
		return "", ErrIdentifier
	}
	return T(s), nil
}

func identifier(s string) bool {
	if len(s) == 0 || len(s) > MaxIdentifier {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// newID returns 16 random bytes as 32 hexadecimal characters, so that a consent
// can be neither guessed nor counted.
func newID(random io.Reader) (ID, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("consent: drawing an identifier: %w", err)
	}
	return ID(hex.EncodeToString(b[:])), nil
}
