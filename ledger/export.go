package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Exporter writes the log to a plain directory, in the layout of
// c2sp.org/tlog-tiles, for mirrors and for servers of static files:
//
//	checkpoint                          the newest signed checkpoint
//	checkpoints/<size>                  every one that was exported
//	tile/<L>/<N>[.p/<W>]                hashes
//	tile/entries/<N>[.p/<W>]            leaves
//
// The directory is a copy, never the source. Whoever reads it at any instant, or
// after a crash at any instant, finds a log that verifies: files come before the
// checkpoint that needs them, each is whole when it appears, and the partial tiles
// of a checkpoint are removed only when a later one has been replaced again.
//
// It never publishes less than it has, nor anything that does not extend it:
// ErrRollback, ErrFork. It is not safe for concurrent use; one process exports to a
// directory.
type Exporter struct {
	r    Reader
	dir  string
	kept []uint64 // sizes whose partial tiles are there, oldest first; nil before the first export
}

// NewExporter returns an exporter of r into dir, which it makes if need be.
func NewExporter(r Reader, dir string) *Exporter { return &Exporter{r: r, dir: dir} }

// Export brings the directory up to the newest checkpoint, and returns its size. A
// log without a checkpoint is ErrNoCheckpoint.
func (e *Exporter) Export(ctx context.Context) (uint64, error) {
	note, err := e.r.Checkpoint(ctx)
	if err != nil {
		return 0, fmt.Errorf("exporting log: %w", err)
	}
	c, err := readCheckpoint(note)
	if err != nil {
		return 0, fmt.Errorf("exporting log: %w", err)
	}
	old, published, err := e.published()
	if err != nil {
		return 0, fmt.Errorf("exporting log: %w", err)
	}
	if bytes.Equal(published, note) && e.kept != nil {
		return c.size, nil
	}
	t := newTree(e.r)
	switch {
	case published == nil:
	case old.origin != c.origin:
		return 0, ErrOrigin
	case c.size < old.size:
		return 0, fmt.Errorf("exporting size %d over %d: %w", c.size, old.size, ErrRollback)
	case c.size == old.size && c.root != old.root:
		return 0, fmt.Errorf("exporting size %d: %w", c.size, ErrFork)
	default:
		if err := t.extends(ctx, old, Head{Size: c.size, Root: c.root}); err != nil {
			return 0, fmt.Errorf("exporting log: %w", err)
		}
	}
	if err := e.tiles(ctx, t, old.size, c.size); err != nil {
		return 0, fmt.Errorf("exporting log: %w", err)
	}
	for _, path := range []string{historyPath(c.size), checkpointPath} {
		if err := e.write(path, note); err != nil {
			return 0, fmt.Errorf("exporting checkpoint: %w", err)
		}
	}
	if err := e.sweep(old.size, c.size); err != nil {
		return 0, fmt.Errorf("removing old tiles: %w", err)
	}
	return c.size, nil
}

// published returns the checkpoint that is in the directory, nil for none.
func (e *Exporter) published() (checkpoint, []byte, error) {
	note, err := os.ReadFile(filepath.Join(e.dir, checkpointPath))
	if errors.Is(err, fs.ErrNotExist) {
		return checkpoint{}, nil, nil
	}
	if err != nil {
		return checkpoint{}, nil, err
	}
	c, err := readCheckpoint(note)
	return c, note, err
}

// tiles writes the tiles and bundles that a log of size to has, and one of size
// from need not have.
func (e *Exporter) tiles(ctx context.Context, t *tree, from, to uint64) error {
	for level := entriesLevel; level <= maxLevel; level++ {
		height := tileHeight * max(level, 0)
		had, has := from>>height, to>>height
		if has == 0 {
			break
		}
		for n := had / TileWidth; n*TileWidth < has; n++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			width := int(min(TileWidth, has-n*TileWidth))
			path := tilePath(level, n, width)
			b, whole, err := t.resource(ctx, path)
			if err == nil && len(b) != whole {
				err = ErrCorrupt
			}
			if err == nil {
				err = e.write(path, b)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// write puts a file in place, whole and durable. One that is there with the same
// content is left alone.
func (e *Exporter) write(path string, b []byte) error {
	name := filepath.Join(e.dir, filepath.FromSlash(path))
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, b) {
		return nil
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // public, to be served
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename it is gone
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes partial tiles that neither size needs, the new one nor the one
// before it, which somebody may still be reading. The first time it looks through
// the whole directory, for what a crash has left.
func (e *Exporter) sweep(before, now uint64) error {
	keep := partials(before)
	for p := range partials(now) {
		keep[p] = true
	}
	if e.kept == nil {
		if err := e.sweepAll(keep); err != nil {
			return err
		}
	}
	for _, size := range e.kept {
		for p := range partials(size) {
			if keep[p] {
				continue
			}
			name := filepath.Join(e.dir, filepath.FromSlash(p))
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			_ = os.Remove(filepath.Dir(name)) // the folder of widths, once it is empty
		}
	}
	e.kept = []uint64{before, now}
	return nil
}

func (e *Exporter) sweepAll(keep map[string]bool) error {
	return filepath.WalkDir(filepath.Join(e.dir, "tile"), func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(e.dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if strings.Contains(rel, ".p/") && !keep[rel] || strings.HasPrefix(filepath.Base(name), ".new-") {
			return os.Remove(name) //nolint:gosec // a folder that only this process writes
		}
		return nil
	})
}

// partials returns the paths of the partial tiles and bundle of a log of that size.
func partials(size uint64) map[string]bool {
	paths := make(map[string]bool)
	for level := entriesLevel; level <= maxLevel; level++ {
		n := size >> (tileHeight * max(level, 0))
		if width := int(n % TileWidth); width > 0 {
			paths[tilePath(level, n/TileWidth, width)] = true
		}
	}
	return paths
}

// historyFolder is where earlier checkpoints are, by size.
const historyFolder = "checkpoints"

// historyPath returns the path of the checkpoint of that size.
func historyPath(size uint64) string { return historyFolder + "/" + strconv.FormatUint(size, 10) }
