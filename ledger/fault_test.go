package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// witness is a signer that checks, each time it is asked, that what it is to
// sign is already committed: signing first would put a promise before the fact.
type witness struct {
	ledger.Signer
	t     *testing.T
	store *ledgertest.Memory
	fail  atomic.Bool
}

func (w *witness) Sign(ctx context.Context, head ledger.Head) ([]byte, error) {
	if leaves, err := w.store.ReadLeaves(ctx, 0, head.Size); err == nil && uint64(len(leaves)) < head.Size {
		w.t.Errorf("asked to sign size %d when %d are committed", head.Size, len(leaves))
	}
	if w.fail.Load() {
		return nil, ledgertest.ErrFault
	}
	return w.Signer.Sign(ctx, head)
}

// once orders one fault, the next time one of the steps comes.
func once(store *ledgertest.Memory, fault ledgertest.Fault, steps ...ledgertest.Step) {
	var next atomic.Int64
	store.OnStep(func(step ledgertest.Step) ledgertest.Fault {
		if i := int(next.Load()); i < len(steps) && steps[i] == step && next.CompareAndSwap(int64(i), int64(i+1)) {
			return fault
		}
		return ledgertest.None
	})
}

const (
	failed    = ledgertest.Failed
	persisted = ledgertest.FailedPersisted
	lost      = ledgertest.Lost
)

// The fault table: every step of a batch, failed, or failed although it took
// effect, or of unknown outcome. Whatever happens, the caller is told the
// truth, asking again leads to exactly one leaf with its state change, and the
// log verifies. A row that went wrong would be a leaf without its consent, a
// consent without its leaf, or the same decision twice.
func TestFaults(t *testing.T) {
	own, nothing := ledgertest.ErrFault, ledger.ErrNotRecorded
	for _, c := range []struct {
		steps    []ledgertest.Step // fail one after the other
		fault    ledgertest.Fault
		want     error // nil: answered as if nothing had been
		recorded bool  // whether the leaf is there before it is asked for again
	}{
		{[]ledgertest.Step{ledgertest.Begin}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.LockHead}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.FindRequest}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.Savepoint}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.Savepoint}, persisted, nothing, false},
		{[]ledgertest.Step{ledgertest.Release}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.Release}, persisted, nothing, false},
		{[]ledgertest.Step{ledgertest.ReadChain}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.SubjectKey}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.EnvelopeKeys}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.SetChain}, failed, own, false},
		{[]ledgertest.Step{ledgertest.SetChain}, persisted, own, false},
		{[]ledgertest.Step{ledgertest.SetChain, ledgertest.RollbackTo}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.SetChain, ledgertest.RollbackTo}, persisted, nothing, false},
		{[]ledgertest.Step{ledgertest.SetChain, ledgertest.RollbackTo, ledgertest.Begin}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.Append}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.Append}, persisted, nothing, false},
		{[]ledgertest.Step{ledgertest.Commit}, failed, nothing, false},
		{[]ledgertest.Step{ledgertest.Commit}, lost, nothing, false},
		{[]ledgertest.Step{ledgertest.Commit}, persisted, nil, true},
		{[]ledgertest.Step{ledgertest.Commit, ledgertest.Begin}, lost, ledger.ErrUnknownOutcome, false},
		{[]ledgertest.Step{ledgertest.Commit, ledgertest.Begin}, persisted, ledger.ErrUnknownOutcome, true},
		{[]ledgertest.Step{ledgertest.Commit, ledgertest.LockHead}, persisted, ledger.ErrUnknownOutcome, true},
		{[]ledgertest.Step{ledgertest.Commit, ledgertest.FindRequest}, persisted, ledger.ErrUnknownOutcome, true},
		{[]ledgertest.Step{ledgertest.Commit, ledgertest.Commit}, persisted, nil, true},
		{[]ledgertest.Step{ledgertest.PutCheckpoint}, failed, ledger.ErrUnsigned, true},
		{[]ledgertest.Step{ledgertest.PutCheckpoint}, persisted, nil, true},
		{[]ledgertest.Step{ledgertest.PutCheckpoint, ledgertest.Read}, persisted, ledger.ErrUnsigned, true},
		{[]ledgertest.Step{ledgertest.Commit, ledgertest.PutCheckpoint}, persisted, nil, true},
	} {
		t.Run(fmt.Sprint(c.steps, "/", c.fault), func(t *testing.T) {
			f := newFaulty(t)
			once(f.store, c.fault, c.steps...)
			receipt, err := f.propose(t)
			f.store.OnStep(nil)
			if !errors.Is(err, c.want) {
				t.Errorf("answered %v, want %v", err, c.want)
			}
			leaves, _ := f.store.ReadLeaves(t.Context(), 0, 100)
			if recorded := len(leaves) == 4; recorded != c.recorded {
				t.Errorf("recorded: %v, want %v", recorded, c.recorded)
			}
			f.settle(t, receipt, err)
		})
	}
}

// The same when it is the signer that fails.
func TestSignerFault(t *testing.T) {
	f := newFaulty(t)
	f.signer.fail.Store(true)
	receipt, err := f.propose(t)
	if !errors.Is(err, ledger.ErrUnsigned) {
		t.Errorf("answered %v", err)
	}
	if _, err := f.propose(t); !errors.Is(err, ledger.ErrUnsigned) {
		t.Errorf("asked again, still unsigned: %v", err)
	}
	f.signer.fail.Store(false)
	f.settle(t, receipt, err)
}

// Power fails after COMMIT and before the signature: the next start signs what
// it finds, before anybody asks.
func TestStartSignsWhatACrashLeft(t *testing.T) {
	f := newFaulty(t)
	f.signer.fail.Store(true)
	if _, err := f.propose(t); !errors.Is(err, ledger.ErrUnsigned) {
		t.Fatal(err)
	}
	f.seq.Close()
	f.signer.fail.Store(false)
	start(t, f.store, f.signer, ledger.Options{}).Close()
	note, err := f.store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if size, _, err := f.verifier.Checkpoint(note); err != nil || size != 4 {
		t.Errorf("newest checkpoint has size %d, %v", size, err)
	}
}

// A store that cannot be read at start is tried again by the next proposal.
func TestStartFault(t *testing.T) {
	for _, step := range []ledgertest.Step{ledgertest.Read, ledgertest.Begin, ledgertest.LockHead, ledgertest.Commit} {
		f := newFaulty(t)
		f.seq.Close()
		once(f.store, failed, step)
		f.seq = start(t, f.store, f.signer, ledger.Options{})
		receipt, err := f.propose(t)
		if err != nil {
			t.Errorf("%s: %v", step, err)
		}
		f.settle(t, receipt, err)
	}
}

// faulty is a log of three leaves whose fourth proposal meets a fault.
type faulty struct {
	store    *ledgertest.Memory
	signer   *witness
	verifier *ledger.Verifier
	seq      *ledger.Sequencer[*memTx]
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(1))
	store.PutEnvelopeKey(regulator(t, 1).posted)
	key, verifier, _ := newSigner(t, origin)
	signer := &witness{Signer: key, t: t, store: store}
	f := &faulty{store, signer, verifier, start(t, store, signer, ledger.Options{Sealed: true})}
	for i := range 3 {
		p := access(fmt.Sprint("before-", i))
		if _, err := f.seq.Propose(t.Context(), p.RequestID, p.Func); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

var (
	state   = ledger.ChainID{Kind: ledger.RecipientChain, ID: "state"}
	adviser = ledger.ChainID{Kind: ledger.RecipientChain, ID: "adviser"}
)

// propose records an access of household h, and the index of its leaf in a
// chain that stands for the state of the consent.
func (f *faulty) propose(t *testing.T) (ledger.Receipt, error) {
	t.Helper()
	return f.seq.Propose(t.Context(), "victim", func(ctx context.Context, tx *memTx, at ledger.Position) (ledger.Payload, error) {
		err := tx.LedgerSetChains(ctx, map[ledger.ChainID]ledger.Link{state: {Seq: at.Index + 1}})
		return ledger.Payload{Kind: ledger.KindAccess, Subject: "h", Recipient: "adviser"}, err
	})
}

// settle asks again, and checks that everything is as if nothing had happened.
func (f *faulty) settle(t *testing.T, first ledger.Receipt, firstErr error) {
	t.Helper()
	again, err := f.propose(t)
	if err != nil || again.Index != 3 {
		t.Fatalf("asked again: index %d, %v", again.Index, err)
	}
	if firstErr == nil && first.Leaf != again.Leaf {
		t.Error("asked again, it is another leaf")
	}
	if size, _, err := f.verifier.Checkpoint(again.Checkpoint); err != nil || size < 4 {
		t.Errorf("receipt under a checkpoint of size %d, %v", size, err)
	}
	p, err := ledger.DecodePayload(again.Payload)
	if err != nil || p.SubjectSeq != 4 || p.RecipientSeq != 4 {
		t.Errorf("chained as %d and %d, %v", p.SubjectSeq, p.RecipientSeq, err)
	}
	err = f.store.Transact(t.Context(), func(ctx context.Context, tx *memTx) error {
		links, err := tx.LedgerChains(ctx, []ledger.ChainID{state, adviser})
		for _, id := range []ledger.ChainID{state, adviser} {
			if links[id].Seq != 4 {
				t.Errorf("%s stands at %d, want 4", id.ID, links[id].Seq)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	history, err := f.store.Checkpoints(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	report, err := ledger.VerifyLog(t.Context(), f.verifier, ledger.ReaderSource(f.store), ledger.VerifyOptions{Seen: history})
	if err != nil || report.Size != 4 {
		t.Errorf("verified %d leaves, %v", report.Size, err)
	}
}

// An answer that was given on the strength of what the same batch did before it
// goes with the batch. It would catch a household being told that its consent is
// already granted, by a grant that was never recorded.
func TestAnswersGoWithTheirBatch(t *testing.T) {
	own := errors.New("own")
	for _, c := range []struct {
		name  string
		fault ledgertest.Fault
		steps []ledgertest.Step
		want  [3]error // of one that looks, one that records, and one that looks again
	}{
		{"committed", failed, nil, [3]error{own, nil, own}},
		{"not committed", failed, []ledgertest.Step{ledgertest.Commit}, [3]error{own, ledger.ErrNotRecorded, ledger.ErrNotRecorded}},
		{"not committed, as it turns out", lost, []ledgertest.Step{ledgertest.Commit}, [3]error{own, ledger.ErrNotRecorded, ledger.ErrNotRecorded}},
		{"committed, as it turns out", persisted, []ledgertest.Step{ledgertest.Commit}, [3]error{own, nil, own}},
		{"who knows", lost, []ledgertest.Step{ledgertest.Commit, ledgertest.Begin}, [3]error{own, ledger.ErrUnknownOutcome, ledger.ErrUnknownOutcome}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFaulty(t)
			looks := func(id string) ledger.Proposal[*memTx] {
				return ledger.Proposal[*memTx]{RequestID: id, Func: func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
					return ledger.Payload{}, own
				}}
			}
			started, release := make(chan struct{}), make(chan struct{})
			first := propose(t.Context(), f.seq, held("first", started, release))
			<-started
			answers := make(chan []ledger.Outcome, 1)
			go func() {
				answers <- f.seq.ProposeAll(t.Context(), []ledger.Proposal[*memTx]{looks("looks"), remark("records"), looks("looks-again")})
			}()
			gathered(f.seq, 3)
			var commits, next atomic.Int64
			f.store.OnStep(func(step ledgertest.Step) ledgertest.Fault {
				if step == ledgertest.Commit && commits.Add(1) == 1 { // of the batch that is held
					return ledgertest.None
				}
				if i := int(next.Load()); commits.Load() > 0 && i < len(c.steps) && c.steps[i] == step {
					next.Add(1)
					return c.fault
				}
				return ledgertest.None
			})
			close(release)
			if o := <-first; o.Err != nil {
				t.Fatal(o.Err)
			}
			for i, o := range <-answers {
				if !errors.Is(o.Err, c.want[i]) {
					t.Errorf("proposal %d: %v, want %v", i, o.Err, c.want[i])
				}
			}
		})
	}
}

// forgetful is a store whose database crashed before the newest checkpoint was on
// disk, as it may where a checkpoint's commit does not wait for that.
type forgetful struct {
	*ledgertest.Memory
	lost atomic.Bool
}

func (f *forgetful) Checkpoint(ctx context.Context) ([]byte, error) {
	if f.lost.Load() {
		return f.CheckpointAt(ctx, 2)
	}
	return f.Memory.Checkpoint(ctx)
}

func (f *forgetful) PutCheckpoint(ctx context.Context, size uint64, root ledger.Hash, note []byte) error {
	f.lost.Store(false)
	return f.Memory.PutCheckpoint(ctx, size, root, note)
}

// The database crashes and loses the newest checkpoint while the hub goes on: the
// next batch stores it again, though it records nothing itself. It would catch
// receipts that cannot be proved, and readers who see the log shrink, until
// somebody happens to record something.
func TestLostCheckpointIsSignedAnew(t *testing.T) {
	store := &forgetful{Memory: ledgertest.NewMemory(origin)}
	s := start(t, store, signerOf(t), ledger.Options{})
	for i := range 3 {
		if _, err := s.Propose(t.Context(), fmt.Sprint("r-", i), remark("x").Func); err != nil {
			t.Fatal(err)
		}
	}
	store.lost.Store(true)
	if _, err := ledger.TLogProof(t.Context(), store, 2); !errors.Is(err, ledger.ErrUnsigned) {
		t.Fatalf("proof under the lost checkpoint: %v", err)
	}
	if r, err := s.Propose(t.Context(), "r-2", remark("x").Func); err != nil || r.Index != 2 {
		t.Errorf("asked again: index %d, %v", r.Index, err)
	}
	if _, err := ledger.TLogProof(t.Context(), store, 2); err != nil {
		t.Errorf("proof: %v", err)
	}
}
