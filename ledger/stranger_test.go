package ledger_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// stranger checks a log with golang.org/x/mod/sumdb alone, over HTTP: nothing
// of ours but the public key.
type stranger struct {
	handler http.Handler
	vkey    string
}

func (s stranger) get(path string) ([]byte, error) {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+path, nil))
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", path, w.Code)
	}
	return w.Body.Bytes(), nil
}

// tree reads the signed checkpoint.
func (s stranger) tree() (tlog.Tree, error) {
	b, err := s.get("checkpoint")
	if err != nil {
		return tlog.Tree{}, err
	}
	v, err := note.NewVerifier(s.vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	n, err := note.Open(b, note.VerifierList(v))
	if err != nil {
		return tlog.Tree{}, err
	}
	var from, root string
	var tree tlog.Tree
	if _, err := fmt.Sscanf(n.Text, "%s\n%d\n%s\n", &from, &tree.N, &root); err != nil {
		return tlog.Tree{}, err
	}
	h, err := base64.StdEncoding.DecodeString(root)
	copy(tree.Hash[:], h)
	return tree, err
}

// Height, ReadTiles and SaveTiles make the stranger a tlog.TileReader. The
// path of c2sp.org/tlog-tiles is tlog's without the height.
func (s stranger) Height() int { return 8 }

func (s stranger) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if data[i], err = s.get(strings.Replace(tile.Path(), "tile/8/", "tile/", 1)); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (s stranger) SaveTiles([]tlog.Tile, [][]byte) {}

// leaves reads the entry bundles of a log of that size.
func (s stranger) leaves(size int64) ([][]byte, error) {
	var leaves [][]byte
	for n := int64(0); n*256 < size; n++ {
		tile := tlog.Tile{H: 8, L: -1, N: n, W: int(min(256, size-n*256))}
		b, err := s.get(strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1))
		if err != nil {
			return nil, err
		}
		for len(b) >= 2 {
			end := 2 + int(binary.BigEndian.Uint16(b))
			leaves = append(leaves, b[2:end])
			b = b[end:]
		}
	}
	if int64(len(leaves)) != size {
		return nil, fmt.Errorf("%d leaves in bundles, want %d", len(leaves), size)
	}
	return leaves, nil
}

// check verifies everything at the present size: the tiles lead to the signed
// root, the given leaves are in them, and our proofs, of inclusion and of
// consistency with an older tree, convince tlog.
func (s stranger) check(t *testing.T, r ledger.Reader, size int64, older tlog.Tree, indices ...int64) tlog.Tree {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
	}
	tree, err := s.tree()
	fail(err)
	if tree.N != size {
		t.Fatalf("checkpoint of size %d, want %d", tree.N, size)
	}
	reader := tlog.TileHashReader(tree, s)
	root, err := tlog.TreeHash(size, reader)
	fail(err)
	if root != tree.Hash {
		t.Fatalf("size %d: tiles lead to another root", size)
	}
	leaves, err := s.leaves(size)
	fail(err)
	prover := ledger.NewProver(r)
	for _, i := range indices {
		h := tlog.RecordHash(leaves[i])
		theirs, err := tlog.ProveRecord(size, i, reader)
		fail(err)
		fail(tlog.CheckRecord(theirs, size, tree.Hash, i, h))
		ours, err := prover.Inclusion(context.Background(), uint64(i), uint64(size))
		fail(err)
		fail(tlog.CheckRecord(hashes(ours), size, tree.Hash, i, h))
	}
	if older.N > 0 {
		ours, err := prover.Consistency(context.Background(), uint64(older.N), uint64(size))
		fail(err)
		fail(tlog.CheckTree(hashes(ours), size, tree.Hash, older.N, older.Hash))
	}
	return tree
}

func hashes(in []ledger.Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(in))
	for i, h := range in {
		out[i] = tlog.Hash(h)
	}
	return out
}

// At every size from 1 to 700, so across the first full tiles and the first
// tile of level 1, a stranger's library agrees with us about every tile, proof
// and signature. It would catch an error anywhere in our Merkle arithmetic.
func TestStrangerAtEverySize(t *testing.T) {
	log, store := newLog(t)
	s := stranger{ledger.TileHandler(store), log.VKey}
	history := []tlog.Tree{{}}
	for size := 1; size <= 700; size++ {
		grow(t, log, size-1, size)
		last := int64(size - 1)
		older := history[(size*7)%len(history)]
		history = append(history, s.check(t, store, int64(size), older, 0, last, last/2, last*3/4))
	}
}

// Around 65,536 leaves level 1 fills and level 2 begins; the edge is read anew
// there, as after a restart.
func TestStrangerAroundSecondLevel(t *testing.T) {
	if testing.Short() {
		t.Skip("65,537 leaves; not with -short")
	}
	log, store := newLog(t)
	s := stranger{ledger.TileHandler(store), log.VKey}
	var older tlog.Tree
	at := 0
	for _, size := range []int{300, 65_535, 65_536, 65_537} {
		grow(t, log, at, size)
		at = size
		older = s.check(t, store, int64(size), older, 0, 256, 299, int64(size/2), int64(size-1))
		log.Close()
		log = restart(t, store)
	}
	log.Verify(t)
}
