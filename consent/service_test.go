package consent_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/consent/consenttest"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// Every step of a consent's life is one leaf, with its parties and the hash of
// the terms. It would catch a state that changes without a record.
func TestLifeInLeaves(t *testing.T) {
	w := newWorld(t)
	terms := advice()
	id := w.request(adviser, up1, terms)
	c := w.grant(home, id)
	w.revoke(id)
	denied := w.request(adviser, up1, terms)
	if _, _, err := w.service.Deny(t.Context(), w.once(), home, denied); err != nil {
		t.Fatal(err)
	}
	leaves := w.ledger.Payloads()
	want := []ledger.Kind{
		ledger.KindConsentRequest, ledger.KindConsentGrant, ledger.KindConsentRevoke,
		ledger.KindConsentRequest, ledger.KindConsentDeny,
	}
	if len(leaves) != len(want) {
		t.Fatalf("%d leaves, want %d", len(leaves), len(want))
	}
	for i, leaf := range leaves {
		if leaf.Kind != want[i] || leaf.Subject != string(home) || leaf.Recipient != string(adviser) || leaf.Terms != terms.Hash() {
			t.Errorf("leaf %d is %+v", i, leaf)
		}
	}
	if c.State != consent.Granted || c.DecidedAt != t0 || c.Terms.Hash() != terms.Hash() {
		t.Errorf("granted consent %+v", c)
	}
}

// Only the household that was asked decides, and only once. It would catch a
// stranger who grants, and a decision that is taken back by repeating another.
func TestWhoDecides(t *testing.T) {
	w := newWorld(t)
	id := w.request(adviser, up1, advice())
	for _, h := range []consent.Household{former, other, "nobody"} {
		if _, _, err := w.service.Grant(t.Context(), w.once(), h, id, nil); !errors.Is(err, consent.ErrNotFound) {
			t.Errorf("grant by %s: %v, want ErrNotFound", h, err)
		}
	}
	if _, _, err := w.service.Revoke(t.Context(), w.once(), home, id); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("revoking a request: %v, want ErrTransition", err)
	}
	w.grant(home, id)
	if _, _, err := w.service.Deny(t.Context(), w.once(), home, id); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("denying a grant: %v, want ErrTransition", err)
	}
	w.revoke(id)
	if _, _, err := w.service.Grant(t.Context(), w.once(), home, id, nil); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("granting what was revoked: %v, want ErrTransition", err)
	}
	if _, _, err := w.service.Revoke(t.Context(), w.once(), home, "unknown"); !errors.Is(err, consent.ErrNotFound) {
		t.Errorf("revoking the unknown: %v, want ErrNotFound", err)
	}
}

// The household may agree to less, and what it agreed to is what holds. It would
// catch a grant that is recorded narrowed and enforced as asked.
func TestNarrowedGrant(t *testing.T) {
	w := newWorld(t)
	asked := advice()
	asked.UsagePoints = []meter.UsagePoint{up1, up2}
	id := w.request(adviser, up1, asked)

	wider := asked
	wider.DataFrom--
	if _, _, err := w.service.Grant(t.Context(), w.once(), home, id, &wider); !errors.Is(err, consent.ErrWider) {
		t.Fatalf("wider: %v, want ErrWider", err)
	}
	broken := asked
	broken.Registers = nil
	if _, _, err := w.service.Grant(t.Context(), w.once(), home, id, &broken); !errors.Is(err, consent.ErrTerms) {
		t.Fatalf("invalid: %v, want ErrTerms", err)
	}
	over := asked
	over.PermissionUntil = t0
	if _, _, err := w.service.Grant(t.Context(), w.once(), home, id, &over); !errors.Is(err, consent.ErrTerms) {
		t.Fatalf("already over: %v, want ErrTerms", err)
	}

	narrowed := asked
	narrowed.UsagePoints = []meter.UsagePoint{up2}
	narrowed.DataFrom = t0 - 20*day
	narrowed.Granularity = consent.Day
	c, receipt, err := w.service.Grant(t.Context(), w.once(), home, id, &narrowed)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err := ledger.DecodePayload(receipt.Payload); err != nil || leaf.Terms != narrowed.Hash() || c.Terms.Hash() != narrowed.Hash() {
		t.Errorf("leaf %+v, %v", leaf, err)
	}
	at := func(up meter.UsagePoint) func(*consent.Access) {
		return func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up} }
	}
	w.deny(consent.ReasonUsagePoint, w.asks(id, at(up1)))
	w.deny(consent.ReasonRange, w.asks(id, at(up2), span(t0-21*day, t0)))
	if p := w.allow(w.asks(id, at(up2))); p.Granularity() != consent.Day {
		t.Errorf("granularity %v", p.Granularity())
	}
}

// A request for all usage points is granted for those the household has at that
// moment, by name; one that names others' points is granted without them. It
// would catch a consent that grows with the next move, or reaches another home.
func TestGrantNamesPoints(t *testing.T) {
	w := newWorld(t)
	all := w.grant(home, w.request(adviser, up1, advice2()))
	if want := []meter.UsagePoint{up1, up2}; !slices.Equal(all.Terms.UsagePoints, want) {
		t.Errorf("granted %v, want %v", all.Terms.UsagePoints, want)
	}
	w.ledger.Occupy(consent.Occupancy{UsagePoint: "UP-4", Household: home, From: t0, Zone: "UTC"})
	w.deny(consent.ReasonUsagePoint, w.asks(all.ID, func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{"UP-4"} }))

	w.ledger.Occupy(consent.Occupancy{UsagePoint: "UP-5", Household: home, From: t0 + day, Zone: "UTC"})
	mixed := w.grant(home, w.request(adviser, up1, advice2(up1, up3, "UP-5", "UP-X")))
	if want := []meter.UsagePoint{up1}; !slices.Equal(mixed.Terms.UsagePoints, want) {
		t.Errorf("granted %v, want %v", mixed.Terms.UsagePoints, want)
	}

	past := advice2(up1)
	past.DataFrom, past.DataUntil = t0-80*day, movedIn // all of it the former occupant's
	id := w.request(adviser, up1, past)
	if _, _, err := w.service.Grant(t.Context(), w.once(), home, id, nil); !errors.Is(err, consent.ErrNothingToGrant) {
		t.Errorf("grant of nothing: %v, want ErrNothingToGrant", err)
	}
}

// A request about a usage point that nobody knows, or where nobody lives, is
// answered and recorded like any other, decided by nobody, and expires. It would
// catch an answer from which usage points can be found out.
func TestRequestToNobody(t *testing.T) {
	w := newWorld(t)
	w.ledger.Occupy(consent.Occupancy{UsagePoint: "UP-6", Household: "gone", From: 0, Until: t0, Zone: "UTC"})
	for _, up := range []meter.UsagePoint{"UP-X", "UP-6"} {
		id := w.request(adviser, up, advice2())
		leaf := w.lastLeaf()
		if leaf.Kind != ledger.KindConsentRequest || leaf.Subject != "" || leaf.Recipient != string(adviser) || leaf.Consent != string(id) {
			t.Errorf("leaf %+v", leaf)
		}
		if s := w.state(id); s != consent.Requested {
			t.Errorf("state %v, want that of any request", s)
		}
		for _, h := range []consent.Household{home, "gone"} {
			if _, _, err := w.service.Grant(t.Context(), w.once(), h, id, nil); !errors.Is(err, consent.ErrNotFound) {
				t.Errorf("granted by %s: %v", h, err)
			}
		}
		if _, _, err := w.service.Grant(t.Context(), w.once(), "", id, nil); !errors.Is(err, consent.ErrIdentifier) {
			t.Errorf("granted by a household without a name: %v", err)
		}
	}
	w.now += consent.RequestLifetime
	if n, err := w.service.ExpireDue(t.Context()); n != 2 || err != nil {
		t.Errorf("expired %d, %v, want both", n, err)
	}
}

// One recipient cannot fill the store: its undecided requests are bounded, and
// room comes back as they are decided or expire. It would catch a flood.
func TestOpenRequestsAreBounded(t *testing.T) {
	w := newWorld(t)
	id := w.request(adviser, up1, advice())
	err := w.ledger.Transact(t.Context(), func(ctx context.Context, tx *consenttest.Tx) error {
		c, err := tx.Consent(ctx, id)
		for i := range consent.MaxOpenRequests - 1 {
			c.ID = consent.ID("open-"+string(rune('a'+i%26))) + consent.ID(meter.Day(i).String())
			if err := tx.PutConsent(ctx, c); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := len(w.ledger.Payloads())
	if _, err := w.service.Request(t.Context(), w.once(), adviser, up1, advice()); !errors.Is(err, consent.ErrTooManyRequests) {
		t.Errorf("one too many: %v, want ErrTooManyRequests", err)
	}
	if len(w.ledger.Payloads()) != n {
		t.Error("a request too many wrote a leaf")
	}
	w.request(rival, up1, advice())
	w.grant(home, id)
	w.request(adviser, up1, advice())
}

// What is asked must make sense before it is stored: it would catch a request
// that is over before it begins, or asks one home about another.
func TestRequestRefused(t *testing.T) {
	w := newWorld(t)
	over := advice()
	over.PermissionUntil = t0
	for _, test := range []struct {
		name  string
		id    string
		r     consent.Recipient
		up    meter.UsagePoint
		terms consent.Terms
		want  error
	}{
		{"already over", "1", adviser, up1, over, consent.ErrTerms},
		{"about a point the terms leave out", "1", adviser, up2, advice(), consent.ErrTerms},
		{"invalid terms", "1", adviser, up1, consent.Terms{}, consent.ErrTerms},
		{"no request id", "", adviser, up1, advice(), consent.ErrIdentifier},
		{"no recipient", "1", "", up1, advice(), consent.ErrIdentifier},
		{"no usage point", "1", adviser, "", advice2(), consent.ErrIdentifier},
	} {
		if _, err := w.service.Request(t.Context(), test.id, test.r, test.up, test.terms); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if n := len(w.ledger.Payloads()); n != 0 {
		t.Errorf("%d leaves of refused requests", n)
	}
}

// A repeated call has no further effect and tells the same; the same id for
// something else is refused. It would catch a retry that grants twice, or one
// that is answered with another's outcome.
func TestRepeatedCalls(t *testing.T) {
	w := newWorld(t)
	id, err := w.service.Request(t.Context(), "r", adviser, up1, advice())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.service.Request(t.Context(), "r", adviser, up1, advice()); err != nil || again != id {
		t.Errorf("repeated request: %q, %v", again, err)
	}
	if _, err := w.service.Request(t.Context(), "r", adviser, up1, advice2()); !errors.Is(err, consent.ErrReplayed) {
		t.Errorf("other terms: %v, want ErrReplayed", err)
	}
	if theirs, err := w.service.Request(t.Context(), "r", rival, up1, advice()); err != nil || theirs == id {
		t.Errorf("another recipient's id: %q, %v", theirs, err)
	}

	c, receipt, err := w.service.Grant(t.Context(), "g", home, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := len(w.ledger.Payloads())
	c2, receipt2, err := w.service.Grant(t.Context(), "g", home, id, nil)
	if err != nil || c2.State != c.State || c2.DecidedAt != c.DecidedAt || receipt2.Index != receipt.Index {
		t.Errorf("repeated grant: %+v, leaf %d, %v", c2, receipt2.Index, err)
	}
	w.revoke(id)
	if c2, _, err = w.service.Grant(t.Context(), "g", home, id, nil); err != nil || c2.State != consent.Revoked {
		t.Errorf("grant repeated after the revocation: %v, %v, want the consent as it stands", c2.State, err)
	}
	other := w.request(adviser, up1, advice())
	if _, _, err := w.service.Grant(t.Context(), "g", home, other, nil); !errors.Is(err, consent.ErrReplayed) {
		t.Errorf("the id for another consent: %v, want ErrReplayed", err)
	}
	if got := len(w.ledger.Payloads()); got != n+2 {
		t.Errorf("%d leaves, want only those of the revocation and the new request", got-n)
	}
}

// What is due ends, each once and in order, and nothing else. It would catch a
// sweep that stops early, runs for ever, or ends what is alive.
func TestExpireDue(t *testing.T) {
	w := newWorld(t)
	short := advice()
	short.PermissionUntil = t0 + 5*day
	live := w.granted(advice())
	ending := w.granted(short)
	waiting := w.request(adviser, up1, advice())
	expire := func(want int) {
		t.Helper()
		if n, err := w.service.ExpireDue(t.Context()); n != want || err != nil {
			t.Errorf("expired %d, %v, want %d", n, err, want)
		}
	}
	expire(0)
	w.now = t0 + 5*day
	expire(1)
	if leaf := w.lastLeaf(); leaf.Kind != ledger.KindConsentExpire || leaf.Consent != string(ending) || leaf.Subject != string(home) {
		t.Errorf("leaf %+v", leaf)
	}
	expire(0)
	w.now = t0 + consent.RequestLifetime
	expire(1)
	for id, want := range map[consent.ID]consent.State{live: consent.Granted, ending: consent.Expired, waiting: consent.Expired} {
		if got := w.state(id); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// A decision that comes too late ends the consent instead. It would catch a
// request that is granted after it has expired, because nobody had swept.
func TestDecisionTooLate(t *testing.T) {
	w := newWorld(t)
	id := w.request(adviser, up1, advice())
	w.now += consent.RequestLifetime
	if _, _, err := w.service.Grant(t.Context(), w.once(), home, id, nil); !errors.Is(err, consent.ErrTransition) {
		t.Errorf("late grant: %v, want ErrTransition", err)
	}
	if s := w.state(id); s != consent.Expired || w.lastLeaf().Kind != ledger.KindConsentExpire {
		t.Errorf("state %v, last leaf %q", s, w.lastLeaf().Kind)
	}
	w.deny(consent.ReasonNotConsented, w.asks(id))
}
