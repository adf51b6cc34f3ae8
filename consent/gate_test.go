package consent_test

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/consent/consenttest"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// The policy of the gate, a line a rule. It would catch any check that is
// dropped, or compares with the wrong field.
func TestPolicy(t *testing.T) {
	for _, test := range []struct {
		rule  string
		terms func(*consent.Terms)
		ask   func(*consent.Access)
		deny  consent.Reason // "" allows
	}{
		{rule: "what was granted"},
		{rule: "all that was granted, unnamed", ask: func(a *consent.Access) { a.UsagePoints, a.Registers = nil, nil }},
		{rule: "up to this instant", ask: span(t0-day, t0+1)},
		{rule: "a range that runs into the future", ask: span(t0-day, t0+day)},
		{
			rule:  "the whole data range, to the second",
			terms: func(c *consent.Terms) { c.DataFrom, c.DataUntil = t0-20*day, t0-5*day },
			ask:   span(t0-20*day, t0-5*day),
		},
		{rule: "400 days", terms: func(c *consent.Terms) { c.DataFrom = t0 - 800*day }, ask: span(t0-400*day, t0)},

		{rule: "another purpose", ask: func(a *consent.Access) { a.Purpose = "marketing" }, deny: consent.ReasonPurpose},
		{rule: "the purpose self", ask: func(a *consent.Access) { a.Purpose = consent.PurposeSelf }, deny: consent.ReasonPurpose},
		{rule: "another of the home's points", ask: func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up2} }, deny: consent.ReasonUsagePoint},
		{rule: "one point too many", ask: func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up1, up2} }, deny: consent.ReasonUsagePoint},
		{rule: "another home's point", ask: func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{up3} }, deny: consent.ReasonUsagePoint},
		{rule: "a point that does not exist", ask: func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{"UP-X"} }, deny: consent.ReasonUsagePoint},
		{rule: "another register", ask: func(a *consent.Access) { a.Registers = []meter.Register{meter.ActiveExport} }, deny: consent.ReasonRegister},
		{rule: "one register too many", ask: func(a *consent.Access) { a.Registers = []meter.Register{meter.ActiveImport, meter.ActiveExport} }, deny: consent.ReasonRegister},
		{rule: "a second before the history", ask: span(t0-90*day-1, t0), deny: consent.ReasonRange},
		{
			rule:  "a second after the data range",
			terms: func(c *consent.Terms) { c.DataUntil = t0 - 5*day },
			ask:   span(t0-20*day, t0-5*day+1), deny: consent.ReasonRange,
		},
		{rule: "an empty range", ask: span(t0-day, t0-day), deny: consent.ReasonRangeEmpty},
		{rule: "a reversed range", ask: span(t0, t0-day), deny: consent.ReasonRangeEmpty},
		{rule: "400 days and a second", terms: func(c *consent.Terms) { c.DataFrom = t0 - 800*day }, ask: span(t0-400*day-1, t0), deny: consent.ReasonRangeTooLong},
		{rule: "the future", ask: span(t0+1, t0+day), deny: consent.ReasonRangeFuture},
		{rule: "only the former occupant's time", ask: span(movedIn-5*day, movedIn), deny: consent.ReasonRange},

		{rule: "another's consent", ask: func(a *consent.Access) { a.Recipient = rival }, deny: consent.ReasonNotConsented},
		{rule: "a consent that does not exist", ask: func(a *consent.Access) { a.Consent = "0" }, deny: consent.ReasonNotConsented},
	} {
		t.Run(test.rule, func(t *testing.T) {
			w := newWorld(t)
			terms := advice()
			if test.terms != nil {
				test.terms(&terms)
			}
			a := w.asks(w.granted(terms))
			if test.ask != nil {
				test.ask(&a)
			}
			if test.deny == "" {
				w.allow(a)
				return
			}
			w.deny(test.deny, a)
		})
	}
}

// Only a granted consent opens. It would catch a state that is taken for live.
func TestPolicyByState(t *testing.T) {
	w := newWorld(t)
	requested := w.request(adviser, up1, advice())
	w.deny(consent.ReasonNotConsented, w.asks(requested))

	denied := w.request(adviser, up1, advice())
	if _, _, err := w.service.Deny(t.Context(), w.once(), home, denied); err != nil {
		t.Fatal(err)
	}
	w.deny(consent.ReasonNotConsented, w.asks(denied))

	live := w.granted(advice())
	w.allow(w.asks(live))
	w.revoke(live)
	w.deny(consent.ReasonRevoked, w.asks(live))
}

// Revocation holds for the very next read, and by leaf order alone: after the
// leaf of the revocation no access under the consent stands in the log, however
// many run at the same moment. It would catch a check that is made before the
// sequencing transaction.
func TestRevokeThenRead(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	asks := make([]consent.Access, 40)
	for i := range asks {
		asks[i] = w.asks(id)
	}
	done := make(chan error)
	for i, a := range asks {
		go func() {
			if i == len(asks)/2 {
				_, _, err := w.service.Revoke(t.Context(), "revoke", home, id)
				done <- err
				return
			}
			_, err := w.gate.Admit(t.Context(), a)
			if errors.Is(err, consent.ErrRefused) {
				err = nil
			}
			done <- err
		}()
	}
	for range asks {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	w.deny(consent.ReasonRevoked, w.asks(id))

	revoked := false
	for _, leaf := range w.ledger.Payloads() {
		switch {
		case leaf.Kind == ledger.KindConsentRevoke:
			revoked = true
		case leaf.Kind == ledger.KindAccess && revoked:
			t.Error("an access stands after the revocation of its consent")
		}
	}
}

// What does not exist, is another's, or was never granted looks the same to the
// caller, the leaf included, which names no household. It would catch a refusal
// that tells a stranger whether a home or a consent exists.
func TestRefusalsTellNothing(t *testing.T) {
	w := newWorld(t)
	known := w.request(rival, up3, advice2(up3))
	w.grant(other, known)
	nobody := w.request(adviser, "UP-X", advice2())
	undecided := w.request(adviser, up1, advice2())

	var leaves []ledger.Payload
	for _, id := range []consent.ID{"does-not-exist", known, nobody, undecided} {
		leaf := w.deny(consent.ReasonNotConsented, w.asks(id))
		if leaf.Subject != "" || leaf.Terms != (ledger.Hash{}) {
			t.Error("the leaf of a refusal names what the recipient was never granted")
		}
		leaf.Consent, leaf.Time = "", 0
		leaves = append(leaves, leaf)
	}
	for _, leaf := range leaves[1:] {
		if a, b := describe(leaf), describe(leaves[0]); a != b {
			t.Errorf("two refusals differ:\n%s\n%s", a, b)
		}
	}
}

func advice2(points ...meter.UsagePoint) consent.Terms {
	terms := advice()
	terms.UsagePoints = points
	return terms
}

func describe(p ledger.Payload) string {
	p.Time = 1
	b, err := p.Encode()
	if err != nil {
		return err.Error()
	}
	return hex.EncodeToString(b)
}

// After its time a consent opens nothing, whether or not anyone has come by to
// write that down; the access that meets it writes both leaves. It would catch a
// permission that lives until a timer runs.
func TestExpiredConsent(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	w.now = t0 + 180*day - 1
	w.allow(w.asks(id))
	w.now++
	w.deny(consent.ReasonExpired, w.asks(id))
	leaves := w.ledger.Payloads()
	if n := len(leaves); leaves[n-2].Kind != ledger.KindConsentExpire || leaves[n-2].Consent != string(id) {
		t.Errorf("before the refusal stands %q, want the end of the consent", leaves[n-2].Kind)
	}
	if s := w.state(id); s != consent.Expired {
		t.Errorf("consent is %v", s)
	}
	before := len(leaves)
	w.deny(consent.ReasonExpired, w.asks(id))
	if n := len(w.ledger.Payloads()); n != before+1 {
		t.Errorf("a second refusal wrote %d leaves, want 1: a consent ends once", n-before)
	}
}

// An interval belongs to whoever lived at the usage point at its start: the
// permit ends at both moves, to the second, and the keys at the days they touch.
// It would catch the last tenant's curve leaking to the next, or the other way.
func TestOccupantChange(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())

	p := w.allow(w.asks(id, span(t0-80*day, t0)))
	want := []consent.Scope{{UsagePoint: up1, Registers: []meter.Register{meter.ActiveImport}, From: movedIn, Until: t0, Zone: "Europe/Zurich"}}
	if got := p.Scopes(); !sameScopes(got, want) {
		t.Errorf("scopes %+v, want %+v", got, want)
	}
	leaf := w.lastLeaf()
	if leaf.From != t0-80*day || leaf.Until != t0 {
		t.Error("the leaf does not name the range that was asked for")
	}
	if leaf.KeyFrom != int32(meter.DayOf(movedIn)) || leaf.KeyUntil != int32(meter.DayOf(t0-1)) {
		t.Errorf("the leaf names the days %d to %d", leaf.KeyFrom, leaf.KeyUntil)
	}
	if p.Covers(home, up1, meter.ActiveImport, movedIn-900, movedIn) || p.CoversDay(home, up1, meter.ActiveImport, meter.DayOf(movedIn-1)) {
		t.Error("the permit covers the former occupant's time")
	}

	// Home moves out in the middle of a day, five days on; another moves in.
	moveOut := t0 + 5*day + 12*3600 + 900
	w.ledger.Occupy(consent.Occupancy{UsagePoint: up1, Household: home, From: movedIn, Until: moveOut, Zone: "Europe/Zurich"})
	w.ledger.Occupy(consent.Occupancy{UsagePoint: up1, Household: "new", From: moveOut, Zone: "Europe/Zurich"})
	w.now = t0 + 20*day
	p = w.allow(w.asks(id, span(t0, t0+15*day)))
	if got := p.Scopes(); len(got) != 1 || got[0].From != t0 || got[0].Until != moveOut {
		t.Errorf("scopes %+v, want an end at the move", got)
	}
	if _, last := p.KeyDays(); last != meter.DayOf(moveOut) {
		t.Errorf("keys until %v, want the day of the move", last)
	}
	opened := meter.Series{UsagePoint: up1, Register: meter.ActiveImport, Start: moveOut - 1800, Length: 900, Values: []int64{1, 2, 3, 4}}
	if got := p.Trim(opened); len(got) != 1 || !slices.Equal(got[0].Values, []int64{1, 2}) {
		t.Errorf("trimmed to %v, want the two intervals before the move", got)
	}
	w.deny(consent.ReasonRange, w.asks(id, span(moveOut, t0+15*day)))

	// The former occupant's own consent never reaches into the home's time.
	theirs := w.request(adviser, up1, advice2())
	if _, _, err := w.service.Grant(t.Context(), w.once(), former, theirs, nil); !errors.Is(err, consent.ErrNotFound) {
		t.Errorf("a former occupant decided a request to the present one: %v", err)
	}
}

func sameScopes(a, b []consent.Scope) bool {
	return slices.EqualFunc(a, b, func(a, b consent.Scope) bool {
		return a.UsagePoint == b.UsagePoint && slices.Equal(a.Registers, b.Registers) && a.From == b.From && a.Until == b.Until && a.Zone == b.Zone
	})
}

// Who moves away and comes back has two scopes; who stays while the registry
// changes has one, and its days are whole. It would catch the time in between
// being read, or a day lost at a change of the grid.
func TestComingBack(t *testing.T) {
	w := newWorld(t)
	for _, o := range []consent.Occupancy{
		{UsagePoint: up1, Household: home, From: movedIn, Until: t0 - 20*day, Zone: "UTC", Node: "feeder-1"},
		{UsagePoint: up1, Household: "guest", From: t0 - 20*day, Until: t0 - 10*day, Zone: "UTC"},
		{UsagePoint: up1, Household: home, From: t0 - 10*day, Until: t0 - 5*day - 3600, Zone: "UTC", Node: "feeder-1"},
		{UsagePoint: up1, Household: home, From: t0 - 5*day - 3600, Until: t0 - 2*day, Zone: "UTC", Node: "feeder-2"},
		{UsagePoint: up1, Household: home, From: t0 - 2*day, Zone: "Europe/Zurich", Node: "feeder-2"},
	} {
		w.ledger.Occupy(o)
	}
	terms := advice()
	terms.Granularity = consent.Day
	p := w.allow(w.asks(w.granted(terms), span(t0-25*day, t0)))
	imports := []meter.Register{meter.ActiveImport}
	want := []consent.Scope{
		{UsagePoint: up1, Registers: imports, From: t0 - 25*day, Until: t0 - 20*day, Zone: "UTC"},
		{UsagePoint: up1, Registers: imports, From: t0 - 10*day, Until: t0 - 2*day, Zone: "UTC"},
		{UsagePoint: up1, Registers: imports, From: t0 - 2*day, Until: t0, Zone: "Europe/Zurich"},
	}
	if got := p.Scopes(); !sameScopes(got, want) {
		t.Errorf("scopes %+v, want %+v", got, want)
	}
	series, err := p.Disclose([]meter.Series{run(t0-30*day, 900, 96*30, 1)})
	if err != nil {
		t.Fatal(err)
	}
	days := 0
	for _, s := range series {
		days += len(s.Values)
	}
	if days != 5+8+1 { // the last scope ends 2 h into the second local day
		t.Errorf("%d whole days", days)
	}
}

// One point that was someone else's at the time does not spoil the others: the
// leaf and the permit name what is left. It would catch keys for a usage point
// at which the household did not live.
func TestPointOutsideOccupancyIsLeftOut(t *testing.T) {
	w := newWorld(t)
	terms := advice2(up1, up2)
	id := w.granted(terms)
	p := w.allow(w.asks(id, span(t0-50*day, movedIn), func(a *consent.Access) { a.UsagePoints = nil }))
	if leaf := w.lastLeaf(); !slices.Equal(leaf.UsagePoints, []string{string(up2)}) {
		t.Errorf("leaf names %v", leaf.UsagePoints)
	}
	if p.CoversDay(home, up1, meter.ActiveImport, meter.DayOf(movedIn-1)) || !p.CoversDay(home, up2, meter.ActiveImport, meter.DayOf(movedIn-1)) {
		t.Error("the permit does not follow the occupancies")
	}
}

// The leaf says how much could be opened: what is stored for whole UTC days, as
// keys are handed out. It would catch a count of the asked range alone.
func TestLeafCountsWholeDays(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	for d := range int64(5) {
		w.ledger.Store(consenttest.Block{Household: home, UsagePoint: up1, Register: meter.ActiveImport, Start: t0 - (d+1)*day, Length: 900, Count: 96})
		w.ledger.Store(consenttest.Block{Household: home, UsagePoint: up2, Register: meter.ActiveImport, Start: t0 - (d+1)*day, Length: 900, Count: 96})
	}
	w.allow(w.asks(id, span(t0-2*day+3600, t0-day+3600)))
	leaf := w.lastLeaf()
	if leaf.Intervals != 2*96 {
		t.Errorf("leaf counts %d intervals, want two whole days of one point", leaf.Intervals)
	}
	if leaf.KeyFrom != int32(meter.DayOf(t0-2*day)) || leaf.KeyUntil != int32(meter.DayOf(t0-day)) {
		t.Errorf("leaf names the days %d to %d", leaf.KeyFrom, leaf.KeyUntil)
	}
}

// No key is named for a day that has not begun. It would catch a leaf that opens
// tomorrow's data today.
func TestLeafEndsToday(t *testing.T) {
	w := newWorld(t)
	p := w.allow(w.asks(w.granted(advice()), span(t0-day, t0+100*day)))
	if leaf := w.lastLeaf(); leaf.KeyUntil != int32(meter.DayOf(t0)) || leaf.Until != t0+100*day {
		t.Errorf("leaf names days until %d and the range until %d", leaf.KeyUntil, leaf.Until)
	}
	if p.CoversDay(home, up1, meter.ActiveImport, meter.DayOf(t0)+1) {
		t.Error("the permit covers tomorrow")
	}
}

// A request id opens once. Repeated, it gives the first refusal again, and after
// a permit nothing; and one recipient's ids mean nothing for another. It would
// catch an old answer that is minted anew after the consent has ended.
func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	a := w.asks(id)
	w.allow(a)
	n := len(w.ledger.Payloads())
	if _, err := w.gate.Admit(t.Context(), a); !errors.Is(err, consent.ErrReplayed) {
		t.Errorf("repeated access: %v, want ErrReplayed", err)
	}
	if len(w.ledger.Payloads()) != n {
		t.Error("a repeated access wrote a leaf")
	}

	theirs := a
	theirs.Recipient = rival
	w.deny(consent.ReasonNotConsented, theirs)
	w.deny(consent.ReasonNotConsented, theirs) // the same refusal again
	theirs.From++
	if _, err := w.gate.Admit(t.Context(), theirs); !errors.Is(err, consent.ErrReplayed) {
		t.Errorf("another question under a used id: %v, want ErrReplayed", err)
	}
}

// A malformed access is an error before there is a leaf, since a leaf could not
// hold it. It would catch bytes from outside reaching the log unchecked.
func TestMalformedAccess(t *testing.T) {
	for name, spoil := range map[string]func(*consent.Access){
		"no request id":    func(a *consent.Access) { a.RequestID = "" },
		"long request id":  func(a *consent.Access) { a.RequestID = strings.Repeat("x", 65) },
		"recipient":        func(a *consent.Access) { a.Recipient = "an adviser" },
		"consent":          func(a *consent.Access) { a.Consent = "" },
		"purpose":          func(a *consent.Access) { a.Purpose = "Advice" },
		"usage point":      func(a *consent.Access) { a.UsagePoints = []meter.UsagePoint{"UP/1"} },
		"too many points":  func(a *consent.Access) { a.UsagePoints = manyPoints(consent.MaxUsagePoints + 1) },
		"before 1970":      span(-1, t0),
		"after year 9999":  span(t0, 1<<60),
		"length overflows": span(-1<<62, 1<<62),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.asks(w.granted(advice()), spoil)
			n := len(w.ledger.Payloads())
			if p, err := w.gate.Admit(t.Context(), a); !errors.Is(err, consent.ErrAccess) || p.Valid(w.clock()) == nil {
				t.Errorf("%v, want ErrAccess", err)
			}
			if len(w.ledger.Payloads()) != n {
				t.Error("a malformed access wrote a leaf")
			}
		})
	}
}

func manyPoints(n int) []meter.UsagePoint {
	points := make([]meter.UsagePoint, n)
	for i := range points {
		points[i] = meter.UsagePoint("UP-" + strings.Repeat("x", i%60) + string(rune('a'+i/60)))
	}
	return points
}

// Without a committed leaf and a signed checkpoint there is no permit. It would
// catch a gate that answers before the record.
func TestNoPermitWithoutRecord(t *testing.T) {
	w := newWorld(t)
	id := w.granted(advice())
	down := errors.New("ledger is down")
	for name, l := range map[string]broken{
		"ledger fails":      {Ledger: w.ledger, err: down},
		"leaf not signed":   {Ledger: w.ledger, spoil: func(r *ledger.Receipt) { r.Checkpoint = nil }},
		"leaf unreadable":   {Ledger: w.ledger, spoil: func(r *ledger.Receipt) { r.Payload = nil }},
		"another leaf back": {Ledger: w.ledger, spoil: func(r *ledger.Receipt) { r.Index++ }},
		"another in its place": {Ledger: w.ledger, spoil: func(r *ledger.Receipt) {
			p, err := ledger.DecodePayload(r.Payload)
			if err != nil {
				t.Error(err)
			}
			p.Time++
			if r.Payload, err = p.Encode(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := consent.NewGate(l, w.clock).Admit(t.Context(), w.asks(id))
			if err == nil || p.Valid(w.clock()) == nil {
				t.Errorf("error %v, permit valid: %v", err, p.Valid(w.clock()) == nil)
			}
			p, err = consent.NewGate(l, w.clock).AdmitSelf(t.Context(), consent.SelfAccess{Household: home, Session: ledger.Hash{byte(len(name))}})
			if !strings.HasPrefix(name, "another") && (err == nil || p.Valid(w.clock()) == nil) {
				t.Errorf("self: error %v, permit valid: %v", err, p.Valid(w.clock()) == nil)
			}
		})
	}
}

// broken is a ledger that loses what it is told to.
type broken struct {
	*consenttest.Ledger
	err   error
	spoil func(*ledger.Receipt)
}

func (b broken) Propose(ctx context.Context, id string, fn func(context.Context, *consenttest.Tx, ledger.Position) (ledger.Payload, error)) (ledger.Receipt, error) {
	if b.err != nil {
		return ledger.Receipt{}, b.err
	}
	r, err := b.Ledger.Propose(ctx, id, fn)
	if err == nil {
		b.spoil(&r)
	}
	return r, err
}

// A permit lasts a minute by the gate's clock. It would catch one that is kept.
func TestPermitLifetime(t *testing.T) {
	w := newWorld(t)
	p := w.allow(w.asks(w.granted(advice())))
	for _, test := range []struct {
		after time.Duration
		want  error
	}{
		{0, nil},
		{consent.PermitLifetime - 1, nil},
		{consent.PermitLifetime, consent.ErrPermitExpired},
		{24 * time.Hour, consent.ErrPermitExpired},
		{-consent.PermitLifetime, consent.ErrPermitExpired},
	} {
		if err := p.Valid(w.clock().Add(test.after)); !errors.Is(err, test.want) {
			t.Errorf("after %v: %v, want %v", test.after, err, test.want)
		}
	}
}
