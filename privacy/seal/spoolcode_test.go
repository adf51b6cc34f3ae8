package seal

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

func contributionsForTest() []Contribution {
	s := meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: 86400, Length: 900, Revision: 2, Values: []int64{1, 2, 17250}}
	export := s
	export.Register, export.Quality = meter.ActiveExport, []meter.Quality{meter.Measured, meter.Estimated, meter.Measured}
	other := meter.Series{UsagePoint: "hh-1", Register: netEnergy, Start: -86400, Length: 86400, Values: []int64{-1656000}}
	return []Contribution{{"hh-1", 69000, s}, {"hh-1", 69000, export}, {"hh-2", 69000, other}, {"hh-1", 69000, s}}
}

// What goes into the spool comes out, in order, with the batch's stamp. "hh-1"
// is a household and a usage point here: a name is a name.
func TestSpoolRoundTrip(t *testing.T) {
	for name, contributions := range map[string][]Contribution{
		"several": contributionsForTest(), "one": contributionsForTest()[:1], "none": nil,
	} {
		plain, err := appendSpool(nil, 77, contributions)
		if err != nil || len(plain)%spoolPadding != 0 {
			t.Fatalf("%s: %d bytes, %v", name, len(plain), err)
		}
		got, err := parseSpool(plain, WriterID{1}, 5)
		if err != nil || len(got) != len(contributions) {
			t.Fatalf("%s: %d contributions, %v", name, len(got), err)
		}
		for i, c := range contributions {
			want := Spooled{c.Household, Opened{Series: c.Series, AcceptedAt: 77, Writer: WriterID{1}, Seq: 5}}
			if !reflect.DeepEqual(got[i], want) {
				t.Errorf("%s: contribution %d is %+v, want %+v", name, i, got[i], want)
			}
		}
	}
}

// A record's length tells how many contributions of how many intervals it
// holds. If it told a value, small or large, missing or measured, that would
// show here.
func TestSpoolLength(t *testing.T) {
	length := func(change func(*meter.Series)) int {
		contributions := contributionsForTest()
		for i := range contributions {
			s := &contributions[i].Series
			s.Values, s.Quality = slices.Clone(s.Values), make([]meter.Quality, len(s.Values))
			change(s)
		}
		plain, err := appendSpool(nil, math.MaxInt64, contributions)
		if err != nil {
			t.Fatal(err)
		}
		return len(plain)
	}
	want := length(func(*meter.Series) {})
	for name, change := range map[string]func(*meter.Series){
		"zero":    func(s *meter.Series) { clear(s.Values) },
		"cap":     func(s *meter.Series) { s.Values[0] = 17250 },
		"missing": func(s *meter.Series) { s.Values[0], s.Quality[0] = 0, meter.Missing },
		"suspect": func(s *meter.Series) { s.Quality[0] = meter.Suspect },
	} {
		if got := length(change); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
}

// A record that no writer of ours writes is refused whole.
func TestParseSpoolRefuses(t *testing.T) {
	good, err := appendSpool(nil, 77, contributionsForTest())
	if err != nil {
		t.Fatal(err)
	}
	// The first contribution begins after the header; its household "hh-1"
	// takes 9 bytes, its usage point "up-1" 9.
	const first = spoolHeader
	const frame = first + 9 + 9
	set32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return b }
	}
	for name, change := range map[string]func([]byte) []byte{
		"nothing":                    func([]byte) []byte { return nil },
		"a header only":              func(b []byte) []byte { return b[:spoolHeader] },
		"cut short":                  func(b []byte) []byte { return b[:len(b)-1] },
		"too much padding":           func(b []byte) []byte { return append(b, make([]byte, spoolPadding)...) },
		"padding that is not zero":   func(b []byte) []byte { b[len(b)-1] = 1; return b },
		"more contributions":         set32(8, 5),
		"fewer contributions":        set32(8, 1),
		"very many contributions":    set32(8, math.MaxUint32),
		"a name not yet written":     set32(first, 1),
		"an empty name":              func(b []byte) []byte { b[first+4] = 0; return b },
		"a name too long":            func(b []byte) []byte { b[first+4] = 65; return b },
		"a name written twice":       func(b []byte) []byte { copy(b[first+9+5:], "hh-1"); return b },
		"an interval length of zero": set32(frame+6+8, 0),
		"no intervals":               set32(frame+6+8+4+4, 0),
		"beyond the day":             set32(frame+6+8+4+4, 97),
		"very many intervals":        set32(frame+6+8+4+4, math.MaxUint32),
		"no packing":                 func(b []byte) []byte { b[frame+6+8+4+4+4] = 0; return b },
		"a packing too wide":         func(b []byte) []byte { b[frame+6+8+4+4+4] = 0x80 | 65; return b },
		"a start at the end of time": func(b []byte) []byte { binary.BigEndian.PutUint64(b[frame+6:], math.MaxInt64); return b },
	} {
		if _, err := parseSpool(change(slices.Clone(good)), WriterID{}, 1); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No input makes the parser panic or reserve more than a small multiple of its
// length, and whatever it takes can be written and read again.
func FuzzParseSpool(f *testing.F) {
	for _, contributions := range [][]Contribution{contributionsForTest(), nil} {
		plain, err := appendSpool(nil, 77, contributions)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseSpool(data, WriterID{}, 1)
		if err != nil {
			return
		}
		again := make([]Contribution, len(got))
		for i, s := range got {
			again[i] = Contribution{s.Household, math.MaxInt64, s.Series}
		}
		accepted := int64(0)
		if len(got) > 0 {
			accepted = got[0].AcceptedAt
		}
		plain, err := appendSpool(nil, accepted, again)
		if errors.Is(err, ErrSeries) {
			return // a packing that no register of today has
		}
		back, err := parseSpool(plain, WriterID{}, 1)
		if err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%+v came back as %+v, %v", got, back, err)
		}
	})
}
