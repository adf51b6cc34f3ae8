package server

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// How complete an answer is can only be said along with it: whether a slot holds a
// value, and of what quality, is sealed. So the account is made of what the permit
// discloses; a finer one would tell of hours what was granted by the day.

// completenessOf accounts for what was asked for in the spans, of each register, by
// local day, or by local month where months were granted. What is not over yet is not
// expected yet.
func completenessOf(permit consent.Permit, spans []span, registers []meter.Register, series []meter.Series) ([]*wattveilv1.SeriesCompleteness, error) {
	period := consent.Day
	if permit.Granularity() == consent.Month {
		period = consent.Month
	}
	zones, err := zonesOf(permit)
	if err != nil {
		return nil, err
	}
	accounts := map[account]*wattveilv1.SeriesCompleteness{}
	for _, s := range spans {
		zone := zones[s.point]
		if zone == nil {
			continue
		}
		from, last := wholeSteps(permit.Granularity(), s.from, min(s.until, permit.Over()), zone)
		for from < last {
			start, end := period.Step(from, zone)
			until := min(end, last)
			for _, r := range registers {
				a := account{s.point, r, start}
				if accounts[a] == nil {
					accounts[a] = &wattveilv1.SeriesCompleteness{
						UsagePoint: string(s.point), Register: r.String(), Date: time.Unix(start, 0).In(zone).Format(time.DateOnly), Start: from,
					}
				}
				accounts[a].ExpectedSeconds += until - from
			}
			from = end
		}
	}
	for at, intervals := range byPeriod(series, period, zones) {
		if c := accounts[at]; c != nil {
			enter(c, intervals)
		}
	}
	out := make([]*wattveilv1.SeriesCompleteness, 0, len(accounts))
	for _, c := range accounts {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *wattveilv1.SeriesCompleteness) int {
		return cmp.Or(cmp.Compare(a.GetUsagePoint(), b.GetUsagePoint()), cmp.Compare(a.GetRegister(), b.GetRegister()), cmp.Compare(a.GetStart(), b.GetStart()))
	})
	return out, nil
}

// wholeSteps cuts a range to the steps of g that lie wholly in it: no part of one is
// ever disclosed.
func wholeSteps(g consent.Granularity, from, until int64, zone *time.Location) (int64, int64) {
	if g == consent.Interval {
		return from, until
	}
	if start, end := g.Step(from, zone); start < from {
		from = end
	}
	until, _ = g.Step(until, zone)
	return from, until
}

// account is a day or month of a register.
type account struct {
	point    meter.UsagePoint
	register meter.Register
	start    int64 // of the whole day or month
}

// present is an interval that has a value.
type present struct {
	start, end int64
	quality    meter.Quality
	revision   uint32
}

// byPeriod lays out the intervals that have a value by the day or month they start in.
func byPeriod(series []meter.Series, period consent.Granularity, zones map[meter.UsagePoint]*time.Location) map[account][]present {
	out := map[account][]present{}
	for _, s := range series {
		zone := zones[s.UsagePoint]
		if zone == nil {
			continue
		}
		a, end := account{point: s.UsagePoint, register: s.Register}, int64(0)
		for i := range s.Values {
			q := s.QualityAt(i)
			if q == meter.Missing {
				continue
			}
			if t := s.StartAt(i); t >= end {
				a.start, end = period.Step(t, zone)
			}
			out[a] = append(out[a], present{s.StartAt(i), s.StartAt(i + 1), q, s.Revision})
		}
	}
	return out
}

// enter counts intervals of one account. Each second counts once, also where intervals
// of two lengths are there.
func enter(c *wattveilv1.SeriesCompleteness, intervals []present) {
	slices.SortFunc(intervals, func(a, b present) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	end := int64(0)
	for _, i := range intervals {
		if i.end > end {
			c.PresentSeconds += i.end - max(i.start, end)
			end = i.end
		}
		c.Intervals++
		if i.revision > 0 {
			c.Revised++
		}
		switch i.quality {
		case meter.Estimated:
			c.Estimated++
		case meter.Substituted:
			c.Substituted++
		case meter.Suspect:
			c.Suspect++
		case meter.Measured, meter.Missing:
		}
	}
}

// zonesOf returns the zones of a permit's usage points.
func zonesOf(permit consent.Permit) (map[meter.UsagePoint]*time.Location, error) {
	zones := map[meter.UsagePoint]*time.Location{}
	for _, s := range permit.Scopes() {
		if zones[s.UsagePoint] != nil {
			continue
		}
		zone, err := time.LoadLocation(s.Zone)
		if err != nil {
			return nil, fmt.Errorf("zone of a usage point: %w", err)
		}
		zones[s.UsagePoint] = zone
	}
	return zones, nil
}

// everywhere is all that a permit covers.
func everywhere(permit consent.Permit) []span {
	var out []span
	for _, s := range permit.Scopes() {
		out = append(out, span{s.UsagePoint, s.From, s.Until})
	}
	return out
}

// spans is what is asked for of a permit.
func (a asked) spans(permit consent.Permit) []span {
	return slices.DeleteFunc(everywhere(permit), func(s span) bool { return len(a.usagePoints) > 0 && !slices.Contains(a.usagePoints, s.point) })
}

// registersOf returns the registers of series, each once.
func registersOf(series []meter.Series) []meter.Register {
	var out []meter.Register
	for _, s := range series {
		if !slices.Contains(out, s.Register) {
			out = append(out, s.Register)
		}
	}
	return out
}
