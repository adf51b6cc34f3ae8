package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/wattveil/wattveil/meter"
)

// CloseDue closes every day whose watermark has passed, oldest first, and
// returns those that it closed, given up ones included. Days of the schedule that
// got no readings are published too: the schedule is public, what arrived is not.
//
// A day that cannot be closed does not hold up the others: the errors of all
// days come back joined, each naming its day, together with the days that were
// closed. Calling it again goes on where it stopped. A day whose spool holds a
// record that does not open, or whose key is gone, stays where it is, at no cost
// in budget, until somebody mends or removes what is damaged: a total without it
// would be published for good.
func (e *Engine[T]) CloseDue(ctx context.Context) ([]meter.Day, error) {
	e.closing.Lock()
	defer e.closing.Unlock()
	now := e.Now()
	e.forgetDue(now)
	var errs []error
	if err := e.fillSchedule(ctx, now); err != nil {
		errs = append(errs, err)
	}
	windows, err := e.Store.Windows(ctx)
	if err != nil {
		return nil, errors.Join(append(errs, reading("windows", err))...)
	}
	gone := func(day meter.Day) bool { // closed by another process
		return !slices.ContainsFunc(windows, func(w Window) bool { return w.Day == day })
	}
	maps.DeleteFunc(e.unrecorded, func(day meter.Day, _ outcome) bool { return gone(day) })
	maps.DeleteFunc(e.payments, func(_ string, p *payment) bool { return gone(p.reservation.Window) })
	var closed []meter.Day
	for _, w := range windows {
		if w.State == WindowOpen && !e.due(w.Day, now) {
			continue
		}
		if ctx.Err() != nil {
			errs = append(errs, ctx.Err())
			break
		}
		if err := e.close(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", w.Day, err))
			continue
		}
		closed = append(closed, w.Day)
	}
	return closed, errors.Join(errs...)
}

var errStuck = errors.New("release: window did not move on")

// close takes one window from whatever state it is in to closed. What counts is
// how far the store says that the window has come: a step that reported an error
// may have had its effect, and another process may have been faster.
func (e *Engine[T]) close(ctx context.Context, w Window) error {
	for w.State != WindowClosed {
		err := e.advance(ctx, w)
		now, readErr := e.Store.Window(ctx, w.Day)
		if readErr != nil {
			return errors.Join(err, reading("window", readErr))
		}
		switch {
		case now.State > w.State:
			if err != nil {
				e.Log.LogAttrs(ctx, slog.LevelWarn, "window moved on in spite of an error",
					slog.String("day", w.Day.String()), slog.String("cause", err.Error()))
			}
		case err == nil:
			return errStuck
		default:
			return err
		}
		w = now
	}
	delete(e.unrecorded, w.Day)
	maps.DeleteFunc(e.payments, func(_ string, p *payment) bool { return p.reservation.Window == w.Day })
	return nil
}

// advance does what takes a window from its state to the next.
func (e *Engine[T]) advance(ctx context.Context, w Window) error {
	switch w.State {
	case WindowOpen:
		if err := e.Store.BeginClosing(ctx, w.Day); err != nil {
			return fmt.Errorf("ending contributions: %w", err)
		}
		return nil
	case WindowClosing:
		s, err := e.schedule(ctx)
		if err != nil {
			return err
		}
		return e.publish(ctx, w, s)
	case WindowPublished:
		// The key dies before the state says so: a crash in between repeats this.
		if err := e.Keys.DestroyKey(ctx, KeyName(w.Day)); err != nil {
			return fmt.Errorf("destroying window key: %w", err)
		}
		if err := e.Store.EndClosing(ctx, w.Day); err != nil {
			return fmt.Errorf("deleting spool: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("%w: it is in no known state", errStuck)
	}
}

// schedule reads how far each day has come.
func (e *Engine[T]) schedule(ctx context.Context) (schedule, error) {
	first, err := e.Store.FirstWindow(ctx)
	if err != nil {
		return schedule{}, reading("schedule", err)
	}
	windows, err := e.Store.Windows(ctx)
	if err != nil {
		return schedule{}, reading("windows", err)
	}
	s := schedule{first: first, pending: make(map[meter.Day]WindowState, len(windows))}
	for _, w := range windows {
		s.pending[w.Day] = w.State
	}
	return s, nil
}
