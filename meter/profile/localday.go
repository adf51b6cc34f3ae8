package profile

import (
	"time"

	"github.com/wattveil/wattveil/meter"
)

// stretch is a part of a local day during which the clock runs evenly.
type stretch struct {
	start  int64 // unix seconds UTC
	clock  int64 // what the clock shows at start, in seconds after midnight
	length int64 // seconds
}

// localDay is a calendar day of a zone: one stretch on most days, two on the
// days on which the clock changes.
type localDay struct {
	stretches []stretch
}

// localDayOf cuts date (its number, read as a day of the zone instead of UTC)
// out of the zone's time. It fails with NoSuchDate if the zone skipped the
// date, and with UnevenZoneChange if the clock changes within an interval of
// length seconds or the day is interrupted by another.
func localDayOf(date meter.Day, zone *time.Location, length int64) (localDay, Kind) {
	// No clock on earth differs from UTC by more than this.
	const farthest = 48 * hour
	var day localDay
	var done time.Time // what was looked at ends here
	for t := time.Unix(date.Start()-farthest, 0).In(zone); ; {
		_, offset := t.Zone()
		begins, ends := t.ZoneBounds()
		if !ends.IsZero() && !ends.After(t) {
			// Beyond the zone's table, on the last day of a leap year, package time
			// takes the year for over. What is looked at runs on for a day, then.
			ends = t.Add(secondsInDay * time.Second)
		}
		begins = latest(begins, done)
		from, until := date.Start()-int64(offset), date.End()-int64(offset)
		if !begins.IsZero() {
			from = max(from, begins.Unix())
		}
		if !ends.IsZero() {
			until = min(until, ends.Unix())
		}
		if from < until {
			day.add(stretch{start: from, clock: from + int64(offset) - date.Start(), length: until - from})
		}
		if ends.IsZero() || ends.Unix() > date.End()+farthest {
			break
		}
		t, done = ends, ends
	}

	if len(day.stretches) == 0 {
		return localDay{}, NoSuchDate
	}
	next := day.start()
	for _, s := range day.stretches {
		if s.start != next || s.clock%length != 0 || s.length%length != 0 {
			return localDay{}, UnevenZoneChange
		}
		next = s.start + s.length
	}
	return day, ""
}

// latest returns the later of two instants, of which the zero one is none.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// add appends s, or lengthens the last stretch if the clock runs on into s: a
// zone's name may change and its offset not.
func (d *localDay) add(s stretch) {
	if n := len(d.stretches); n > 0 {
		last := &d.stretches[n-1]
		if last.start+last.length == s.start && last.clock+last.length == s.clock {
			last.length += s.length
			return
		}
	}
	d.stretches = append(d.stretches, s)
}

// start returns the first instant of the day, in unix seconds.
func (d localDay) start() int64 { return d.stretches[0].start }

// intervals returns how many intervals of length seconds the day has.
func (d localDay) intervals(length int64) int {
	n := int64(0)
	for _, s := range d.stretches {
		n += s.length / length
	}
	return int(n)
}

// ordinary reports whether the clock ran evenly from midnight to midnight.
func (d localDay) ordinary() bool {
	return len(d.stretches) == 1 && d.stretches[0].length == secondsInDay
}

// interval returns the index, from the start of the day, of the interval that
// c names, and false if the clock does not show that time so often on this day.
func (d localDay) interval(c column, length int64) (int, bool) {
	for _, s := range d.stretches {
		if c.clock < s.clock || c.clock >= s.clock+s.length {
			continue
		}
		if c.pass == 0 {
			return int((s.start - d.start() + c.clock - s.clock) / length), true
		}
		c.pass--
	}
	return 0, false
}
