// Package keyguardtest holds the contract that a store must keep for the guard,
// see [TestKeys], and a store in memory to test the guard on, see [Memory].
//
// It keeps one promise: what passes TestKeys lets an access open once, whoever
// asks and however many at the same time.
package keyguardtest

import (
	"context"
	"slices"
	"sync"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Memory is a keyguard.Keys that forgets everything when it is dropped. The zero
// Memory is empty. It is safe for concurrent use.
type Memory struct {
	mu         sync.Mutex
	households map[consent.Household][]keyguard.WrappedKey
	wraps      []seal.DayKeyWrap
	writers    map[seal.WriterID][]byte
	uses       map[uint64]int
}

// PutHousehold stores the wrapped keys of a household; none erases it.
func (m *Memory) PutHousehold(h consent.Household, keys ...keyguard.WrappedKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.households == nil {
		m.households = make(map[consent.Household][]keyguard.WrappedKey)
	}
	m.households[h] = keys
}

// PutWrap stores a wrap, or one more copy of it.
func (m *Memory) PutWrap(w seal.DayKeyWrap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wraps = append(m.wraps, w)
}

// PutWriter registers a writer.
func (m *Memory) PutWriter(id seal.WriterID, key []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writers == nil {
		m.writers = make(map[seal.WriterID][]byte)
	}
	m.writers[id] = key
}

// Uses returns how often the leaf at index was presented.
func (m *Memory) Uses(index uint64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uses[index]
}

// HouseholdKeys is that of keyguard.Keys.
func (m *Memory) HouseholdKeys(_ context.Context, h consent.Household) ([]keyguard.WrappedKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.households[h]), nil
}

// DayKeyWraps is that of keyguard.Keys.
func (m *Memory) DayKeyWraps(_ context.Context, h consent.Household, from, to meter.Day) ([]seal.DayKeyWrap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []seal.DayKeyWrap
	for _, w := range m.wraps {
		if w.Household == h && from <= w.Day && w.Day <= to {
			found = append(found, w)
		}
	}
	return found, nil
}

// WriterKeys is that of keyguard.Keys.
func (m *Memory) WriterKeys(_ context.Context, ids []seal.WriterID) (map[seal.WriterID][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make(map[seal.WriterID][]byte)
	for _, id := range ids {
		if key, ok := m.writers[id]; ok {
			found[id] = key
		}
	}
	return found, nil
}

// SpendAccess is that of keyguard.Keys.
func (m *Memory) SpendAccess(_ context.Context, index uint64, self bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uses == nil {
		m.uses = make(map[uint64]int)
	}
	if !self && m.uses[index] > 0 {
		return keyguard.ErrSpent
	}
	m.uses[index]++
	return nil
}
