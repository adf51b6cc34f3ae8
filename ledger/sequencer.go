package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of Propose, beside those of the function and the store.
var (
	// ErrUnsigned: the leaf is recorded and the state change with it, but no
	// signed checkpoint covers it yet. Repeating the request returns that
	// leaf once it is signed.
	ErrUnsigned = errors.New("ledger: recorded but not yet signed")
	// ErrNotRecorded: nothing was recorded, through no fault of the proposal.
	// It may be repeated.
	ErrNotRecorded = errors.New("ledger: nothing was recorded")
	// ErrClosed: the sequencer was closed before it took the proposal up.
	ErrClosed = errors.New("ledger: sequencer closed")
	// ErrPanic: the function of the proposal panicked and was rolled back.
	ErrPanic = errors.New("ledger: proposal panicked")
	// ErrRequestID: a request id is 1 to 255 visible ASCII characters.
	ErrRequestID = errors.New("ledger: malformed request id")
)

// Position is what the function of a proposal may know of its leaf.
type Position struct {
	Index uint64 // the index the leaf will have
	Time  int64  // unix µs, never less than that of this sequencer's leaf before it
}

// ProposeFunc changes the state and says what is to be recorded. It runs
// inside the sequencing transaction and must touch nothing but tx: if the
// transaction fails, it may be run again. The sequencer sets the payload's
// time and chains. The context carries the values of the caller's but not its
// end: a caller who gives up must not take the rest of the batch with it.
type ProposeFunc[T Tx] = func(ctx context.Context, tx T, at Position) (Payload, error)

// Receipt is what a proposal has become.
type Receipt struct {
	Index      uint64
	Leaf       Leaf
	Payload    []byte // canonical; nil if it has been erased since
	Nonce      Hash   // opens Leaf.Commitment together with Payload
	Checkpoint []byte // signed, over at least Index+1 leaves
}

// Options of a Sequencer.
type Options struct {
	Now      func() time.Time // required
	Rand     io.Reader        // required: nonces and the tags of leaves without a household
	MaxBatch int              // proposals in one transaction at most; 0 means 1024
	Logger   *slog.Logger     // nil means none

	// Sealed: every payload is sealed to the regulators whose keys are valid;
	// while there is none, a third party's access is ErrNoEnvelopeKey.
	Sealed bool
	// Witness remembers outside the store what was signed; nil means none, and
	// then a store that was set back before a restart is not noticed here.
	Witness SelfWitness
	// Published, if not nil, is called after a checkpoint was stored; it must
	// not block.
	Published func()
	// Elsewhere has heads signed and stored by another process, which alone has
	// the keys; the sequencer is given no Signer then.
	Elsewhere Notary
}

// Notary has committed heads signed by the process that can. It is safe for
// concurrent use.
type Notary interface {
	// Cover returns a checkpoint over at least size leaves of the log, which are
	// committed. It has checked the signatures, and the checkpoint is stored.
	Cover(ctx context.Context, size uint64) (note []byte, err error)
}

const defaultMaxBatch = 1024

// Sequencer gives every decision its place in the log. One goroutine takes
// whatever proposals are waiting, without a timer: while one transaction
// commits, the next batch gathers. Each batch takes these steps, and this is
// what a power failure after each leaves behind:
//
//  1. begin, lock the head        nothing; the callers get no answer and may repeat
//  2. under a savepoint each: look up the request, run the function, append
//     to the chains               nothing: the database rolls back
//  3. entries, tiles, head        nothing: the database rolls back
//  4. COMMIT                      state changes and leaves, both; nobody has been told, nothing
//     has been opened. The next start signs the head, and a repeated request gets its leaf
//  5. sign the committed head     as 4: the signature never left this process, or
//     another process, which signs for this one, has stored it
//  6. remember it in the witness  as 4: a store set back to before this is noticed from now on
//  7. store the checkpoint        state changes, leaves and checkpoint; where the store does not
//     wait for the disk, as 6, and the next start signs again
//  8. answer                      as 7
//
// A store that turns out to be behind, beside or in contradiction to what was
// signed ends the sequencer's work for good: see Failure.
//
// If COMMIT's outcome is unknown, the sequencer waits for the lock on the head
// and looks which requests are there; it never guesses. Several processes may
// sequence over one store: they take turns at the lock.
//
// A Sequencer is safe for concurrent use.
type Sequencer[T Tx] struct {
	store   Store[T]
	signer  Signer
	opt     Options
	queue   chan *call[T]
	closing chan struct{} // closed by Close
	closed  sync.Once
	stopped chan struct{} // closed when the goroutine has ended

	failure atomic.Pointer[error] // why nothing is recorded any more

	// The rest belongs to the goroutine.
	tree      *tree
	sealers   envelopeSealers
	anchor    checkpoint // the largest known to be signed, by the store or by the witness
	edge      *edge      // at the last head this process committed
	started   bool       // the store's checkpoint has been compared with its head
	published checkpoint // the largest known to be signed and stored
	note      []byte     // its signed form, nil for none
	away      bool       // who signs elsewhere did not answer the last time
	lastTime  int64
}

// NewSequencer starts a sequencer over store, which must hold a head (see
// NewHead). Its first act is to sign what a crash has left committed but
// unsigned. It panics if Now or Rand is missing, and unless there is either a
// signer or opt.Elsewhere.
func NewSequencer[T Tx](store Store[T], signer Signer, opt Options) *Sequencer[T] {
	if opt.Now == nil || opt.Rand == nil {
		panic("ledger: NewSequencer needs a clock and randomness")
	}
	if (signer == nil) == (opt.Elsewhere == nil) {
		panic("ledger: a sequencer signs, or has it done elsewhere")
	}
	if opt.MaxBatch <= 0 {
		opt.MaxBatch = defaultMaxBatch
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sequencer[T]{
		store:   store,
		signer:  signer,
		opt:     opt,
		queue:   make(chan *call[T], opt.MaxBatch),
		closing: make(chan struct{}),
		stopped: make(chan struct{}),
		tree:    newTree(store),
	}
	go s.run()
	return s
}

// Close stops the sequencer, after the batch in hand; proposals that wait are
// answered ErrClosed. It may be called more than once.
func (s *Sequencer[T]) Close() {
	s.closed.Do(func() { close(s.closing) })
	<-s.stopped
}

// Propose runs fn inside the sequencing transaction, under a savepoint: its
// state changes and the leaf commit together or not at all. It returns once
// the checkpoint that covers the leaf is signed and stored.
//
// A requestID that was recorded before returns the first outcome and does not
// run fn; it is the caller's part to give one id to one meaning. An error of
// fn is returned as it is, after its savepoint was rolled back, and leaves the
// rest of the batch alone; if fn saw what the batch had done before, only once
// that is recorded. Otherwise the error says what is known: ErrUnsigned
// means recorded; ErrUnknownOutcome, that it may have been recorded, which a
// repeated request will tell; any other, ctx's own included, that nothing was.
func (s *Sequencer[T]) Propose(ctx context.Context, requestID string, fn ProposeFunc[T]) (Receipt, error) {
	c, err := s.submit(ctx, Proposal[T]{requestID, fn})
	if err != nil {
		return Receipt{}, err
	}
	return s.await(c)
}

// Cover returns a signed checkpoint over at least size leaves, which another process
// has committed: that one proposes, this one signs. It waits for no lock of the
// head, unless this process is waiting for it with proposals of its own. What is not committed is ErrUnsigned; other errors are those of Propose.
func (s *Sequencer[T]) Cover(ctx context.Context, size uint64) (note []byte, err error) {
	c := newCall[T](ctx)
	c.cover = size
	if err := s.enqueue(c); err != nil {
		return nil, err
	}
	r, err := s.await(c)
	return r.Checkpoint, err
}

// Waiting returns how many proposals nobody has taken up yet: what presses.
func (s *Sequencer[T]) Waiting() int { return len(s.queue) }

// Failure returns why the log can no longer be trusted, or nil: ErrRollback,
// ErrFork, ErrCorrupt or ErrOrigin, wrapped. From then on nothing is recorded,
// and whoever serves from the store should stop: only a person can decide what
// is true, and start anew.
func (s *Sequencer[T]) Failure() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Fail ends the sequencer's work as if it had found err itself. A witness that
// has seen a larger log, or another, is reported here. The first error stands.
func (s *Sequencer[T]) Fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		s.opt.Logger.Error("ledger cannot be trusted: nothing is recorded any more", slog.Any("error", err)) //nolint:sloglint // no call's context: it concerns them all
	}
}

// judge fails the sequencer if err says that the log is not the one that was
// signed.
func (s *Sequencer[T]) judge(err error) {
	if refused(err) {
		s.Fail(err)
	}
}

// Proposal is one argument of ProposeAll.
type Proposal[T Tx] struct {
	RequestID string
	Func      ProposeFunc[T]
}

// Outcome is one result of ProposeAll.
type Outcome struct {
	Receipt Receipt
	Err     error
}

// ProposeAll proposes several at once and waits for all. They are recorded in
// the order given, each for itself: one may fail and the next be recorded.
func (s *Sequencer[T]) ProposeAll(ctx context.Context, proposals []Proposal[T]) []Outcome {
	calls := make([]*call[T], len(proposals))
	outcomes := make([]Outcome, len(proposals))
	for i, p := range proposals {
		calls[i], outcomes[i].Err = s.submit(ctx, p)
	}
	for i, c := range calls {
		if outcomes[i].Err == nil {
			outcomes[i].Receipt, outcomes[i].Err = s.await(c)
		}
	}
	return outcomes
}

// call is a proposal on its way.
type call[T Tx] struct {
	ctx       context.Context // the caller's
	requestID string
	fn        ProposeFunc[T] // nil where a checkpoint over cover leaves is all that is wanted
	cover     uint64
	owner     atomic.Int32  // waiting, taken by the sequencer, or given up by the caller
	done      chan struct{} // closed when receipt and err are set
	receipt   Receipt
	err       error
}

func newCall[T Tx](ctx context.Context) *call[T] {
	return &call[T]{ctx: ctx, done: make(chan struct{})}
}

const (
	callWaiting = iota
	callTaken
	callGivenUp
)

func (c *call[T]) answer(r Receipt, err error) {
	c.receipt, c.err = r, err
	close(c.done)
}

func (s *Sequencer[T]) submit(ctx context.Context, p Proposal[T]) (*call[T], error) {
	if !validRequestID(p.RequestID) {
		return nil, ErrRequestID
	}
	c := newCall[T](ctx)
	c.requestID, c.fn = p.RequestID, p.Func
	return c, s.enqueue(c)
}

func (s *Sequencer[T]) enqueue(c *call[T]) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := s.Failure(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	select {
	case s.queue <- c:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-s.closing:
		return ErrClosed
	case <-s.stopped:
		return ErrClosed
	}
}

func (s *Sequencer[T]) await(c *call[T]) (Receipt, error) {
	var gaveUp error
	select {
	case <-c.done:
		return c.receipt, c.err
	case <-c.ctx.Done():
		if c.owner.CompareAndSwap(callWaiting, callGivenUp) {
			return Receipt{}, c.ctx.Err()
		}
		gaveUp = fmt.Errorf("%w: %w", ErrUnknownOutcome, c.ctx.Err())
	case <-s.stopped:
		gaveUp = ErrClosed
	}
	select {
	case <-c.done: // answered at the same moment
		return c.receipt, c.err
	default:
		return Receipt{}, gaveUp
	}
}

func validRequestID(id string) bool {
	if len(id) == 0 || len(id) > 255 {
		return false
	}
	for _, c := range []byte(id) {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
}

func (s *Sequencer[T]) run() {
	defer close(s.stopped)
	ctx := context.Background()
	if err := s.start(ctx); err != nil {
		s.judge(err)
		s.opt.Logger.ErrorContext(ctx, "ledger not ready; the next proposal tries again", slog.Any("error", err))
	}
	for {
		select {
		case <-s.closing:
			return
		default:
		}
		select {
		case <-s.closing:
			return
		case c := <-s.queue:
			// Callers who were answered together are about to propose
			// again: let them, so that they share a transaction.
			runtime.Gosched()
			if batch := s.drain(c); len(batch) > 0 {
				s.record(ctx, batch)
			}
		}
	}
}

// drain takes whatever is waiting, up to MaxBatch, but not what was given up.
func (s *Sequencer[T]) drain(c *call[T]) []*call[T] {
	var batch []*call[T]
	for {
		if c.owner.CompareAndSwap(callWaiting, callTaken) {
			batch = append(batch, c)
		}
		if len(batch) == s.opt.MaxBatch {
			return batch
		}
		select {
		case c = <-s.queue:
		default:
			return batch
		}
	}
}

// now returns the time of the next leaf.
func (s *Sequencer[T]) now() int64 {
	s.lastTime = max(s.lastTime, s.opt.Now().UnixMicro())
	return s.lastTime
}
