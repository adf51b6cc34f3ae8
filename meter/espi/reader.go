package espi

import (
	"errors"
	"io"
	"strings"

	"github.com/wattveil/wattveil/meter"
)

// Value is one reading, understood: the number with the unit its reading type
// gives it.
type Value struct {
	// Meter names the usage point: the part of a link after /UsagePoint/. It is
	// empty in feeds without links.
	Meter    string
	Type     *ReadingType // nil if the document has none for it, or two that disagree; shared, not to be changed
	Register meter.Register
	Known    bool // the reading type is a register of OBIS
	Timed    bool // Start and Duration were given
	Start    int64
	Duration int64
	Number   Decimal // in Unit
	Unit     string  // "" if the document does not say
	Quality  meter.Quality
}

// Reader yields the values of a document. A block's reading type is found by the
// links of its meter reading. A block that comes before the one or the other
// waits for the end of the document; others cost no more memory than themselves.
// Where an entry has no links at all, the reading type before it is its own. It
// is for one goroutine.
type Reader struct {
	d      *Decoder
	types  map[string]*kindOfType // by their own address
	meters map[string]*meterLinks // by their own address, and by those they point to
	last   *ReadingType           // the one that came last
	ready  []pendingBlock
	held   []pendingBlock
	weight int // readings held
	kept   int // bytes of addresses kept
	ended  bool
	err    error
}

type kindOfType struct {
	t         *ReadingType
	ambiguous bool
}

// meterLinks are the links of one meter reading.
type meterLinks struct {
	related []string
	inside  *ReadingType
}

// pendingBlock is a block whose values have not been handed out.
type pendingBlock struct {
	meter    string
	links    []string // its own address and the one above it
	kind     *kindOfType
	readings []IntervalReading
}

// NewReader begins to read r. The error is an *Error.
func NewReader(r io.Reader) (*Reader, error) {
	d, err := NewDecoder(r)
	if err != nil {
		return nil, err
	}
	return &Reader{d: d, types: make(map[string]*kindOfType), meters: make(map[string]*meterLinks)}, nil
}

// Next returns the next value; readings that state none are passed over. At the
// end of the document the error is io.EOF; any other is an *Error, and every
// later call returns it again.
func (r *Reader) Next() (Value, error) {
	for r.err == nil {
		for len(r.ready) > 0 {
			b := &r.ready[0]
			for len(b.readings) > 0 {
				reading := &b.readings[0]
				b.readings = b.readings[1:]
				if reading.Given&GivenValue != 0 {
					return b.value(reading), nil
				}
			}
			r.ready = r.ready[1:]
		}
		if r.ended {
			r.err = io.EOF
			break
		}
		r.err = r.more()
	}
	return Value{}, r.err
}

func (b *pendingBlock) value(reading *IntervalReading) Value {
	var t *ReadingType
	if b.kind != nil && !b.kind.ambiguous {
		t = b.kind.t
	}
	v := Value{
		Meter: b.meter, Type: t, Unit: t.Unit(),
		Timed: reading.Given&GivenPeriod != 0, Start: reading.Start, Duration: reading.Duration,
		Number: Decimal{reading.Value, -int(reading.Digits)},
	}
	var otherwise *int64
	if t != nil {
		otherwise = t.DefaultQuality
		if t.PowerOfTen != nil {
			v.Number.Exponent += int(*t.PowerOfTen)
		}
	}
	v.Quality = worst(reading.Quality, otherwise)
	v.Register, v.Known = t.Register()
	return v
}

// more reads one entry.
func (r *Reader) more() error {
	e, err := r.d.Next()
	if errors.Is(err, io.EOF) {
		r.ended = true
		for i := range r.held {
			r.held[i].kind = r.typeOf(r.held[i].links)
		}
		r.ready, r.held = append(r.ready, r.held...), nil
		return nil
	}
	for i := 0; err == nil && i < len(e.Contents); i++ {
		switch c := e.Contents[i].(type) {
		case *ReadingType:
			err = r.addType(e, c)
		case *MeterReading:
			err = r.addMeter(e, c)
		case *IntervalBlock:
			err = r.addBlock(e, c)
		}
	}
	return err
}

// maxAddresses is how many bytes of links are kept to find reading types by.
const maxAddresses = 16 << 20

func (r *Reader) keep(addresses ...string) error {
	for _, a := range addresses {
		r.kept += len(a) + 64
	}
	if r.kept > maxAddresses {
		return r.d.t.fault(TooManyUnresolved)
	}
	return nil
}

// addType keeps a reading type by its address. The first of an address stands;
// one that gives values another unit makes the address say nothing, since no unit
// is better than one of two.
func (r *Reader) addType(e Entry, t *ReadingType) error {
	r.last = t
	for _, self := range hrefs(e.Links, "self") {
		first, already := r.types[self]
		if !already {
			r.types[self] = &kindOfType{t: t}
			if err := r.keep(self); err != nil {
				return err
			}
			continue
		}
		first.ambiguous = first.ambiguous || !alike(first.t.UOM, t.UOM) || !alike(first.t.PowerOfTen, t.PowerOfTen)
	}
	return nil
}

func alike(a, b *int64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// addMeter keeps a meter reading by its own address and by those it points to,
// which are its blocks' or their collection's. The first of an address stands.
func (r *Reader) addMeter(e Entry, m *MeterReading) error {
	links := &meterLinks{related: hrefs(e.Links, "related"), inside: m.Type}
	addresses := append(hrefs(e.Links, "self"), links.related...)
	for _, a := range addresses {
		if r.meters[a] == nil {
			r.meters[a] = links
		}
	}
	return r.keep(addresses...)
}

// hrefs returns the addresses of one relation.
func hrefs(links []Link, rel string) (out []string) {
	for _, l := range links {
		if l.Rel == rel && l.Href != "" {
			out = append(out, l.Href)
		}
	}
	return out
}

func (r *Reader) addBlock(e Entry, b *IntervalBlock) error {
	p := pendingBlock{
		links: append(hrefs(e.Links, "self"), hrefs(e.Links, "up")...), readings: b.Readings,
	}
	for _, href := range p.links {
		if p.meter = pointIn(href); p.meter != "" {
			break
		}
	}
	if p.kind = r.typeOf(p.links); p.kind == nil && len(e.Links) == 0 && r.last != nil {
		p.kind = &kindOfType{t: r.last}
	}
	if p.kind != nil {
		r.ready = append(r.ready, p)
		return nil
	}
	if r.weight += len(b.Readings) + 16; r.weight > MaxHeld {
		return r.d.t.fault(TooManyUnresolved)
	}
	r.held = append(r.held, p)
	return r.keep(p.links...)
}

// pointIn returns the part of an address that names a usage point, or "".
func pointIn(href string) string {
	_, rest, _ := strings.Cut(href, "/UsagePoint/")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// typeOf returns the reading type of the block with these links, or nil. The
// block is of the meter reading that points to it or to where it points up to, or
// that it lies below.
func (r *Reader) typeOf(links []string) *kindOfType {
	for _, href := range links {
		m := r.meters[href]
		if m == nil {
			above, _, _ := strings.Cut(href, "/IntervalBlock")
			m = r.meters[above]
		}
		if m == nil {
			continue
		}
		if m.inside != nil {
			return &kindOfType{t: m.inside}
		}
		for _, related := range m.related {
			if kind := r.types[related]; kind != nil {
				return kind
			}
		}
	}
	return nil
}
