package ledger

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

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
// (c2sp.org/signed-note type 0x01). It remembers the largest head it has
// signed and refuses a smaller size, and the same size with another root. It
// is safe for concurrent use.
type NoteSigner struct {
	origin string
	key    note.Signer

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
	if len(seed) != ed25519.SeedSize {
		return nil, "", fmt.Errorf("making checkpoint signer: seed of %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	vkey, err = note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, "", fmt.Errorf("making checkpoint signer: %w", err)
	}
	// The note package reads private keys only as text, with the hash and
	// the algorithm byte (1) of the public one.
	const ed25519Algorithm = 1
	hash := strings.Split(strings.TrimPrefix(vkey, origin+"+"), "+")[0]
	secret := base64.StdEncoding.EncodeToString(append([]byte{ed25519Algorithm}, seed...))
	key, err := note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + secret)
	if err != nil {
		return nil, "", fmt.Errorf("making checkpoint signer: %w", err)
	}
	return &NoteSigner{origin: origin, key: key}, vkey, nil
}

// Sign returns the signed checkpoint of head. It returns ErrOrigin for the
// head of another log, ErrRollback if it has signed a larger one, and ErrFork
// if it has signed another root for this size.
func (s *NoteSigner) Sign(_ context.Context, head Head) ([]byte, error) {
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
	s.signed, s.size, s.root = true, head.Size, head.Root
	text := checkpoint{head.Origin, head.Size, head.Root}.text()
	signed, err := note.Sign(&note.Note{Text: text}, s.key)
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
	if c.origin == "" || c.text() != text {
		return checkpoint{}, fmt.Errorf("%w: not in canonical form", ErrCheckpoint)
	}
	return c, nil
}

// readCheckpoint reads a note from our own store, without its signature.
func readCheckpoint(signed []byte) (checkpoint, error) {
	_, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return parseCheckpoint(unverified.Note.Text)
}
