package espi

import "strconv"

// IntervalBlock is a resource: readings of one reading type, in order of time.
type IntervalBlock struct {
	Interval *Period
	Readings []IntervalReading
}

func (*IntervalBlock) element() string { return "IntervalBlock" }

// fields are those that stand before the readings, which are read and written
// apart: there may be tens of thousands.
func (i *IntervalBlock) fields() []field {
	return []field{{name: "interval", at: one[Period, *Period]{&i.Interval}}}
}

// Given says which elements a reading has.
type Given uint8

// The elements.
const (
	GivenPeriod Given = 1 << iota
	GivenValue
	GivenCost
	GivenTier
	GivenTOU
	GivenCPP
)

// IntervalReading is one value. Fields that are not Given are zero.
type IntervalReading struct {
	Start    int64   // unix seconds
	Duration int64   // seconds
	Value    int64   // in units of 10^-Digits of what the reading type says
	Cost     int64   // in hundred-thousandths of the currency
	Quality  []int64 // nil: the reading type's default
	Tier     int64
	TOU      int64
	CPP      int64
	Digits   uint8 // decimals of Value; the schema knows none, feeds do
	Given    Given
}

// appendReading writes r, in the order of the schema. It allocates nothing but b.
func appendReading(b []byte, r *IntervalReading) []byte {
	b = append(b, "<IntervalReading>"...)
	if r.Given&GivenCost != 0 {
		b = appendInt(b, "cost", r.Cost)
	}
	for _, q := range r.Quality {
		b = append(b, "<ReadingQuality><quality>"...)
		b = strconv.AppendInt(b, q, 10)
		b = append(b, "</quality></ReadingQuality>"...)
	}
	if r.Given&GivenPeriod != 0 {
		b = append(b, "<timePeriod><duration>"...)
		b = strconv.AppendInt(b, r.Duration, 10)
		b = append(b, "</duration><start>"...)
		b = strconv.AppendInt(b, r.Start, 10)
		b = append(b, "</start></timePeriod>"...)
	}
	if r.Given&GivenValue != 0 {
		b = append(b, "<value>"...)
		b = Decimal{r.Value, -int(r.Digits)}.append(b)
		b = append(b, "</value>"...)
	}
	if r.Given&GivenTier != 0 {
		b = appendInt(b, "consumptionTier", r.Tier)
	}
	if r.Given&GivenTOU != 0 {
		b = appendInt(b, "tou", r.TOU)
	}
	if r.Given&GivenCPP != 0 {
		b = appendInt(b, "cpp", r.CPP)
	}
	return append(b, "</IntervalReading>"...)
}

// appendBlock writes what stands inside a block's element.
func appendBlock(b []byte, i *IntervalBlock) ([]byte, error) {
	for _, f := range i.fields() {
		var err error
		if b, err = f.append(b); err != nil {
			return b, err
		}
	}
	for k := range i.Readings {
		b = appendReading(b, &i.Readings[k])
	}
	return b, nil
}
