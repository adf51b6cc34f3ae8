package consenttest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Store is one empty store under test, and the doors through which the suite
// sets it up; each commits before it returns.
type Store[T consent.Tx] struct {
	// Transact runs fn in a transaction, as ledger.Store does.
	Transact func(ctx context.Context, fn func(ctx context.Context, tx T) error) error
	// Recipient makes a recipient known; nil if the store needs no such thing.
	Recipient func(t *testing.T, r consent.Recipient)
	// Occupy records an occupancy, with all that the store wants to exist first.
	Occupy func(t *testing.T, o consent.Occupancy)
	// Block stores a block with this metadata, of a household that occupies.
	Block func(t *testing.T, b Block)
}

const (
	day  = 24 * 3600
	t0   = 17000 * int64(day) // 2016-07-18T00:00:00Z
	home = consent.Household("home-1")
	next = consent.Household("home-2")
	up1  = meter.UsagePoint("CH:1.a_b-2")
	up2  = meter.UsagePoint("CH:2")
)

var (
	adviser = consent.Recipient("adviser")
	other   = consent.Recipient("other")
)

// TestTx runs the contract of consent.Tx against stores that open makes, one
// empty store for each call.
func TestTx[T consent.Tx](t *testing.T, open func(t *testing.T) Store[T]) {
	for _, test := range []struct {
		name string
		run  func(s suite[T], t *testing.T)
	}{
		{"Consents", suite[T].consents},
		{"RolledBack", suite[T].rolledBack},
		{"Due", suite[T].due},
		{"OpenRequests", suite[T].openRequests},
		{"Occupancies", suite[T].occupancies},
		{"StoredIntervals", suite[T].storedIntervals},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := suite[T]{open(t)}
			if s.Recipient != nil {
				s.Recipient(t, adviser)
				s.Recipient(t, other)
			}
			test.run(s, t)
		})
	}
}

type suite[T consent.Tx] struct{ Store[T] }

func (s suite[T]) do(t *testing.T, fn func(ctx context.Context, tx T) error) {
	t.Helper()
	if err := s.Transact(t.Context(), fn); err != nil {
		t.Fatalf("transaction: %v", err)
	}
}

func (s suite[T]) put(t *testing.T, cs ...consent.Consent) {
	t.Helper()
	s.do(t, func(ctx context.Context, tx T) error {
		for _, c := range cs {
			if err := tx.PutConsent(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// sample is a valid consent with every field set to something telling.
func sample(id consent.ID, state consent.State) consent.Consent {
	c := consent.Consent{
		ID: id, Household: home, Recipient: adviser, State: state,
		Terms: consent.Terms{
			Purpose:         consent.Purpose{Code: "advice.v1", Text: "Nous cherchons où vous pourriez épargner.\nRien d’autre."},
			UsagePoints:     []meter.UsagePoint{up1, up2},
			Registers:       []meter.Register{meter.ActiveImport, meter.ActiveExport},
			Granularity:     consent.Day,
			DataFrom:        t0 - 400*day,
			DataUntil:       t0 + 400*day,
			PermissionUntil: t0 + 365*day,
		},
		RequestedAt: t0 + 1,
	}
	c.Asked = c.Terms
	c.Asked.UsagePoints, c.Asked.Granularity, c.Asked.Future = nil, consent.Interval, true
	switch state {
	case consent.Requested, consent.Granted:
	case consent.Suspended:
		c.Cause = consent.ByRegulator
	case consent.Expired:
		c.EndedAt, c.Cause = t0+3, consent.ByExpiry
	default:
		c.EndedAt, c.Cause = t0+4, consent.ByHousehold
	}
	if state != consent.Requested {
		c.DecidedAt = t0 + 2
	}
	if state == consent.Fulfilled || state == consent.Suspended {
		c.FirstReadAt, c.VacatedAt = t0+5, t0+300*day
	}
	return c
}

// consents: what was put last is what is read, whole, in the same transaction
// and the next. It would catch a column that is forgotten, cut short, or mapped
// to its neighbour.
func (s suite[T]) consents(t *testing.T) {
	s.Occupy(t, consent.Occupancy{UsagePoint: up1, Household: home, From: t0, Zone: "Europe/Zurich", Node: "feeder-1"})
	nobody := sample("nobody", consent.Requested)
	nobody.Household = ""
	nobody.Terms.UsagePoints = nil
	long := sample(consent.ID(strings.Repeat("x", consent.MaxIdentifier)), consent.Granted)
	long.Terms.Purpose.Text = strings.Repeat("é", consent.MaxPurposeText/2)
	for _, want := range []consent.Consent{
		sample("requested", consent.Requested),
		sample("granted", consent.Granted),
		sample("denied", consent.Denied),
		sample("revoked", consent.Revoked),
		sample("expired", consent.Expired),
		sample("suspended", consent.Suspended),
		sample("terminated", consent.Terminated),
		sample("fulfilled", consent.Fulfilled),
		sample("invalid", consent.Invalid),
		nobody, long,
	} {
		s.do(t, func(ctx context.Context, tx T) error {
			if _, err := tx.Consent(ctx, want.ID); !errors.Is(err, consent.ErrNotFound) {
				t.Errorf("consent %s before it is put: %v, want ErrNotFound", want.ID, err)
			}
			if err := tx.PutConsent(ctx, want); err != nil {
				return err
			}
			check(ctx, t, tx, want)
			return nil
		})
		s.do(t, func(ctx context.Context, tx T) error { check(ctx, t, tx, want); return nil })
	}

	replaced := sample("requested", consent.Granted)
	replaced.Terms.UsagePoints = []meter.UsagePoint{up2}
	replaced.Terms.Granularity = consent.Month
	s.put(t, replaced)
	s.do(t, func(ctx context.Context, tx T) error { check(ctx, t, tx, replaced); return nil })

	narrowed := replaced // the terms alone change, in every way in which they can
	narrowed.Terms.Registers = []meter.Register{meter.ActiveExport}
	narrowed.Terms.DataFrom += day
	narrowed.Terms.DataUntil -= day
	narrowed.Terms.PermissionUntil -= day
	s.put(t, narrowed)
	s.do(t, func(ctx context.Context, tx T) error { check(ctx, t, tx, narrowed); return nil })
}

func check(ctx context.Context, t *testing.T, tx consent.Tx, want consent.Consent) {
	t.Helper()
	got, err := tx.Consent(ctx, want.ID)
	if err != nil {
		t.Errorf("reading consent %s: %v", want.ID, err)
		return
	}
	if !reflect.DeepEqual(got.Terms.Encode(), want.Terms.Encode()) {
		t.Errorf("consent %s: terms changed in the store", want.ID)
	}
	got.Terms, want.Terms = consent.Terms{}, consent.Terms{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("consent %s: read %+v, want %+v", want.ID, got, want)
	}
}

// rolledBack: a transaction that fails changes nothing. It would catch a write
// that goes around the transaction, and so a state without its leaf.
func (s suite[T]) rolledBack(t *testing.T) {
	s.Occupy(t, consent.Occupancy{UsagePoint: up1, Household: home, From: t0, Zone: "UTC", Node: "feeder-1"})
	kept := sample("kept", consent.Granted)
	s.put(t, kept)
	stop := errors.New("stop")
	err := s.Transact(t.Context(), func(ctx context.Context, tx T) error {
		if err := tx.PutConsent(ctx, sample("kept", consent.Revoked)); err != nil {
			return err
		}
		if err := tx.PutConsent(ctx, sample("new", consent.Requested)); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatalf("transaction: %v, want the error of its function", err)
	}
	s.do(t, func(ctx context.Context, tx T) error {
		check(ctx, t, tx, kept)
		if _, err := tx.Consent(ctx, "new"); !errors.Is(err, consent.ErrNotFound) {
			t.Errorf("consent of the failed transaction: %v, want ErrNotFound", err)
		}
		return nil
	})
}

// due: the earliest deadline first, at its very second, and nothing that has
// ended. It would catch an index that is not kept up when a consent changes.
func (s suite[T]) due(t *testing.T) {
	s.Occupy(t, consent.Occupancy{UsagePoint: up1, Household: home, From: t0, Zone: "UTC", Node: "feeder-1"})
	first, second := sample("first", consent.Granted), sample("second", consent.Requested)
	first.Terms.PermissionUntil = t0 + 10*day
	second.Terms.PermissionUntil = t0 + 20*day
	s.put(t, second, first, sample("denied", consent.Denied), sample("revoked", consent.Revoked), sample("expired", consent.Expired))

	dueAt := func(at int64, want consent.ID) {
		t.Helper()
		s.do(t, func(ctx context.Context, tx T) error {
			c, err := tx.DueConsent(ctx, at)
			if want == "" && errors.Is(err, consent.ErrNotFound) {
				return nil
			}
			if err != nil || c.ID != want {
				t.Errorf("due at t0%+ds: %q, %v, want %q", at-t0, c.ID, err, want)
			}
			return nil
		})
	}
	dueAt(t0+10*day-1, "")
	dueAt(t0+10*day, "first")
	dueAt(t0+30*day, "first")
	first.State, first.EndedAt = consent.Expired, t0+10*day
	s.put(t, first)
	dueAt(t0+20*day-1, "")
	dueAt(t0+20*day, "second")
	second.State, second.DecidedAt = consent.Granted, t0+3 // granted for longer than a request lives
	second.Terms.PermissionUntil = t0 + 100*day
	s.put(t, second)
	dueAt(t0+100*day-1, "")
	dueAt(t0+100*day, "second")
	second.Terms.PermissionUntil = t0 + 50*day // narrowed
	s.put(t, second)
	dueAt(t0+50*day-1, "")
	dueAt(t0+50*day, "second")
}

// openRequests counts the undecided requests of one recipient. It would catch a
// count that never falls again, and so a recipient locked out for good.
func (s suite[T]) openRequests(t *testing.T) {
	s.Occupy(t, consent.Occupancy{UsagePoint: up1, Household: home, From: t0, Zone: "UTC", Node: "feeder-1"})
	open := func(r consent.Recipient, want int) {
		t.Helper()
		s.do(t, func(ctx context.Context, tx T) error {
			if n, err := tx.OpenRequests(ctx, r); err != nil || n != want {
				t.Errorf("open requests: %d, %v, want %d", n, err, want)
			}
			return nil
		})
	}
	open(adviser, 0)
	nobody := sample("b", consent.Requested)
	nobody.Household = ""
	theirs := sample("c", consent.Requested)
	theirs.Recipient = other
	s.put(t, sample("a", consent.Requested), nobody, theirs, sample("d", consent.Denied), sample("e", consent.Granted))
	open(adviser, 2)
	open(other, 1)
	s.put(t, sample("a", consent.Granted))
	open(adviser, 1)
}

// occupancies: whoever moves in at an instant lives there from that very second,
// whoever moves out no longer does. It would catch an overlap of one second in
// which two households share a meter.
func (s suite[T]) occupancies(t *testing.T) {
	all := []consent.Occupancy{
		{UsagePoint: up1, Household: home, From: t0, Until: t0 + 10*day, Zone: "Europe/Zurich", Node: "feeder-1"},
		{UsagePoint: up1, Household: next, From: t0 + 10*day, Zone: "Europe/Zurich", Node: "feeder-1"},
		{UsagePoint: up2, Household: home, From: t0 + 2*day, Until: t0 + 5*day, Zone: "Asia/Kolkata", Node: "feeder-2"},
		{UsagePoint: up2, Household: home, From: t0 + 20*day, Zone: "Asia/Kolkata", Node: "feeder-2"},
	}
	for _, o := range all {
		s.Occupy(t, o)
	}
	for _, test := range []struct {
		point meter.UsagePoint
		at    int64
		want  consent.Household
	}{
		{up1, t0 - 1, ""},
		{up1, t0, home},
		{up1, t0 + 10*day - 1, home},
		{up1, t0 + 10*day, next},
		{up1, t0 + 5000*day, next},
		{up2, t0 + 5*day - 1, home},
		{up2, t0 + 5*day, ""}, // empty until they come back
		{up2, t0 + 20*day, home},
		{"unknown", t0, ""},
	} {
		s.do(t, func(ctx context.Context, tx T) error {
			h, err := tx.OccupantOf(ctx, test.point, test.at)
			if test.want == "" {
				if !errors.Is(err, consent.ErrNotFound) {
					t.Errorf("%s at t0%+ds: %q, %v, want ErrNotFound", test.point, test.at-t0, h, err)
				}
				return nil
			}
			if err != nil || h != test.want {
				t.Errorf("%s at t0%+ds: %q, %v, want %q", test.point, test.at-t0, h, err, test.want)
			}
			return nil
		})
	}
	for h, want := range map[consent.Household][]consent.Occupancy{
		home:      {all[0], all[2], all[3]},
		next:      {all[1]},
		"unknown": nil,
	} {
		s.do(t, func(ctx context.Context, tx T) error {
			got, err := tx.Occupancies(ctx, h)
			if err != nil {
				return err
			}
			slices.SortFunc(got, func(a, b consent.Occupancy) int { return int(a.From - b.From) })
			if !slices.Equal(got, want) {
				t.Errorf("occupancies of %s: %+v, want %+v", h, got, want)
			}
			return nil
		})
	}
}

// storedIntervals counts what keys of whole days could open, and never less. It
// would catch a count that leaves out revisions or the edges of the range, and a
// leaf that says too little.
func (s suite[T]) storedIntervals(t *testing.T) {
	s.Occupy(t, consent.Occupancy{UsagePoint: up1, Household: home, From: t0, Until: t0 + 10*day, Zone: "UTC", Node: "feeder-1"})
	s.Occupy(t, consent.Occupancy{UsagePoint: up1, Household: next, From: t0 + 10*day, Zone: "UTC", Node: "feeder-1"})
	s.Occupy(t, consent.Occupancy{UsagePoint: up2, Household: home, From: t0, Zone: "UTC", Node: "feeder-2"})
	for _, b := range []Block{
		{home, up1, meter.ActiveImport, t0, 900, 96, 0},
		{home, up1, meter.ActiveImport, t0, 900, 96, 1}, // replaced revisions open too
		{home, up1, meter.ActiveImport, t0 + day, 900, 1, 0},
		{home, up1, meter.ActiveImport, t0 + 2*day - 900, 900, 1, 0},
		{home, up1, meter.ActiveExport, t0, 1800, 48, 0},
		{home, up2, meter.ActiveImport, t0, 3600, 24, 0},
		{next, up1, meter.ActiveImport, t0 + 10*day, 900, 5, 0},
	} {
		s.Block(t, b)
	}
	imp, exp := []meter.Register{meter.ActiveImport}, []meter.Register{meter.ActiveExport}
	both := []meter.UsagePoint{up1, up2}
	for _, test := range []struct {
		name        string
		household   consent.Household
		points      []meter.UsagePoint
		registers   []meter.Register
		from, until int64
		want        uint64
	}{
		{"one day", home, []meter.UsagePoint{up1}, imp, t0, t0 + day, 192},
		{"two days", home, []meter.UsagePoint{up1}, imp, t0, t0 + 2*day, 194},
		{"the second alone", home, []meter.UsagePoint{up1}, imp, t0 + day, t0 + 2*day, 2},
		{"other register", home, []meter.UsagePoint{up1}, exp, t0, t0 + day, 48},
		{"two registers", home, []meter.UsagePoint{up1}, append(exp, imp...), t0, t0 + day, 240},
		{"all registers", home, []meter.UsagePoint{up1}, nil, t0, t0 + day, 240},
		{"two points", home, both, nil, t0, t0 + day, 264},
		{"no point", home, nil, nil, t0, t0 + day, 0},
		{"nothing stored", home, both, nil, t0 + 5*day, t0 + 9*day, 0},
		{"not the next household's", home, both, nil, t0, t0 + 20*day, 266},
		{"only the next household's", next, both, nil, t0, t0 + 20*day, 5},
	} {
		s.do(t, func(ctx context.Context, tx T) error {
			n, err := tx.StoredIntervals(ctx, test.household, test.points, test.registers, test.from, test.until)
			if err != nil || n != test.want {
				t.Errorf("%s: %d, %v, want %d", test.name, n, err, test.want)
			}
			return nil
		})
	}
}
