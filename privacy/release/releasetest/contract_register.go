package releasetest

import (
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
)

// tree: the public tree, parents first, empty nodes included, each with the usage
// points at or below it. It would catch a node that is left out because nobody
// lives there, and so tells that nobody does.
func (s suite[T]) tree(t *testing.T) {
	s.AddNodes(t, []release.Node{
		{ID: "region", Kind: "region"},
		{ID: "s-2", Parent: "region", Level: 1, Kind: "substation"},
		{ID: "s-1", Parent: "region", Level: 1, Kind: "substation"},
		{ID: "a-feeder", Parent: "s-1", Level: 2, Kind: "feeder"}, // sorts before its parent
		{ID: "f-empty", Parent: "s-2", Level: 2, Kind: "feeder"},
	})
	s.AddPoint(t, "up-1", release.Place{Node: "a-feeder"})
	s.AddPoint(t, "up-2", release.Place{Node: "a-feeder"})
	s.AddPoint(t, "up-3", release.Place{Node: "s-2"}) // fed by a substation itself
	nodes, err := s.Nodes(t.Context())
	must(t, err)
	want := map[string]release.Node{
		"region":   {ID: "region", Kind: "region", UsagePoints: 3},
		"s-1":      {ID: "s-1", Parent: "region", Level: 1, Kind: "substation", UsagePoints: 2},
		"s-2":      {ID: "s-2", Parent: "region", Level: 1, Kind: "substation", UsagePoints: 1},
		"a-feeder": {ID: "a-feeder", Parent: "s-1", Level: 2, Kind: "feeder", UsagePoints: 2},
		"f-empty":  {ID: "f-empty", Parent: "s-2", Level: 2, Kind: "feeder"},
	}
	seen := map[string]bool{"": true}
	for _, n := range nodes {
		if n != want[n.ID] {
			t.Errorf("node %+v, want %+v", n, want[n.ID])
		}
		if !seen[n.Parent] || seen[n.ID] {
			t.Errorf("node %s comes twice, or before its parent", n.ID)
		}
		seen[n.ID] = true
	}
	if len(nodes) != len(want) {
		t.Errorf("%d nodes, want %d", len(nodes), len(want))
	}
}

// The places of the suite's households, each on a feeder of its own.
var (
	flat     = release.Place{Node: "f-1", Tariff: "flat"}
	dayNight = release.Place{Node: "f-2", Tariff: "day-night"}
	noGroup  = release.Place{Node: "f-3"}
)

// live registers a usage point at a place, with those who live there in turn.
func (s suite[T]) live(t *testing.T, point meter.UsagePoint, at release.Place, stays ...consent.Occupancy) {
	t.Helper()
	s.AddPoint(t, point, at)
	for _, o := range stays {
		o.UsagePoint = point
		s.Occupy(t, o)
	}
}

// feeders adds the nodes of flat, dayNight and noGroup.
func (s suite[T]) feeders(t *testing.T) {
	nodes := []release.Node{{ID: "region", Kind: "region"}}
	for _, p := range []release.Place{flat, dayNight, noGroup} {
		nodes = append(nodes, release.Node{ID: p.Node, Parent: "region", Level: 1, Kind: "feeder"})
	}
	s.AddNodes(t, nodes)
}

// counts fails unless exactly these households count during these days, there.
func (s suite[T]) counts(t *testing.T, first, last meter.Day, want map[consent.Household]release.Place) {
	t.Helper()
	got, err := places(t.Context(), s, first, last)
	must(t, err)
	for h, place := range want {
		if p, ok := got[h]; !ok || p != place {
			t.Errorf("%s to %s: %s counts at %+v (%v), want %+v", first, last, h, p, ok, place)
		}
	}
	for h := range got {
		if _, ok := want[h]; !ok {
			t.Errorf("%s to %s: %s counts, and should not", first, last, h)
		}
	}
}

// households: whoever lives somewhere at any second of the day counts at one
// place, that of the first of its usage points by name; an erased household at
// none. It would catch a household that is counted on two feeders, one that moves
// out at midnight and is counted on the day it never saw, and readings of the
// erased in a total.
func (s suite[T]) households(t *testing.T) {
	s.feeders(t)
	start, end := day0.Start(), day0.End()
	places := []release.Place{flat, dayNight}
	for i, o := range []consent.Occupancy{
		{Household: "stays", From: start - 86400},
		{Household: "leaves-at-midnight", From: start - 86400, Until: start},
		{Household: "leaves-at-noon", From: start - 86400, Until: start + 43200},
		{Household: "comes-at-noon", From: start + 43200},
		{Household: "comes-at-midnight", From: end},
		{Household: "one-second", From: end - 1, Until: end},
		{Household: "two-points", From: start},
		{Household: "two-points", From: start},
		{Household: "erased", From: start - 86400},
	} {
		// Names fall as places alternate: of two-points the later one counts.
		s.live(t, meter.UsagePoint(fmt.Sprintf("up-%d", 9-i)), places[i%2], o)
	}
	s.Erase(t, "erased")
	s.counts(t, day0, day0, map[consent.Household]release.Place{
		"stays": flat, "leaves-at-noon": flat, "comes-at-noon": dayNight, "one-second": dayNight, "two-points": dayNight,
	})
}

// spans: over several days a household counts where it lived on the last of its
// days among them, by the rule of that day; one that left in between counts where
// it was. The days lie around 1970. It would catch a household that counts on two
// feeders because it moved between them, one that is lost because it left before the
// end, one that is placed by a name it had moved away from, a move that is taken to
// the second on one day and to the day on another, and days rounded towards 1970.
func (s suite[T]) spans(t *testing.T) {
	const first, last = meter.Day(-2), meter.Day(2)
	noon := func(d meter.Day) int64 { return d.Start() + 43200 }
	s.feeders(t)
	for i, home := range []struct {
		household consent.Household
		a, b      consent.Occupancy // at its usage points in flat and dayNight, in the order of their names; empty for none
	}{
		{"stays", consent.Occupancy{From: noon(first - 9)}, consent.Occupancy{}},
		{"moves", consent.Occupancy{From: noon(first - 9), Until: noon(0)}, consent.Occupancy{From: noon(0)}},
		{"moves-back-in-name", consent.Occupancy{From: noon(0)}, consent.Occupancy{From: noon(first - 9), Until: noon(0)}},
		{"moves-before-1970", consent.Occupancy{From: noon(first), Until: noon(-1)}, consent.Occupancy{From: noon(-1), Until: noon(0)}},
		{"leaves", consent.Occupancy{}, consent.Occupancy{From: noon(first - 9), Until: noon(1)}},
		{"leaves-both-in-a-day", consent.Occupancy{From: noon(first), Until: noon(1) - 1}, consent.Occupancy{From: noon(first), Until: noon(1)}},
		{"leaves-one-at-midnight", consent.Occupancy{From: noon(first), Until: last.Start()}, consent.Occupancy{From: noon(first), Until: last.Start() + 1}},
		{"leaves-one-at-the-end", consent.Occupancy{From: noon(first), Until: last.End()}, consent.Occupancy{From: noon(first)}},
		{"moves-afterwards", consent.Occupancy{From: noon(first), Until: noon(last + 1)}, consent.Occupancy{From: noon(first), Until: noon(last + 2)}},
		{"left-before", consent.Occupancy{From: noon(first - 9), Until: first.Start()}, consent.Occupancy{}},
		{"comes-after", consent.Occupancy{}, consent.Occupancy{From: last.End()}},
		{"erased", consent.Occupancy{From: noon(first - 9)}, consent.Occupancy{}},
	} {
		for _, point := range []struct {
			name string
			at   release.Place
			stay consent.Occupancy
		}{{"a", flat, home.a}, {"b", dayNight, home.b}} {
			if point.stay != (consent.Occupancy{}) {
				point.stay.Household = home.household
				s.live(t, meter.UsagePoint(fmt.Sprintf("up-%d-%s", i, point.name)), point.at, point.stay)
			}
		}
	}
	s.Erase(t, "erased")
	s.counts(t, first, last, map[consent.Household]release.Place{
		"stays": flat, "moves": dayNight, "moves-back-in-name": flat, "moves-before-1970": dayNight,
		"leaves": dayNight, "leaves-both-in-a-day": flat, "leaves-one-at-midnight": dayNight, "leaves-one-at-the-end": flat,
		"moves-afterwards": flat,
	})
	// On the day of a move, and on the days before it, that day's rule alone holds.
	s.counts(t, 0, 0, map[consent.Household]release.Place{
		"stays": flat, "moves": flat, "moves-back-in-name": flat, "moves-before-1970": dayNight,
		"leaves": dayNight, "leaves-both-in-a-day": flat, "leaves-one-at-midnight": flat, "leaves-one-at-the-end": flat,
		"moves-afterwards": flat,
	})
	s.counts(t, first, -1, map[consent.Household]release.Place{
		"stays": flat, "moves": flat, "moves-back-in-name": dayNight, "moves-before-1970": flat,
		"leaves": dayNight, "leaves-both-in-a-day": flat, "leaves-one-at-midnight": flat, "leaves-one-at-the-end": flat,
		"moves-afterwards": flat,
	})
	s.counts(t, last, last, map[consent.Household]release.Place{
		"stays": flat, "moves": dayNight, "moves-back-in-name": flat,
		"leaves-one-at-midnight": dayNight, "leaves-one-at-the-end": flat, "moves-afterwards": flat,
	})
}

// twoRegistrations: a meter that is registered under two names is two usage points.
// One household at both counts once, at the place of the first; two households count
// each at its own. Who follows at a usage point counts beside who lived there before,
// and who returns counts once. It would catch a household that is placed by usage
// point, so that one of two is lost or one counts twice.
func (s suite[T]) twoRegistrations(t *testing.T) {
	s.feeders(t)
	last := day0 + 3
	from, noon := day0.Start()-86400, day0.Start()+43200
	s.live(t, "m1-new", dayNight, consent.Occupancy{Household: "both", From: from})
	s.live(t, "m1-old", flat, consent.Occupancy{Household: "both", From: from})
	s.live(t, "m2-new", noGroup, consent.Occupancy{Household: "owner", From: from})
	s.live(t, "m2-old", flat, consent.Occupancy{Household: "tenant", From: from, Until: noon}, consent.Occupancy{Household: "next", From: noon})
	s.live(t, "m3", dayNight,
		consent.Occupancy{Household: "returns", From: from, Until: noon},
		consent.Occupancy{Household: "guest", From: noon, Until: noon + 86400},
		consent.Occupancy{Household: "returns", From: noon + 86400})
	s.counts(t, day0, last, map[consent.Household]release.Place{
		"both": dayNight, "owner": noGroup, "tenant": flat, "next": flat, "returns": dayNight, "guest": dayNight,
	})
	s.counts(t, last, last, map[consent.Household]release.Place{"both": dayNight, "owner": noGroup, "next": flat, "returns": dayNight})
}
