package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// plainRoot is the map's definition, word for word.
func plainRoot(entries map[ledger.Hash]ledger.Hash, depth int) ledger.Hash {
	switch len(entries) {
	case 0:
		return ledger.Hash{}
	case 1:
		for k, v := range entries {
			return sha256.Sum256(slices.Concat([]byte{0}, k[:], v[:]))
		}
	}
	halves := [2]map[ledger.Hash]ledger.Hash{{}, {}}
	for k, v := range entries {
		halves[k[depth/8]>>(7-depth%8)&1][k] = v
	}
	left, right := plainRoot(halves[0], depth+1), plainRoot(halves[1], depth+1)
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// keysOf are keys that share long beginnings as well as none: every shape of the
// compressed tree.
func keysOf(n int) (keys []ledger.Hash) {
	for i := range n {
		key := sha256.Sum256(fmt.Append(nil, i))
		if i%3 > 0 && len(keys) > 0 { // as the one before, up to somewhere
			at := (i * 7) % 256
			old := keys[len(keys)-1]
			key = old
			key[at/8] ^= 1 << (7 - at%8)
		}
		keys = append(keys, key)
	}
	return keys
}

// The tree, the proofs and the builder agree with the definition, whatever is set,
// replaced and deleted, in whatever order. It would catch an entry that is hashed
// as if its neighbours were still, or not yet, there.
func TestMap(t *testing.T) {
	keys := keysOf(60)
	var m ledger.Map
	plain := make(map[ledger.Hash]ledger.Hash)
	check := func(step string) {
		t.Helper()
		root := plainRoot(plain, 0)
		if m.Root() != root || m.Len() != len(plain) {
			t.Fatalf("%s: root or size of %d entries differs", step, len(plain))
		}
		if got, n, err := ledger.MapRoot(m.All()); got != root || n != uint64(len(plain)) || err != nil {
			t.Fatalf("%s: root from the list of %d is another, %v", step, n, err)
		}
		for _, k := range keys {
			v, there := plain[k]
			p := m.Prove(k)
			if err := ledger.VerifyMap(root, k, v, there, p); err != nil {
				t.Fatalf("%s: proof of %x: %v", step, k[:4], err)
			}
			if err := ledger.VerifyMap(root, k, v, !there, p); err == nil {
				t.Fatalf("%s: the proof of %x proves the contrary too", step, k[:4])
			}
			if err := ledger.VerifyMap(root, k, ledger.Hash{255}, true, p); err == nil {
				t.Fatalf("%s: the proof of %x proves another value too", step, k[:4])
			}
		}
	}
	check("empty")
	for i, k := range keys {
		v := sequence(byte(i))
		m.Set(k, v)
		plain[k] = v
		if i%5 == 0 {
			check(fmt.Sprint("set ", i))
		}
		if i%4 == 1 {
			m.Set(keys[i/2], sequence(200))
			plain[keys[i/2]] = sequence(200)
		}
		if i%3 == 2 {
			m.Delete(keys[i/3])
			delete(plain, keys[i/3])
			m.Delete(sequence(3)) // never there
			check(fmt.Sprint("deleted ", i))
		}
	}
	check("full")
	for _, k := range slices.SortedFunc(maps.Keys(plain), func(a, b ledger.Hash) int { return bytes.Compare(b[1:], a[1:]) }) {
		m.Delete(k)
		delete(plain, k)
		check("shrinking")
	}
}

// A list that is not in order, or names a key twice, is no map.
func TestMapRootRefuses(t *testing.T) {
	for name, keys := range map[string][]ledger.Hash{"order": {sequence(2), sequence(1)}, "twice": {sequence(1), sequence(1)}} {
		_, _, err := ledger.MapRoot(func(yield func(ledger.Hash, ledger.Hash) bool) {
			for _, k := range keys {
				if !yield(k, sequence(0)) {
					return
				}
			}
		})
		if err == nil {
			t.Errorf("%s: a root was returned", name)
		}
	}
}

// A proof of absence shows what else stands there; an entry that is there, or is
// not on the way, shows nothing.
func TestMapProofOfAbsence(t *testing.T) {
	var m ledger.Map
	keys := keysOf(20)
	for _, k := range keys[:19] {
		m.Set(k, sequence(1))
	}
	root, absent, there := m.Root(), keys[19], keys[0]
	good := m.Prove(absent)
	if err := ledger.VerifyMap(root, absent, ledger.Hash{}, false, good); err != nil {
		t.Fatal(err)
	}
	hidden := m.Prove(there)
	hidden.Other = &ledger.MapEntry{Key: there, Value: sequence(1)}
	if err := ledger.VerifyMap(root, there, ledger.Hash{}, false, hidden); !errors.Is(err, ledger.ErrMapProof) {
		t.Errorf("an entry was shown as another's: %v", err)
	}
	away := m.Prove(keys[5])
	away.Other = &ledger.MapEntry{Key: keys[5], Value: sequence(1)}
	if err := ledger.VerifyMap(root, there, ledger.Hash{}, false, away); !errors.Is(err, ledger.ErrMapProof) {
		t.Errorf("an entry from elsewhere was shown: %v", err)
	}
	long := ledger.MapProof{Siblings: make([]ledger.Hash, 257)}
	if err := ledger.VerifyMap(root, there, ledger.Hash{}, false, long); !errors.Is(err, ledger.ErrMapProof) {
		t.Errorf("a proof longer than a key: %v", err)
	}
}

// The formulas of keys and values, as another language would write them.
func TestMapFormulas(t *testing.T) {
	link := ledger.Link{Seq: 0x0102, Head: sequence(1), Accesses: 0x0304, Nonce: sequence(2)}
	n, h := sequence(2), sequence(1)
	want := sha256.Sum256(slices.Concat([]byte("wattveil map value v1"), n[:], []byte{0, 0, 0, 0, 0, 0, 1, 2}, h[:], []byte{0, 0, 0, 0, 0, 0, 3, 4}))
	if got := ledger.MapValue(link); got != want {
		t.Errorf("value %x, want %x", got, want)
	}
	k := sequence(5)
	if got, want := ledger.MapTombstone(k), sha256.Sum256(append([]byte("wattveil map tombstone v1"), k[:]...)); got != want {
		t.Errorf("tombstone %x, want %x", got, want)
	}
	if got, want := fmt.Sprintf("%x", ledger.MapKey(sequence(0))), "4936e65e"; got[:8] != want {
		t.Errorf("key %s, want %s…", got, want) // HMAC-SHA256(00 01 … 1f, "map")
	}
}
