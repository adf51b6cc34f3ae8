package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// start compares what is known to be signed with the head, once, and signs the
// head if a crash has left it unsigned. A store whose head is behind its own
// checkpoint, or behind what witness or signer remember, has lost leaves that were
// signed: ErrRollback; one that does not begin with them was rewritten: ErrFork.
// Then nothing is recorded.
func (s *Sequencer[T]) start(ctx context.Context) error {
	if s.started {
		return nil
	}
	// The checkpoint first: another process may append and sign in between.
	note, err := s.store.Checkpoint(ctx)
	switch {
	case errors.Is(err, ErrNoCheckpoint):
	case err != nil:
		return fmt.Errorf("reading the newest checkpoint: %w", err)
	default:
		c, err := readCheckpoint(note)
		if err != nil {
			return fmt.Errorf("reading the newest checkpoint: %w", err)
		}
		s.published, s.note, s.anchor = c, note, c
	}
	witnessed, err := s.recall()
	if err != nil {
		return err
	}
	var head Head
	err = s.store.Transact(ctx, func(ctx context.Context, tx T) error {
		var err error
		if head, err = tx.LedgerHead(ctx); err != nil {
			return err
		}
		return s.checkHead(head)
	})
	for _, signed := range []checkpoint{s.published, witnessed} {
		if err == nil {
			err = s.tree.extends(ctx, signed, head)
		}
	}
	if err != nil {
		return fmt.Errorf("reading the head: %w", err)
	}
	if s.opt.Witness != nil && s.published.size > witnessed.size {
		// Signed by another process, or before there was a witness.
		if err := s.opt.Witness.Remember(s.published.size, s.published.root); err != nil {
			return err
		}
	}
	err = s.publish(ctx, head)
	switch {
	case refused(err):
		return fmt.Errorf("signing the head: %w", err)
	case err != nil:
		// Not fatal: every batch signs the head it leaves.
		s.opt.Logger.ErrorContext(ctx, "head not signed at start", slog.Any("error", err))
	}
	s.started = true
	return nil
}

// recall returns what the witness remembers, and takes its word for what was
// signed if it knows of more than the store.
func (s *Sequencer[T]) recall() (checkpoint, error) {
	if s.opt.Witness == nil {
		return checkpoint{}, nil
	}
	size, root, err := s.opt.Witness.Recall()
	switch {
	case err != nil:
		return checkpoint{}, fmt.Errorf("reading the witness: %w", err)
	case size == s.published.size && root != s.published.root && size > 0:
		return checkpoint{}, fmt.Errorf("stored checkpoint of size %d: %w", size, ErrFork)
	case size > s.anchor.size:
		s.anchor.size, s.anchor.root = size, root
	}
	return checkpoint{s.anchor.origin, size, root}, nil
}

// refused reports an error that signing the same head again will not cure: the
// log is not the one that was signed. What is recorded after it could never be
// signed, or only once the log had grown past the place of the fork.
func refused(err error) bool {
	return errors.Is(err, ErrRollback) || errors.Is(err, ErrFork) || errors.Is(err, ErrOrigin) || errors.Is(err, ErrCorrupt)
}

// checkHead refuses a head that does not extend what is known to be signed.
func (s *Sequencer[T]) checkHead(head Head) error {
	switch signed := s.anchor; {
	case signed.origin != "" && head.Origin != signed.origin:
		return ErrOrigin
	case head.Size < signed.size:
		return fmt.Errorf("head of size %d, signed %d: %w", head.Size, signed.size, ErrRollback)
	case head.Size == signed.size && head.Size > 0 && head.Root != signed.root:
		return fmt.Errorf("head of size %d: %w", head.Size, ErrFork)
	}
	return nil
}

// kept reports whether the store still holds what was published. A checkpoint
// whose commit did not wait for the disk is gone after a crash of the database,
// which this process need not have noticed. A batch that records something does
// not ask: it publishes anew.
func (s *Sequencer[T]) kept(ctx context.Context) bool {
	note, err := s.store.Checkpoint(ctx)
	if err != nil {
		return !errors.Is(err, ErrNoCheckpoint) // nothing learnt: the next batch asks again
	}
	c, err := readCheckpoint(note)
	return err != nil || c.size >= s.published.size
}

// publish signs a committed head and stores the checkpoint, or has it done. Afterwards
// s.published covers head, or there is an error.
func (s *Sequencer[T]) publish(ctx context.Context, head Head) error {
	if s.note != nil && s.published.size >= head.Size && s.kept(ctx) {
		return nil
	}
	if s.opt.Elsewhere != nil {
		return s.publishElsewhere(ctx, head)
	}
	note, err := s.signer.Sign(ctx, head)
	if err == nil && s.opt.Witness != nil {
		err = s.opt.Witness.Remember(head.Size, head.Root)
	}
	if err == nil {
		s.anchor = checkpoint{head.Origin, head.Size, head.Root}
		err = s.store.PutCheckpoint(ctx, head.Size, head.Root, note)
	}
	if err == nil {
		s.published, s.note = s.anchor, note
		if s.opt.Published != nil {
			s.opt.Published()
		}
		return nil
	}
	// It may be there all the same: stored although the answer was lost, or
	// signed, with more, by another process that was faster.
	stored, rerr := s.store.Checkpoint(ctx)
	if rerr != nil {
		return err
	}
	c, rerr := readCheckpoint(stored)
	if rerr != nil || c.origin != head.Origin || c.size < head.Size {
		return err
	}
	if c.size == head.Size && c.root != head.Root {
		return fmt.Errorf("stored checkpoint of size %d: %w", c.size, ErrFork)
	}
	s.published, s.note = c, stored
	return nil
}

// publishElsewhere has a committed head signed by another process. What that has
// signed may cover more, which others have committed meanwhile.
func (s *Sequencer[T]) publishElsewhere(ctx context.Context, head Head) error {
	wait := signTimeout
	if s.away {
		wait = signAgain
	}
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	go func() {
		select {
		case <-s.closing: // who is away is not waited for
			cancel()
		case <-asking.Done():
		}
	}()
	note, err := s.opt.Elsewhere.Cover(asking, head.Size)
	if s.away = err != nil; s.away {
		if refused(err) {
			return fmt.Errorf("having the head signed: %w", err)
		}
		return fmt.Errorf("having the head signed: %v", err) //nolint:errorlint // of who signs: it says nothing of what is recorded here
	}
	c, err := readCheckpoint(note)
	switch {
	case err != nil:
		return err
	case c.origin != head.Origin:
		return ErrOrigin
	case c.size < head.Size:
		return fmt.Errorf("%w: a checkpoint of size %d for a head of size %d", ErrCheckpoint, c.size, head.Size)
	}
	if err := s.tree.extends(ctx, checkpoint{head.Origin, head.Size, head.Root}, Head{Origin: c.origin, Size: c.size, Root: c.root}); err != nil {
		return fmt.Errorf("signed elsewhere, size %d: %w", c.size, err)
	}
	if s.opt.Witness != nil {
		if err := s.opt.Witness.Remember(c.size, c.root); err != nil {
			return err
		}
	}
	s.published, s.note, s.anchor = c, note, c
	if s.opt.Published != nil {
		s.opt.Published()
	}
	return nil
}

// signTimeout bounds how long a batch waits for the process that signs: its proposals are
// recorded, and answered ErrUnsigned then.
const signTimeout = 10 * time.Second

// signAgain is how long the next batches wait for a process that was away.
const signAgain = time.Second

// ReadCheckpoint returns size and root of a checkpoint from one's own store. It
// checks no signature: what comes from elsewhere is for Verifier.Checkpoint.
func ReadCheckpoint(note []byte) (size uint64, root Hash, err error) {
	c, err := readCheckpoint(note)
	return c.size, c.root, err
}

// CheckpointOrigin returns the name of the log that a checkpoint claims to be of,
// unverified: to find the key to verify it with.
func CheckpointOrigin(note []byte) (string, error) {
	c, err := readCheckpoint(note)
	return c.origin, err
}
