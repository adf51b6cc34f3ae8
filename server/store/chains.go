package store

import (
	"context"
	"fmt"

	"github.com/wattveil/wattveil/ledger"
)

// chainBuffer holds the ends of chains that one transaction has read or set.
//
// A batch of events sets a household's or a recipient's chain once per event,
// and only the last value matters; the ledger's head, locked first, keeps every
// other writer of chains out. So sets wait here until the entries are appended,
// and one statement writes them all. A log of what was overwritten lets
// RollbackTo undo them.
type chainBuffer struct {
	ends map[chainID]chainEnd
	log  []chainUndo
}

type chainID struct {
	kind ledger.ChainKind
	id   string
}

type chainEnd struct {
	link  ledger.Link
	dirty bool // not written yet
}

// chainUndo is what a chain was before it was set, or before it was written.
type chainUndo struct {
	id    chainID
	known bool
	end   chainEnd
}

// mark returns a point that undo can go back to.
func (b *chainBuffer) mark() int { return len(b.log) }

func (b *chainBuffer) undo(mark int) {
	for i := len(b.log) - 1; i >= mark; i-- {
		if u := b.log[i]; u.known {
			b.ends[u.id] = u.end
		} else {
			delete(b.ends, u.id)
		}
	}
	b.log = b.log[:mark]
}

func (b *chainBuffer) set(id chainID, end chainEnd) {
	if b.ends == nil {
		b.ends = map[chainID]chainEnd{}
	}
	old, known := b.ends[id]
	b.log = append(b.log, chainUndo{id, known, old})
	b.ends[id] = end
}

// LedgerChain implements ledger.Tx.
func (t *Tx) LedgerChain(ctx context.Context, kind ledger.ChainKind, id string) (ledger.Link, error) {
	name := chainID{kind, id}
	if end, known := t.chains.ends[name]; known {
		return end.link, nil
	}
	var link ledger.Link // zero where there is no row
	err := scanOne(ctx, t.sql, nil, []any{&link.Seq, fixed(link.Head[:])},
		`SELECT seq, head FROM tlog_chains WHERE kind = $1 AND id = $2`, kind, id)
	if err != nil {
		return ledger.Link{}, fmt.Errorf("reading a chain: %w", err)
	}
	t.chains.set(name, chainEnd{link: link})
	return link, nil
}

// LedgerSetChain implements ledger.Tx. It reaches the database with LedgerAppend,
// or just before COMMIT.
func (t *Tx) LedgerSetChain(_ context.Context, kind ledger.ChainKind, id string, link ledger.Link) error {
	t.chains.set(chainID{kind, id}, chainEnd{link: link, dirty: true})
	return nil
}

// writeChains writes the chains that were set.
func (t *Tx) writeChains(ctx context.Context) error {
	var dirty []chainID
	for id, end := range t.chains.ends {
		if end.dirty {
			dirty = append(dirty, id)
		}
	}
	err := insert(ctx, t.dialect, t.sql, "tlog_chains", []string{"kind", "id", "seq", "head"},
		`ON CONFLICT (kind, id) DO UPDATE SET seq = excluded.seq, head = excluded.head`,
		len(dirty), func(i int, values []any) {
			link := t.chains.ends[dirty[i]].link
			values[0], values[1], values[2], values[3] = dirty[i].kind, dirty[i].id, link.Seq, link.Head[:]
		})
	if err != nil {
		return fmt.Errorf("writing chains: %w", err)
	}
	for _, id := range dirty {
		t.chains.set(id, chainEnd{link: t.chains.ends[id].link})
	}
	return nil
}
