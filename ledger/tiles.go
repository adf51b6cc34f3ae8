package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// The paths of c2sp.org/tlog-tiles. They are those of tlog.Tile without its
// height, and with "entries" for its "data".
const (
	checkpointPath = "checkpoint"
	entriesLevel   = -1
	maxLevel       = 7 // of tiles a uint64 can count the leaves of
)

// tilePath returns tile/<L>/<N>[.p/<W>], or tile/entries/<N>[.p/<W>] for
// level entriesLevel.
func tilePath(level int, n uint64, width int) string {
	path := tlog.Tile{H: tileHeight, L: level, N: int64(n), W: width}.Path()
	path = strings.TrimPrefix(path, "tile/8/")
	if rest, ok := strings.CutPrefix(path, "data/"); ok {
		path = "entries/" + rest
	}
	return "tile/" + path
}

// parseTilePath reads what tilePath writes, and nothing else.
func parseTilePath(path string) (level int, n uint64, width int, ok bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return 0, 0, 0, false
	}
	if after, entries := strings.CutPrefix(rest, "entries/"); entries {
		rest = "data/" + after
	}
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	if err != nil || t.H != tileHeight || t.L > maxLevel {
		return 0, 0, 0, false
	}
	// Beyond the last tile of a log of 2^64 leaves there is none, and the
	// arithmetic on its position would wrap round to another's.
	if t.N < 0 || uint64(t.N) >= 1<<(64-tileHeight*(max(t.L, 0)+1)) {
		return 0, 0, 0, false
	}
	if tilePath(t.L, uint64(t.N), t.W) != path {
		return 0, 0, 0, false
	}
	return t.L, uint64(t.N), t.W, true
}

// bundle returns the entry bundle of up to width leaves: each as a big-endian
// uint16 length and the leaf. It holds fewer where the log ends.
func (t *tree) bundle(ctx context.Context, n uint64, width int) ([]byte, error) {
	first := n * TileWidth
	leaves, err := t.r.ReadLeaves(ctx, first, first+uint64(width))
	if err != nil {
		return nil, fmt.Errorf("reading leaves: %w", err)
	}
	b := make([]byte, 0, len(leaves)*(2+LeafSize))
	for _, l := range leaves {
		leaf := l.Bytes()
		b = binary.BigEndian.AppendUint16(b, LeafSize)
		b = append(b, leaf[:]...)
	}
	return b, nil
}

// resource renders the tile or bundle at path, shorter where the log ends, and
// says how long it would be if it were whole.
func (t *tree) resource(ctx context.Context, path string) (b []byte, whole int, err error) {
	level, n, width, ok := parseTilePath(path)
	switch {
	case !ok:
		return nil, 0, ErrNoTile
	case level == entriesLevel:
		b, err = t.bundle(ctx, n, width)
		return b, width * (2 + LeafSize), err
	default:
		b, err = t.tile(ctx, level, n, width)
		return b, width * hashSize, err
	}
}

// TileHandler serves the log as c2sp.org/tlog-tiles:
//
//	GET /checkpoint                     the newest signed checkpoint
//	GET /checkpoints/<size>             an earlier one
//	GET /checkpoints?after=<size>       sizes of the earlier ones, one a line, at most 1000
//	GET /tile/<L>/<N>[.p/<W>]           hashes
//	GET /tile/entries/<N>[.p/<W>]       leaves
//
// Partial tiles of every width the log has reached are rendered from leaves
// and full tiles. What does not exist, a partial tile wider than the log
// included, is 404, on which clients fall back to the full tile. Tiles never
// change and may be cached for ever; the checkpoint may not be cached. Leaves
// are served uncompressed, since digests do not compress. An error of the
// store is 500 without a word about it. The handler is safe for concurrent
// use and reads no private column.
func TileHandler(r Reader) http.Handler {
	t := newTree(r)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /checkpoint", func(w http.ResponseWriter, req *http.Request) {
		b, err := r.Checkpoint(req.Context())
		w.Header().Set("Cache-Control", "no-cache")
		serve(w, "text/plain; charset=utf-8", b, err)
	})
	mux.HandleFunc("GET /checkpoints/{size}", func(w http.ResponseWriter, req *http.Request) {
		size, ok := parseSize(req.PathValue("size"))
		var b []byte
		err := ErrNoCheckpoint
		if ok {
			b, err = r.CheckpointAt(req.Context(), size)
		}
		w.Header().Set("Cache-Control", "no-cache") // cosignatures may be added
		serve(w, "text/plain; charset=utf-8", b, err)
	})
	mux.HandleFunc("GET /checkpoints", func(w http.ResponseWriter, req *http.Request) {
		b, err := history(req.Context(), r, req.URL.Query().Get("after"))
		w.Header().Set("Cache-Control", "no-cache")
		serve(w, "text/plain; charset=utf-8", b, err)
	})
	mux.HandleFunc("GET /tile/", func(w http.ResponseWriter, req *http.Request) {
		b, whole, err := t.resource(req.Context(), strings.TrimPrefix(req.URL.Path, "/"))
		if err == nil && len(b) != whole {
			err = ErrNoTile
		}
		if err == nil {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		serve(w, "application/octet-stream", b, err)
	})
	return mux
}

// parseSize reads a number as this package writes it.
func parseSize(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

// sizesPerAnswer bounds a part of the history.
const sizesPerAnswer = 1000

// history lists the sizes of the checkpoints after one, given as text; empty means
// from the first on.
func history(ctx context.Context, r Reader, after string) ([]byte, error) {
	from, ok := parseSize(after)
	if !ok && after != "" {
		return nil, ErrNoCheckpoint
	}
	notes, err := r.Checkpoints(ctx, from, sizesPerAnswer)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, note := range notes {
		c, err := readCheckpoint(note)
		if err != nil {
			return nil, err
		}
		b = strconv.AppendUint(b, c.size, 10)
		b = append(b, '\n')
	}
	return b, nil
}

func serve(w http.ResponseWriter, contentType string, b []byte, err error) {
	switch {
	case errors.Is(err, ErrNoTile), errors.Is(err, ErrNoCheckpoint):
		http.Error(w, "not found", http.StatusNotFound)
	case err != nil:
		http.Error(w, "log unavailable", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		// A reader that has gone away is no error of ours.
		_, _ = w.Write(b) //nolint:gosec // digests and a signed note, of types that no browser renders
	}
}
