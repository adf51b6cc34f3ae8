package seal

import (
	"context"
	"errors"
)

// Wrapper is the root of the key hierarchy: a service that wraps small
// secrets under named keys that never leave it. Vault's transit engine is one,
// the local keyring file of a single machine another; both live in server/keys
// and pass the same contract suite (package wrappertest).
//
// All methods are safe for concurrent use. An error is one of the sentinels
// below, wrapped with what was being done; callers retry only ErrUnavailable.
type Wrapper interface {
	// CreateKey makes sure that the named key exists. Calling it again is
	// harmless, unless the key was destroyed: a destroyed name stays destroyed
	// (ErrKeyGone). Durable at return.
	CreateKey(ctx context.Context, key string) error

	// DestroyKey destroys the named key and all its versions: nothing wrapped
	// under it opens again. Durable at return; destroying twice is harmless.
	DestroyKey(ctx context.Context, key string) error

	// Wrap encrypts every secret under the named key, bound to its context
	// (authenticated, and used for key derivation where the service can). The
	// answer has one ciphertext per item, in order; it fails as a whole.
	Wrap(ctx context.Context, key string, items []Item) ([][]byte, error)

	// Unwrap reverses Wrap. Item.Data holds the ciphertext and Item.Context
	// must be what Wrap was given (ErrRefused otherwise).
	Unwrap(ctx context.Context, key string, items []Item) ([][]byte, error)
}

// Item is one secret to wrap, or one ciphertext to unwrap, with the context it
// is bound to (for example a household id). Data is at most 4 KiB.
type Item struct {
	Context []byte
	Data    []byte
}

// Errors of a Wrapper.
var (
	// ErrUnavailable says that the key service cannot be reached or is sealed;
	// the same call may succeed later.
	ErrUnavailable = errors.New("seal: key service unavailable")
	// ErrKeyGone says that the named key does not exist or was destroyed.
	ErrKeyGone = errors.New("seal: key is gone")
	// ErrRefused says that the key service refused the call: wrong context,
	// altered ciphertext, or missing permission.
	ErrRefused = errors.New("seal: key service refused")
)
