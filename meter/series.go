package meter

import "time"

// Series is a run of consecutive, equally long intervals of one usage point
// and register, all of one revision. Interval i spans
// [Start + i·Length, Start + (i+1)·Length).
//
// Methods with a value receiver read only, and what they return shares the
// backing arrays of s. They expect times within the years 0 to 9999 and a
// Length above zero; outside these they do not panic, but their result means
// nothing ([Series.Validate] refuses such a series).
type Series struct {
	UsagePoint UsagePoint
	Register   Register
	Start      int64     // unix seconds UTC of the first interval's start
	Length     int64     // seconds per interval
	Revision   uint32    // higher replaces lower, per usage point, register, start and length
	Values     []int64   // base units of Register.Unit(), exact; 0 where Missing
	Quality    []Quality // nil: every value Measured; else as long as Values
}

// End returns the first second after the last interval.
func (s Series) End() int64 { return s.StartAt(len(s.Values)) }

// StartAt returns the start of interval i, in unix seconds.
func (s Series) StartAt(i int) int64 { return s.Start + int64(i)*s.Length }

// QualityAt returns the quality of interval i.
func (s Series) QualityAt(i int) Quality {
	if s.Quality == nil {
		return Measured
	}
	return s.Quality[i]
}

// Present returns the number of intervals that hold a value.
func (s Series) Present() int {
	n := len(s.Values)
	for _, q := range s.Quality {
		if q == Missing {
			n--
		}
	}
	return n
}

// At returns interval i as a Reading. It panics if i is out of range.
func (s Series) At(i int) Reading {
	return Reading{
		UsagePoint: s.UsagePoint,
		Register:   s.Register,
		Start:      time.Unix(s.StartAt(i), 0).UTC(),
		Length:     time.Duration(s.Length) * time.Second,
		Value:      s.Values[i],
		Unit:       s.Register.Unit(),
		Quality:    s.QualityAt(i),
		Revision:   s.Revision,
	}
}

// slice returns the intervals [i, j). Its capacity ends at j, so that an append
// to a piece cannot overwrite its neighbour.
func (s Series) slice(i, j int) Series {
	p := s
	p.Start = s.StartAt(i)
	p.Values = s.Values[i:j:j]
	if s.Quality != nil {
		p.Quality = s.Quality[i:j:j]
	}
	return p
}

// SplitUTCDays returns s cut at UTC midnights, in order: each piece holds the
// intervals that start within one UTC day. An empty series has no pieces; a
// series outside the calendar comes back whole.
func (s Series) SplitUTCDays() []Series {
	if len(s.Values) == 0 {
		return nil
	}
	if s.Length > secondsPerDay || !s.inCalendar() {
		return []Series{s}
	}
	last := s.StartAt(len(s.Values) - 1)
	pieces := make([]Series, 0, int(DayOf(last)-DayOf(s.Start))+1)
	for i := 0; i < len(s.Values); {
		untilMidnight := DayOf(s.StartAt(i)).End() - s.StartAt(i)
		j := min(i+int((untilMidnight+s.Length-1)/s.Length), len(s.Values))
		pieces = append(pieces, s.slice(i, j))
		i = j
	}
	return pieces
}

// Trim returns the intervals of s that start in [from, until), in unix
// seconds. The result is empty if there are none.
func (s Series) Trim(from, until int64) Series {
	i := s.firstFrom(from)
	return s.slice(i, max(i, s.firstFrom(until)))
}

// firstFrom returns the index of the first interval that starts at t or later,
// or the number of intervals.
func (s Series) firstFrom(t int64) int {
	if t <= s.Start || s.Length <= 0 {
		return 0
	}
	gap := uint64(t) - uint64(s.Start) // exact although t − Start may exceed an int64
	length := uint64(s.Length)
	i := gap / length
	if gap%length != 0 {
		i++
	}
	return int(min(i, uint64(len(s.Values))))
}

// The calendar: 0000-01-01 to the end of 9999, the years that RFC 3339 can
// write. Within it no sum of a start and a length overflows.
const (
	calendarStart = -62167219200
	calendarEnd   = 253402300800
)

// inCalendar reports whether every interval has a length above zero and lies
// in the calendar.
func (s Series) inCalendar() bool {
	return s.Length > 0 && s.Start >= calendarStart && s.Start <= calendarEnd &&
		int64(len(s.Values)) <= (calendarEnd-s.Start)/s.Length
}
