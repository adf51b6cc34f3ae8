package web

import (
	"strconv"
	"strings"
	"time"
)

// kWh writes watt-hours as kilowatt-hours, exactly: 7412 is "7.412".
func kWh(wh int64) string { return thousandths(wh, 3) }

// roundKWh writes watt-hours as kilowatt-hours with one decimal, half away from
// zero; below 1 kWh, where one decimal would hide much, exactly.
func roundKWh(wh int64) string {
	if -1000 < wh && wh < 1000 {
		return kWh(wh)
	}
	return thousandths(wh, 1)
}

// kW writes watts as kilowatts without trailing zeros: 1500 is "1.5".
func kW(w int64) string {
	s := thousandths(w, 3)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// roundKW writes watts as kilowatts with one decimal, below 1 kW with two.
func roundKW(w int64) string {
	if -1000 < w && w < 1000 {
		return thousandths(w, 2)
	}
	return thousandths(w, 1)
}

// thousandths writes n thousandths with 1 to 3 decimals, rounded half away from
// zero, thousands grouped.
func thousandths(n int64, places int) string {
	sign := ""
	u := uint64(n)
	if n < 0 {
		sign, u = "−", -u
	}
	unit := uint64(1)
	for range 3 - places {
		unit *= 10
	}
	u = u/unit + (u%unit+unit/2)/unit
	digits := strconv.FormatUint(u, 10)
	for len(digits) <= places {
		digits = "0" + digits
	}
	whole, part := digits[:len(digits)-places], digits[len(digits)-places:]
	if strings.Trim(digits, "0") == "" {
		sign = ""
	}
	return sign + group(whole) + "." + part
}

// count writes a number with its thousands grouped: "48,213".
func count(n uint64) string { return group(strconv.FormatUint(n, 10)) }

func group(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// many writes a number with the noun that goes with it: "1 figure", "2 figures".
func many(n uint64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + more
}

// span writes a length of time in hours and minutes.
func span(seconds int64) string {
	h, m := uint64(seconds/3600), uint64(seconds%3600/60)
	switch {
	case h == 0:
		return many(m, "minute", "minutes")
	case m == 0:
		return many(h, "hour", "hours")
	default:
		return many(h, "hour", "hours") + " " + many(m, "minute", "minutes")
	}
}

// moment is an instant as the visitor's place names it.
type moment struct {
	ISO  string // with its offset from UTC, for machines
	Text string
}

// at names an instant to the minute.
func at(t int64, zone *time.Location) moment {
	l := time.Unix(t, 0).In(zone)
	return moment{l.Format(time.RFC3339), l.Format("2 January 2006, 15:04")}
}

// clock names an instant's time of day: "06:00".
func clock(t int64, zone *time.Location) string { return time.Unix(t, 0).In(zone).Format("15:04") }

// period is a range of time in words, its end included.
type period struct {
	From, Through moment
	OneDay        bool // From says it all
}

// during names the range from a first instant to an exclusive end: by dates, and
// with times where it does not begin or end with a day.
func during(first, end int64, zone *time.Location) period {
	whole := dateOf(first, zone).start(zone) == first
	p := period{From: at(first, zone), Through: through(end, zone)}
	if whole {
		p.From = onDay(dateOf(first, zone))
	}
	p.OneDay = whole && dateOf(first, zone).add(1).start(zone) == end
	return p
}

// through names the end of a range whose end is exclusive: the last date in it,
// or the instant if it ends within a day.
func through(end int64, zone *time.Location) moment {
	if dateOf(end, zone).start(zone) == end {
		return onDay(dateOf(end-1, zone))
	}
	return at(end, zone)
}

// onDay names a date.
func onDay(d date) moment { return moment{d.String(), d.utc().Format("2 January 2006")} }
