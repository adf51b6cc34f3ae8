// Package consenttest holds the contract that a store's transaction must keep
// for package consent, see [TestTx], and a ledger in memory to test policy on,
// see [NewLedger].
//
// It keeps one promise: what passes TestTx answers the gate's questions alike,
// so a policy test on the ledger in memory speaks for every store.
package consenttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// Ledger sequences leaves in memory: each Propose is a transaction of its own,
// chains and checkpoints are not real. It is a consent.Ledger[*Tx] for tests of
// policy, safe for concurrent use.
type Ledger struct {
	now func() time.Time

	mu       sync.Mutex
	tx       *Tx
	last     int64 // µs of the last leaf: time never runs backwards
	requests map[string]ledger.Receipt
	payloads []ledger.Payload
}

// NewLedger returns an empty ledger whose leaves are dated by now.
func NewLedger(now func() time.Time) *Ledger {
	return &Ledger{now: now, tx: NewTx(), requests: make(map[string]ledger.Receipt)}
}

// Propose is that of consent.Ledger.
func (l *Ledger) Propose(ctx context.Context, requestID string, fn func(ctx context.Context, tx *Tx, at ledger.Position) (ledger.Payload, error)) (ledger.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.requests[requestID]; ok {
		return r, nil
	}
	before := l.tx.clone()
	at := ledger.Position{Index: uint64(len(l.payloads)), Time: max(l.last, l.now().UnixMicro())}
	p, err := fn(ctx, l.tx, at)
	if err != nil {
		l.tx = before
		return ledger.Receipt{}, err
	}
	p.Time = at.Time
	bytes, err := p.Encode()
	if err != nil {
		l.tx = before
		return ledger.Receipt{}, err
	}
	r := ledger.Receipt{Index: at.Index, Payload: bytes, Checkpoint: fmt.Appendf(nil, "in memory, size %d", at.Index+1)}
	l.last, l.requests[requestID], l.payloads = at.Time, r, append(l.payloads, p)
	return r, nil
}

// Transact runs fn outside the sequence: it changes state and leaves no leaf.
func (l *Ledger) Transact(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.tx.clone()
	err := fn(ctx, l.tx)
	if err != nil {
		l.tx = before
	}
	return err
}

// Payloads returns the content of all leaves in their order.
func (l *Ledger) Payloads() []ledger.Payload {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.payloads)
}

// Occupy is that of Tx.
func (l *Ledger) Occupy(o consent.Occupancy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tx.Occupy(o)
}

// Store is that of Tx.
func (l *Ledger) Store(b Block) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tx.Store(b)
}

// Block is what a store knows of a sealed block without opening it: a run of
// Count intervals within one UTC day.
type Block struct {
	Household  consent.Household
	UsagePoint meter.UsagePoint
	Register   meter.Register
	Start      int64 // unix seconds UTC
	Length     int64 // seconds per interval
	Count      int
	Revision   uint32
}

// Tx is a consent.Tx in memory, and all that it holds: there is one, and no end
// to the transaction. It is not safe for concurrent use.
type Tx struct {
	// Undo, if set, is told of each change how to take it back: a test that puts
	// consents behind a real sequencer hands it that of ledgertest.Tx.
	Undo func(func())

	consents    map[consent.ID]stored
	occupancies []consent.Occupancy
	blocks      []Block
}

// stored holds terms as a store would, in their encoding.
type stored struct {
	consent      consent.Consent
	terms, asked []byte
}

func (s stored) load() (consent.Consent, error) {
	c := s.consent
	var err error
	if c.Terms, err = consent.DecodeTerms(s.terms); err != nil {
		return consent.Consent{}, err
	}
	c.Asked, err = consent.DecodeTerms(s.asked)
	return c, err
}

// NewTx returns one that holds nothing.
func NewTx() *Tx { return &Tx{consents: make(map[consent.ID]stored)} }

// Occupy records that a household lives at a usage point, in place of what was
// recorded for the same usage point and From.
func (tx *Tx) Occupy(o consent.Occupancy) {
	tx.occupancies = slices.DeleteFunc(tx.occupancies, func(old consent.Occupancy) bool {
		return old.UsagePoint == o.UsagePoint && old.From == o.From
	})
	tx.occupancies = append(tx.occupancies, o)
}

// Store records the metadata of a block.
func (tx *Tx) Store(b Block) { tx.blocks = append(tx.blocks, b) }

func (tx *Tx) clone() *Tx {
	return &Tx{consents: maps.Clone(tx.consents), occupancies: slices.Clone(tx.occupancies), blocks: slices.Clone(tx.blocks)}
}

// Consent is that of consent.Tx.
func (tx *Tx) Consent(_ context.Context, id consent.ID) (consent.Consent, error) {
	s, ok := tx.consents[id]
	if !ok {
		return consent.Consent{}, consent.ErrNotFound
	}
	return s.load()
}

// PutConsent is that of consent.Tx.
func (tx *Tx) PutConsent(_ context.Context, c consent.Consent) error {
	s := stored{consent: c, terms: c.Terms.Encode(), asked: c.Asked.Encode()}
	s.consent.Terms, s.consent.Asked = consent.Terms{}, consent.Terms{}
	if before, ok := tx.consents[c.ID]; tx.Undo != nil {
		tx.Undo(func() {
			if delete(tx.consents, c.ID); ok {
				tx.consents[c.ID] = before
			}
		})
	}
	tx.consents[c.ID] = s
	return nil
}

// DueConsent is that of consent.Tx.
func (tx *Tx) DueConsent(_ context.Context, at int64) (consent.Consent, error) {
	var earliest consent.Consent
	for _, s := range tx.consents {
		c, err := s.load()
		if err != nil {
			return consent.Consent{}, err
		}
		d := c.Deadline()
		if d != 0 && d <= at && (earliest.ID == "" || d < earliest.Deadline()) {
			earliest = c
		}
	}
	if earliest.ID == "" {
		return consent.Consent{}, consent.ErrNotFound
	}
	return earliest, nil
}

// OpenRequests is that of consent.Tx.
func (tx *Tx) OpenRequests(_ context.Context, r consent.Recipient) (int, error) {
	n := 0
	for _, s := range tx.consents {
		if s.consent.Recipient == r && s.consent.State == consent.Requested {
			n++
		}
	}
	return n, nil
}

// Occupancies is that of consent.Tx.
func (tx *Tx) Occupancies(_ context.Context, h consent.Household) ([]consent.Occupancy, error) {
	var own []consent.Occupancy
	for _, o := range tx.occupancies {
		if o.Household == h {
			own = append(own, o)
		}
	}
	return own, nil
}

// OccupantOf is that of consent.Tx.
func (tx *Tx) OccupantOf(_ context.Context, p meter.UsagePoint, at int64) (consent.Household, error) {
	for _, o := range tx.occupancies {
		if o.UsagePoint == p && o.Holds(at) {
			return o.Household, nil
		}
	}
	return "", consent.ErrNotFound
}

// StoredIntervals is that of consent.Tx.
func (tx *Tx) StoredIntervals(_ context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, from, until int64) (uint64, error) {
	var n uint64
	for _, b := range tx.blocks {
		if b.Household == h && slices.Contains(points, b.UsagePoint) &&
			(len(registers) == 0 || slices.Contains(registers, b.Register)) &&
			from <= b.Start && b.Start < until {
			n += uint64(b.Count)
		}
	}
	return n, nil
}
