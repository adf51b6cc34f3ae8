package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/transparency-dev/merkle/compact"
)

// NoIndex is the Index of a Violation that concerns no leaf, such as a
// checkpoint that does not verify.
const NoIndex = math.MaxUint64

// Violation is what VerifyLog found wrong first.
type Violation struct { //nolint:errname // a finding, which is also how VerifyLog fails
	// Index of the first leaf that is wrong, missing or under a wrong hash.
	// Where leaves and hashes agree with each other and only a signed root
	// contradicts them, it is the size up to which the log is known to be
	// right: the history was rewritten there or later.
	Index uint64
	What  string
	Err   error // ErrCheckpoint, ErrRollback, ErrFork, ErrLeaf; or nil
}

// Error says what is wrong, and where.
func (v *Violation) Error() string {
	s := "ledger: log violated"
	if v.Index != NoIndex {
		s = fmt.Sprintf("%s at index %d", s, v.Index)
	}
	s += ": " + v.What
	if v.Err != nil {
		s += ": " + v.Err.Error()
	}
	return s
}

// Unwrap returns v.Err.
func (v *Violation) Unwrap() error { return v.Err }

// VerifyOptions are what VerifyLog may use. The zero value is useful.
type VerifyOptions struct {
	// Seen are signed checkpoints kept from earlier: the log must still begin
	// with every one of them. A log that was rolled back or rewritten by
	// someone who holds its key shows in nothing else.
	Seen [][]byte

	// Progress, if not nil, is called with the number of leaves checked so
	// far, after every bundle.
	Progress func(done, size uint64)

	// Leaf, if not nil, is called with every leaf, in order, once it has been
	// checked against its tile. What it was given holds only if VerifyLog
	// succeeds in the end.
	Leaf func(index uint64, leaf Leaf)
}

// Report is what VerifyLog has established.
type Report struct {
	Origin     string
	Size       uint64
	Root       Hash
	Checkpoint []byte           // the one the log was checked against
	Classes    map[Class]uint64 // number of leaves by class
}

// VerifyLog reads a whole log and checks every leaf against every tile, and
// the tree over them against the newest signed checkpoint, trusting nothing
// but the log's public key. A failure is a *Violation that names the first bad
// index; any other error means that the log could not be read. It holds a few
// tiles in memory, whatever the size of the log.
func VerifyLog(ctx context.Context, v *Verifier, src TileSource, opt VerifyOptions) (Report, error) {
	signed, err := src.Fetch(ctx, checkpointPath)
	if errors.Is(err, ErrNoCheckpoint) {
		return Report{}, &Violation{Index: NoIndex, What: "no checkpoint", Err: err}
	}
	if err != nil {
		return Report{}, fmt.Errorf("reading log: %w", err)
	}
	size, root, err := v.Checkpoint(signed)
	if err != nil {
		return Report{}, &Violation{Index: NoIndex, What: "checkpoint", Err: err}
	}
	marks, err := milestones(v, opt.Seen, checkpoint{v.origin, size, root})
	if err != nil {
		return Report{}, err
	}
	w := walk{
		src: src, size: size, marks: marks, classes: make(map[Class]uint64),
		tree: ranges.NewEmptyRange(0), visit: opt.Leaf,
	}
	if err := w.passMilestones(); err != nil {
		return Report{}, err
	}
	for n := uint64(0); n*TileWidth < size; n++ {
		if err := w.bundle(ctx, n); err != nil {
			return Report{}, err
		}
		if opt.Progress != nil {
			opt.Progress(w.tree.End(), size)
		}
	}
	return Report{Origin: v.origin, Size: size, Root: root, Checkpoint: signed, Classes: w.classes}, nil
}

// milestones returns the roots that the log must pass through, by size, the
// newest checkpoint last.
func milestones(v *Verifier, seen [][]byte, newest checkpoint) ([]checkpoint, error) {
	var marks []checkpoint
	for _, s := range seen {
		size, root, err := v.Checkpoint(s)
		if err != nil {
			return nil, &Violation{Index: NoIndex, What: "checkpoint seen before", Err: err}
		}
		if size > newest.size {
			what := fmt.Sprintf("a checkpoint of size %d has been seen before", size)
			return nil, &Violation{Index: newest.size, What: what, Err: ErrRollback}
		}
		marks = append(marks, checkpoint{newest.origin, size, root})
	}
	slices.SortFunc(marks, func(a, b checkpoint) int { return cmp.Compare(a.size, b.size) })
	return append(marks, newest), nil
}

// walk is a log being read from its first leaf to its last.
type walk struct {
	src     TileSource
	size    uint64
	marks   []checkpoint // not yet passed, ascending
	passed  uint64       // size of the last one passed
	tree    *compact.Range
	classes map[Class]uint64
	visit   func(uint64, Leaf) // or nil
	levels  []tileCursor
}

// tileCursor is the tile of one level that the walk is in.
type tileCursor struct {
	n      uint64
	data   []byte
	loaded bool
}

func (w *walk) bundle(ctx context.Context, n uint64) error {
	first := n * TileWidth
	width := int(min(TileWidth, w.size-first))
	b, cut, err := w.fetch(ctx, entriesLevel, n, width)
	if errors.Is(err, ErrNoTile) {
		there, err := w.reaches(ctx, n, width)
		if err != nil {
			return err
		}
		return &Violation{Index: first + uint64(there), What: tilePath(entriesLevel, n, width) + " is missing"}
	}
	if err != nil {
		return err
	}
	for index := first; index < first+uint64(width); index++ {
		if len(b) == 0 {
			return &Violation{Index: index, What: "leaf is missing"}
		}
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return &Violation{Index: index, What: "leaf is cut off"}
		}
		end := 2 + int(binary.BigEndian.Uint16(b))
		if err := w.leaf(ctx, index, b[2:end]); err != nil {
			return err
		}
		b = b[end:]
	}
	if len(b) > 0 && !cut {
		return &Violation{Index: first + uint64(width), What: tilePath(entriesLevel, n, width) + " holds more than the log"}
	}
	return nil
}

// reaches returns how many leaves of a bundle that is missing are there all the
// same: a log that renders its files from rows serves every bundle up to the first
// row that is gone.
func (w *walk) reaches(ctx context.Context, n uint64, width int) (int, error) {
	there, missing := 0, width
	for missing-there > 1 {
		middle := (there + missing) / 2
		_, err := w.src.Fetch(ctx, tilePath(entriesLevel, n, middle))
		switch {
		case errors.Is(err, ErrNoTile):
			missing = middle
		case err != nil:
			return 0, fmt.Errorf("reading log: %w", err)
		default:
			there = middle
		}
	}
	return there, nil
}

func (w *walk) leaf(ctx context.Context, index uint64, b []byte) error {
	leaf, err := ParseLeaf(b)
	if err != nil {
		return &Violation{Index: index, What: "leaf", Err: err}
	}
	w.classes[leaf.Class]++

	// Appending a leaf completes the nodes above it from the lowest up, so
	// the first that differs from its tile is the one whose subtree is wrong.
	var failed error
	h := leaf.Hash()
	err = w.tree.Append(h[:], func(id compact.NodeID, hash []byte) {
		if failed == nil && id.Level%tileHeight == 0 {
			failed = w.node(ctx, int(id.Level/tileHeight), id.Index, hash)
		}
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("verifying log: %w", err)
	}
	if w.visit != nil {
		w.visit(index, leaf)
	}
	return w.passMilestones()
}

// node checks one hash that the leaves lead to against its tile.
func (w *walk) node(ctx context.Context, level int, index uint64, hash []byte) error {
	if level == len(w.levels) {
		w.levels = append(w.levels, tileCursor{})
	}
	firstLeaf := index << (tileHeight * level)
	c := &w.levels[level]
	n := index / TileWidth
	width := int(min(TileWidth, w.size>>(tileHeight*level)-n*TileWidth))
	if !c.loaded || c.n != n {
		b, cut, err := w.fetch(ctx, level, n, width)
		if errors.Is(err, ErrNoTile) {
			return &Violation{Index: firstLeaf, What: tilePath(level, n, width) + " is missing"}
		}
		if err != nil {
			return err
		}
		if len(b) > width*hashSize && !cut {
			return &Violation{Index: firstLeaf, What: tilePath(level, n, width) + " is too long"}
		}
		*c = tileCursor{n, b, true}
	}
	at := int(index%TileWidth) * hashSize
	switch {
	case len(c.data) < at+hashSize:
		return &Violation{Index: firstLeaf, What: tilePath(level, n, width) + " is cut off"}
	case !bytes.Equal(c.data[at:at+hashSize], hash):
		what := "leaf does not hash to its entry in "
		if level > 0 {
			what = fmt.Sprintf("leaves up to %d do not hash to their entry in ", firstLeaf+1<<(tileHeight*level)-1)
		}
		return &Violation{Index: firstLeaf, What: what + tilePath(level, n, width)}
	}
	return nil
}

// passMilestones compares the tree so far with every signed root for its size.
func (w *walk) passMilestones() error {
	for len(w.marks) > 0 && w.marks[0].size == w.tree.End() {
		root := EmptyRoot()
		if w.tree.End() > 0 {
			b, err := w.tree.GetRootHash(nil)
			if err != nil {
				return fmt.Errorf("verifying log: %w", err)
			}
			root = Hash(b)
		}
		if root != w.marks[0].root {
			what := fmt.Sprintf("leaves and tiles do not lead to the root signed for size %d", w.marks[0].size)
			return &Violation{Index: w.passed, What: what, Err: ErrFork}
		}
		w.passed = w.marks[0].size
		w.marks = w.marks[1:]
	}
	return nil
}

// fetch returns a tile or bundle. Where a partial one is gone because the log
// has grown, it returns the full one, and that it must be cut.
func (w *walk) fetch(ctx context.Context, level int, n uint64, width int) (b []byte, cut bool, err error) {
	b, err = w.src.Fetch(ctx, tilePath(level, n, width))
	if errors.Is(err, ErrNoTile) && width < TileWidth {
		b, err = w.src.Fetch(ctx, tilePath(level, n, TileWidth))
		cut = true
	}
	if err != nil && !errors.Is(err, ErrNoTile) {
		err = fmt.Errorf("reading log: %w", err)
	}
	return b, cut, err
}
