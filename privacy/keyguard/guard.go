package keyguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// HouseholdKey is the name of the Wrapper's key under which the seeds of
// households' private keys are wrapped, each bound to its household's id as
// context.
const HouseholdKey = "households"

// MaxAge is how old the leaf of a third party's access may be, and how far ahead
// of the guard's clock.
const MaxAge = 5 * time.Minute

// MaxKeys is how many block keys one answer may hold.
const MaxKeys = 1 << 20

// Errors of Guard.BlockKeys, beside those of seal.Wrapper and of the store. None
// tells what the leaf or the keys hold.
var (
	ErrProof   = errors.New("keyguard: proof is not valid")
	ErrLeaf    = errors.New("keyguard: leaf is not an access that was admitted")
	ErrConsent = errors.New("keyguard: leaf of a consent does not allow the access")
	ErrStale   = errors.New("keyguard: leaf is not of this moment")
	ErrOutside = errors.New("keyguard: request reaches beyond its leaf")
	ErrTooMany = errors.New("keyguard: more keys than one answer may hold")
	ErrSpent   = errors.New("keyguard: access was answered before")
)

// Keys is what the guard needs of a store. Safe for concurrent use. Package
// keyguardtest holds its contract.
type Keys interface {
	// HouseholdKeys returns the wrapped private keys of a household, one for each
	// generation; none if it is unknown or was erased.
	HouseholdKeys(ctx context.Context, h consent.Household) ([]WrappedKey, error)

	// DayKeyWraps returns the wraps of a household's day keys for the UTC days
	// from to to, both included, in any order; copies too.
	DayKeyWraps(ctx context.Context, h consent.Household, from, to meter.Day) ([]seal.DayKeyWrap, error)

	// WriterKeys returns the registered Ed25519 public keys of writers; unknown
	// ones are absent.
	WriterKeys(ctx context.Context, ids []seal.WriterID) (map[seal.WriterID][]byte, error)

	// SpendAccess writes down that the access leaf at index was presented, and is
	// durable at return. A leaf that is not self may be presented once: of any
	// number of calls, at any time, one succeeds and all others return an error
	// that wraps ErrSpent. For a self leaf each call counts one more use.
	SpendAccess(ctx context.Context, index uint64, self bool) error
}

// WrappedKey is the seed of a household's private key as a seal.Wrapper wrapped
// it under HouseholdKey.
type WrappedKey struct {
	Generation uint32
	Wrapped    []byte
}

// Request presents an access, and may ask for less than its leaf names.
type Request struct {
	Access ledger.Opening // of the access leaf, under a signed checkpoint
	// Consent opens the leaf of the terms that the access names: that of the grant,
	// or of the newest narrowing. A leaf of purpose self names none, and there it is
	// zero.
	Consent ledger.Opening

	UsagePoints []meter.UsagePoint // none: all of the leaf's
	Registers   []meter.Register   // none: all of the leaf's; a leaf of purpose self names none, so there they must be given
	From, To    meter.Day          // both included; both zero: all of the leaf's days
}

// openings are what the request has to prove.
func (r Request) openings() []ledger.Opening {
	if len(r.Consent.Payload) == 0 && len(r.Consent.Proof) == 0 {
		return []ledger.Opening{r.Access}
	}
	return []ledger.Opening{r.Access, r.Consent}
}

// Guardian answers requests for block keys, as [Guard.BlockKeys] says: a *Guard, or
// one in a process of its own. Package keyguardtest holds its contract. Safe for
// concurrent use.
type Guardian interface {
	BlockKeys(ctx context.Context, r Request) (*BlockKeys, error)
}

var _ Guardian = (*Guard)(nil)

// Guard answers requests for block keys. Safe for concurrent use.
type Guard struct {
	keys     Keys
	wrapper  seal.Wrapper
	verifier *ledger.Verifier
	now      func() time.Time
}

// New returns a Guard for the households whose keys are in keys, wrapped by
// wrapper, and for the one log whose key verifier holds. Leaves are held against
// the clock now.
func New(keys Keys, wrapper seal.Wrapper, verifier *ledger.Verifier, now func() time.Time) *Guard {
	return &Guard{keys: keys, wrapper: wrapper, verifier: verifier, now: now}
}

// BlockKeys checks the request, writes down that its leaf is spent, and returns
// the block keys it allows: for each usage point and register, that of every day
// key the household has on the days.
//
// Errors: ErrProof, ErrLeaf, ErrConsent, ErrStale, ErrOutside, ErrTooMany, before
// anything is spent; ErrSpent; seal.ErrKeyGone if the household's keys were destroyed; and
// what store and key service return. After an error past that point the access
// is spent, and no key has left.
func (g *Guard) BlockKeys(ctx context.Context, r Request) (*BlockKeys, error) {
	proved, err := g.verifier.Openings(r.openings()...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	access := proved[0]
	leaf, err := readLeaf(access.Payload)
	if err != nil {
		return nil, err
	}
	if err := agreed(access, proved[1:]); err != nil {
		return nil, err
	}
	if !leaf.fresh(g.now()) {
		return nil, ErrStale
	}
	wanted, err := leaf.narrow(r)
	if err != nil {
		return nil, err
	}

	// Wraps are sealed: looking at them opens nothing.
	wraps, err := g.keys.DayKeyWraps(ctx, wanted.household, wanted.from, wanted.to)
	if err != nil {
		return nil, fmt.Errorf("fetching day keys: %w", err)
	}
	if len(wraps) > MaxKeys/(len(wanted.points)*len(wanted.registers)) {
		return nil, ErrTooMany
	}
	if err := g.keys.SpendAccess(ctx, access.Index, leaf.self); err != nil {
		return nil, fmt.Errorf("spending access: %w", err)
	}
	return g.derive(seal.WithAccess(ctx, access.Index), wanted, wraps)
}
