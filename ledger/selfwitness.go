package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// SelfWitness remembers, outside the store, the largest head that was signed. A
// store that is set back to an older copy of itself contradicts nothing in it;
// it contradicts this. It is safe for concurrent use.
type SelfWitness interface {
	// Recall returns what was last remembered, size 0 if nothing was.
	Recall() (size uint64, root Hash, err error)
	// Remember is durable at return. It returns ErrRollback for a smaller size
	// than before and ErrFork for another root of the same size.
	Remember(size uint64, root Hash) error
}

// WitnessFile is a SelfWitness in a file. It holds two slots that are written in
// turn, each synced before Remember returns, so that a crash while one is written
// leaves the other. A slot is
//
//	"wattveil-witness-v1\n" | SHA-256 of the origin | size(8, big-endian) | root(32) | SHA-256 of all before
//
// Each process that sequences has a file of its own, on another disk than the
// store if it can be, and never in the store's backups: restoring both together
// restores the mistake.
type WitnessFile struct {
	origin Hash

	mu   sync.Mutex
	file *os.File
	slot int // the one to write next
	size uint64
	root Hash
}

// ErrWitnessFile: the file is not the memory of this log, or both of its slots
// are damaged.
var ErrWitnessFile = errors.New("ledger: witness file not readable as this log's")

const (
	witnessMagic = "wattveil-witness-v1\n"
	// slotStride keeps the slots in different sectors, which disks write whole.
	slotStride = 4096
	slotSize   = len(witnessMagic) + 2*len(Hash{}) + 8 + sha256.Size
)

// OpenWitnessFile opens the memory of the log named origin, and makes the file,
// durably, if it does not exist: then nothing is remembered, which whoever calls
// should say aloud where the log is not new (Recall tells).
func OpenWitnessFile(path, origin string) (*WitnessFile, error) {
	w := &WitnessFile{origin: sha256.Sum256([]byte(origin))}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = w.make(path); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR, 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening witness file: %w", err)
	}
	w.file = f
	if err := w.read(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// make makes the file with both slots in place, so that one is whole at any time
// and writing the other never changes the file's length.
func (w *WitnessFile) make(path string) error {
	b := make([]byte, slotStride+slotSize)
	copy(b, w.format(0, Hash{}))
	copy(b[slotStride:], w.format(0, Hash{}))
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-") // of mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename it is gone
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (w *WitnessFile) read() error {
	b := make([]byte, slotStride+slotSize)
	if _, err := w.file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading witness file: %w", err)
	}
	good := false
	for slot := range 2 {
		size, root, ok := w.parse(b[slot*slotStride : slot*slotStride+slotSize])
		if ok && (!good || size > w.size) {
			w.size, w.root, w.slot = size, root, 1-slot
		}
		good = good || ok
	}
	if !good {
		return ErrWitnessFile
	}
	return nil
}

func (w *WitnessFile) format(size uint64, root Hash) []byte {
	b := append([]byte(witnessMagic), w.origin[:]...)
	b = binary.BigEndian.AppendUint64(b, size)
	b = append(b, root[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func (w *WitnessFile) parse(b []byte) (size uint64, root Hash, ok bool) {
	at := len(witnessMagic) + len(w.origin)
	size, root = binary.BigEndian.Uint64(b[at:]), Hash(b[at+8:at+8+len(root)])
	return size, root, string(w.format(size, root)) == string(b)
}

// Recall implements SelfWitness.
func (w *WitnessFile) Recall() (uint64, Hash, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size, w.root, nil
}

// Remember implements SelfWitness.
func (w *WitnessFile) Remember(size uint64, root Hash) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case size < w.size:
		return fmt.Errorf("remembering size %d after %d: %w", size, w.size, ErrRollback)
	case size == w.size && root != w.root && size > 0:
		return fmt.Errorf("remembering size %d: %w", size, ErrFork)
	case size == w.size && root == w.root:
		return nil
	}
	if _, err := w.file.WriteAt(w.format(size, root), int64(w.slot*slotStride)); err != nil {
		return fmt.Errorf("writing witness file: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("writing witness file: %w", err)
	}
	w.size, w.root, w.slot = size, root, 1-w.slot
	return nil
}

// Close closes the file.
func (w *WitnessFile) Close() error { return w.file.Close() }
