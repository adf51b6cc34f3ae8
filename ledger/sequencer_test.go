package ledger_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// start is ledgertest.Start with options and a signer of the test's own.
func start(t *testing.T, store ledger.Store[*memTx], signer ledger.Signer, opt ledger.Options) *ledger.Sequencer[*memTx] {
	t.Helper()
	if opt.Now == nil {
		opt.Now = ledgertest.Clock()
	}
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	s := ledger.NewSequencer(store, signer, opt)
	t.Cleanup(s.Close)
	return s
}

// held is a proposal that does not end before release is closed. Behind it a
// test can gather a batch.
func held(id string, started chan<- struct{}, release <-chan struct{}) ledger.Proposal[*memTx] {
	p := remark(id)
	inner := p.Func
	p.Func = func(ctx context.Context, tx *memTx, at ledger.Position) (ledger.Payload, error) {
		close(started)
		<-release
		return inner(ctx, tx, at)
	}
	return p
}

// propose proposes from another goroutine.
func propose(ctx context.Context, s *ledger.Sequencer[*memTx], p ledger.Proposal[*memTx]) <-chan ledger.Outcome {
	answer := make(chan ledger.Outcome, 1)
	go func() {
		r, err := s.Propose(ctx, p.RequestID, p.Func)
		answer <- ledger.Outcome{Receipt: r, Err: err}
	}()
	return answer
}

// gathered waits until n proposals are waiting.
func gathered(s *ledger.Sequencer[*memTx], n int) {
	for s.Waiting() < n {
		runtime.Gosched()
	}
}

// Whatever waits goes into one transaction, and never more than MaxBatch. It
// would catch a sequencer that commits one by one, or holds the head's lock
// without bound.
func TestBatches(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	signer, _, _ := newSigner(t, origin)
	s := start(t, store, signer, ledger.Options{MaxBatch: 4})
	started, release := make(chan struct{}), make(chan struct{})
	first := propose(t.Context(), s, held("first", started, release))
	<-started
	var answers []<-chan ledger.Outcome
	for i := range 4 {
		answers = append(answers, propose(t.Context(), s, remark(fmt.Sprint("gathered-", i))))
	}
	gathered(s, 4) // the queue holds one batch
	for i := range 6 {
		answers = append(answers, propose(t.Context(), s, remark(fmt.Sprint("queueing-", i))))
	}
	var appends atomic.Int64
	store.OnStep(func(step ledgertest.Step) ledgertest.Fault {
		if step == ledgertest.Append {
			appends.Add(1)
		}
		return ledgertest.None
	})
	close(release)
	for _, a := range append(answers, first) {
		if o := <-a; o.Err != nil {
			t.Error(o.Err)
		}
	}
	// The held one, four gathered, and six more in two to six batches.
	if n := appends.Load(); n < 4 || n > 8 {
		t.Errorf("11 proposals in %d transactions", n)
	}
}

// A request id that comes twice in one batch is one leaf, and its function
// runs once; but where the first has failed, the second runs.
func TestRepeatedWithinBatch(t *testing.T) {
	log, _ := newLog(t)
	ran := 0
	count := func(fail error) ledger.Proposal[*memTx] {
		p := remark("same")
		inner := p.Func
		p.Func = func(ctx context.Context, tx *memTx, at ledger.Position) (ledger.Payload, error) {
			ran++
			if fail != nil {
				return ledger.Payload{}, fail
			}
			return inner(ctx, tx, at)
		}
		return p
	}
	own := errors.New("own")
	o := log.ProposeAll(t.Context(), []ledger.Proposal[*memTx]{count(own), count(nil), count(nil), remark("other")})
	if !errors.Is(o[0].Err, own) || o[1].Err != nil || o[2].Err != nil || o[3].Err != nil {
		t.Errorf("outcomes %v", o)
	}
	if ran != 2 || o[1].Receipt.Index != 0 || o[2].Receipt.Index != 0 || o[3].Receipt.Index != 1 {
		t.Errorf("ran %d times, indices %d %d %d", ran, o[1].Receipt.Index, o[2].Receipt.Index, o[3].Receipt.Index)
	}
	if report := log.Verify(t); report.Size != 2 {
		t.Errorf("log of size %d", report.Size)
	}
}

// A caller who gives up while waiting has proposed nothing.
func TestGiveUpWhileWaiting(t *testing.T) {
	log, _ := newLog(t)
	started, release := make(chan struct{}), make(chan struct{})
	first := propose(t.Context(), log.Sequencer, held("first", started, release))
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	waiting := propose(ctx, log.Sequencer, remark("given-up"))
	gathered(log.Sequencer, 1)
	cancel()
	if o := <-waiting; !errors.Is(o.Err, context.Canceled) || errors.Is(o.Err, ledger.ErrUnknownOutcome) {
		t.Errorf("given up: %v", o.Err)
	}
	close(release)
	if o := <-first; o.Err != nil {
		t.Error(o.Err)
	}
	if _, err := log.Propose(ctx, "late", remark("late").Func); !errors.Is(err, context.Canceled) {
		t.Errorf("proposed after the end of its context: %v", err)
	}
	if report := log.Verify(t); report.Size != 1 {
		t.Errorf("log of size %d, want 1", report.Size)
	}
}

// A caller who gives up in mid-transaction is told that the outcome is
// unknown, takes nobody with it, and learns the truth by asking again. It
// would catch a cancelled request rolling back a whole batch of consents.
func TestGiveUpInBatch(t *testing.T) {
	log, _ := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone, release := make(chan struct{}), make(chan struct{})
	quitter := ledger.Proposal[*memTx]{RequestID: "quitter", Func: func(ctx context.Context, _ *memTx, _ ledger.Position) (ledger.Payload, error) {
		cancel()
		<-gone
		return ledger.Payload{Kind: ledger.KindAdmin}, ctx.Err()
	}}
	started := make(chan struct{})
	first := propose(t.Context(), log.Sequencer, held("first", started, release))
	<-started
	quits := propose(ctx, log.Sequencer, quitter)
	stays := propose(t.Context(), log.Sequencer, remark("stays"))
	gathered(log.Sequencer, 2)
	close(release)
	if o := <-quits; !errors.Is(o.Err, ledger.ErrUnknownOutcome) || !errors.Is(o.Err, context.Canceled) {
		t.Errorf("quitter: %v", o.Err)
	}
	close(gone)
	for _, a := range []<-chan ledger.Outcome{first, stays} {
		if o := <-a; o.Err != nil {
			t.Error(o.Err)
		}
	}
	again, err := log.Propose(t.Context(), "quitter", func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
		t.Error("ran again")
		return ledger.Payload{}, errors.New("ran again")
	})
	if err != nil || again.Index < 1 || again.Index > 2 {
		t.Errorf("asked again: index %d, %v", again.Index, err)
	}
	if report := log.Verify(t); report.Size != 3 {
		t.Errorf("log of size %d, want 3", report.Size)
	}
}

// Close ends the batch in hand properly, and answers everybody else.
func TestClose(t *testing.T) {
	log, _ := newLog(t)
	started, release := make(chan struct{}), make(chan struct{})
	first := propose(t.Context(), log.Sequencer, held("first", started, release))
	<-started
	waiting := propose(t.Context(), log.Sequencer, remark("waiting"))
	gathered(log.Sequencer, 1)
	closed := make(chan struct{})
	go func() { log.Close(); close(closed) }()
	<-log.Closing()
	if _, err := log.Propose(t.Context(), "late", remark("late").Func); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("the late one: %v", err)
	}
	close(release)
	<-closed
	log.Close() // again does no harm
	if o := <-first; o.Err != nil {
		t.Errorf("the one in hand: %v", o.Err)
	}
	if o := <-waiting; !errors.Is(o.Err, ledger.ErrClosed) {
		t.Errorf("the one waiting: %v", o.Err)
	}
	if report := log.Verify(t); report.Size != 1 {
		t.Errorf("log of size %d, want 1", report.Size)
	}
}

// A function that panics is rolled back and its words stay out of the log; the
// next proposal is served.
func TestPanic(t *testing.T) {
	var lines bytes.Buffer
	store := ledgertest.NewMemory(origin)
	signer, _, _ := newSigner(t, origin)
	s := start(t, store, signer, ledger.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	_, err := s.Propose(t.Context(), "panics", func(context.Context, *memTx, ledger.Position) (ledger.Payload, error) {
		panic("reading 4711 of household Muster")
	})
	if !errors.Is(err, ledger.ErrPanic) || strings.Contains(err.Error(), "4711") {
		t.Errorf("panicked: %v", err)
	}
	if r, err := s.Propose(t.Context(), "next", remark("next").Func); err != nil || r.Index != 0 {
		t.Errorf("the next one: index %d, %v", r.Index, err)
	}
	s.Close()
	if text := lines.String(); !strings.Contains(text, "sequencer_test.go") && !strings.Contains(text, "TestPanic") {
		t.Errorf("the log does not say where: %s", text)
	} else if strings.Contains(text, "4711") || strings.Contains(text, "Muster") {
		t.Errorf("the log says what: %s", text)
	}
}

// The time of leaves never runs back, though the clock does; and what a
// function says of time and chains is not believed.
func TestTimeAndChainsAreTheSequencers(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	store.PutSubjectKey("h", sequence(1))
	signer, _, _ := newSigner(t, origin)
	var ticks atomic.Int64
	backwards := func() time.Time { return time.UnixMicro(1_767_225_600_000_000 - ticks.Add(1)*1_000_000) }
	s := start(t, store, signer, ledger.Options{Now: backwards})
	var last int64
	for i := range 3 {
		var at ledger.Position
		r, err := s.Propose(t.Context(), fmt.Sprint("r-", i), func(_ context.Context, _ *memTx, pos ledger.Position) (ledger.Payload, error) {
			at = pos
			return ledger.Payload{
				Kind: ledger.KindAccess, Subject: "h", Time: 1,
				SubjectSeq: 99, SubjectPrev: sequence(7), RecipientSeq: 99, RecipientPrev: sequence(7),
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := ledger.DecodePayload(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if p.Time < last || p.Time != at.Time || r.Index != at.Index {
			t.Errorf("leaf %d has time %d after %d; its function saw %+v", i, p.Time, last, at)
		}
		if p.SubjectSeq != uint64(i+1) || p.RecipientSeq != 0 || p.RecipientPrev != (ledger.Hash{}) || (p.SubjectPrev == ledger.Hash{}) != (i == 0) {
			t.Errorf("leaf %d is chained as %+v", i, p)
		}
		last = p.Time
	}
}

// Request ids are 1 to 255 visible ASCII characters.
func TestRequestID(t *testing.T) {
	log, _ := newLog(t)
	for _, id := range []string{"", " ", "a b", "a\n", "é", strings.Repeat("x", 256)} {
		if _, err := log.Propose(t.Context(), id, remark("x").Func); !errors.Is(err, ledger.ErrRequestID) {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"a", "self|2026-01-01|#1/~!", strings.Repeat("x", 255)} {
		if _, err := log.Propose(t.Context(), id, remark("x").Func); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// After a restart the right edge is read from the store: at every alignment
// the log goes on as if nothing had been.
func TestRestart(t *testing.T) {
	log, store := newLog(t)
	at := 0
	for _, size := range []int{1, 2, 255, 256, 257, 511, 512, 513, 700} {
		grow(t, log, at, size)
		at = size
		log.Close()
		log = restart(t, store)
		if report := log.Verify(t); report.Size != uint64(size) {
			t.Fatalf("log of size %d, want %d", report.Size, size)
		}
	}
}

// A stored log whose leaves do not lead to its head is not appended to.
type otherLeaves struct{ *ledgertest.Memory }

func (otherLeaves) ReadLeaves(_ context.Context, from, until uint64) ([]ledger.Leaf, error) {
	return make([]ledger.Leaf, until-from), nil
}

func TestCorruptStore(t *testing.T) {
	log, store := newLog(t)
	grow(t, log, 0, 5)
	log.Close()
	s := start(t, otherLeaves{store}, signerOf(t), ledger.Options{})
	if _, err := s.Propose(t.Context(), "x", remark("x").Func); !errors.Is(err, ledger.ErrCorrupt) || !errors.Is(err, ledger.ErrNotRecorded) {
		t.Errorf("appended to a corrupt log: %v", err)
	}
}

// signerOf is a signer without memory, as after a restart.
func signerOf(t testing.TB) ledger.Signer {
	t.Helper()
	signer, _, _ := newSigner(t, origin)
	return signer
}

// A store that was put back behind its own signature, or beside it, takes no
// further leaf: the sequencer would otherwise sign a fork.
func TestRollbackIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		size uint64
		want error
	}{
		"behind": {7, ledger.ErrRollback},
		"beside": {5, ledger.ErrFork},
	} {
		store := ledgertest.NewMemory(origin)
		started := make(chan struct{})
		s := start(t, store, unable{started}, ledger.Options{})
		<-started // at start; from here on nothing is signed
		for i := range 5 {
			if _, err := s.Propose(t.Context(), fmt.Sprint("r-", i), remark("x").Func); !errors.Is(err, ledger.ErrUnsigned) {
				t.Fatal(err)
			}
		}
		s.Close()
		note, err := signerOf(t).Sign(t.Context(), ledger.Head{Origin: origin, Size: c.size, Root: sequence(1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.PutCheckpoint(t.Context(), c.size, sequence(1), note); err != nil {
			t.Fatal(err)
		}
		s = start(t, store, signerOf(t), ledger.Options{})
		for range 2 {
			if _, err := s.Propose(t.Context(), "x", remark("x").Func); !errors.Is(err, c.want) || !errors.Is(err, ledger.ErrNotRecorded) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if leaves, _ := store.ReadLeaves(t.Context(), 0, 100); len(leaves) != 5 {
			t.Errorf("%s: the log has %d leaves", name, len(leaves))
		}
	}
}

// unable is a signer that cannot sign, and says when it was first asked.
type unable struct{ asked chan struct{} }

func (u unable) Sign(context.Context, ledger.Head) ([]byte, error) {
	select {
	case <-u.asked:
	default:
		close(u.asked)
	}
	return nil, errors.New("no signature today")
}

// A signer that refuses a head, since it has signed another or belongs to another
// log, stops the log: nothing more is recorded that can never be signed, and
// nothing grows past the place where a fork could be signed unnoticed.
func TestRefusedHeadStopsTheLog(t *testing.T) {
	for _, refusal := range []error{ledger.ErrRollback, ledger.ErrFork, ledger.ErrOrigin} {
		store := ledgertest.NewMemory(origin)
		var refuses atomic.Bool
		signer := refusing{signerOf(t), refusal, &refuses}
		s := start(t, store, signer, ledger.Options{})
		if _, err := s.Propose(t.Context(), "before", remark("before").Func); err != nil {
			t.Fatal(err)
		}
		refuses.Store(true)
		if _, err := s.Propose(t.Context(), "last", remark("last").Func); !errors.Is(err, ledger.ErrUnsigned) || !errors.Is(err, refusal) {
			t.Errorf("%v: the one it refuses to sign: %v", refusal, err)
		}
		for range 2 { // by this process, and by the next
			if _, err := s.Propose(t.Context(), "after", remark("after").Func); !errors.Is(err, ledger.ErrNotRecorded) || !errors.Is(err, refusal) {
				t.Errorf("%v: the one after: %v", refusal, err)
			}
			s.Close()
			s = start(t, store, signer, ledger.Options{})
		}
		if leaves, _ := store.ReadLeaves(t.Context(), 0, 100); len(leaves) != 2 {
			t.Errorf("%v: the log has %d leaves, want 2", refusal, len(leaves))
		}
		refuses.Store(false)
		s.Close()
		s = start(t, store, signer, ledger.Options{})
		if _, err := s.Propose(t.Context(), "last", remark("last").Func); err != nil {
			t.Errorf("%v: once a person has decided: %v", refusal, err)
		}
	}
}

type refusing struct {
	ledger.Signer
	with    error
	refuses *atomic.Bool
}

func (r refusing) Sign(ctx context.Context, head ledger.Head) ([]byte, error) {
	if r.refuses.Load() {
		return nil, r.with
	}
	return r.Signer.Sign(ctx, head)
}
