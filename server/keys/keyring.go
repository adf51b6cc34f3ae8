package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/wattveil/wattveil/privacy/seal"
)

// ErrInUse says that another process (or another Keyring of this one) has the
// keyring open.
var ErrInUse = errors.New("keys: keyring is in use")

var errClosed = errors.New("keyring is closed")

// Keyring is a seal.Rotator for one machine: a directory with one file per
// named key, next to the database but never in it. Whoever reads the directory
// can open what the keyring wraps, and whoever copies it keeps that power after
// a key was destroyed; production uses Vault.
//
// Keys are read from their file at each call and are not kept in memory. The bytes
// of a destroyed key, and of retired versions, are overwritten before their file is
// removed; a tombstone stays in a destroyed key's place for ever. Overwriting reaches the disk only
// where the file system writes in place: flash storage, copy-on-write file
// systems, snapshots and backups may keep the old bytes.
//
// Keyring is safe for concurrent use; every change is durable at return.
type Keyring struct {
	mu   sync.RWMutex // readers wrap and unwrap; a writer creates, destroys or closes
	dir  keyDir
	lock *os.File // nil once closed

	randMu sync.Mutex
	rand   io.Reader
}

var _ seal.Rotator = (*Keyring)(nil)

// OpenKeyring opens the keyring in dir for this process alone. A missing or
// empty directory becomes an empty keyring (the parent must exist); one that
// holds anything else than a keyring is refused, and so is one whose directory
// or keys are open to other users. rand is the source of keys and nonces,
// crypto/rand.Reader outside tests. The caller closes it.
//
// Opening completes what a crash interrupted: an unfinished creation leaves no
// key, a rotation or retirement is there or not, with no old file left behind, and a
// destruction whose tombstone had reached the disk is carried out.
func OpenKeyring(dir string, rand io.Reader) (*Keyring, error) {
	if rand == nil {
		return nil, errors.New("keys: opening keyring: no source of randomness")
	}
	opened, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("keys: opening keyring %q: %w", dir, err)
	}
	held, err := lock(opened.root)
	if err != nil {
		opened.root.Close()
		if errors.Is(err, ErrInUse) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("keys: opening keyring %q: %w", dir, err)
	}
	k := &Keyring{dir: opened, lock: held, rand: rand}
	if err := k.dir.adopt(); err != nil {
		k.Close()
		return nil, fmt.Errorf("keys: opening keyring %q: %w", dir, err)
	}
	return k, nil
}

// Close lets the keyring go. Later calls answer seal.ErrUnavailable; closing
// again is harmless.
func (k *Keyring) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lock == nil {
		return nil
	}
	err := errors.Join(k.lock.Close(), k.dir.root.Close())
	k.lock = nil
	return err
}

// CreateKey implements seal.Wrapper.
func (k *Keyring) CreateKey(ctx context.Context, key string) error {
	const doing = "creating key"
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx, doing, key); err != nil {
		return err
	}
	gone, err := k.dir.exists(key + tombstoneSuffix)
	if err != nil {
		return fault(doing, err)
	}
	if gone {
		return fmt.Errorf("keys: %s: %w", doing, seal.ErrKeyGone)
	}
	if there, err := k.dir.exists(key + keySuffix); err != nil || there {
		if err != nil {
			return fault(doing, err)
		}
		return k.confirm(doing, key)
	}
	roots := &rootKeys{oldest: 1, keys: make([]rootKey, 1)}
	defer roots.clear()
	if err := k.random(roots.keys[0][:]); err != nil {
		return fault(doing, err)
	}
	file := formatKeyFile(key, roots)
	defer clear(file)
	if err := k.dir.write(key+keySuffix, file); err != nil {
		return fault(doing, err)
	}
	return nil
}

// confirm answers for a key that is there already: that it can be read, and that
// its name is durable, even if the call that made it could not say so.
func (k *Keyring) confirm(doing, key string) error {
	roots, err := k.load(doing, key)
	if err != nil {
		return err
	}
	roots.clear()
	if err := k.dir.sync(); err != nil {
		return fault(doing, err)
	}
	return nil
}

// DestroyKey implements seal.Wrapper. The tombstone is durable before the key
// is touched, so that a crash in between is finished by the next OpenKeyring
// and never leaves the name alive.
func (k *Keyring) DestroyKey(ctx context.Context, key string) error {
	const doing = "destroying key"
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx, doing, key); err != nil {
		return err
	}
	gone, err := k.dir.exists(key + tombstoneSuffix)
	if err != nil {
		return fault(doing, err)
	}
	if !gone {
		if err := k.dir.write(key+tombstoneSuffix, []byte(tombstoneText)); err != nil {
			return fault(doing, err)
		}
	}
	if err := k.dir.shred(key + keySuffix); err != nil {
		return fault(doing, err)
	}
	if err := k.dir.shred(key + keySuffix + replacedSuffix); err != nil {
		return fault(doing, err)
	}
	return nil
}

// Wrap implements seal.Wrapper.
func (k *Keyring) Wrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	const doing = "wrapping"
	if err := checkSecrets(items); err != nil {
		return nil, fmt.Errorf("keys: %s: %w", doing, err)
	}
	nonces := make([]byte, nonceSize*len(items))
	if err := k.random(nonces); err != nil {
		return nil, fault(doing, err)
	}
	return k.each(ctx, doing, key, items, func(roots *rootKeys, i int) ([]byte, error) {
		return sealSecret(key, roots, items[i], nonces[nonceSize*i:nonceSize*(i+1)])
	})
}

// Unwrap implements seal.Wrapper.
func (k *Keyring) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	return k.each(ctx, "unwrapping", key, items, func(roots *rootKeys, i int) ([]byte, error) {
		return openSecret(key, roots, items[i])
	})
}

// each applies f to every item under the named root keys, all or nothing.
func (k *Keyring) each(
	ctx context.Context, doing, key string, items []seal.Item, f func(*rootKeys, int) ([]byte, error),
) ([][]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.ready(ctx, doing, key); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, nil
	}
	roots, err := k.load(doing, key)
	if err != nil {
		return nil, err
	}
	defer roots.clear()
	out := make([][]byte, len(items))
	for i := range items {
		if out[i], err = f(roots, i); err != nil {
			return nil, fmt.Errorf("keys: %s: %w", doing, err)
		}
	}
	return out, nil
}

// ready refuses bad names, callers who have left, and a closed keyring.
func (k *Keyring) ready(ctx context.Context, doing, key string) error {
	if err := checkName(key); err != nil {
		return fmt.Errorf("keys: %s: %w", doing, err)
	}
	return k.open(ctx, doing)
}

// open refuses callers who have left, and a closed keyring.
func (k *Keyring) open(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("keys: %s: %w: %w", doing, seal.ErrUnavailable, err)
	}
	if k.lock == nil {
		return fmt.Errorf("keys: %s: %w: %w", doing, seal.ErrUnavailable, errClosed)
	}
	return nil
}

// load reads the named root keys from their file. The caller clears them.
func (k *Keyring) load(doing, key string) (*rootKeys, error) {
	gone, err := k.dir.exists(key + tombstoneSuffix)
	if err != nil {
		return nil, fault(doing, err)
	}
	if gone {
		// A destruction that failed half-way in this very process.
		return nil, fmt.Errorf("keys: %s: %w", doing, seal.ErrKeyGone)
	}
	file, err := k.dir.read(key+keySuffix, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keys: %s: %w", doing, seal.ErrKeyGone)
	}
	if err != nil {
		return nil, fault(doing, err)
	}
	defer clear(file)
	roots, err := parseKeyFile(key, file)
	if err != nil {
		return nil, fault(doing, err)
	}
	return roots, nil
}

// random fills b from the source that was handed in, one caller at a time.
func (k *Keyring) random(b []byte) error {
	k.randMu.Lock()
	defer k.randMu.Unlock()
	_, err := io.ReadFull(k.rand, b)
	return err
}
