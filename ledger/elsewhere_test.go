package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// notary is another process that signs, as this one sees it.
type notary func(ctx context.Context, size uint64) ([]byte, error)

func (n notary) Cover(ctx context.Context, size uint64) ([]byte, error) { return n(ctx, size) }

// One process signs and others only propose: whoever proposes gets a receipt that
// verifies, and nothing is lost or twice while all of them do. It would catch a
// process that needs the key to record.
func TestSignedElsewhere(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	log := ledgertest.Start(t, ledger.Store[*memTx](store))
	const each = 40
	var wg sync.WaitGroup
	for p := range 3 {
		s := log.Sequencer
		if p > 0 {
			s = start(t, store, nil, ledger.Options{Elsewhere: log})
		}
		for i := range each {
			wg.Go(func() {
				r, err := s.Propose(t.Context(), fmt.Sprintf("r-%d-%d", p, i), remark("x").Func)
				if err != nil {
					t.Error(err)
					return
				}
				proof, err := ledger.NewProver(store).TLogProofUnder(t.Context(), r.Index, r.Leaf, r.Checkpoint)
				if err == nil {
					_, err = log.Verifier.Proof(r.Payload, r.Nonce, proof)
				}
				if err != nil {
					t.Errorf("receipt of record %d: %v", r.Index, err)
				}
			})
		}
	}
	wg.Wait()
	if report := log.Verify(t); report.Size != 3*each {
		t.Errorf("%d records, want %d", report.Size, 3*each)
	}
}

// While nobody signs, what is proposed is recorded and said to be unsigned; asked
// again later it is the same record.
func TestNobodySigns(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	log := ledgertest.Start(t, ledger.Store[*memTx](store))
	away := errors.New("away")
	var failure error
	s := start(t, store, nil, ledger.Options{Elsewhere: notary(func(ctx context.Context, size uint64) ([]byte, error) {
		if failure != nil {
			return nil, failure
		}
		return log.Cover(ctx, size)
	})})
	if _, err := s.Propose(t.Context(), "before", remark("x").Func); err != nil {
		t.Fatal(err)
	}
	failure = away
	for range 2 {
		if _, err := s.Propose(t.Context(), "r", remark("x").Func); !errors.Is(err, ledger.ErrUnsigned) || !strings.Contains(err.Error(), away.Error()) {
			t.Fatalf("%v, want ErrUnsigned and why", err)
		}
	}
	failure = nil
	if r, err := s.Propose(t.Context(), "r", remark("x").Func); err != nil || r.Index != 1 {
		t.Errorf("record %d, %v; want record 1", r.Index, err)
	}
	if s.Failure() != nil {
		t.Errorf("nobody signed for a while, and the log is not trusted any more: %v", s.Failure())
	}
}

// What a process that signs answers must cover what was committed and be of the same
// log: another root ends the work for good.
func TestSignedSomethingElse(t *testing.T) {
	other := ledgertest.Start(t, ledger.Store[*memTx](ledgertest.NewMemory(origin)))
	foreign := ledgertest.Start(t, ledger.Store[*memTx](ledgertest.NewMemory("elsewhere.test/log")))
	for _, log := range []*ledgertest.Log[*memTx]{other, foreign} {
		for i := range 3 {
			if _, err := log.Propose(t.Context(), fmt.Sprint("r-", i), remark("other").Func); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := func(log *ledgertest.Log[*memTx], size uint64) notary {
		return func(ctx context.Context, _ uint64) ([]byte, error) { return log.Store.CheckpointAt(ctx, size) }
	}
	for name, c := range map[string]struct {
		notary ledger.Notary
		want   error
		final  bool
	}{
		"another root of the same size": {at(other, 2), ledger.ErrFork, true},
		"less than was committed":       {at(other, 1), ledger.ErrCheckpoint, false},
		"another log":                   {at(foreign, 3), ledger.ErrOrigin, true},
		"no checkpoint":                 {notary(func(context.Context, uint64) ([]byte, error) { return []byte("nothing"), nil }), ledger.ErrCheckpoint, false},
	} {
		t.Run(name, func(t *testing.T) {
			store := ledgertest.NewMemory(origin)
			log := ledgertest.Start(t, ledger.Store[*memTx](store))
			if _, err := log.Propose(t.Context(), "before", remark("x").Func); err != nil {
				t.Fatal(err)
			}
			asked := 0
			s := start(t, store, nil, ledger.Options{Elsewhere: notary(func(ctx context.Context, size uint64) ([]byte, error) {
				if asked++; size == 1 {
					return log.Cover(ctx, size)
				}
				return c.notary.Cover(ctx, size)
			})})
			_, err := s.Propose(t.Context(), "r", remark("x").Func)
			if !errors.Is(err, ledger.ErrUnsigned) || !errors.Is(err, c.want) {
				t.Errorf("%v, want ErrUnsigned and %v", err, c.want)
			}
			if (s.Failure() != nil) != c.final {
				t.Errorf("failure %v, want one: %t", s.Failure(), c.final)
			}
		})
	}
}

// A process that signs waits for nobody's lock, and signs what is committed: neither
// what is on its way, nor what does not go on from what it has signed.
func TestCover(t *testing.T) {
	store := ledgertest.NewMemory(origin)
	log := ledgertest.Start(t, ledger.Store[*memTx](store))
	s := start(t, store, nil, ledger.Options{Elsewhere: log})
	if _, err := s.Propose(t.Context(), "r-0", remark("x").Func); err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	answer := propose(t.Context(), s, held("r-1", started, release))
	<-started
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	note, err := log.Cover(soon, 1)
	if err != nil {
		t.Fatalf("while another process holds the lock: %v", err)
	}
	if size, _, err := log.Verifier.Checkpoint(note); err != nil || size != 1 {
		t.Errorf("size %d, %v", size, err)
	}
	if _, err := log.Cover(soon, 2); !errors.Is(err, ledger.ErrUnsigned) {
		t.Errorf("of what is not committed: %v, want ErrUnsigned", err)
	}
	close(release)
	if got := <-answer; got.Err != nil {
		t.Fatal(got.Err)
	}
	if _, err := log.Cover(t.Context(), 2); err != nil {
		t.Error(err)
	}
	forged := ledgertest.NewMemory(origin) // somebody puts another log into its place
	imposter := ledgertest.Start(t, ledger.Store[*memTx](forged))
	for i := range 3 {
		if _, err := imposter.Propose(t.Context(), fmt.Sprint("f-", i), remark("y").Func); err != nil {
			t.Fatal(err)
		}
	}
	replaced := &replaceable{Memory: store}
	signing := start(t, replaced, signerOf(t), ledger.Options{})
	if _, err := signing.Cover(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	replaced.Memory = forged
	if _, err := signing.Cover(t.Context(), 3); !errors.Is(err, ledger.ErrCorrupt) && !errors.Is(err, ledger.ErrFork) {
		t.Errorf("of another log in its place: %v, want ErrFork or ErrCorrupt", err)
	}
	if signing.Failure() == nil {
		t.Error("another log in its place, and it would go on signing")
	}
}

// replaceable is a store that somebody replaces.
type replaceable struct{ *ledgertest.Memory }
