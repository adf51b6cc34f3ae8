package ledger

import (
	"bytes"
	"errors"
	"fmt"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// ErrProof: a proof that does not prove what it is presented for.
var ErrProof = errors.New("ledger: proof not valid")

// Verifier checks what the log of one origin and key has said. It needs no
// network, no store and no clock, and is safe for concurrent use.
type Verifier struct {
	origin string
	keys   note.Verifiers
}

// NewVerifier returns the verifier for a log's public key, in the encoding
// name+hash+base64 of c2sp.org/signed-note. The name is the log's origin.
func NewVerifier(vkey string) (*Verifier, error) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key: %w", err)
	}
	return &Verifier{origin: key.Name(), keys: note.VerifierList(key)}, nil
}

// Origin returns the name of the log.
func (v *Verifier) Origin() string { return v.origin }

// Checkpoint returns size and root of a signed checkpoint, or ErrCheckpoint if
// it is malformed, of another log, or not signed with the log's key. Lines by
// other keys are ignored.
func (v *Verifier) Checkpoint(signed []byte) (size uint64, root Hash, err error) {
	n, err := note.Open(signed, v.keys)
	if err != nil {
		return 0, Hash{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return 0, Hash{}, err
	}
	if c.origin != v.origin {
		return 0, Hash{}, fmt.Errorf("%w: of another log", ErrCheckpoint)
	}
	return c.size, c.root, nil
}

// Verified is what a receipt has proved.
type Verified struct {
	Payload Payload
	Leaf    Leaf
	Index   uint64
	Size    uint64 // of the tree the signed checkpoint is over
	Root    Hash
}

// Proof checks offline that the log holds, under a checkpoint signed with its
// key, a leaf that commits to payload: payload canonical, commitment opened by
// nonce, class as the payload's kind demands, leaf included. Anything amiss is
// ErrProof, ErrPayload or ErrCheckpoint. The tlog-proof must be in the form
// that TLogProof writes, to the byte.
func (v *Verifier) Proof(payload []byte, nonce Hash, tlogProof []byte) (Verified, error) {
	var p tlogproof.TLogProof
	if err := p.Unmarshal(tlogProof); err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if !bytes.Equal(p.Marshal(), tlogProof) {
		return Verified{}, fmt.Errorf("%w: not in canonical form", ErrProof)
	}
	size, root, err := v.Checkpoint(p.Checkpoint)
	if err != nil {
		return Verified{}, err
	}
	leaf, err := ParseLeaf(p.ExtraData)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if err := verifyInclusion(p.Index, size, leaf.Hash(), p.Hashes, root); err != nil {
		return Verified{}, err
	}
	if Commit(nonce, payload) != leaf.Commitment {
		return Verified{}, fmt.Errorf("%w: the leaf commits to something else", ErrProof)
	}
	opened, err := DecodePayload(payload)
	if err != nil {
		return Verified{}, err
	}
	if opened.Kind.Class() != leaf.Class {
		return Verified{}, fmt.Errorf("%w: leaf of class %s for a payload of class %s", ErrProof, leaf.Class, opened.Kind.Class())
	}
	return Verified{Payload: opened, Leaf: leaf, Index: p.Index, Size: size, Root: root}, nil
}

func verifyInclusion(index, size uint64, leaf Hash, hashes []Hash, root Hash) error {
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], byteSlices(hashes), root[:])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// Consistent checks that the log at newer still begins with the log at older,
// given the proof that Prover.Consistency makes between their sizes. Both are
// signed checkpoints. It returns ErrRollback if newer is the smaller, ErrFork
// for two roots of one size, and ErrProof if the hashes do not lead from one
// root to the other.
func (v *Verifier) Consistent(older, newer []byte, hashes []Hash) error {
	size1, root1, err := v.Checkpoint(older)
	if err != nil {
		return err
	}
	size2, root2, err := v.Checkpoint(newer)
	if err != nil {
		return err
	}
	if size2 < size1 {
		return fmt.Errorf("size %d after %d: %w", size2, size1, ErrRollback)
	}
	err = proof.VerifyConsistency(rfc6962.DefaultHasher, size1, size2, byteSlices(hashes), root1[:], root2[:])
	switch {
	case size1 == size2 && root1 != root2:
		return fmt.Errorf("size %d: %w", size1, ErrFork)
	case err != nil:
		return fmt.Errorf("%w: from %d to %d: %w", ErrProof, size1, size2, err)
	}
	return nil
}

func byteSlices(hashes []Hash) [][]byte {
	b := make([][]byte, len(hashes))
	for i := range hashes {
		b[i] = hashes[i][:]
	}
	return b
}
