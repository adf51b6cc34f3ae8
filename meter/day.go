package meter

import (
	"errors"
	"time"
)

// secondsPerDay is the length of every UTC day: unix time counts no leap seconds.
const secondsPerDay = 86400

// Day is a UTC calendar day, counted from 1970-01-01. It spans
// [Start, End) in unix seconds.
type Day int32

// ErrDay reports a text that is not a calendar day written YYYY-MM-DD.
var ErrDay = errors.New("meter: day is not YYYY-MM-DD")

// DayOf returns the UTC day that holds the instant unix (seconds). Instants
// before 1970 round down, to negative days. The result is meaningful within
// five million years of 1970.
func DayOf(unix int64) Day {
	d := unix / secondsPerDay
	if unix%secondsPerDay < 0 {
		d--
	}
	return Day(d)
}

// ParseDay reads what Day.String writes, for the years 0000 to 9999, and
// returns ErrDay for anything else.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, ErrDay // the parser's own error quotes its input
	}
	return DayOf(t.Unix()), nil
}

// Start returns the first second of the day, in unix seconds.
func (d Day) Start() int64 { return int64(d) * secondsPerDay }

// End returns the first second after the day, in unix seconds.
func (d Day) End() int64 { return d.Start() + secondsPerDay }

// Next returns the following day.
func (d Day) Next() Day { return d + 1 }

// String returns the day as YYYY-MM-DD.
func (d Day) String() string {
	return time.Unix(d.Start(), 0).UTC().Format(time.DateOnly)
}
