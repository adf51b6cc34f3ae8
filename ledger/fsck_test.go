package ledger_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// fsckBinary is Tessera's fsck, which CI builds from .ci/rivals. It is skipped
// loudly where it is not named, and fails where it must not be.
func fsckBinary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WATTVEIL_TEST_FSCK")
	if path == "" {
		if os.Getenv("WATTVEIL_REQUIRE_STRANGERS") != "" {
			t.Fatal("WATTVEIL_TEST_FSCK names no fsck, and WATTVEIL_REQUIRE_STRANGERS demands one")
		}
		t.Skip("WATTVEIL_TEST_FSCK names no fsck of Tessera to check our log with; .ci/run builds one")
	}
	return path
}

// fsck runs it as a gate must: more than one worker, since one hangs for ever on a
// mismatch, under a timeout, and believing nothing but the line that says so, since
// its exit code is 0 for a corrupt log too.
func fsck(t *testing.T, binary, storage, vkey string) (line string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	key := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(vkey), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.CommandContext(ctx, binary, "--N=4", "--ui=false", "--storage_url="+storage+"/", "--public_key="+key).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "Successfully fsck'd log with size ") {
			return strings.TrimSpace(line), true
		}
	}
	return string(out), false
}

// A stranger's checker reads every leaf and every tile of our log and finds it whole:
// served by a hub and exported to a directory, at sizes around every edge of a tile.
// It also finds a bit that was turned, which shows that it can say no. x/mod's tlog
// proves and checks records and trees over the same files.
func TestFsck(t *testing.T) {
	binary := fsckBinary(t)
	sizes := []int{1, 255, 256, 257}
	if !testing.Short() {
		sizes = append(sizes, 65_535, 65_536, 65_537, 256_257)
	}
	store := ledgertest.NewMemory(origin)
	signer, vkeys := twoKeys(t)
	vkey, _, _ := strings.Cut(vkeys, "\n") // it knows no ML-DSA-44 key, and ignores the line
	seq := start(t, store, signer, ledger.Options{})
	srv := httptest.NewServer(ledger.TileHandler(store))
	defer srv.Close()
	dir := t.TempDir()
	exporter := ledger.NewExporter(store, dir)

	// A log without a leaf has a checkpoint and nothing to check: fsck says so.
	if _, err := seq.Propose(t.Context(), "nothing", func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{}, context.Canceled
	}); err == nil {
		t.Fatal("a proposal that fails was recorded")
	}
	if line, ok := fsck(t, binary, srv.URL, vkey); !ok || !strings.Contains(line, "size 0 and root") {
		t.Errorf("size 0: %s", line)
	}
	at := 0
	for _, size := range sizes {
		for at < size {
			n := min(512, size-at)
			batch := make([]ledger.Proposal[*memTx], n)
			for i := range batch {
				batch[i] = remark(fmt.Sprint(at + i))
			}
			for _, o := range seq.ProposeAll(t.Context(), batch) {
				if o.Err != nil {
					t.Fatal(o.Err)
				}
			}
			at += n
		}
		if _, err := exporter.Export(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("Successfully fsck'd log with size %d and root ", size)
		for where, storage := range map[string]string{"served": srv.URL, "exported": "file://" + dir} {
			if line, ok := fsck(t, binary, storage, vkey); !ok || !strings.Contains(line, want) {
				t.Errorf("%s, size %d: %s", where, size, line)
			}
		}
		checkTlog(t, store, int64(size))
	}
	tile := filepath.Join(dir, "tile", "0", "000")
	b, err := os.ReadFile(tile)
	if err != nil {
		t.Fatal(err)
	}
	b[77] ^= 1
	if err := os.WriteFile(tile, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if line, ok := fsck(t, binary, "file://"+dir, vkey); ok {
		t.Errorf("a turned bit: %s", line)
	}
}

// sourceTiles is our files as x/mod reads tiles.
type sourceTiles struct {
	t   *testing.T
	src ledger.TileSource
}

func (sourceTiles) Height() int                     { return 8 }
func (sourceTiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (s sourceTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		b, err := s.src.Fetch(s.t.Context(), "tile/"+strings.TrimPrefix(tile.Path(), "tile/8/"))
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

// checkTlog proves and checks with x/mod's code over our files alone.
func checkTlog(t *testing.T, store *ledgertest.Memory, size int64) {
	t.Helper()
	note, err := store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, root, err := ledger.ReadCheckpoint(note)
	if err != nil || int64(n) != size {
		t.Fatalf("checkpoint of size %d, %v", n, err)
	}
	src := ledger.ReaderSource(store)
	tree := tlog.Tree{N: size, Hash: tlog.Hash(root)}
	reader := tlog.TileHashReader(tree, sourceTiles{t, src})
	if h, err := tlog.TreeHash(size, reader); err != nil || h != tree.Hash {
		t.Errorf("size %d: tree hash %v, %v", size, h, err)
	}
	for _, index := range []int64{0, size / 3, size - 1} {
		proof, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			t.Errorf("size %d: proving record %d: %v", size, index, err)
			continue
		}
		leaves, err := store.ReadLeaves(t.Context(), uint64(index), uint64(index)+1)
		if err != nil || len(leaves) != 1 {
			t.Fatal(err)
		}
		b := leaves[0].Bytes()
		if err := tlog.CheckRecord(proof, size, tree.Hash, index, tlog.RecordHash(b[:])); err != nil {
			t.Errorf("size %d: record %d: %v", size, index, err)
		}
		ours, err := ledger.Prove(t.Context(), store, uint64(index), uint64(size))
		if err != nil || len(ours) != len(proof) {
			t.Errorf("size %d: our proof of record %d has %d hashes, theirs %d, %v", size, index, len(ours), len(proof), err)
			continue
		}
		for i := range proof {
			if !bytes.Equal(ours[i][:], proof[i][:]) {
				t.Errorf("size %d: our proof of record %d differs at %d", size, index, i)
			}
		}
	}
	if size < 2 {
		return
	}
	old := size - size/2
	reads, err := ledger.TreeRoot(t.Context(), store, uint64(old))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := tlog.ProveTree(size, old, reader)
	if err != nil {
		t.Errorf("proving tree %d of %d: %v", old, size, err)
	} else if err := tlog.CheckTree(proof, size, tree.Hash, old, tlog.Hash(reads)); err != nil {
		t.Errorf("tree %d of %d: %v", old, size, err)
	}
}
