package consent_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

func (w *world) self(h consent.Household, session byte) consent.Permit {
	w.Helper()
	p, err := w.gate.AdmitSelf(w.Context(), consent.SelfAccess{Household: h, Session: ledger.Hash{session}})
	if err != nil {
		w.Fatalf("own access: %v", err)
	}
	if err := p.Valid(w.clock()); err != nil {
		w.Fatalf("fresh permit: %v", err)
	}
	return p
}

// A household's own reading is one leaf a session and UTC day, of purpose self,
// naming all its points and history and no recipient. It would catch a leaf a
// page view, a day without one, or one session hiding behind another's.
func TestSelfLeaves(t *testing.T) {
	w := newWorld(t)
	leaves := func(want int) {
		t.Helper()
		if n := len(w.ledger.Payloads()); n != want {
			t.Errorf("%d leaves, want %d", n, want)
		}
	}
	first := w.self(home, 1)
	leaf := w.lastLeaf()
	if leaf.Kind != ledger.KindAccess || leaf.Purpose != consent.PurposeSelf || leaf.Subject != string(home) || leaf.Recipient != "" ||
		leaf.Session != (ledger.Hash{1}) || leaf.Granularity != "interval" {
		t.Errorf("leaf %+v", leaf)
	}
	if !slices.Equal(leaf.UsagePoints, []string{string(up1), string(up2)}) || len(leaf.Registers) != 0 ||
		leaf.From != t0-60*day || leaf.Until != t0+day ||
		leaf.KeyFrom != int32(meter.DayOf(t0-60*day)) || leaf.KeyUntil != int32(meter.DayOf(t0)) {
		t.Errorf("leaf names %v %v, %d to %d, days %d to %d", leaf.UsagePoints, leaf.Registers, leaf.From, leaf.Until, leaf.KeyFrom, leaf.KeyUntil)
	}

	w.now += 3600
	again := w.self(home, 1)
	leaves(1)
	if again.Receipt().Index != first.Receipt().Index || !sameScopes(again.Scopes(), first.Scopes()) {
		t.Error("the second permit of the day is not that of the same leaf")
	}
	if !errors.Is(first.Valid(w.clock()), consent.ErrPermitExpired) {
		t.Error("the first permit outlived its minute")
	}
	w.self(home, 2)
	leaves(2)
	w.self(other, 1)
	leaves(3)
	w.now = t0 + day
	w.self(home, 1)
	leaves(4)
}

// Own data is what was metered while one lived there, every register of it. It
// would catch the last tenant's curve, or a register that is left out.
func TestSelfScopes(t *testing.T) {
	w := newWorld(t)
	p := w.self(home, 1)
	want := []consent.Scope{
		{UsagePoint: up1, From: movedIn, Until: t0 + day, Zone: "Europe/Zurich"},
		{UsagePoint: up2, From: t0 - 60*day, Until: t0 + day, Zone: "Europe/Zurich"},
	}
	if got := p.Scopes(); !sameScopes(got, want) {
		t.Errorf("scopes %+v, want %+v", got, want)
	}
	for _, r := range []meter.Register{meter.ActiveImport, meter.ActiveExport, power} {
		if !p.Covers(home, up1, r, movedIn, t0) || p.Covers(home, up1, r, movedIn-1, t0) || p.Covers(former, up1, r, movedIn, t0) {
			t.Errorf("%v is not covered exactly", r)
		}
	}
	if old := w.self(former, 1).Scopes(); len(old) != 1 || old[0].From != t0-1000*day || old[0].Until != movedIn {
		t.Errorf("the former occupant reads %+v, want its own history", old)
	}
}

// A later permit of the day follows a move, and never reaches beyond what the
// leaf named. It would catch a session that keeps reading the next occupant's
// data until midnight, or keys that no leaf names.
func TestSelfAfterMove(t *testing.T) {
	w := newWorld(t)
	w.self(home, 1)
	w.now += 12 * 3600
	w.ledger.Occupy(consent.Occupancy{UsagePoint: up1, Household: home, From: movedIn, Until: w.now, Zone: "Europe/Zurich"})
	w.ledger.Occupy(consent.Occupancy{UsagePoint: "UP-7", Household: home, From: w.now, Zone: "Europe/Zurich"})
	// A stay long ago, at a point that the leaf names, becomes known only now.
	w.ledger.Occupy(consent.Occupancy{UsagePoint: up2, Household: home, From: t0 - 90*day, Until: t0 - 80*day, Zone: "Europe/Zurich"})
	got := w.self(home, 1).Scopes()
	want := []consent.Scope{
		{UsagePoint: up1, From: movedIn, Until: w.now, Zone: "Europe/Zurich"},
		{UsagePoint: up2, From: t0 - 60*day, Until: t0 + day, Zone: "Europe/Zurich"},
	}
	if !sameScopes(got, want) {
		t.Errorf("scopes %+v, want %+v", got, want)
	}
	w.now = t0 + day
	if got := w.self(home, 1).Scopes(); len(got) != 4 {
		t.Errorf("the next day's leaf has %d scopes, want the new ones too", len(got))
	}
}

// The leaf falls on the day it stands for, even if the clock passes midnight on
// the way. It would catch a leaf of yesterday that opens all of today.
func TestSelfAtMidnight(t *testing.T) {
	w := newWorld(t)
	late := consent.NewGate(w.ledger, func() time.Time { return w.clock().Add(-time.Second) }) // the gate's clock is behind
	p, err := late.AdmitSelf(t.Context(), consent.SelfAccess{Household: home, Session: ledger.Hash{1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, last := p.KeyDays(); last != meter.DayOf(t0) {
		t.Errorf("keys until %v, want the day of the leaf", last)
	}
	w.self(home, 1)
	if n := len(w.ledger.Payloads()); n != 1 {
		t.Errorf("%d leaves of one day", n)
	}
}

// Without a household, a session or a home there is nothing to read.
func TestSelfRefused(t *testing.T) {
	w := newWorld(t)
	w.ledger.Occupy(consent.Occupancy{UsagePoint: "UP-8", Household: "future", From: t0 + 2*day, Zone: "UTC"})
	for _, test := range []struct {
		name string
		a    consent.SelfAccess
		want error
	}{
		{"no household", consent.SelfAccess{Session: ledger.Hash{1}}, consent.ErrAccess},
		{"no session", consent.SelfAccess{Household: home}, consent.ErrAccess},
		{"unknown household", consent.SelfAccess{Household: "nobody", Session: ledger.Hash{1}}, consent.ErrNotFound},
		{"not moved in yet", consent.SelfAccess{Household: "future", Session: ledger.Hash{1}}, consent.ErrNotFound},
	} {
		p, err := w.gate.AdmitSelf(t.Context(), test.a)
		if !errors.Is(err, test.want) || p.Valid(w.clock()) == nil {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if n := len(w.ledger.Payloads()); n != 0 {
		t.Errorf("%d leaves", n)
	}
}
