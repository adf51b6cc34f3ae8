package notify

import (
	"context"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Lease is drawn for each claim: an endpoint that is leased is called by whoever has it.
type Lease [16]byte

// Claim asks for endpoints to call. Times are unix seconds.
type Claim struct {
	Lease Lease
	Now   int64
	Until int64 // the lease ends, and somebody else may call
	Pace  Pace  // of those that are wanted
	Limit int
}

// Settlement is what became of a call.
type Settlement struct {
	Lease    Lease
	Endpoint Endpoint // as it stands now; its terms are not changed
	Due      int64    // not to be called before, unix seconds; 0 as soon as something is due
	Taken    []uint64 // notifications that were taken
	Refused  []Event  // that were refused: State, Due, TriedAt and Attempts are as they stand now
	// Unchanged: nothing was sent, and nothing is known of the endpoint. Only the lease ends.
	Unchanged bool
}

// Outbox is what a Deliverer needs of the store. Its methods are safe for concurrent use, by
// several processes too; what they have written is durable when they return.
type Outbox interface {
	// ClaimDue leases endpoints that are active and due and leased by nobody, those that
	// are due longest first. It waits for nobody: an endpoint that somebody changes at this
	// moment is left for the next claim.
	ClaimDue(ctx context.Context, c Claim) ([]Endpoint, error)

	// Waiting returns the recipient's waiting notifications that are due now (unix
	// seconds), lowest number first. One is never due before another of the same consent
	// that waits and has a lower number.
	Waiting(ctx context.Context, r consent.Recipient, now int64, limit int) ([]Event, error)

	// Settle writes down what became of calls, in one transaction, and ends their leases. A
	// lease that somebody else has by now changes nothing. It waits for nobody, and returns
	// those whose endpoint somebody changes at this moment.
	Settle(ctx context.Context, calls []Settlement) (undone []Settlement, err error)
}

// Readings is what a Sweeper needs of the store; as for Outbox.
type Readings interface {
	// ClaimSweeps returns up to limit recipients that have an endpoint and were last looked
	// at at an instant or before, and writes down that they are at now (unix seconds).
	ClaimSweeps(ctx context.Context, before, now int64, limit int) ([]Swept, error)

	// LiveConsents returns up to limit of a recipient's granted consents after one, in an
	// order of their own; the zero consent comes before all.
	LiveConsents(ctx context.Context, r consent.Recipient, after consent.Consent, limit int) ([]Marked, error)

	// StoredDays counts the blocks of a household's usage points and registers (none: all)
	// on each of the UTC days first to last, both included; days without any are absent.
	StoredDays(ctx context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, first, last meter.Day) ([]DayCount, error)

	// Announce replaces the mark of a consent and writes a notification for each span, in
	// one transaction. A waiting notification of the consent's readings that touches a span
	// is taken up into it, and one that lies within is forgotten, so that each day is told
	// of once, by the newest. It reports false, and does nothing, if the mark is not the one
	// that it was, or the recipient has no endpoint any more.
	Announce(ctx context.Context, a Announcement) (bool, error)

	// Prune forgets the recipient's notifications from before an instant (unix seconds),
	// oldest first, at most limit, and reports how many.
	Prune(ctx context.Context, r consent.Recipient, before int64, limit int) (int, error)
}

// Swept says when a recipient's consents were last looked at: unix seconds, 0 for never.
type Swept struct {
	Recipient consent.Recipient
	At        int64
}

// Marked is a consent with what was last seen of its readings.
type Marked struct {
	consent.Consent
	Mark Mark
}

// DayCount says how many blocks are stored of a UTC day.
type DayCount struct {
	Day    meter.Day
	Blocks uint64
}

// Span is a range of interval starts, [From, Until), unix seconds.
type Span struct{ From, Until int64 }

// Announcement is what is new of a consent's readings.
type Announcement struct {
	Recipient consent.Recipient
	Consent   consent.ID
	Version   uint64 // of the mark that it was found by
	Mark      Mark   // that replaces it; its Version is not read
	Spans     []Span // ascending, apart
	At        int64  // unix seconds
}
