package espi

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
)

// Decoder yields the entries of a document in its order: of a feed, of a single
// entry, or, for a resource that stands by itself, one entry without anything
// else. It holds one entry at a time. It is for one goroutine.
//
// It reads the feeds of the field, which are not all valid: elements may come in
// any order and from no schema (those are passed over), optional ones may be
// empty, texts and numbers may have white space around them, starts may have
// decimals (a second is counted where it begins).
type Decoder struct {
	t    *tokens
	head Head
	root outermost
	err  error // of an earlier Next
}

// outermost is what the document's outermost element is.
type outermost uint8

const (
	unknownRoot outermost = iota
	feedRoot
	entryRoot
	resourceRoot
)

// NewDecoder begins to read r, which may be gzip or plain. The error is an
// *Error. The Decoder reads ahead of what it returned.
func NewDecoder(r io.Reader) (*Decoder, error) {
	t, err := newTokens(r)
	if err != nil {
		return nil, err
	}
	return &Decoder{t: t}, nil
}

// Head returns what the feed says of itself. Atom lets that stand behind the
// entries, so it is whole when Next has returned io.EOF. For a document that is
// no feed it is empty.
func (d *Decoder) Head() Head { return d.head }

// Next returns the next entry, which is the caller's. At the end of the document
// the error is io.EOF; any other is an *Error, and every later call returns it
// again.
func (d *Decoder) Next() (Entry, error) {
	if d.err != nil {
		return Entry{}, d.err
	}
	e, err := d.next()
	if err != nil {
		d.err = err
		return Entry{}, err
	}
	return e, nil
}

func (d *Decoder) next() (Entry, error) {
	d.t.entry()
	if d.root == unknownRoot {
		if e, found, err := d.begin(); err != nil || found {
			return e, err
		}
	}
	if d.root != feedRoot {
		return Entry{}, d.end()
	}
	for {
		token, err := d.t.next()
		if err != nil {
			return Entry{}, err
		}
		switch token := token.(type) {
		case xml.EndElement:
			d.root = entryRoot // nothing comes after it
			return Entry{}, d.end()
		case xml.StartElement:
			if token.Name == (xml.Name{Space: AtomSpace, Local: "entry"}) {
				d.t.entry()
				return d.entry()
			}
			if err := d.headElement(token); err != nil {
				return Entry{}, err
			}
		}
	}
}

// begin reads up to the outermost element; what is no feed is read whole.
func (d *Decoder) begin() (e Entry, found bool, err error) {
	token, err := d.firstStart(Empty)
	if err != nil {
		return Entry{}, false, err
	}
	switch name := token.Name; {
	case name == xml.Name{Space: AtomSpace, Local: "feed"}:
		d.root = feedRoot
		return Entry{}, false, nil
	case name == xml.Name{Space: AtomSpace, Local: "entry"}:
		d.root = entryRoot
		e, err = d.entry()
		return e, true, err
	case name.Space == Space || name.Space == CustomerSpace:
		d.root = resourceRoot
		r, err := d.resource(name)
		return Entry{Contents: []Resource{r}}, true, err
	}
	return Entry{}, false, d.t.fault(NotGreenButton)
}

// firstStart returns the next start of an element outside of any; a document
// that ends before is of the kind given.
func (d *Decoder) firstStart(none Kind) (xml.StartElement, error) {
	for {
		token, err := d.t.next()
		if errors.Is(err, io.EOF) {
			return xml.StartElement{}, d.t.fault(none)
		}
		if err != nil {
			return xml.StartElement{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			return token, nil
		case xml.CharData:
			if len(trim(token)) > 0 {
				return xml.StartElement{}, d.t.fault(NotGreenButton)
			}
		}
	}
}

// end makes sure that nothing follows the outermost element.
func (d *Decoder) end() error {
	for {
		token, err := d.t.next()
		if err != nil {
			return err // io.EOF, if all is well
		}
		if text, ok := token.(xml.CharData); !ok || len(trim(text)) > 0 {
			return d.t.fault(TrailingContent)
		}
	}
}

func (d *Decoder) headElement(start xml.StartElement) (err error) {
	if start.Name.Space != AtomSpace {
		return d.t.skip()
	}
	switch start.Name.Local {
	case "id":
		d.head.ID, err = d.t.string()
	case "title":
		d.head.Title, err = d.t.string()
	case "updated":
		d.head.Updated, err = d.t.string()
	case "link":
		return d.link(start, &d.head.Links)
	default:
		return d.t.skip()
	}
	return err
}

// entry reads the inside of an entry.
func (d *Decoder) entry() (e Entry, err error) {
	for {
		token, err := d.t.next()
		if err != nil {
			return e, err
		}
		start, ok := token.(xml.StartElement)
		switch {
		case !ok:
			if _, over := token.(xml.EndElement); over {
				return e, nil
			}
			continue
		case start.Name.Space != AtomSpace:
			err = d.t.skip()
		default:
			err = d.entryElement(start, &e)
		}
		if err != nil {
			return e, err
		}
	}
}

func (d *Decoder) entryElement(start xml.StartElement, e *Entry) (err error) {
	switch start.Name.Local {
	case "id":
		e.ID, err = d.t.string()
	case "title":
		e.Title, err = d.t.string()
	case "published":
		e.Published, err = d.t.string()
	case "updated":
		e.Updated, err = d.t.string()
	case "link":
		err = d.link(start, &e.Links)
	case "content":
		err = d.contents(&e.Contents)
	default:
		err = d.t.skip()
	}
	return err
}

// maxLinks is how many links an entry may have.
const maxLinks = 256

// link keeps a link, once: some feeds repeat theirs.
func (d *Decoder) link(start xml.StartElement, links *[]Link) error {
	var l Link
	for _, a := range start.Attr {
		if a.Name.Space != "" {
			continue
		}
		switch a.Name.Local {
		case "rel":
			l.Rel = a.Value
		case "href":
			l.Href = a.Value
		case "type":
			l.Type = a.Value
		}
	}
	if !slices.Contains(*links, l) {
		if err := d.t.keep(16, len(l.Rel)+len(l.Href)+len(l.Type)); err != nil {
			return err
		}
		if len(*links) == maxLinks {
			return d.t.fault(EntryTooLong)
		}
		*links = append(*links, l)
	}
	return d.t.skip()
}

// contents reads the resources inside a content.
func (d *Decoder) contents(into *[]Resource) error {
	for {
		token, err := d.t.next()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			r, err := d.resource(token.Name)
			if err != nil {
				return err
			}
			*into = append(*into, r)
		}
	}
}

// resources are those of ESPI that are understood.
var resources = map[string]func() Resource{
	"UsagePoint":                  func() Resource { return new(UsagePoint) },
	"LocalTimeParameters":         func() Resource { return new(LocalTimeParameters) },
	"MeterReading":                func() Resource { return new(MeterReading) },
	"ReadingType":                 func() Resource { return new(ReadingType) },
	"IntervalBlock":               func() Resource { return new(IntervalBlock) },
	"UsageSummary":                func() Resource { return new(UsageSummary) },
	"ElectricPowerUsageSummary":   func() Resource { return &UsageSummary{Electric: true} },
	"ElectricPowerQualitySummary": func() Resource { return new(PowerQuality) },
	"Authorization":               func() Resource { return new(Authorization) },
	"ApplicationInformation":      func() Resource { return new(ApplicationInformation) },
	"ServiceStatus":               func() Resource { return new(ServiceStatus) },
	"BatchList":                   func() Resource { return new(BatchList) },
}

func (d *Decoder) resource(name xml.Name) (Resource, error) {
	if err := d.t.keep(32, len(name.Space)+len(name.Local)); err != nil {
		return nil, err
	}
	known := resources[name.Local]
	if known == nil || name.Space != Space {
		return &Other{Space: name.Space, Name: name.Local}, d.t.skip()
	}
	r := known()
	if block, ok := r.(*IntervalBlock); ok {
		return r, d.block(block)
	}
	return r, d.node(r)
}

// node reads the inside of an element by its fields.
func (d *Decoder) node(n node) error {
	fields := n.fields()
	for {
		token, err := d.t.next()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.EndElement:
			return d.whole(n)
		case xml.StartElement:
			i := slices.IndexFunc(fields, func(f field) bool { return f.name == token.Name.Local })
			if i < 0 || token.Name.Space != Space {
				err = d.t.skip()
			} else {
				err = d.field(fields[i])
			}
			if err != nil {
				return err
			}
		}
	}
}

func (d *Decoder) field(f field) (err error) {
	switch at := f.at.(type) {
	case *string:
		*at, err = d.t.string()
	case *[]string:
		var s string
		if s, err = d.t.string(); err == nil {
			*at = append(*at, s)
		}
	case *int64:
		*at, _, err = d.t.number()
	case **int64:
		var n int64
		var ok bool
		if n, ok, err = d.t.number(); err == nil && ok {
			*at, err = &n, d.t.keep(1, 0)
		}
	case slot:
		if err = d.t.keep(at.weight(), 0); err == nil {
			if n := at.make(); isPeriod(n) {
				err = d.period(n.(*Period))
			} else {
				err = d.node(n)
			}
		}
	}
	return err
}

func isPeriod(n node) bool { _, ok := n.(*Period); return ok }

// whole is what remains to be seen when a node has been read.
func (d *Decoder) whole(n node) error {
	if t, ok := n.(*ReadingType); ok && t.PowerOfTen != nil && (*t.PowerOfTen < -24 || *t.PowerOfTen > 24) {
		return d.t.fault(MultiplierOutOfRange)
	}
	return nil
}
