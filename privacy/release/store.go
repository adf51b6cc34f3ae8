package release

import (
	"context"
	"errors"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Errors.
var (
	// ErrWindowClosed says that a day takes no more contributions, or that a
	// window is not in the state that a step needs.
	ErrWindowClosed = errors.New("release: window closed")
	// ErrOverBudget says that a reservation would exceed the year's cap. Its text
	// depends on no reading.
	ErrOverBudget = errors.New("release: over budget")
	// ErrNotFound says that there is no such window or release.
	ErrNotFound = errors.New("release: not found")
)

// WindowState is how far a day's window has come. It only ever moves forward.
type WindowState uint8

// The states of a window.
const (
	WindowOpen      WindowState = 1 // takes contributions
	WindowClosing   WindowState = 2 // takes none; not published yet
	WindowPublished WindowState = 3 // published, or given up for want of budget; its key still exists
	WindowClosed    WindowState = 4 // key destroyed, spool deleted
)

// Window is one UTC day's window.
type Window struct {
	Day            meter.Day
	State          WindowState
	PublicKey      []byte // contributions are sealed to it
	WrappedPrivate []byte // under the key service's key of this window; empty once closed
	Attempts       int    // reservations made for it so far
}

// Reservation is a spend of budget before anything is computed.
type Reservation struct {
	ID      string // unique: "RELEASE/ATTEMPT"
	Product string
	Window  meter.Day   // that it is paid for
	Days    []meter.Day // the blocks that the release could touch, ascending, at most 32 in a row of days
	Rho     dp.Rho      // charged to each calendar year, UTC, that Days touch
	DayRho  dp.Rho      // charged to each of Days
	Cap     dp.Rho      // of a year
	DayCap  dp.Rho      // of a day

	LeafIndex uint64 // of the leaf that records it
}

// Published is a release as stored.
type Published struct {
	ID        string // "PRODUCT/SPAN", such as "day-curve/2018-11-05"
	Product   string
	Day       meter.Day // the last whose readings it sums
	Body      []byte    // canonical JSON of Body
	Signature []byte    // Ed25519 over signatureLabel ‖ Body
	PublicKey []byte
	LeafIndex uint64
}

// Tx is what publishing needs of the sequencing transaction.
type Tx interface {
	ledger.Tx
	// Reserve spends budget in every account that the reservation names, or in none:
	// ErrOverBudget where one would pass its cap, ErrWindowClosed if the window is
	// neither open nor closing, some other error for an ID that was used before. An account's cap
	// is the least that any reservation has named; it never rises.
	Reserve(ctx context.Context, r Reservation) error
	// PutRelease stores a release; its ID must be new, or it is an error.
	PutRelease(ctx context.Context, p Published) error
}

// Place is where a household counts, by the public register.
type Place struct {
	Node   string // of the grid tree
	Tariff string // public tariff group, or ""
}

// Node is a node of the public grid tree.
type Node struct {
	ID, Parent  string // Parent is empty for a root
	Level       int    // steps below the root
	Kind        string
	UsagePoints uint64 // registered at or below it: public, from the asset register
}

// Store is what this package reads and writes outside the sequencing
// transaction. Every write is durable at return, and reads see what is committed
// alone. Safe for concurrent use, by several processes, too. Package releasetest
// holds its contract as tests.
type Store interface {
	// Window returns a day's window or ErrNotFound; PutWindow adds one unless the
	// day has one already, which it leaves as it is; Windows lists those before
	// WindowClosed, oldest first; LastWindow returns the latest day that has one,
	// closed ones included, or ErrNotFound.
	Window(ctx context.Context, day meter.Day) (Window, error)
	PutWindow(ctx context.Context, w Window) error
	Windows(ctx context.Context) ([]Window, error)
	LastWindow(ctx context.Context) (meter.Day, error)

	// BeginClosing moves a window from open to closing, after the transactions
	// that are adding contributions to it have ended; harmless when it is closing
	// already, ErrWindowClosed when it is further, ErrNotFound without one.
	BeginClosing(ctx context.Context, day meter.Day) error
	// CountAttempt counts one more attempt to publish a closing window and returns
	// how many there were, this one included; ErrWindowClosed if it is not closing.
	CountAttempt(ctx context.Context, day meter.Day) (int, error)
	// EndPublishing moves a window from closing to published, ErrWindowClosed if it
	// is not closing, and in the same transaction lets the set of running sums in
	// hand count, if any, and deletes those that it replaces. The window that the
	// set is sealed to must be open or closing, and the sets that count must be exactly
	// those replaced, or all of it is ErrWindowClosed: what was made of others would
	// lose a day or count it twice. So at most one set ever counts.
	EndPublishing(ctx context.Context, day meter.Day, set *seal.RunningKeyWrap, replaced []seal.RunningID) error
	// EndClosing deletes the spool and the wrapped key of a published window, with
	// all records of running sums that no wrap counts and that its closing made, and
	// moves it to closed; harmless when it is closed already, ErrWindowClosed when
	// it is not published.
	EndClosing(ctx context.Context, day meter.Day) error

	// FirstWindow returns the first day of the schedule, or ErrNotFound.
	FirstWindow(ctx context.Context) (meter.Day, error)
	// PublishedAmong returns which of these releases exist.
	PublishedAmong(ctx context.Context, ids []string) (map[string]bool, error)
	// Spent returns what a calendar year and a day have been charged.
	Spent(ctx context.Context, year int, day meter.Day) (ofYear, ofDay dp.Rho, err error)

	// PutRunning stores records of a set of running sums that the closing of a day
	// is making. They count for nothing before EndPublishing stores their wrap.
	PutRunning(ctx context.Context, from meter.Day, records []seal.RunningRecord) error
	// RunningSets returns the wraps of all sets that count, oldest first.
	RunningSets(ctx context.Context) ([]seal.RunningKeyWrap, error)
	// RunningRecords calls yield with every record of a set, in any order, as
	// SpoolRecords does.
	RunningRecords(ctx context.Context, id seal.RunningID, yield func(seal.RunningRecord) error) error

	// PutLive replaces the state of a day's live load, whose set is sealed to the day's
	// own window: ErrWindowClosed unless that is open and before is the set that it
	// replaces, the zero RunningID for none. EndClosing deletes it.
	PutLive(ctx context.Context, day meter.Day, before seal.RunningID, set seal.RunningKeyWrap, records []seal.RunningRecord) error
	// Live returns the set of a day's live load with all its records, or ErrNotFound.
	Live(ctx context.Context, day meter.Day) (seal.RunningKeyWrap, []seal.RunningRecord, error)

	// SpoolKeys returns the wraps of a window's spool keys.
	SpoolKeys(ctx context.Context, day meter.Day) ([]seal.SpoolKeyWrap, error)
	// SpoolRecords calls yield with every record of a window, in any order, and
	// returns the first error of yield, wrapped or as it is. A window's spool need
	// not fit into memory.
	SpoolRecords(ctx context.Context, day meter.Day, yield func(seal.SpoolRecord) error) error
	// WriterKeys returns the registered Ed25519 keys of writers; those that are
	// not registered are absent.
	WriterKeys(ctx context.Context, ids []seal.WriterID) (map[seal.WriterID][]byte, error)
	// Nodes returns the public grid tree, parents first, nodes without usage
	// points included.
	Nodes(ctx context.Context) ([]Node, error)
	// HouseholdPlaces calls yield with every household that lives somewhere during these
	// days, once, and with where it counts: at the place of one usage point, from the register
	// alone. That is, of its occupancies that reach into the last of these days that
	// any does, the first usage point by name. Erased households are absent.
	HouseholdPlaces(ctx context.Context, first, last meter.Day, yield func(consent.Household, Place)) error
	// PutConflict reports intervals stated twice with the same revision; saying
	// it again is harmless.
	PutConflict(ctx context.Context, point meter.UsagePoint, day meter.Day, intervals int, seenAt int64) error
}
