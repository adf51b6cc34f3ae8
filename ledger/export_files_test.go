package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// The directory is a whole log at every size, and what was copied before the last
// export but one still is; tiles that nothing needs any more are gone.
func TestExport(t *testing.T) {
	log, store := newLog(t)
	dir := t.TempDir()
	e := ledger.NewExporter(store, dir)
	at := 0
	var before []byte
	for _, size := range []int{1, 2, 255, 256, 257, 300, 511, 512, 700} {
		grow(t, log, at, size)
		at = size
		for range 2 { // the second time there is nothing to do
			if got, err := e.Export(t.Context()); err != nil || got != uint64(size) {
				t.Fatalf("size %d: exported %d, %v", size, got, err)
			}
		}
		src := ledger.FSSource(os.DirFS(dir))
		if r, err := ledger.VerifyLog(t.Context(), log.Verifier, src, ledger.VerifyOptions{}); err != nil || r.Size != uint64(size) {
			t.Fatalf("size %d: verified %d, %v", size, r.Size, err)
		}
		if before != nil { // who had fetched the checkpoint before still finds its tiles
			if _, err := ledger.VerifyLog(t.Context(), log.Verifier, frozen{src, before}, ledger.VerifyOptions{}); err != nil {
				t.Errorf("size %d: the log before: %v", size, err)
			}
		}
		var err error
		if before, err = src.Fetch(t.Context(), "checkpoint"); err != nil {
			t.Fatal(err)
		}
		if size%300 == 0 {
			e = ledger.NewExporter(store, dir) // another process
		}
	}
	if n := count(t, dir, ".p/"); n > 8 {
		t.Errorf("%d partial tiles are left", n)
	}
	if n := count(t, dir, "checkpoints/"); n < 9 {
		t.Errorf("%d checkpoints in the history", n)
	}
}

// frozen is a source under an earlier checkpoint.
type frozen struct {
	ledger.TileSource
	note []byte
}

func (f frozen) Fetch(ctx context.Context, path string) ([]byte, error) {
	if path == "checkpoint" {
		return f.note, nil
	}
	return f.TileSource.Fetch(ctx, path)
}

func count(t *testing.T, dir, part string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(filepath.ToSlash(path), part) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A crash between any two files leaves an older or the newer log, whole.
func TestExportCrash(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, 300)
	dir := t.TempDir()
	if _, err := ledger.NewExporter(store, dir).Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	grow(t, log, 300, 1000)
	for reads := range 40 {
		broken := &ledgertestReader{Memory: store, left: reads}
		_, _ = ledger.NewExporter(broken, dir).Export(t.Context())
		if _, err := ledger.VerifyLog(t.Context(), log.Verifier, ledger.FSSource(os.DirFS(dir)), ledger.VerifyOptions{}); err != nil {
			t.Fatalf("after %d reads: %v", reads, err)
		}
	}
	if n, err := ledger.NewExporter(store, dir).Export(t.Context()); err != nil || n != 1000 {
		t.Errorf("exported %d, %v", n, err)
	}
}

// ledgertestReader fails after some reads.
type ledgertestReader struct {
	*ledgertest.Memory
	left int
}

func (r *ledgertestReader) ReadTile(ctx context.Context, level int, n uint64) ([]byte, error) {
	if r.left--; r.left < 0 {
		return nil, ledgertest.ErrFault
	}
	return r.Memory.ReadTile(ctx, level, n)
}

func (r *ledgertestReader) ReadLeaves(ctx context.Context, from, until uint64) ([]ledger.Leaf, error) {
	if r.left--; r.left < 0 {
		return nil, ledgertest.ErrFault
	}
	return r.Memory.ReadLeaves(ctx, from, until)
}

// What is smaller than the directory, or another history, is never written over it.
func TestExportRefuses(t *testing.T) {
	log, store := newLog(t)
	dir := t.TempDir()
	grow(t, log, 0, 300)
	if _, err := ledger.NewExporter(store, dir).Export(t.Context()); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]error{299: ledger.ErrRollback, 300: ledger.ErrFork, 400: ledger.ErrFork} {
		other := ledgertest.NewMemory(origin)
		s := start(t, other, signerOf(t), ledger.Options{})
		for i := range size {
			if _, err := s.Propose(t.Context(), fmt.Sprint("o-", i), remark("o").Func); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ledger.NewExporter(other, dir).Export(t.Context()); !errors.Is(err, want) {
			t.Errorf("size %d: %v, want %v", size, err, want)
		}
	}
	foreign := ledgertest.NewMemory("wattveil.example/other")
	signer, _, _ := newSigner(t, "wattveil.example/other")
	s := start(t, foreign, signer, ledger.Options{})
	if _, err := s.Propose(t.Context(), "x", remark("x").Func); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.NewExporter(foreign, dir).Export(t.Context()); !errors.Is(err, ledger.ErrOrigin) {
		t.Errorf("another log: %v", err)
	}
}

// The history is served by size, and listed from any size on.
func TestHistoryIsServed(t *testing.T) {
	log, store := newLog(t)
	for i := range 3 {
		grow(t, log, i*10, i*10+10)
	}
	srv := httptest.NewServer(ledger.TileHandler(store))
	defer srv.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(srv.URL + path) //nolint:noctx // a test server
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	code, list := get("/checkpoints")
	sizes := strings.Fields(list)
	if code != 200 || len(sizes) == 0 || sizes[len(sizes)-1] != "30" {
		t.Fatalf("history: %d %q", code, list)
	}
	for _, size := range sizes {
		code, note := get("/checkpoints/" + size)
		if n, _, err := log.Verifier.Checkpoint([]byte(note)); code != 200 || err != nil || fmt.Sprint(n) != size {
			t.Errorf("checkpoint %s: %d, size %d, %v", size, code, n, err)
		}
	}
	if _, rest := get("/checkpoints?after=" + sizes[0]); rest != strings.TrimPrefix(list, sizes[0]+"\n") {
		t.Errorf("after %s: %q", sizes[0], rest)
	}
	for _, path := range []string{"/checkpoints/31", "/checkpoints/030", "/checkpoints/x", "/checkpoints?after=x"} {
		if code, _ := get(path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// A consistency proof made from served files joins two checkpoints of one log.
func TestProofsFromASource(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, 600)
	p := ledger.NewProver(ledger.SourceReader(ledger.ReaderSource(store)))
	for _, from := range []uint64{1, 255, 256, 300, 599} {
		hashes, err := p.Consistency(t.Context(), from, 600)
		if err != nil {
			t.Fatal(err)
		}
		want, err := ledger.NewProver(store).Consistency(t.Context(), from, 600)
		if err != nil || fmt.Sprint(hashes) != fmt.Sprint(want) {
			t.Errorf("from %d: another proof, %v", from, err)
		}
	}
}
