package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// tree reads the hashes of a log from its leaves and full tiles. It remembers
// the roots of full tiles, which never change (32 bytes for 256 leaves), since
// an unfilled tile above the lowest level is made of nothing else. It is safe
// for concurrent use.
type tree struct {
	r Reader

	mu    sync.RWMutex
	roots map[tileID]Hash
	kept  map[keptTile][]byte // what every proof needs; nil if nothing is kept
}

// keptTile is the beginning of a tile, which never changes either.
type keptTile struct {
	tileID
	width int
}

// maxKept tiles take at most 512 KiB. They are all above the lowest level, or at
// the right edge: few, and a new edge with every checkpoint.
const maxKept = 64

type tileID struct {
	level int
	n     uint64
}

func newTree(r Reader) *tree { return &tree{r: r, roots: make(map[tileID]Hash)} }

// tile returns the first width hashes of a tile. It returns fewer where the
// log or its stored tiles end, and ErrNoTile for a full tile that is not stored.
func (t *tree) tile(ctx context.Context, level int, n uint64, width int) ([]byte, error) {
	if width == TileWidth {
		return t.full(ctx, level, n)
	}
	first := n * TileWidth
	if level == 0 {
		leaves, err := t.r.ReadLeaves(ctx, first, first+uint64(width))
		if err != nil {
			return nil, fmt.Errorf("reading leaves: %w", err)
		}
		b := make([]byte, 0, width*hashSize)
		for _, l := range leaves {
			h := l.Hash()
			b = append(b, h[:]...)
		}
		return b, nil
	}
	b := make([]byte, 0, width*hashSize)
	for i := range uint64(width) {
		root, err := t.root(ctx, level-1, first+i)
		if errors.Is(err, ErrNoTile) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		b = append(b, root[:]...)
	}
	return b, nil
}

func (t *tree) full(ctx context.Context, level int, n uint64) ([]byte, error) {
	b, err := t.r.ReadTile(ctx, level, n)
	if err != nil {
		return nil, fmt.Errorf("reading tile %d/%d: %w", level, n, err)
	}
	if len(b) != TileWidth*hashSize {
		return nil, fmt.Errorf("reading tile %d/%d: %w: %d bytes", level, n, ErrCorrupt, len(b))
	}
	return b, nil
}

// root returns the root of a full tile.
func (t *tree) root(ctx context.Context, level int, n uint64) (Hash, error) {
	id := tileID{level, n}
	t.mu.RLock()
	root, ok := t.roots[id]
	t.mu.RUnlock()
	if ok {
		return root, nil
	}
	b, err := t.full(ctx, level, n)
	if err != nil {
		return Hash{}, err
	}
	root = foldHashes(b)
	t.mu.Lock()
	t.roots[id] = root
	t.mu.Unlock()
	return root, nil
}

// nodes returns the hashes of nodes of the tree of that size, reading each
// tile once. It returns ErrNoEntry if the log is shorter.
func (t *tree) nodes(ctx context.Context, ids []compact.NodeID, size uint64) ([][]byte, error) {
	read := make(map[tileID][]byte)
	hashes := make([][]byte, 0, len(ids))
	for _, id := range ids {
		level, height := int(id.Level/tileHeight), id.Level%tileHeight
		first, count := id.Index<<height, 1<<height // in hashes of the tile's level
		at := tileID{level, first / TileWidth}
		tile, ok := read[at]
		if !ok {
			width := min(TileWidth, size>>(tileHeight*level)-at.n*TileWidth)
			var err error
			if tile, err = t.keep(ctx, at, int(width)); err != nil {
				return nil, err
			}
			read[at] = tile
		}
		from := int(first%TileWidth) * hashSize
		until := from + count*hashSize
		if until > len(tile) {
			return nil, ErrNoEntry
		}
		hash := foldHashes(tile[from:until])
		hashes = append(hashes, hash[:])
	}
	return hashes, nil
}

// keep is tile, from memory if that is where it is.
func (t *tree) keep(ctx context.Context, at tileID, width int) ([]byte, error) {
	if t.kept == nil || at.level == 0 && width == TileWidth {
		return t.tile(ctx, at.level, at.n, width)
	}
	id := keptTile{at, width}
	t.mu.RLock()
	b, ok := t.kept[id]
	t.mu.RUnlock()
	if ok {
		return b, nil
	}
	b, err := t.tile(ctx, at.level, at.n, width)
	if err != nil || len(b) < width*hashSize {
		return b, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) >= maxKept {
		clear(t.kept)
	}
	t.kept[id] = b
	return b, nil
}

// foldHashes returns the root of the perfect tree over 1, 2, 4 … or 256 hashes. A
// proof folds two tiles, so this is hashChildren without its allocations.
func foldHashes(b []byte) Hash {
	if len(b) == hashSize {
		return Hash(b)
	}
	left, right := foldHashes(b[:len(b)/2]), foldHashes(b[len(b)/2:])
	node := [1 + 2*hashSize]byte{rfc6962.RFC6962NodeHashPrefix}
	copy(node[1:], left[:])
	copy(node[1+hashSize:], right[:])
	return sha256.Sum256(node[:])
}
