package espi

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// What the schema holds.
const (
	maxInt48    = 140737488355328
	maxDuration = math.MaxUint32
)

func within48(v int64) bool { return v >= -maxInt48 && v <= maxInt48 }

// Batch writes the feed of a subscription, or of one usage point of it, as its
// values come:
//
//	UsagePoint (Begin Values…)… UsagePoint …  Close
//
// It holds one buffer, whatever it writes. The first error ends the feed, and
// every later call returns it. It is for one goroutine.
type Batch struct {
	feed  *Feed
	sub   Subscription
	zones map[string]bool // whose time parameters have been written; nil before the first subscription
	point Point
	named bool // a usage point has been written

	meter   Meter
	bare    bool  // blocks alone, without the entries they belong to
	until   int64 // of the block
	pending bool  // the meter reading waits for its first value
	last    int64 // start of the last reading
}

// NewBatch begins the feed of everything that the subscription covers.
func NewBatch(w io.Writer, s Subscription) *Batch { return newBatch(w, s, s.Site.Batch(s.ID)) }

// NewPointBatch begins the feed of one usage point.
func NewPointBatch(w io.Writer, s Subscription, p meter.UsagePoint) *Batch {
	return newBatch(w, s, s.Site.BatchPoint(s.ID, s.point(p)))
}

// NewBulk begins the feed of what one third party reads of many households. Each
// is begun by [Batch.Subscription], before its usage points.
func NewBulk(w io.Writer, site Site, client, id string, updated time.Time) *Batch {
	address := site.Bulk(id)
	h := ListHead(site, client, "Green Button Bulk Feed", address, updated)
	h.Links[0].Type = "espi-entry/Subscription"
	return &Batch{feed: NewFeed(w, h)}
}

// Subscription turns to a subscription of a bulk feed.
func (b *Batch) Subscription(s Subscription) error {
	b.endMeter()
	b.sub, b.zones, b.named = s, make(map[string]bool), false
	return b.feed.err
}

func newBatch(w io.Writer, s Subscription, address string) *Batch {
	h := s.Head("Green Button Usage Feed", address)
	h.Links[0].Type = "espi-entry/Subscription"
	return &Batch{feed: NewFeed(w, h), sub: s, zones: make(map[string]bool)}
}

// UsagePoint writes a usage point and, if the feed does not have it yet, its
// clock. What follows is of this usage point.
func (b *Batch) UsagePoint(p Point) error {
	b.endMeter()
	if b.feed.err == nil && b.zones == nil {
		b.feed.err = ErrSequence
		return b.feed.err
	}
	b.point, b.named = p, true
	if err := b.feed.Write(b.sub.UsagePoint(p)); err != nil {
		return err
	}
	if zone := p.zone().String(); !b.zones[zone] {
		b.zones[zone] = true
		return b.feed.Write(b.sub.LocalTime(p.zone()))
	}
	return nil
}

// Begin turns to a register of the usage point. Its block is to end at until,
// unix seconds: the end of the last value, if it is known, else of what was
// asked for. A register of which no value comes is not written, since the rules
// ask for readings in every block.
func (b *Batch) Begin(m Meter, until int64) error {
	b.endMeter()
	if b.feed.err == nil && !b.named {
		b.feed.err = ErrSequence
	}
	if b.feed.err == nil {
		_, b.feed.err = ReadingTypeOf(m.Register, m.Step, 0)
	}
	b.meter, b.until, b.pending, b.last = m, until, true, -1
	return b.feed.err
}

// Values writes the values of s, which are of the register and the step that were
// begun and come in order of time. Missing ones are left out. It keeps nothing of s.
//
// Errors: ErrSequence, ErrStep, ErrSeries, ErrOrder, ErrRange, and the writer's. A value of
// a quality that is not assigned is ErrRange.
func (b *Batch) Values(s meter.Series) error {
	if b.feed.err != nil {
		return b.feed.err
	}
	switch {
	case !b.pending && !b.feed.open, s.Register != b.meter.Register, s.UsagePoint != b.point.UsagePoint:
		b.feed.err = ErrSequence
	case s.Quality != nil && len(s.Quality) != len(s.Values):
		b.feed.err = ErrSeries
	case len(s.Values) > 0 && !b.meter.Step.admits(s.Length):
		b.feed.err = ErrStep
	}
	r := IntervalReading{Duration: s.Length, Given: GivenPeriod | GivenValue}
	for i := range s.Values {
		q := s.QualityAt(i)
		if q == meter.Missing {
			continue
		}
		r.Start, r.Value = s.StartAt(i), s.Values[i]
		if int(q) < len(qualities) {
			r.Quality = qualities[q]
		} else if b.feed.err == nil {
			b.feed.err = ErrRange
		}
		if err := b.reading(&r); err != nil {
			return err
		}
	}
	return b.feed.err
}

// reading writes one value, and before the first one what it belongs to.
func (b *Batch) reading(r *IntervalReading) error {
	switch {
	case b.feed.err != nil:
	case !within48(r.Value), r.Start < 0, r.Start+r.Duration > b.until, b.until > maxEpoch:
		b.feed.err = ErrRange
	case r.Start <= b.last:
		b.feed.err = ErrOrder
	case b.pending:
		b.openMeter(r.Start)
	}
	b.last = r.Start
	return b.feed.reading(r)
}

func (b *Batch) openMeter(start int64) {
	b.pending = false
	p := b.point.UsagePoint
	kind, err := b.sub.ReadingType(p, b.meter)
	if err == nil && b.until-start > maxDuration {
		err = ErrRange
	}
	if err != nil {
		b.feed.err = err
		return
	}
	if !b.bare && (b.feed.Write(b.sub.MeterReading(p, b.meter)) != nil || b.feed.Write(kind) != nil) {
		return
	}
	b.feed.openBlock(b.sub.block(p, b.meter, start, b.until), Period{Duration: b.until - start, Start: start})
}

func (b *Batch) endMeter() {
	b.feed.closeBlock()
	b.pending = false
}

// Meter writes a register whose values are all at hand, in order of time; its
// block ends where the last of them does.
func (b *Batch) Meter(m Meter, parts ...meter.Series) error {
	if err := b.Begin(m, lastEnd(parts)); err != nil {
		return err
	}
	for _, s := range parts {
		if err := b.Values(s); err != nil {
			return err
		}
	}
	return nil
}

// lastEnd returns the end of the last value, unix seconds.
func lastEnd(parts []meter.Series) (end int64) {
	for _, s := range parts {
		for i := len(s.Values) - 1; i >= 0; i-- {
			if s.Quality == nil || i < len(s.Quality) && s.Quality[i] != meter.Missing {
				end = max(end, s.StartAt(i+1))
				break
			}
		}
	}
	return end
}

// Summary writes a summary of the usage point, which must have been written with
// Summaries set.
func (b *Batch) Summary(u Summary) error {
	b.endMeter()
	if b.feed.err == nil && !(b.named && b.point.Summaries) {
		b.feed.err = ErrSequence
	}
	if b.feed.err != nil {
		return b.feed.err
	}
	e, err := b.sub.UsageSummary(b.point.UsagePoint, u)
	if err != nil {
		b.feed.err = fmt.Errorf("espi: summary: %w", err)
		return b.feed.err
	}
	return b.feed.Write(e)
}

// Close ends the feed and writes what is left of it. It does not close the writer.
func (b *Batch) Close() error {
	b.endMeter()
	return b.feed.Close()
}
