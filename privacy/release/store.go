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
	ID      string // unique: "PRODUCT/DAY/ATTEMPT"
	Product string
	Day     meter.Day // the block that is charged
	Year    int       // calendar year of Day, UTC
	Rho     dp.Rho
	Cap     dp.Rho // of the year

	LeafIndex uint64 // of the leaf that records it
}

// Published is a release as stored.
type Published struct {
	ID        string // "PRODUCT/DAY"
	Product   string
	Day       meter.Day
	Body      []byte // canonical JSON of Body
	Signature []byte // Ed25519 over signatureLabel ‖ Body
	PublicKey []byte
	LeafIndex uint64
}

// Tx is what publishing needs of the sequencing transaction.
type Tx interface {
	ledger.Tx
	// Reserve spends budget, locking the year, and counts the window's attempt. It
	// spends and counts nothing when it fails: ErrOverBudget above the year's cap,
	// ErrWindowClosed if the window is not closing, some other error for an ID that
	// was used before.
	Reserve(ctx context.Context, r Reservation) error
	// PutRelease stores a release; its ID must be new, or it is an error.
	PutRelease(ctx context.Context, p Published) error
	// MoveWindow moves a window from one state to the next; ErrWindowClosed if it
	// is not in from.
	MoveWindow(ctx context.Context, day meter.Day, from, to WindowState) error
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
	// EndClosing deletes the spool and the wrapped key of a published window and
	// moves it to closed; harmless when it is closed already, ErrWindowClosed
	// when it is not published.
	EndClosing(ctx context.Context, day meter.Day) error
	// GiveUp moves a closing window to published without a release;
	// ErrWindowClosed if it is not closing.
	GiveUp(ctx context.Context, day meter.Day) error

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
	// HouseholdNodes returns, for every household that lives somewhere during the
	// day, the node that it counts in: that of its first usage point by name, from
	// the register alone. Erased households are absent.
	HouseholdNodes(ctx context.Context, day meter.Day) (map[consent.Household]string, error)
	// PutConflict reports intervals stated twice with the same revision; saying
	// it again is harmless.
	PutConflict(ctx context.Context, point meter.UsagePoint, day meter.Day, intervals int, seenAt int64) error
}
