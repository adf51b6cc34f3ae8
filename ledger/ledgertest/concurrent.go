package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

const (
	proposers    = 64
	perProposer  = 8
	households   = 5
	recipients   = 3
	refusedEvery = 7 // each so many-th proposal fails in its own function
)

var errOwn = errors.New("the proposal's own error")

// Sixty-four callers at once, some of whom ask twice and some of whose
// functions fail: every leaf has its own index, indices and chains have no
// hole, a repeated request has its first leaf, a failed one leaves nothing,
// and a stranger's check of the whole log passes.
func (s suite[T]) sequencer(t *testing.T) {
	store := s.open(t)
	for i := range households {
		s.household(t, store, household(i))
	}
	log := Start(t, store)
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		receipts = make(map[string]ledger.Receipt)
		refusals int
	)
	for p := range proposers {
		wg.Go(func() {
			for i := range perProposer {
				n := p*perProposer + i
				id := fmt.Sprintf("request-%d", n)
				receipt, err := log.Propose(t.Context(), id, proposal[T](n))
				if n%refusedEvery == 0 {
					mu.Lock()
					refusals++
					mu.Unlock()
					if !errors.Is(err, errOwn) {
						t.Errorf("%s: %v, want its own error", id, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", id, err)
					continue
				}
				again, err := log.Propose(t.Context(), id, func(context.Context, T, ledger.Position) (ledger.Payload, error) {
					t.Errorf("%s: ran a second time", id)
					return ledger.Payload{}, errOwn
				})
				if err != nil || again.Index != receipt.Index || again.Leaf != receipt.Leaf {
					t.Errorf("%s: repeated, index %d after %d, %v", id, again.Index, receipt.Index, err)
				}
				mu.Lock()
				receipts[id] = receipt
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	size := uint64(len(receipts))
	if want := uint64(proposers*perProposer - refusals); size != want {
		t.Fatalf("%d receipts, want %d", size, want)
	}
	seen := make(map[uint64]string)
	for id, r := range receipts {
		if other, ok := seen[r.Index]; ok || r.Index >= size {
			t.Errorf("%s has index %d of %d, as has %q", id, r.Index, size, other)
		}
		seen[r.Index] = id
		if n, _, err := log.Verifier.Checkpoint(r.Checkpoint); err != nil || n <= r.Index {
			t.Errorf("%s: index %d under a checkpoint of size %d, %v", id, r.Index, n, err)
		}
	}
	if report := log.Verify(t); report.Size != size || report.Classes[ledger.ClassEvent] != size {
		t.Errorf("verified log has size %d and %v", report.Size, report.Classes)
	}
	checkChains(t, store, size)
	checkReceipts(t, log, receipts)
}

func household(i int) string { return fmt.Sprintf("household-%d", i%households) }

// proposal changes state, a chain of its own, and says so in a leaf.
func proposal[T ledger.Tx](n int) ledger.ProposeFunc[T] {
	return func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error) {
		err := setChain(ctx, tx, ledger.RecipientChain, mark(n), ledger.Link{Seq: at.Index + 1, Head: hashOf("mark")})
		if err != nil {
			return ledger.Payload{}, err
		}
		if n%refusedEvery == 0 {
			return ledger.Payload{}, errOwn
		}
		p := ledger.Payload{Kind: ledger.KindAccess, Recipient: fmt.Sprintf("recipient-%d", n%recipients), Purpose: "billing"}
		if n%11 != 0 { // some leaves are of no household
			p.Subject = household(n)
		}
		return p, nil
	}
}

func mark(n int) string { return fmt.Sprintf("mark-%d", n) }

// checkChains walks the log as its owner and finds every chain contiguous, and
// every tag where the household will look for it.
func checkChains[T ledger.Tx](t *testing.T, store ledger.Store[T], size uint64) {
	t.Helper()
	ends := make(map[ledger.ChainID]ledger.Link)
	var last int64
	for i := range size {
		e, err := store.ReadEntry(t.Context(), i)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		p, err := ledger.DecodePayload(e.Payload)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if ledger.Commit(e.Nonce, e.Payload) != e.Leaf.Commitment || e.Index != i {
			t.Errorf("entry %d does not open its leaf", i)
		}
		if p.Time < last || e.Time != p.Time || e.Kind != p.Kind || e.Subject != p.Subject || e.Recipient != p.Recipient {
			t.Errorf("entry %d: columns and payload differ, or time runs back", i)
		}
		last = p.Time
		check := func(kind ledger.ChainKind, id string, seq uint64, prev ledger.Hash) {
			end := ends[ledger.ChainID{Kind: kind, ID: id}]
			if seq != end.Seq+1 || prev != end.Head {
				t.Errorf("entry %d is number %d of its chain, want %d", i, seq, end.Seq+1)
			}
			end.Seq, end.Head = seq, e.Leaf.Hash()
			if kind == ledger.SubjectChain {
				end.Nonce = e.Nonce
				end.Accesses++ // they are nothing else
			}
			ends[ledger.ChainID{Kind: kind, ID: id}] = end
		}
		check(ledger.RecipientChain, p.Recipient, p.RecipientSeq, p.RecipientPrev)
		if p.Subject == "" {
			continue
		}
		check(ledger.SubjectChain, p.Subject, p.SubjectSeq, p.SubjectPrev)
		if key := tagKeysOf(t, store, p.Subject)[p.Subject]; ledger.SubjectTag(key.Key, p.SubjectSeq) != e.Leaf.Tag {
			t.Errorf("entry %d carries another tag", i)
		}
	}
	for c, want := range ends {
		if got := chainOf(t, store, c.Kind, c.ID); got != want {
			t.Errorf("stored end of chain %q is %+v, want %+v", c.ID, got, want)
		}
	}
	for n := range proposers * perProposer {
		if link := chainOf(t, store, ledger.RecipientChain, mark(n)); (link.Seq == 0) != (n%refusedEvery == 0) {
			t.Errorf("state change %d: %d", n, link.Seq)
		}
	}
}

// checkReceipts checks one receipt in forty as its holder would.
func checkReceipts[T ledger.Tx](t *testing.T, log *Log[T], receipts map[string]ledger.Receipt) {
	t.Helper()
	for id, r := range receipts {
		if r.Index%40 != 0 {
			continue
		}
		proof, err := ledger.TLogProof(t.Context(), log.Store, r.Index)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		got, err := log.Verifier.Proof(r.Payload, r.Nonce, proof)
		if err != nil || got.Index != r.Index || got.Payload.Purpose != "billing" {
			t.Errorf("%s: proof gives index %d of %d, %v", id, got.Index, r.Index, err)
		}
	}
}

// A proposal that fails inside a batch, in whatever way, leaves those before
// and after it in the same batch alone.
func (s suite[T]) neighbours(t *testing.T) {
	store := s.open(t)
	s.household(t, store, household(1))
	log := Start(t, store)
	good := func(n int) ledger.Proposal[T] {
		return ledger.Proposal[T]{RequestID: fmt.Sprintf("good-%d", n), Func: proposal[T](n)}
	}
	bad := func(id string, subject string, fail func() error) ledger.Proposal[T] {
		return ledger.Proposal[T]{RequestID: id, Func: func(ctx context.Context, tx T, _ ledger.Position) (ledger.Payload, error) {
			err := setChain(ctx, tx, ledger.RecipientChain, id, ledger.Link{Seq: 1, Head: hashOf(id)})
			return ledger.Payload{Kind: ledger.KindAccess, Subject: subject}, errors.Join(err, fail())
		}}
	}
	none := func() error { return nil }
	outcomes := log.ProposeAll(t.Context(), []ledger.Proposal[T]{
		good(1),
		bad("own-error", "", func() error { return errOwn }),
		good(6),
		bad("panics", "", func() error { panic("boom") }),
		good(11),
		bad("unknown-household", "nobody", none),
		good(16),
		bad("malformed", "not an identifier", none),
		good(1), // repeated within the batch
	})
	for i, want := range []error{nil, errOwn, nil, ledger.ErrPanic, nil, ledger.ErrNoSubjectKey, nil, nil, nil} {
		switch got := outcomes[i].Err; {
		case i == 7 && got == nil:
			t.Error("a subject that is no identifier was recorded")
		case i != 7 && !errors.Is(got, want):
			t.Errorf("proposal %d: %v, want %v", i, got, want)
		}
	}
	if outcomes[8].Receipt.Index != outcomes[0].Receipt.Index {
		t.Errorf("repeated request has index %d and %d", outcomes[0].Receipt.Index, outcomes[8].Receipt.Index)
	}
	if report := log.Verify(t); report.Size != 4 {
		t.Errorf("log has %d leaves, want 4", report.Size)
	}
	for _, id := range []string{"own-error", "panics", "unknown-household", "malformed"} {
		if link := chainOf(t, store, ledger.RecipientChain, id); link.Seq != 0 {
			t.Errorf("%s left its state change behind", id)
		}
	}
}

// Two hubs over one store take turns: no index twice, no hole, and each signs
// what extends the other.
func (s suite[T]) twoSequencers(t *testing.T) {
	const each = 40
	store := s.open(t)
	hubs := []*Log[T]{Start(t, store), Start(t, store)}
	var wg sync.WaitGroup
	for h, hub := range hubs {
		for i := range each {
			wg.Go(func() {
				_, err := hub.Propose(t.Context(), fmt.Sprintf("hub-%d-%d", h, i), func(context.Context, T, ledger.Position) (ledger.Payload, error) {
					return ledger.Payload{Kind: ledger.KindAdmin, Detail: "test"}, nil
				})
				if err != nil {
					t.Errorf("hub %d: %v", h, err)
				}
			})
		}
	}
	wg.Wait()
	if report := hubs[0].Verify(t); report.Size != each*uint64(len(hubs)) {
		t.Errorf("log has %d leaves", report.Size)
	}
	seen, err := store.Checkpoints(t.Context(), 0, 1000)
	if err != nil || len(seen) == 0 {
		t.Fatalf("checkpoint history: %d, %v", len(seen), err)
	}
	_, err = ledger.VerifyLog(t.Context(), hubs[0].Verifier, ledger.ReaderSource(store), ledger.VerifyOptions{Seen: seen})
	if err != nil {
		t.Errorf("the log does not extend its own history: %v", err)
	}
}
