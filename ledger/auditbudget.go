package ledger

import (
	"math/bits"
	"time"
)

// releaseName names what is published at most once: a product, from a first day, or one
// part of it.
type releaseName struct {
	product string
	day     int32
	part    uint64 // 0 for the whole
}

// auditCharge is what a payment and its release agree in.
type auditCharge struct {
	releaseName
	days               uint32
	rhoNano, dayCharge uint64
}

func chargeOf(p Payload) auditCharge {
	return auditCharge{releaseName{product: p.Product, day: p.Day}, p.Days, p.RhoNano, p.DayCharge()}
}

// release checks that nothing is published twice, and that it was paid for. Before
// budget was paid on record, a release itself is what it cost.
func (a *audit) release(index uint64, p Payload) {
	c := chargeOf(p)
	name := c.releaseName
	name.part = p.Intervals
	if a.released[name] {
		a.find(index, AuditReleasedTwice, "product and day were released before")
	}
	a.released[name] = true
	switch {
	case name.part > 0 && a.parts[c]: // its other parts' payment is its own
		return
	case name.part > 0:
		a.parts[c] = true
	}
	switch {
	case a.paid[c] > 0:
		a.paid[c]--
	case a.paying:
		a.find(index, AuditUnpaid, "no budget was paid for it before")
		fallthrough
	default:
		a.charge(index, p)
	}
}

// spend takes in budget that was paid, for noise that somebody or nobody saw.
func (a *audit) spend(index uint64, p Payload) {
	a.paying = true
	a.paid[chargeOf(p)]++
	a.charge(index, p)
}

// charge adds a cost to its accounts: once to each calendar year that its days
// touch, and to each of the days.
func (a *audit) charge(index uint64, p Payload) {
	var over []int32
	charged := 0 // the year of the day before
	for day := range p.EachDay() {
		if year := dayTime(day).Year(); day == p.Day || year != charged {
			charged = year
			if !post(a.report.RhoNano, year, p.RhoNano, a.opt.YearlyCapNano) {
				a.find(index, AuditBudget, "the year %d cost more than the cap", year)
			}
		}
		if !post(a.days, day, p.DayCharge(), a.opt.DailyCapNano) {
			over = append(over, day)
		}
		a.greatest(day)
	}
	switch len(over) {
	case 0:
	case 1:
		a.find(index, AuditBudget, "the day %s cost more than the cap", dayName(over[0]))
	default:
		a.find(index, AuditBudget, "%d days cost more than the cap, the first %s", len(over), dayName(over[0]))
	}
}

// greatest holds the account of a day against the greatest so far. Accounts only
// grow, so what is the greatest now was compared when it became so.
func (a *audit) greatest(day int32) {
	r := &a.report
	if sum := a.days[day]; sum > r.MaxDayRhoNano || sum == r.MaxDayRhoNano && sum > 0 && day < r.MaxDay {
		r.MaxDayRhoNano, r.MaxDay = sum, day
	}
}

// post adds a cost to an account, and reports whether it is still within its limit,
// 0 for none. A sum beyond uint64 is within none, and is not posted.
func post[K comparable](accounts map[K]uint64, account K, cost, limit uint64) bool {
	sum, carry := bits.Add64(accounts[account], cost, 0)
	if carry != 0 {
		return false
	}
	accounts[account] = sum
	return limit == 0 || sum <= limit
}

// dayTime is the midnight that a UTC day (since 1970) begins with.
func dayTime(day int32) time.Time { return time.Unix(int64(day)*86400, 0).UTC() }

func dayName(day int32) string { return dayTime(day).Format(time.DateOnly) }
