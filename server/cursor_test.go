package server

import (
	"bytes"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

func someCursor(days ...dayMark) *cursor {
	return &cursor{consent: "0123456789abcdef0123456789abcdef", terms: ledger.Hash{1, 31: 2}, at: morning.Unix(), first: 20_000, days: days}
}

// What is sealed opens as what it was, for whom it was sealed; the same again looks
// otherwise, and its length tells nearly nothing.
func TestCursorRoundTrip(t *testing.T) {
	s := cursorSealer{key: hide(make([]byte, 32))}
	uneven := make([]dayMark, 400)
	for i := range uneven {
		uneven[i] = dayMark{uint32(i % 7), uint32(i % 3)}
	}
	for what, c := range map[string]*cursor{
		"nothing stored": someCursor(), "one day": someCursor(dayMark{2, 1}), "a year alike": someCursor(slices.Repeat([]dayMark{{1, 1}}, 365)...),
		"a year of all sorts": someCursor(uneven...), "very many blocks": someCursor(dayMark{1<<32 - 1, 1<<32 - 1}),
		"the most days": someCursor(slices.Repeat([]dayMark{{1, 0}}, maxCursorDays)...),
	} {
		text, err := s.seal("adviser", c)
		ok(t, err)
		got, err := s.open("adviser", text)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got.consent != c.consent || got.terms != c.terms || got.at != c.at || got.first != c.first || !slices.Equal(got.days, c.days) {
			t.Errorf("%s: another came back", what)
		}
		if _, err := s.open("aggregator", text); err == nil {
			t.Errorf("%s: opens for another", what)
		}
		again, err := s.seal("adviser", c)
		ok(t, err)
		if again == text {
			t.Errorf("%s: sealed alike twice", what)
		}
	}
	short, err := s.seal("adviser", someCursor(dayMark{1, 1}))
	ok(t, err)
	long, err := s.seal("adviser", someCursor(slices.Repeat([]dayMark{{1, 1}, {2, 1}}, 10)...))
	ok(t, err)
	if len(short) != len(long) {
		t.Errorf("lengths %d and %d tell how many runs there are", len(short), len(long))
	}
}

// A cursor of days that are all unlike stays within what a call may carry: what has no
// room in it is given again.
func TestCursorIsBounded(t *testing.T) {
	days := make([]dayMark, maxCursorDays)
	for i := range days {
		days[i] = dayMark{uint32(1<<31 + i), uint32(1<<31 - i)}
	}
	c := someCursor(days...)
	b := c.encode()
	if len(b) > maxCursorBytes {
		t.Fatalf("%d bytes", len(b))
	}
	got, fine := decodeCursor(b)
	if !fine || len(got.days) < 1000 || !slices.Equal(got.days, c.days[:len(got.days)]) || got.mark(got.first+meter.Day(len(got.days))) != (dayMark{}) {
		t.Errorf("read back: %t", fine)
	}
}

// The decoder accepts what encode writes, byte for byte, and never panics or takes much
// memory on anything else.
func FuzzDecodeCursor(f *testing.F) {
	f.Add(someCursor().encode())
	f.Add(someCursor(dayMark{2, 1}, dayMark{2, 1}, dayMark{3, 0}).encode())
	f.Add((&cursor{}).encode())
	f.Add([]byte{cursorVersion, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, fine := decodeCursor(b)
		if !fine {
			return
		}
		if !bytes.Equal(c.encode(), b) {
			t.Error("it accepts what it would not have written")
		}
		if len(c.days) > maxCursorDays || len(c.consent) > 255 {
			t.Error("out of bounds")
		}
		_ = c.fits(consent.Consent{ID: c.consent})
	})
}
