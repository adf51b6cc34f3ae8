package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// scanner looks for a run of known values in files: for any consecutive four of
// them in an encoding that needs no key to be read. The values are distinct and
// have 15 bits, which is the width of a quarter hour in a block.
//
// Chance of a false alarm in 100 MB of random bytes: four values are 60 bits,
// compared at 8·10^8 bit positions and 50 distances (packed bits) or 64 bits at
// 10^8 byte positions, 2 byte orders and 1,022 distances (fields): below 10^-5.
type scanner struct {
	run      []int64
	index    [1 << 15]uint8    // position in run, from 1; 0: no value of the run
	searched map[[32]byte]bool // hashes of files in which nothing was found
}

// window is how many consecutive values make a find.
const window = 4

func newScanner() *scanner { return &scanner{searched: map[[32]byte]bool{}} }

// draw adds n values in [least, most] to the run, all distinct, and returns them.
func (s *scanner) draw(n int, least, most int64) []int64 {
	first := len(s.run)
	for i := 0; len(s.run) < first+n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "value %d from %d", i, least))
		v := least + int64(binary.BigEndian.Uint64(sum[:])%uint64(most-least+1))
		if s.index[v] == 0 {
			s.run = append(s.run, v)
			s.index[v] = uint8(len(s.run))
		}
	}
	return s.run[first:]
}

// find returns in which encoding values of the run lie in b, or "".
func (s *scanner) find(b []byte) string {
	for encoding, in := range map[string]func([]byte) bool{
		"decimal text": s.inText, "varints": s.inVarints, "fields": s.inFields, "packed bits": s.inBits,
	} {
		if in(b) {
			return encoding
		}
	}
	return ""
}

// position returns which of the run v is, from 1, or 0.
func (s *scanner) position(v uint64) int {
	if v >= uint64(len(s.index)) {
		return 0
	}
	return int(s.index[v])
}

// follows reports whether the values after the nth are what at gives for 1, 2, …
func (s *scanner) follows(n int, at func(k int) (uint64, bool)) bool {
	for k := 1; k < window; k++ {
		v, ok := at(k)
		if !ok || n+k > len(s.run) || v != uint64(s.run[n+k-1]) {
			return false
		}
	}
	return true
}

// textGap is how many bytes may lie between two numbers of a text.
const textGap = 192

// inText looks for decimal numbers, in Wh or in kWh with three decimals, in
// order, with anything between them.
func (s *scanner) inText(b []byte) bool {
	type seen struct{ end, length int }
	chain := make([]seen, len(s.run)+1)
	for i := 0; i < len(b); {
		if b[i] < '0' || b[i] > '9' {
			i++
			continue
		}
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		digits := b[start:i]
		if i+4 <= len(b) && b[i] == '.' && digit(b[i+1]) && digit(b[i+2]) && digit(b[i+3]) {
			digits = append(bytes.Clone(digits), b[i+1:i+4]...)
			i += 4
		}
		v, err := strconv.ParseUint(string(digits), 10, 64)
		n := s.position(v)
		if err != nil || n == 0 {
			continue
		}
		length := 1
		if before := chain[n-1]; n > 1 && before.length > 0 && start-before.end <= textGap {
			length += before.length
		}
		if chain[n] = (seen{i, length}); length >= window {
			return true
		}
	}
	return false
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// inVarints looks for base-128 varints (protobuf), plain and zigzag, end to end.
func (s *scanner) inVarints(b []byte) bool {
	for i := range b {
		u, size := binary.Uvarint(b[i:])
		if size < 2 {
			continue
		}
		for shift := range 2 {
			n := s.position(u >> shift)
			end := i + size
			if n > 0 && u>>shift<<shift == u && s.follows(n, func(int) (uint64, bool) {
				u, size := binary.Uvarint(b[end:])
				end += max(size, 0)
				return u >> shift, size > 0 && u>>shift<<shift == u
			}) {
				return true
			}
		}
	}
	return false
}

// inFields looks at every two bytes, in both orders, that recur at one distance,
// forwards or backwards: integers of 2, 4 and 8 bytes, in arrays or in rows.
func (s *scanner) inFields(b []byte) bool {
	const farthest = 512
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for i := 0; i+2 <= len(b); i++ {
			n := s.position(uint64(order.Uint16(b[i:])))
			if n == 0 {
				continue
			}
			for step := -farthest; step <= farthest; step++ {
				if step > -2 && step < 2 {
					continue
				}
				if s.follows(n, func(k int) (uint64, bool) {
					at := i + k*step
					if at < 0 || at+2 > len(b) {
						return 0, false
					}
					return uint64(order.Uint16(b[at:])), true
				}) {
					return true
				}
			}
		}
	}
	return false
}

// inBits looks at every 15 bits, at every bit offset, that recur at a distance
// of 15 to 64 bits: what a block holds before it is sealed (15 bits and 4 of
// quality), or would hold otherwise.
func (s *scanner) inBits(b []byte) bool {
	for i := 0; i+3 <= len(b); i++ {
		three := uint32(b[i])<<16 | uint32(b[i+1])<<8 | uint32(b[i+2])
		if three == 0 {
			continue
		}
		for offset := range 8 {
			n := s.index[three<<offset>>9&0x7fff]
			if n > 0 && s.recurs(b, int(n), 8*i+offset) {
				return true
			}
		}
	}
	return false
}

// recurs reports whether the values after the nth, which begins at a bit, come
// at one distance from each other.
func (s *scanner) recurs(b []byte, n, bit int) bool {
	for width := 15; width <= 64; width++ {
		if s.follows(n, func(k int) (uint64, bool) {
			i, offset := (bit+k*width)/8, (bit+k*width)%8
			if i+3 > len(b) {
				return 0, false
			}
			three := uint32(b[i])<<16 | uint32(b[i+1])<<8 | uint32(b[i+2])
			return uint64(three << offset >> 9 & 0x7fff), true
		}) {
			return true
		}
	}
	return false
}

// scan looks through all files below the folders. It returns what it found,
// and the number of bytes it looked at. What it has looked at before, in whatever
// file, it knows.
func (s *scanner) scan(t *testing.T, folders ...string) (finds []string, size int) {
	t.Helper()
	eachFile(t, folders, func(path string, b []byte) {
		size += len(b)
		hash := sha256.Sum256(b)
		if s.searched[hash] {
			return
		}
		if encoding := s.find(b); encoding != "" {
			finds = append(finds, fmt.Sprintf("in %s, as %s", path, encoding))
			return
		}
		s.searched[hash] = true
	})
	return finds, size
}

// eachFile reads every file below the folders. A running database may remove
// some on the way.
func eachFile(t *testing.T, folders []string, visit func(path string, b []byte)) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				var b []byte
				if b, err = os.ReadFile(path); err == nil {
					visit(path, b)
				}
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatalf("searching: %v", err)
		}
	}
}

// Catches a scanner that is blind: four values of a run in the clear are found
// in every encoding, wherever they lie between random bytes, and three are not
// taken for a find.
func TestScannerFinds(t *testing.T) {
	s := newScanner()
	s.draw(96, 1000, 17250)
	fixed := func(size int, order binary.ByteOrder) func([]int64) []byte {
		return func(values []int64) (b []byte) {
			for _, v := range values {
				var field [8]byte
				switch size {
				case 2:
					order.PutUint16(field[:], uint16(v))
				case 4:
					order.PutUint32(field[:], uint32(v))
				case 8:
					order.PutUint64(field[:], uint64(v))
				}
				b = append(b, field[:size]...)
			}
			return b
		}
	}
	text := func(format string, scale bool) func([]int64) []byte {
		return func(values []int64) (b []byte) {
			for i, v := range values {
				if scale {
					b = fmt.Appendf(b, format, v/1000, v%1000)
				} else {
					b = fmt.Appendf(b, format, i, v)
				}
			}
			return b
		}
	}
	packed := func(width, offset int) func([]int64) []byte {
		return func(values []int64) []byte {
			var bits strings.Builder
			bits.WriteString(strings.Repeat("1", offset))
			for _, v := range values {
				fmt.Fprintf(&bits, "%015b%s", v, strings.Repeat("0", width-15))
			}
			bits.WriteString(strings.Repeat("1", 8-bits.Len()%8))
			var b []byte
			for i := 0; i < bits.Len(); i += 8 {
				v, err := strconv.ParseUint(bits.String()[i:i+8], 2, 8)
				if err != nil {
					t.Fatal(err)
				}
				b = append(b, byte(v))
			}
			return b
		}
	}
	encodings := map[string]func([]int64) []byte{
		"CSV in Wh":        text("x%[2]d,", false),
		"CSV in kWh":       text("x%d.%03d,", true),
		"rows of text":     text("home-1;2026-01-15T00:00:%02d;%d\n", false),
		"lines of decode":  text(`{"meter":"home-1","register":"1-0:1.29.0*255","time":"2026-01-15T00:%02d:00Z","duration_s":900,"value":"%d","unit":"Wh"}`+"\n", false),
		"int16 LE":         fixed(2, binary.LittleEndian),
		"int16 BE":         fixed(2, binary.BigEndian),
		"int32 LE":         fixed(4, binary.LittleEndian),
		"int32 BE":         fixed(4, binary.BigEndian),
		"int64 LE":         fixed(8, binary.LittleEndian),
		"int64 BE":         fixed(8, binary.BigEndian),
		"varints":          func(v []int64) (b []byte) { return appendVarints(b, v, false) },
		"zigzag varints":   func(v []int64) (b []byte) { return appendVarints(b, v, true) },
		"rows, forwards":   func(v []int64) (b []byte) { return appendRows(b, v, 72) },
		"rows, backwards":  func(v []int64) (b []byte) { return appendRows(b, backwards(v), 340) },
		"a block's layout": packed(19, 0),
	}
	for offset := range 8 {
		encodings[fmt.Sprintf("15 bits at bit %d", offset)] = packed(15, offset)
		encodings[fmt.Sprintf("19 bits at bit %d", offset)] = packed(19, offset)
	}
	for name, encode := range encodings {
		for _, n := range []int{window - 1, window} {
			noise := make([]byte, 5000)
			_, _ = rand.Read(noise) // never fails
			b := append(append(noise[:1237:1237], encode(s.run[40:40+n])...), noise[1237:]...)
			if got := s.find(b); (got != "") != (n == window) {
				t.Errorf("%s, %d values: found as %q", name, n, got)
			}
		}
	}
}

func appendVarints(b []byte, values []int64, zigzag bool) []byte {
	for _, v := range values {
		if zigzag {
			b = binary.AppendVarint(b, v)
		} else {
			b = binary.AppendUvarint(b, uint64(v))
		}
	}
	return b
}

// appendRows appends rows of a given size, each with a value in it.
func appendRows(b []byte, values []int64, size int) []byte {
	for _, v := range values {
		row := make([]byte, size)
		_, _ = rand.Read(row) // never fails
		binary.LittleEndian.PutUint64(row[11:], uint64(v))
		b = append(b, row...)
	}
	return b
}

func backwards(values []int64) []int64 {
	out := make([]int64, 0, len(values))
	for i := len(values); i > 0; i-- {
		out = append(out, values[i-1])
	}
	return out
}
