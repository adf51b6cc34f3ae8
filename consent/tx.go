package consent

import (
	"context"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// Tx is what this package needs of the sequencing transaction. Everything read
// is as of that transaction, everything written commits with its leaf or not at
// all. A Tx is not safe for concurrent use. Package consenttest holds the
// contract that implementations pass.
type Tx interface {
	// Consent returns a consent and locks it until the transaction ends.
	// ErrNotFound if there is none.
	Consent(ctx context.Context, id ID) (Consent, error)

	// PutConsent stores a new consent or replaces the one of the same ID. Its
	// Household may be empty. What it says last stands, byte for byte; the store
	// keeps Deadline beside it to find what is due.
	PutConsent(ctx context.Context, c Consent) error

	// DueConsent returns the consent with the earliest Deadline, if that is at
	// or before the instant at (unix seconds) and not 0, and locks it.
	// ErrNotFound if there is none.
	DueConsent(ctx context.Context, at int64) (Consent, error)

	// OpenRequests returns how many of the recipient's consents are in state
	// Requested.
	OpenRequests(ctx context.Context, r Recipient) (int, error)

	// Occupancies returns all occupancies of a household, past, present and
	// future, in any order; none for an unknown one.
	Occupancies(ctx context.Context, h Household) ([]Occupancy, error)

	// OccupantOf returns who lives at the usage point at the instant at (unix
	// seconds). ErrNotFound for a usage point that is unknown or empty then.
	OccupantOf(ctx context.Context, p meter.UsagePoint, at int64) (Household, error)

	// StoredIntervals returns how many intervals of the household are stored
	// for the usage points and registers (no registers: all) in [from, until),
	// unix seconds at UTC midnights, counted from the blocks' metadata alone.
	// It is an upper bound on what is there at this moment: each block counts in
	// full, replaced revisions too.
	StoredIntervals(ctx context.Context, h Household, points []meter.UsagePoint, registers []meter.Register, from, until int64) (uint64, error)
}

// Ahead says what the decision about an access reads, for ledger.WithAhead: the
// consent, its household's occupancies, and the intervals stored in the UTC days
// that [From, Until), unix seconds, touches.
type Ahead struct {
	Consent     ID
	From, Until int64
}

// Ledger sequences leaves; *ledger.Sequencer is one. Propose runs fn inside the
// sequencing transaction, commits what fn changed together with the leaf it
// returns, and comes back after a checkpoint that includes the leaf is signed. An
// fn that fails leaves neither change nor leaf, and its error is returned as it
// is. A request id that was committed before returns its first outcome, without
// running fn. Safe for concurrent use.
type Ledger[T Tx] interface {
	Propose(ctx context.Context, requestID string, fn func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error)) (ledger.Receipt, error)
}
