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
	head      *ledger.Head
	entries   []ledger.Entry
	tiles     []ledger.Tile
	envelopes []ledger.EnvelopeHead
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
	tx.m.envelopes = append(tx.m.envelopes, tx.envelopes...)
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
func (tx *Tx) LedgerAppend(_ context.Context, a ledger.Append) error {
	return tx.do(Append, func() error {
		if now := tx.current(); now.Epoch != a.From.Epoch || now.Size != a.From.Size {
			return ledger.ErrFenced
		}
		if a.To.Size-a.From.Size != uint64(len(a.Entries)) {
			return fmt.Errorf("appending %d entries from %d to %d", len(a.Entries), a.From.Size, a.To.Size)
		}
		for i, e := range a.Entries {
			if e.Index != a.From.Size+uint64(i) {
				return fmt.Errorf("appending: index %d at %d", e.Index, a.From.Size+uint64(i))
			}
			if _, ok := tx.request(e.RequestID); ok {
				return fmt.Errorf("appending index %d: request id is taken", e.Index)
			}
			tx.entries = append(tx.entries, e)
			tx.Undo(func() { tx.entries = tx.entries[:len(tx.entries)-1] })
		}
		for _, t := range a.Tiles {
			if len(t.Data) != ledger.TileWidth*32 {
				return fmt.Errorf("appending tile %d/%d: %d bytes", t.Level, t.N, len(t.Data))
			}
		}
		for _, k := range a.TagKeys {
			before := tx.m.keys[k.Subject]
			tx.m.keys[k.Subject] = append(slices.Clone(before), k.TagKey)
			tx.Undo(func() { tx.m.keys[k.Subject] = before })
		}
		before, tiles, envelopes := tx.head, len(tx.tiles), len(tx.envelopes)
		tx.head, tx.tiles, tx.envelopes = &a.To, append(tx.tiles, a.Tiles...), append(tx.envelopes, a.Envelopes...)
		tx.Undo(func() { tx.head, tx.tiles, tx.envelopes = before, tx.tiles[:tiles], tx.envelopes[:envelopes] })
		return nil
	})
}

// LedgerRequests implements ledger.Tx.
func (tx *Tx) LedgerRequests(_ context.Context, requestIDs []string) (found map[string]ledger.Entry, err error) {
	found = make(map[string]ledger.Entry)
	err = tx.do(FindRequest, func() error {
		for _, id := range requestIDs {
			if e, ok := tx.request(id); ok {
				found[id] = e
			}
		}
		return nil
	})
	return found, err
}

func (tx *Tx) request(requestID string) (ledger.Entry, bool) {
	for _, e := range tx.entries {
		if e.RequestID == requestID {
			return e, true
		}
	}
	tx.m.mu.RLock()
	defer tx.m.mu.RUnlock()
	index, ok := tx.m.requests[requestID]
	if !ok {
		return ledger.Entry{}, false
	}
	return tx.m.entries[index], true
}

// LedgerChains implements ledger.Tx.
func (tx *Tx) LedgerChains(_ context.Context, ids []ledger.ChainID) (links map[ledger.ChainID]ledger.Link, err error) {
	links = make(map[ledger.ChainID]ledger.Link)
	err = tx.do(ReadChain, func() error {
		for _, id := range ids {
			if link, ok := tx.m.chains[id]; ok {
				links[id] = link
			}
		}
		return nil
	})
	return links, err
}

// LedgerSetChains implements ledger.Tx.
func (tx *Tx) LedgerSetChains(_ context.Context, ends map[ledger.ChainID]ledger.Link) error {
	return tx.do(SetChain, func() error {
		for id, link := range ends {
			before, known := tx.m.chains[id]
			tx.m.chains[id] = link
			tx.Undo(func() {
				if tx.m.chains[id] = before; !known {
					delete(tx.m.chains, id)
				}
			})
		}
		return nil
	})
}

// LedgerTagKeys implements ledger.Tx.
func (tx *Tx) LedgerTagKeys(_ context.Context, subjects []string) (keys map[string]ledger.TagKey, err error) {
	keys = make(map[string]ledger.TagKey)
	err = tx.do(SubjectKey, func() error {
		for _, s := range subjects {
			if all := tx.m.keys[s]; len(all) > 0 {
				keys[s] = all[len(all)-1]
			}
		}
		return nil
	})
	return keys, err
}

// LedgerEnvelopeKeys implements ledger.Tx.
func (tx *Tx) LedgerEnvelopeKeys(_ context.Context, at int64) (keys []ledger.EnvelopeKey, err error) {
	err = tx.do(EnvelopeKeys, func() error {
		for _, k := range tx.m.envelope {
			if k.From <= at && at < k.Until {
				keys = append(keys, k)
			}
		}
		return nil
	})
	return keys, err
}

// LedgerEnds implements ledger.MapTx.
func (tx *Tx) LedgerEnds(_ context.Context, from uint64) (ends []ledger.SubjectEnd, err error) {
	err = tx.do(ReadEnds, func() error {
		changed := make(map[string]bool)
		tx.m.mu.RLock()
		for _, e := range tx.m.entries[min(from, uint64(len(tx.m.entries))):] {
			changed[e.Subject] = true
		}
		tx.m.mu.RUnlock()
		for id, link := range tx.m.chains {
			if id.Kind == ledger.SubjectChain && (from == 0 || changed[id.ID]) {
				ends = append(ends, ledger.SubjectEnd{Subject: id.ID, TagKeys: slices.Clone(tx.m.keys[id.ID]), Link: link})
			}
		}
		return nil
	})
	return ends, err
}

// LedgerTombstones implements ledger.MapTx.
func (tx *Tx) LedgerTombstones(_ context.Context, from uint64) (keys []ledger.Hash, err error) {
	err = tx.do(ReadEnds, func() error {
		tx.m.mu.RLock()
		defer tx.m.mu.RUnlock()
		for _, e := range tx.m.entries[min(from, uint64(len(tx.m.entries))):] {
			if e.Kind != ledger.KindErasure {
				continue
			}
			p, err := ledger.DecodePayload(e.Payload)
			if err != nil {
				return err
			}
			keys = append(keys, p.MapKeys...)
		}
		return nil
	})
	return keys, err
}

// Erase destroys everything that opens a household's events, as a store does when
// an erasure is recorded, and returns what the erasure's leaf is to say.
func (tx *Tx) Erase(subject string) (erased []ledger.Erased, mapKeys []ledger.Hash) {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	for i, e := range tx.m.entries {
		if e.Subject != subject || e.Payload == nil {
			continue
		}
		p, err := ledger.DecodePayload(e.Payload)
		if err != nil {
			continue // a test's own bytes
		}
		erased = append(erased, ledger.Erased{Index: e.Index, Recipient: e.Recipient, RecipientSeq: p.RecipientSeq})
		tx.m.entries[i] = ledger.Entry{Index: e.Index, Leaf: e.Leaf}
		tx.Undo(func() { tx.m.mu.Lock(); defer tx.m.mu.Unlock(); tx.m.entries[i] = e })
	}
	keys, id := tx.m.keys[subject], ledger.ChainID{Kind: ledger.SubjectChain, ID: subject}
	for _, k := range keys {
		mapKeys = append(mapKeys, ledger.MapKey(k.Key))
	}
	link := tx.m.chains[id]
	delete(tx.m.keys, subject)
	delete(tx.m.chains, id)
	tx.Undo(func() { tx.m.keys[subject], tx.m.chains[id] = keys, link })
	return erased, mapKeys
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

// Release implements ledger.Tx.
func (tx *Tx) Release(_ context.Context, name string) error {
	return tx.do(Release, func() error {
		if _, ok := tx.savepoints[name]; !ok {
			return fmt.Errorf("releasing %s: no such savepoint", name)
		}
		delete(tx.savepoints, name)
		return nil
	})
}
