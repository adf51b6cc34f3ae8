package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ErrCorrupt: the stored head is not the head of the stored leaves and tiles.
// Somebody changed rows past the sequencer; nothing may be recorded or served
// until a person has decided what is true.
var ErrCorrupt = errors.New("ledger: head does not match the stored leaves")

const (
	tileHeight = 8 // levels of the tree in one tile
	hashSize   = len(Hash{})

	// maxCatchUp is how many leaves an edge is carried forward by reading
	// them; beyond it, reading the tiles anew is cheaper.
	maxCatchUp = 1024
)

var ranges = compact.RangeFactory{Hash: hashChildren}

// edge is the right edge of the tree at one (epoch, size): all that is needed
// to append. Only the goroutine that sequences touches it.
type edge struct {
	epoch    uint64
	frontier *compact.Range // covers [0, size)
	partial  [][]byte       // per level, the hashes of the tile that is still filling
	full     []Tile         // tiles filled since the edge was at rest
}

func (e *edge) size() uint64 { return e.frontier.End() }

// append adds one leaf.
func (e *edge) append(leaf Hash) error {
	return e.frontier.Append(leaf[:], func(id compact.NodeID, hash []byte) {
		if id.Level%tileHeight != 0 {
			return
		}
		level := int(id.Level / tileHeight)
		if level == len(e.partial) {
			e.partial = append(e.partial, nil)
		}
		e.partial[level] = append(e.partial[level], hash...)
		if len(e.partial[level]) == TileWidth*hashSize {
			e.full = append(e.full, Tile{Level: level, N: id.Index / TileWidth, Data: e.partial[level]})
			e.partial[level] = nil
		}
	})
}

func (e *edge) root() Hash {
	root, err := e.frontier.GetRootHash(nil)
	if err != nil || root == nil { // it begins at 0, so there is no error
		return EmptyRoot()
	}
	return Hash(root)
}

// head returns from as it stands once the leaves added to e are committed.
func (e *edge) head(from Head) Head {
	to := Head{Origin: from.Origin, Epoch: from.Epoch, Size: e.size(), Root: e.root()}
	for _, h := range e.frontier.Hashes() {
		to.Frontier = append(to.Frontier, Hash(h))
	}
	return to
}

func (e *edge) clone() (*edge, error) {
	frontier, err := ranges.NewRange(0, e.size(), slices.Clone(e.frontier.Hashes()))
	if err != nil {
		return nil, err
	}
	c := &edge{epoch: e.epoch, frontier: frontier}
	for _, p := range e.partial {
		c.partial = append(c.partial, slices.Clone(p))
	}
	return c, nil
}

// at returns a copy of e at head, read forward if another process has appended
// meanwhile, or read anew if e is nil or of another epoch; then head must extend
// what was signed. A transaction works on the copy, so that e stands if it
// fails. A head that continues another history than e or signed is ErrFork.
func (e *edge) at(ctx context.Context, t *tree, signed checkpoint, head Head) (*edge, error) {
	if e == nil || e.epoch != head.Epoch || e.size() > head.Size || head.Size-e.size() > maxCatchUp {
		c, err := readEdge(ctx, t, head)
		if err == nil {
			err = t.extends(ctx, signed, head)
		}
		return c, err
	}
	c, err := e.clone()
	if err != nil {
		return nil, err
	}
	if c.size() < head.Size {
		leaves, err := t.r.ReadLeaves(ctx, c.size(), head.Size)
		if err != nil {
			return nil, fmt.Errorf("reading leaves: %w", err)
		}
		for _, l := range leaves {
			if err := c.append(l.Hash()); err != nil {
				return nil, err
			}
		}
		c.full = nil
	}
	if c.size() != head.Size || c.root() != head.Root {
		if _, err := readEdge(ctx, newTree(t.r), head); err == nil {
			return nil, fmt.Errorf("head of size %d: %w", head.Size, ErrFork)
		}
		return nil, ErrCorrupt
	}
	return c, nil
}

// extends checks that the tree of head begins with the one that was signed.
func (t *tree) extends(ctx context.Context, signed checkpoint, head Head) error {
	if signed.size == 0 {
		return nil
	}
	hashes, err := (&Prover{t}).Consistency(ctx, signed.size, head.Size)
	if errors.Is(err, ErrNoTile) || errors.Is(err, ErrNoEntry) {
		return ErrCorrupt
	}
	if err != nil {
		return err
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, signed.size, head.Size, byteSlices(hashes), signed.root[:], head.Root[:]); err != nil {
		return fmt.Errorf("from size %d to %d: %w", signed.size, head.Size, ErrFork)
	}
	return nil
}

// readEdge reads the unfilled tiles at head from the store, and checks that
// they and the head's frontier say the same.
func readEdge(ctx context.Context, t *tree, head Head) (*edge, error) {
	e := &edge{epoch: head.Epoch}
	var frontier [][]byte
	for level, nodes := 0, head.Size; nodes > 0; level, nodes = level+1, nodes/TileWidth {
		width := int(nodes % TileWidth)
		first := nodes - uint64(width)
		var data []byte
		if width > 0 {
			var err error
			if data, err = t.tile(ctx, level, first/TileWidth, width); err != nil {
				return nil, fmt.Errorf("reading the right edge: %w", err)
			}
		}
		if len(data) != width*hashSize {
			return nil, ErrCorrupt
		}
		e.partial = append(e.partial, data)
		r := ranges.NewEmptyRange(first)
		for hash := range slices.Chunk(data, hashSize) {
			if err := r.Append(hash, nil); err != nil {
				return nil, err
			}
		}
		frontier = append(slices.Clone(r.Hashes()), frontier...)
	}
	var err error
	if e.frontier, err = ranges.NewRange(0, head.Size, frontier); err != nil {
		return nil, err
	}
	if e.root() != head.Root || !slices.Equal(e.head(head).Frontier, head.Frontier) {
		return nil, ErrCorrupt
	}
	return e, nil
}
