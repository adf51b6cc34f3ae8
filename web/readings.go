package web

import (
	"cmp"
	"maps"
	"slices"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Registers of interval energy (IEC 62056-6-1).
const (
	registerUsed = "1-0:1.29.0*255" // drawn from the grid, Wh
	registerFed  = "1-0:2.29.0*255" // fed into the grid, Wh
)

// Quality codes of the wire.
const (
	qualityMeasured = 0
	qualityMissing  = 15
)

// qualityWords say how a value came about; a measured one needs no word.
var qualityWords = map[byte]string{qualityMeasured: "", 1: "estimated", 2: "substituted", 3: "suspect"}

// interval is one reading that is there.
type interval struct {
	start, length int64 // seconds
	wh            int64
	quality       byte
}

func (i interval) end() int64 { return i.start + i.length }

// channel is a meter in one direction.
type channel struct{ point, register string }

// day is what a home's meters said on one date of its zone.
type day struct {
	channels map[channel][]interval
	used     int64 // Wh drawn from the grid, all meters together
	measured bool  // there is a reading of what was drawn
}

// sorted returns the channels by meter, what is drawn before what is fed in.
func (d day) sorted() []channel {
	return slices.SortedFunc(maps.Keys(d.channels), func(a, b channel) int {
		return cmp.Or(cmp.Compare(a.point, b.point), cmp.Compare(a.register, b.register))
	})
}

// week is an answer of the API by date.
type week struct {
	days    map[date]day
	points  map[string]bool // the meters that said anything
	receipt *wattveilv1.Receipt
}

// has reports whether any meter said anything on a date.
func (w week) has(d date) bool { return len(w.days[d].channels) > 0 }

// newest returns the last date with a reading; there must be one.
func (w week) newest() date {
	return slices.MaxFunc(slices.Collect(maps.Keys(w.days)), func(a, b date) int { return a.utc().Compare(b.utc()) })
}

// sortIntoDays sorts the intervals that hold a value into the dates on which
// they start. Registers that are not interval energy are left aside.
func sortIntoDays(resp *wattveilv1.ReadOwnSeriesResponse, zone *time.Location) week {
	w := week{days: make(map[date]day), points: make(map[string]bool), receipt: resp.GetReceipt()}
	for _, s := range resp.GetSeries() {
		if s.GetRegister() != registerUsed && s.GetRegister() != registerFed || s.GetLengthSeconds() <= 0 {
			continue
		}
		c := channel{s.GetUsagePoint(), s.GetRegister()}
		for i, wh := range s.GetValues() {
			quality := byte(qualityMeasured)
			if q := s.GetQualities(); len(q) > 0 && i < len(q) {
				quality = q[i]
			}
			if quality == qualityMissing {
				continue
			}
			start := s.GetStart() + int64(i)*s.GetLengthSeconds()
			w.add(c, dateOf(start, zone), interval{start, s.GetLengthSeconds(), wh, quality})
		}
	}
	for _, d := range w.days {
		for _, all := range d.channels {
			slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
		}
	}
	return w
}

func (w week) add(c channel, on date, i interval) {
	d := w.days[on]
	if d.channels == nil {
		d.channels = make(map[channel][]interval)
	}
	d.channels[c] = append(d.channels[c], i)
	if c.register == registerUsed {
		d.used += i.wh
		d.measured = true
	}
	w.days[on] = d
	w.points[c.point] = true
}

// drawMeter draws one channel's day, which has at least one interval. Where a
// home has several meters each is named.
func drawMeter(c channel, all []interval, l window, several bool) meterDay {
	start, end := l.day.start(l.zone), l.day.add(1).start(l.zone)
	m := meterDay{Heading: "Electricity used", Fed: c.register == registerFed, Offsets: clockNote(l.day, l.zone) != ""}
	if m.Fed {
		m.Heading = "Electricity fed in"
	}
	if several {
		m.Heading += ", meter " + c.point
	}

	var steps []step
	var total, covered int64
	guessed := uint64(0)
	most := all[0]
	next := start // where the intervals so far end
	for _, i := range all {
		if i.start > next {
			m.Chart.Gaps = append(m.Chart.Gaps, gap{next - start, i.start - next})
		}
		next = max(next, i.end())
		total += i.wh
		covered += i.length
		if i.quality != qualityMeasured {
			guessed++
		}
		if watts(i.wh, i.length) > watts(most.wh, most.length) {
			most = i
		}
		steps = append(steps, step{i.start - start, i.end() - start, watts(i.wh, i.length), i.quality != qualityMeasured})
		m.Rows = append(m.Rows, row{
			Time: moment{at(i.start, l.zone).ISO, clock(i.start, l.zone)}, Offset: offset(i.start, l.zone),
			Value: kWh(i.wh), Quality: quality(i.quality),
		})
	}
	m.Until, m.Partial = moment{at(next, l.zone).ISO, clock(next, l.zone)}, next < end
	if next < end {
		m.Chart.Gaps = append(m.Chart.Gaps, gap{next - start, end - next})
	}
	if covered < end-start {
		m.Missing = span(end - start - covered)
	}
	if guessed > 0 {
		m.Guessed = many(guessed, "value is", "values are")
	}
	m.Total = roundKWh(total)
	m.Most = clock(most.start, l.zone) + " to " + clock(most.end(), l.zone)
	if m.Offsets {
		m.Most += " (" + offset(most.start, l.zone) + ")" // the hour may come twice
	}
	m.Most += ", at " + roundKW(watts(most.wh, most.length)) + " kW"

	m.Chart.ID = "used"
	if m.Fed {
		m.Chart.ID = "fed"
	}
	if several {
		m.Chart.ID += "-" + c.point
	}
	m.Chart.Title = m.Heading + " on " + l.day.long()
	m.Chart.Desc = m.Total + " kWh in all. Most from " + m.Most + "."
	m.Chart.Width = end - start
	lowest := slices.MinFunc(all, func(a, b interval) int { return cmp.Compare(a.wh, b.wh) })
	m.Chart.plan(watts(lowest.wh, lowest.length), watts(most.wh, most.length))
	m.Chart.draw(steps)
	m.Chart.X = dayAxis(l.day, l.zone)
	return m
}

// quality returns the word for a quality code; codes this portal does not know
// are not passed off as measured.
func quality(code byte) string {
	if word, ok := qualityWords[code]; ok {
		return word
	}
	return "not measured"
}

// offset is how far the clock is from UTC at an instant.
func offset(t int64, zone *time.Location) string {
	return "UTC" + time.Unix(t, 0).In(zone).Format("-07:00")
}
