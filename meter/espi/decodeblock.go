package espi

import "encoding/xml"

// block reads the inside of an IntervalBlock.
func (d *Decoder) block(b *IntervalBlock) error {
	for {
		token, err := d.t.next()
		if err != nil {
			return err
		}
		start, ok := token.(xml.StartElement)
		switch {
		case !ok:
			if _, over := token.(xml.EndElement); over {
				return nil
			}
			continue
		case start.Name.Space == Space && start.Name.Local == "IntervalReading":
			if err = d.t.keep(1, 0); err == nil {
				b.Readings = append(b.Readings, IntervalReading{})
				err = d.reading(&b.Readings[len(b.Readings)-1])
			}
		case start.Name.Space == Space && start.Name.Local == "interval":
			b.Interval = new(Period)
			err = d.period(b.Interval)
		default:
			err = d.t.skip()
		}
		if err != nil {
			return err
		}
	}
}

// reading reads the inside of an IntervalReading.
func (d *Decoder) reading(r *IntervalReading) error {
	for {
		token, err := d.t.next()
		if err != nil {
			return err
		}
		start, ok := token.(xml.StartElement)
		switch {
		case !ok:
			if _, over := token.(xml.EndElement); over {
				return nil
			}
			continue
		case start.Name.Space != Space:
			err = d.t.skip()
		default:
			err = d.readingElement(start.Name.Local, r)
		}
		if err != nil {
			return err
		}
	}
}

func (d *Decoder) readingElement(name string, r *IntervalReading) error {
	switch name {
	case "timePeriod":
		var p Period
		if err := d.period(&p); err != nil {
			return err
		}
		r.Start, r.Duration = p.Start, p.Duration
		r.Given |= GivenPeriod
	case "value":
		return d.value(r)
	case "cost":
		return d.given(&r.Cost, r, GivenCost)
	case "consumptionTier":
		return d.given(&r.Tier, r, GivenTier)
	case "tou":
		return d.given(&r.TOU, r, GivenTOU)
	case "cpp":
		return d.given(&r.CPP, r, GivenCPP)
	case "ReadingQuality":
		return d.quality(r)
	default:
		return d.t.skip()
	}
	return nil
}

func (d *Decoder) given(at *int64, r *IntervalReading, g Given) error {
	n, ok, err := d.t.number()
	if ok {
		*at = n
		r.Given |= g
	}
	return err
}

// value reads a value, which in some feeds has decimals.
func (d *Decoder) value(r *IntervalReading) error {
	text, err := d.t.raw()
	if err != nil || len(text) == 0 {
		return err
	}
	v, ok := parseDecimal(text)
	if !ok {
		return d.t.fault(BadNumber)
	}
	r.Value, r.Digits = v.Unscaled, uint8(-v.Exponent)
	r.Given |= GivenValue
	return nil
}

func (d *Decoder) quality(r *IntervalReading) error {
	for {
		token, err := d.t.next()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if token.Name.Space != Space || token.Name.Local != "quality" {
				if err := d.t.skip(); err != nil {
					return err
				}
				continue
			}
			n, ok, err := d.t.number()
			if err != nil {
				return err
			}
			if ok {
				if err := d.t.keep(1, 0); err != nil {
					return err
				}
				r.Quality = append(r.Quality, n)
			}
		}
	}
}

// period reads the inside of a DateTimeInterval. Both halves must be there.
func (d *Decoder) period(p *Period) error {
	var started, lasts bool
	for {
		token, err := d.t.next()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			if !started || !lasts {
				return d.t.fault(IncompletePeriod)
			}
			return nil
		case xml.StartElement:
			switch {
			case token.Name.Space == Space && token.Name.Local == "start":
				started, err = d.start(p)
			case token.Name.Space == Space && token.Name.Local == "duration":
				if p.Duration, lasts, err = d.t.number(); err == nil && (p.Duration < 0 || p.Duration > maxDuration) {
					err = d.t.fault(DurationOutOfRange)
				}
			default:
				err = d.t.skip()
			}
			if err != nil {
				return err
			}
		}
	}
}

// The years 0 to 9999, which RFC 3339 can write.
const (
	firstSecond = -62167219200
	lastSecond  = 253402300799
)

// start reads unix seconds. Some feeds give them decimals; an instant belongs to
// the second that it lies in.
func (d *Decoder) start(p *Period) (bool, error) {
	text, err := d.t.raw()
	if err != nil || len(text) == 0 {
		return false, err
	}
	v, ok := parseDecimal(text)
	if !ok {
		return false, d.t.fault(BadNumber)
	}
	for v.Exponent < 0 {
		remainder := v.Unscaled % 10
		v.Unscaled /= 10
		v.Exponent++
		if remainder < 0 {
			v.Unscaled-- // towards the past
		}
	}
	if p.Start = v.Unscaled; p.Start < firstSecond || p.Start > lastSecond {
		return false, d.t.fault(TimeOutOfRange)
	}
	return true, nil
}
