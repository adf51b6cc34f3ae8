package web

import (
	"time"
)

// quarter is the finest step at which clocks on earth stand on a full hour.
const quarter = 15 * 60

// dayAxis labels the hours of a local day as its clock shows them. On the day
// the clock goes back the hour that comes twice is labelled twice.
func dayAxis(d date, zone *time.Location) []tick {
	start, end := d.start(zone), d.add(1).start(zone)
	var ticks []tick
	last := ""
	for t := start; t < end; t += quarter {
		l := time.Unix(t, 0).In(zone)
		if l.Minute() != 0 || l.Hour()%3 != 0 {
			continue
		}
		text := l.Format("15:04")
		if text == last {
			continue // the second time round; it has a row of its own
		}
		last = text
		ticks = append(ticks, tick{At: percent(t-start, end-start), Text: text, Anchor: "mid", Minor: l.Hour()%6 != 0})
	}
	ticks = append(ticks, tick{At: "100%", Text: "24:00", Anchor: "last"})
	ticks[0].Anchor = "first"
	if c, ok := d.change(zone); ok && !c.forward {
		for row, t := range []int64{c.at - c.by, c.at} {
			l := time.Unix(t, 0).In(zone)
			season := " winter"
			if l.IsDST() {
				season = " summer"
			}
			ticks = append(ticks, tick{At: percent(t-start, end-start), Text: l.Format("15:04") + season, Anchor: "first", Row: row + 1})
		}
	}
	return ticks
}

// clockNote says in words what the clock did on a day, "" on most.
func clockNote(d date, zone *time.Location) string {
	c, ok := d.change(zone)
	switch {
	case !ok:
		return ""
	case c.forward:
		return "The clock went forward: after " + clock(c.at-60, zone) + " came " + clock(c.at, zone) + "."
	default:
		return "The clock went back: the time from " + clock(c.at, zone) + " to " + clock(c.at+c.by, zone) + " came twice."
	}
}
