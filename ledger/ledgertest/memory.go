// Package ledgertest holds what tests of the ledger and of everything that
// proposes to it need: a store in memory with faults to order, the contract
// suite that every real store must pass, and a sequencer in one call.
//
// Its promise is that the memory store and a real one cannot be told apart
// through the ledger's interfaces, faults included; [TestStore] holds both to it.
package ledgertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/wattveil/wattveil/ledger"
)

// Memory is a ledger.Store that forgets everything when it is dropped. Its
// transactions follow one another. It is safe for concurrent use.
type Memory struct {
	turn chan struct{} // holds a token while no transaction is open

	mu          sync.RWMutex // guards what is committed, and fault
	head        ledger.Head
	entries     []ledger.Entry
	requests    map[string]uint64
	envelopes   []ledger.EnvelopeHead
	tiles       map[tileID][]byte
	checkpoints []signed // ascending by size
	fault       func(Step) Fault

	// Touched by the open transaction alone.
	chains   map[ledger.ChainID]ledger.Link
	keys     map[string][]ledger.TagKey // oldest first
	envelope []ledger.EnvelopeKey       // of regulators
}

type tileID struct {
	level int
	n     uint64
}

type signed struct {
	size uint64
	root ledger.Hash
	note []byte
}

// NewMemory returns a store that holds the empty log of that origin.
func NewMemory(origin string) *Memory {
	m := &Memory{
		turn:     make(chan struct{}, 1),
		head:     ledger.NewHead(origin),
		requests: make(map[string]uint64),
		tiles:    make(map[tileID][]byte),
		chains:   make(map[ledger.ChainID]ledger.Link),
		keys:     make(map[string][]ledger.TagKey),
	}
	m.turn <- struct{}{}
	return m
}

// View implements ledger.MapStore; it takes its turn like any other.
func (m *Memory) View(ctx context.Context, fn func(context.Context, *Tx) error) error {
	return m.Transact(ctx, fn)
}

// Transact implements ledger.Store.
func (m *Memory) Transact(ctx context.Context, fn func(context.Context, *Tx) error) error {
	select {
	case <-m.turn:
		defer func() { m.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := m.fail(Begin); err != nil {
		return err
	}
	tx := &Tx{m: m, savepoints: make(map[string]int)}
	committed := false
	defer func() {
		if !committed { // fn failed or panicked, or COMMIT did
			tx.undoTo(0)
		}
	}()
	if err := fn(ctx, tx); err != nil {
		return err
	}
	switch m.ask(Commit) {
	case Failed:
		return fmt.Errorf("committing: %w", ErrFault)
	case Lost:
		return fmt.Errorf("committing: %w: %w", ledger.ErrUnknownOutcome, ErrFault)
	case FailedPersisted:
		tx.apply()
		committed = true
		return fmt.Errorf("committing: %w: %w", ledger.ErrUnknownOutcome, ErrFault)
	case None:
	}
	tx.apply()
	committed = true
	return nil
}

// PutSubjectKey registers a household with its tag key, outside any
// transaction.
func (m *Memory) PutSubjectKey(subject string, key ledger.Hash) {
	<-m.turn
	m.keys[subject] = []ledger.TagKey{{FromSeq: 1, Key: key}}
	m.turn <- struct{}{}
}

// PutEnvelopeKey registers a regulator's key, outside any transaction.
func (m *Memory) PutEnvelopeKey(key ledger.EnvelopeKey) {
	<-m.turn
	m.envelope = append(m.envelope, key)
	m.turn <- struct{}{}
}

// EnvelopeHeads returns the heads of all envelopes that are committed.
func (m *Memory) EnvelopeHeads() []ledger.EnvelopeHead {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.envelopes)
}

// TagKeys returns the generations of a household's tag key, oldest first.
func (m *Memory) TagKeys(subject string) []ledger.TagKey {
	<-m.turn
	defer func() { m.turn <- struct{}{} }()
	return slices.Clone(m.keys[subject])
}

// EraseEntry destroys the private columns of an entry.
func (m *Memory) EraseEntry(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[index]
	m.entries[index] = ledger.Entry{Index: e.Index, RequestID: e.RequestID, Leaf: e.Leaf}
}

// Head implements ledger.Store.
func (m *Memory) Head(context.Context) (ledger.Head, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	head := m.head
	head.Frontier = slices.Clone(head.Frontier)
	return head, nil
}

// PutCheckpoint implements ledger.Store.
func (m *Memory) PutCheckpoint(_ context.Context, size uint64, root ledger.Hash, note []byte) error {
	fault := m.ask(PutCheckpoint)
	if fault == Failed || fault == Lost {
		return ErrFault
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := signed{size, root, slices.Clone(note)}
	i, found := m.find(size)
	switch {
	case found && m.checkpoints[i].root != root:
		return ledger.ErrFork
	case found:
		m.checkpoints[i] = s
	default:
		m.checkpoints = slices.Insert(m.checkpoints, i, s)
	}
	if fault == FailedPersisted {
		return ErrFault
	}
	return nil
}

// find returns where the checkpoint of that size is, or would be.
func (m *Memory) find(size uint64) (int, bool) {
	return slices.BinarySearchFunc(m.checkpoints, size, func(s signed, size uint64) int {
		return cmp.Compare(s.size, size)
	})
}

// Checkpoint implements ledger.Reader.
func (m *Memory) Checkpoint(context.Context) ([]byte, error) {
	if err := m.fail(Read); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.checkpoints) == 0 {
		return nil, ledger.ErrNoCheckpoint
	}
	return slices.Clone(m.checkpoints[len(m.checkpoints)-1].note), nil
}

// CheckpointAt implements ledger.Reader.
func (m *Memory) CheckpointAt(_ context.Context, size uint64) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, found := m.find(size)
	if !found {
		return nil, ledger.ErrNoCheckpoint
	}
	return slices.Clone(m.checkpoints[i].note), nil
}

// Checkpoints implements ledger.Reader.
func (m *Memory) Checkpoints(_ context.Context, after uint64, limit int) ([][]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var notes [][]byte
	for _, s := range m.checkpoints {
		if s.size > after && len(notes) < limit {
			notes = append(notes, slices.Clone(s.note))
		}
	}
	return notes, nil
}

// ReadTile implements ledger.Reader.
func (m *Memory) ReadTile(_ context.Context, level int, n uint64) ([]byte, error) {
	if err := m.fail(Read); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.tiles[tileID{level, n}]
	if !ok {
		return nil, ledger.ErrNoTile
	}
	return slices.Clone(b), nil
}

// ReadLeaves implements ledger.Reader.
func (m *Memory) ReadLeaves(_ context.Context, from, until uint64) ([]ledger.Leaf, error) {
	if err := m.fail(Read); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	until = min(until, uint64(len(m.entries)))
	var leaves []ledger.Leaf
	for i := from; i < until; i++ {
		leaves = append(leaves, m.entries[i].Leaf)
	}
	return leaves, nil
}

// ReadEntry implements ledger.Reader.
func (m *Memory) ReadEntry(_ context.Context, index uint64) (ledger.Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if index >= uint64(len(m.entries)) {
		return ledger.Entry{}, ledger.ErrNoEntry
	}
	e := m.entries[index]
	if e.Payload == nil {
		return ledger.Entry{Index: e.Index, Leaf: e.Leaf}, ledger.ErrErased
	}
	return e, nil
}

// ErrFault is what an ordered fault returns.
var ErrFault = errors.New("ledgertest: ordered fault")

// Step names a place where a fault can be ordered.
type Step string

// The steps.
const (
	Begin         Step = "begin"
	LockHead      Step = "lock head"
	FindRequest   Step = "find requests"
	Savepoint     Step = "savepoint"
	RollbackTo    Step = "roll back"
	Release       Step = "release"
	ReadChain     Step = "read chains"
	SetChain      Step = "set chains"
	SubjectKey    Step = "tag keys"
	EnvelopeKeys  Step = "envelope keys"
	ReadEnds      Step = "read ends of chains"
	Append        Step = "append"
	Commit        Step = "commit"
	PutCheckpoint Step = "put checkpoint"
	Read          Step = "read" // Checkpoint, ReadTile and ReadLeaves
)

// Fault is how a step goes wrong.
type Fault uint8

// The faults.
const (
	None            Fault = iota
	Failed                // the step returns an error and has had no effect
	FailedPersisted       // the step takes effect and returns an error; a COMMIT's is ErrUnknownOutcome
	Lost                  // the step has no effect; a COMMIT's error is ErrUnknownOutcome all the same
)

// OnStep orders faults: f is asked before every step, by several goroutines at
// once. Nil ends them.
func (m *Memory) OnStep(f func(Step) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

func (m *Memory) ask(step Step) Fault {
	m.mu.RLock()
	f := m.fault
	m.mu.RUnlock()
	if f == nil {
		return None
	}
	return f(step)
}

// fail is ask for steps that have no effect to persist.
func (m *Memory) fail(step Step) error {
	if m.ask(step) != None {
		return fmt.Errorf("%s: %w", step, ErrFault)
	}
	return nil
}
