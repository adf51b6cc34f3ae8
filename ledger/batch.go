package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
)

// savepoint is the name under which every proposal of a batch runs.
const savepoint = "proposal"

// batch is one transaction's worth of proposals and what has become of them.
type batch[T Tx] struct {
	s        *Sequencer[T]
	calls    []*call[T]
	results  []result         // by position in calls
	recorded map[string]Entry // by request id: entries of this batch
	entries  []Entry          // the same, by index
	edge     *edge            // the tree with them
	head     Head             // when the transaction has committed
	ran      bool             // the transaction came as far as COMMIT
}

// result is an entry, of this batch or an earlier one, or an error.
type result struct {
	entry Entry
	err   error
	leans bool // on entries of this batch: its function ran after theirs
}

// record takes a batch through the steps that Sequencer lists, and answers it.
func (s *Sequencer[T]) record(ctx context.Context, calls []*call[T]) {
	b := &batch[T]{s: s, calls: calls}
	if err := s.start(ctx); err != nil {
		b.fail(fmt.Errorf("%w: %w", ErrNotRecorded, err))
		return
	}
	err := s.store.Transact(ctx, b.run)
	switch {
	case err == nil:
		s.edge = b.edge
	case errors.Is(err, ErrUnknownOutcome) && b.ran:
		s.opt.Logger.WarnContext(ctx, "asking the ledger what became of a batch", slog.Any("error", err))
		if err := b.resolve(ctx); err != nil {
			b.fail(fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
			return
		}
	default:
		b.fail(fmt.Errorf("%w: %w", ErrNotRecorded, err))
		return
	}
	if err := s.publish(ctx, b.head); err != nil {
		s.started = !refused(err) // the next batch begins with what this one came to
		s.opt.Logger.ErrorContext(ctx, "ledger recorded but not signed", slog.Any("error", err))
		b.answer(fmt.Errorf("%w: %w", ErrUnsigned, err))
		return
	}
	b.answer(ErrUnsigned)
}

// run is the transaction.
func (b *batch[T]) run(ctx context.Context, tx T) error {
	from, err := tx.LedgerHead(ctx)
	if err != nil {
		return fmt.Errorf("locking the head: %w", err)
	}
	if err := b.s.checkHead(from); err != nil {
		return err
	}
	if b.edge, err = b.s.edge.at(ctx, b.s.tree, from); err != nil {
		return err
	}
	b.results = make([]result, len(b.calls))
	b.recorded = make(map[string]Entry)
	for i, c := range b.calls {
		leans := len(b.entries) > 0
		entry, err := b.propose(ctx, tx, c)
		var fatal *batchError
		if errors.As(err, &fatal) {
			return fatal.err
		}
		b.results[i] = result{entry, err, leans}
	}
	b.head = from
	if len(b.entries) > 0 {
		b.head = b.edge.head(from)
		tiles := b.edge.full
		b.edge.full = nil
		if err := tx.LedgerAppend(ctx, from, b.head, b.entries, tiles); err != nil {
			return fmt.Errorf("appending: %w", err)
		}
	}
	b.ran = true
	return nil
}

// batchError is an error after which the transaction cannot go on. Its type
// keeps it apart from whatever a proposal's function returns.
type batchError struct{ err error }

func (e *batchError) Error() string { return e.err.Error() }

// propose runs one proposal under its savepoint and returns its entry, or the
// one that its request id had before.
func (b *batch[T]) propose(ctx context.Context, tx T, c *call[T]) (Entry, error) {
	if entry, ok := b.recorded[c.requestID]; ok {
		return entry, nil
	}
	entry, ok, err := tx.LedgerRequest(ctx, c.requestID)
	if err != nil {
		return Entry{}, &batchError{fmt.Errorf("looking up a request: %w", err)}
	}
	if ok {
		return entry, nil
	}
	if err := tx.Savepoint(ctx, savepoint); err != nil {
		return Entry{}, &batchError{fmt.Errorf("setting a savepoint: %w", err)}
	}
	entry, err = b.entry(ctx, tx, c)
	if err != nil {
		if back := tx.RollbackTo(ctx, savepoint); back != nil {
			return Entry{}, &batchError{fmt.Errorf("rolling back to a savepoint: %w", back)}
		}
		return Entry{}, err
	}
	if err := b.edge.append(entry.Leaf.Hash()); err != nil {
		return Entry{}, &batchError{err}
	}
	b.recorded[c.requestID] = entry
	b.entries = append(b.entries, entry)
	return entry, nil
}

// entry runs the proposal's function and makes the leaf of its payload.
func (b *batch[T]) entry(ctx context.Context, tx T, c *call[T]) (Entry, error) {
	at := Position{Index: b.edge.size(), Time: b.s.now()}
	p, err := b.call(tx, c, at)
	if err != nil {
		return Entry{}, err
	}
	p.Time = at.Time
	var leaf Leaf
	if err := b.chainIn(ctx, tx, &p, &leaf); err != nil {
		return Entry{}, err
	}
	payload, err := p.Encode()
	if err != nil {
		return Entry{}, err
	}
	var nonce Hash
	if _, err := io.ReadFull(b.s.opt.Rand, nonce[:]); err != nil {
		return Entry{}, fmt.Errorf("drawing a nonce: %w", err)
	}
	leaf.Class = p.Kind.Class()
	leaf.Commitment = Commit(nonce, payload)
	if err := chainOn(ctx, tx, p, leaf.Hash()); err != nil {
		return Entry{}, err
	}
	return Entry{
		Index: at.Index, RequestID: c.requestID, Leaf: leaf,
		Payload: payload, Nonce: nonce,
		Subject: p.Subject, Recipient: p.Recipient, Kind: p.Kind, Time: p.Time,
	}, nil
}

// call runs the proposal's function, which may panic but not take the
// sequencer with it.
func (b *batch[T]) call(tx T, c *call[T], at Position) (p Payload, err error) {
	ctx := context.WithoutCancel(c.ctx)
	defer func() {
		if r := recover(); r != nil {
			// Neither the value nor the arguments on the stack are logged:
			// a reading could stand in either.
			b.s.opt.Logger.ErrorContext(ctx, "proposal panicked",
				slog.String("type", fmt.Sprintf("%T", r)), slog.Any("stack", frames()))
			err = ErrPanic
		}
	}()
	return c.fn(ctx, tx, at)
}

// frames returns the functions and lines on the stack, without arguments.
func frames() []string {
	pcs := make([]uintptr, 32)
	next := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var lines []string
	for {
		f, more := next.Next()
		lines = append(lines, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return lines
		}
	}
}

// chainIn puts the payload at the end of its household's and its recipient's
// chain, and the household's tag, or a random one, on the leaf.
func (b *batch[T]) chainIn(ctx context.Context, tx T, p *Payload, leaf *Leaf) error {
	p.SubjectSeq, p.SubjectPrev, p.RecipientSeq, p.RecipientPrev = 0, Hash{}, 0, Hash{}
	if p.Recipient != "" {
		link, err := tx.LedgerChain(ctx, RecipientChain, p.Recipient)
		if err != nil {
			return fmt.Errorf("reading a recipient's chain: %w", err)
		}
		p.RecipientSeq, p.RecipientPrev = link.Seq+1, link.Head
	}
	if p.Subject == "" {
		if _, err := io.ReadFull(b.s.opt.Rand, leaf.Tag[:]); err != nil {
			return fmt.Errorf("drawing a tag: %w", err)
		}
		return nil
	}
	key, err := tx.LedgerSubjectKey(ctx, p.Subject)
	if err != nil {
		return fmt.Errorf("reading a household's tag key: %w", err)
	}
	link, err := tx.LedgerChain(ctx, SubjectChain, p.Subject)
	if err != nil {
		return fmt.Errorf("reading a household's chain: %w", err)
	}
	p.SubjectSeq, p.SubjectPrev = link.Seq+1, link.Head
	leaf.Tag = SubjectTag(key, p.SubjectSeq)
	return nil
}

// chainOn makes the leaf the end of the chains that its payload is in.
func chainOn(ctx context.Context, tx Tx, p Payload, leaf Hash) error {
	if p.Subject != "" {
		if err := tx.LedgerSetChain(ctx, SubjectChain, p.Subject, Link{p.SubjectSeq, leaf}); err != nil {
			return fmt.Errorf("extending a household's chain: %w", err)
		}
	}
	if p.Recipient != "" {
		if err := tx.LedgerSetChain(ctx, RecipientChain, p.Recipient, Link{p.RecipientSeq, leaf}); err != nil {
			return fmt.Errorf("extending a recipient's chain: %w", err)
		}
	}
	return nil
}

// resolve finds out what became of a batch whose COMMIT was not answered. It
// asks in a transaction that locks the head: the lock is free only when the
// first transaction has ended one way or the other.
func (b *batch[T]) resolve(ctx context.Context) error {
	read := false
	err := b.s.store.Transact(ctx, func(ctx context.Context, tx T) error {
		head, err := tx.LedgerHead(ctx)
		if err != nil {
			return err
		}
		if err := b.s.checkHead(head); err != nil {
			return err
		}
		committed, err := b.committed(ctx, tx)
		if err != nil {
			return err
		}
		for i, r := range b.results {
			switch {
			case r.err == nil:
				entry, ok, err := tx.LedgerRequest(ctx, b.calls[i].requestID)
				if err != nil {
					return err
				}
				if !ok {
					entry, err = Entry{}, ErrNotRecorded
				}
				b.results[i] = result{entry: entry, err: err}
			case r.leans && !committed:
				b.results[i] = result{err: ErrNotRecorded}
			}
		}
		b.head, read = head, true
		return nil
	})
	if read {
		return nil // whatever the end of a transaction that only read
	}
	return err
}

// committed reports whether the batch's own entries are recorded: then all are.
func (b *batch[T]) committed(ctx context.Context, tx T) (bool, error) {
	if len(b.entries) == 0 {
		return false, nil
	}
	entry, ok, err := tx.LedgerRequest(ctx, b.entries[0].RequestID)
	return ok && entry.Leaf == b.entries[0].Leaf, err
}

// fail answers every call that err, except where the call's own function failed
// on what was there before the batch.
func (b *batch[T]) fail(err error) {
	for i, c := range b.calls {
		if i < len(b.results) && b.results[i].err != nil && !b.results[i].leans {
			c.answer(Receipt{}, b.results[i].err)
			continue
		}
		c.answer(Receipt{}, err)
	}
}

// answer answers every call, with unsigned where no signed checkpoint covers
// its leaf.
func (b *batch[T]) answer(unsigned error) {
	for i, c := range b.calls {
		r := b.results[i]
		switch {
		case r.err != nil:
			c.answer(Receipt{}, r.err)
		case b.s.note == nil || r.entry.Index >= b.s.published.size:
			c.answer(Receipt{}, unsigned)
		default:
			c.answer(Receipt{
				Index: r.entry.Index, Leaf: r.entry.Leaf,
				Payload: r.entry.Payload, Nonce: r.entry.Nonce,
				Checkpoint: b.s.note,
			}, nil)
		}
	}
}
