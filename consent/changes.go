package consent

import (
	"time"

	"github.com/wattveil/wattveil/meter"
)

// What a recipient that comes again and again needs of a consent before it asks the
// gate: which of the data could have changed. None of it decides anything.

// Live reports whether an access under the consent could be admitted at the instant
// now, unix seconds. What is decided, the gate decides.
func (c Consent) Live(now int64) bool { return c.State == Granted && !c.due(now) }

// Scopes returns what an access under the consent could cover at the instant now, unix
// seconds: of its usage points and registers, the times the household lived there, within
// the data range and up to the end of the UTC day. By usage point and time.
func (c Consent) Scopes(occupancies []Occupancy, now int64) []Scope {
	t := c.Terms
	points := t.UsagePoints
	if t.Future { // those that the next access names
		points = sortedPoints(append(t.theirs(occupancies, now), points...))
	}
	return cut(occupancies, points, t.Registers, t.DataFrom, min(t.DataUntil, meter.DayOf(now).End()))
}

// Whole returns the shortest range of whole steps of g that holds the UTC day, in unix
// seconds [from, until): what is given anew when a value of the day changes. Of Interval
// and Hour it is the day itself; of Day and Month, the zone's days or months that
// it touches.
func (g Granularity) Whole(d meter.Day, zone *time.Location) (from, until int64) {
	if g <= Hour {
		return d.Start(), d.End()
	}
	from, _ = g.bucket(d.Start(), zone)
	_, until = g.bucket(d.End()-1, zone)
	return from, until
}

// Step returns the hour, day or month of g that holds the instant t, unix seconds
// [start, end); of Interval, whose steps only the data know, nothing but t.
func (g Granularity) Step(t int64, zone *time.Location) (start, end int64) {
	if g <= Interval {
		return t, t
	}
	return g.bucket(t, zone)
}

// Within returns the permit cut to the intervals that start in [from, until), unix
// seconds. It opens less and lasts as long; where both cut an hour, a day or a month
// short, that is not disclosed.
func (p Permit) Within(from, until int64) Permit {
	var scopes []Scope
	for _, s := range p.scopes {
		if s.From, s.Until = max(s.From, from), min(s.Until, until); s.From < s.Until {
			scopes = append(scopes, s)
		}
	}
	p.scopes = scopes
	return p
}

// Over returns the instant, in unix seconds, up to which the answer to the permit is
// complete: sums of time after it are not disclosed.
func (p Permit) Over() int64 { return p.leafTime }
