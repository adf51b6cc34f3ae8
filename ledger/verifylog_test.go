package ledger_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/wattveil/wattveil/ledger"
)

// damagedSize is two full tiles and 88 leaves.
const damagedSize = 600

// violation runs VerifyLog over a damaged log and returns what it names.
func violation(t *testing.T, v *ledger.Verifier, src ledger.TileSource, seen ...[]byte) *ledger.Violation {
	t.Helper()
	report, err := ledger.VerifyLog(t.Context(), v, src, ledger.VerifyOptions{Seen: seen})
	var found *ledger.Violation
	if !errors.As(err, &found) {
		t.Errorf("no violation found: %+v, %v", report, err)
		return &ledger.Violation{Index: 1 << 60}
	}
	return found
}

// exportLog writes a log to a directory, as a mirror would hold it.
func exportLog(t *testing.T, r ledger.Reader, size uint64) fstest.MapFS {
	t.Helper()
	dir := fstest.MapFS{}
	src := ledger.ReaderSource(r)
	put := func(path string) {
		b, err := src.Fetch(t.Context(), path)
		if err != nil {
			t.Fatalf("exporting %s: %v", path, err)
		}
		dir[path] = &fstest.MapFile{Data: b}
	}
	put("checkpoint")
	for level, nodes := 0, size; nodes > 0; level, nodes = level+1, nodes/256 {
		for n := uint64(0); n*256 < nodes; n++ {
			width := int(min(256, nodes-n*256))
			put(ledger.TilePath(level, n, width))
			if level == 0 {
				put(ledger.TilePath(ledger.EntriesLevel, n, width))
			}
		}
	}
	return dir
}

// Every way to damage an exported copy is found, and the first bad index named.
func TestVerifyDamagedDirectory(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, damagedSize)
	if report := log.Verify(t); report.Size != damagedSize || report.Origin != origin || report.Classes[ledger.ClassAdmin] != damagedSize {
		t.Errorf("whole log reported as %+v", report)
	}
	const (
		bundle1, bundle2 = "tile/entries/001", "tile/entries/002.p/88"
		tile0, tile1     = "tile/0/000", "tile/0/001"
		tile2, upper     = "tile/0/002.p/88", "tile/1/000.p/2"
	)
	leaf := func(index int) int { return index % 256 * 100 } // offset of a leaf's length in its bundle
	flip := func(path string, at int) func(fstest.MapFS) {
		return func(dir fstest.MapFS) { dir[path].Data[at] ^= 0x10 }
	}
	cut := func(path string, to int) func(fstest.MapFS) {
		return func(dir fstest.MapFS) { dir[path].Data = dir[path].Data[:to] }
	}
	remove := func(path string) func(fstest.MapFS) {
		return func(dir fstest.MapFS) { delete(dir, path) }
	}
	replace := func(old, new string) func(fstest.MapFS) {
		return func(dir fstest.MapFS) {
			dir["checkpoint"].Data = []byte(strings.Replace(string(dir["checkpoint"].Data), old, new, 1))
		}
	}
	for name, c := range map[string]struct {
		damage func(fstest.MapFS)
		index  uint64
		cause  error
	}{
		"bit of a commitment":      {flip(bundle1, leaf(300)+50), 300, nil},
		"bit of a version":         {flip(bundle1, leaf(300)+2), 300, ledger.ErrLeaf},
		"bit of a class":           {flip(bundle1, leaf(300)+3), 300, ledger.ErrLeaf},
		"bit of a length":          {flip(bundle1, leaf(300)+1), 300, ledger.ErrLeaf},
		"bit of the last leaf":     {flip(bundle2, leaf(599)+99), 599, nil},
		"bit of a tile":            {flip(tile1, (300-256)*32), 300, nil},
		"bit of a tile's last":     {flip(tile2, 87*32+31), 599, nil},
		"bit of an upper tile":     {flip(upper, 32), 256, nil},
		"last leaf gone":           {cut(bundle2, leaf(599)), 599, nil},
		"last ten leaves gone":     {cut(bundle2, leaf(590)), 590, nil},
		"half a leaf gone":         {cut(bundle2, leaf(599)+40), 599, nil},
		"half a length gone":       {cut(bundle2, leaf(599)+1), 599, nil},
		"last bundle gone":         {remove(bundle2), 512, nil},
		"a bundle gone":            {remove(bundle1), 256, nil},
		"a tile gone":              {remove(tile1), 256, nil},
		"a tile cut":               {cut(tile0, 200*32+5), 200, nil},
		"an upper tile gone":       {remove(upper), 0, nil},
		"an upper tile cut":        {cut(upper, 32), 256, nil},
		"a leaf too many":          {func(d fstest.MapFS) { d[bundle2].Data = append(d[bundle2].Data, d[bundle2].Data[:100]...) }, 600, nil},
		"a hash too many":          {func(d fstest.MapFS) { d[tile2].Data = append(d[tile2].Data, d[tile2].Data[:32]...) }, 512, nil},
		"a leaf twice, one left":   {func(d fstest.MapFS) { copy(d[bundle1].Data[leaf(400):leaf(401)], d[bundle1].Data[leaf(399):]) }, 400, nil},
		"checkpoint gone":          {remove("checkpoint"), ledger.NoIndex, ledger.ErrNoCheckpoint},
		"checkpoint's size edited": {replace("\n600\n", "\n599\n"), ledger.NoIndex, ledger.ErrCheckpoint},
		"checkpoint's origin":      {replace(origin, "wattveil.example/hut"), ledger.NoIndex, ledger.ErrCheckpoint},
		"two leaves exchanged": {func(d fstest.MapFS) {
			a := d["tile/entries/000"].Data[leaf(10):leaf(11)]
			b := d[bundle1].Data[leaf(400):leaf(401)]
			saved := bytes.Clone(a)
			copy(a, b)
			copy(b, saved)
		}, 10, nil},
		"two bundles exchanged": {func(d fstest.MapFS) {
			d["tile/entries/000"], d[bundle1] = d[bundle1], d["tile/entries/000"]
		}, 0, nil},
	} {
		dir := exportLog(t, store, damagedSize)
		c.damage(dir)
		got := violation(t, log.Verifier, ledger.FSSource(dir))
		if got.Index != c.index || (c.cause != nil && !errors.Is(got, c.cause)) {
			t.Errorf("%s: named index %d (%v), want %d (%v)", name, got.Index, got, c.index, c.cause)
		}
	}

	_, foreign, _ := newSigner(t, origin)
	if got := violation(t, foreign, ledger.FSSource(exportLog(t, store, damagedSize))); !errors.Is(got, ledger.ErrCheckpoint) || got.Index != ledger.NoIndex {
		t.Errorf("another key: %v", got)
	}
}

// A mirror whose log has grown keeps full tiles only: the older checkpoint is
// checked against as much of them as it covers.
func TestVerifyFallsBackToFullTiles(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, 300)
	old, err := store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	grow(t, log, 300, 512)
	dir := exportLog(t, store, 512)
	dir["checkpoint"].Data = old
	dir["tile/1/000.p/1"] = &fstest.MapFile{Data: dir["tile/1/000.p/2"].Data[:32]}
	report, err := ledger.VerifyLog(t.Context(), log.Verifier, ledger.FSSource(dir), ledger.VerifyOptions{})
	if err != nil || report.Size != 300 {
		t.Errorf("verified %d leaves, %v", report.Size, err)
	}
}

// The same in the database itself: rows changed, exchanged, dropped, the
// tables cut short, and a history rewritten with everything recomputed.
func TestVerifyDamagedRows(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, 256)
	seen, err := store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	grow(t, log, 256, damagedSize)
	newest, err := store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func(*rows)
		seen   [][]byte
		index  uint64
		cause  error
	}{
		"one row changed":   {func(r *rows) { r.leaves[123].Tag[0] ^= 1 }, nil, 123, nil},
		"class changed":     {func(r *rows) { r.leaves[123].Class = 99 }, nil, 123, ledger.ErrLeaf},
		"rows exchanged":    {func(r *rows) { r.leaves[50], r.leaves[40] = r.leaves[40], r.leaves[50] }, nil, 40, nil},
		"one row dropped":   {func(r *rows) { r.leaves = slices.Delete(r.leaves, 77, 78) }, nil, 77, nil},
		"tail dropped":      {func(r *rows) { r.leaves = r.leaves[:500] }, nil, 500, nil},
		"partial tail":      {func(r *rows) { r.leaves = r.leaves[:590] }, nil, 590, nil},
		"all dropped":       {func(r *rows) { r.leaves = nil }, nil, 0, nil},
		"stored tile":       {func(r *rows) { r.tiles[tileKey{0, 1}][9*32] ^= 1 }, nil, 256 + 9, nil},
		"stored tile gone":  {func(r *rows) { delete(r.tiles, tileKey{0, 1}) }, nil, 256, nil},
		"checkpoint gone":   {func(r *rows) { r.signed = nil }, nil, ledger.NoIndex, ledger.ErrNoCheckpoint},
		"history rewritten": {func(r *rows) { r.leaves[300].Tag[0] ^= 1; r.retile() }, nil, 0, ledger.ErrFork},
		"history rewritten after what was seen": {
			func(r *rows) { r.leaves[300].Tag[0] ^= 1; r.retile() }, [][]byte{newest, seen}, 256, ledger.ErrFork,
		},
		"history rewritten before what was seen": {
			func(r *rows) { r.leaves[200].Tag[0] ^= 1; r.retile() }, [][]byte{seen}, 0, ledger.ErrFork,
		},
		"older state restored": {
			func(r *rows) { r.leaves, r.signed = r.leaves[:256], seen; r.retile() }, [][]byte{newest}, 256, ledger.ErrRollback,
		},
		"what was seen is forged": {func(*rows) {}, [][]byte{[]byte("x")}, ledger.NoIndex, ledger.ErrCheckpoint},
	} {
		r := rowsOf(t, store)
		c.damage(r)
		got := violation(t, log.Verifier, ledger.ReaderSource(r), c.seen...)
		if got.Index != c.index || (c.cause != nil && !errors.Is(got, c.cause)) {
			t.Errorf("%s: named index %d (%v), want %d (%v)", name, got.Index, got, c.index, c.cause)
		}
	}

	// Without a memory of its own, nobody can tell: this is why Seen, and
	// witnesses, exist.
	r := rowsOf(t, store)
	r.leaves, r.signed = r.leaves[:256], seen
	r.retile()
	if _, err := ledger.VerifyLog(t.Context(), log.Verifier, ledger.ReaderSource(r), ledger.VerifyOptions{}); err != nil {
		t.Errorf("an older state that is whole in itself: %v", err)
	}
}

// Over HTTP the whole log verifies, and progress is told to the end.
func TestVerifyOverHTTP(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, damagedSize)
	server := httptest.NewServer(http.StripPrefix("/logs/one", ledger.TileHandler(store)))
	defer server.Close()
	src, err := ledger.HTTPSource(server.URL+"/logs/one/", server.Client())
	if err != nil {
		t.Fatal(err)
	}
	var told []uint64
	report, err := ledger.VerifyLog(t.Context(), log.Verifier, src, ledger.VerifyOptions{
		Progress: func(done, size uint64) { told = append(told, done, size) },
	})
	if err != nil || report.Size != damagedSize {
		t.Errorf("verified %d leaves, %v", report.Size, err)
	}
	if want := []uint64{256, 600, 512, 600, 600, 600}; !slices.Equal(told, want) {
		t.Errorf("progress %v, want %v", told, want)
	}
}

// A server that is out of order is no violation of the log: nobody is accused
// because a network failed.
func TestVerifyUnreachable(t *testing.T) {
	_, verifier, _ := newSigner(t, origin)
	for name, handler := range map[string]http.HandlerFunc{
		"out of order": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write(make([]byte, 1<<12)); err != nil {
					return
				}
			}
		},
	} {
		server := httptest.NewServer(handler)
		src, err := ledger.HTTPSource(server.URL, server.Client())
		if err != nil {
			t.Fatal(err)
		}
		_, err = ledger.VerifyLog(t.Context(), verifier, src, ledger.VerifyOptions{})
		var v *ledger.Violation
		if err == nil || errors.As(err, &v) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
	for _, prefix := range []string{"", "log.example", "ftp://log.example", "http://"} {
		if _, err := ledger.HTTPSource(prefix, http.DefaultClient); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
}
