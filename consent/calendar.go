package consent

import "time"

// bucket returns the hour, day or month that holds the instant t, as unix
// seconds [start, end). Hours are UTC hours, days and months those of the zone;
// a day is 23, 24, 25 … hours long, as its clocks were set.
func (g Granularity) bucket(t int64, zone *time.Location) (start, end int64) {
	if g == Hour {
		start = t - ((t%3600)+3600)%3600
		return start, start + 3600
	}
	y, m, d := time.Unix(t, 0).In(zone).Date()
	months, days := 0, 1
	if g == Month {
		d, months, days = 1, 1, 0
	}
	start, end = midnight(y, m, d, zone), midnight(y, m+time.Month(months), d+days, zone)
	switch { // clocks set back across midnight give one date twice: its start is the later one
	case t < start:
		return midnight(y, m-time.Month(months), d-days, zone), start
	case t >= end:
		return end, midnight(y, m+time.Month(2*months), d+2*days, zone)
	}
	return start, end
}

// midnight returns the first instant of a calendar date, in unix seconds.
// time.Date alone does not where clocks are set at or near midnight: the date
// may begin at 01:00, or 00:00 may come twice. So it counts back from noon, and
// looks at the clock change if one lies between.
func midnight(y int, m time.Month, d int, zone *time.Location) int64 {
	noon := time.Date(y, m, d, 12, 0, 0, 0, zone)
	start := noon.Unix() - 12*3600
	change, _ := noon.ZoneBounds()
	if change.IsZero() || change.Unix() < start {
		return start
	}
	before := change.Add(-time.Second).In(zone)
	if before.YearDay() != noon.YearDay() || before.Year() != noon.Year() {
		return change.Unix() // 00:00 was skipped
	}
	hour, minute, second := before.Clock()
	return before.Unix() - int64(3600*hour+60*minute+second)
}
