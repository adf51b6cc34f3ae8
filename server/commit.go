package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// committer stores prepared batches. Each of its goroutines takes whatever
// waits and stores it in one transaction: grouping arises because one commit is
// under way, without timers.
//
// If power fails before a transaction commits, nothing of its batches is stored
// and none was acknowledged; after it commits, all of them are. When the
// outcome of a commit is unknown the same batches are stored again: the batch
// id then finds what the first attempt left.
type committer struct {
	store *store.Store
	queue chan *waiting
	done  chan struct{} // closed by close; the goroutines then end
	group sync.WaitGroup
	log   *slog.Logger
}

type waiting struct {
	ctx    context.Context
	p      *prepared
	result chan committed
}

type committed struct {
	outcome store.BatchOutcome
	err     error
}

// Bounds of one transaction; whichever is reached first ends the group.
const (
	maxBatchesPerCommit = 64
	maxBlocksPerCommit  = 20_000
	// commitAttempts bounds retries of a transaction whose outcome is unknown or
	// that lost a race; the stream then ends and its client sends again.
	commitAttempts = 5
)

func newCommitter(s *store.Store, goroutines int, log *slog.Logger) *committer {
	c := &committer{store: s, queue: make(chan *waiting, maxBatchesPerCommit), done: make(chan struct{}), log: log}
	for range goroutines {
		c.group.Go(c.run)
	}
	return c
}

// commit stores the batch and returns after the transaction that holds it has
// committed.
func (c *committer) commit(ctx context.Context, p *prepared) (store.BatchOutcome, error) {
	w := &waiting{ctx: ctx, p: p, result: make(chan committed, 1)}
	select {
	case c.queue <- w:
	case <-ctx.Done():
		return store.BatchOutcome{}, ctx.Err()
	case <-c.done:
		return store.BatchOutcome{}, ledger.ErrClosed
	}
	select {
	case r := <-w.result:
		return r.outcome, r.err
	case <-ctx.Done(): // the batch may still be stored; its client will ask again
		return store.BatchOutcome{}, ctx.Err()
	case <-c.done:
		select {
		case r := <-w.result:
			return r.outcome, r.err
		default:
			return store.BatchOutcome{}, ledger.ErrClosed
		}
	}
}

// close stops the goroutines after the transactions under way.
func (c *committer) close() {
	close(c.done)
	c.group.Wait()
}

func (c *committer) run() {
	for {
		select {
		case first := <-c.queue:
			c.storeGroup(c.gather(first))
		case <-c.done:
			return
		}
	}
}

// gather takes what else waits, up to the bounds of one transaction.
func (c *committer) gather(first *waiting) []*waiting {
	group := []*waiting{first}
	blocks := len(first.p.batch.Blocks)
	for len(group) < maxBatchesPerCommit && blocks < maxBlocksPerCommit {
		select {
		case w := <-c.queue:
			if w.ctx.Err() != nil {
				continue // nobody waits for the answer; the client will send again
			}
			group = append(group, w)
			blocks += len(w.p.batch.Blocks)
		default:
			return group
		}
	}
	return group
}

// storeGroup stores one group in one transaction and answers its callers. A group
// that fails for good is taken apart, so that what is wrong with one batch
// does not end the streams of the others.
func (c *committer) storeGroup(group []*waiting) {
	outcomes, err := c.attempt(group)
	if len(group) > 1 && err != nil && !again(err) {
		for _, w := range group {
			c.storeGroup([]*waiting{w})
		}
		return
	}
	for i, w := range group {
		if err != nil {
			w.result <- committed{err: err}
			continue
		}
		w.result <- committed{outcome: outcomes[i]}
	}
}

// again reports whether the error passes with time and has nothing to do with
// what was stored.
func again(err error) bool {
	return errors.Is(err, ledger.ErrUnknownOutcome) || errors.Is(err, store.ErrRetry) || errors.Is(err, store.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded)
}

func (c *committer) attempt(group []*waiting) (outcomes []store.BatchOutcome, err error) {
	// The transaction outlives the calls that wait for it: one client's leaving
	// must not undo the batches of the others.
	ctx, cancel := context.WithTimeout(context.Background(), unaryTimeout)
	defer cancel()
	defer recovered(ctx, c.log, "committer", &err)
	unknown := false
	for n := range commitAttempts {
		batches, err := c.carry(group)
		if err != nil {
			return nil, err
		}
		outcomes, err := c.store.CommitBatches(ctx, batches)
		if err == nil {
			known(group, batches)
			if unknown { // an attempt of our own may have stored them: not the client's repetition
				for i := range outcomes {
					if outcomes[i].Result == store.Duplicate {
						outcomes[i].Result = store.Stored
					}
				}
			}
			return outcomes, nil
		}
		unknown = unknown || errors.Is(err, ledger.ErrUnknownOutcome)
		if !errors.Is(err, ledger.ErrUnknownOutcome) && !errors.Is(err, store.ErrRetry) || n == commitAttempts-1 {
			return nil, err
		}
		c.log.LogAttrs(ctx, slog.LevelWarn, "storing readings again", slog.Int("attempt", n+2), slog.String("cause", err.Error()))
		select {
		case <-time.After(time.Duration(10<<(2*n)) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("storing readings: %w", store.ErrUnavailable)
}

// carry adds to the group's first batches the wraps of every key they were
// sealed under that is not known to be stored. The error is seal.ErrWriterSpent
// if a batch's keys have been forgotten since.
func (c *committer) carry(group []*waiting) ([]store.Batch, error) {
	batches := make([]store.Batch, len(group))
	carried := map[carriedKey]bool{}
	for i, w := range group {
		b := w.p.batch
		b.Wraps, b.SpoolKeys = nil, nil
		for _, t := range w.p.targets {
			wrap, known, err := w.p.writer.Wrap(t.target, t.day)
			if err != nil {
				return nil, fmt.Errorf("wrapping day key: %w", err)
			}
			id := carriedKey{w.p.writer, t.target.Household, t.target.Generation, t.day}
			if !known && !carried[id] {
				carried[id] = true
				b.Wraps = append(b.Wraps, wrap)
			}
		}
		for _, d := range w.p.windows {
			wrap, known, err := w.p.writer.SpoolKey(d.day, d.key)
			if err != nil {
				return nil, fmt.Errorf("wrapping spool key: %w", err)
			}
			id := carriedKey{writer: w.p.writer, day: d.day}
			if !known && !carried[id] {
				carried[id] = true
				b.SpoolKeys = append(b.SpoolKeys, wrap)
			}
		}
		batches[i] = b
	}
	return batches, nil
}

// carriedKey names a key whose wrap a transaction carries; that of a window has
// no household.
type carriedKey struct {
	writer     *seal.Writer
	household  consent.Household
	generation uint32
	day        meter.Day
}

// known tells the writers which wraps are certainly stored.
func known(group []*waiting, batches []store.Batch) {
	for i, b := range batches {
		for _, w := range b.Wraps {
			group[i].p.writer.Committed(w.Household, w.Generation, w.Day)
		}
		for _, k := range b.SpoolKeys {
			group[i].p.writer.CommittedSpool(k.Day)
		}
	}
}
