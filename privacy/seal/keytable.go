package seal

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// maxKeys bounds a writer's memory, at about 300 bytes a key. Past it the
// writer is spent: forgetting one key to make room for another would, if the
// day came back, give two keys one name.
const maxKeys = 1 << 21

// keyName is what one writer's keys are told apart by. A window has no
// household and no generation.
type keyName struct {
	household  consent.Household
	generation uint32
	day        meter.Day
}

// keyTable holds the keys that a writer made, in shards so that many goroutines
// may seal at once.
type keyTable struct {
	seed   maphash.Seed
	count  atomic.Int64
	shards [64]keyShard
}

type keyShard struct {
	mu     sync.RWMutex
	before meter.Day // days before it are forgotten
	keys   map[keyName]*keyEntry
}

type keyEntry struct {
	carrier
	key       [32]byte // guarded by the shard's lock
	recipient [32]byte // hash of the public key it is wrapped to
}

func newKeyTable() *keyTable {
	k := &keyTable{seed: maphash.MakeSeed()}
	for i := range k.shards {
		k.shards[i].before = forgotNothing
		k.shards[i].keys = map[keyName]*keyEntry{}
	}
	return k
}

// forgotNothing is before the first day that anything is sealed for.
const forgotNothing = meter.Day(-1 << 31)

func (k *keyTable) shard(n keyName) *keyShard {
	return &k.shards[maphash.Comparable(k.seed, n)%uint64(len(k.shards))]
}

func (k *keyTable) find(n keyName) *carrier {
	s := k.shard(n)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.keys[n]; e != nil {
		return &e.carrier
	}
	return nil
}

func (k *keyTable) get(n keyName, recipient PublicKey, random func([]byte) error) (*carrier, [32]byte, error) {
	s := k.shard(n)
	s.mu.RLock()
	if e := s.keys[n]; e != nil {
		defer s.mu.RUnlock()
		return e.forRecipient(recipient)
	}
	s.mu.RUnlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.keys[n]; e != nil {
		return e.forRecipient(recipient)
	}
	if n.day < s.before || k.count.Load() >= maxKeys {
		return nil, [32]byte{}, ErrWriterSpent
	}
	e := &keyEntry{recipient: recipient.k.hash}
	if err := random(e.key[:]); err != nil {
		return nil, [32]byte{}, fmt.Errorf("drawing key: %w", err)
	}
	n.household = consent.Household(strings.Clone(string(n.household))) // not the request it was cut from
	s.keys[n] = e
	k.count.Add(1)
	return &e.carrier, e.key, nil
}

func (e *keyEntry) forRecipient(recipient PublicKey) (*carrier, [32]byte, error) {
	if e.recipient != recipient.k.hash {
		return nil, [32]byte{}, ErrKeyMismatch
	}
	return &e.carrier, e.key, nil
}

func (k *keyTable) forget(before meter.Day) {
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.Lock()
		s.before = max(s.before, before)
		for n, e := range s.keys {
			if n.day < before {
				clear(e.key[:])
				delete(s.keys, n)
				k.count.Add(-1)
			}
		}
		s.mu.Unlock()
	}
}

// carrier is the wrap of one key: made at first use, carried by every
// transaction until one is known to be committed, then dropped.
type carrier struct {
	mu        sync.Mutex
	committed bool
	sealed    []byte
	signature []byte
}

// carry returns the wrap of key to recipient, or that it is known to be stored.
// bound names it; both are the same at every call.
func (c *carrier) carry(w *Writer, recipient PublicKey, bound, key []byte) (sealed, signature []byte, known bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.committed {
		return nil, nil, true, nil
	}
	if c.sealed == nil {
		var seed [encapsulationSeed]byte
		defer clear(seed[:])
		if err := w.random(seed[:]); err != nil {
			return nil, nil, false, fmt.Errorf("drawing encapsulation: %w", err)
		}
		if c.sealed, err = wrap(bytes.NewReader(seed[:]), recipient, bound, key); err != nil {
			return nil, nil, false, err
		}
		c.signature = w.sign(bound, c.sealed)
	}
	return c.sealed, c.signature, false, nil
}

func (c *carrier) commit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed, c.sealed, c.signature = true, nil, nil
}
