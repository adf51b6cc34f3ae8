package espi

import (
	"fmt"
	"io"
	"time"
)

// Link is one link of a feed or an entry. Type is of the form espi-feed/Name,
// espi-entry/Name or cust-entry/Name.
type Link struct{ Rel, Href, Type string }

// Head is what a feed says of itself.
type Head struct {
	ID      string // URN
	Title   string
	Updated string // as [Stamp] writes it; a feed that was read may hold another form
	Links   []Link
}

// Entry is one entry of a feed, or a document by itself.
type Entry struct {
	ID        string // URN
	Title     string
	Published string // as [Stamp] writes it, as Updated
	Updated   string
	Links     []Link
	// Contents is one resource. Feeds in the field put several blocks into one
	// entry, or none.
	Contents []Resource
}

// Stamp returns an instant as Atom writes it: RFC 3339, UTC, whole seconds.
func Stamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// Feed writes one document as its entries come. The first error ends it: every
// later call returns it, and what was written until then is no whole document.
// It is for one goroutine.
type Feed struct {
	w     io.Writer
	b     []byte
	err   error
	alone bool // the document is one entry without a feed
	count int  // entries begun
	open  bool // within a block
	done  bool
}

// bufferSize is how much a Feed holds before it writes.
const bufferSize = 32 << 10

const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// NewFeed begins a feed. The caller calls Close.
func NewFeed(w io.Writer, h Head) *Feed {
	f := &Feed{w: w, b: make([]byte, 0, bufferSize+4096)}
	f.b = append(f.b, declaration+`<feed xmlns="`+AtomSpace+`">`...)
	f.b = appendElement(f.b, "id", h.ID)
	f.b = appendElement(f.b, "title", h.Title)
	f.b = appendElement(f.b, "updated", h.Updated)
	f.b = appendLinks(f.b, h.Links)
	return f
}

// NewEntry begins a document of one entry, which the caller then writes.
func NewEntry(w io.Writer) *Feed {
	return &Feed{w: w, alone: true, b: append(make([]byte, 0, 4096), declaration...)}
}

// Write writes an entry.
func (f *Feed) Write(e Entry) error {
	f.begin(e)
	for _, r := range e.Contents {
		f.resource(r)
	}
	f.end()
	return f.flush(bufferSize)
}

// Close ends the document and writes what is left of it. It does not close the
// writer.
func (f *Feed) Close() error {
	switch {
	case f.err != nil || f.done:
		return f.err
	case f.open || f.alone && f.count != 1:
		f.err = ErrSequence
		return f.err
	case !f.alone:
		f.b = append(f.b, "\n</feed>\n"...)
	default:
		f.b = append(f.b, '\n')
	}
	f.done = true
	return f.flush(0)
}

// begin writes an entry up to the inside of its content.
func (f *Feed) begin(e Entry) {
	if f.err == nil && (f.open || f.done || f.alone && f.count > 0) {
		f.err = ErrSequence
	}
	if f.err != nil {
		return
	}
	f.count++
	if f.alone {
		f.b = append(f.b, `<entry xmlns="`+AtomSpace+`">`...)
	} else {
		f.b = append(f.b, "\n<entry>"...)
	}
	f.b = appendElement(f.b, "id", e.ID)
	f.b = appendElement(f.b, "title", e.Title)
	f.b = appendElement(f.b, "published", e.Published)
	f.b = appendElement(f.b, "updated", e.Updated)
	f.b = appendLinks(f.b, e.Links)
	f.b = append(f.b, `<content type="application/xml">`...)
}

func (f *Feed) end() {
	if f.err == nil {
		f.b = append(f.b, "</content></entry>"...)
	}
}

// resource writes a resource within a content, or by itself.
func (f *Feed) resource(r Resource) {
	if f.err != nil {
		return
	}
	space := Space
	if o, ok := r.(*Other); ok {
		space = o.Space
	}
	f.b = append(f.b, '<')
	f.b = append(f.b, r.element()...)
	f.b = append(f.b, ` xmlns="`...)
	f.b = append(appendEscaped(f.b, space), '"', '>')
	if f.b, f.err = appendNode(f.b, r); f.err == nil {
		f.b = appendClose(f.b, r.element())
	}
}

// openBlock begins an entry that holds a block, and the block.
func (f *Feed) openBlock(e Entry, p Period) {
	f.begin(e)
	if f.err != nil {
		return
	}
	f.open = true
	f.b = append(f.b, `<IntervalBlock xmlns="`+Space+`">`...)
	f.b, f.err = (&IntervalBlock{Interval: &p}).fields()[0].append(f.b)
}

// reading writes one reading of the open block.
func (f *Feed) reading(r *IntervalReading) error {
	if f.err != nil {
		return f.err
	}
	f.b = appendReading(f.b, r)
	return f.flush(bufferSize)
}

func (f *Feed) closeBlock() {
	if f.err == nil && f.open {
		f.open = false
		f.b = appendClose(f.b, "IntervalBlock")
		f.end()
	}
}

// flush writes the buffer if it holds more than n bytes.
func (f *Feed) flush(n int) error {
	if f.err != nil || len(f.b) <= n {
		return f.err
	}
	if _, err := f.w.Write(f.b); err != nil {
		f.err = fmt.Errorf("espi: writing: %w", err)
	}
	f.b = f.b[:0]
	return f.err
}

// WriteStatus and WriteBatchList write the two documents that are not Atom.
func WriteStatus(w io.Writer, s ServiceStatus) error { return writeAlone(w, &s) }
func WriteBatchList(w io.Writer, l BatchList) error  { return writeAlone(w, &l) }

func writeAlone(w io.Writer, r Resource) error {
	f := &Feed{w: w, b: []byte(declaration)}
	f.resource(r)
	if f.err == nil {
		f.b = append(f.b, '\n')
	}
	return f.flush(0)
}

// appendElement writes an element of Atom, or nothing if it is empty: documents
// that were read may lack what the schema asks for.
func appendElement(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendClose(appendEscaped(appendOpen(b, name), text), name)
}

func appendLinks(b []byte, links []Link) []byte {
	for _, l := range links {
		b = append(b, `<link rel="`...)
		b = appendEscaped(b, l.Rel)
		b = append(b, `" href="`...)
		b = appendEscaped(b, l.Href)
		if l.Type != "" {
			b = append(b, `" type="`...)
			b = appendEscaped(b, l.Type)
		}
		b = append(b, '"', '/', '>')
	}
	return b
}
