package consent

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// ErrSum reports values that cannot be summed: the register's do not add up over
// time, or the sum is more than an int64 holds.
var ErrSum = errors.New("consent: values do not add up")

// Reduce sums the values of series over the hours, days or months of g that lie
// wholly in [from, until), unix seconds. Parts of one are left out: a caller who
// could choose where a sum is cut could take two sums and subtract.
//
// Hours are UTC hours, days and months those of the zone. An interval counts
// where it starts. Within one sum each instant counts once: where intervals
// overlap, the one that starts first counts, of two that start together the
// shorter. Intervals of another hour, day or month have no say in it, so that a
// sum is the same in whatever range it is asked for.
//
// The answer is ordered by usage point, register and time. Since days and months
// differ in length, it has one Series for each run of equally long ones, with
// Revision 0: a sum is no reading. A sum's quality is the worst of its parts',
// in the order Measured, Substituted, Estimated, Suspect. It is Suspect as well
// if a part of the time has no value, or has two; Missing, with value 0, if none
// of it has a value and there are sums before and after.
//
// Series whose intervals are as long as g, or longer, come back as they are,
// cut to [from, until). For Interval all do.
func Reduce(series []meter.Series, g Granularity, zone *time.Location, from, until int64) ([]meter.Series, error) {
	groups := make(map[channel][]meter.Series)
	var out []meter.Series
	for _, s := range series {
		switch s = s.Trim(from, until); {
		case s.Present() == 0:
		case s.Length >= g.nominal():
			out = append(out, s)
		case !s.Register.PerInterval():
			return nil, ErrSum
		default:
			c := channel{s.UsagePoint, s.Register}
			groups[c] = append(groups[c], s)
		}
	}
	for c, group := range groups {
		totals, err := sum(group, g, zone, from, until)
		if err != nil {
			return nil, err
		}
		out = append(out, c.runs(totals, g, zone)...)
	}
	slices.SortStableFunc(out, func(a, b meter.Series) int {
		return cmp.Or(cmp.Compare(a.UsagePoint, b.UsagePoint), compareRegisters(a.Register, b.Register), cmp.Compare(a.Start, b.Start))
	})
	return out, nil
}

type channel struct {
	point    meter.UsagePoint
	register meter.Register
}

// nominal returns the shortest length in seconds that is as coarse as g.
func (g Granularity) nominal() int64 {
	switch g {
	case Interval:
	case Hour:
		return 3600
	case Day:
		return 24 * 3600
	case Month:
		return 28 * 24 * 3600
	}
	return 0
}

// total is the sum over one hour, day or month.
type total struct {
	start, end int64
	value      int64
	quality    meter.Quality
	covered    int64 // seconds that have a value
}

func sum(group []meter.Series, g Granularity, zone *time.Location, from, until int64) ([]total, error) {
	var totals []total
	end := int64(0) // of the last interval that was counted in the last total
	for _, i := range intervals(group) {
		n := len(totals) - 1
		if n < 0 || i.start >= totals[n].end {
			start, stop := g.bucket(i.start, zone)
			if start < from || stop > until {
				continue
			}
			totals = append(totals, total{start: start, end: stop})
			n++
			end = 0 // what lies before has no say: it may be out of range the next time
		}
		t := &totals[n]
		if i.start < end {
			t.quality = meter.Suspect
			continue
		}
		value := t.value + i.value
		if (value > t.value) != (i.value > 0) && i.value != 0 {
			return nil, ErrSum
		}
		end = i.start + i.length
		t.value, t.quality = value, meter.Worse(t.quality, i.quality)
		t.covered += i.length
	}
	for n := range totals {
		if t := &totals[n]; t.covered < t.end-t.start {
			t.quality = meter.Suspect
		}
	}
	return totals, nil
}

type interval struct {
	start, length, value int64
	quality              meter.Quality
}

// intervals returns those that hold a value, by start and length.
func intervals(group []meter.Series) []interval {
	n := 0
	for _, s := range group {
		n += len(s.Values)
	}
	all := make([]interval, 0, n)
	for _, s := range group {
		for i, v := range s.Values {
			if q := s.QualityAt(i); q != meter.Missing {
				all = append(all, interval{s.StartAt(i), s.Length, v, q})
			}
		}
	}
	slices.SortFunc(all, func(a, b interval) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.length, b.length))
	})
	return all
}

// runs turns totals, ordered by time, into series of equally long intervals,
// with those in between that have no value marked Missing.
func (c channel) runs(totals []total, g Granularity, zone *time.Location) []meter.Series {
	var out []meter.Series
	add := func(t total) {
		n := len(out) - 1
		if n < 0 || out[n].Length != t.end-t.start || out[n].End() != t.start {
			out = append(out, meter.Series{UsagePoint: c.point, Register: c.register, Start: t.start, Length: t.end - t.start})
			n++
		}
		out[n].Values = append(out[n].Values, t.value)
		out[n].Quality = append(out[n].Quality, t.quality)
	}
	for i, t := range totals {
		if i > 0 {
			for gap := totals[i-1].end; gap < t.start; {
				start, end := g.bucket(gap, zone)
				add(total{start: start, end: end, quality: meter.Missing})
				gap = end
			}
		}
		add(t)
	}
	for i := range out {
		if !slices.ContainsFunc(out[i].Quality, func(q meter.Quality) bool { return q != meter.Measured }) {
			out[i].Quality = nil
		}
	}
	return out
}
