package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ErrProof: a proof that does not prove what it is presented for.
var ErrProof = errors.New("ledger: proof not valid")

// Verifier checks what the log of one origin and its keys has said. It needs no
// network, no store and no clock, and is safe for concurrent use.
type Verifier struct {
	origin string
	keys   *atomic.Pointer[[]generation] // newest first, at least one; shared by WithPolicy
	policy *Policy                       // or nil

	// last is the checkpoint that was found good last: many proofs in a row are
	// under one, and its signatures cost most of a check.
	last atomic.Pointer[checkedNote]
}

// checkedNote is what Checkpoint made of these bytes under these keys, and would again.
type checkedNote struct {
	by     *[]generation
	signed []byte
	size   uint64
	root   Hash
}

// NewVerifier returns the verifier for a log's public keys, one a line, in the
// encoding name+hash+base64 of c2sp.org/signed-note: Ed25519 first, and ML-DSA-44
// where the log has such a key. A checkpoint must be signed with every one of
// them. Their name is the log's origin. A line "until SIZE" ends the newest
// generation of keys; what follows is the one before it, whose signatures are
// enough for checkpoints of at most SIZE leaves, and so on.
func NewVerifier(vkeys string) (*Verifier, error) {
	origin, generations, err := parseGenerations(vkeys)
	if err != nil {
		return nil, err
	}
	v := &Verifier{origin: origin, keys: new(atomic.Pointer[[]generation])}
	v.keys.Store(&generations)
	return v, nil
}

// WithPolicy returns a verifier that also demands of every checkpoint the
// cosignatures of the policy: ErrNotCosigned without them. When the log changes its
// keys it follows v: see Replace.
func (v *Verifier) WithPolicy(p *Policy) *Verifier {
	return &Verifier{origin: v.origin, keys: v.keys, policy: p}
}

// Replace makes the verifier, and those that WithPolicy made of it, check with other
// keys from now on, for a process that goes on while its log changes its keys. The
// text is what NewVerifier takes; ErrOrigin if it is of another log. That the keys are
// the log's is the caller's word, as it was at first.
func (v *Verifier) Replace(vkeys string) error {
	origin, generations, err := parseGenerations(vkeys)
	if err != nil {
		return err
	}
	if origin != v.origin {
		return ErrOrigin
	}
	v.keys.Store(&generations)
	return nil
}

// Origin returns the name of the log.
func (v *Verifier) Origin() string { return v.origin }

// Keys returns the log's public keys, as NewVerifier takes them.
func (v *Verifier) Keys() string { return formatGenerations(*v.keys.Load()) }

// Checkpoint returns size and root of a signed checkpoint. It is ErrCheckpoint if
// it is malformed, of another log, or not signed with each key of one generation
// that is believed for its size, and ErrNotCosigned if the policy is not satisfied.
// Lines by other keys are ignored.
func (v *Verifier) Checkpoint(signed []byte) (size uint64, root Hash, err error) {
	keys := v.keys.Load()
	if last := v.last.Load(); last != nil && last.by == keys && bytes.Equal(last.signed, signed) {
		return last.size, last.root, nil
	}
	if size, root, err = v.checkpoint(signed, *keys); err == nil {
		v.last.Store(&checkedNote{keys, bytes.Clone(signed), size, root})
	}
	return size, root, err
}

func (v *Verifier) checkpoint(signed []byte, keys []generation) (size uint64, root Hash, err error) {
	c, err := readCheckpoint(signed)
	if err != nil {
		return 0, Hash{}, err
	}
	if c.origin != v.origin {
		return 0, Hash{}, fmt.Errorf("%w: of another log", ErrCheckpoint)
	}
	var refused error
	for _, g := range keys {
		if c.size > g.until {
			break
		}
		_, err := g.open(signed, v.policy)
		if err == nil {
			return c.size, c.root, nil
		}
		if refused == nil || errors.Is(err, ErrNotCosigned) { // by the log's own keys it is good
			refused = err
		}
	}
	return 0, Hash{}, refused
}

// Verified is what a receipt has proved.
type Verified struct {
	Payload Payload
	Leaf    Leaf
	Index   uint64
	Size    uint64 // of the tree the signed checkpoint is over
	Root    Hash
}

// Opening is what opens and proves a leaf: the payload, the nonce of its
// commitment, and the tlog-proof in the form that Prover.TLogProof writes.
type Opening struct {
	Payload []byte
	Nonce   Hash
	Proof   []byte
}

// Proof checks offline that the log holds, under a checkpoint signed with its
// key, a leaf that commits to payload: payload canonical, commitment opened by
// nonce, class as the payload's kind demands, leaf included. Anything amiss is
// ErrProof, ErrPayload or ErrCheckpoint. The tlog-proof must be in the form
// that TLogProof writes, to the byte.
func (v *Verifier) Proof(payload []byte, nonce Hash, tlogProof []byte) (Verified, error) {
	all, err := v.Openings(Opening{payload, nonce, tlogProof})
	if err != nil {
		return Verified{}, err
	}
	return all[0], nil
}

// Openings checks each opening as Proof does, and all or none are good.
func (v *Verifier) Openings(openings ...Opening) ([]Verified, error) {
	all := make([]Verified, len(openings))
	for i, o := range openings {
		var p tlogproof.TLogProof
		if err := p.Unmarshal(o.Proof); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProof, err)
		}
		if !bytes.Equal(p.Marshal(), o.Proof) {
			return nil, fmt.Errorf("%w: not in canonical form", ErrProof)
		}
		size, root, err := v.Checkpoint(p.Checkpoint)
		if err != nil {
			return nil, err
		}
		if all[i], err = o.under(p, size, root); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// under checks what an opening proves under size and root, which are the log's.
func (o Opening) under(p tlogproof.TLogProof, size uint64, root Hash) (Verified, error) {
	leaf, err := ParseLeaf(p.ExtraData)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if err := verifyInclusion(p.Index, size, leaf.Hash(), p.Hashes, root); err != nil {
		return Verified{}, err
	}
	if Commit(o.Nonce, o.Payload) != leaf.Commitment {
		return Verified{}, fmt.Errorf("%w: the leaf commits to something else", ErrProof)
	}
	opened, err := DecodePayload(o.Payload)
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

// VerifyConsistency checks, without signatures, that the tree of size2 begins with
// that of size1 (RFC 6962 section 2.1.2), or returns ErrProof.
func VerifyConsistency(size1 uint64, root1 Hash, size2 uint64, root2 Hash, hashes []Hash) error {
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, size1, size2, byteSlices(hashes), root1[:], root2[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
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
