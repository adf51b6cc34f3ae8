package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
)

// savepoint is the name under which every proposal of a batch runs.
const savepoint = "proposal"

// batch is one transaction's worth of proposals and what has become of them.
type batch[T Tx] struct {
	s        *Sequencer[T]
	calls    []*call[T]
	excluded map[int]error    // by position in calls: proposals that a transaction cannot go on with
	results  []result         // by position in calls
	recorded map[string]Entry // by request id: of this batch and earlier ones
	drafts   []draft          // what is to be recorded, in order
	entries  []Entry          // the same, once they are chained
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

// draft is a payload that has its place in the log and not yet in its chains.
type draft struct {
	call    int // position in calls
	payload Payload
}

// record takes a batch through the steps that Sequencer lists, and answers it. Those that
// want a checkpoint over what others have committed come first: they need no lock.
func (s *Sequencer[T]) record(ctx context.Context, calls []*call[T]) {
	covers := slices.DeleteFunc(slices.Clone(calls), func(c *call[T]) bool { return c.fn != nil })
	if len(covers) > 0 && len(covers) < len(calls) {
		s.record(ctx, covers)
		calls = slices.DeleteFunc(calls, func(c *call[T]) bool { return c.fn == nil })
	}
	b := &batch[T]{s: s, calls: calls, excluded: make(map[int]error)}
	if err := s.start(ctx); err != nil {
		b.fail(fmt.Errorf("%w: %w", ErrNotRecorded, err))
		return
	}
	err := b.commit(ctx)
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
		s.judge(err)
		b.fail(fmt.Errorf("%w: %w", ErrNotRecorded, err))
		return
	}
	if err := s.publish(ctx, b.head); err != nil {
		s.judge(err)
		s.opt.Logger.ErrorContext(ctx, "ledger recorded but not signed", slog.Any("error", err))
		b.answer(fmt.Errorf("%w: %w", ErrUnsigned, err))
		return
	}
	b.answer(ErrUnsigned)
}

// commit records what is proposed; where nothing is, it looks at what others have
// committed.
func (b *batch[T]) commit(ctx context.Context) error {
	if !slices.ContainsFunc(b.calls, func(c *call[T]) bool { return c.fn != nil }) {
		return b.look(ctx)
	}
	err := b.s.store.Transact(ctx, b.run)
	for errors.Is(err, errAgain) {
		err = b.s.store.Transact(ctx, b.run)
	}
	return err
}

// look reads the committed head, which is to be signed, and makes sure that the leaves
// it is made of are there and go on from what was signed.
func (b *batch[T]) look(ctx context.Context) error {
	head, err := b.s.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("reading the head: %w", err)
	}
	if err := b.s.checkHead(head); err != nil {
		return err
	}
	if b.edge, err = b.s.edge.at(ctx, b.s.tree, b.s.anchor, head); err != nil {
		return err
	}
	b.results, b.head = make([]result, len(b.calls)), head
	for i, c := range b.calls {
		b.results[i] = covering(c.cover)
	}
	return nil
}

// covering is the result of a call that wants size leaves covered.
func covering(size uint64) (r result) {
	r.entry.Index = max(size, 1) - 1
	return r
}

// errAgain ends a transaction that has to begin again, without a proposal that
// has just been excluded. Each time there is one less, so it comes to an end.
var errAgain = errors.New("ledger: the batch begins again")

// run is the transaction.
func (b *batch[T]) run(ctx context.Context, tx T) error {
	b.results, b.drafts, b.entries, b.ran = make([]result, len(b.calls)), nil, nil, false
	from, err := tx.LedgerHead(ctx)
	if err != nil {
		return fmt.Errorf("locking the head: %w", err)
	}
	if err := b.s.checkHead(from); err != nil {
		return err
	}
	if b.edge, err = b.s.edge.at(ctx, b.s.tree, b.s.anchor, from); err != nil {
		return err
	}
	if b.recorded, err = tx.LedgerRequests(ctx, b.requestIDs()); err != nil {
		return fmt.Errorf("looking up requests: %w", err)
	}
	var keys []EnvelopeKey
	if b.s.opt.Sealed {
		if keys, err = tx.LedgerEnvelopeKeys(ctx, b.s.now()/1e6); err != nil {
			return fmt.Errorf("reading regulators' keys: %w", err)
		}
	}
	if err := b.ahead(ctx, tx); err != nil {
		return fmt.Errorf("reading ahead: %w", err)
	}
	if err := b.propose(ctx, tx, len(keys) > 0 || !b.s.opt.Sealed); err != nil {
		return err
	}
	b.head = from
	if len(b.drafts) > 0 {
		if err := b.append(ctx, tx, from, keys); err != nil {
			return err
		}
	}
	b.ran = true
	return nil
}

// requestIDs returns the ids of the batch, each once.
func (b *batch[T]) requestIDs() []string {
	ids := make([]string, 0, len(b.calls))
	seen := make(map[string]bool, len(b.calls))
	for _, c := range b.calls {
		if !seen[c.requestID] {
			seen[c.requestID] = true
			ids = append(ids, c.requestID)
		}
	}
	return ids
}

// propose runs the functions of all proposals, each under a savepoint, and
// collects what they want recorded.
func (b *batch[T]) propose(ctx context.Context, tx T, auditable bool) error {
	first := make(map[string]int) // by request id: the draft that stands for it
	size, set := b.edge.size(), false
	for i, c := range b.calls {
		r := &b.results[i]
		r.leans = len(b.drafts) > 0
		if err, ok := b.excluded[i]; ok {
			r.err = err
			continue
		}
		if entry, ok := b.recorded[c.requestID]; ok {
			r.entry = entry
			continue
		}
		if d, ok := first[c.requestID]; ok {
			r.entry.Index = size + uint64(d)
			continue
		}
		if err := tx.Savepoint(ctx, savepoint); err != nil {
			return fmt.Errorf("setting a savepoint: %w", err)
		}
		set = true
		p, err := b.draft(tx, c, Position{Index: size + uint64(len(b.drafts)), Time: b.s.now()}, auditable)
		if err == nil {
			first[c.requestID] = len(b.drafts)
			r.entry.Index = size + uint64(len(b.drafts))
			b.drafts = append(b.drafts, draft{i, p})
			continue
		}
		r.err = err
		if tx.RollbackTo(ctx, savepoint) != nil {
			// It broke the transaction, or the store went away under it: not what the
			// function decided, which may well decide otherwise the next time.
			r.err = fmt.Errorf("%w: %w", ErrNotRecorded, err)
			b.excluded[i] = r.err
			return errAgain
		}
	}
	if set {
		if err := tx.Release(ctx, savepoint); err != nil {
			return fmt.Errorf("releasing the savepoint: %w", err)
		}
	}
	return nil
}

// draft runs a proposal's function and returns a payload that can be recorded.
func (b *batch[T]) draft(tx T, c *call[T], at Position, auditable bool) (Payload, error) {
	p, err := b.call(tx, c, at)
	if err != nil {
		return Payload{}, err
	}
	if p.Kind == KindAccess && p.Recipient != "" && !auditable {
		return Payload{}, ErrNoEnvelopeKey
	}
	p.Time = at.Time
	p.SubjectSeq, p.SubjectPrev, p.RecipientSeq, p.RecipientPrev = 0, Hash{}, 0, Hash{}
	_, err = p.Encode() // what it finds wrong, it finds before the chains are known
	return p, err
}

// append chains the drafts, makes their leaves and stores them.
func (b *batch[T]) append(ctx context.Context, tx T, from Head, keys []EnvelopeKey) error {
	ends, err := b.chains(ctx, tx)
	if err != nil {
		return err
	}
	a, sealer := Append{From: from}, &envelopeSealer{}
	if len(keys) > 0 {
		b.s.sealers.origin = from.Origin
		if sealer, a.Envelopes, err = b.s.sealers.batch(from.Size, keys, b.s.opt.Rand); err != nil {
			return fmt.Errorf("sealing to regulators: %w", err)
		}
	}
	for _, d := range b.drafts {
		entry, err := b.entry(&d.payload, ends, sealer)
		if err != nil {
			return err
		}
		entry.RequestID = b.calls[d.call].requestID
		if err := b.edge.append(entry.Leaf.Hash()); err != nil {
			return err
		}
		b.entries = append(b.entries, entry)
		b.recorded[entry.RequestID] = entry
	}
	for i, c := range b.calls {
		if b.results[i].err == nil {
			b.results[i].entry = b.recorded[c.requestID]
		}
	}
	if err := tx.LedgerSetChains(ctx, ends.links); err != nil {
		return fmt.Errorf("extending chains: %w", err)
	}
	b.head = b.edge.head(from)
	a.To, a.Entries, a.Tiles, a.TagKeys = b.head, b.entries, b.edge.full, ends.fresh
	b.edge.full = nil
	if err := tx.LedgerAppend(ctx, a); err != nil {
		return fmt.Errorf("appending: %w", err)
	}
	return nil
}

// entry puts a payload at the end of its chains and makes its leaf.
func (b *batch[T]) entry(p *Payload, ends *chainEnds, sealer *envelopeSealer) (Entry, error) {
	e := Entry{Index: b.edge.size(), Subject: p.Subject, Recipient: p.Recipient, Kind: p.Kind, Time: p.Time}
	if _, err := io.ReadFull(b.s.opt.Rand, e.Nonce[:]); err != nil {
		return Entry{}, fmt.Errorf("drawing a nonce: %w", err)
	}
	e.Leaf.Class = p.Kind.Class()
	mapKey, err := ends.chainIn(p, &e.Leaf.Tag, b.s.opt.Rand)
	if err != nil {
		return Entry{}, err
	}
	if e.Payload, err = p.Encode(); err != nil {
		return Entry{}, err
	}
	e.Leaf.Commitment = Commit(e.Nonce, e.Payload)
	if e.Envelope, err = sealer.envelope(e.Index, e.Payload, e.Nonce, mapKey); err != nil {
		return Entry{}, fmt.Errorf("sealing to regulators: %w", err)
	}
	if e.Envelope != nil {
		e.Leaf.Envelope = sha256.Sum256(e.Envelope)
	}
	ends.chainOn(*p, e.Leaf.Hash(), e.Nonce)
	return e, nil
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
		recorded, err := tx.LedgerRequests(ctx, b.requestIDs())
		if err != nil {
			return err
		}
		committed := b.committed(recorded)
		for i, r := range b.results {
			switch {
			case r.err == nil:
				entry, ok := recorded[b.calls[i].requestID]
				b.results[i] = result{entry: entry}
				if !ok {
					b.results[i].err = ErrNotRecorded
				}
			case r.leans && !committed:
				b.results[i] = result{err: ErrNotRecorded}
			}
		}
		b.head, read = head, true
		return nil
	})
	if !read {
		return err
	}
	// Whatever the end of a transaction that only read. What stands there now is signed
	// next: it must be made of the leaves that are stored, and go on from what was signed.
	if b.edge, err = b.s.edge.at(ctx, b.s.tree, b.s.anchor, b.head); err != nil {
		b.s.judge(err)
		return err
	}
	b.s.edge = b.edge
	return nil
}

// committed reports whether the batch's own entries are recorded: then all are.
func (b *batch[T]) committed(recorded map[string]Entry) bool {
	if len(b.entries) == 0 {
		return false
	}
	entry, ok := recorded[b.entries[0].RequestID]
	return ok && entry.Leaf == b.entries[0].Leaf
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
