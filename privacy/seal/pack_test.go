package seal

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

var netEnergy = meter.Register{1, 0, 16, 29, 0, 255}

// The width follows from register, length and cap. A narrower one would lose
// values that validation let through, a wider one waste a third of the store.
func TestPackingFor(t *testing.T) {
	for _, c := range []struct {
		name     string
		register meter.Register
		length   int64
		cap      int64
		width    uint
		signed   bool
	}{
		{"quarter hours of a household", meter.ActiveImport, 900, 69000, 15, false},
		{"hours of a household", meter.ActiveImport, 3600, 69000, 17, false},
		{"a day of a household", meter.ActiveExport, 86400, 69000, 21, false},
		{"a cap that rounds down to nothing", meter.ActiveImport, 60, 1, 1, false},
		{"no cap", meter.ActiveImport, 900, 0, 1, false},
		{"a negative cap", meter.ActiveImport, 900, -5, 1, false},
		{"the largest cap", meter.ActiveImport, 86400, math.MaxInt64, 63, false},
		{"net energy has a sign", netEnergy, 900, 69000, 16, true},
		{"net energy under the largest cap", netEnergy, 86400, math.MaxInt64, 64, true},
		{"a counter state", meter.Register{1, 0, 1, 8, 0, 255}, 900, 69000, 64, true},
		{"power", meter.Register{1, 0, 1, 7, 0, 255}, 900, 69000, 64, true},
		{"a register of no known unit", meter.Register{}, 900, 69000, 64, true},
	} {
		p := packingFor(c.register, c.length, c.cap)
		if p.width() != c.width || p.signed() != c.signed || !p.valid() {
			t.Errorf("%s: %d bits, signed %t; want %d, %t", c.name, p.width(), p.signed(), c.width, c.signed)
		}
	}
}

// Every width, at its limits: what goes in comes out, and what is one too large
// is refused rather than cut.
func TestPackRoundTrip(t *testing.T) {
	for _, signed := range []bool{false, true} {
		for width := uint(1); width <= 64; width++ {
			p := packing(width)
			least, most := int64(0), int64(1)<<(width-1)-1
			if signed {
				p |= twosComplement
				least = -most - 1
			} else if width == 64 {
				if p.valid() {
					t.Error("64 bits without a sign do not fit an int64")
				}
				continue
			} else {
				most = int64(1<<width - 1)
			}
			s := meter.Series{
				Values:  []int64{least, most, 0, least, most / 2, 0, most},
				Quality: []meter.Quality{0, 1, meter.Missing, 2, 3, 0, 0},
			}
			packed, err := p.appendPacked(nil, s)
			if err != nil || len(packed) != p.size(7) {
				t.Fatalf("packing %#x: %d bytes, %v", byte(p), len(packed), err)
			}
			values, quality, err := p.unpack(packed, 7)
			if err != nil || !reflect.DeepEqual(values, s.Values) || !reflect.DeepEqual(quality, s.Quality) {
				t.Errorf("packing %#x: %d %d %v", byte(p), values, quality, err)
			}
			if width == 64 {
				continue
			}
			for _, v := range []int64{most + 1, least - 1} { // at 63 bits they wrap, and are too large all the same
				if p.holds(v) {
					t.Errorf("packing %#x takes %d", byte(p), v)
				}
			}
		}
	}
}

// What cannot be packed is refused: too large, below zero, an unassigned
// quality, a value that claims to be missing.
func TestPackRefuses(t *testing.T) {
	p := packingFor(meter.ActiveImport, 900, 69000)
	for name, s := range map[string]meter.Series{
		"too large":          {Values: []int64{1 << 15}},
		"negative":           {Values: []int64{-1}},
		"unassigned quality": {Values: []int64{1}, Quality: []meter.Quality{4}},
		"wide quality":       {Values: []int64{1}, Quality: []meter.Quality{16}},
		"missing with value": {Values: []int64{1}, Quality: []meter.Quality{meter.Missing}},
	} {
		if _, err := p.appendPacked(nil, s); !errors.Is(err, ErrSeries) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Measured is the quality of most blocks; none is kept for them.
func TestUnpackMeasured(t *testing.T) {
	packed, err := packing(15).appendPacked(nil, meter.Series{Values: []int64{1, 2, 3}, Quality: []meter.Quality{0, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	values, quality, err := packing(15).unpack(packed, 3)
	if err != nil || len(values) != 3 || quality != nil {
		t.Errorf("%d %d %v", values, quality, err)
	}
}

// No input makes unpack panic or read beyond, and it takes nothing that
// appendPacked would not have written.
func FuzzUnpack(f *testing.F) {
	f.Add(byte(15), 2, []byte{0, 2, 0x80, 0, 0x80})
	f.Add(byte(0x80|64), 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00})
	f.Add(byte(1), 1, []byte{0x78})
	f.Add(byte(0x80|33), 3, bytes.Repeat([]byte{0x5a}, 14))
	f.Add(byte(0), 1, []byte{0})
	f.Add(byte(64), 1, make([]byte, 9))
	f.Fuzz(func(t *testing.T, p byte, count int, data []byte) {
		if count < 1 || count > secondsPerDay {
			return
		}
		values, quality, err := packing(p).unpack(data, count)
		if err != nil {
			return
		}
		again, err := packing(p).appendPacked(nil, meter.Series{Values: values, Quality: quality})
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("unpacked %x, packed again %x (%v)", data, again, err)
		}
	})
}
