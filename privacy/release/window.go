package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// KeyName is the key service's key that wraps a day's window key.
func KeyName(day meter.Day) string { return "window-" + day.String() }

// Window returns the public key that contributions of the day are sealed to, or
// ErrWindowClosed. A day opens at most one day ahead of the clock; when it has no
// window yet, the windows up to it are made, so that the schedule has no gap. The
// first call of all begins the schedule, with the first day that is not due; days
// before that one are closed for good.
//
// The answer may be outlived by the window: storing a contribution checks its
// state again, in the storing transaction.
func (e *Engine[T]) Window(ctx context.Context, day meter.Day) (seal.PublicKey, error) {
	now := e.Now()
	if e.due(day, now) || day > meter.DayOf(now.Unix())+1 {
		return seal.PublicKey{}, ErrWindowClosed
	}
	if key, ok := e.cached(day); ok {
		return key, nil
	}
	e.opening.Lock() // one caller makes the window, and those who came with it find it made
	defer e.opening.Unlock()
	if key, ok := e.cached(day); ok {
		return key, nil
	}
	w, err := e.scheduled(ctx, day, now)
	if err != nil {
		return seal.PublicKey{}, err
	}
	if w.State != WindowOpen {
		return seal.PublicKey{}, ErrWindowClosed
	}
	key, err := seal.ParsePublicKey(w.PublicKey)
	if err != nil {
		return seal.PublicKey{}, fmt.Errorf("reading window key: %w", err)
	}
	e.mu.Lock()
	e.windows[day] = key
	e.mu.Unlock()
	return key, nil
}

// WindowFor returns the window that contributions of a day are sealed to: the day's
// own; once that is closed, the first that is open, as long as some product is not over
// that the day is part of. The error is ErrWindowClosed where there is none.
func (e *Engine[T]) WindowFor(ctx context.Context, day meter.Day) (meter.Day, seal.PublicKey, error) {
	return e.Catalogue.WindowFor(ctx, day, e.Now(), e.Window)
}

// WindowFor returns what contributions of a day are sealed to at an instant, as
// [Engine.WindowFor] does; own returns the key of a day's own window, or ErrWindowClosed,
// and is asked of days alone that are not due.
func (c Catalogue) WindowFor(ctx context.Context, day meter.Day, now time.Time, own func(context.Context, meter.Day) (seal.PublicKey, error)) (meter.Day, seal.PublicKey, error) {
	first := c.FirstNotDue(now)
	if day >= first {
		key, err := own(ctx, day)
		if !errors.Is(err, ErrWindowClosed) {
			return day, key, err
		}
	}
	for next := max(first, day.Next()); c.openFor(day, next) && next <= meter.DayOf(now.Unix()).Next(); next++ {
		// One that another process with a clock ahead of ours has closed is passed over.
		key, err := own(ctx, next)
		if !errors.Is(err, ErrWindowClosed) {
			return next, key, err
		}
	}
	return 0, seal.PublicKey{}, ErrWindowClosed
}

// FirstNotDue is the first day whose watermark has not passed.
func (c Catalogue) FirstNotDue(now time.Time) meter.Day {
	return meter.DayOf(now.Unix() - int64(c.Watermark/time.Second))
}

// Closed forgets the key of a window: the store has refused what was sealed to it.
// Whether it is closed the store is asked again.
func (e *Engine[T]) Closed(day meter.Day) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.windows, day)
}

// openFor reports whether some product has a release that a day is part of and that is
// not made before another day closes.
func (c Catalogue) openFor(day, closes meter.Day) bool {
	return slices.ContainsFunc(c.Products, func(p Product) bool {
		blocks := p.blocks(day)
		return slices.Contains(blocks, day) && blocks[len(blocks)-1] >= closes
	})
}

func (e *Engine[T]) cached(day meter.Day) (seal.PublicKey, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	key, ok := e.windows[day]
	return key, ok
}

// forgetDue drops the cached keys of days that take no more contributions,
// whoever closed them.
func (e *Engine[T]) forgetDue(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for day := range e.windows {
		if e.due(day, now) {
			delete(e.windows, day)
		}
	}
}

// scheduled returns the day's window, extending the schedule to it.
func (e *Engine[T]) scheduled(ctx context.Context, day meter.Day, now time.Time) (Window, error) {
	w, err := e.Store.Window(ctx, day)
	if !errors.Is(err, ErrNotFound) {
		return w, reading("window", err)
	}
	last, err := e.Store.LastWindow(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		last = day
		for !e.due(last, now) {
			last--
		}
	case err != nil:
		return Window{}, reading("schedule", err)
	}
	if day <= last { // from before the schedule began
		return Window{}, ErrWindowClosed
	}
	for d := last.Next(); d <= day; d = d.Next() {
		if err := e.create(ctx, d); err != nil {
			return Window{}, err
		}
	}
	w, err = e.Store.Window(ctx, day)
	return w, reading("window", err)
}

// daysAhead is how many days' windows are made before they begin: for so long readings of
// new days are taken in while the key service is away.
const daysAhead = 7

// fillSchedule makes the windows of the days after the last one there is, up to daysAhead:
// a new day then begins without the key service.
func (e *Engine[T]) fillSchedule(ctx context.Context, now time.Time) error {
	e.opening.Lock()
	defer e.opening.Unlock()
	last, err := e.Store.LastWindow(ctx)
	if errors.Is(err, ErrNotFound) { // it has not begun
		return nil
	}
	if err != nil {
		return reading("schedule", err)
	}
	for day := last.Next(); day <= meter.DayOf(now.Unix())+daysAhead; day = day.Next() {
		if err := e.create(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// create makes the day's window. Of two processes that make one at the same moment
// the first to store it wins.
func (e *Engine[T]) create(ctx context.Context, day meter.Day) error {
	private, err := seal.NewPrivateKey(e.Rand)
	if err != nil {
		return fmt.Errorf("making window key: %w", err)
	}
	if err := e.Keys.CreateKey(ctx, KeyName(day)); err != nil {
		return fmt.Errorf("making key for window: %w", err)
	}
	seed := private.Seed()
	wrapped, err := e.Keys.Wrap(ctx, KeyName(day), []seal.Item{{Context: []byte(KeyName(day)), Data: seed}})
	clear(seed)
	if err != nil {
		return fmt.Errorf("wrapping window key: %w", err)
	}
	err = e.Store.PutWindow(ctx, Window{Day: day, State: WindowOpen, PublicKey: private.Public().Bytes(), WrappedPrivate: wrapped[0]})
	if err != nil {
		return fmt.Errorf("storing window: %w", err)
	}
	return nil
}

// open unwraps the private key of a window. It must be the one that
// contributions were sealed to: a public key that somebody put in its place
// ends the closing.
func (e *Engine[T]) open(ctx context.Context, w Window) (seal.PrivateKey, error) {
	seed, err := e.Keys.Unwrap(ctx, KeyName(w.Day), []seal.Item{{Context: []byte(KeyName(w.Day)), Data: w.WrappedPrivate}})
	if err != nil {
		return seal.PrivateKey{}, fmt.Errorf("unwrapping window key: %w", err)
	}
	defer clear(seed[0])
	private, err := seal.ParsePrivateKey(seed[0])
	if err != nil {
		return seal.PrivateKey{}, fmt.Errorf("reading window key: %w", err)
	}
	public, err := seal.ParsePublicKey(w.PublicKey)
	if err != nil || !public.Equal(private.Public()) {
		return seal.PrivateKey{}, fmt.Errorf("reading window key: %w", seal.ErrKey)
	}
	return private, nil
}

func reading(what string, err error) error {
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}
