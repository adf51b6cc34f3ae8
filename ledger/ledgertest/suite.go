package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
)

// TestStore is the contract of ledger.Store, ledger.Tx and ledger.Reader as a
// test. open returns a store that holds an empty log (ledger.NewHead) and
// nothing else, a new one each time. household registers a household with a
// tag key in such a store, outside any transaction.
func TestStore[T ledger.Tx](
	t *testing.T,
	open func(t *testing.T) ledger.Store[T],
	household func(t *testing.T, store ledger.Store[T], id string),
) {
	s := suite[T]{open, household}
	t.Run("Empty", s.empty)
	t.Run("Append", s.append)
	t.Run("Rollback", s.rollback)
	t.Run("Panic", s.panics)
	t.Run("Savepoint", s.savepoint)
	t.Run("Fencing", s.fencing)
	t.Run("RequestIDs", s.requestIDs)
	t.Run("Turns", s.turns)
	t.Run("ReadWhileOpen", s.readWhileOpen)
	t.Run("Chains", s.chains)
	t.Run("TagKeys", s.tagKeys)
	t.Run("Checkpoints", s.checkpoints)
	t.Run("Sequencer", s.sequencer)
	t.Run("SequencerLeavesNeighbours", s.neighbours)
	t.Run("TwoSequencers", s.twoSequencers)
}

type suite[T ledger.Tx] struct {
	open      func(t *testing.T) ledger.Store[T]
	household func(t *testing.T, store ledger.Store[T], id string)
}

// An empty store answers every question with the sentinel for "nothing", and
// holds the head of a log rather than making one up.
func (s suite[T]) empty(t *testing.T) {
	store := s.open(t)
	head := headOf(t, store)
	want := ledger.NewHead(head.Origin)
	if head.Origin == "" || head.Epoch != want.Epoch || head.Size != 0 || head.Root != want.Root || len(head.Frontier) != 0 {
		t.Errorf("head of an empty store is %+v", head)
	}
	ctx := t.Context()
	if _, err := store.Checkpoint(ctx); !errors.Is(err, ledger.ErrNoCheckpoint) {
		t.Errorf("Checkpoint: %v", err)
	}
	if _, err := store.CheckpointAt(ctx, 0); !errors.Is(err, ledger.ErrNoCheckpoint) {
		t.Errorf("CheckpointAt: %v", err)
	}
	if notes, err := store.Checkpoints(ctx, 0, 10); err != nil || len(notes) != 0 {
		t.Errorf("Checkpoints: %d, %v", len(notes), err)
	}
	if leaves, err := store.ReadLeaves(ctx, 0, 10); err != nil || len(leaves) != 0 {
		t.Errorf("ReadLeaves: %d, %v", len(leaves), err)
	}
	if _, err := store.ReadTile(ctx, 0, 0); !errors.Is(err, ledger.ErrNoTile) {
		t.Errorf("ReadTile: %v", err)
	}
	if _, err := store.ReadEntry(ctx, 0); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("ReadEntry: %v", err)
	}
	transact(t, store, func(ctx context.Context, tx T) error {
		if found, err := tx.LedgerRequests(ctx, []string{"nobody", "else"}); len(found) > 0 || err != nil {
			t.Errorf("LedgerRequests: %v, %v", found, err)
		}
		if links, err := tx.LedgerChains(ctx, []ledger.ChainID{{Kind: ledger.SubjectChain, ID: "nobody"}}); len(links) > 0 || err != nil {
			t.Errorf("LedgerChains: %v, %v", links, err)
		}
		if keys, err := tx.LedgerTagKeys(ctx, []string{"nobody"}); len(keys) > 0 || err != nil {
			t.Errorf("LedgerTagKeys: %v, %v", keys, err)
		}
		if keys, err := tx.LedgerEnvelopeKeys(ctx, 1_767_225_600); len(keys) > 0 || err != nil {
			t.Errorf("LedgerEnvelopeKeys: %v, %v", keys, err)
		}
		return nil
	})
}

// What was appended comes back to the byte, through every door, and the head
// with it; ranges end where the log ends.
func (s suite[T]) append(t *testing.T) {
	store := s.open(t)
	from := headOf(t, store)
	entries := []ledger.Entry{testEntry(0), testEntry(1), testEntry(2)}
	entries[1].Subject, entries[1].Recipient = "", "" // a leaf of nobody
	entries[1].Envelope = nil
	to := testHead(from, entries)
	tile := ledger.Tile{Level: 1, N: 7, Data: bytes.Repeat([]byte{0, 1, 254, 255}, ledger.TileWidth*8)}
	transact(t, store, func(ctx context.Context, tx T) error {
		return tx.LedgerAppend(ctx, ledger.Append{From: from, To: to, Entries: entries, Tiles: []ledger.Tile{tile}})
	})
	if got := headOf(t, store); !sameHead(got, to) {
		t.Errorf("head is %+v, want %+v", got, to)
	}
	for i, want := range entries {
		got, err := store.ReadEntry(t.Context(), uint64(i))
		if err != nil || !sameEntry(got, want) {
			t.Errorf("entry %d is %+v, %v; want %+v", i, got, err, want)
		}
		transact(t, store, func(ctx context.Context, tx T) error {
			found, err := tx.LedgerRequests(ctx, []string{"nobody", want.RequestID})
			if err != nil || len(found) != 1 || !sameEntry(found[want.RequestID], want) {
				t.Errorf("entries of request %q are %+v, %v", want.RequestID, found, err)
			}
			return nil
		})
	}
	for _, r := range []struct{ from, until, want uint64 }{{0, 3, 3}, {1, 2, 1}, {1, 1, 0}, {2, 100, 1}, {3, 5, 0}, {50, 60, 0}} {
		leaves, err := store.ReadLeaves(t.Context(), r.from, r.until)
		if err != nil || uint64(len(leaves)) != r.want {
			t.Fatalf("leaves [%d, %d): %d, %v; want %d", r.from, r.until, len(leaves), err, r.want)
		}
		for i, l := range leaves {
			if l != entries[r.from+uint64(i)].Leaf {
				t.Errorf("leaf %d of [%d, %d) is another", i, r.from, r.until)
			}
		}
	}
	got, err := store.ReadTile(t.Context(), 1, 7)
	if err != nil || !bytes.Equal(got, tile.Data) {
		t.Errorf("tile came back as %d bytes, %v", len(got), err)
	}
	if _, err := store.ReadTile(t.Context(), 7, 1); !errors.Is(err, ledger.ErrNoTile) {
		t.Errorf("tile of level and number exchanged: %v", err)
	}
	if _, err := store.ReadEntry(t.Context(), 3); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("entry beyond the log: %v", err)
	}
}

// A transaction whose function fails leaves neither its leaf nor its state
// behind: the promise of the whole ledger.
func (s suite[T]) rollback(t *testing.T) {
	store := s.open(t)
	from := headOf(t, store)
	boom := errors.New("boom")
	err := store.Transact(t.Context(), func(ctx context.Context, tx T) error {
		if err := writeAll(ctx, tx, from); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("Transact returned %v, want the function's error", err)
	}
	if errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Error("a rollback was reported as an unknown outcome")
	}
	s.untouched(t, store)
}

// The same if it panics; and the next transaction does not wait for ever.
func (s suite[T]) panics(t *testing.T) {
	store := s.open(t)
	from := headOf(t, store)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = store.Transact(t.Context(), func(ctx context.Context, tx T) error {
			if err := writeAll(ctx, tx, from); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	s.untouched(t, store)
}

// writeAll changes a chain, and appends a leaf and a tile.
func writeAll[T ledger.Tx](ctx context.Context, tx T, from ledger.Head) error {
	link := ledger.Link{Seq: 1, Head: hashOf("link")}
	if err := setChain(ctx, tx, ledger.RecipientChain, "r", link); err != nil {
		return err
	}
	entries := []ledger.Entry{testEntry(from.Size)}
	tiles := []ledger.Tile{{Data: make([]byte, ledger.TileWidth*32)}}
	return tx.LedgerAppend(ctx, ledger.Append{From: from, To: testHead(from, entries), Entries: entries, Tiles: tiles})
}

func (s suite[T]) untouched(t *testing.T, store ledger.Store[T]) {
	t.Helper()
	if head := headOf(t, store); head.Size != 0 {
		t.Errorf("head has size %d", head.Size)
	}
	if link := chainOf(t, store, ledger.RecipientChain, "r"); link != (ledger.Link{}) {
		t.Errorf("chain has %d events", link.Seq)
	}
	if leaves, err := store.ReadLeaves(t.Context(), 0, 10); err != nil || len(leaves) != 0 {
		t.Errorf("%d leaves, %v", len(leaves), err)
	}
	if _, err := store.ReadTile(t.Context(), 0, 0); !errors.Is(err, ledger.ErrNoTile) {
		t.Errorf("a tile is there: %v", err)
	}
}

// A savepoint takes back what came after it and nothing before, serves again
// under the same name, and survives being returned to; an error in between
// does not spoil the transaction.
func (s suite[T]) savepoint(t *testing.T) {
	store := s.open(t)
	from := headOf(t, store)
	taken := []ledger.Entry{testEntry(0)}
	to := testHead(from, taken)
	transact(t, store, func(ctx context.Context, tx T) error {
		return tx.LedgerAppend(ctx, ledger.Append{From: from, To: to, Entries: taken})
	})
	set := func(ctx context.Context, tx T, id string) error {
		return setChain(ctx, tx, ledger.RecipientChain, id, ledger.Link{Seq: 1, Head: hashOf(id)})
	}
	transact(t, store, func(ctx context.Context, tx T) error {
		return errors.Join(
			set(ctx, tx, "before"),
			tx.Savepoint(ctx, "p"),
			set(ctx, tx, "kept"),
			tx.Savepoint(ctx, "p"),
			set(ctx, tx, "undone"),
			set(ctx, tx, "kept-not"),
			tx.RollbackTo(ctx, "p"),
			set(ctx, tx, "undone too"),
			tx.RollbackTo(ctx, "p"),
			tx.Savepoint(ctx, "p"),
			refused(ctx, tx, to, taken[0].RequestID),
			tx.RollbackTo(ctx, "p"),
			set(ctx, tx, "after"),
			tx.Release(ctx, "p"),
			set(ctx, tx, "released"),
			tx.Savepoint(ctx, "p"), // nothing is done under this one
			tx.Release(ctx, "p"),
			gone(ctx, tx, "p"),
			tx.Savepoint(ctx, "p"),
			set(ctx, tx, "under it"),
			tx.Savepoint(ctx, "p"), // nor under this one, that takes the place of another
			tx.Release(ctx, "p"),
			gone(ctx, tx, "p"),
			set(ctx, tx, "last"),
		)
	})
	for id, want := range map[string]uint64{"before": 1, "kept": 1, "undone": 0, "kept-not": 0, "undone too": 0, "after": 1, "released": 1, "under it": 1, "last": 1} {
		if link := chainOf(t, store, ledger.RecipientChain, id); link.Seq != want {
			t.Errorf("chain %q has %d events, want %d", id, link.Seq, want)
		}
	}
}

// gone fails unless the savepoint has been released, which does the transaction no
// harm.
func gone(ctx context.Context, tx ledger.Tx, name string) error {
	if tx.Release(ctx, name) == nil || tx.RollbackTo(ctx, name) == nil {
		return errors.New("a released savepoint is there still")
	}
	return nil
}

// refused makes the store refuse a statement inside a transaction, by a
// request id that is taken.
func refused[T ledger.Tx](ctx context.Context, tx T, from ledger.Head, requestID string) error {
	e := testEntry(from.Size)
	e.RequestID = requestID
	entries := []ledger.Entry{e}
	if err := tx.LedgerAppend(ctx, ledger.Append{From: from, To: testHead(from, entries), Entries: entries}); err == nil {
		return errors.New("a request id was taken twice")
	}
	return nil
}

// Whoever computed from another head than the stored one appends nothing: of
// two writers who both believe they are alone, one finds out.
func (s suite[T]) fencing(t *testing.T) {
	store := s.open(t)
	start := headOf(t, store)
	appendOne := func(from ledger.Head) error {
		return store.Transact(t.Context(), func(ctx context.Context, tx T) error {
			return writeAll(ctx, tx, from)
		})
	}
	behind, ahead, fenced := start, start, start
	ahead.Size++
	fenced.Epoch++
	for name, from := range map[string]ledger.Head{"size ahead": ahead, "other epoch": fenced} {
		if err := appendOne(from); !errors.Is(err, ledger.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.untouched(t, store)
	if err := appendOne(start); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(behind); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("size behind: %v", err)
	}
}

// One request id names one leaf, whatever the sequencer overlooked.
func (s suite[T]) requestIDs(t *testing.T) {
	store := s.open(t)
	from := headOf(t, store)
	entries := []ledger.Entry{testEntry(0)}
	to := testHead(from, entries)
	transact(t, store, func(ctx context.Context, tx T) error {
		return tx.LedgerAppend(ctx, ledger.Append{From: from, To: to, Entries: entries})
	})
	again := testEntry(1)
	again.RequestID = entries[0].RequestID
	err := store.Transact(t.Context(), func(ctx context.Context, tx T) error {
		return tx.LedgerAppend(ctx, ledger.Append{From: to, To: testHead(to, []ledger.Entry{again}), Entries: []ledger.Entry{again}})
	})
	if err == nil {
		t.Error("a second leaf was stored under one request id")
	}
	if head := headOf(t, store); head.Size != 1 {
		t.Errorf("head has size %d", head.Size)
	}
}

// Transactions that have read the head follow one another: each reads what the
// one before has written, and none is fenced.
func (s suite[T]) turns(t *testing.T) {
	const writers = 8
	store := s.open(t)
	errs := make(chan error, writers)
	for range writers {
		go func() {
			errs <- store.Transact(t.Context(), func(ctx context.Context, tx T) error {
				from, err := tx.LedgerHead(ctx)
				if err != nil {
					return err
				}
				entries := []ledger.Entry{testEntry(from.Size)}
				return tx.LedgerAppend(ctx, ledger.Append{From: from, To: testHead(from, entries), Entries: entries})
			})
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if head := headOf(t, store); head.Size != writers {
		t.Errorf("head has size %d, want %d", head.Size, writers)
	}
}

// Readers neither wait for an open transaction nor see any of it. The
// sequencer reads while it holds one: a store that waits would stop for good.
func (s suite[T]) readWhileOpen(t *testing.T) {
	store := s.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := store.Transact(ctx, func(ctx context.Context, tx T) error {
		from, err := tx.LedgerHead(ctx)
		if err != nil {
			return err
		}
		if err := writeAll(ctx, tx, from); err != nil {
			return err
		}
		if leaves, err := store.ReadLeaves(ctx, 0, 10); err != nil || len(leaves) != 0 {
			t.Errorf("ReadLeaves: %d, %v", len(leaves), err)
		}
		if _, err := store.ReadTile(ctx, 0, 0); !errors.Is(err, ledger.ErrNoTile) {
			t.Errorf("ReadTile: %v", err)
		}
		if _, err := store.ReadEntry(ctx, 0); !errors.Is(err, ledger.ErrNoEntry) {
			t.Errorf("ReadEntry: %v", err)
		}
		if _, err := store.Checkpoint(ctx); !errors.Is(err, ledger.ErrNoCheckpoint) {
			t.Errorf("Checkpoint: %v", err)
		}
		if head, err := store.Head(ctx); err != nil || head.Size != 0 {
			t.Errorf("Head: size %d, %v", head.Size, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	head, err := store.Head(ctx)
	if locked := headOf(t, store); err != nil || head.Size == 0 || !reflect.DeepEqual(head, locked) {
		t.Errorf("Head: %+v, %v; want what the lock holds, %+v", head, err, locked)
	}
}

// The two kinds of chain are apart, and a chain's end is replaced.
func (s suite[T]) chains(t *testing.T) {
	store := s.open(t)
	s.household(t, store, "x")
	links := map[ledger.ChainKind]ledger.Link{
		ledger.SubjectChain:   {Seq: 1, Head: hashOf("subject"), Accesses: 1 << 41, Nonce: hashOf("nonce")},
		ledger.RecipientChain: {Seq: 1 << 40, Head: hashOf("recipient")},
	}
	for range 2 {
		for kind, link := range links {
			transact(t, store, func(ctx context.Context, tx T) error {
				return setChain(ctx, tx, kind, "x", link)
			})
		}
		for kind, want := range links {
			if got := chainOf(t, store, kind, "x"); got != want {
				t.Errorf("chain of kind %d is %v, want %v", kind, got, want)
			}
			links[kind] = ledger.Link{Seq: want.Seq + 1, Head: hashOf("next")}
		}
	}
}

// A household has a tag key from the start, and the newest counts.
func (s suite[T]) tagKeys(t *testing.T) {
	store := s.open(t)
	s.household(t, store, "x")
	s.household(t, store, "y")
	first := tagKeysOf(t, store, "x", "y", "nobody")
	if len(first) != 2 || first["x"].FromSeq != 1 || first["x"].Key == (ledger.Hash{}) {
		t.Fatalf("tag keys are %v", first)
	}
	from := headOf(t, store)
	entries := []ledger.Entry{testEntry(0)}
	newest := ledger.TagKey{FromSeq: 1 << 40, Key: hashOf("newest")}
	transact(t, store, func(ctx context.Context, tx T) error {
		return tx.LedgerAppend(ctx, ledger.Append{
			From: from, To: testHead(from, entries), Entries: entries,
			TagKeys: []ledger.SubjectKey{{Subject: "x", TagKey: ledger.TagKey{FromSeq: 9, Key: hashOf("second")}}, {Subject: "x", TagKey: newest}},
		})
	})
	if got := tagKeysOf(t, store, "x", "y"); got["x"] != newest || got["y"] != first["y"] {
		t.Errorf("tag keys are %v after a new generation", got)
	}
}

// The history keeps every size, the newest is the largest, a cosigned note
// replaces the plain one, and a second root for one size is refused.
func (s suite[T]) checkpoints(t *testing.T) {
	store := s.open(t)
	ctx := t.Context()
	note := func(size uint64, kind string) []byte { return fmt.Appendf(nil, "%s note of %d\n", kind, size) }
	for _, size := range []uint64{0, 5, 300, 7} { // a slow process stores 7 last
		if err := store.PutCheckpoint(ctx, size, hashOf("root"), note(size, "plain")); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := store.Checkpoint(ctx); err != nil || !bytes.Equal(got, note(300, "plain")) {
		t.Errorf("newest is %q, %v", got, err)
	}
	if err := store.PutCheckpoint(ctx, 7, hashOf("root"), note(7, "cosigned")); err != nil {
		t.Errorf("storing a cosigned note: %v", err)
	}
	if err := store.PutCheckpoint(ctx, 7, hashOf("other root"), note(7, "forked")); !errors.Is(err, ledger.ErrFork) {
		t.Errorf("storing another root: %v", err)
	}
	if got, err := store.CheckpointAt(ctx, 7); err != nil || !bytes.Equal(got, note(7, "cosigned")) {
		t.Errorf("checkpoint of size 7 is %q, %v", got, err)
	}
	if _, err := store.CheckpointAt(ctx, 6); !errors.Is(err, ledger.ErrNoCheckpoint) {
		t.Errorf("checkpoint of size 6: %v", err)
	}
	got, err := store.Checkpoints(ctx, 0, 2)
	if err != nil || len(got) != 2 || !bytes.Equal(got[0], note(5, "plain")) || !bytes.Equal(got[1], note(7, "cosigned")) {
		t.Errorf("checkpoints after 0 are %q, %v", got, err)
	}
	if got, err := store.Checkpoints(ctx, 300, 2); err != nil || len(got) != 0 {
		t.Errorf("checkpoints after 300 are %q, %v", got, err)
	}
}
