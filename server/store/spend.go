package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wattveil/wattveil/privacy/keyguard"
)

// SpendAccess implements keyguard.Keys. When the outcome of its COMMIT is unknown,
// or ctx ends while it waits, the access counts as spent, and the caller, who was
// told of an error, asks for a new one.
func (s *Store) SpendAccess(ctx context.Context, index uint64, self bool) error {
	p := &presented{ctx: ctx, index: index, self: self}
	if s.spends != nil {
		return doing("spending an access", s.spends.await(p))
	}
	err := s.spend(ctx, p)
	if err == nil {
		err = p.refused
	}
	return doing("spending an access", err)
}

// presented is an access leaf that was presented to be spent.
type presented struct {
	ctx     context.Context //nolint:containedctx // of the call that waits
	index   uint64
	self    bool
	refused error      // ErrSpent; decided when its transaction has committed
	done    chan error // of capacity 1
}

// spend decides each of the leaves in one transaction, in order. One statement
// decides: the row of a leaf that was presented stands in the way of all that come
// after, in this transaction too, unless it is of purpose self. With an error
// nothing is decided.
func (s *Store) spend(ctx context.Context, group ...*presented) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		for _, p := range group {
			spend := `INSERT INTO keyguard_spent (leaf_index, uses) VALUES ($1, 1) ON CONFLICT (leaf_index) `
			if p.self {
				spend += `DO UPDATE SET uses = keyguard_spent.uses + 1`
			} else {
				spend += `DO NOTHING`
			}
			spent, err := execOne(ctx, tx.sql, spend, p.index)
			if err != nil {
				return err
			}
			p.refused = nil
			if !spent {
				p.refused = keyguard.ErrSpent
			}
		}
		return nil
	})
}

// spends are the leaves that wait to be spent where one connection writes. While a
// transaction commits, those that come meanwhile gather for the next, which takes
// them all: one wait for the disk instead of one for each, without timers. Safe
// for concurrent use.
type spends struct {
	spend func(ctx context.Context, group ...*presented) error

	mu      sync.Mutex
	waiting []*presented
	running bool
}

const (
	// maxSpends bounds the leaves of one transaction.
	maxSpends = 256
	// spendTimeout bounds a transaction, which is no single caller's.
	spendTimeout = 30 * time.Second
)

// await returns after the transaction that decides p has committed, or when its
// context ends.
func (s *spends) await(p *presented) error {
	p.done = make(chan error, 1)
	s.mu.Lock()
	s.waiting = append(s.waiting, p)
	if !s.running {
		s.running = true
		go s.run()
	}
	s.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// run decides group after group, until nobody waits.
func (s *spends) run() {
	for group := s.take(); group != nil; group = s.take() {
		s.decide(group)
	}
}

// take returns what waits, without those who have gone, of whom nothing is spent;
// or nil, and then whoever comes next runs anew.
func (s *spends) take() []*presented {
	s.mu.Lock()
	defer s.mu.Unlock()
	var group []*presented
	for len(s.waiting) > 0 && len(group) < maxSpends {
		if p := s.waiting[0]; p.ctx.Err() == nil {
			group = append(group, p)
		}
		s.waiting = s.waiting[1:]
	}
	s.running = group != nil
	return group
}

// decide answers a group. One that fails over what was presented is taken apart, so
// that nobody fails for another.
func (s *spends) decide(group []*presented) {
	ctx, cancel := context.WithTimeout(context.Background(), spendTimeout)
	defer cancel()
	err := s.spend(ctx, group...)
	common := errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrRetry) || ctx.Err() != nil
	if err != nil && len(group) > 1 && !common {
		for _, p := range group {
			s.decide([]*presented{p})
		}
		return
	}
	for _, p := range group {
		if err == nil {
			p.done <- p.refused
		} else {
			p.done <- err
		}
	}
}
