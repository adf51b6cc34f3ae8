package espi

import (
	"strconv"

	"github.com/wattveil/wattveil/meter"
)

// Step is the nominal length of the intervals of a meter reading.
type Step struct {
	length    int64 // seconds
	attribute int64 // TimePeriodOfInterest
}

// The steps of the calendar, whose intervals are as long as their days and
// months are: 23, 24, 25 … hours, 28 to 31 days. The nominal length of a month
// is 30 days.
var (
	Daily   = Step{86400, 11}
	Monthly = Step{30 * 86400, 13}
)

// Every returns the step of intervals that are all so many seconds long.
func Every(seconds int64) Step { return Step{length: seconds} }

// Length returns the nominal length in seconds.
func (s Step) Length() int64 { return s.length }

// String returns a name of the step that never changes: identifiers are made of it.
func (s Step) String() string {
	return strconv.FormatInt(s.length, 10) + "/" + strconv.FormatInt(s.attribute, 10)
}

// admits reports whether an interval of so many seconds is one of the step. A
// calendar's days differ by what clocks are set by, two hours at most.
func (s Step) admits(seconds int64) bool {
	const slack = 2 * 3600
	switch s {
	case Daily:
		return seconds >= 86400-slack && seconds <= 86400+slack
	case Monthly:
		return seconds >= 28*86400-slack && seconds <= 31*86400+slack
	}
	return seconds == s.length
}

// Codes of IEC 61968-9 that are written or recognised.
const (
	accumulationBulk  = 1 // a counter's state
	accumulationDelta = 4 // what passed within the interval
	electricity       = 1 // secondary metered
	electricityMain   = 2 // primary metered
	qualifierNormal   = 12
	kindEnergy        = 12
	uomVAh            = 71
	uomWh             = 72
	uomVarh           = 73
	uomTherm          = 169
)

// direction relates value group C of OBIS (the sum over the phases) to a flow
// direction of one unit.
var directions = []struct {
	quantity byte
	flow     int64
	uom      int64
}{
	{1, 1, uomWh},    // import: forward
	{2, 19, uomWh},   // export: reverse
	{15, 20, uomWh},  // total
	{16, 4, uomWh},   // net
	{3, 2, uomVarh},  // reactive import: lagging
	{4, 3, uomVarh},  // reactive export: leading
	{5, 15, uomVarh}, // quadrants
	{6, 16, uomVarh},
	{7, 17, uomVarh},
	{8, 18, uomVarh},
	{9, 1, uomVAh},
	{10, 19, uomVAh},
}

// phases relates the phase of a register to its code.
var phases = [...]int64{0, 128, 64, 32}

// ReadingTypeOf returns the reading type of a register's values in whole units
// of the register: Wh with multiplier 0. Energies of electricity have one, within
// intervals or as a counter's state; for others the error is ErrRegister. A tariff
// of the register is the type's tou. A currency (ISO 4217) of 0 is left out.
func ReadingTypeOf(r meter.Register, s Step, currency int64) (*ReadingType, error) {
	accumulation := int64(accumulationBulk)
	switch {
	case r.PerInterval():
		accumulation = accumulationDelta
	case r[3] != 8:
		return nil, ErrRegister
	}
	if r[0] != 1 || r[2] == 0 || r[2] > 80 {
		return nil, ErrRegister
	}
	quantity, phase := (r[2]-1)%20+1, (r[2]-1)/20
	for _, d := range directions {
		if d.quantity != quantity {
			continue
		}
		t := &ReadingType{
			Accumulation:   &accumulation,
			Commodity:      number(electricity),
			Qualifier:      number(qualifierNormal),
			DefaultQuality: number(qualityValidated),
			FlowDirection:  number(d.flow),
			IntervalLength: number(s.length),
			Kind:           number(kindEnergy),
			Phase:          number(phases[phase]),
			PowerOfTen:     number(0),
			TimeAttribute:  number(s.attribute),
			UOM:            number(d.uom),
		}
		if currency != 0 {
			t.Currency = number(currency)
		}
		if tariff := r[4]; tariff != 0 && tariff != 255 {
			t.TOU = number(int64(tariff))
		}
		return t, nil
	}
	return nil, ErrRegister
}

func number(v int64) *int64 { return &v }

// Register returns the register whose values a reading type describes, and false
// if it is none that OBIS has: gas, a demand, a direction that is not stated.
func (t *ReadingType) Register() (meter.Register, bool) {
	if t == nil || is(t.Commodity, electricity) == is(t.Commodity, electricityMain) || !is(t.Kind, kindEnergy) {
		return meter.Register{}, false
	}
	r := meter.Register{1, 0, 0, 29, 0, 255}
	switch {
	case is(t.Accumulation, accumulationDelta):
	case is(t.Accumulation, accumulationBulk):
		r[3] = 8
	default:
		return meter.Register{}, false
	}
	for _, d := range directions {
		if is(t.FlowDirection, d.flow) && is(t.UOM, d.uom) {
			r[2] = d.quantity
		}
	}
	if r[2] == 0 {
		return meter.Register{}, false
	}
	for i, p := range phases {
		if i > 0 && is(t.Phase, p) {
			r[2] += byte(20 * i)
		}
	}
	if t.TOU != nil && *t.TOU > 0 && *t.TOU < 255 {
		r[4] = byte(*t.TOU)
	}
	return r, true
}

func is(p *int64, v int64) bool { return p != nil && *p == v }

// unitSymbols are those of UnitSymbolKind that meters of homes are read in; for
// others the code itself is said.
var unitSymbols = map[int64]string{
	5: "A", 29: "V", 31: "J", 33: "Hz", 38: "W", 42: "m3", 61: "VA", 63: "var", uomVAh: "VAh", uomWh: "Wh", uomVarh: "varh",
	106: "Ah", 119: "ft3", 120: "ft3", 128: "gal", 130: "impgal", 132: "Btu", 134: "L", 156: "L", 157: "L", 166: "m3", 167: "m3", uomTherm: "therm",
}

// Unit returns the symbol of the unit, without its multiplier; "uom(n)" for a
// code that is none of a home's meter, "" if none is stated.
func (t *ReadingType) Unit() string {
	if t == nil || t.UOM == nil || *t.UOM == 0 {
		return ""
	}
	if s, ok := unitSymbols[*t.UOM]; ok {
		return s
	}
	return "uom(" + strconv.FormatInt(*t.UOM, 10) + ")"
}
