package ledger_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "wattveil.example/hub"

type (
	memTx = ledgertest.Tx
	seqn  = ledgertest.Log[*memTx]
)

// newLog is a running log in memory, with the household "h".
func newLog(t testing.TB) (*seqn, *ledgertest.Memory) {
	t.Helper()
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(0xe0))
	return ledgertest.Start(t, store), store
}

// remark is a proposal that records an administrative remark.
func remark(id string) ledger.Proposal[*memTx] {
	return ledger.Proposal[*memTx]{RequestID: id, Func: func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: "remark " + id}, nil
	}}
}

// grow adds leaves until the log has that size.
func grow(t testing.TB, log *seqn, from, to int) []ledger.Receipt {
	t.Helper()
	var proposals []ledger.Proposal[*memTx]
	for i := from; i < to; i++ {
		proposals = append(proposals, remark(fmt.Sprintf("remark-%d", i)))
	}
	var receipts []ledger.Receipt
	for i, o := range log.ProposeAll(t.Context(), proposals) {
		if o.Err != nil || o.Receipt.Index != uint64(from+i) {
			t.Fatalf("leaf %d has index %d, %v", from+i, o.Receipt.Index, o.Err)
		}
		receipts = append(receipts, o.Receipt)
	}
	return receipts
}

// rows is a log as plain rows, which a test may damage. It implements
// ledger.Reader.
type rows struct {
	leaves []ledger.Leaf
	tiles  map[tileKey][]byte
	signed []byte
}

type tileKey struct {
	level int
	n     uint64
}

// rowsOf copies a store.
func rowsOf(t testing.TB, r ledger.Reader) *rows {
	t.Helper()
	leaves, err := r.ReadLeaves(t.Context(), 0, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := r.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &rows{leaves: leaves, signed: signed}
	c.retile()
	return c
}

// retile computes the tiles from the leaves, as somebody would who rewrites
// the history and covers it up.
func (r *rows) retile() {
	r.tiles = make(map[tileKey][]byte)
	var below []ledger.Hash
	for _, l := range r.leaves {
		below = append(below, l.Hash())
	}
	for level := 0; len(below) >= ledger.TileWidth; level++ {
		var above []ledger.Hash
		for n := 0; (n+1)*ledger.TileWidth <= len(below); n++ {
			var data []byte
			hashes := below[n*ledger.TileWidth : (n+1)*ledger.TileWidth]
			for _, h := range hashes {
				data = append(data, h[:]...)
			}
			r.tiles[tileKey{level, uint64(n)}] = data
			above = append(above, treeHash(hashes))
		}
		below = above
	}
}

// treeHash is RFC 6962 section 2.1, spelt out.
func treeHash(hashes []ledger.Hash) ledger.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for k*2 < len(hashes) {
		k *= 2
	}
	return ledger.Hash(tlog.NodeHash(tlog.Hash(treeHash(hashes[:k])), tlog.Hash(treeHash(hashes[k:]))))
}

func (r *rows) Checkpoint(context.Context) ([]byte, error) {
	if r.signed == nil {
		return nil, ledger.ErrNoCheckpoint
	}
	return r.signed, nil
}

func (r *rows) CheckpointAt(context.Context, uint64) ([]byte, error) {
	return nil, ledger.ErrNoCheckpoint
}

func (r *rows) Checkpoints(context.Context, uint64, int) ([][]byte, error) { return nil, nil }

func (r *rows) ReadTile(_ context.Context, level int, n uint64) ([]byte, error) {
	if b, ok := r.tiles[tileKey{level, n}]; ok {
		return b, nil
	}
	return nil, ledger.ErrNoTile
}

func (r *rows) ReadLeaves(_ context.Context, from, until uint64) ([]ledger.Leaf, error) {
	size := uint64(len(r.leaves))
	return r.leaves[min(from, size):min(until, size)], nil
}

func (r *rows) ReadEntry(context.Context, uint64) (ledger.Entry, error) {
	return ledger.Entry{}, ledger.ErrErased
}

// restart opens a second sequencer, with nothing in memory, over a store.
func restart(t testing.TB, store *ledgertest.Memory) *seqn {
	t.Helper()
	return ledgertest.Start(t, store)
}
