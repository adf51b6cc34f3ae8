package dp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

func mustCausalClip(t testing.TB, c int64) dp.CausalClip {
	t.Helper()
	k, err := dp.NewCausalClip(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The blocks another implementation must reproduce.
func TestCausalClip(t *testing.T) {
	const least, greatest = math.MinInt64, math.MaxInt64
	for _, c := range []struct {
		name    string
		c       int64
		x, want []int64
	}{
		{"inside stays", 6, []int64{3, -4, 0, 3}, []int64{3, -4, 0, 3}},
		{"on the bound stays", 5, []int64{3, -4}, []int64{3, -4}},
		{"nothing after the bound", 5, []int64{3, -4, 1, -1, 0}, []int64{3, -4, 0, 0, 0}},
		{"the rest in part", 5, []int64{3, -9}, []int64{3, -4}},
		{"root rounded down", 2, []int64{1, 2, 2, 2}, []int64{1, 1, 1, 1}},
		{"a refused element costs what was admitted of it", 3, []int64{-2, 100, 1}, []int64{-2, 2, 1}},
		{"a day", 3000, []int64{200, 450, 6000, 300}, []int64{200, 450, 2959, 42}},
		{"bound zero", 0, []int64{1, -1, 0}, []int64{0, 0, 0}},
		{"extremes", 100, []int64{least, greatest, -1}, []int64{-100, 0, 0}},
		{"greatest bound", dp.MaxBound, []int64{1, least, greatest, 1}, []int64{1, 1 - dp.MaxBound, 1482910, 1}},
	} {
		k := mustCausalClip(t, c.c)
		for block := range 2 { // the second one from the start again
			var got []int64
			for _, x := range c.x {
				got = append(got, k.Admit(x))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, block %d: %v admitted of %v at C = %d; want %v", c.name, block, got, c.x, c.c, c.want)
			}
			k.Reset()
		}
	}
	for _, c := range []int64{-1, least, dp.MaxBound + 1} {
		if k, err := dp.NewCausalClip(c); !errors.Is(err, dp.ErrBound) || k != (dp.CausalClip{}) {
			t.Errorf("NewCausalClip(%d): %v", c, err)
		}
	}
	if k := (dp.CausalClip{}); k.Admit(1) != 0 || k.Admit(least) != 0 {
		t.Error("the zero CausalClip admits something")
	}
}

// checkCausal offers x to one block and verifies each element against the
// definition in unbounded integers, and what follows from it: Σ y² ≤ C², the
// sign, no element grown, a greater element admitted no less. On the way the
// state is stored and read back before every element.
func checkCausal(t *testing.T, c int64, x []int64) {
	t.Helper()
	fresh := mustCausalClip(t, c)
	k := fresh
	left := square(c)
	for i, v := range x {
		stored, err := k.AppendBinary(nil)
		if err != nil || len(stored) != dp.CausalClipSize {
			t.Fatalf("stored as %x, %v", stored, err)
		}
		var back dp.CausalClip
		if err := back.UnmarshalBinary(stored); err != nil || back != k {
			t.Fatalf("C = %d: state %x does not come back: %v", c, stored, err)
		}
		if v < math.MaxInt64 {
			here, above := k, k
			if y, z := here.Admit(v), above.Admit(v+1); z < y {
				t.Fatalf("C = %d, Σy² = C² - %v: %d admits %d, but %d admits %d", c, left, v, y, v+1, z)
			}
		}

		y := k.Admit(v)
		if back.Admit(v) != y {
			t.Fatalf("C = %d: the state read back from %x admits another value of %d", c, stored, v)
		}
		want := new(big.Int).Sqrt(left)
		if size := new(big.Int).Abs(big.NewInt(v)); size.Cmp(want) < 0 {
			want = size
		}
		if new(big.Int).Abs(big.NewInt(y)).Cmp(want) != 0 || y != 0 && (y < 0) != (v < 0) {
			t.Fatalf("C = %d, Σy² = C² - %v: element %d, %d, admitted as %d", c, left, i, v, y)
		}
		if left.Sub(left, square(y)).Sign() < 0 {
			t.Fatalf("C = %d: Σy² exceeds C² after %v", c, x[:i+1])
		}
	}
	if k.Reset(); k != fresh {
		t.Fatalf("C = %d: after %v a new block does not begin as the first", c, x)
	}
}

// Catches a norm above the bound, a root off by one and an overflow, over every
// size of element and bound.
func TestCausalClipIsExact(t *testing.T) {
	s := stream{label: "causal"}
	for range 2000 {
		x := make([]int64, 1+s.word()%8)
		for i := range x {
			x[i] = s.sized()
		}
		checkCausal(t, int64(s.word()>>(24+s.word()%40)), x)
	}
	for a := int64(-8); a <= 8; a++ {
		for b := int64(-8); b <= 8; b++ {
			for d := int64(-8); d <= 8; d++ {
				for c := int64(0); c <= 8; c++ {
					checkCausal(t, c, []int64{a, b, d})
				}
			}
		}
	}
}

// Catches a causal clip that touches a vector which ClipL2 leaves alone, or the
// other way round.
func TestCausalClipAgreesWithClipL2InsideTheBound(t *testing.T) {
	s := stream{label: "agree"}
	for range 2000 {
		x := make([]int64, 4)
		for i := range x {
			x[i] = int64(s.word()%401) - 200
		}
		const c = 230 // about the norm of these vectors
		whole, k := slices.Clone(x), mustCausalClip(t, c)
		if err := dp.ClipL2(whole, c); err != nil {
			t.Fatal(err)
		}
		var causal []int64
		for _, v := range x {
			causal = append(causal, k.Admit(v))
		}
		if slices.Equal(whole, x) != slices.Equal(causal, x) {
			t.Fatalf("%v is clipped whole to %v, causally to %v", x, whole, causal)
		}
	}
}

// Catches what TestCausalClipIsExact catches, where nobody thought of looking.
func FuzzCausal(f *testing.F) {
	for _, x := range [][]int64{{3, -4, 1}, {1, 1, 1, 1}, {math.MinInt64, math.MaxInt64}, {1 << 40, 1, -1 << 39}} {
		var b []byte
		for _, v := range x {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		f.Add(b, uint64(5))
		f.Add(b, uint64(dp.MaxBound))
	}
	f.Fuzz(func(t *testing.T, b []byte, c uint64) {
		var x []int64
		for ; len(b) >= 8; b = b[8:] {
			x = append(x, int64(binary.LittleEndian.Uint64(b)))
		}
		checkCausal(t, int64(c%(dp.MaxBound+1)), x)
	})
}

// The stored form another implementation must reproduce, and texts that only
// look like it. It would catch a state that allows more than C².
func TestCausalClipBinary(t *testing.T) {
	k := mustCausalClip(t, 3000)
	k.Admit(200)
	k.Admit(-450)
	got, err := k.AppendBinary([]byte("before"))
	const want = "01" + "0000000000000bb8" + "000000000000000000000000" + "0085a0fc"
	if err != nil || string(got[:6]) != "before" || hex.EncodeToString(got[6:]) != want {
		t.Errorf("stored as %x, %v; want %s", got, err, want)
	}

	for name, text := range map[string]string{
		"nothing":               "",
		"a byte short":          want[:48],
		"a byte long":           want + "00",
		"version 0":             "00" + want[2:],
		"version 2":             "02" + want[2:],
		"more than C² left":     "01" + "0000000000000002" + "00000000000000000000000000000005",
		"more by the high word": "01" + "0000000000000002" + "00000000000000010000000000000000",
		"C above MaxBound":      "01" + "0000010000000001" + "00000000000000000000000000000000",
		"C whose square wraps":  "01" + "ffffffffffffffff" + "00000000000000000000000000000000",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		read := k
		if err := read.UnmarshalBinary(b); !errors.Is(err, dp.ErrCausalState) || read != k {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Catches a parser that takes what AppendBinary would not have written, and one
// that trusts a state to keep the bound: whatever is read admits no more than
// C² afterwards.
func FuzzCausalState(f *testing.F) {
	for _, c := range []int64{0, 1, 3000, dp.MaxBound} {
		k := mustCausalClip(f, c)
		whole, _ := k.AppendBinary(nil)
		k.Admit(1)
		begun, _ := k.AppendBinary(nil)
		f.Add(whole)
		f.Add(begun)
		f.Add(whole[1:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := mustCausalClip(t, 7)
		if err := k.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, dp.ErrCausalState) || k != mustCausalClip(t, 7) {
				t.Fatalf("%x refused with %v", b, err)
			}
			return
		}
		if again, err := k.AppendBinary(nil); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x read, written as %x, %v", b, again, err)
		}
		c := int64(binary.BigEndian.Uint64(b[1:]))
		total := new(big.Int)
		for range 4 {
			total.Add(total, square(k.Admit(math.MinInt64)))
		}
		if total.Cmp(square(c)) > 0 {
			t.Fatalf("%x admits %v, beyond C = %d", b, total, c)
		}
	})
}

// Catches a reading on its way into a log through the ways things are printed.
func TestCausalClipPrintsNoState(t *testing.T) {
	k := mustCausalClip(t, 3000)
	k.Admit(1234)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{k, &k, []dp.CausalClip{k}, struct{ K dp.CausalClip }{k}} {
			if text := fmt.Sprintf(verb, v); strings.ContainsAny(text, "0123456789") {
				t.Errorf("%s of a %T prints %s", verb, v, text)
			}
		}
	}
}
