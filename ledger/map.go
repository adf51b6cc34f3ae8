package ledger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// The map says, for every household, how its chain of events ends. It is a sparse
// Merkle tree over keys of 256 bits, branching from the most significant bit on,
// and compressed: the hash of a subtree is
//
//	without an entry      32 zero bytes
//	with one entry        SHA-256(0x00 | key | value), at whatever depth
//	with more than one    SHA-256(0x01 | left | right)
//
// so that the way to an entry among n has about log2(n) hashes beside it. An entry's
// hash holds its whole key: it stands for nothing else, wherever it hangs.

// MapKey returns the household's key in the map under its newest tag key:
// HMAC-SHA256(K_hh, "map"). The household computes it; to others it is random.
func MapKey(tagKey Hash) Hash {
	h := hmac.New(sha256.New, tagKey[:])
	h.Write([]byte("map"))
	return Hash(h.Sum(nil))
}

// MapValue returns the value of a household whose chain ends with link:
//
//	SHA-256("wattveil map value v1" | nonce | seq(8, big-endian) | head | accesses(8, big-endian))
//
// The nonce is that of its last event's commitment. It hides the value from
// whoever guesses, and dies with the event.
func MapValue(link Link) Hash {
	b := append([]byte("wattveil map value v1"), link.Nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, link.Seq)
	b = append(b, link.Head[:]...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, link.Accesses))
}

// MapTombstone returns the value of a household that was erased,
// SHA-256("wattveil map tombstone v1" | key).
func MapTombstone(key Hash) Hash {
	return sha256.Sum256(append([]byte("wattveil map tombstone v1"), key[:]...))
}

func mapLeaf(key, value Hash) Hash {
	var b [1 + 2*hashSize]byte
	copy(b[1:], key[:])
	copy(b[1+hashSize:], value[:])
	return sha256.Sum256(b[:])
}

func mapNode(left, right Hash) Hash {
	var b [1 + 2*hashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+hashSize:], right[:])
	return sha256.Sum256(b[:])
}

func bit(key Hash, depth int) int { return int(key[depth/8]>>(7-depth%8)) & 1 }

// Map is the tree in memory. The zero Map is empty. It is not safe for concurrent
// use. An entry takes about 250 bytes.
type Map struct {
	root *mapTree
	n    int
}

// mapTree is a subtree with at least one entry: with children, or one entry.
type mapTree struct {
	child [2]*mapTree // both nil for an entry; one may be nil
	key   Hash        // of an entry
	value Hash
	hash  Hash
	clean bool // hash is that of what is below
}

func (t *mapTree) entry() bool { return t.child[0] == nil && t.child[1] == nil }

// Len returns the number of entries.
func (m *Map) Len() int { return m.n }

// Set puts a value under a key, in place of what is there.
func (m *Map) Set(key, value Hash) { m.root = m.set(m.root, 0, key, value) }

func (m *Map) set(t *mapTree, depth int, key, value Hash) *mapTree {
	switch {
	case t == nil:
		m.n++
		return &mapTree{key: key, value: value}
	case !t.entry():
		b := bit(key, depth)
		t.child[b] = m.set(t.child[b], depth+1, key, value)
		t.clean = false
		return t
	case t.key == key:
		t.value, t.clean = value, false
		return t
	}
	// Two entries part further down.
	inner := &mapTree{}
	inner.child[bit(t.key, depth)] = t
	b := bit(key, depth)
	inner.child[b] = m.set(inner.child[b], depth+1, key, value)
	return inner
}

// Delete removes a key, if it is there.
func (m *Map) Delete(key Hash) { m.root = m.remove(m.root, 0, key) }

func (m *Map) remove(t *mapTree, depth int, key Hash) *mapTree {
	switch {
	case t == nil:
		return nil
	case t.entry():
		if t.key != key {
			return t
		}
		m.n--
		return nil
	}
	b := bit(key, depth)
	t.child[b] = m.remove(t.child[b], depth+1, key)
	t.clean = false
	for _, c := range [...][2]*mapTree{t.child, {t.child[1], t.child[0]}} {
		if c[0] == nil && (c[1] == nil || c[1].entry()) {
			return c[1] // one entry takes the place of the whole subtree
		}
	}
	return t
}

func (t *mapTree) sum() Hash {
	switch {
	case t == nil:
		return Hash{}
	case t.clean:
	case t.entry():
		t.hash, t.clean = mapLeaf(t.key, t.value), true
	default:
		t.hash, t.clean = mapNode(t.child[0].sum(), t.child[1].sum()), true
	}
	return t.hash
}

// Root returns the hash of the whole. It hashes what has changed since the last
// call, each node once.
func (m *Map) Root() Hash { return m.root.sum() }

// get returns what is under a key.
func (m *Map) get(key Hash) (value Hash, ok bool) {
	t := m.root
	for depth := 0; t != nil && !t.entry(); depth++ {
		t = t.child[bit(key, depth)]
	}
	if t == nil || t.key != key {
		return Hash{}, false
	}
	return t.value, true
}

// All returns the entries, ascending by key.
func (m *Map) All() iter.Seq2[Hash, Hash] {
	return func(yield func(Hash, Hash) bool) { m.root.walk(yield) }
}

func (t *mapTree) walk(yield func(Hash, Hash) bool) bool {
	switch {
	case t == nil:
		return true
	case t.entry():
		return yield(t.key, t.value)
	}
	return t.child[0].walk(yield) && t.child[1].walk(yield)
}

// MapProof says what a map holds under a key.
type MapProof struct {
	Siblings []Hash // beside the way from the root to where the key is or would be
	Other    *MapEntry
}

// MapEntry is another key's entry that stands where the key would be.
type MapEntry struct{ Key, Value Hash }

// Prove returns the proof of what the map holds under key, be it nothing.
func (m *Map) Prove(key Hash) MapProof {
	m.Root() // whatever has changed is hashed
	var p MapProof
	t := m.root
	for depth := 0; t != nil && !t.entry(); depth++ {
		b := bit(key, depth)
		p.Siblings = append(p.Siblings, t.child[1-b].sum())
		t = t.child[b]
	}
	if t != nil && t.key != key {
		p.Other = &MapEntry{t.key, t.value}
	}
	return p
}

// ErrMapProof: a proof that does not lead to the root.
var ErrMapProof = errors.New("ledger: map proof not valid")

// VerifyMap checks that a map with that root holds value under key or, with
// present false, nothing.
func VerifyMap(root, key, value Hash, present bool, p MapProof) error {
	if len(p.Siblings) > 8*hashSize {
		return fmt.Errorf("%w: too long", ErrMapProof)
	}
	var h Hash
	switch {
	case present && p.Other != nil:
		return fmt.Errorf("%w: another entry stands there", ErrMapProof)
	case present:
		h = mapLeaf(key, value)
	case p.Other != nil:
		if p.Other.Key == key {
			return fmt.Errorf("%w: the entry is there", ErrMapProof)
		}
		for depth := range p.Siblings {
			if bit(p.Other.Key, depth) != bit(key, depth) {
				return fmt.Errorf("%w: the other entry is not on the way", ErrMapProof)
			}
		}
		h = mapLeaf(p.Other.Key, p.Other.Value)
	}
	for depth := len(p.Siblings) - 1; depth >= 0; depth-- {
		if bit(key, depth) == 0 {
			h = mapNode(h, p.Siblings[depth])
		} else {
			h = mapNode(p.Siblings[depth], h)
		}
	}
	if h != root {
		return ErrMapProof
	}
	return nil
}

// MapRoot returns the root over a published list of entries, which must ascend by
// key, and their number. It holds one node for each level of the tree.
func MapRoot(entries iter.Seq2[Hash, Hash]) (root Hash, n uint64, err error) {
	var b mapBuilder
	for key, value := range entries {
		if err := b.add(key, value); err != nil {
			return Hash{}, 0, err
		}
	}
	return b.root(), b.n, nil
}

// mapBuilder hashes entries that come in order. Before an entry is known to be the
// only one of its subtree, the next must be seen: it stays pending.
type mapBuilder struct {
	n       uint64
	last    Hash   // key of the newest entry
	pending []half // subtrees left of the way to the newest entry, the deepest last
	hash    Hash   // of the newest entry
}

// half is a left subtree whose right sibling is still to come: at that depth its
// parent branches.
type half struct {
	depth int
	hash  Hash
}

var errMapOrder = errors.New("ledger: map entries are not in order")

func (b *mapBuilder) add(key, value Hash) error {
	if b.n > 0 {
		depth := 0
		for depth < 8*hashSize && bit(b.last, depth) == bit(key, depth) {
			depth++
		}
		if bytes.Compare(b.last[:], key[:]) >= 0 {
			return errMapOrder
		}
		// The last entry's subtree below depth is complete.
		left := b.close(depth + 1)
		b.pending = append(b.pending, half{depth, left})
	}
	b.last, b.hash = key, mapLeaf(key, value)
	b.n++
	return nil
}

// close folds the newest entry with all halves that branch at from or deeper, and
// returns the hash of the subtree that hangs at depth from.
func (b *mapBuilder) close(from int) Hash {
	h, depth := b.hash, -1 // the depth at which h branches; -1 for a single entry
	for len(b.pending) > 0 && b.pending[len(b.pending)-1].depth >= from {
		top := b.pending[len(b.pending)-1]
		b.pending = b.pending[:len(b.pending)-1]
		h = b.lift(h, depth, top.depth+1)
		h, depth = mapNode(top.hash, h), top.depth
	}
	return b.lift(h, depth, from)
}

// lift carries the hash of a subtree that branches at depth up to the depth to, on
// the way to the newest entry: empty siblings all along, which a single entry
// passes unhashed.
func (b *mapBuilder) lift(h Hash, depth, to int) Hash {
	if depth < 0 {
		return h
	}
	for depth--; depth >= to; depth-- {
		if bit(b.last, depth) == 0 {
			h = mapNode(h, Hash{})
		} else {
			h = mapNode(Hash{}, h)
		}
	}
	return h
}

func (b *mapBuilder) root() Hash {
	if b.n == 0 {
		return Hash{}
	}
	return b.close(0)
}
