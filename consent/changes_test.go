package consent_test

import (
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// The steps that a UTC day touches are whole, hold it, and are the fewest, also where
// clocks change. It would catch a correction whose sum is given anew only in part.
func TestWhole(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Zurich", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := meter.DayOf(time.Date(2011, 12, 1, 0, 0, 0, 0, time.UTC).Unix()); d.String() < "2018-12-01"; d++ {
			for g := consent.Interval; g <= consent.Month; g++ {
				from, until := g.Whole(d, zone)
				if from > d.Start() || until < d.End() {
					t.Fatalf("%s, %s by %s: %d to %d", name, d, g, from, until)
				}
				if g <= consent.Hour {
					continue
				}
				first, next := g.Step(from, zone)
				last, end := g.Step(until-1, zone)
				if first != from || end != until || next <= d.Start() || last >= d.End() {
					t.Fatalf("%s, %s by %s: [%d, %d) is not of whole steps that touch it", name, d, g, from, until)
				}
			}
		}
	}
}

// A permit that was cut opens and discloses what lies in both, and no sum of a part. It
// would catch a cut by which two answers could be subtracted.
func TestPermitWithin(t *testing.T) {
	w := newWorld(t)
	less := advice()
	less.Granularity = consent.Hour
	id := w.granted(less)
	permit, err := w.gate.Admit(t.Context(), w.asks(id))
	if err != nil {
		t.Fatal(err)
	}
	scope := permit.Scopes()[0]
	hour := (scope.From/3600 + 2) * 3600
	s := meter.Series{UsagePoint: scope.UsagePoint, Register: scope.Registers[0], Start: hour - 3600, Length: 900, Values: make([]int64, 12)}
	for what, c := range map[string]struct {
		from, until int64
		sums        int
	}{
		"an hour":           {hour, hour + 3600, 1},
		"most of an hour":   {hour, hour + 3599, 0},
		"two and parts":     {hour - 1, hour + 2*3600 + 1, 2},
		"nothing":           {hour, hour, 0},
		"before the scope":  {0, scope.From, 0},
		"all and more":      {0, hour + 100*86400, 3},
		"the other way":     {hour + 3600, hour, 0},
		"after the scope":   {scope.Until, scope.Until + 86400, 0},
		"a quarter of hour": {hour + 900, hour + 1800, 0},
	} {
		cut := permit.Within(c.from, c.until)
		out, err := cut.Disclose([]meter.Series{s})
		n := 0
		for _, o := range out {
			n += o.Present()
		}
		if err != nil || n != c.sums {
			t.Errorf("%s: %d sums, %v; want %d", what, n, err, c.sums)
		}
		if cut.Covers(permit.Household(), scope.UsagePoint, scope.Registers[0], scope.From, scope.Until) && !permit.Covers(permit.Household(), scope.UsagePoint, scope.Registers[0], scope.From, scope.Until) {
			t.Errorf("%s: covers more than before", what)
		}
	}
	if got := permit.Scopes()[0]; got.From != scope.From || got.Until != scope.Until {
		t.Error("the permit itself was cut")
	}
	if err := (consent.Permit{}).Within(0, 1<<40).Valid(w.clock()); err == nil {
		t.Error("no permit became one")
	}
}
