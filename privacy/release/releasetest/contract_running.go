package releasetest

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

func (s suite[T]) runningRecords(t *testing.T, id seal.RunningID) map[uint32]seal.RunningRecord {
	t.Helper()
	out := map[uint32]seal.RunningRecord{}
	must(t, s.RunningRecords(t.Context(), id, func(r seal.RunningRecord) error {
		if _, twice := out[r.Seq]; twice {
			t.Errorf("record %d came twice", r.Seq)
		}
		r.Ciphertext = bytes.Clone(r.Ciphertext) // it may be the driver's
		out[r.Seq] = r
		return nil
	}))
	return out
}

// runningSet is a set of two records that the closing of a day makes for the next.
func runningSet(from meter.Day, name string) (seal.RunningKeyWrap, []seal.RunningRecord) {
	id := seal.RunningID(bytesOf(name, len(seal.RunningID{})))
	records := []seal.RunningRecord{
		{ID: id, Seq: 0, Ciphertext: bytesOf(name+" 0", 3000)},
		{ID: id, Seq: math.MaxUint32, Ciphertext: bytesOf(name+" 1", 1)},
	}
	return seal.RunningKeyWrap{
		ID: id, From: from, Window: from.Next(), Records: math.MaxUint32,
		Sealed: bytesOf(name+" sealed", 1169), Signature: bytesOf(name+" signature", 64),
	}, records
}

// sets fails unless these sets count, in this order.
func (s suite[T]) sets(t *testing.T, want ...seal.RunningKeyWrap) {
	t.Helper()
	if got, err := s.RunningSets(t.Context()); err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%d sets count, or others, %v; want %d", len(got), err, len(want))
	}
}

func (s suite[T]) recordsOf(t *testing.T, what string, w seal.RunningKeyWrap, want int) {
	t.Helper()
	if got := s.runningRecords(t, w.ID); len(got) != want {
		t.Errorf("%s: %d records, want %d", what, len(got), want)
	}
}

// running: records come back to the byte; they count from the publication of the
// closing that made them, in which those that they replace go. It would catch sums
// that count twice, once in either set, and sums that are lost with the day that was
// to carry them on.
func (s suite[T]) running(t *testing.T) {
	ctx := t.Context()
	s.closing(t, day0, day0+1)
	s.put(t, day0+2)
	first, records := runningSet(day0, "first")
	must(t, s.PutRunning(ctx, day0, records[:1]))
	must(t, s.PutRunning(ctx, day0, records[1:]))
	must(t, s.PutRunning(ctx, day0, nil))
	s.sets(t)
	want := map[uint32]seal.RunningRecord{records[0].Seq: records[0], records[1].Seq: records[1]}
	if got := s.runningRecords(t, first.ID); !reflect.DeepEqual(got, want) {
		t.Errorf("%d records came back, or others; want %d", len(got), len(want))
	}
	seen := 0
	is(t, "RunningRecords whose reader stops",
		s.RunningRecords(ctx, first.ID, func(seal.RunningRecord) error { seen++; return errStop }), errStop)
	if seen != 1 {
		t.Errorf("%d records were read by a reader who stopped at the first", seen)
	}
	is(t, "replacing a set that does not count", s.EndPublishing(ctx, day0, &first, []seal.RunningID{{9}}), release.ErrWindowClosed)
	s.sets(t)
	must(t, s.EndPublishing(ctx, day0, &first, nil))
	s.state(t, day0, release.WindowPublished, 0)
	s.sets(t, first)

	second, records := runningSet(day0+1, "second")
	must(t, s.PutRunning(ctx, day0+1, records))
	s.sets(t, first)
	is(t, "a set beside the one that counts", s.EndPublishing(ctx, day0+1, &second, nil), release.ErrWindowClosed)
	is(t, "a set for one that counts and one that does not",
		s.EndPublishing(ctx, day0+1, &second, []seal.RunningID{first.ID, {9}}), release.ErrWindowClosed)
	s.state(t, day0+1, release.WindowClosing, 0)
	s.sets(t, first)
	must(t, s.EndPublishing(ctx, day0+1, &second, []seal.RunningID{first.ID}))
	s.sets(t, second)
	s.recordsOf(t, "the set that was replaced", first, 0)
	s.recordsOf(t, "the set that replaces it", second, 2)

	must(t, s.EndClosing(ctx, day0))
	must(t, s.EndClosing(ctx, day0+1))
	s.sets(t, second)
	s.recordsOf(t, "a set that counts, after the closing that made it", second, 2)

	must(t, s.BeginClosing(ctx, day0+2))
	must(t, s.EndPublishing(ctx, day0+2, nil, []seal.RunningID{second.ID}))
	s.sets(t)
	s.recordsOf(t, "a set that nothing replaces", second, 0)
}

// runningLeft: what a closing has made and left aside goes when it ends, that of
// another and what counts stays. It would catch sums of closings that failed, piling up.
func (s suite[T]) runningLeft(t *testing.T) {
	ctx := t.Context()
	s.closing(t, day0, day0+1)
	s.put(t, day0+2)
	counts := map[meter.Day]seal.RunningKeyWrap{}
	aside := map[meter.Day]seal.RunningKeyWrap{}
	for _, d := range []meter.Day{day0 + 1, day0} {
		for try := range 2 {
			w, records := runningSet(d, fmt.Sprint(d, try))
			must(t, s.PutRunning(ctx, d, records))
			aside[d], counts[d] = counts[d], w
		}
	}
	later, sooner := counts[day0+1], counts[day0]
	must(t, s.EndPublishing(ctx, day0, &sooner, nil))
	must(t, s.EndClosing(ctx, day0))
	s.sets(t, sooner)
	s.recordsOf(t, "left aside", aside[day0], 0)
	s.recordsOf(t, "left aside by another closing", aside[day0+1], 2)
	s.recordsOf(t, "counting", counts[day0], 2)
	must(t, s.EndPublishing(ctx, day0+1, &later, []seal.RunningID{sooner.ID}))
	s.recordsOf(t, "replaced", sooner, 0)
	must(t, s.EndClosing(ctx, day0+1))
	s.recordsOf(t, "left aside by the other closing, now ended", aside[day0+1], 0)
	s.recordsOf(t, "counting", counts[day0+1], 2)
}

// runningRefused: a set that nobody could open any more, or that counts already, does
// not count, and the day is not published; nor is one to which a set is sealed that its
// closing did not take up; a record that is there is not written over,
// and none is added to a day that is not closing. It would catch sums that are sealed
// to a key which is destroyed before they are read.
func (s suite[T]) runningRefused(t *testing.T) {
	ctx := t.Context()
	s.closing(t, day0, day0+1, day0+2)
	s.put(t, day0+3)
	s.closing(t, day0-3, day0-2)
	missed, _ := runningSet(day0-3, "missed")
	must(t, s.EndPublishing(ctx, day0-3, &missed, nil)) // sealed to a window that is closing
	is(t, "ending a day without what is sealed to it", s.EndPublishing(ctx, day0-2, nil, nil), release.ErrWindowClosed)
	is(t, "ending it with another", s.EndPublishing(ctx, day0-2, nil, []seal.RunningID{{9}}), release.ErrWindowClosed)
	s.state(t, day0-2, release.WindowClosing, 0)
	s.sets(t, missed)
	again, _ := runningSet(day0-2, "missed")
	if err := s.EndPublishing(ctx, day0-2, &again, []seal.RunningID{missed.ID}); err == nil {
		t.Error("a set replaces itself")
	}
	must(t, s.EndPublishing(ctx, day0-2, nil, []seal.RunningID{missed.ID}))
	s.sets(t)

	must(t, s.EndPublishing(ctx, day0+2, nil, nil))
	old, records := runningSet(day0, "old")
	must(t, s.PutRunning(ctx, day0, records))
	must(t, s.EndPublishing(ctx, day0, &old, nil))
	if err := s.PutRunning(ctx, day0, records[:1]); err == nil {
		t.Error("a record was stored twice")
	}

	next, records := runningSet(day0+1, "next")
	must(t, s.PutRunning(ctx, day0+1, records))
	if err := s.PutRunning(ctx, day0+1, records[:1]); err == nil {
		t.Error("a record was stored twice")
	}
	for name, window := range map[string]meter.Day{
		"its own window": day0 + 1, "a published window": day0 + 2, "no window": day0 + 4,
	} {
		sealedTo := next
		sealedTo.Window = window
		is(t, "a set sealed to "+name, s.EndPublishing(ctx, day0+1, &sealedTo, []seal.RunningID{old.ID}), release.ErrWindowClosed)
	}
	must(t, s.EndClosing(ctx, day0+2))
	is(t, "a set sealed to a closed window", s.EndPublishing(ctx, day0+1, &next, []seal.RunningID{old.ID}), release.ErrWindowClosed)
	again = old
	again.Window = day0 + 3
	if err := s.EndPublishing(ctx, day0+1, &again, nil); err == nil {
		t.Error("a set counts twice")
	}
	s.state(t, day0+1, release.WindowClosing, 0)
	s.sets(t, old)
	s.recordsOf(t, "a set that was not replaced after all", old, 2)
	next.Window = day0 + 3
	must(t, s.EndPublishing(ctx, day0+1, &next, []seal.RunningID{old.ID}))
	s.sets(t, next)
	for _, day := range []meter.Day{day0, day0 + 1, day0 + 2, day0 + 3, day0 + 4} {
		w, records := runningSet(day, "late")
		is(t, fmt.Sprintf("a record of day %d", day-day0), s.PutRunning(ctx, day, records), release.ErrWindowClosed)
		s.recordsOf(t, "of a day that is not closing", w, 0)
	}
}

// liveLoad: the state of a day's live load is replaced whole, by who knows what it
// replaces, while the day's window is open, and goes when the day is closed. It would
// catch two processes that let a household add the same interval twice, and a state
// that outlives its day.
func (s suite[T]) liveLoad(t *testing.T) {
	ctx := t.Context()
	s.put(t, day0, day0+1)
	first, one := runningSet(day0, "first")
	second, two := runningSet(day0, "second")
	for _, w := range []*seal.RunningKeyWrap{&first, &second} {
		w.Window = day0
	}
	holds := func(want seal.RunningKeyWrap, records []seal.RunningRecord) {
		t.Helper()
		got, stored, err := s.Live(ctx, day0)
		if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(stored, records) {
			t.Errorf("the state is %v with %d records, %v; want %v with %d", got.ID, len(stored), err, want.ID, len(records))
		}
	}
	_, _, err := s.Live(ctx, day0)
	is(t, "the state of a day without", err, release.ErrNotFound)
	is(t, "replacing what is not there", s.PutLive(ctx, day0, second.ID, first, one), release.ErrWindowClosed)
	must(t, s.PutLive(ctx, day0, seal.RunningID{}, first, one))
	holds(first, one)
	is(t, "beginning again", s.PutLive(ctx, day0, seal.RunningID{}, second, two), release.ErrWindowClosed)
	holds(first, one)
	must(t, s.PutLive(ctx, day0, first.ID, second, two))
	holds(second, two)
	s.recordsOf(t, "the state that was replaced", first, 0)
	s.sets(t) // no running sums
	is(t, "a day without a window", s.PutLive(ctx, day0+2, seal.RunningID{}, first, one), release.ErrNotFound)

	must(t, s.BeginClosing(ctx, day0))
	is(t, "a day that is closing", s.PutLive(ctx, day0, second.ID, first, one), release.ErrWindowClosed)
	must(t, s.EndPublishing(ctx, day0, nil, nil))
	holds(second, two)
	must(t, s.EndClosing(ctx, day0))
	_, _, err = s.Live(ctx, day0)
	is(t, "the state of a closed day", err, release.ErrNotFound)
	s.recordsOf(t, "the state of a closed day", second, 0)
}
