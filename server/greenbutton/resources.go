package greenbutton

import (
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// feed writes entries as a feed of one kind at an address.
func (r *request) feed(s espi.Subscription, kind, address string, entries ...espi.Entry) error {
	f := espi.NewFeed(r.atom(), s.Head(kind, address))
	for _, e := range entries {
		if err := f.Write(e); err != nil {
			return err
		}
	}
	return f.Close()
}

// entry writes one entry as a document.
func (r *request) entry(e espi.Entry) error {
	f := espi.NewEntry(r.atom())
	if err := f.Write(e); err != nil {
		return err
	}
	return f.Close()
}

// here is what a request for a resource below a subscription is about.
type here struct {
	*subscription
	query
	point espi.Point // of the path, if it names one
}

func (d *door) here(r *request) (h here, err error) {
	if h.query, _, err = parseQuery(r.r.URL.RawQuery); err != nil {
		return here{}, err
	}
	if h.subscription, err = d.subscribed(r); err != nil {
		return here{}, err
	}
	if name := r.value("point"); name != "" {
		h.point, err = h.subscription.point(name)
	}
	return h, err
}

// name is the usage point's in addresses.
func (h here) name() string { return h.Names().UsagePoint(h.point.UsagePoint) }

func (d *door) usagePoints(r *request) error {
	h, err := d.here(r)
	if err != nil {
		return err
	}
	var entries []espi.Entry
	if h.updated(d.Now().Unix()) {
		for _, p := range page(h.query, h.points) {
			entries = append(entries, h.UsagePoint(p))
		}
	}
	return r.feed(h.Subscription, "UsagePoint", h.Site.UsagePoints(h.ID), entries...)
}

func (d *door) usagePoint(r *request) error {
	h, err := d.here(r)
	if err != nil {
		return err
	}
	return r.entry(h.UsagePoint(h.point))
}

// registers opens the usage point of the path: what registers and steps there are shows
// only in the readings.
func (d *door) registers(r *request) (here, []register, error) {
	h, err := d.here(r)
	if err != nil {
		return here{}, nil, err
	}
	read, err := d.read(r, h.subscription, h.query, h.point)
	return h, read[h.point.UsagePoint], err
}

func (d *door) meterReadings(r *request) error {
	h, registers, err := d.registers(r)
	if err != nil {
		return err
	}
	var entries []espi.Entry
	for _, of := range page(h.query, registers) {
		entries = append(entries, h.MeterReading(h.point.UsagePoint, of.Meter))
	}
	return r.feed(h.Subscription, "MeterReading", h.Site.MeterReadings(h.ID, h.name()), entries...)
}

// reading returns the register that the path names.
func (d *door) reading(r *request) (here, register, error) {
	h, registers, err := d.registers(r)
	if err != nil {
		return here{}, register{}, err
	}
	for _, of := range registers {
		if h.Names().MeterReading(h.point.UsagePoint, of.Register, of.Step) == r.value("reading") {
			return h, of, nil
		}
	}
	return here{}, register{}, errNotThere
}

func (d *door) meterReading(r *request) error {
	h, of, err := d.reading(r)
	if err != nil {
		return err
	}
	return r.entry(h.MeterReading(h.point.UsagePoint, of.Meter))
}

func (d *door) intervalBlocks(r *request) error {
	h, of, err := d.reading(r)
	if err != nil {
		return err
	}
	b, err := espi.NewBlockFeed(r.atom(), h.Subscription, h.point.UsagePoint, of.Meter, of.end())
	return of.block(b, err)
}

// intervalBlock is the block that its own identifier gives the range of.
func (d *door) intervalBlock(r *request) error {
	from, until, ok := espi.ParseBlockID(r.value("block"))
	if !ok {
		return errNotThere
	}
	h, of, err := d.readingWithin(r, from, until)
	if err != nil {
		return err
	}
	b, err := espi.NewBlockEntry(r.atom(), h.Subscription, h.point.UsagePoint, of.Meter, until)
	return of.block(b, err)
}

// readingWithin is reading, of a range of the path's.
func (d *door) readingWithin(r *request, from, until int64) (here, register, error) {
	h, err := d.here(r)
	if err != nil {
		return here{}, register{}, err
	}
	h.publishedMin, h.publishedMax = from, until
	read, err := d.read(r, h.subscription, h.query, h.point)
	if err != nil {
		return here{}, register{}, err
	}
	for _, of := range read[h.point.UsagePoint] {
		if h.Names().MeterReading(h.point.UsagePoint, of.Register, of.Step) == r.value("reading") && of.end() <= until {
			return h, of, nil
		}
	}
	return here{}, register{}, errNotThere
}

// end returns the end of the last interval, unix seconds.
func (of register) end() int64 {
	last := of.parts[len(of.parts)-1]
	return last.StartAt(len(last.Values))
}

// block writes the register's values and ends the document.
func (of register) block(b *espi.Block, err error) error {
	if err != nil {
		return err
	}
	for _, s := range of.parts {
		if err := b.Values(s); err != nil {
			return err
		}
	}
	return b.Close()
}

// usageSummaries sums up what was read: one period, the one that was asked for.
func (d *door) usageSummaries(r *request) error {
	h, registers, err := d.registers(r)
	if err != nil {
		return err
	}
	var entries []espi.Entry
	for _, of := range registers {
		if e, err := h.UsageSummary(h.point.UsagePoint, of.sum()); err == nil { // what is not consumption has none
			entries = append(entries, e)
		}
	}
	return r.feed(h.Subscription, "UsageSummary", h.Site.UsageSummaries(h.ID, h.name()), page(h.query, entries)...)
}

// sum adds the register up over the time that was read. It is as good as the worst of its
// values, and in doubt where one is not there.
func (of register) sum() espi.Summary {
	sum := espi.Summary{Register: of.Register, Start: of.parts[0].Start, Duration: of.end() - of.parts[0].Start}
	next := sum.Start
	for _, s := range of.parts {
		if s.Start != next {
			sum.Quality = meter.Suspect
		}
		for i, v := range s.Values {
			switch q := s.QualityAt(i); q {
			case meter.Missing:
				sum.Quality = meter.Suspect
			case meter.Measured, meter.Estimated, meter.Substituted, meter.Suspect:
				sum.Value += v
				sum.Quality = meter.Worse(sum.Quality, q)
			}
		}
		next = s.StartAt(len(s.Values))
	}
	return sum
}

// retailCustomer is the feed about a person, of which the hub knows nothing.
func (d *door) retailCustomer(r *request) error {
	h, err := d.here(r)
	if err != nil {
		return err
	}
	return espi.NewFeed(r.atom(), h.RetailCustomer()).Close()
}

// lengths are the intervals that meters of homes have, in seconds: a reading type is
// found by its identifier without a read.
var lengths = []int64{60, 180, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400}

func (d *door) readingType(r *request) error {
	var found *espi.Entry
	err := d.each(r, func(s *subscription) {
		for _, p := range s.points {
			for _, m := range s.meters() {
				if s.Names().ReadingType(p.UsagePoint, m.Register, m.Step) != r.value("type") {
					continue
				}
				if e, err := s.ReadingType(p.UsagePoint, m); err == nil {
					found = &e
				}
			}
		}
	})
	return r.foundOr(found, err)
}

func (d *door) localTime(r *request) error {
	var found *espi.Entry
	err := d.each(r, func(s *subscription) {
		for _, p := range s.points {
			if s.Names().LocalTime(p.Zone.String()) == r.value("clock") {
				e := s.LocalTime(p.Zone)
				found = &e
			}
		}
	})
	return r.foundOr(found, err)
}

func (r *request) foundOr(e *espi.Entry, err error) error {
	if err != nil {
		return err
	}
	if e == nil {
		return errNotThere
	}
	return r.entry(*e)
}

// maxLooked bounds the consents that are looked through for a resource that no
// subscription's address names.
const maxLooked = 1000

// each calls look with the caller's subscriptions; of an access token there is one.
func (d *door) each(r *request, look func(*subscription)) error {
	if _, _, err := parseQuery(r.r.URL.RawQuery); err != nil {
		return err
	}
	all, err := d.granted(r)
	if err != nil {
		return err
	}
	for _, c := range all[:min(len(all), maxLooked)] {
		s, err := d.subscription(r, c.GetId())
		if err != nil {
			return err
		}
		look(s)
	}
	return nil
}

// stepsOf are the steps that a granularity can come in.
func stepsOf(g wattveilv1.Granularity) []espi.Step {
	if g != wattveilv1.Granularity_GRANULARITY_INTERVAL {
		return []espi.Step{stepOf(g, 3600)}
	}
	steps := make([]espi.Step, len(lengths))
	for i, seconds := range lengths {
		steps[i] = espi.Every(seconds)
	}
	return steps
}

// meters are the registers and steps that the consent's terms allow.
func (s *subscription) meters() []espi.Meter {
	var out []espi.Meter
	for _, text := range s.consent.GetTerms().GetRegisters() {
		r, err := meter.ParseRegister(text)
		if err != nil {
			continue
		}
		for _, step := range stepsOf(s.consent.GetTerms().GetGranularity()) {
			out = append(out, espi.Meter{Register: r, Step: step})
		}
	}
	return out
}

// headed writes a feed that belongs to a third party.
func (r *request) headed(client, kind, address string, at time.Time, entries ...espi.Entry) error {
	f := espi.NewFeed(r.atom(), espi.ListHead(r.site, client, kind, address, at))
	for _, e := range entries {
		if err := f.Write(e); err != nil {
			return err
		}
	}
	return f.Close()
}
