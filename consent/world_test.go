package consent_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tests, wherever they run

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/consent/consenttest"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

const (
	day = 24 * 3600
	t0  = 17000 * int64(day) // 2016-07-18T00:00:00Z, where every test begins

	former = consent.Household("former") // lived at up1 until 30 days before t0
	home   = consent.Household("home")   // has lived there since, and at up2 for 60 days
	other  = consent.Household("other")  // lives at up3

	up1 = meter.UsagePoint("UP-1")
	up2 = meter.UsagePoint("UP-2")
	up3 = meter.UsagePoint("UP-3")

	adviser = consent.Recipient("adviser")
	rival   = consent.Recipient("rival")

	movedIn = t0 - 30*day
)

// world is three households, a clock, and the machinery under test.
type world struct {
	*testing.T
	now     int64
	ledger  *consenttest.Ledger
	service *consent.Service[*consenttest.Tx]
	gate    *consent.Gate[*consenttest.Tx]
	calls   int
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, now: t0}
	w.ledger = consenttest.NewLedger(w.clock)
	w.service = consent.NewService(w.ledger, rand.Reader)
	w.gate = consent.NewGate(w.ledger, w.clock)
	for _, o := range []consent.Occupancy{
		{UsagePoint: up1, Household: former, From: t0 - 1000*day, Until: movedIn, Zone: "Europe/Zurich"},
		{UsagePoint: up1, Household: home, From: movedIn, Zone: "Europe/Zurich"},
		{UsagePoint: up2, Household: home, From: t0 - 60*day, Zone: "Europe/Zurich"},
		{UsagePoint: up3, Household: other, From: t0 - 1000*day, Zone: "Europe/Zurich"},
	} {
		w.ledger.Occupy(o)
	}
	return w
}

func (w *world) clock() time.Time { return time.Unix(w.now, 0).UTC() }

// once returns a request id that was not used before.
func (w *world) once() string {
	w.calls++
	return fmt.Sprintf("call-%d", w.calls)
}

// advice is what the adviser usually asks for.
func advice() consent.Terms {
	return consent.Terms{
		Purpose:         consent.Purpose{Code: "advice", Text: "We look for savings in your consumption."},
		UsagePoints:     []meter.UsagePoint{up1},
		Registers:       []meter.Register{meter.ActiveImport},
		Granularity:     consent.Interval,
		DataFrom:        t0 - 90*day,
		DataUntil:       t0 + 365*day,
		PermissionUntil: t0 + 180*day,
	}
}

func (w *world) request(r consent.Recipient, up meter.UsagePoint, terms consent.Terms) consent.ID {
	w.Helper()
	id, err := w.service.Request(w.Context(), w.once(), r, up, terms)
	if err != nil {
		w.Fatalf("request: %v", err)
	}
	return id
}

func (w *world) grant(h consent.Household, id consent.ID) consent.Consent {
	w.Helper()
	c, _, err := w.service.Grant(w.Context(), w.once(), h, id, nil)
	if err != nil {
		w.Fatalf("grant: %v", err)
	}
	return c
}

// granted returns a consent of home for the adviser.
func (w *world) granted(terms consent.Terms) consent.ID {
	w.Helper()
	id := w.request(adviser, up1, terms)
	w.grant(home, id)
	return id
}

func (w *world) revoke(id consent.ID) {
	w.Helper()
	if _, _, err := w.service.Revoke(w.Context(), w.once(), home, id); err != nil {
		w.Fatalf("revoke: %v", err)
	}
}

// asks is an access that the usual consent covers; the options change it.
func (w *world) asks(id consent.ID, options ...func(*consent.Access)) consent.Access {
	a := consent.Access{
		RequestID:   w.once(),
		Recipient:   adviser,
		Consent:     id,
		Purpose:     "advice",
		UsagePoints: []meter.UsagePoint{up1},
		Registers:   []meter.Register{meter.ActiveImport},
		From:        t0 - 10*day,
		Until:       t0,
	}
	for _, o := range options {
		o(&a)
	}
	return a
}

func span(from, until int64) func(*consent.Access) {
	return func(a *consent.Access) { a.From, a.Until = from, until }
}

// allow admits the access and returns its permit, after checking that the leaf
// was there first.
func (w *world) allow(a consent.Access) consent.Permit {
	w.Helper()
	p, err := w.gate.Admit(w.Context(), a)
	if err != nil {
		w.Fatalf("access refused: %v", err)
	}
	if err := p.Valid(w.clock()); err != nil {
		w.Fatalf("fresh permit: %v", err)
	}
	if leaf := w.lastLeaf(); leaf.Kind != ledger.KindAccess || leaf.Recipient != string(a.Recipient) || leaf.Subject != string(p.Household()) {
		w.Fatalf("the last leaf is not that of the access: %+v", leaf)
	}
	return p
}

// deny refuses the access for the reason, and checks that the refusal is a leaf.
// It returns the leaf.
func (w *world) deny(why consent.Reason, a consent.Access) ledger.Payload {
	w.Helper()
	p, err := w.gate.Admit(w.Context(), a)
	var refused *consent.Refused
	if !errors.As(err, &refused) || !errors.Is(err, consent.ErrRefused) {
		w.Fatalf("access: %v, want a refusal", err)
	}
	if refused.Reason != why {
		w.Errorf("refused for %q, want %q", refused.Reason, why)
	}
	if !errors.Is(p.Valid(w.clock()), consent.ErrNoPermit) {
		w.Error("a refusal came with a permit")
	}
	leaf, err := ledger.DecodePayload(refused.Receipt.Payload)
	if err != nil {
		w.Fatal(err)
	}
	if leaf.Kind != ledger.KindAccessDenied || leaf.Reason != string(why) || leaf.Recipient != string(a.Recipient) {
		w.Errorf("leaf of the refusal: %+v", leaf)
	}
	if leaf.KeyFrom != 0 || leaf.KeyUntil != 0 || leaf.Intervals != 0 {
		w.Errorf("leaf of the refusal names keys: %+v", leaf)
	}
	return leaf
}

func (w *world) lastLeaf() ledger.Payload {
	w.Helper()
	all := w.ledger.Payloads()
	if len(all) == 0 {
		w.Fatal("no leaf")
	}
	return all[len(all)-1]
}

// consent reads a consent as the store holds it.
func (w *world) consent(id consent.ID) (c consent.Consent) {
	w.Helper()
	err := w.ledger.Transact(w.Context(), func(ctx context.Context, tx *consenttest.Tx) (err error) {
		c, err = tx.Consent(ctx, id)
		return err
	})
	if err != nil {
		w.Fatalf("reading the consent: %v", err)
	}
	return c
}

func (w *world) state(id consent.ID) consent.State {
	w.Helper()
	return w.consent(id).State
}
