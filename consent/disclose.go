package consent

import (
	"fmt"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// Trim returns the intervals of s that the permit covers, exactly: of its usage
// points and registers, starting in a scope. Blocks are opened by whole UTC days,
// so what was opened may hold more. A zero permit leaves nothing.
func (p Permit) Trim(s meter.Series) []meter.Series {
	var out []meter.Series
	for _, scope := range p.scopes {
		if !scope.holds(s.UsagePoint, s.Register) {
			continue
		}
		if part := s.Trim(scope.From, scope.Until); len(part.Values) > 0 {
			out = append(out, part)
		}
	}
	return out
}

// Disclose returns what of the opened series may leave the hub: trimmed to the
// permit's scopes and reduced, see [Reduce], to its granularity. The opened
// series are one answer to "what is known": no two hold the same interval.
//
// Above Interval, only hours, days and months leave that lie wholly inside a
// scope and were over when the access was recorded. So neither the range asked
// for, nor a move, nor the moment of asking cuts one short, and no two answers can
// be subtracted to learn a finer step. Values that arrive late change a sum that
// was already given; the difference is what came late.
//
// Errors: ErrNoPermit, an unknown zone of a usage point, ErrSum.
func (p Permit) Disclose(opened []meter.Series) ([]meter.Series, error) {
	if p.minted.IsZero() {
		return nil, ErrNoPermit
	}
	var out []meter.Series
	for _, scope := range p.scopes {
		var parts []meter.Series
		for _, s := range opened {
			if scope.holds(s.UsagePoint, s.Register) {
				parts = append(parts, s)
			}
		}
		until := scope.Until
		zone := time.UTC
		if p.granularity > Interval {
			until = min(until, p.leafTime)
			var err error
			if zone, err = time.LoadLocation(scope.Zone); err != nil {
				return nil, fmt.Errorf("consent: zone of a usage point: %w", err)
			}
		}
		reduced, err := Reduce(parts, p.granularity, zone, scope.From, until)
		if err != nil {
			return nil, err
		}
		out = append(out, reduced...)
	}
	return out, nil
}
