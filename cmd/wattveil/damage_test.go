package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// darkLog is a ledger of 700 records in a real store, exported and served, which
// each test damages in its own way.
type darkLog struct {
	*testing.T
	url   string // of the store
	dir   string // exported
	vkeys string // file
	seen  string // checkpoint of 500 records, kept by a stranger
	store *store.Store
}

const damagedOrigin = "wattveil.example/damaged"

// ledgerSigner signs with keys of the seed.
func ledgerSigner(t *testing.T, seed byte) (*ledger.NoteSigner, string) {
	t.Helper()
	signer, ed, err := ledger.NewSigner(damagedOrigin, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	pq, err := signer.AddMLDSA(bytes.Repeat([]byte{seed + 1}, 32), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return signer, ed + "\n" + pq + "\n"
}

func newDarkLog(t *testing.T) *darkLog {
	t.Helper()
	d := &darkLog{T: t, url: "sqlite:" + filepath.Join(t.TempDir(), "hub.db"), dir: filepath.Join(t.TempDir(), "public")}
	var err error
	if d.store, err = store.Open(t.Context(), d.url, store.Options{Migrate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.store.Close() })
	if err := d.store.CreateLedger(t.Context(), damagedOrigin); err != nil {
		t.Fatal(err)
	}
	d.grow("history", 500)
	d.seen = d.keep("seen.checkpoint")
	d.grow("history", 700)
	_, keys := ledgerSigner(t, 1)
	d.vkeys = filepath.Join(t.TempDir(), "hub.vkey")
	d.write(d.vkeys, keys)
	d.export()
	return d
}

func (d *darkLog) write(path, text string) {
	d.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

// grow adds records until there are so many.
func (d *darkLog) grow(history string, size int) {
	d.Helper()
	signer, _ := ledgerSigner(d.T, 1)
	s := ledger.NewSequencer(ledger.Store[*store.Tx](d.store), signer, ledger.Options{Now: time.Now, Rand: rand.Reader})
	defer s.Close()
	leaves, err := d.store.ReadLeaves(d.Context(), 0, 1<<20)
	if err != nil {
		d.Fatal(err)
	}
	var batch []ledger.Proposal[*store.Tx]
	for i := len(leaves); i < size; i++ {
		batch = append(batch, ledger.Proposal[*store.Tx]{RequestID: fmt.Sprint(history, i), Func: func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
			return ledger.Payload{Kind: ledger.KindAdmin, Detail: history}, nil
		}})
	}
	for _, o := range s.ProposeAll(d.Context(), batch) {
		if o.Err != nil {
			d.Fatal(o.Err)
		}
	}
}

// keep saves the newest checkpoint into a file.
func (d *darkLog) keep(name string) string {
	d.Helper()
	note, err := d.store.Checkpoint(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	path := filepath.Join(d.TempDir(), name)
	d.write(path, string(note))
	return path
}

func (d *darkLog) export() {
	d.Helper()
	if code, _, stderr := wattveil(d.T, "export", "--store", d.url, "--dir", d.dir); code != 0 {
		d.Fatalf("exporting: %s", stderr)
	}
}

// path returns the exported file.
func (d *darkLog) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

func (d *darkLog) edit(name string, change func([]byte) []byte) {
	d.Helper()
	b, err := os.ReadFile(d.path(name))
	if err != nil {
		d.Fatal(err)
	}
	d.write(d.path(name), string(change(b)))
}

// no runs a verification that must fail, and returns what it says as JSON.
func (d *darkLog) no(args ...string) verdict {
	d.Helper()
	code, stdout, stderr := wattveil(d.T, append([]string{"verify", "--json"}, args...)...)
	var v verdict
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 1 || v.OK || v.What == "" {
		d.Errorf("verify %s: exit code %d, %q %s", strings.Join(args, " "), code, stdout, stderr)
	}
	return v
}

func (d *darkLog) yes(args ...string) {
	d.Helper()
	if code, stdout, stderr := wattveil(d.T, append([]string{"verify"}, args...)...); code != 0 || !strings.Contains(stdout, "verified") {
		d.Errorf("verify %s: exit code %d, %s%s", strings.Join(args, " "), code, stdout, stderr)
	}
}

const none = 1 << 40 // no index

// Every way to damage what is public is found by `verify log`, with the record it
// is at: in the exported files, and in the tables that a hub serves from.
func TestDamagedLog(t *testing.T) {
	swap := func(b []byte, i, j, n int) []byte {
		x, y := bytes.Clone(b[i*n:(i+1)*n]), b[j*n:(j+1)*n]
		copy(b[i*n:], y)
		copy(b[j*n:], x)
		return b
	}
	const leaf = 2 + ledger.LeafSize
	for name, c := range map[string]struct {
		file  string
		edit  func([]byte) []byte // nil: removed
		table string              // statement instead of a file
		index uint64
	}{
		"entry changed":            {"tile/entries/001", func(b []byte) []byte { b[7*leaf+40] ^= 1; return b }, "", 256 + 7},
		"entries swapped":          {"tile/entries/001", func(b []byte) []byte { return swap(b, 3, 9, leaf) }, "", 256 + 3},
		"entry dropped":            {"tile/entries/000", func(b []byte) []byte { return append(b[:5*leaf:5*leaf], b[6*leaf:]...) }, "", 5},
		"entry repeated":           {"tile/entries/000", func(b []byte) []byte { return append(b[:6*leaf:6*leaf], b[5*leaf:255*leaf]...) }, "", 6},
		"bundle cut off":           {"tile/entries/002.p/188", func(b []byte) []byte { return b[:10*leaf+5] }, "", 512 + 10},
		"bundle missing":           {"tile/entries/001", nil, "", 256},
		"partial bundle missing":   {"tile/entries/002.p/188", nil, "", 512},
		"tile bit":                 {"tile/0/001", func(b []byte) []byte { b[33*32] ^= 1; return b }, "", 256 + 33},
		"tile above":               {"tile/1/000.p/2", func(b []byte) []byte { b[32] ^= 1; return b }, "", 256},
		"tile missing":             {"tile/0/000", nil, "", 0},
		"partial tile missing":     {"tile/0/002.p/188", nil, "", 512},
		"partial tile too long":    {"tile/0/002.p/188", func(b []byte) []byte { return append(b, b[:32]...) }, "", 512},
		"checkpoint's size":        {"checkpoint", func(b []byte) []byte { return bytes.Replace(b, []byte("\n700\n"), []byte("\n699\n"), 1) }, "", none},
		"checkpoint's signature":   {"checkpoint", func(b []byte) []byte { b[len(b)-9] ^= 3; return b }, "", none},
		"checkpoint of another":    {"checkpoint", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("damaged"), []byte("another")) }, "", none},
		"checkpoint missing":       {"checkpoint", nil, "", none},
		"row changed":              {"", nil, `UPDATE tlog_leaves SET leaf = (SELECT leaf FROM tlog_leaves WHERE idx = 6) WHERE idx = 300`, 300},
		"row dropped":              {"", nil, `DELETE FROM tlog_leaves WHERE idx = 300`, 300},
		"last row dropped":         {"", nil, `DELETE FROM tlog_leaves WHERE idx = 699`, 699},
		"last rows dropped":        {"", nil, `DELETE FROM tlog_leaves WHERE idx >= 600`, 600},
		"rows renumbered":          {"", nil, `UPDATE tlog_leaves SET idx = -idx WHERE idx >= 400; UPDATE tlog_leaves SET idx = -idx + 1 WHERE idx < 0`, 400},
		"stored tile changed":      {"", nil, `UPDATE tlog_tiles SET data = (SELECT data FROM tlog_tiles WHERE n = 0) WHERE level = 0 AND n = 1`, 256},
		"stored tile dropped":      {"", nil, `DELETE FROM tlog_tiles WHERE level = 0 AND n = 1`, 0},
		"stored checkpoint edited": {"", nil, `UPDATE tlog_checkpoints SET note = CAST(replace(CAST(note AS text), 'damaged', 'another') AS blob) WHERE size = 700`, none},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDarkLog(t)
			at := []string{"log", "--key", d.vkeys, "--dir", d.dir}
			if c.table != "" {
				storetest.OpenTamper(t, d.url).Exec(t, c.table)
				srv := httptest.NewServer(ledger.TileHandler(d.store))
				defer srv.Close()
				at = []string{"log", "--key", d.vkeys, "--url", srv.URL}
			} else {
				d.yes(at...)
				if c.edit != nil {
					d.edit(c.file, c.edit)
				} else if err := os.Remove(d.path(c.file)); err != nil {
					t.Fatal(err)
				}
			}
			switch v := d.no(at...); {
			case c.index == none && v.Index != nil:
				t.Errorf("record %d: %s; want none", *v.Index, v.What)
			case c.index != none && (v.Index == nil || *v.Index != c.index):
				t.Errorf("%+v, want record %d", v, c.index)
			}
		})
	}
}

// What contradicts nothing in itself, an old copy or another history under the same
// key, is found by who remembers: a checkpoint kept, the history, another reader's
// checkpoint; and it is never exported over the truth.
func TestRolledBackAndForked(t *testing.T) {
	d := newDarkLog(t)
	newest := d.keep("newest.checkpoint")
	for name, c := range map[string]struct {
		history string
		size    int
		seen    uint64 // where verify log --seen newest finds it
	}{
		"set back":        {"history", 600, 600},
		"forked":          {"other", 700, 0},
		"forked and grew": {"other", 900, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var other *darkLog
			if c.history == "history" {
				other = &darkLog{T: t, url: d.url, store: d.store, vkeys: d.vkeys, dir: filepath.Join(t.TempDir(), "public")}
				d.exportAt(other.dir, c.size)
			} else {
				fork := &darkLog{T: t, url: "sqlite:" + filepath.Join(t.TempDir(), "fork.db"), dir: filepath.Join(t.TempDir(), "public"), vkeys: d.vkeys}
				var err error
				if fork.store, err = store.Open(t.Context(), fork.url, store.Options{Migrate: true}); err != nil {
					t.Fatal(err)
				}
				defer fork.store.Close()
				if err := fork.store.CreateLedger(t.Context(), damagedOrigin); err != nil {
					t.Fatal(err)
				}
				fork.grow(c.history, c.size)
				fork.export()
				other = fork
			}
			other.yes("log", "--key", d.vkeys, "--dir", other.dir) // by itself it is a log
			if v := other.no("log", "--key", d.vkeys, "--dir", other.dir, "--seen", newest); v.Index == nil || *v.Index != c.seen {
				t.Errorf("%+v, want record %d", v, c.seen)
			}
			theirs := filepath.Join(other.dir, "checkpoint")
			if c.size < 700 {
				other.no("consistency", "--key", d.vkeys, "--old", newest, "--new", theirs, "--dir", other.dir)
				other.yes("consistency", "--key", d.vkeys, "--old", theirs, "--new", newest, "--dir", d.dir)
			} else {
				other.no("consistency", "--key", d.vkeys, "--old", newest, "--new", theirs, "--dir", other.dir)
				other.no("equivocation", "--key", d.vkeys, newest, theirs, "--dir", d.dir)
			}
			if c.size == 700 {
				if v := other.no("equivocation", "--key", d.vkeys, newest, theirs); v.Index == nil || *v.Index != 700 || !strings.Contains(v.What, "different roots") {
					t.Errorf("equivocation: %+v", v)
				}
			}
		})
	}
	d.yes("log", "--key", d.vkeys, "--dir", d.dir, "--seen", d.seen, "--history")
	d.yes("consistency", "--key", d.vkeys, "--old", d.seen, "--new", newest, "--dir", d.dir)
	d.yes("equivocation", "--key", d.vkeys, d.seen, newest, "--dir", d.dir)
}

// exportAt exports the log as it was at a size: what a restored backup looks like
// from outside.
func (d *darkLog) exportAt(dir string, size int) {
	d.Helper()
	if _, err := ledger.NewExporter(older{d.store, d.noteAt(size)}, dir).Export(d.Context()); err != nil {
		d.Fatal(err)
	}
}

// noteAt signs the log as it was at that size, as its hub did then.
func (d *darkLog) noteAt(size int) []byte {
	d.Helper()
	hash, err := ledger.TreeRoot(d.Context(), d.store, uint64(size))
	if err != nil {
		d.Fatal(err)
	}
	signer, _ := ledgerSigner(d.T, 1)
	note, err := signer.Sign(d.Context(), ledger.Head{Origin: damagedOrigin, Size: uint64(size), Root: hash})
	if err != nil {
		d.Fatal(err)
	}
	return note
}

// older is a log under an earlier checkpoint.
type older struct {
	ledger.Reader
	note []byte
}

func (o older) Checkpoint(context.Context) ([]byte, error) { return o.note, nil }

// A copy that was saved while it was verified verifies by itself, and the history
// that is served holds.
func TestVerifySaves(t *testing.T) {
	d := newDarkLog(t)
	srv := httptest.NewServer(ledger.TileHandler(d.store))
	defer srv.Close()
	mirror := filepath.Join(t.TempDir(), "mirror")
	d.yes("log", "--key", d.vkeys, "--url", srv.URL, "--history", "--save", mirror)
	d.yes("log", "--key", d.vkeys, "--dir", mirror)
	d.grow("history", 800)
	d.yes("log", "--key", d.vkeys, "--url", srv.URL, "--seen", filepath.Join(mirror, "checkpoint"), "--save", mirror)
	if _, err := os.Stat(filepath.Join(mirror, "tile", "entries", "003.p", "32")); errors.Is(err, fs.ErrNotExist) {
		t.Error("the mirror did not grow")
	}
}
