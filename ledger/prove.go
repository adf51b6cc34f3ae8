package ledger

import (
	"context"
	"fmt"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
)

// Prover makes proofs from the leaves and full tiles of a log. It remembers
// the roots of full tiles it has read, and the few tiles that every proof needs,
// so one that is kept is faster than one made for each proof. It is safe for
// concurrent use.
type Prover struct{ tree *tree }

// NewProver returns a prover that reads from r.
func NewProver(r Reader) *Prover {
	t := newTree(r)
	t.kept = make(map[keptTile][]byte)
	return &Prover{t}
}

// Inclusion returns the RFC 6962 inclusion proof (section 2.1.1), leaf's
// sibling first, of the leaf at index in the tree of that size. The log may
// have grown beyond size since.
func (p *Prover) Inclusion(ctx context.Context, index, size uint64) ([]Hash, error) {
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("proving inclusion: %w", err)
	}
	return p.hashes(ctx, nodes, size)
}

// Consistency returns the RFC 6962 consistency proof (section 2.1.2) that the
// tree of size to begins with the tree of size from.
func (p *Prover) Consistency(ctx context.Context, from, to uint64) ([]Hash, error) {
	nodes, err := proof.Consistency(from, to)
	if err != nil {
		return nil, fmt.Errorf("proving consistency: %w", err)
	}
	return p.hashes(ctx, nodes, to)
}

func (p *Prover) hashes(ctx context.Context, nodes proof.Nodes, size uint64) ([]Hash, error) {
	stored, err := p.tree.nodes(ctx, nodes.IDs, size)
	if err != nil {
		return nil, fmt.Errorf("proving from tiles: %w", err)
	}
	rehashed, err := nodes.Rehash(stored, hashChildren)
	if err != nil {
		return nil, fmt.Errorf("proving from tiles: %w", err)
	}
	hashes := make([]Hash, len(rehashed))
	for i, h := range rehashed {
		hashes[i] = Hash(h)
	}
	return hashes, nil
}

// TLogProof returns the receipt of the leaf at index under the newest signed
// checkpoint, as c2sp.org/tlog-proof@v1 whose extra line is the leaf. It
// returns ErrUnsigned if no signed checkpoint reaches that far yet. That the log
// has this leaf there is the caller's word; a receipt of another verifies nowhere.
func (p *Prover) TLogProof(ctx context.Context, index uint64, leaf Leaf) ([]byte, error) {
	note, err := p.tree.r.Checkpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("proving leaf: %w", err)
	}
	return p.TLogProofUnder(ctx, index, leaf, note)
}

// TLogProofUnder is TLogProof under a signed checkpoint of the caller's choice,
// such as one that witnesses have cosigned.
func (p *Prover) TLogProofUnder(ctx context.Context, index uint64, leaf Leaf, note []byte) ([]byte, error) {
	c, err := readCheckpoint(note)
	if err != nil {
		return nil, fmt.Errorf("proving leaf: %w", err)
	}
	if index >= c.size {
		return nil, fmt.Errorf("proving leaf %d of %d: %w", index, c.size, ErrUnsigned)
	}
	hashes, err := p.Inclusion(ctx, index, c.size)
	if err != nil {
		return nil, err
	}
	extra := leaf.Bytes()
	return tlogproof.TLogProof{Index: index, Hashes: hashes, Checkpoint: note, ExtraData: extra[:]}.Marshal(), nil
}

// Prove is Prover.Inclusion for a single proof.
func Prove(ctx context.Context, r Reader, index, size uint64) ([]Hash, error) {
	return NewProver(r).Inclusion(ctx, index, size)
}

// TLogProof is Prover.TLogProof for a single proof of a leaf that it reads.
func TLogProof(ctx context.Context, r Reader, index uint64) ([]byte, error) {
	note, err := r.Checkpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("proving leaf: %w", err)
	}
	// What the checkpoint does not cover is unsigned, not missing.
	switch c, err := readCheckpoint(note); {
	case err != nil:
		return nil, fmt.Errorf("proving leaf: %w", err)
	case index >= c.size:
		return nil, fmt.Errorf("proving leaf %d of %d: %w", index, c.size, ErrUnsigned)
	}
	leaves, err := r.ReadLeaves(ctx, index, index+1)
	if err != nil {
		return nil, fmt.Errorf("proving leaf: %w", err)
	}
	if len(leaves) != 1 {
		return nil, fmt.Errorf("proving leaf %d: %w", index, ErrNoEntry)
	}
	return NewProver(r).TLogProofUnder(ctx, index, leaves[0], note)
}

// TreeRoot returns the root of the log as it was at a size.
func TreeRoot(ctx context.Context, r Reader, size uint64) (Hash, error) {
	tree := ranges.NewEmptyRange(0)
	for from := uint64(0); from < size; from += TileWidth {
		leaves, err := r.ReadLeaves(ctx, from, min(from+TileWidth, size))
		if err != nil {
			return Hash{}, fmt.Errorf("reading leaves: %w", err)
		}
		for _, l := range leaves {
			h := l.Hash()
			if err := tree.Append(h[:], nil); err != nil {
				return Hash{}, err
			}
		}
	}
	if tree.End() != size {
		return Hash{}, ErrNoEntry
	}
	if size == 0 {
		return EmptyRoot(), nil
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return Hash{}, err
	}
	return Hash(root), nil
}
