package espi

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// DSTRule says when clocks are set within a year, in the bit layout of the
// schema's DstRuleType (from the highest bit):
//
//	month 4 · operator 3 · day of the month 5 · day of the week 3 · hour 5 · seconds 12
//
// Days of the week count from Monday = 1. Hour and seconds are the clock's, as it
// shows them until it is set. "AE0E3000" is the last Sunday of October at 03:00.
type DSTRule uint32

// NoDST is the rule of a clock that is not set.
const NoDST DSTRule = 0xFFFFFFFF

// The operators.
const (
	opDay       = 0 // on the day of the month
	opOnOrAfter = 1 // on the day of the week that is on or after the day of the month
	opFirst     = 2 // on the first … fifth such day of the week of the month: 2 … 6
	opLast      = 7
)

// ErrDSTRule reports a text that is not eight hexadecimal digits.
var ErrDSTRule = errors.New("espi: rule is not eight hexadecimal digits")

// ParseDSTRule reads what DSTRule.String writes, in either case of letters.
func ParseDSTRule(s string) (DSTRule, error) {
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 8 {
		return 0, ErrDSTRule
	}
	return DSTRule(n), nil
}

// String returns the rule as eight hexadecimal digits.
func (r DSTRule) String() string { return fmt.Sprintf("%08X", uint32(r)) }

// In returns the moment at which clocks are set in a year, as they show it until
// then, written as if it were UTC. It returns false for NoDST and for a rule that
// names no moment.
func (r DSTRule) In(year int) (time.Time, bool) {
	month, op := time.Month(r>>28), int(r>>25&7)
	day, weekday := int(r>>20&31), int(r>>17&7)
	hour, second := int(r>>12&31), int(r&0xFFF)
	switch {
	case r == NoDST, month < 1, month > 12, hour > 23, second > 3599:
		return time.Time{}, false
	case op <= opOnOrAfter && day == 0, op != opDay && weekday == 0:
		return time.Time{}, false
	case op > opOnOrAfter:
		day = 1
	}
	date := time.Date(year, month, day, hour, 0, second, 0, time.UTC)
	switch op {
	case opDay:
		return date, true
	case opLast:
		date = time.Date(year, month+1, 1, hour, 0, second, 0, time.UTC).AddDate(0, 0, -7)
	default:
		date = date.AddDate(0, 0, 7*max(0, op-opFirst))
	}
	return date.AddDate(0, 0, (weekday-int(date.Weekday())+7)%7), true // Sunday is 7 here and 0 there
}

// change is a moment at which a clock is set.
type change struct {
	wall          time.Time // what the clock shows until then, written as UTC
	before, after int64     // seconds east of UTC
}

// changes returns the moments of a year, by the clock's own calendar.
func changes(zone *time.Location, year int) (out []change) {
	t := time.Date(year-1, time.December, 30, 12, 0, 0, 0, zone)
	for {
		_, end := t.ZoneBounds()
		if end.IsZero() {
			return out
		}
		_, before := end.Add(-time.Second).In(zone).Zone()
		_, after := end.In(zone).Zone()
		wall := time.Unix(end.Unix()+int64(before), 0).UTC()
		if wall.Year() > year || t.Year() > year {
			return out
		}
		if before != after && wall.Year() == year {
			out = append(out, change{wall, int64(before), int64(after)})
		}
		// Where a zone's rules are extrapolated, the end of the year counts as an end,
		// and that of a leap year a day too soon: it may lie before t.
		if !end.After(t) {
			end = t.Add(24 * time.Hour)
		}
		t = end
	}
}

// daylight returns the change to daylight saving and the one from it, if the
// clock is set there and back within the year.
func daylight(zone *time.Location, year int) (start, end change, ok bool) {
	c := changes(zone, year)
	if len(c) != 2 || c[0].before != c[1].after || c[0].after != c[1].before {
		return change{}, change{}, false
	}
	if c[0].after > c[0].before {
		return c[0], c[1], true
	}
	return c[1], c[0], true
}

// LocalTime returns what a document says of a zone's clock: the offset without
// daylight saving, what daylight saving adds, and the rules of the year that
// holds at. The lower of two offsets is the one without daylight saving, however
// a country calls it. South of the equator the start is later in the year than
// the end.
//
// A year in which the clock is not set there and back once (a zone without
// daylight saving, one that gives it up, two Ramadans) has no rules: the offset is
// then the one at the moment at. The instants of readings are exact all the same.
func LocalTime(zone *time.Location, at time.Time) LocalTimeParameters {
	year := at.In(zone).Year()
	start, end, ok := daylight(zone, year)
	if !ok {
		_, offset := at.In(zone).Zone()
		return LocalTimeParameters{DSTEndRule: NoDST.String(), DSTStartRule: NoDST.String(), TZOffset: int64(offset)}
	}
	starts, ends := []change{start}, []change{end}
	// After 28 years every date has had every weekday.
	for y := year + 1; y < year+28; y++ {
		s, e, ok := daylight(zone, y)
		if !ok {
			break
		}
		starts, ends = append(starts, s), append(ends, e)
	}
	return LocalTimeParameters{
		DSTEndRule:   ruleOf(ends).String(),
		DSTOffset:    start.after - start.before,
		DSTStartRule: ruleOf(starts).String(),
		TZOffset:     start.before,
	}
}

// ruleOf returns the rule that the changes of successive years follow, or, if no
// rule can say them all, the date of the first.
func ruleOf(changes []change) DSTRule {
	first := changes[0].wall
	weekday := (int(first.Weekday())+6)%7 + 1
	nth, last, alike := (first.Day()-1)/7, true, true
	earliest := first
	for _, c := range changes {
		w := c.wall
		alike = alike && w.Weekday() == first.Weekday() && w.Hour() == first.Hour() && w.Minute() == first.Minute() && w.Second() == first.Second()
		last = last && w.AddDate(0, 0, 7).Month() != w.Month() && w.Month() == first.Month()
		if (w.Day()-1)/7 != nth || w.Month() != first.Month() {
			nth = -1
		}
		if inYear(w, first.Year()).Before(inYear(earliest, first.Year())) {
			earliest = w
		}
	}
	rule := func(op int, month time.Month, day, weekday int) DSTRule {
		clock := first.Hour()<<12 | first.Minute()*60 + first.Second()
		return DSTRule(int(month)<<28 | op<<25 | day<<20 | weekday<<17 | clock)
	}
	switch {
	case alike && last:
		return rule(opLast, first.Month(), 0, weekday)
	case alike && nth >= 0 && nth < 4:
		return rule(opFirst+nth, first.Month(), 0, weekday)
	case alike:
		r := rule(opOnOrAfter, earliest.Month(), earliest.Day(), weekday)
		for _, c := range changes {
			if w, ok := r.In(c.wall.Year()); !ok || !w.Equal(c.wall) {
				return rule(opDay, first.Month(), first.Day(), 0)
			}
		}
		return r
	}
	return rule(opDay, first.Month(), first.Day(), 0)
}

// inYear returns the date in another year.
func inYear(t time.Time, year int) time.Time {
	return time.Date(year, t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}
