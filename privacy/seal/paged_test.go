package seal

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// A plaintext that no sealer of ours writes is refused whole.
func TestParsePagedRefuses(t *testing.T) {
	good := appendPaged(nil, []byte("sums"))
	for name, change := range map[string]func([]byte) []byte{
		"nothing":                  func([]byte) []byte { return nil },
		"half a length":            func(b []byte) []byte { return b[:3] },
		"a length alone":           func(b []byte) []byte { return b[:4] },
		"cut short":                func(b []byte) []byte { return b[:len(b)-1] },
		"a page too many":          func(b []byte) []byte { return append(b, make([]byte, runningPage)...) },
		"a length of two pages":    func(b []byte) []byte { b[2] = 0x10; return b },
		"a length of all there is": func(b []byte) []byte { copy(b, "\xff\xff\xff\xff"); return b },
		"a length less":            func(b []byte) []byte { b[3]--; return b },
		"padding that is not zero": func(b []byte) []byte { b[len(b)-1] = 1; return b },
		"more than a record holds": func([]byte) []byte { return appendPaged(nil, make([]byte, MaxRunning+1)) },
	} {
		if _, err := parsePaged(change(slices.Clone(good))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No input makes the parser panic, and what it takes is what is written of it,
// byte for byte: nothing hides in the padding. The zero bytes at the end are
// given by their number, since a fuzzer is slow to find thousands of them.
func FuzzParsePaged(f *testing.F) {
	for _, n := range []int{0, 1, runningPage - runningHeader, runningPage - runningHeader + 1} {
		plain := appendPaged(nil, bytes.Repeat([]byte{0xa5}, n))
		head := bytes.TrimRight(plain, "\x00")
		f.Add(head, uint16(len(plain)-len(head)))
	}
	f.Add([]byte{0, 0, 0x20, 0, 1}, uint16(3*runningPage-5))
	f.Add([]byte{0, 0, 0, 0}, uint16(0))
	f.Fuzz(func(t *testing.T, head []byte, zeros uint16) {
		data := append(slices.Clip(head), make([]byte, zeros)...)
		content, err := parsePaged(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Error(err)
			}
			return
		}
		if again := appendPaged(nil, content); !bytes.Equal(again, data) {
			t.Errorf("%d bytes came back as %d", len(data), len(again))
		}
	})
}
