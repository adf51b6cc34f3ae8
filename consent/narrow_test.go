package consent_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// wide is what the tests narrow: two points, two registers, hours, and room at
// every end.
func wide() consent.Terms {
	terms := advice()
	terms.UsagePoints = []meter.UsagePoint{up1, up2}
	terms.Registers = []meter.Register{meter.ActiveImport, meter.ActiveExport}
	terms.Granularity = consent.Hour
	return terms
}

// narrow takes back what change takes from the terms.
func (w *world) narrow(id consent.ID, terms consent.Terms) (consent.Consent, ledger.Payload) {
	w.Helper()
	c, receipt, err := w.service.Narrow(w.Context(), w.once(), home, id, terms)
	if err != nil {
		w.Fatalf("narrow: %v", err)
	}
	leaf, err := ledger.DecodePayload(receipt.Payload)
	if err != nil {
		w.Fatal(err)
	}
	return c, leaf
}

// A part that is taken back is gone for the very next access, whichever part it
// is; the rest stays open, under a consent as old as its grant, and both leaves
// name the terms that held. It would catch a narrowing that is recorded and not
// enforced, and a consent that is made young again by it.
func TestNarrow(t *testing.T) {
	whole := func(a *consent.Access) { a.UsagePoints, a.Registers = nil, nil }
	for _, test := range []struct {
		name   string
		less   func(*consent.Terms)
		beyond func(*consent.Access) // what it took away
		why    consent.Reason
	}{
		{
			"a usage point", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{up1} },
			func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up2} }, consent.ReasonUsagePoint,
		},
		{
			"a register", func(c *consent.Terms) { c.Registers = []meter.Register{meter.ActiveImport} },
			func(a *consent.Access) { a.Registers = []meter.Register{meter.ActiveExport} }, consent.ReasonRegister,
		},
		{"history", func(c *consent.Terms) { c.DataFrom = t0 - 10*day }, span(t0-10*day-1, t0), consent.ReasonRange},
		{"what is to come", func(c *consent.Terms) { c.DataUntil = t0 }, span(t0-10*day, t0+1), consent.ReasonRange},
		{"detail", func(c *consent.Terms) { c.Granularity = consent.Day }, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.granted(wide())
			before := w.allow(w.asks(id, whole))
			if test.beyond != nil {
				w.allow(w.asks(id, test.beyond))
			}
			w.now += 3600
			less := wide()
			test.less(&less)
			c, leaf := w.narrow(id, less)
			if c.State != consent.Granted || c.DecidedAt != t0 || c.EndedAt != 0 || c.Terms.Hash() != less.Hash() {
				t.Errorf("narrowed to %+v", c)
			}
			if leaf.Kind != ledger.KindConsentNarrow || leaf.Terms != less.Hash() || leaf.Subject != string(home) || leaf.Recipient != string(adviser) || leaf.Consent != string(id) {
				t.Errorf("leaf %+v", leaf)
			}
			if test.beyond != nil {
				if leaf := w.deny(test.why, w.asks(id, test.beyond)); leaf.Terms != less.Hash() {
					t.Error("the refusal names other terms than those that hold")
				}
			}
			after := w.allow(w.asks(id, whole))
			if w.lastLeaf().Terms != less.Hash() || after.Granularity() != less.Granularity {
				t.Errorf("an access after it at granularity %v", after.Granularity())
			}
			for _, s := range after.Scopes() {
				if !slices.Contains(less.UsagePoints, s.UsagePoint) || !slices.Equal(s.Registers, less.Registers) {
					t.Errorf("scope %+v", s)
				}
			}
			if len(before.Scopes()) != 2 {
				t.Errorf("%d scopes before it, want 2", len(before.Scopes()))
			}
		})
	}
}

// Nothing comes back, and nothing is recorded that takes nothing back. It would
// catch a consent that grows by being narrowed, or an empty leaf in its history.
func TestNarrowRefused(t *testing.T) {
	w := newWorld(t)
	id := w.granted(wide())
	for _, test := range []struct {
		name   string
		change func(*consent.Terms)
		want   error
	}{
		{"nothing", func(*consent.Terms) {}, consent.ErrSameTerms},
		{"nothing, in another order", func(c *consent.Terms) { slices.Reverse(c.UsagePoints) }, consent.ErrSameTerms},
		{"another point", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{up3} }, consent.ErrWider},
		{"all points", func(c *consent.Terms) { c.UsagePoints = nil }, consent.ErrWider},
		{"another register", func(c *consent.Terms) { c.Registers = []meter.Register{{1, 0, 3, 29, 0, 255}} }, consent.ErrWider},
		{"finer", func(c *consent.Terms) { c.Granularity = consent.Interval }, consent.ErrWider},
		{"more history", func(c *consent.Terms) { c.DataFrom-- }, consent.ErrWider},
		{"more of the future", func(c *consent.Terms) { c.DataUntil++ }, consent.ErrWider},
		{"for longer", func(c *consent.Terms) { c.PermissionUntil++ }, consent.ErrWider},
		{"less here, more there", func(c *consent.Terms) { c.Granularity, c.DataFrom = consent.Month, c.DataFrom-day }, consent.ErrWider},
		{"another purpose", func(c *consent.Terms) { c.Purpose.Code, c.DataFrom = "marketing", c.DataFrom+day }, consent.ErrWider},
		{"other words for it", func(c *consent.Terms) { c.Purpose.Text += " And more."; c.DataFrom += day }, consent.ErrWider},
		{"over already", func(c *consent.Terms) { c.PermissionUntil = t0 }, consent.ErrTerms},
		{"no register", func(c *consent.Terms) { c.Registers = nil }, consent.ErrTerms},
		{"no time", func(c *consent.Terms) { c.DataUntil = c.DataFrom }, consent.ErrTerms},
	} {
		terms := wide()
		test.change(&terms)
		if _, _, err := w.service.Narrow(t.Context(), w.once(), home, id, terms); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if leaf := w.lastLeaf(); leaf.Kind != ledger.KindConsentGrant {
		t.Errorf("a refused narrowing wrote %q", leaf.Kind)
	}
	less := wide()
	less.Granularity = consent.Day
	w.narrow(id, less)
	for _, terms := range []consent.Terms{wide(), advice()} {
		if _, _, err := w.service.Narrow(t.Context(), w.once(), home, id, terms); !errors.Is(err, consent.ErrWider) {
			t.Errorf("taking back what was taken back: %v, want ErrWider", err)
		}
	}
}

// Only the household narrows, and only what is in force. It would catch a
// narrowing that revives what has ended, or decides what is asked.
func TestWhoNarrowsWhat(t *testing.T) {
	less := advice()
	less.Granularity = consent.Day
	for name, test := range map[string]struct {
		reach func(w *world, id consent.ID)
		want  consent.State
	}{
		"requested": {func(*world, consent.ID) {}, consent.Requested},
		"denied": {func(w *world, id consent.ID) {
			if _, _, err := w.service.Deny(w.Context(), w.once(), home, id); err != nil {
				w.Fatal(err)
			}
		}, consent.Denied},
		"revoked": {func(w *world, id consent.ID) { w.grant(home, id); w.revoke(id) }, consent.Revoked},
		"due":     {func(w *world, id consent.ID) { w.grant(home, id); w.now = less.PermissionUntil }, consent.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.request(adviser, up1, advice())
			test.reach(w, id)
			for range 2 { // due, then expired
				if _, _, err := w.service.Narrow(t.Context(), w.once(), home, id, less); !errors.Is(err, consent.ErrTransition) {
					t.Errorf("narrow: %v, want ErrTransition", err)
				}
			}
			if s := w.state(id); s != test.want {
				t.Errorf("%v after it, want %v", s, test.want)
			}
			if slices.ContainsFunc(w.ledger.Payloads(), func(p ledger.Payload) bool { return p.Kind == ledger.KindConsentNarrow }) {
				t.Error("a leaf of a refused narrowing")
			}
		})
	}
	w := newWorld(t)
	id := w.granted(advice())
	for _, h := range []consent.Household{former, other, "nobody"} {
		if _, _, err := w.service.Narrow(t.Context(), w.once(), h, id, less); !errors.Is(err, consent.ErrNotFound) {
			t.Errorf("by %s: %v, want ErrNotFound", h, err)
		}
	}
	for _, bad := range []string{"", "a b"} {
		if _, _, err := w.service.Narrow(t.Context(), bad, home, id, less); !errors.Is(err, consent.ErrIdentifier) {
			t.Errorf("request id %q: %v, want ErrIdentifier", bad, err)
		}
	}
}

// A repeated narrowing has no further effect, and its id stands for nothing else.
// It would catch a retry that undoes a later narrowing, or one that is told that
// terms hold which do not.
func TestNarrowRepeated(t *testing.T) {
	w := newWorld(t)
	id, second := w.granted(wide()), w.granted(wide())
	days, months := wide(), wide()
	days.Granularity, months.Granularity = consent.Day, consent.Month
	narrow := func(id consent.ID, terms consent.Terms) (consent.Consent, ledger.Receipt, error) {
		return w.service.Narrow(t.Context(), "n", home, id, terms)
	}
	_, first, err := narrow(id, days)
	if err != nil {
		t.Fatal(err)
	}
	w.narrow(id, months)
	leaves := len(w.ledger.Payloads())
	c, again, err := narrow(id, days)
	if err != nil || again.Index != first.Index || c.Terms.Granularity != consent.Month {
		t.Errorf("repeated: leaf %d, %v, %v, want the first leaf and the consent as it stands", again.Index, c.Terms.Granularity, err)
	}
	if _, _, err := narrow(id, months); !errors.Is(err, consent.ErrReplayed) {
		t.Errorf("the id for other terms: %v, want ErrReplayed", err)
	}
	if _, _, err := narrow(second, days); !errors.Is(err, consent.ErrReplayed) {
		t.Errorf("the id for another consent: %v, want ErrReplayed", err)
	}
	w.revoke(id)
	if c, _, err = narrow(id, days); err != nil || c.State != consent.Revoked {
		t.Errorf("repeated after the revocation: %v, %v", c.State, err)
	}
	if n := len(w.ledger.Payloads()); n != leaves+1 {
		t.Errorf("%d leaves of repetitions", n-leaves-1)
	}
}

// A permission that ends sooner ends then, with its leaf. It would catch a
// deadline that is remembered from the grant.
func TestNarrowedEnd(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	less := advice()
	less.PermissionUntil = t0 + day
	w.narrow(id, less)
	w.now = t0 + day - 1
	w.allow(w.asks(id))
	w.now++
	w.deny(consent.ReasonExpired, w.asks(id))
	if s := w.state(id); s != consent.Expired {
		t.Errorf("state %v", s)
	}
}

// By leaf order alone: after the leaf of a narrowing no access stands in the log
// that goes beyond it, however many run at the same moment. It would catch a
// check that is made before the sequencing transaction.
func TestNarrowThenRead(t *testing.T) {
	w := newWorld(t)
	id := w.granted(wide())
	less := wide()
	less.UsagePoints = []meter.UsagePoint{up1}
	var accesses []consent.Access
	for range 200 {
		accesses = append(accesses, w.asks(id, func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up2} }))
	}
	var readers sync.WaitGroup
	for i, a := range accesses {
		if i == len(accesses)/2 {
			readers.Go(func() {
				if _, _, err := w.service.Narrow(t.Context(), "narrow", home, id, less); err != nil {
					t.Errorf("narrow: %v", err)
				}
			})
		}
		readers.Go(func() {
			_, err := w.gate.Admit(t.Context(), a)
			if err != nil && !errors.Is(err, consent.ErrRefused) {
				t.Errorf("access: %v", err)
			}
		})
	}
	readers.Wait()
	narrowed := false
	for i, leaf := range w.ledger.Payloads() {
		narrowed = narrowed || leaf.Kind == ledger.KindConsentNarrow
		if narrowed && leaf.Kind == ledger.KindAccess {
			t.Errorf("leaf %d: an access beyond the narrowing before it", i)
		}
	}
	w.deny(consent.ReasonUsagePoint, w.asks(id, func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up2} }))
}
