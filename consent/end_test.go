package consent_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// Every way to end a consent closes it for the very next read, under a reason and with
// a leaf that says who did it. It would catch an end that is not enforced, one that is
// put down to the household, and one that another may bring about.
func TestEndings(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(w *world, id consent.ID) error
		kind  ledger.Kind
		state consent.State
		cause consent.Cause
		why   consent.Reason
	}{
		{"the household", func(w *world, id consent.ID) error {
			_, _, err := w.service.Revoke(w.Context(), w.once(), home, id)
			return err
		}, ledger.KindConsentRevoke, consent.Revoked, consent.ByHousehold, consent.ReasonRevoked},
		{"the third party", func(w *world, id consent.ID) error {
			_, _, err := w.service.Withdraw(w.Context(), w.once(), adviser, id)
			return err
		}, ledger.KindConsentTerminate, consent.Terminated, consent.ByRecipient, consent.ReasonEnded},
		{"the operator", func(w *world, id consent.ID) error {
			_, _, err := w.service.Terminate(w.Context(), w.once(), consent.ByOperator, "ops", id)
			return err
		}, ledger.KindConsentTerminate, consent.Terminated, consent.ByOperator, consent.ReasonEnded},
		{"the regulator", func(w *world, id consent.ID) error {
			_, _, err := w.service.Terminate(w.Context(), w.once(), consent.ByRegulator, "office", id)
			return err
		}, ledger.KindConsentTerminate, consent.Terminated, consent.ByRegulator, consent.ReasonEnded},
		{"time", func(w *world, _ consent.ID) error {
			w.now = advice().PermissionUntil
			_, err := w.service.ExpireDue(w.Context())
			return err
		}, ledger.KindConsentExpire, consent.Expired, consent.ByExpiry, consent.ReasonExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.granted(advice())
			w.allow(w.asks(id))
			if err := test.end(w, id); err != nil {
				t.Fatal(err)
			}
			leaf := w.lastLeaf()
			if leaf.Kind != test.kind || leaf.Reason != string(test.cause) || leaf.Subject != string(home) || leaf.Recipient != string(adviser) {
				t.Errorf("the leaf of the end: %+v", leaf)
			}
			if got := w.consent(id); got.State != test.state || got.Cause != test.cause || got.EndedAt != w.now {
				t.Errorf("the consent is %v for %q at %d", got.State, got.Cause, got.EndedAt)
			}
			w.deny(test.why, w.asks(id))
			if _, _, err := w.service.Terminate(w.Context(), w.once(), consent.ByOperator, "ops", id); !errors.Is(err, consent.ErrTransition) {
				t.Errorf("it ended a second time: %v", err)
			}
		})
	}
}

// A request is taken back by who made it and by nobody else, and leaves nothing to
// decide. It would catch a third party that ends another's consent, and a household that
// is asked to decide about what nobody wants any more.
func TestWithdrawRequest(t *testing.T) {
	w := newWorld(t)
	id := w.request(adviser, up1, advice())
	if _, _, err := w.service.Withdraw(w.Context(), w.once(), rival, id); !errors.Is(err, consent.ErrNotFound) {
		t.Errorf("another's: %v", err)
	}
	c, _, err := w.service.Withdraw(w.Context(), "back", adviser, id)
	if err != nil || c.State != consent.Invalid || c.Cause != consent.ByRecipient {
		t.Fatalf("%+v, %v", c, err)
	}
	if again, _, err := w.service.Withdraw(w.Context(), "back", adviser, id); err != nil || again.State != consent.Invalid {
		t.Errorf("the same call again: %v, %v", again.State, err)
	}
	if _, _, err := w.service.Grant(w.Context(), w.once(), home, id, nil); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("granted after it was taken back: %v", err)
	}
	w.deny(consent.ReasonNotConsented, w.asks(id))
}

// A consent on hold opens nothing and may still be revoked; only who put it there takes
// it off. It would catch a hold that the operator lifts against the regulator, and a
// third party that reads through one.
func TestSuspend(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	if _, _, err := w.service.Resume(w.Context(), w.once(), consent.ByOperator, "ops", id); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("resumed what was not on hold: %v", err)
	}
	if _, _, err := w.service.Suspend(w.Context(), w.once(), consent.ByRegulator, "office", id); err != nil {
		t.Fatal(err)
	}
	w.deny(consent.ReasonSuspended, w.asks(id))
	if _, _, err := w.service.Resume(w.Context(), w.once(), consent.ByOperator, "ops", id); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("the operator lifted the regulator's hold: %v", err)
	}
	c, _, err := w.service.Resume(w.Context(), w.once(), consent.ByRegulator, "office", id)
	if err != nil || c.State != consent.Granted || c.Cause != "" {
		t.Fatalf("%+v, %v", c, err)
	}
	w.allow(w.asks(id))
	if _, _, err := w.service.Suspend(w.Context(), w.once(), consent.ByOperator, "ops", id); err != nil {
		t.Fatal(err)
	}
	w.revoke(id)
	w.deny(consent.ReasonRevoked, w.asks(id))
}

// A consent for one reading may be read for a day from the first access, again too, and
// not after. It would catch one that is open for ever, and one that a dropped line uses up.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	terms := advice()
	terms.Once = true
	id := w.granted(terms)
	w.now += 10 * day
	w.allow(w.asks(id))
	w.now += ledger.OnceWindow - 1
	w.allow(w.asks(id))
	w.now++
	w.deny(consent.ReasonEnded, w.asks(id))
	if c := w.consent(id); c.State != consent.Fulfilled || c.Cause != consent.ByRecipient || c.Status().Name != "FULFILLED" {
		t.Errorf("afterwards it is %v for %q", c.State, c.Cause)
	}
	terms = advice() // asked without: the household may make it one
	id = w.request(adviser, up1, terms)
	terms.Once = true
	if _, _, err := w.service.Grant(w.Context(), w.once(), home, id, &terms); err != nil {
		t.Fatal(err)
	}
	terms.Once = false
	if _, _, err := w.service.Narrow(w.Context(), w.once(), home, id, terms); !errors.Is(err, consent.ErrWider) {
		t.Errorf("one reading became many: %v", err)
	}
}

// A usage point that comes to the household later is read under a consent that includes
// such, after a leaf that names it, and under no other. It would catch a new meter that
// leaks into an old consent, and a read beyond the terms on record.
func TestFuturePoints(t *testing.T) {
	w := newWorld(t)
	all := advice()
	all.UsagePoints = nil
	plain := w.granted(all)
	all.Future = true
	id := w.granted(all)
	const solar = meter.UsagePoint("UP-4")
	w.now += 5 * day
	w.ledger.Occupy(consent.Occupancy{UsagePoint: solar, Household: home, From: w.now - day, Zone: "Europe/Zurich"})
	new := func(a *consent.Access) { a.UsagePoints, a.Until = []meter.UsagePoint{solar}, t0+5*day }
	w.deny(consent.ReasonUsagePoint, w.asks(plain, new))
	p := w.allow(w.asks(id, new))
	if scopes := p.Scopes(); len(scopes) != 1 || scopes[0].From != t0+4*day {
		t.Errorf("it covers %+v, want the new point from when it came", scopes)
	}
	leaves := w.ledger.Payloads()
	before, access := leaves[len(leaves)-2], leaves[len(leaves)-1]
	if before.Kind != ledger.KindConsentExtend || !slices.Contains(before.UsagePoints, string(solar)) || before.Terms != access.Terms {
		t.Errorf("before the access came %+v", before)
	}
	// The household takes the new meter out: then none joins any more.
	less := w.consent(id).Terms
	less.UsagePoints = []meter.UsagePoint{up1, up2}
	if _, _, err := w.service.Narrow(w.Context(), w.once(), home, id, less); !errors.Is(err, consent.ErrTerms) {
		t.Errorf("left out one of all: %v", err)
	}
	less.Future = false
	if _, _, err := w.service.Narrow(w.Context(), w.once(), home, id, less); err != nil {
		t.Fatal(err)
	}
	w.deny(consent.ReasonUsagePoint, w.asks(id, new))
}

// What includes future usage points is for all: it is not asked or granted for some.
func TestFutureMeansAll(t *testing.T) {
	w := newWorld(t)
	some := advice()
	some.Future = true
	if _, err := w.service.Request(w.Context(), w.once(), adviser, up1, some); !errors.Is(err, consent.ErrTerms) {
		t.Errorf("asked for one and for all: %v", err)
	}
	all := some
	all.UsagePoints = nil
	id := w.request(adviser, up1, all)
	if _, _, err := w.service.Grant(w.Context(), w.once(), home, id, &some); !errors.Is(err, consent.ErrTerms) {
		t.Errorf("granted one and all: %v", err)
	}
	some.Future = false
	c, _, err := w.service.Grant(w.Context(), w.once(), home, id, &some)
	if err != nil || c.Status().Name != "PARTIAL" {
		t.Errorf("granted for one alone: %v, %v", c.Status(), err)
	}
}

// A consent of a household that moves out ends with its last day, and so does what is
// asked of it in its last days. It would catch a third party that goes on reading, and
// a request that the next household would find.
func TestMovingOutEnds(t *testing.T) {
	w := newWorld(t)
	leaves := t0 + 5*day
	for _, up := range []meter.UsagePoint{up1, up2} {
		w.ledger.Occupy(consent.Occupancy{UsagePoint: up, Household: home, From: map[meter.UsagePoint]int64{up1: movedIn, up2: t0 - 60*day}[up], Until: leaves, Zone: "Europe/Zurich"})
	}
	granted, asked := w.granted(advice()), w.request(adviser, up1, advice())
	w.now = leaves - 1
	w.allow(w.asks(granted))
	w.now = leaves
	w.deny(consent.ReasonEnded, w.asks(granted))
	if n, err := w.service.ExpireDue(w.Context()); n != 1 || err != nil {
		t.Errorf("%d ended, %v, want the request", n, err)
	}
	for id, want := range map[consent.ID]consent.State{granted: consent.Terminated, asked: consent.Invalid} {
		if c := w.consent(id); c.State != want || c.Cause != consent.ByOccupantChange {
			t.Errorf("%v for %q, want %v", c.State, c.Cause, want)
		}
	}
}
