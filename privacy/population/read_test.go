package population_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/population"
)

func zipped(tb testing.TB, plain []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(plain); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// counting is households whose values count up from start.
func counting(households int, start uint16) []byte {
	var b []byte
	for i := range households * population.Intervals {
		b = binary.LittleEndian.AppendUint16(b, start+uint16(i))
	}
	return b
}

// Catches a file that is taken for curves and is none: half a household, no
// household, more than fit, a cut or altered gzip, something glued to its end.
func TestReadRefuses(t *testing.T) {
	good := zipped(t, counting(3, 0))
	altered := slices.Clone(good)
	altered[len(altered)-5] ^= 1 // in the checksum
	for _, c := range []struct {
		name string
		file []byte
		err  error
	}{
		{"whole", good, nil},
		{"largest values", zipped(t, bytes.Repeat([]byte{0xff}, 96)), nil},
		{"nothing", nil, population.ErrFile},
		{"plain values", counting(3, 0), population.ErrFile},
		{"cut", good[:len(good)-1], population.ErrFile},
		{"altered", altered, population.ErrFile},
		{"a byte more", append(slices.Clone(good), 0), population.ErrFile},
		{"two files in one", append(slices.Clone(good), good...), population.ErrFile},
		{"no household", zipped(t, nil), population.ErrSize},
		{"a byte short", zipped(t, counting(3, 0)[1:]), population.ErrSize},
		{"half a household", zipped(t, counting(1, 0)[:48]), population.ErrSize},
		{"one too many", zipped(t, counting(4, 0)), population.ErrSize},
	} {
		got, err := population.ReadCurvesUpTo(bytes.NewReader(c.file), 3)
		if !errors.Is(err, c.err) || (err != nil) != (got.Households() == 0) {
			t.Errorf("%s: %d households, %v, not %v", c.name, got.Households(), err, c.err)
		}
	}
}

// Catches a byte order, a stride or an order of households other than the
// folder's, and a reader that differs between Fill and All.
func TestReadGivesTheValues(t *testing.T) {
	c, err := population.ReadCurves(bytes.NewReader(zipped(t, counting(5, 65_400))))
	if err != nil || c.Households() != 5 {
		t.Fatalf("%d households, %v", c.Households(), err)
	}
	next, got := uint16(65_400), make([]int64, population.Intervals)
	seen := 0
	for household, wh := range c.All() {
		if c.Fill(household, got); household != seen || !slices.Equal(got, wh) {
			t.Errorf("household %d: All %v, Fill %v", household, wh, got)
		}
		for i, v := range wh {
			if v != int64(next) {
				t.Fatalf("household %d, interval %d: %d, not %d", household, i, v, next)
			}
			next++
		}
		seen++
	}
	if seen != 5 {
		t.Errorf("%d households", seen)
	}
}

// Catches planning that is handed the private draw, and a folder whose files do
// not belong together.
func TestReadTakesOneDraw(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, households int, start uint16) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), zipped(t, counting(households, start)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("reference-day.u16le.gz", 2, 100)
	if _, err := population.Read(dir, population.Reference); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without means: %v", err)
	}
	write("reference-mean20.u16le.gz", 3, 200)
	if _, err := population.Read(dir, population.Reference); !errors.Is(err, population.ErrSize) {
		t.Errorf("two households and three: %v", err)
	}
	write("reference-mean20.u16le.gz", 2, 200)
	s, err := population.Read(dir, population.Reference)
	if err != nil {
		t.Fatalf("the private draw is not needed: %v", err)
	}
	if _, err := population.ReadUpTo(dir, population.Reference, 1); !errors.Is(err, population.ErrSize) {
		t.Errorf("two households where one is allowed: %v", err)
	}
	if s, err := population.ReadUpTo(dir, population.Reference, 2); err != nil || s.Mean.Households() != 2 {
		t.Errorf("two households where two are allowed: %v", err)
	}
	day, mean := make([]int64, population.Intervals), make([]int64, population.Intervals)
	s.Day.Fill(0, day)
	s.Mean.Fill(0, mean)
	if day[0] != 100 || mean[0] != 200 {
		t.Errorf("day begins with %d, mean with %d", day[0], mean[0])
	}
	if _, err := population.Read(dir, population.Private); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("private draw: %v", err)
	}
	if _, err := population.Read(dir, "../reference"); !errors.Is(err, population.ErrDraw) {
		t.Errorf("unknown draw: %v", err)
	}
}

// Catches a crash, and curves that are accepted and not what is in the file.
func FuzzReadCurves(f *testing.F) {
	f.Add(zipped(f, counting(2, 0)))
	f.Add(zipped(f, counting(1, 0)[:95]))
	f.Add(zipped(f, nil))
	f.Add(counting(1, 0x8b1f))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := population.ReadCurvesUpTo(bytes.NewReader(file), 64)
		if err != nil {
			if !errors.Is(err, population.ErrFile) && !errors.Is(err, population.ErrSize) {
				t.Errorf("unnamed error: %v", err)
			}
			return
		}
		var plain []byte
		for _, wh := range c.All() {
			for _, v := range wh {
				plain = binary.LittleEndian.AppendUint16(plain, uint16(v))
			}
		}
		if n := c.Households(); n < 1 || n > 64 || len(plain) != n*96 {
			t.Fatalf("%d households of %d bytes", n, len(plain))
		}
		again, err := population.ReadCurvesUpTo(bytes.NewReader(zipped(t, plain)), 64)
		if err != nil || again.Households() != c.Households() {
			t.Errorf("written anew: %d households, %v", again.Households(), err)
		}
	})
}
