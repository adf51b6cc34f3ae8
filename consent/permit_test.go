package consent_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// The zero permit, and what a decoder makes of one, opens nothing. It would
// catch a permit that can be had without the gate.
func TestZeroPermit(t *testing.T) {
	w := newWorld(t)
	real := w.allow(w.asks(w.granted(advice())))
	text, err := json.Marshal(real) //nolint:staticcheck // that nothing of it can be written is the point
	if err != nil {
		t.Fatal(err)
	}
	var decoded consent.Permit
	if err := json.Unmarshal(text, &decoded); err != nil { //nolint:staticcheck // nor read
		t.Fatal(err)
	}
	for name, p := range map[string]consent.Permit{"zero": {}, "decoded": decoded} {
		for _, now := range []time.Time{w.clock(), {}} {
			if err := p.Valid(now); !errors.Is(err, consent.ErrNoPermit) {
				t.Errorf("%s permit: %v, want ErrNoPermit", name, err)
			}
		}
		if p.Covers(home, up1, meter.ActiveImport, t0-day, t0) || p.Covers("", "", meter.Register{}, 0, 1) ||
			p.CoversDay(home, up1, meter.ActiveImport, meter.DayOf(t0-1)) || p.CoversDay("", "", meter.Register{}, 0) {
			t.Errorf("%s permit covers something", name)
		}
		if got := p.Trim(meter.Series{UsagePoint: up1, Register: meter.ActiveImport, Start: t0 - day, Length: 900, Values: []int64{1}}); got != nil {
			t.Errorf("%s permit leaves %v", name, got)
		}
		if _, err := p.Disclose(nil); !errors.Is(err, consent.ErrNoPermit) {
			t.Errorf("%s permit discloses: %v", name, err)
		}
	}
}

// A permit covers its household, points, registers and range, to the second. It
// would catch a bound that is off by one, or a household that is not compared.
func TestCovers(t *testing.T) {
	w := newWorld(t)
	from, until := t0-10*day+3600, t0-5*day+3600
	p := w.allow(w.asks(w.granted(advice()), span(from, until)))
	exp := meter.ActiveExport
	for _, test := range []struct {
		name       string
		h          consent.Household
		up         meter.UsagePoint
		r          meter.Register
		start, end int64
		want       bool
	}{
		{"all of it", home, up1, meter.ActiveImport, from, until, true},
		{"one second", home, up1, meter.ActiveImport, until - 1, until, true},
		{"before", home, up1, meter.ActiveImport, from - 1, until, false},
		{"after", home, up1, meter.ActiveImport, from, until + 1, false},
		{"empty", home, up1, meter.ActiveImport, from, from, false},
		{"another household", other, up1, meter.ActiveImport, from, until, false},
		{"another point", home, up2, meter.ActiveImport, from, until, false},
		{"another register", home, up1, exp, from, until, false},
	} {
		if got := p.Covers(test.h, test.up, test.r, test.start, test.end); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	first, last := p.KeyDays()
	if first != meter.DayOf(from) || last != meter.DayOf(until) {
		t.Errorf("days %v to %v", first, last)
	}
	for d := first - 2; d <= last+2; d++ {
		if got, want := p.CoversDay(home, up1, meter.ActiveImport, d), first <= d && d <= last; got != want {
			t.Errorf("%v: %v", d, got)
		}
	}
}

// What a permit hands out cannot widen it. It would catch a shared slice.
func TestScopesAreCopies(t *testing.T) {
	w := newWorld(t)
	p := w.allow(w.asks(w.granted(advice())))
	s := p.Scopes()
	s[0].Until += day
	s[0].Registers[0] = meter.ActiveExport
	if p.Covers(home, up1, meter.ActiveImport, t0-day, t0+day) || p.Covers(home, up1, meter.ActiveExport, t0-day, t0) {
		t.Error("changing what Scopes returned changed the permit")
	}
}
