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

// Rotator is a Wrapper whose named keys have versions. What was wrapped under an older
// one opens until that version is retired; what is wrapped is wrapped under the newest.
// Whoever rotates, wraps everything that lives anew, and then retires what is older, has
// taken what no longer lives out of every backup of what was wrapped.
type Rotator interface {
	Wrapper

	// RotateKey gives the named key one more version, and returns its number. Durable
	// at return; of an error nobody knows whether there is one more.
	RotateKey(ctx context.Context, key string) (version uint64, err error)

	// Rewrap wraps anew, under the newest version, what was wrapped before; contexts
	// are those of Wrap. No secret leaves the service. The answer has one ciphertext
	// per item, in order; it fails as a whole.
	Rewrap(ctx context.Context, key string, items []Item) ([][]byte, error)

	// RetireVersions destroys all versions of the named key that are older than the
	// given one: nothing wrapped under them opens again. Durable at return; harmless
	// where they are gone already. ErrRefused for one above the newest.
	RetireVersions(ctx context.Context, key string, oldest uint64) error

	// KeyVersions returns the oldest version of the named key that still opens, and
	// the newest. Both are at least 1.
	KeyVersions(ctx context.Context, key string) (oldest, newest uint64, err error)

	// VersionOf returns the version that a ciphertext was wrapped under, without
	// asking the service; ErrRefused for what is not one of its ciphertexts.
	VersionOf(ciphertext []byte) (uint64, error)
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

// WithAccess marks what is unwrapped under ctx as done for the access whose leaf stands at
// an index of the ledger. A service that keeps a log of its own writes the index there, so
// that the two can be held against each other.
func WithAccess(ctx context.Context, index uint64) context.Context {
	return context.WithValue(ctx, accessKey{}, index)
}

// AccessOf returns the index that ctx was marked with.
func AccessOf(ctx context.Context) (index uint64, ok bool) {
	index, ok = ctx.Value(accessKey{}).(uint64)
	return index, ok
}

type accessKey struct{}
