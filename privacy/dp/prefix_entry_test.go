package dp

import "testing"

// Catches an entry that 127 bits do not decide, which could then be one below
// the floor that it is documented to be. Privacy would not suffer: the
// sensitivity is that of the entries, whatever they are. Upper words that decide
// by themselves decide rightly; the rest are looked at here, and only if n is
// large are there any.
func TestStrategyEntriesAreDecided(t *testing.T) {
	bins := MaxBins
	if testing.Short() {
		bins = 3000 // time n²
	}
	s, err := NewStrategy(bins, maxPrecision)
	if err != nil {
		t.Fatal(err)
	}
	wide := 0
	for bin := range bins {
		for m := range bins - bin {
			f, inverse := s.f[m], s.inverse[bin]
			h := mul64(f.hi, inverse.hi).hi
			const drop = 62 - maxPrecision
			if h>>drop == (h+2)>>drop {
				continue
			}
			wide++
			// The product of what was truncated is below w + f + inverse + 1, and
			// f + inverse + 1 ≤ 2^128 + 1 adds at most two to the third word.
			w := f.mul(inverse)
			if w[2] >= 1<<64-2 && (w[3]+1)>>drop != w[3]>>drop {
				t.Errorf("entry %d of column %d is not decided", m, bin)
			}
		}
	}
	t.Logf("%d entries needed the wide product", wide)
	if !testing.Short() && wide == 0 {
		t.Error("no entry needed the wide product: it is not tested")
	}
}
