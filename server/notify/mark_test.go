package notify

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

// Marks are read as they were written, and version 1 is what it was.
func TestMark(t *testing.T) {
	m := Mark{Days: []DayCount{{0, 1}, {1, 300}, {20500, 2}}}
	b := m.Encode()
	if want := []byte{1, 0, 1, 1, 0xac, 2, 0x93, 0xa0, 1, 2}; !bytes.Equal(b, want) {
		t.Errorf("encoded %x, want %x", b, want)
	}
	days, err := DecodeDays(b)
	if err != nil || !slices.Equal(days, m.Days) {
		t.Errorf("decoded %v, %v", days, err)
	}
	if days, err := DecodeDays(Mark{}.Encode()); err != nil || len(days) != 0 {
		t.Errorf("no days: %v, %v", days, err)
	}
	for what, bad := range map[string][]byte{
		"nothing": {}, "another version": {2}, "half a day": {1, 5}, "no blocks": {1, 5, 0}, "a day twice": {1, 5, 1, 0, 1}, "a long number": {1, 0x85, 0, 1},
		"a number without end": {1, 0x80}, "a day beyond the calendar": {1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1},
	} {
		if _, err := DecodeDays(bad); !errors.Is(err, ErrMark) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzDecodeDays(f *testing.F) {
	f.Add(Mark{Days: []DayCount{{0, 1}, {1, 300}, {20500, 2}}}.Encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		days, err := DecodeDays(b)
		if err == nil && !bytes.Equal(Mark{Days: days}.Encode(), b) {
			t.Errorf("%x is read as another mark", b)
		}
	})
}

// What was counted takes the place of what was seen, within the days that were counted.
func TestMarkWith(t *testing.T) {
	m := Mark{Days: []DayCount{{10, 4}, {11, 4}, {12, 4}, {30, 1}}}
	days, grown := m.with([]DayCount{{11, 5}, {12, 4}, {13, 1}}, 11, 20)
	if want := []DayCount{{10, 4}, {11, 5}, {12, 4}, {13, 1}, {30, 1}}; !slices.Equal(days, want) {
		t.Errorf("days %v", days)
	}
	if want := []meter.Day{11, 13}; !slices.Equal(grown, want) {
		t.Errorf("grown %v", grown)
	}
	if got, want := spans([]meter.Day{1, 2, 3, 7, 9, 10}), []Span{{86400, 4 * 86400}, {7 * 86400, 8 * 86400}, {9 * 86400, 11 * 86400}}; !slices.Equal(got, want) {
		t.Errorf("spans %v", got)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
