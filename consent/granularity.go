package consent

import (
	"errors"
	"fmt"
)

// Granularity is the finest step in which granted data may leave the hub. A
// larger number is coarser; the numbers are stored and never change.
type Granularity uint8

// The granularities.
const (
	Interval Granularity = 1 // as metered
	Hour     Granularity = 2 // sums over UTC hours
	Day      Granularity = 3 // sums over calendar days of the usage point's zone
	Month    Granularity = 4 // sums over calendar months of the usage point's zone
)

// ErrGranularity reports a text that names no granularity.
var ErrGranularity = errors.New("consent: granularity is not interval, hour, day or month")

var granularityNames = [...]string{Interval: "interval", Hour: "hour", Day: "day", Month: "month"}

// ParseGranularity reads what Granularity.String writes, or returns ErrGranularity.
func ParseGranularity(s string) (Granularity, error) {
	for g := Interval; g <= Month; g++ {
		if granularityNames[g] == s {
			return g, nil
		}
	}
	return 0, ErrGranularity
}

// Known reports whether g is one of the four granularities.
func (g Granularity) Known() bool { return Interval <= g && g <= Month }

// String returns the name that leaves carry ("interval", "hour", "day",
// "month"), or "granularity(n)" for any other number.
func (g Granularity) String() string {
	if g.Known() {
		return granularityNames[g]
	}
	return fmt.Sprintf("granularity(%d)", uint8(g))
}
