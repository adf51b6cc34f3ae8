package seal_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// No number of a writer is given twice: not side by side, not after an error,
// not between blocks, records and wraps. A number given twice under one key
// would open both ciphertexts to whoever sees them.
func TestNoncesAreUnique(t *testing.T) {
	h := newHouse(t)
	const goroutines, rounds = 8, 60
	var mu sync.Mutex
	seen := map[uint64]int{}
	note := func(seq uint64) {
		mu.Lock()
		defer mu.Unlock()
		seen[seq]++
	}
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			target := h.target
			target.Household = consent.Household("hh-" + string(rune('0'+g%3)))
			for i := range rounds {
				batch := h.writer.Begin()
				at := day + meter.Day(i%2)
				switch i % 4 {
				case 0:
					b, err := batch.Seal(target, series(at.Start(), 4))
					if err != nil {
						t.Error(err)
					}
					note(b.Seq)
				case 1: // fails after its number is drawn
					s := series(at.Start(), 1)
					s.Values[0] = math.MaxInt64
					if _, err := batch.Seal(target, s); !errors.Is(err, seal.ErrSeries) {
						t.Error(err)
					}
				case 2:
					r, err := batch.Spool(at, h.target.Key, []seal.Contribution{{Household: "hh-1", CapWatts: 69000, Series: series(at.Start(), 1)}})
					if err != nil {
						t.Error(err)
					}
					note(r.Seq)
				case 3:
					w, _, err := h.writer.Wrap(target, at)
					if err != nil {
						t.Error(err)
					}
					note(w.Seq)
					k, _, err := h.writer.SpoolKey(at, h.target.Key)
					if err != nil {
						t.Error(err)
					}
					note(k.Seq)
				}
			}
		})
	}
	group.Wait()
	for seq, n := range seen {
		if n != 1 || seq == 0 {
			t.Errorf("number %d was given %d times", seq, n)
		}
	}
	if want := goroutines * rounds; len(seen) != want { // a quarter fails, a quarter draws two
		t.Errorf("%d numbers, want %d", len(seen), want)
	}
	if used, want := seal.Used(h.writer), uint64(goroutines*rounds*5/4); used != want {
		t.Errorf("%d numbers used up, want %d: one that failed stays used", used, want)
	}
}

// The numbers end before they come round.
func TestSequenceEnds(t *testing.T) {
	h := newHouse(t)
	seal.UseUp(h.writer, math.MaxUint64-1)
	b := h.seal(t, series(noon, 1))
	if b.Seq != math.MaxUint64 {
		t.Fatalf("number %d", b.Seq)
	}
	batch := h.writer.Begin()
	for range 2 {
		if _, err := batch.Seal(h.target, series(noon, 1)); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("a block after the last number: %v", err)
		}
		if _, err := batch.Spool(day, h.target.Key, nil); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("a record after the last number: %v", err)
		}
		if _, _, err := h.writer.Wrap(h.target, day); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("a wrap after the last number: %v", err)
		}
		if _, _, err := h.writer.SpoolKey(day, h.target.Key); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("a spool key after the last number: %v", err)
		}
	}
}

// A writer that starts anew shares nothing with the one before: neither id nor
// signing key nor day keys. So no nonce of before can return under a key of before.
func TestRestart(t *testing.T) {
	h := newHouse(t)
	first := h.seal(t, series(noon, 4))
	firstKey := h.blockKey(t, first)
	before := h.writer
	h.writer = newWriter(t, "after the restart")
	second := h.seal(t, series(noon, 4))
	if first.Writer == second.Writer || before.PublicKey().Equal(h.writer.PublicKey()) {
		t.Error("a restarted writer has the same identity")
	}
	if bytes.Equal(seal.BytesOf(firstKey), seal.BytesOf(h.blockKey(t, second))) {
		t.Error("a restarted writer has the same day key")
	}
}

// The wrap is carried until a transaction that held it is known to be stored,
// always with the same content and never in the same row; then no more.
func TestCarriedUntilCommitted(t *testing.T) {
	h := newHouse(t)
	b := h.seal(t, series(noon, 4))
	one, known1, err1 := h.writer.Wrap(h.target, day)
	two, known2, err2 := h.writer.Wrap(h.target, day)
	if err := errors.Join(err1, err2); err != nil || known1 || known2 {
		t.Fatal(known1, known2, err)
	}
	if one.Seq == two.Seq || !slices.Equal(one.Sealed, two.Sealed) || !slices.Equal(one.Signature, two.Signature) {
		t.Error("two carries of one key differ in more than their row")
	}
	h.writer.Committed("hh-2", 2, day) // somebody else's
	h.writer.Committed("hh-1", 1, day)
	h.writer.Committed("hh-1", 2, day+1)
	if _, known, err := h.writer.Wrap(h.target, day); known || err != nil {
		t.Errorf("known: %t, %v", known, err)
	}
	h.writer.Committed("hh-1", 2, day)
	if w, known, err := h.writer.Wrap(h.target, day); !known || err != nil || w.Sealed != nil {
		t.Errorf("after the commit: known %t, %v", known, err)
	}
	key, err := seal.UnwrapDayKey(h.private, two)
	if err != nil {
		t.Fatal(err)
	}
	later := h.seal(t, series(noon+7200, 4)) // still under the key that is stored
	for _, b := range []seal.Block{b, later} {
		if _, err := seal.OpenWhole(key.BlockKey(b.UsagePoint, b.Register), b); err != nil {
			t.Error(err)
		}
	}

	k, known, err := h.writer.SpoolKey(day, h.target.Key)
	if err != nil || known || k.Sealed == nil {
		t.Errorf("spool key: known %t, %v", known, err)
	}
	h.writer.CommittedSpool(day + 1)
	h.writer.CommittedSpool(day)
	if k, known, err := h.writer.SpoolKey(day, h.target.Key); err != nil || !known || k.Sealed != nil {
		t.Errorf("spool key after the commit: known %t, %v", known, err)
	}
}

// What is forgotten is gone, and its name is not used again: a second key of the
// same household, day and writer would leave blocks that neither wrap opens.
func TestForget(t *testing.T) {
	h := newHouse(t)
	window := must(seal.NewPrivateKey(&stream{label: "window"})).Public()
	batch := h.writer.Begin()
	for d := day - 2; d <= day; d++ {
		h.seal(t, series(d.Start(), 1))
		if _, err := batch.Spool(d, window, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := seal.KeysHeld(h.writer); n != 6 {
		t.Fatalf("%d keys held, want 6", n)
	}
	h.writer.Forget(day)
	h.writer.Forget(day - 1) // forgetting less later brings nothing back
	if n := seal.KeysHeld(h.writer); n != 2 {
		t.Errorf("%d keys held, want 2", n)
	}
	for _, d := range []meter.Day{day - 3, day - 2, day - 1} {
		_, sealErr := batch.Seal(h.target, series(d.Start(), 1))
		_, spoolErr := batch.Spool(d, window, nil)
		_, _, wrapErr := h.writer.Wrap(h.target, d)
		_, _, keyErr := h.writer.SpoolKey(d, window)
		for _, err := range []error{sealErr, spoolErr, wrapErr, keyErr} {
			if !errors.Is(err, seal.ErrWriterSpent) {
				t.Errorf("day %s: %v", d, err)
			}
		}
	}
	h.seal(t, series(noon, 1))
	if _, err := batch.Spool(day+1, window, nil); err != nil {
		t.Error(err)
	}
}

// A key that is forgotten is overwritten, not only let go: the memory may be
// looked at long after.
func TestForgottenKeysAreZeroed(t *testing.T) {
	h := newHouse(t)
	h.seal(t, series(noon, 1))
	held := seal.KeysInMemory(h.writer)
	if len(held) != 1 || *held[0] == ([32]byte{}) {
		t.Fatalf("%d keys held, want one that is a key", len(held))
	}
	h.writer.Forget(day + 1)
	if *held[0] != ([32]byte{}) {
		t.Error("the key is still in memory")
	}
}

// A writer holds no more keys than it may, and those it holds go on.
func TestKeysAreBounded(t *testing.T) {
	h := newHouse(t)
	h.seal(t, series(noon, 1))
	seal.FillKeys(h.writer)
	h.seal(t, series(noon, 1))
	if _, err := h.writer.Begin().Seal(h.target, series(noon+86400, 1)); !errors.Is(err, seal.ErrWriterSpent) {
		t.Errorf("one key too many: %v", err)
	}
}

// One name, one public key: data of a household must not be sealed to another's
// key because a caller mixed them up.
func TestKeyMismatch(t *testing.T) {
	h := newHouse(t)
	other := must(seal.NewPrivateKey(&stream{label: "other"})).Public()
	h.seal(t, series(noon, 1))
	mixed := h.target
	mixed.Key = other
	batch := h.writer.Begin()
	if _, err := batch.Seal(mixed, series(noon, 1)); !errors.Is(err, seal.ErrKeyMismatch) {
		t.Errorf("a block: %v", err)
	}
	if _, _, err := h.writer.Wrap(mixed, day); !errors.Is(err, seal.ErrKeyMismatch) {
		t.Errorf("a wrap: %v", err)
	}
	mixed.Generation++
	if _, err := batch.Seal(mixed, series(noon, 1)); err != nil {
		t.Errorf("the next generation: %v", err)
	}
	if _, err := batch.Spool(day, h.target.Key, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := batch.Spool(day, other, nil); !errors.Is(err, seal.ErrKeyMismatch) {
		t.Errorf("a record: %v", err)
	}
	if _, err := batch.Seal(seal.Target{Household: "hh-9"}, series(noon, 1)); !errors.Is(err, seal.ErrKey) {
		t.Errorf("no public key: %v", err)
	}
	if _, err := batch.Spool(day, seal.PublicKey{}, nil); !errors.Is(err, seal.ErrKey) {
		t.Errorf("no window: %v", err)
	}
}

// What cannot be sealed is refused, not cut: Seal stores a frame that any reader
// accepts, or nothing.
func TestSealRefuses(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string]func(*meter.Series){
		"no values":             func(s *meter.Series) { s.Values = nil },
		"beyond midnight":       func(s *meter.Series) { s.Start = day.End() - 900 },
		"no length":             func(s *meter.Series) { s.Length = 0 },
		"negative length":       func(s *meter.Series) { s.Length = -900 },
		"a length of two days":  func(s *meter.Series) { s.Length, s.Values = 2*86400, s.Values[:1] },
		"too few qualities":     func(s *meter.Series) { s.Quality = make([]meter.Quality, 1) },
		"no usage point":        func(s *meter.Series) { s.UsagePoint = "" },
		"a long usage point":    func(s *meter.Series) { s.UsagePoint = meter.UsagePoint(make([]byte, 65)) },
		"a start out of time":   func(s *meter.Series) { s.Start = math.MaxInt64 - 1 },
		"above the cap's width": func(s *meter.Series) { s.Values[0] = 1 << 15 },
		"below zero":            func(s *meter.Series) { s.Values[0] = -1 },
	} {
		s := series(noon, 2)
		change(&s)
		batch := h.writer.Begin()
		if _, err := batch.Seal(h.target, s); !errors.Is(err, seal.ErrSeries) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := batch.Spool(day, h.target.Key, []seal.Contribution{{Household: "hh-1", CapWatts: 69000, Series: s}}); !errors.Is(err, seal.ErrSeries) {
			t.Errorf("%s, into the spool: %v", name, err)
		}
	}
	nobody := h.target
	nobody.Household = ""
	if _, err := h.writer.Begin().Seal(nobody, series(noon, 1)); !errors.Is(err, seal.ErrSeries) {
		t.Errorf("no household: %v", err)
	}
}

// Batches of a writer are told apart by when they were accepted, even if the
// clock stands still or is set back.
func TestAcceptedInOrder(t *testing.T) {
	times := []int64{1000, 1000, 900, 1001, 5000}
	w, err := seal.NewWriter(&stream{label: "w"}, func() time.Time {
		now := times[0]
		times = times[1:]
		return time.UnixMicro(now)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{1000, 1001, 1002, 1003, 5000} {
		if got := w.Begin().AcceptedAt(); got != want {
			t.Errorf("accepted at %d, want %d", got, want)
		}
	}
}

// Without randomness there is no key, half made or weak.
func TestNoRandomness(t *testing.T) {
	now := func() time.Time { return clock }
	for _, n := range []int64{0, 16, 40} {
		if _, err := seal.NewWriter(io.LimitReader(&stream{label: "w"}, n), now); err == nil {
			t.Errorf("a writer from %d bytes", n)
		}
	}
	if _, err := seal.NewPrivateKey(io.LimitReader(&stream{label: "w"}, 31)); err == nil {
		t.Error("a private key from 31 bytes")
	}
	h := newHouse(t)
	w, err := seal.NewWriter(io.LimitReader(&stream{label: "w"}, 48+32), now) // itself, and one day key
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Begin().Seal(h.target, series(noon, 1)); err != nil {
		t.Error(err)
	}
	if _, _, err := w.Wrap(h.target, day); err == nil {
		t.Error("a wrap without randomness")
	}
	if _, err := w.Begin().Seal(h.target, series(noon+86400, 1)); err == nil {
		t.Error("a second day key without randomness")
	}
	if n := seal.KeysHeld(w); n != 1 {
		t.Errorf("%d keys held, want 1", n)
	}
}
