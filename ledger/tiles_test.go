package ledger_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// The path grammar of c2sp.org/tlog-tiles, its own examples among them.
func TestTilePaths(t *testing.T) {
	for path, want := range map[string]struct {
		level int
		n     uint64
		width int
	}{
		"tile/0/000":                  {0, 0, 256},
		"tile/0/x001/x234/067":        {0, 1234067, 256},
		"tile/0/x001/x234/067.p/8":    {0, 1234067, 8},
		"tile/7/000.p/1":              {7, 0, 1},
		"tile/entries/999":            {ledger.EntriesLevel, 999, 256},
		"tile/entries/x001/000.p/255": {ledger.EntriesLevel, 1000, 255},
	} {
		level, n, width, ok := ledger.ParseTilePath(path)
		if !ok || level != want.level || n != want.n || width != want.width {
			t.Errorf("%s is level %d, tile %d, width %d, %v", path, level, n, width, ok)
		}
		if got := ledger.TilePath(want.level, want.n, want.width); got != path {
			t.Errorf("%s is written %s", path, got)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000", "tile/-1/000", "tile/8/000",
		"tile/64/000", "tile/data/000", "tile/8/0/000", "tile/0/x000/000", "tile/0/x00/001", "tile/0/001/002", "tile/0/x001",
		"tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/-1", "tile/0/000.p", "tile/0/000.p/1/2",
		"tile/0/+00", "tile/0/ 00", "tile/7/001", "tile/6/256", "tile/0/x999/x999/x999/x999/x999/x999/999",
		"tile/0/x072/x057/x594/x037/x927/936", "tile/entries/-01", "tile/entries/x001/234/",
	} {
		if level, n, width, ok := ledger.ParseTilePath(path); ok {
			t.Errorf("%q was read as level %d, tile %d, width %d", path, level, n, width)
		}
	}
}

// A path that is read is the one spelling of its tile, so that a cache never
// holds a tile twice.
func FuzzParseTilePath(f *testing.F) {
	f.Add("tile/0/x001/x234/067.p/8")
	f.Add("tile/entries/000")
	f.Fuzz(func(t *testing.T, path string) {
		level, n, width, ok := ledger.ParseTilePath(path)
		if ok && ledger.TilePath(level, n, width) != path {
			t.Errorf("%q was read as level %d, tile %d, width %d", path, level, n, width)
		}
	})
}

// What the server says: types, caching, and 404 for whatever the log has not
// reached, which is the status on which clients fall back to the full tile.
func TestTileHandler(t *testing.T) {
	log, store := newLog(t)
	h := ledger.TileHandler(store)
	get := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	receipts := grow(t, log, 0, 320)

	w := get(http.MethodGet, "/checkpoint")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("checkpoint: %d %v", w.Code, w.Header())
	}
	if size, _, err := log.Verifier.Checkpoint(w.Body.Bytes()); err != nil || size != 320 {
		t.Errorf("checkpoint of size %d, %v", size, err)
	}
	for path, length := range map[string]int{
		"/tile/0/000":             256 * 32,
		"/tile/0/001.p/64":        64 * 32,
		"/tile/0/001.p/1":         32,
		"/tile/0/000.p/255":       255 * 32, // narrower than what is there now
		"/tile/1/000.p/1":         32,
		"/tile/entries/000":       256 * 100,
		"/tile/entries/001.p/64":  64 * 100,
		"/tile/entries/000.p/255": 255 * 100,
	} {
		w := get(http.MethodGet, path)
		if w.Code != 200 || w.Body.Len() != length || w.Header().Get("Content-Type") != "application/octet-stream" ||
			!strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %d bytes, %v", path, w.Code, w.Body.Len(), w.Header())
		}
	}
	for _, path := range []string{
		"/", "/tile/0/001", "/tile/0/001.p/65", "/tile/0/002.p/1", "/tile/1/000", "/tile/1/000.p/2", "/tile/2/000.p/1",
		"/tile/entries/001", "/tile/entries/001.p/65", "/tile/entries/002.p/1", "/tile/0/0", "/tile/data/000", "/tile/0/x999/x999/x999/999",
	} {
		if w := get(http.MethodGet, path); w.Code != 404 || strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := get(http.MethodPost, "/checkpoint"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}

	bundle := get(http.MethodGet, "/tile/entries/001.p/64").Body.Bytes()
	for i := range 64 {
		entry := bundle[i*100 : (i+1)*100]
		want := receipts[256+i].Leaf.Bytes()
		if binary.BigEndian.Uint16(entry) != ledger.LeafSize || !bytes.Equal(entry[2:], want[:]) {
			t.Errorf("entry %d of the bundle is %x", i, entry)
		}
	}
}

// An empty log has a signed checkpoint and not a single tile.
func TestTileHandlerOfEmptyLog(t *testing.T) {
	log, store := newLog(t)
	log.Close() // after it has signed what it found
	s := stranger{ledger.TileHandler(store), log.VKey}
	if tree, err := s.tree(); err != nil || tree.N != 0 || ledger.Hash(tree.Hash) != ledger.EmptyRoot() {
		t.Errorf("checkpoint of an empty log: %v, %v", tree, err)
	}
	if _, err := s.get("tile/0/000.p/1"); err == nil {
		t.Error("an empty log served a tile")
	}
	if report := log.Verify(t); report.Size != 0 || report.Root != ledger.EmptyRoot() {
		t.Errorf("verified as size %d", report.Size)
	}
}

// failing is a store out of order.
type failing struct{ *rows }

func (failing) Checkpoint(context.Context) ([]byte, error) { return nil, errors.New("secret dsn") }
func (failing) ReadLeaves(context.Context, uint64, uint64) ([]ledger.Leaf, error) {
	return nil, errors.New("secret dsn")
}

// A store that fails is an error of ours, not an absence, and its words stay
// inside.
func TestTileHandlerOfFailingStore(t *testing.T) {
	h := ledger.TileHandler(failing{})
	for _, path := range []string{"/checkpoint", "/tile/0/000.p/1", "/tile/entries/000"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
}
