package consent

import (
	"cmp"
	"slices"

	"github.com/wattveil/wattveil/meter"
)

// Occupancy says that a household lives at a usage point from one instant
// until another, in unix seconds UTC. An interval of readings belongs to whoever
// lives there at its start. Occupancies of one usage point do not overlap.
type Occupancy struct {
	UsagePoint meter.UsagePoint
	Household  Household
	From       int64  // moved in
	Until      int64  // moved out: the first instant that is not theirs; 0 = still there
	Zone       string // IANA time zone of the usage point, for days and months
	Node       string // leaf of the public grid tree that the usage point hangs on
}

// Holds reports whether an interval that starts at t belongs to o's household.
func (o Occupancy) Holds(t int64) bool { return o.From <= t && t < o.end() }

func (o Occupancy) end() int64 {
	if o.Until == 0 {
		return maxTime
	}
	return o.Until
}

// Scope is what a permit covers of one usage point: the intervals of the
// registers that start in [From, Until), unix seconds UTC.
type Scope struct {
	UsagePoint meter.UsagePoint
	Registers  []meter.Register // empty: every register (a household's reading of its own data)
	From       int64
	Until      int64
	Zone       string // IANA time zone of the usage point
}

// cut returns the parts of [from, until) at the given usage points that the
// occupancies hold, by usage point and time. What lies outside belongs to the
// former or the next household and is in no scope.
func cut(occupancies []Occupancy, points []meter.UsagePoint, registers []meter.Register, from, until int64) []Scope {
	var scopes []Scope
	for _, o := range occupancies {
		s := Scope{UsagePoint: o.UsagePoint, Registers: registers, From: max(from, o.From), Until: min(until, o.end()), Zone: o.Zone}
		if s.From < s.Until && slices.Contains(points, o.UsagePoint) {
			scopes = append(scopes, s)
		}
	}
	slices.SortFunc(scopes, func(a, b Scope) int {
		return cmp.Or(cmp.Compare(a.UsagePoint, b.UsagePoint), cmp.Compare(a.From, b.From))
	})
	return join(scopes)
}

// join makes one scope of those that follow each other without a gap, such as
// when a usage point was moved in the grid: its days and months are still whole.
func join(scopes []Scope) []Scope {
	var joined []Scope
	for _, s := range scopes {
		if n := len(joined) - 1; n >= 0 && joined[n].UsagePoint == s.UsagePoint && joined[n].Until == s.From && joined[n].Zone == s.Zone {
			joined[n].Until = s.Until
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// occupied returns the usage points of the occupancies that hold any instant of
// [from, until), sorted, each once.
func occupied(occupancies []Occupancy, from, until int64) []meter.UsagePoint {
	var points []meter.UsagePoint
	for _, o := range occupancies {
		if max(from, o.From) < min(until, o.end()) {
			points = append(points, o.UsagePoint)
		}
	}
	return sortedPoints(points)
}

// vacated returns from when on the household lives nowhere any more, as far as is
// known: the end of its last occupancy; 0 if one has no end.
func vacated(occupancies []Occupancy) int64 {
	var last int64
	for _, o := range occupancies {
		if o.Until == 0 {
			return 0
		}
		last = max(last, o.Until)
	}
	return last
}

// hull returns the shortest range that holds all scopes.
func hull(scopes []Scope) (from, until int64) {
	from, until = scopes[0].From, scopes[0].Until
	for _, s := range scopes {
		from, until = min(from, s.From), max(until, s.Until)
	}
	return from, until
}

// pointsOf returns the usage points of the scopes, sorted, each once.
func pointsOf(scopes []Scope) []meter.UsagePoint {
	points := make([]meter.UsagePoint, len(scopes))
	for i, s := range scopes {
		points[i] = s.UsagePoint
	}
	return sortedPoints(points)
}
