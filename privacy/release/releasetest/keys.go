package releasetest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/wattveil/wattveil/privacy/seal"
)

// Keys is a seal.Wrapper that forgets everything when it is dropped. It is safe
// for concurrent use.
type Keys struct {
	orders orders

	mu   sync.RWMutex
	keys map[string]cipher.AEAD // nil: destroyed
}

// NewKeys returns a key service without keys.
func NewKeys() *Keys { return &Keys{keys: map[string]cipher.AEAD{}} }

var _ seal.Wrapper = (*Keys)(nil)

const maxSecret = 4 << 10

var keyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

// call performs one call of a caller who is still there.
func (k *Keys) call(ctx context.Context, step Step, key string, effect func() error) error {
	return k.orders.do(step, func() error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
		}
		if !keyName.MatchString(key) {
			return seal.ErrRefused
		}
		return effect()
	})
}

// CreateKey implements seal.Wrapper.
func (k *Keys) CreateKey(ctx context.Context, key string) error {
	return k.call(ctx, CreateKey, key, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if a, known := k.keys[key]; known {
			if a == nil {
				return seal.ErrKeyGone
			}
			return nil
		}
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			return fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return fmt.Errorf("%w: %w", seal.ErrUnavailable, err)
		}
		k.keys[key], err = cipher.NewGCMWithRandomNonce(block)
		return err
	})
}

// DestroyKey implements seal.Wrapper.
func (k *Keys) DestroyKey(ctx context.Context, key string) error {
	return k.call(ctx, DestroyKey, key, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.keys[key] = nil
		return nil
	})
}

// Destroyed reports whether the named key was destroyed.
func (k *Keys) Destroyed(key string) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	a, known := k.keys[key]
	return known && a == nil
}

// Count returns how many keys were ever made or destroyed.
func (k *Keys) Count() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.keys)
}

// Wrap implements seal.Wrapper.
func (k *Keys) Wrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	return k.each(ctx, Wrap, key, items, func(a cipher.AEAD, item seal.Item) ([]byte, error) {
		if len(item.Data) > maxSecret {
			return nil, errors.New("releasetest: secret too long")
		}
		return a.Seal(nil, nil, item.Data, item.Context), nil
	})
}

// Unwrap implements seal.Wrapper.
func (k *Keys) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	return k.each(ctx, Unwrap, key, items, func(a cipher.AEAD, item seal.Item) ([]byte, error) {
		return a.Open(nil, nil, item.Data, item.Context)
	})
}

func (k *Keys) each(ctx context.Context, step Step, key string, items []seal.Item, do func(cipher.AEAD, seal.Item) ([]byte, error)) (out [][]byte, err error) {
	err = k.call(ctx, step, key, func() error {
		k.mu.RLock()
		defer k.mu.RUnlock()
		a := k.keys[key]
		if a == nil {
			return seal.ErrKeyGone
		}
		all := make([][]byte, len(items))
		for i, item := range items {
			if all[i], err = do(a, item); err != nil {
				return seal.ErrRefused
			}
		}
		out = all
		return nil
	})
	return out, err
}
