package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// The process that signs works on another copy of the log, which has grown further. It
// would catch a proposer that takes a checkpoint for its receipt that does not cover its
// leaf: it is told "recorded and signed", and nobody has signed it.
func TestSignedAnotherLargerLog(t *testing.T) {
	other := ledgertest.Start(t, ledger.Store[*memTx](ledgertest.NewMemory(origin)))
	for i := range 5 {
		if _, err := other.Propose(t.Context(), fmt.Sprint("r-", i), remark("other").Func); err != nil {
			t.Fatal(err)
		}
	}
	store := ledgertest.NewMemory(origin)
	log := ledgertest.Start(t, ledger.Store[*memTx](store))
	moved := false
	s := start(t, store, nil, ledger.Options{Elsewhere: notary(func(ctx context.Context, size uint64) ([]byte, error) {
		if moved {
			return other.Cover(ctx, size)
		}
		return log.Cover(ctx, size)
	})})
	if _, err := s.Propose(t.Context(), "before", remark("x").Func); err != nil {
		t.Fatal(err)
	}
	moved = true // it was started again, over a copy
	r, err := s.Propose(t.Context(), "mine", remark("x").Func)
	if err == nil {
		proof, perr := ledger.NewProver(store).TLogProofUnder(t.Context(), r.Index, r.Leaf, r.Checkpoint)
		if perr == nil {
			_, perr = other.Verifier.Proof(r.Payload, r.Nonce, proof)
		}
		t.Errorf("the record is said to be signed, by a checkpoint of another log; its proof: %v", perr)
	}
	if s.Failure() == nil {
		t.Error("two logs under one name, and it goes on")
	}
}

// swapping is a store in whose place another one appears.
type swapping struct {
	*ledgertest.Memory
	forged atomic.Pointer[ledgertest.Memory]
}

func (s *swapping) now() *ledgertest.Memory {
	if f := s.forged.Load(); f != nil {
		return f
	}
	return s.Memory
}

func (s *swapping) Transact(ctx context.Context, fn func(context.Context, *memTx) error) error {
	return s.now().Transact(ctx, fn)
}
func (s *swapping) Head(ctx context.Context) (ledger.Head, error) { return s.now().Head(ctx) }
func (s *swapping) ReadLeaves(ctx context.Context, from, to uint64) ([]ledger.Leaf, error) {
	return s.now().ReadLeaves(ctx, from, to)
}

// COMMIT of the process that signs is not answered, and when it looks, somebody else's
// head is there, which does not go on from what was signed. It would catch a signature on
// a head that nobody has compared with its leaves.
func TestResolvedHeadIsCompared(t *testing.T) {
	forged := ledgertest.NewMemory(origin)
	imposter := ledgertest.Start(t, ledger.Store[*memTx](forged))
	for i := range 6 {
		if _, err := imposter.Propose(t.Context(), fmt.Sprint("f-", i), remark("y").Func); err != nil {
			t.Fatal(err)
		}
	}
	store := &swapping{Memory: ledgertest.NewMemory(origin)}
	s := start(t, store, signerOf(t), ledger.Options{})
	for i := range 3 {
		if _, err := s.Propose(t.Context(), fmt.Sprint("r-", i), remark("x").Func); err != nil {
			t.Fatal(err)
		}
	}
	var once atomic.Bool
	store.OnStep(func(step ledgertest.Step) ledgertest.Fault {
		if step == ledgertest.Commit && once.CompareAndSwap(false, true) {
			store.forged.Store(forged)
			return ledgertest.Lost
		}
		return ledgertest.None
	})
	_, err := s.Propose(t.Context(), "victim", remark("x").Func)
	note, _ := store.Memory.Checkpoint(t.Context())
	size, root, _ := ledger.ReadCheckpoint(note)
	head, _ := forged.Head(t.Context())
	if size == head.Size && root == head.Root {
		t.Errorf("it signed another log's head of size %d (%v)", size, err)
	}
	if s.Failure() == nil {
		t.Error("and goes on")
	}
}

// A process that stops while nobody signs does not wait for who is away.
func TestCloseWhileNobodySigns(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	asked := make(chan struct{}, 10)
	s := start(t, store, nil, ledger.Options{Elsewhere: notary(func(ctx context.Context, _ uint64) ([]byte, error) {
		asked <- struct{}{}
		<-ctx.Done() // as gRPC with WaitForReady
		return nil, ctx.Err()
	})})
	_ = propose(t.Context(), s, remark("r"))
	<-asked
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// The answer of who signs that its own batch was not recorded says nothing of the
// proposer's record, which is there. It would catch an error that says both.
func TestUnsignedIsNotUnrecorded(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	log := ledgertest.Start(t, ledger.Store[*memTx](store))
	broken := false
	s := start(t, store, nil, ledger.Options{Elsewhere: notary(func(ctx context.Context, size uint64) ([]byte, error) {
		if broken { // as server's remoteNotary hands it on
			return nil, fmt.Errorf("asking who signs: %w", ledger.ErrNotRecorded)
		}
		return log.Cover(ctx, size)
	})})
	if _, err := s.Propose(t.Context(), "r-0", remark("x").Func); err != nil {
		t.Fatal(err)
	}
	broken = true
	_, err := s.Propose(t.Context(), "r-1", remark("x").Func)
	if !errors.Is(err, ledger.ErrUnsigned) || errors.Is(err, ledger.ErrNotRecorded) {
		t.Errorf("%v: is it recorded or not?", err)
	}
}
