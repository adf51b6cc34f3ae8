package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// windowService implements WindowService for a part that takes readings in.
type windowService struct {
	wattveilv1.UnimplementedWindowServiceServer
	windows windowKeys
}

// errNoWindow answers a day that no open window takes.
var errNoWindow = &inputError{codes.FailedPrecondition, "window_closed", "no open window takes contributions of this day"}

// GetWindow returns the window that takes contributions of a day.
func (w *windowService) GetWindow(ctx context.Context, req *wattveilv1.GetWindowRequest) (*wattveilv1.GetWindowResponse, error) {
	window, key, err := w.windows.WindowFor(ctx, meter.Day(req.GetDay()))
	if errors.Is(err, release.ErrWindowClosed) {
		return nil, errNoWindow
	}
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetWindowResponse{Window: int32(window), PublicKey: key.Bytes()}, nil
}

// remoteWindows is windowKeys that asks WindowService of the part that closes days, and
// only for the keys of windows: which day enters which follows from the catalogue and the
// clock. What it has been told it keeps until that window is due, so that readings are
// taken in while that part is away; what the store refuses it asks again. Safe for
// concurrent use.
type remoteWindows struct {
	windows   wattveilv1.WindowServiceClient
	catalogue release.Catalogue
	clock     Clock
	// last is the last window there is, or release.ErrNotFound before the first reading.
	last func(ctx context.Context) (meter.Day, error)

	mu    sync.Mutex
	known map[meter.Day]openWindow // by their days, of those that are not due
}

// openWindow is a window's key, or that it takes nothing any more.
type openWindow struct {
	key    seal.PublicKey
	closed bool
}

func newRemoteWindows(conn grpc.ClientConnInterface, c release.Catalogue, clock Clock, last func(context.Context) (meter.Day, error)) *remoteWindows {
	return &remoteWindows{windows: wattveilv1.NewWindowServiceClient(conn), catalogue: c, clock: clock, last: last, known: map[meter.Day]openWindow{}}
}

// windowTimeout bounds one question.
const windowTimeout = 20 * time.Second

// windowFaults are the errors that cross the wire by name.
var windowFaults = []error{
	errNoWindow, seal.ErrUnavailable, seal.ErrKeyGone, store.ErrUnavailable, store.ErrRetry,
	ledger.ErrRollback, ledger.ErrFork, ledger.ErrCorrupt, ledger.ErrClosed, context.DeadlineExceeded,
}

// WindowFor implements windowKeys.
func (r *remoteWindows) WindowFor(ctx context.Context, day meter.Day) (meter.Day, seal.PublicKey, error) {
	return r.catalogue.WindowFor(ctx, day, r.clock(), r.own)
}

// own returns the key of a day's own window. The first question of all begins the
// schedule: the other windows are then asked for, too.
func (r *remoteWindows) own(ctx context.Context, day meter.Day) (seal.PublicKey, error) {
	w, ok := r.cached(day)
	if !ok {
		var err error
		if w, err = r.learn(ctx, day); err != nil {
			return seal.PublicKey{}, err
		}
		_ = r.ahead(ctx) // what fails is asked again when a reading needs it
	}
	if w.closed {
		return seal.PublicKey{}, release.ErrWindowClosed
	}
	return w.key, nil
}

// learn asks for a day's window and keeps the answer.
func (r *remoteWindows) learn(ctx context.Context, day meter.Day) (openWindow, error) {
	w, err := r.ask(ctx, day)
	if err == nil {
		r.mu.Lock()
		r.known[day] = w
		r.mu.Unlock()
	}
	return w, err
}

func (r *remoteWindows) ask(ctx context.Context, day meter.Day) (openWindow, error) {
	ctx, cancel := context.WithTimeout(ctx, windowTimeout)
	defer cancel()
	resp, err := r.windows.GetWindow(ctx, &wattveilv1.GetWindowRequest{Day: int32(day)})
	if err != nil {
		if err = partError(err, windowFaults...); errors.Is(err, errNoWindow) {
			return openWindow{}, release.ErrWindowClosed // perhaps by a clock that is ahead: asked again
		}
		return openWindow{}, fmt.Errorf("asking for a window: %w", err)
	}
	if meter.Day(resp.GetWindow()) != day { // its own is closed, and a later one takes its place
		return openWindow{closed: true}, nil
	}
	key, err := seal.ParsePublicKey(resp.GetPublicKey())
	if err != nil {
		return openWindow{}, fmt.Errorf("reading window key: %w", err)
	}
	return openWindow{key: key}, nil
}

// cached returns what is known of a day's window, and forgets those that are due.
func (r *remoteWindows) cached(day meter.Day) (openWindow, bool) {
	first := r.catalogue.FirstNotDue(r.clock())
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := range r.known {
		if d < first {
			delete(r.known, d)
		}
	}
	w, ok := r.known[day]
	return w, ok
}

// Closed implements windowKeys.
func (r *remoteWindows) Closed(day meter.Day) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, day)
}

// Contributes implements windowKeys.
func (r *remoteWindows) Contributes(s meter.Series) bool { return r.catalogue.Contributes(s) }

// ahead asks for the windows of all days that are not due, up to tomorrow, before a
// reading needs them: they are then taken in without the part that closes days. Where
// there is no window yet it asks for none: the schedule begins with the first reading.
func (r *remoteWindows) ahead(ctx context.Context) error {
	if _, err := r.last(ctx); errors.Is(err, release.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	now := r.clock()
	for day := r.catalogue.FirstNotDue(now); day <= meter.DayOf(now.Unix()).Next(); day++ {
		if _, ok := r.cached(day); ok {
			continue
		}
		if _, err := r.learn(ctx, day); err != nil && !errors.Is(err, release.ErrWindowClosed) {
			return err
		}
	}
	return nil
}
