package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

var (
	// ErrCheckpoint: a note that is not a checkpoint of this log under its key.
	ErrCheckpoint = errors.New("ledger: checkpoint not valid")
	// ErrRollback: the log is shorter than what has been signed. Somebody
	// restored an old copy; nothing may be recorded or served until a person
	// has decided what is true.
	ErrRollback = errors.New("ledger: log is shorter than what has been signed")
	// ErrOrigin: the head belongs to another log than the key.
	ErrOrigin = errors.New("ledger: head is of another log")
)

// Signer turns a committed head into a checkpoint. It must never sign two
// heads of which neither extends the other. The sequencer calls it after
// COMMIT has succeeded, never before, and again with the same head after a
// failure. While it answers ErrRollback, ErrFork or ErrOrigin nothing more is
// recorded.
type Signer interface {
	Sign(ctx context.Context, head Head) (note []byte, err error)
}

// NoteSigner signs checkpoints (c2sp.org/tlog-checkpoint) with Ed25519
// (c2sp.org/signed-note type 0x01) and, where it has been given such a key, with
// ML-DSA-44 (c2sp.org/tlog-cosignature type 0x06), so that what is signed today
// stands when Ed25519 no longer does. It remembers the largest head it has signed
// and refuses a smaller size, and the same size with another root. It is safe for
// concurrent use.
type NoteSigner struct {
	origin string
	keys   []note.Signer
	terms  func(ctx context.Context, size uint64) ([]*SigningKeys, error) // or nil: keys sign, whatever the size

	mu     sync.Mutex
	signed bool // whether size and root mean anything
	size   uint64
	root   Hash
}

// NewSigner returns the signer of the log named origin, with the Ed25519 key
// of that 32-byte seed, and the verifier key to be handed to everyone
// (name+hash+base64, the encoding of c2sp.org/signed-note). The origin should
// be a URL without a scheme, such as wattveil.example/hub; it holds no space
// and no plus sign.
func NewSigner(origin string, seed []byte) (signer *NoteSigner, vkey string, err error) {
	key, err := newSigningKey(origin, algEd25519, seed, nil)
	if err != nil {
		return nil, "", fmt.Errorf("making checkpoint signer: %w", err)
	}
	return &NoteSigner{origin: origin, keys: []note.Signer{key}}, key.vkey, nil
}

// AddMLDSA lets the signer sign with the ML-DSA-44 key of that 32-byte seed too,
// and returns its verifier key. Its signatures carry the time of now. It is called
// before the first Sign.
func (s *NoteSigner) AddMLDSA(seed []byte, now func() time.Time) (vkey string, err error) {
	key, err := newSigningKey(s.origin, algMLDSA44, seed, now)
	if err != nil {
		return "", fmt.Errorf("making checkpoint signer: %w", err)
	}
	s.keys = append(s.keys, key)
	return key.vkey, nil
}

// Sign returns the signed checkpoint of head. It returns ErrOrigin for the
// head of another log, ErrRollback if it has signed a larger one, and ErrFork
// if it has signed another root for this size.
func (s *NoteSigner) Sign(ctx context.Context, head Head) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case head.Origin != s.origin:
		return nil, ErrOrigin
	case s.signed && head.Size < s.size:
		return nil, fmt.Errorf("signing size %d after %d: %w", head.Size, s.size, ErrRollback)
	case s.signed && head.Size == s.size && head.Root != s.root:
		return nil, fmt.Errorf("signing size %d: %w", head.Size, ErrFork)
	}
	keys, err := s.inForce(ctx, head.Size)
	if err != nil {
		return nil, fmt.Errorf("signing size %d: %w", head.Size, err)
	}
	s.signed, s.size, s.root = true, head.Size, head.Root
	text := checkpoint{head.Origin, head.Size, head.Root}.text()
	signed, err := note.Sign(&note.Note{Text: text}, keys...)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	return signed, nil
}

// checkpoint is the text of a signed note. We write no extension lines and
// accept none: they cannot be audited, and cosignatures do not cover them.
type checkpoint struct {
	origin string
	size   uint64
	root   Hash
}

// maxOrigin is the longest origin that an ML-DSA-44 signature can cover, in bytes.
const maxOrigin = 255

func (c checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.origin, c.size, base64.StdEncoding.EncodeToString(c.root[:]))
}

func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return checkpoint{}, fmt.Errorf("%w: %d lines", ErrCheckpoint, len(lines))
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil {
		return checkpoint{}, fmt.Errorf("%w: size is not a number", ErrCheckpoint)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(Hash{}) {
		return checkpoint{}, fmt.Errorf("%w: root is not a hash", ErrCheckpoint)
	}
	c := checkpoint{lines[0], size, Hash(root)}
	if c.origin == "" || len(c.origin) > maxOrigin || c.text() != text {
		return checkpoint{}, fmt.Errorf("%w: not in canonical form", ErrCheckpoint)
	}
	return c, nil
}

// readCheckpoint reads a note from our own store, without its signature.
func readCheckpoint(signed []byte) (checkpoint, error) {
	text, err := noteText(signed)
	if err != nil {
		return checkpoint{}, err
	}
	return parseCheckpoint(text)
}
