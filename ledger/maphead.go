package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// MapTx is what map heads need of a store's transaction beside what leaves need.
type MapTx interface {
	Tx

	// LedgerEnds returns the ends of the chains of the households that have an
	// event of index from or later; of all, for 0. An erased one is absent.
	LedgerEnds(ctx context.Context, from uint64) ([]SubjectEnd, error)

	// LedgerTombstones returns the map keys that erasures of index from or later
	// name.
	LedgerTombstones(ctx context.Context, from uint64) ([]Hash, error)
}

// MapStore is a Store that map heads can be written over.
type MapStore[T MapTx] interface {
	Store[T]

	// View runs fn in a transaction that only reads what is committed, and keeps
	// nobody from writing meanwhile.
	View(ctx context.Context, fn func(ctx context.Context, tx T) error) error
}

// SubjectEnd is the end of a household's chain.
type SubjectEnd struct {
	Subject string
	TagKeys []TagKey // oldest first
	Link    Link
}

// Mapper writes map heads: leaves that say how every household's chain ends, so
// that the hub cannot keep a household's last events from it, nor tell two people
// two stories. It keeps the map of its newest head in memory, and proves from it.
// Several processes may write map heads over one store; each proves from its own.
// It is safe for concurrent use.
type Mapper[T MapTx] struct {
	store MapStore[T]
	seq   *Sequencer[T]

	mu     sync.Mutex
	tree   Map
	until  uint64 // the tree says how chains end by the leaves before this index
	head   uint64 // index of the newest map head
	exists bool   // whether there is one
}

// NewMapper returns a mapper that has written no head yet.
func NewMapper[T MapTx](store MapStore[T], seq *Sequencer[T]) *Mapper[T] {
	return &Mapper[T]{store: store, seq: seq}
}

// mapChanges is what has become of some households.
type mapChanges struct {
	ends       []SubjectEnd
	tombstones []Hash
}

func readChanges(ctx context.Context, tx MapTx, from uint64) (c mapChanges, err error) {
	if c.ends, err = tx.LedgerEnds(ctx, from); err != nil {
		return c, err
	}
	c.tombstones, err = tx.LedgerTombstones(ctx, from)
	return c, err
}

// errNoChange ends a proposal of a map head that would say nothing new.
var errNoChange = errors.New("ledger: no household has a new event")

// Tick writes a map head if any household has an event that the newest one does
// not know of, and reports whether it did. Most of what has changed is read before
// the head of the log is locked, and only the rest while it is. Once the head is
// proposed, Tick waits for what becomes of it, whether ctx ends or not.
func (m *Mapper[T]) Tick(ctx context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var before mapChanges
	var until uint64
	err := m.store.View(ctx, func(ctx context.Context, tx T) (err error) {
		head, err := m.store.Checkpoint(ctx) // of committed leaves, without locking the head
		if errors.Is(err, ErrNoCheckpoint) {
			return nil
		}
		if err != nil {
			return err
		}
		if until, _, err = ReadCheckpoint(head); err != nil {
			return err
		}
		before, err = readChanges(ctx, tx, m.until)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reading what has changed: %w", err)
	}
	until = max(until, m.until)
	undo := m.apply(before)
	_ = m.tree.Root() // hashes what has changed now, and not while the head is locked
	var rest []change
	var covered uint64
	// Who leaves does not take the function along: it would go on with a tree that is
	// put back under its hands.
	receipt, err := m.seq.Propose(context.WithoutCancel(ctx), fmt.Sprintf("map-head/%d", until), func(ctx context.Context, tx T, _ Position) (Payload, error) {
		m.revert(rest) // the batch may begin again
		rest = nil
		head, err := tx.LedgerHead(ctx)
		if err != nil {
			return Payload{}, err
		}
		tail, err := readChanges(ctx, tx, until)
		if err != nil {
			return Payload{}, err
		}
		covered = head.Size
		rest = m.apply(tail)
		if m.exists && len(undo)+len(rest) == 0 {
			return Payload{}, errNoChange
		}
		return Payload{Kind: KindMapHead, Digest: m.tree.Root(), MapSize: uint64(m.tree.Len()), MapUntil: covered}, nil
	})
	if err != nil {
		m.revert(rest)
		m.revert(undo)
		if errors.Is(err, errNoChange) {
			return false, nil
		}
		return false, fmt.Errorf("writing map head: %w", err)
	}
	p, err := DecodePayload(receipt.Payload)
	if err == nil && (p.Digest != m.tree.Root() || p.MapUntil != covered) {
		err = errors.New("ledger: another process wrote this map head") // its tree may differ from ours by what came later
	}
	if err != nil {
		m.tree, m.until, m.exists = Map{}, 0, false // read anew
		return false, err
	}
	m.until, m.head, m.exists = covered, receipt.Index, true
	return true, nil
}

// change is what an entry of the map was before it was changed.
type change struct {
	key   Hash
	value Hash
	there bool
}

// apply puts changes into the tree and returns what takes them back.
func (m *Mapper[T]) apply(c mapChanges) (undo []change) {
	put := func(key, value Hash, there bool) {
		old, was := m.tree.get(key)
		if was == there && old == value {
			return
		}
		undo = append(undo, change{key, old, was})
		if there {
			m.tree.Set(key, value)
		} else {
			m.tree.Delete(key)
		}
	}
	for _, e := range c.ends {
		for i, k := range e.TagKeys {
			if newest := i == len(e.TagKeys)-1; newest {
				put(MapKey(k.Key), MapValue(e.Link), true)
			} else {
				put(MapKey(k.Key), Hash{}, false)
			}
		}
	}
	for _, key := range c.tombstones {
		put(key, MapTombstone(key), true)
	}
	return undo
}

func (m *Mapper[T]) revert(undo []change) {
	for i := len(undo) - 1; i >= 0; i-- {
		if u := undo[i]; u.there {
			m.tree.Set(u.key, u.value)
		} else {
			m.tree.Delete(u.key)
		}
	}
}

// ErrNoMapHead: no map head has been written yet.
var ErrNoMapHead = errors.New("ledger: no map head yet")

// Prove returns the index of the newest map head, and what its map holds for the
// household of these tag keys, oldest first: its key there and the proof, which is
// of absence where it had no event yet.
func (m *Mapper[T]) Prove(tagKeys []TagKey) (head uint64, key Hash, proof MapProof, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.exists {
		return 0, Hash{}, MapProof{}, ErrNoMapHead
	}
	for i := len(tagKeys) - 1; i >= 0; i-- {
		key = MapKey(tagKeys[i].Key)
		if _, ok := m.tree.get(key); ok {
			break // a newer key may have come after the head
		}
	}
	return m.head, key, m.tree.Prove(key), nil
}

// List returns the index of the newest map head and the entries behind it,
// ascending by key.
func (m *Mapper[T]) List() (head uint64, entries []MapEntry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.exists {
		return 0, nil, ErrNoMapHead
	}
	entries = make([]MapEntry, 0, m.tree.Len())
	for key, value := range m.tree.All() {
		entries = append(entries, MapEntry{key, value})
	}
	return m.head, entries, nil
}
