package ledgertest

import (
	"context"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/ledger"
)

// Tx is a transaction of Memory. A test that needs more state than the
// ledger's embeds it, and registers with Undo how each of its changes is taken
// back.
type Tx struct {
	m          *Memory
	undo       []func()
	savepoints map[string]int // by name, how many changes came before

	// Pending until COMMIT, so that readers see nothing of them.
	head    *ledger.Head
	entries []ledger.Entry
	tiles   []ledger.Tile
}

// Undo registers how to take back a change that has just been made, should the
// transaction, or the savepoint it is under, be rolled back.
func (tx *Tx) Undo(f func()) { tx.undo = append(tx.undo, f) }

func (tx *Tx) undoTo(n int) {
	for len(tx.undo) > n {
		tx.undo[len(tx.undo)-1]()
		tx.undo = tx.undo[:len(tx.undo)-1]
	}
}

// apply makes the transaction's pending part visible to readers.
func (tx *Tx) apply() {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	if tx.head == nil {
		return
	}
	tx.m.head = *tx.head
	for _, e := range tx.entries {
		tx.m.requests[e.RequestID] = e.Index
		tx.m.entries = append(tx.m.entries, e)
	}
	for _, t := range tx.tiles {
		tx.m.tiles[tileID{t.Level, t.N}] = slices.Clone(t.Data)
	}
}

// do performs one step, with the fault that is ordered for it.
func (tx *Tx) do(step Step, effect func() error) error {
	fault := tx.m.ask(step)
	if fault == Failed || fault == Lost {
		return fmt.Errorf("%s: %w", step, ErrFault)
	}
	if err := effect(); err != nil {
		return err
	}
	if fault == FailedPersisted {
		return fmt.Errorf("%s: %w", step, ErrFault)
	}
	return nil
}

// current is the head as this transaction sees it.
func (tx *Tx) current() ledger.Head {
	if tx.head != nil {
		return *tx.head
	}
	tx.m.mu.RLock()
	defer tx.m.mu.RUnlock()
	return tx.m.head
}

// LedgerHead implements ledger.Tx.
func (tx *Tx) LedgerHead(context.Context) (head ledger.Head, err error) {
	err = tx.do(LockHead, func() error {
		head = tx.current()
		head.Frontier = slices.Clone(head.Frontier)
		return nil
	})
	return head, err
}

// LedgerAppend implements ledger.Tx. It also checks what a database would:
// contiguous indices, unique request ids, full tiles.
func (tx *Tx) LedgerAppend(_ context.Context, from, to ledger.Head, entries []ledger.Entry, tiles []ledger.Tile) error {
	return tx.do(Append, func() error {
		if now := tx.current(); now.Epoch != from.Epoch || now.Size != from.Size {
			return ledger.ErrFenced
		}
		if to.Size-from.Size != uint64(len(entries)) {
			return fmt.Errorf("appending %d entries from %d to %d", len(entries), from.Size, to.Size)
		}
		for i, e := range entries {
			if e.Index != from.Size+uint64(i) {
				return fmt.Errorf("appending: index %d at %d", e.Index, from.Size+uint64(i))
			}
			if _, ok, _ := tx.request(e.RequestID); ok {
				return fmt.Errorf("appending index %d: request id is taken", e.Index)
			}
			tx.entries = append(tx.entries, e)
			tx.Undo(func() { tx.entries = tx.entries[:len(tx.entries)-1] })
		}
		for _, t := range tiles {
			if len(t.Data) != ledger.TileWidth*32 {
				return fmt.Errorf("appending tile %d/%d: %d bytes", t.Level, t.N, len(t.Data))
			}
		}
		before, count := tx.head, len(tx.tiles)
		tx.head, tx.tiles = &to, append(tx.tiles, tiles...)
		tx.Undo(func() { tx.head, tx.tiles = before, tx.tiles[:count] })
		return nil
	})
}

// LedgerRequest implements ledger.Tx.
func (tx *Tx) LedgerRequest(_ context.Context, requestID string) (e ledger.Entry, ok bool, err error) {
	err = tx.do(FindRequest, func() error {
		e, ok, err = tx.request(requestID)
		return err
	})
	return e, ok, err
}

func (tx *Tx) request(requestID string) (ledger.Entry, bool, error) {
	for _, e := range tx.entries {
		if e.RequestID == requestID {
			return e, true, nil
		}
	}
	tx.m.mu.RLock()
	defer tx.m.mu.RUnlock()
	index, ok := tx.m.requests[requestID]
	if !ok {
		return ledger.Entry{}, false, nil
	}
	return tx.m.entries[index], true, nil
}

// LedgerChain implements ledger.Tx.
func (tx *Tx) LedgerChain(_ context.Context, kind ledger.ChainKind, id string) (link ledger.Link, err error) {
	err = tx.do(ReadChain, func() error {
		link = tx.m.chains[chainID{kind, id}]
		return nil
	})
	return link, err
}

// LedgerSetChain implements ledger.Tx.
func (tx *Tx) LedgerSetChain(_ context.Context, kind ledger.ChainKind, id string, link ledger.Link) error {
	return tx.do(SetChain, func() error {
		before := tx.m.chains[chainID{kind, id}]
		tx.m.chains[chainID{kind, id}] = link
		tx.Undo(func() { tx.m.chains[chainID{kind, id}] = before })
		return nil
	})
}

// LedgerSubjectKey implements ledger.Tx.
func (tx *Tx) LedgerSubjectKey(_ context.Context, subject string) (key ledger.Hash, err error) {
	err = tx.do(SubjectKey, func() error {
		var ok bool
		if key, ok = tx.m.keys[subject]; !ok {
			return ledger.ErrNoSubjectKey
		}
		return nil
	})
	return key, err
}

// Savepoint implements ledger.Tx.
func (tx *Tx) Savepoint(_ context.Context, name string) error {
	return tx.do(Savepoint, func() error {
		tx.savepoints[name] = len(tx.undo)
		return nil
	})
}

// RollbackTo implements ledger.Tx.
func (tx *Tx) RollbackTo(_ context.Context, name string) error {
	return tx.do(RollbackTo, func() error {
		n, ok := tx.savepoints[name]
		if !ok {
			return fmt.Errorf("rolling back to %s: no such savepoint", name)
		}
		tx.undoTo(n)
		return nil
	})
}
