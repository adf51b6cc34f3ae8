package keys

import (
	"context"
	"fmt"

	"github.com/wattveil/wattveil/privacy/seal"
)

// RotateKey implements seal.Rotator. A key has at most 1024 versions that are not
// retired; one more is refused.
func (k *Keyring) RotateKey(ctx context.Context, key string) (uint64, error) {
	const doing = "rotating key"
	var newest uint64
	err := k.change(ctx, doing, key, func(roots *rootKeys) (*rootKeys, error) {
		if len(roots.keys) == maxVersions {
			return nil, fmt.Errorf("keys: %s: %w: too many versions that are not retired", doing, seal.ErrRefused)
		}
		grown := &rootKeys{oldest: roots.oldest, keys: make([]rootKey, len(roots.keys)+1)}
		copy(grown.keys, roots.keys)
		if err := k.random(grown.keys[len(roots.keys)][:]); err != nil {
			grown.clear()
			return nil, fault(doing, err)
		}
		newest = grown.newest()
		return grown, nil
	})
	if err != nil {
		return 0, err
	}
	return newest, nil
}

// RetireVersions implements seal.Rotator. The bytes of the retired versions are
// overwritten where they stood.
func (k *Keyring) RetireVersions(ctx context.Context, key string, oldest uint64) error {
	const doing = "retiring versions"
	return k.change(ctx, doing, key, func(roots *rootKeys) (*rootKeys, error) {
		switch {
		case oldest > roots.newest():
			return nil, fmt.Errorf("keys: %s: %w: no such version yet", doing, seal.ErrRefused)
		case oldest <= roots.oldest:
			return roots, nil
		}
		return &rootKeys{oldest: oldest, keys: roots.keys[oldest-roots.oldest:]}, nil
	})
}

// change replaces the versions of the named key by what f makes of them, which may be
// the same. An earlier change that could not end is ended first.
func (k *Keyring) change(ctx context.Context, doing, key string, f func(*rootKeys) (*rootKeys, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx, doing, key); err != nil {
		return err
	}
	roots, err := k.load(doing, key)
	if err != nil {
		return err
	}
	defer roots.clear()
	changed, err := f(roots)
	if err != nil {
		return err
	}
	if changed == roots {
		if err := k.dir.settle(key + keySuffix); err != nil {
			return fault(doing, err)
		}
		return k.confirm(doing, key)
	}
	defer changed.clear()
	file := formatKeyFile(key, changed)
	defer clear(file)
	if err := k.dir.replace(key+keySuffix, file); err != nil {
		return fault(doing, err)
	}
	return nil
}

// Rewrap implements seal.Rotator.
func (k *Keyring) Rewrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	const doing = "wrapping anew"
	nonces := make([]byte, nonceSize*len(items))
	if err := k.random(nonces); err != nil {
		return nil, fault(doing, err)
	}
	return k.each(ctx, doing, key, items, func(roots *rootKeys, i int) ([]byte, error) {
		secret, err := openSecret(key, roots, items[i])
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		fresh := seal.Item{Context: items[i].Context, Data: secret}
		return sealSecret(key, roots, fresh, nonces[nonceSize*i:nonceSize*(i+1)])
	})
}

// KeyVersions implements seal.Rotator.
func (k *Keyring) KeyVersions(ctx context.Context, key string) (oldest, newest uint64, err error) {
	const doing = "asking for versions"
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.ready(ctx, doing, key); err != nil {
		return 0, 0, err
	}
	roots, err := k.load(doing, key)
	if err != nil {
		return 0, 0, err
	}
	defer roots.clear()
	return roots.oldest, roots.newest(), nil
}

// VersionOf implements seal.Rotator.
func (k *Keyring) VersionOf(ciphertext []byte) (uint64, error) {
	c, err := parseCiphertext(ciphertext)
	if err != nil {
		return 0, fmt.Errorf("keys: %w", err)
	}
	return c.version, nil
}
