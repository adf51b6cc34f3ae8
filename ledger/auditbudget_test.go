package ledger_test

import (
	"math"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

const newYear2026 = 20454 // UTC day

// over is a release or a charge over further days, at a price of its own for each.
func over(p ledger.Payload, days uint32, dayRho uint64) ledger.Payload {
	p.Days, p.DayRhoNano = days, dayRho
	return p
}

// spent audits an open log of these leaves.
func spent(t *testing.T, opt ledger.AuditOptions, leaves ...ledger.Payload) ledger.AuditReport {
	t.Helper()
	w := newTown(t)
	w.record(leaves...)
	return w.audit(w.toRegulator(), opt)
}

// A release over a span costs every year that its days touch once, and every day.
// It would catch a span that is charged as often as it has days, or to its first
// day and year alone.
func TestAuditChargesSpans(t *testing.T) {
	day := func(n int32) int32 { return newYear2026 + n }
	for name, c := range map[string]struct {
		leaves []ledger.Payload
		years  map[int]uint64
		max    uint64
		day    int32
	}{
		"nothing": {leaves: []ledger.Payload{{Kind: ledger.KindAdmin, Detail: "nothing"}}},
		"a day":   {[]ledger.Payload{paid(day(0), 6), released(day(0), 6)}, map[int]uint64{2026: 6}, 6, day(0)},
		"a week": {
			[]ledger.Payload{over(paid(day(0), 6), 0b111111, 0), over(released(day(0), 6), 0b111111, 0)},
			map[int]uint64{2026: 6},
			6, day(0),
		},
		"a week of votes": {
			[]ledger.Payload{over(paid(day(0), 6), 0b111111, 12), over(released(day(0), 6), 0b111111, 12)},
			map[int]uint64{2026: 6},
			12, day(0),
		},
		"a span over two years": {
			[]ledger.Payload{over(paid(day(-1), 6), 0b11, 0), over(released(day(-1), 6), 0b11, 0)},
			map[int]uint64{2025: 6, 2026: 6},
			6, day(-1),
		},
		"a span to the end of a year, and a day of the next": {
			[]ledger.Payload{over(paid(day(-2), 6), 0b1, 0), paid(day(0), 5)},
			map[int]uint64{2025: 6, 2026: 5},
			6, day(-2),
		},
		"days of two spans": {
			[]ledger.Payload{over(paid(day(0), 6), 0b111111, 0), over(paid(day(5), 4), 0b111, 0), paid(day(7), 5)},
			map[int]uint64{2026: 15},
			10, day(5),
		},
		"a day left out of a span": {
			[]ledger.Payload{over(paid(day(0), 6), 0b101, 0), paid(day(2), 5), paid(day(3), 1)},
			map[int]uint64{2026: 12},
			7, day(3),
		},
		"a release before payments": {
			[]ledger.Payload{over(released(day(-1), 6), 0b1, 8)},
			map[int]uint64{2025: 6, 2026: 6},
			8, day(-1),
		},
		"the earliest of equals, met first": {[]ledger.Payload{paid(day(1), 6), paid(day(4), 6)}, map[int]uint64{2026: 12}, 6, day(1)},
		"the earliest of equals, met last":  {[]ledger.Payload{paid(day(4), 6), paid(day(1), 6)}, map[int]uint64{2026: 12}, 6, day(1)},
		"the earliest of equals, made up":   {[]ledger.Payload{paid(day(1), 4), paid(day(4), 6), paid(day(1), 2)}, map[int]uint64{2026: 12}, 6, day(1)},
		"before 1970":                       {[]ledger.Payload{paid(-3, 6)}, map[int]uint64{1969: 6}, 6, -3},
		"before the calendar":               {[]ledger.Payload{paid(-719_528, 6)}, map[int]uint64{0: 6}, 6, -719_528},
	} {
		r := spent(t, ledger.AuditOptions{}, c.leaves...)
		if len(r.Findings) > 0 || r.MaxDayRhoNano != c.max || r.MaxDay != c.day || len(r.RhoNano) != len(c.years) {
			t.Errorf("%s: years %v, at most %d on day %d, findings %+v; want %v, %d on day %d", name, r.RhoNano, r.MaxDayRhoNano, r.MaxDay, r.Findings, c.years, c.max, c.day)
		}
		for year, want := range c.years {
			if r.RhoNano[year] != want {
				t.Errorf("%s: %d cost %d, want %d", name, year, r.RhoNano[year], want)
			}
		}
	}
}

// What was paid for is one product over certain days at certain prices, and nothing
// else. It would catch a week that is published on what a day cost, or votes on what
// totals cost.
func TestAuditOfUnpaidSpans(t *testing.T) {
	week := over(paid(newYear2026, 6), 0b111111, 12)
	good := over(released(newYear2026, 6), 0b111111, 12)
	other := func(edit func(*ledger.Payload)) ledger.Payload {
		p := good
		edit(&p)
		return p
	}
	if r := spent(t, ledger.AuditOptions{}, week, good); len(r.Findings) > 0 {
		t.Errorf("what was paid for: %+v", r.Findings)
	}
	for name, p := range map[string]ledger.Payload{
		"of more days":           other(func(p *ledger.Payload) { p.Days |= 1 << 6 }),
		"of fewer days":          other(func(p *ledger.Payload) { p.Days &^= 1 }),
		"of one day":             other(func(p *ledger.Payload) { p.Days = 0 }),
		"of days one later":      other(func(p *ledger.Payload) { p.Day++ }),
		"at another price":       other(func(p *ledger.Payload) { p.RhoNano = 7 }),
		"at another day's price": other(func(p *ledger.Payload) { p.DayRhoNano = 11 }),
		"at one price":           other(func(p *ledger.Payload) { p.DayRhoNano = 0 }),
		"of another product":     other(func(p *ledger.Payload) { p.Product = "votes" }),
	} {
		r := spent(t, ledger.AuditOptions{}, week, p)
		has(t, "a release "+name, r, ledger.AuditUnpaid, 1)
		if r.RhoNano[2026] != week.RhoNano+p.RhoNano {
			t.Errorf("a release %s is not charged beside what was paid for another: %d", name, r.RhoNano[2026])
		}
	}
	// Over other days it is still the second release of that product from that day.
	fewer := other(func(p *ledger.Payload) { p.Days = 1 })
	has(t, "released twice", spent(t, ledger.AuditOptions{}, week, good, over(paid(newYear2026, 6), 1, 12), fewer), ledger.AuditReleasedTwice, 3)
}

// No account goes over its cap, and no sum wraps: each overdraft is named at the
// leaf that made it. It would catch a span that is held against the year's cap
// alone, and a day whose sum begins again at zero.
func TestAuditOfAccounts(t *testing.T) {
	caps := ledger.AuditOptions{YearlyCapNano: 100, DailyCapNano: 20}
	for name, c := range map[string]struct {
		leaves []ledger.Payload
		what   string // found at the last leaf
	}{
		"a day": {[]ledger.Payload{paid(newYear2026, 15), paid(newYear2026, 6)}, "the day 2026-01-01 cost more than the cap"},
		"a day at its own price": {
			[]ledger.Payload{paid(newYear2026+1, 1), over(paid(newYear2026, 10), 0b1, 20)}, "the day 2026-01-02 cost more than the cap",
		},
		"several days": {
			[]ledger.Payload{over(paid(newYear2026, 15), 0b1110, 0), over(paid(newYear2026+1, 6), 0b111, 0)},
			"3 days cost more than the cap, the first 2026-01-03",
		},
		"the second of two years": {
			[]ledger.Payload{over(paid(newYear2026, 96), 0, 1), over(paid(newYear2026-1, 5), 0b1, 1)}, "the year 2026 cost more than the cap",
		},
		"the first of two years": {
			[]ledger.Payload{over(paid(newYear2026-1, 96), 0, 1), over(paid(newYear2026-1, 5), 0b1, 1)}, "the year 2025 cost more than the cap",
		},
		"a day beyond numbers": {
			[]ledger.Payload{over(paid(newYear2026, 1), 0, 5), over(paid(newYear2026-1, 1), 0b1, math.MaxUint64-2)}, "2 days cost more than the cap, the first 2025-12-31",
		},
	} {
		r := spent(t, caps, c.leaves...)
		if len(r.Findings) != 1 || r.Findings[0].Code != ledger.AuditBudget || r.Findings[0].Index != uint64(len(c.leaves)-1) || r.Findings[0].What != c.what {
			t.Errorf("%s: %+v, want %q", name, r.Findings, c.what)
		}
	}
	// At a cap is within it.
	if r := spent(t, caps, over(paid(newYear2026-1, 50), 0b1, 10), over(paid(newYear2026-1, 50), 0b1, 10)); len(r.Findings) > 0 {
		t.Errorf("at both caps: %+v", r.Findings)
	}
	// Without caps a sum beyond numbers is found, and is not added.
	r := spent(t, ledger.AuditOptions{}, over(paid(newYear2026, 1), 0, 5), over(paid(newYear2026, 1), 0, math.MaxUint64-4))
	if len(r.Findings) != 1 || r.Findings[0].Code != ledger.AuditBudget || r.Findings[0].Index != 1 || r.MaxDayRhoNano != 5 || r.RhoNano[2026] != 2 {
		t.Errorf("a day beyond numbers: %+v, at most %d a day", r.Findings, r.MaxDayRhoNano)
	}
}
