package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
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

// remoteWindows is windowKeys that asks WindowService of the part that closes days.
// What it has been told it keeps until that window is due, so that readings of days it
// knows are taken in while that part is away; what the store refuses it asks again.
// Safe for concurrent use.
type remoteWindows struct {
	windows   wattveilv1.WindowServiceClient
	catalogue release.Catalogue
	clock     Clock

	mu    sync.Mutex
	known map[meter.Day]openWindow // by the day that it takes contributions of
}

type openWindow struct {
	day meter.Day
	key seal.PublicKey
}

// maxWindows bounds what is kept: a catalogue holds no span of more days open.
const maxWindows = 512

func newRemoteWindows(conn grpc.ClientConnInterface, c release.Catalogue, clock Clock) *remoteWindows {
	return &remoteWindows{windows: wattveilv1.NewWindowServiceClient(conn), catalogue: c, clock: clock, known: map[meter.Day]openWindow{}}
}

// windowTimeout bounds one question.
const windowTimeout = 20 * time.Second

// WindowFor implements windowKeys.
func (r *remoteWindows) WindowFor(ctx context.Context, day meter.Day) (meter.Day, seal.PublicKey, error) {
	if w, ok := r.cached(day); ok {
		return w.day, w.key, nil
	}
	ctx, cancel := context.WithTimeout(ctx, windowTimeout)
	defer cancel()
	resp, err := r.windows.GetWindow(ctx, &wattveilv1.GetWindowRequest{Day: int32(day)})
	if err != nil {
		err = partError(err, errNoWindow, seal.ErrUnavailable)
		if errors.Is(err, errNoWindow) {
			return 0, seal.PublicKey{}, release.ErrWindowClosed
		}
		return 0, seal.PublicKey{}, fmt.Errorf("asking for a window: %w", err)
	}
	key, err := seal.ParsePublicKey(resp.GetPublicKey())
	if err != nil {
		return 0, seal.PublicKey{}, fmt.Errorf("reading window key: %w", err)
	}
	w := openWindow{meter.Day(resp.GetWindow()), key}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) < maxWindows {
		r.known[day] = w
	}
	return w.day, w.key, nil
}

// cached returns what is known of a day, and forgets windows that are due.
func (r *remoteWindows) cached(day meter.Day) (openWindow, bool) {
	due := meter.DayOf(r.clock().Unix() - int64(r.catalogue.Watermark/time.Second))
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, w := range r.known {
		if w.day < due {
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
	for d, w := range r.known {
		if w.day == day {
			delete(r.known, d)
		}
	}
}

// Contributes implements windowKeys.
func (r *remoteWindows) Contributes(s meter.Series) bool { return r.catalogue.Contributes(s) }

// ahead asks for the windows of today and tomorrow before a reading needs them: a new
// day then begins without the part that closes days.
func (r *remoteWindows) ahead(ctx context.Context) error {
	today := meter.DayOf(r.clock().Unix())
	for _, day := range []meter.Day{today, today.Next()} {
		if _, _, err := r.WindowFor(ctx, day); err != nil && !errors.Is(err, release.ErrWindowClosed) {
			return err
		}
	}
	return nil
}
