package espi

import (
	"time"

	"github.com/wattveil/wattveil/meter"
)

// Subscription makes the entries and the heads of documents about what one
// consent covers. It holds no state; it may be used by many goroutines.
type Subscription struct {
	Site      Site
	ID        string    // the consent's: authorization, subscription and customer are one
	Published time.Time // of every entry: when the consent was granted, say
	Updated   time.Time // of every entry and of the document
	Currency  int64     // ISO 4217, stated with reading types though no cost is; 0 leaves it out
}

// Point is a usage point as a document names it.
type Point struct {
	UsagePoint meter.UsagePoint
	Zone       *time.Location // of the clock on its wall
	Summaries  bool           // link to the collection of its summaries
}

// Meter is a register of a usage point, in one step: one meter reading.
type Meter struct {
	Register meter.Register
	Step     Step
}

// Names returns the identifiers of what the subscription covers.
func (s Subscription) Names() Names { return NewNames(s.ID) }

// point returns the name of a usage point.
func (s Subscription) point(p meter.UsagePoint) string { return s.Names().UsagePoint(p) }

func (s Subscription) entry(id, title string, links ...Link) Entry {
	return Entry{ID: URN(id), Title: title, Published: Stamp(s.Published), Updated: Stamp(s.Updated), Links: links}
}

// self and up are the two links that every entry begins with.
func links(kind, self, up string) []Link {
	return []Link{{"self", self, "espi-entry/" + kind}, {"up", up, "espi-feed/" + kind}}
}

// Head returns the head of a feed of entries of one kind, such as "MeterReading",
// at an address of the Site.
func (s Subscription) Head(kind, address string) Head {
	return Head{
		ID: URN(s.Names().Document(address[min(len(s.Site), len(address)):])), Title: kind, Updated: Stamp(s.Updated),
		Links: []Link{{"self", address, "espi-feed/" + kind}},
	}
}

// UsagePoint returns the entry of a usage point. It tells the kind of service
// and nothing else: the hub is not asked where a point is.
func (s Subscription) UsagePoint(p Point) Entry {
	id := s.point(p.UsagePoint)
	e := s.entry(id, "UsagePoint", links("UsagePoint", s.Site.UsagePoint(s.ID, id), s.Site.UsagePoints(s.ID))...)
	e.Links = append(e.Links,
		Link{"related", s.Site.LocalTime(s.Names().LocalTime(p.zone().String())), "espi-entry/LocalTimeParameters"},
		Link{"related", s.Site.MeterReadings(s.ID, id), "espi-feed/MeterReading"})
	if p.Summaries {
		e.Links = append(e.Links, Link{"related", s.Site.UsageSummaries(s.ID, id), "espi-feed/UsageSummary"})
	}
	e.Contents = []Resource{&UsagePoint{Category: &ServiceCategory{number(0)}}}
	return e
}

func (p Point) zone() *time.Location {
	if p.Zone == nil {
		return time.UTC
	}
	return p.Zone
}

// LocalTime returns the entry of a zone's clock, by the rules of the year of
// Updated.
func (s Subscription) LocalTime(zone *time.Location) Entry {
	if zone == nil {
		zone = time.UTC
	}
	id := s.Names().LocalTime(zone.String())
	e := s.entry(id, "LocalTimeParameters", links("LocalTimeParameters", s.Site.LocalTime(id), s.Site.LocalTimes())...)
	local := LocalTime(zone, s.Updated)
	e.Contents = []Resource{&local}
	return e
}

// MeterReading returns the entry of a register's readings.
func (s Subscription) MeterReading(p meter.UsagePoint, m Meter) Entry {
	point, id := s.point(p), s.Names().MeterReading(p, m.Register, m.Step)
	e := s.entry(id, "MeterReading", links("MeterReading", s.Site.MeterReading(s.ID, point, id), s.Site.MeterReadings(s.ID, point))...)
	e.Links = append(e.Links,
		Link{"related", s.Site.IntervalBlocks(s.ID, point, id), "espi-feed/IntervalBlock"},
		Link{"related", s.Site.ReadingType(s.Names().ReadingType(p, m.Register, m.Step)), "espi-entry/ReadingType"})
	e.Contents = []Resource{&MeterReading{}}
	return e
}

// ReadingType returns the entry of a meter reading's own reading type. Its first
// related link is the meter reading, by which EDDIE finds the block. The error
// is ErrRegister.
func (s Subscription) ReadingType(p meter.UsagePoint, m Meter) (Entry, error) {
	t, err := ReadingTypeOf(m.Register, m.Step, s.Currency)
	if err != nil {
		return Entry{}, err
	}
	id := s.Names().ReadingType(p, m.Register, m.Step)
	e := s.entry(id, "ReadingType", links("ReadingType", s.Site.ReadingType(id), s.Site.ReadingTypes())...)
	reading := s.Site.MeterReading(s.ID, s.point(p), s.Names().MeterReading(p, m.Register, m.Step))
	e.Links = append(e.Links, Link{"related", reading, "espi-entry/MeterReading"})
	e.Contents = []Resource{t}
	return e, nil
}

// block returns the entry of the block that spans [start, until), without its
// content. Blocks of other ranges have other identifiers, so that a reader which
// stores by identifier does not replace one day with the next.
func (s Subscription) block(p meter.UsagePoint, m Meter, start, until int64) Entry {
	point, reading, id := s.point(p), s.Names().MeterReading(p, m.Register, m.Step), blockID(start, until)
	return s.entry(s.Names().of("IntervalBlock/"+reading+"/"+id), "IntervalBlock",
		links("IntervalBlock", s.Site.IntervalBlock(s.ID, point, reading, id), s.Site.IntervalBlocks(s.ID, point, reading))...)
}

// Summary is what a register came to in a period, by its readings.
type Summary struct {
	Register meter.Register
	Start    int64 // unix seconds
	Duration int64 // seconds
	Value    int64 // Wh
	Quality  meter.Quality
}

// UsageSummary returns the entry of a summary. The schema's billing period "may
// also be an off-bill arbitrary period", and this is one: the hub knows no bills,
// no tariff and no cost, and states none. The error is ErrRegister for what is
// not the import of energy, the one thing that consumption means.
func (s Subscription) UsageSummary(p meter.UsagePoint, u Summary) (Entry, error) {
	t, err := ReadingTypeOf(u.Register, Daily, 0)
	if err != nil || !is(t.FlowDirection, 1) || !is(t.UOM, uomWh) || !u.Register.PerInterval() {
		return Entry{}, ErrRegister
	}
	if !within48(u.Value) || u.Start < 0 || u.Duration < 0 || u.Duration > maxDuration {
		return Entry{}, ErrRange
	}
	point, id := s.point(p), s.Names().UsageSummary(p, u.Register, u.Start)
	e := s.entry(id, "UsageSummary", links("UsageSummary", s.Site.UsageSummary(s.ID, point, id), s.Site.UsageSummaries(s.ID, point))...)
	quality := number(qualityValidated)
	if q := qualities[min(u.Quality, meter.Suspect)]; q != nil {
		quality = number(q[0])
	}
	e.Contents = []Resource{&UsageSummary{
		BillingPeriod:     &Period{Duration: u.Duration, Start: u.Start},
		OverallLastPeriod: &Measurement{PowerOfTen: number(0), UOM: number(uomWh), Value: number(u.Value)},
		Quality:           quality,
		StatusTimeStamp:   s.Updated.Unix(),
		Commodity:         number(electricity),
	}}
	return e, nil
}

// Authorization returns the entry of the consent. Its links and addresses are the
// subscription's; the caller fills in the rest.
func (s Subscription) Authorization(a Authorization) Entry {
	a.ResourceURI, a.AuthorizationURI = s.Site.Batch(s.ID), s.Site.Authorization(s.ID)
	e := s.entry(s.Names().of("Authorization"), "Authorization", links("Authorization", s.Site.Authorization(s.ID), s.Site.Authorizations())...)
	e.Contents = []Resource{&a}
	return e
}

// RetailCustomer returns the head of the feed about a person. The hub holds no
// name, address or account of anyone, so the feed has no entries: that is what a
// hub can truthfully say to who asks, and a valid document.
func (s Subscription) RetailCustomer() Head {
	address := s.Site.RetailCustomer(s.ID)
	return Head{
		ID: URN(s.Names().Document(address[len(s.Site):])), Title: "RetailCustomer", Updated: Stamp(s.Updated),
		Links: []Link{{"self", address, "cust-entry/RetailCustomer"}},
	}
}

// ApplicationEntry returns the entry of a third party's registration.
func ApplicationEntry(site Site, a ApplicationInformation, published, updated time.Time) Entry {
	return Entry{
		ID: URN(NewNames(a.ClientID).of("ApplicationInformation")), Title: "ApplicationInformation",
		Published: Stamp(published), Updated: Stamp(updated),
		Links:    links("ApplicationInformation", site.Application(a.ClientID), site.Applications()),
		Contents: []Resource{&a},
	}
}

// ListHead returns the head of a feed that belongs to a third party and not to
// one consent: its authorizations or its registration.
func ListHead(site Site, client, kind, address string, updated time.Time) Head {
	return Subscription{Site: site, ID: client, Updated: updated}.Head(kind, address)
}
