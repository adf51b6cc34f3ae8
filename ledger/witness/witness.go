// Package witness is a witness of transparency logs, after c2sp.org/tlog-witness:
// it remembers the newest checkpoint of each log that it has cosigned, and
// cosigns only what extends it.
//
// Its promise: of the checkpoints of one log that carry its cosignature each begins
// with the one before. What it has cosigned is on disk before the answer leaves, so
// that neither a crash nor a restart makes it cosign two histories. It holds for as
// long as its directory does: a witness whose directory was lost or set back must
// be given a new name and new keys.
package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/wattveil/wattveil/ledger"
)

// Witness cosigns the checkpoints of some logs. It is safe for concurrent use.
type Witness struct {
	dir  string
	keys []ledger.WitnessKey
	logs map[string]*log // by origin
}

// log is one log that is witnessed. Requests about one follow one another.
type log struct {
	verifier *ledger.Verifier

	mu   sync.Mutex
	size uint64
	root ledger.Hash
}

// New returns a witness of the logs with those public keys (one or more lines
// each, as ledger.NewVerifier takes them) that keeps what it has cosigned in dir,
// which must exist. A file there that cannot be read is an error: a witness never
// begins anew by accident.
func New(dir string, keys []ledger.WitnessKey, logs []string) (*Witness, error) {
	w := &Witness{dir: dir, keys: keys, logs: make(map[string]*log)}
	for _, vkeys := range logs {
		v, err := ledger.NewVerifier(vkeys)
		if err != nil {
			return nil, err
		}
		if w.logs[v.Origin()] != nil {
			return nil, fmt.Errorf("witness: two logs of origin %s", v.Origin())
		}
		l := &log{verifier: v}
		signed, err := os.ReadFile(w.path(v.Origin()))
		if err == nil {
			l.size, l.root, err = v.Checkpoint(signed)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("witness: reading what was cosigned: %w", err)
		}
		w.logs[v.Origin()] = l
	}
	return w, nil
}

// Replace makes the witness check a log that it knows, by its origin, with those public
// keys from now on: the log has changed its keys, or will. What was cosigned stands.
func (w *Witness) Replace(vkeys string) error {
	v, err := ledger.NewVerifier(vkeys)
	if err != nil {
		return err
	}
	l := w.logs[v.Origin()]
	if l == nil {
		return fmt.Errorf("witness: no log of origin %s is watched", v.Origin())
	}
	return l.verifier.Replace(vkeys)
}

// path is the file of a log's newest cosigned checkpoint, under the hash of its
// origin, which is not always a file name.
func (w *Witness) path(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return filepath.Join(w.dir, hex.EncodeToString(sum[:])+".checkpoint")
}

// Handler serves POST /add-checkpoint.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	return mux
}

func (w *Witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, ledger.MaxAddCheckpoint))
	if err != nil {
		http.Error(rw, "request too long or cut off", http.StatusBadRequest)
		return
	}
	req, err := ledger.ParseAddCheckpoint(body)
	if err != nil {
		http.Error(rw, "request not in the form of c2sp.org/tlog-witness", http.StatusBadRequest)
		return
	}
	origin, err := ledger.CheckpointOrigin(req.Checkpoint)
	if err != nil {
		http.Error(rw, "not a checkpoint", http.StatusBadRequest)
		return
	}
	l := w.logs[origin]
	if l == nil {
		http.Error(rw, "log not known here", http.StatusNotFound)
		return
	}
	size, root, err := l.verifier.Checkpoint(req.Checkpoint)
	switch {
	case err != nil:
		http.Error(rw, "not signed with the log's keys", http.StatusForbidden)
		return
	case req.Old > size:
		http.Error(rw, "old size is larger than the checkpoint's", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case req.Old != l.size, size == l.size && root != l.root && size > 0:
		rw.Header().Set("Content-Type", ledger.SizeContentType)
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", l.size)
		return
	case l.size > 0 && ledger.VerifyConsistency(l.size, l.root, size, root, req.Proof) != nil, l.size == 0 && len(req.Proof) > 0:
		http.Error(rw, "the consistency proof does not hold", http.StatusUnprocessableEntity)
		return
	}
	lines, err := ledger.Cosign(req.Checkpoint, w.keys)
	if err == nil {
		err = w.remember(origin, req.Checkpoint)
	}
	if err != nil {
		http.Error(rw, "witness cannot keep what it would cosign", http.StatusInternalServerError)
		return
	}
	l.size, l.root = size, root
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = rw.Write(lines)
}

// remember makes the checkpoint durable before anybody hears that it is cosigned.
func (w *Witness) remember(origin string, signed []byte) error {
	f, err := os.CreateTemp(w.dir, "new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename it is gone
	_, err = f.Write(signed)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), w.path(origin)); err != nil {
		return err
	}
	d, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
