package release

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Config is what an Engine is handed.
type Config[T Tx] struct {
	Store  Store
	Ledger Ledger[T]
	Keys   seal.Wrapper
	Signer ed25519.PrivateKey
	Plan   Plan // validated
	Origin string
	Now    func() time.Time
	Rand   io.Reader // window keys and nothing else; noise has a source of its own
	Log    *slog.Logger
}

// Engine opens windows, closes days, and publishes. Safe for concurrent use;
// days close one at a time.
type Engine[T Tx] struct {
	Config[T]

	mu      sync.RWMutex
	windows map[meter.Day]seal.PublicKey // of windows seen open

	closing sync.Mutex
}

// NewEngine returns an engine.
func NewEngine[T Tx](c Config[T]) *Engine[T] {
	return &Engine[T]{Config: c, windows: make(map[meter.Day]seal.PublicKey)}
}

// KeyName is the key service's key that wraps a day's window key.
func KeyName(day meter.Day) string { return "window-" + day.String() }

// due reports whether a day's watermark has passed.
func (e *Engine[T]) due(day meter.Day, now time.Time) bool {
	return now.Unix() >= day.End()+int64(e.Plan.Watermark/time.Second)
}

// Window returns the public key that contributions of the day are sealed to,
// making the window when the day has none yet, or ErrWindowClosed. A day opens
// at most one day ahead of the clock. The answer may be outlived by the window:
// storing a contribution checks its state again, in the storing transaction.
func (e *Engine[T]) Window(ctx context.Context, day meter.Day) (seal.PublicKey, error) {
	now := e.Now()
	if e.due(day, now) || day > meter.DayOf(now.Unix())+1 {
		return seal.PublicKey{}, ErrWindowClosed
	}
	e.mu.RLock()
	key, ok := e.windows[day]
	e.mu.RUnlock()
	if ok {
		return key, nil
	}
	w, err := e.ensure(ctx, day)
	if err != nil {
		return seal.PublicKey{}, err
	}
	if w.State != WindowOpen {
		return seal.PublicKey{}, ErrWindowClosed
	}
	if key, err = seal.ParsePublicKey(w.PublicKey); err != nil {
		return seal.PublicKey{}, fmt.Errorf("reading window key: %w", err)
	}
	e.mu.Lock()
	e.windows[day] = key
	e.mu.Unlock()
	return key, nil
}

// ensure returns the day's window, making it when there is none. Of two
// processes that make one at the same moment the first to store it wins.
func (e *Engine[T]) ensure(ctx context.Context, day meter.Day) (Window, error) {
	w, err := e.Store.Window(ctx, day)
	if !errors.Is(err, ErrNotFound) {
		return w, err
	}
	private, err := seal.NewPrivateKey(e.Rand)
	if err != nil {
		return Window{}, fmt.Errorf("making window key: %w", err)
	}
	if err := e.Keys.CreateKey(ctx, KeyName(day)); err != nil {
		return Window{}, fmt.Errorf("making key for window: %w", err)
	}
	seed := private.Seed()
	wrapped, err := e.Keys.Wrap(ctx, KeyName(day), []seal.Item{{Context: []byte(KeyName(day)), Data: seed}})
	clear(seed)
	if err != nil {
		return Window{}, fmt.Errorf("wrapping window key: %w", err)
	}
	if err := e.Store.PutWindow(ctx, Window{Day: day, State: WindowOpen, PublicKey: private.Public().Bytes(), WrappedPrivate: wrapped[0]}); err != nil {
		return Window{}, fmt.Errorf("storing window: %w", err)
	}
	return e.Store.Window(ctx, day)
}

// forget drops a closed day's cached key.
func (e *Engine[T]) forget(day meter.Day) {
	e.mu.Lock()
	delete(e.windows, day)
	e.mu.Unlock()
}

// open unwraps the private key of a window.
func (e *Engine[T]) open(ctx context.Context, w Window) (seal.PrivateKey, error) {
	seed, err := e.Keys.Unwrap(ctx, KeyName(w.Day), []seal.Item{{Context: []byte(KeyName(w.Day)), Data: w.WrappedPrivate}})
	if err != nil {
		return seal.PrivateKey{}, fmt.Errorf("unwrapping window key: %w", err)
	}
	defer clear(seed[0])
	return seal.ParsePrivateKey(seed[0])
}
