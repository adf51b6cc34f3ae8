package release

import (
	"fmt"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// Span is how many days one release is made of.
type Span string

// The spans. Weeks begin on Monday (ISO 8601), and all of them at 00:00 UTC.
const (
	Day   Span = "day"
	Week  Span = "week"
	Month Span = "month"
)

// Weekdays says which days of a span count.
type Weekdays string

// The choices of days.
const (
	AllDays  Weekdays = "all"
	Workdays Weekdays = "workdays" // Monday to Friday
	Weekend  Weekdays = "weekend"
)

func (s Span) known() bool { return s == Day || s == Week || s == Month }

func (w Weekdays) known() bool { return w == AllDays || w == Workdays || w == Weekend }

func (w Weekdays) holds(d meter.Day) bool {
	weekday := date(d).Weekday()
	weekend := weekday == time.Saturday || weekday == time.Sunday
	return w == AllDays || weekend == (w == Weekend)
}

// perYear is how many spans can touch one calendar year.
func (s Span) perYear() uint64 {
	switch s {
	case Week:
		return 54 // 52 whole ones and one at each end of a leap year
	case Month:
		return 12
	default:
		return 366
	}
}

// of returns the first and the last day of the span that holds a day.
func (s Span) of(d meter.Day) (first, last meter.Day) {
	switch s {
	case Week:
		first = d - meter.Day((date(d).Weekday()+6)%7)
		return first, first + 6
	case Month:
		t := date(d)
		first = d - meter.Day(t.Day()-1)
		return first, meter.DayOf(t.AddDate(0, 1, 1-t.Day()).Unix()) - 1
	default:
		return d, d
	}
}

// name writes a span: 2018-11-05, 2018-W45 or 2018-11.
func (s Span) name(first meter.Day) string {
	switch s {
	case Week:
		year, week := date(first).ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	case Month:
		return first.String()[:len("2018-11")]
	default:
		return first.String()
	}
}

// longest is a span with the most days that the product's spans have.
func (p Product) longest() []meter.Day {
	var most []meter.Day
	for d := meter.Day(0); d < 366; d++ {
		if blocks := p.blocks(d); len(blocks) > len(most) {
			most = blocks
		}
	}
	return most
}

// blocks are the days that a release is made of, the one whose span holds a day.
func (p Product) blocks(d meter.Day) []meter.Day {
	first, last := p.Span.of(d)
	var blocks []meter.Day
	for ; first <= last; first++ {
		if p.Days.holds(first) {
			blocks = append(blocks, first)
		}
	}
	return blocks
}

// id names the release of the span that holds a day.
func (p Product) id(d meter.Day) string {
	first, _ := p.Span.of(d)
	return p.Name + "/" + p.Span.name(first)
}

func date(d meter.Day) time.Time { return time.Unix(d.Start(), 0).UTC() }
