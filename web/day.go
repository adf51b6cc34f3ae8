package web

import (
	"time"
)

// date is a day of the calendar, as a zone's people name it.
type date struct {
	year  int
	month time.Month
	day   int
}

// dateOf returns the date that a zone's calendar shows at an instant, unix
// seconds.
func dateOf(t int64, zone *time.Location) date {
	y, m, d := time.Unix(t, 0).In(zone).Date()
	return date{y, m, d}
}

// parseDate reads "2006-01-02", of the years 1970 to 9999.
func parseDate(s string) (date, bool) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 1970 {
		return date{}, false
	}
	return dateOf(t.Unix(), time.UTC), true
}

// utc returns the date's midnight in UTC, the carrier of its arithmetic.
func (d date) utc() time.Time { return time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC) }

// add returns the date n days later.
func (d date) add(n int) date { return dateOf(d.utc().AddDate(0, 0, n).Unix(), time.UTC) }

func (d date) before(e date) bool { return d.utc().Before(e.utc()) }

// monday returns the first day of the date's week.
func (d date) monday() date { return d.add(-(int(d.utc().Weekday()) + 6) % 7) }

func (d date) String() string { return d.utc().Format(time.DateOnly) }

// long is the date in words.
func (d date) long() string { return d.utc().Format("Monday 2 January 2006") }

// start returns the first instant of the date in the zone, unix seconds. Where
// the zone skipped the date it is the first instant of the next. Midnight will
// not do: there are zones whose clocks change then, so that it is missing or
// comes twice.
func (d date) start(zone *time.Location) int64 {
	// No clock on earth differs from UTC by more than this.
	const farthest = 48 * time.Hour
	for t := d.utc().Add(-farthest).In(zone); ; {
		_, offset := t.Zone()
		begins, ends := bounds(t)
		first := d.utc().Unix() - int64(offset)
		if !begins.IsZero() {
			first = max(first, begins.Unix())
		}
		if ends.IsZero() || first < ends.Unix() {
			return first
		}
		t = ends
	}
}

// bounds are those of the zone in effect at t, the end after t. Beyond a zone's table, on
// the last day of a leap year, package time takes the year for over and returns an end
// that has been: then it is looked at again a day later.
func bounds(t time.Time) (begins, ends time.Time) {
	begins, ends = t.ZoneBounds()
	if !ends.IsZero() && !ends.After(t) {
		ends = t.Add(24 * time.Hour)
	}
	return begins, ends
}

// clockChange is the moment within a day at which its clock is set.
type clockChange struct {
	at      int64 // unix seconds
	forward bool
	by      int64 // seconds, positive
}

// change returns the first change of the zone's clock within the date, if any.
func (d date) change(zone *time.Location) (clockChange, bool) {
	start, end := d.start(zone), d.add(1).start(zone)
	t := time.Unix(start, 0).In(zone)
	for {
		_, ends := bounds(t)
		if ends.IsZero() || ends.Unix() >= end {
			return clockChange{}, false
		}
		_, was := t.Zone()
		_, is := ends.Zone()
		if was != is && ends.Unix() > start {
			by := int64(is - was)
			return clockChange{at: ends.Unix(), forward: by > 0, by: max(by, -by)}, true
		}
		t = ends
	}
}
