package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

// TileSource is where VerifyLog reads a log from. Fetch returns the resource
// at a path of c2sp.org/tlog-tiles, such as "checkpoint", "tile/0/x001/234.p/56"
// or "tile/entries/000". It returns ErrNoTile, or ErrNoCheckpoint, for what is
// not there; every other error means that nothing could be learnt.
type TileSource interface {
	Fetch(ctx context.Context, path string) ([]byte, error)
}

// maxResource bounds what is read for one resource, in bytes. The largest that
// a log of ours has is an entry bundle, of 25,600.
const maxResource = 1 << 17

func absent(path string) error {
	if path == checkpointPath || strings.HasPrefix(path, historyFolder+"/") {
		return ErrNoCheckpoint
	}
	return ErrNoTile
}

// FSSource reads a log from a directory, such as an exported copy.
func FSSource(fsys fs.FS) TileSource { return fsSource{fsys} }

type fsSource struct{ fsys fs.FS }

func (s fsSource) Fetch(_ context.Context, path string) ([]byte, error) {
	f, err := s.fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading log directory: %w", err)
	}
	defer f.Close()
	return readResource(path, f)
}

// HTTPSource reads a log from its URL prefix. The client brings the time
// limits and the trust in certificates; nothing in the log needs either.
func HTTPSource(prefix string, client *http.Client) (TileSource, error) {
	u, err := url.Parse(prefix)
	if err != nil {
		return nil, fmt.Errorf("reading log URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("reading log URL: neither http nor https")
	}
	return httpSource{u, client}, nil
}

type httpSource struct {
	prefix *url.URL
	client *http.Client
}

func (s httpSource) Fetch(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.prefix.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", path, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", path, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return readResource(path, resp.Body)
	case http.StatusNotFound:
		return nil, absent(path)
	}
	return nil, fmt.Errorf("fetching %s: HTTP status %d", path, resp.StatusCode)
}

func readResource(path string, r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxResource+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) > maxResource {
		return nil, fmt.Errorf("reading %s: more than %d bytes", path, maxResource)
	}
	return b, nil
}

// ReaderSource reads a log from the store itself. Where a leaf is missing, it
// returns what there is before it, so that VerifyLog can name the leaf.
func ReaderSource(r Reader) TileSource { return readerSource{newTree(r)} }

type readerSource struct{ tree *tree }

func (s readerSource) Fetch(ctx context.Context, path string) ([]byte, error) {
	if path == checkpointPath {
		return s.tree.r.Checkpoint(ctx)
	}
	b, _, err := s.tree.resource(ctx, path)
	return b, err
}

// SourceReader returns a reader of what a source serves, for a Prover: what is proved
// from it must be checked against signed checkpoints. It reads tiles and leaves
// alone; its other methods find nothing.
func SourceReader(src TileSource) Reader { return sourceReader{src} }

type sourceReader struct{ src TileSource }

func (s sourceReader) Checkpoint(ctx context.Context) ([]byte, error) {
	return s.src.Fetch(ctx, checkpointPath)
}

func (s sourceReader) CheckpointAt(ctx context.Context, size uint64) ([]byte, error) {
	return s.src.Fetch(ctx, historyPath(size))
}

func (sourceReader) Checkpoints(context.Context, uint64, int) ([][]byte, error) { return nil, nil }

func (s sourceReader) ReadTile(ctx context.Context, level int, n uint64) ([]byte, error) {
	return s.src.Fetch(ctx, tilePath(level, n, TileWidth))
}

// ReadLeaves reads within one bundle, which is all that trees ask for.
func (s sourceReader) ReadLeaves(ctx context.Context, from, until uint64) ([]Leaf, error) {
	w := walk{src: s.src}
	n := from / TileWidth
	b, _, err := w.fetch(ctx, entriesLevel, n, int(min(TileWidth, until-n*TileWidth)))
	if errors.Is(err, ErrNoTile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var leaves []Leaf
	for index := n * TileWidth; index < until && len(b) >= 2+LeafSize; index++ {
		leaf, err := ParseLeaf(b[2 : 2+LeafSize])
		if err != nil {
			return leaves, nil //nolint:nilerr // VerifyLog names it
		}
		if index >= from {
			leaves = append(leaves, leaf)
		}
		b = b[2+LeafSize:]
	}
	return leaves, nil
}

func (sourceReader) ReadEntry(context.Context, uint64) (Entry, error) { return Entry{}, ErrErased }
