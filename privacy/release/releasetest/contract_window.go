package releasetest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// windows: what was put comes back, the first one put stays, and those that are
// not closed are listed oldest first, days before 1970 too. It would catch a
// second process that replaces a window's key after contributions were sealed to
// the first, and a schedule that begins anew when every window is closed.
func (s suite[T]) windows(t *testing.T) {
	ctx := t.Context()
	days := []meter.Day{day0, -1, day0 + 2, 0, day0 + 1}
	s.put(t, days...)
	other := window(day0)
	other.PublicKey, other.WrappedPrivate = bytesOf("other", seal.PublicKeySize), bytesOf("other", 60)
	must(t, s.PutWindow(ctx, other))
	slices.Sort(days)
	ws, err := s.Windows(ctx)
	must(t, err)
	want := make([]release.Window, len(days))
	for i, d := range days {
		want[i] = window(d)
		if got, err := s.Window(ctx, d); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("window of %s came back as another, %v", d, err)
		}
	}
	if !reflect.DeepEqual(ws, want) {
		t.Errorf("%d windows are listed, or in another order; want %d", len(ws), len(want))
	}
	first, last := meter.Day(-1), day0+2
	for _, d := range []meter.Day{first, last} {
		must(t, s.BeginClosing(ctx, d))
		must(t, s.EndPublishing(ctx, d, nil, nil))
		must(t, s.EndClosing(ctx, d))
	}
	if got, err := s.FirstWindow(ctx); err != nil || got != first {
		t.Errorf("first window: %s, %v; want %s, though it is closed", got, err, first)
	}
	if got, err := s.LastWindow(ctx); err != nil || got != last {
		t.Errorf("last window: %s, %v; want %s, though it is closed", got, err, last)
	}
	if ws, err := s.Windows(ctx); err != nil || len(ws) != len(want)-2 {
		t.Errorf("%d windows are listed, %v; want %d, without the closed ones", len(ws), err, len(want)-2)
	}
	must(t, s.PutWindow(ctx, window(last)))
	s.state(t, last, release.WindowClosed, 0)
}

// states: a window only ever moves forward, one step at a time, and a step that
// is not allowed changes nothing. It would catch a day that opens again, one that
// is published twice, and a key that is dropped before its day is published.
func (s suite[T]) states(t *testing.T) {
	ctx := t.Context()
	s.put(t, day0, day0+1)
	steps := map[string]func() error{
		"BeginClosing":  func() error { return s.BeginClosing(ctx, day0) },
		"CountAttempt":  func() error { _, err := s.CountAttempt(ctx, day0); return err },
		"EndPublishing": func() error { return s.EndPublishing(ctx, day0, nil, nil) },
		"EndClosing":    func() error { return s.EndClosing(ctx, day0) },
	}
	for _, at := range []struct {
		state release.WindowState
		deny  []string
		allow []string // in order; each is harmless the second time but the last
	}{
		{release.WindowOpen, []string{"CountAttempt", "EndPublishing", "EndClosing"}, []string{"BeginClosing"}},
		{release.WindowClosing, []string{"EndClosing"}, []string{"BeginClosing", "EndPublishing"}},
		{release.WindowPublished, []string{"BeginClosing", "CountAttempt", "EndPublishing"}, []string{"EndClosing"}},
		{release.WindowClosed, []string{"BeginClosing", "CountAttempt", "EndPublishing"}, []string{"EndClosing"}},
	} {
		s.state(t, day0, at.state, 0)
		for _, step := range at.deny {
			is(t, fmt.Sprintf("%s in state %d", step, at.state), steps[step](), release.ErrWindowClosed)
			s.state(t, day0, at.state, 0)
		}
		for _, step := range at.allow {
			is(t, fmt.Sprintf("%s in state %d", step, at.state), steps[step](), nil)
		}
	}
	w, err := s.Window(ctx, day0)
	if err != nil || len(w.WrappedPrivate) != 0 || !bytes.Equal(w.PublicKey, window(day0).PublicKey) {
		t.Errorf("closed window keeps %d bytes of its private key, %v", len(w.WrappedPrivate), err)
	}
	s.state(t, day0+1, release.WindowOpen, 0)
	for _, step := range []struct {
		name string
		err  error
	}{
		{"CountAttempt", func() error { _, err := s.CountAttempt(ctx, day0+2); return err }()},
		{"EndPublishing", s.EndPublishing(ctx, day0+2, nil, nil)},
	} {
		is(t, step.name+" without a window", step.err, release.ErrWindowClosed)
	}
}

// attempts: each attempt has a number of its own, however many processes try at once,
// and reserving counts none. It would catch two processes that pay under one name.
func (s suite[T]) attempts(t *testing.T) {
	const tries = 20
	s.closing(t, day0, day0+1)
	numbers := make(chan int)
	for range tries {
		go func() {
			n, err := s.CountAttempt(t.Context(), day0)
			if err != nil {
				t.Errorf("counting an attempt: %v", err)
			}
			numbers <- n
		}()
	}
	seen := map[int]bool{}
	for range tries {
		seen[<-numbers] = true
	}
	for n := 1; n <= tries; n++ {
		if !seen[n] {
			t.Errorf("no attempt was number %d", n)
		}
	}
	must(t, s.reserve(t.Context(), reservation("a", day0, 1, 10, day0)))
	s.state(t, day0, release.WindowClosing, tries)
	s.state(t, day0+1, release.WindowClosing, 0)
}
