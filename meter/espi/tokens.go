package espi

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// tokens reads XML within the limits of this package.
type tokens struct {
	xml     *xml.Decoder
	in      *bounded
	depth   int
	rest    int // readings that the entry may still hold
	text    int // bytes of text that may still be kept of the entry
	scratch []byte
}

// bounded hands bytes to the XML reader and counts them: in the document, and in
// the token that is being read, which the XML reader would hold whatever its size.
type bounded struct {
	r       *bufio.Reader
	gzipped bool
	total   int64
	token   int
	fault   *Error // the limit that was passed
}

func (b *bounded) ReadByte() (byte, error) {
	if b.fault != nil {
		return 0, b.fault
	}
	c, err := b.r.ReadByte()
	if err != nil {
		return 0, err
	}
	b.total++
	b.token++
	switch {
	case b.total > MaxDocument:
		b.fault = &Error{Kind: DocumentTooLong, Offset: b.total}
	case b.token > MaxToken:
		b.fault = &Error{Kind: PieceTooLong, Offset: b.total}
	default:
		return c, nil
	}
	return 0, b.fault
}

// Read is there because the XML reader asks for a reader; it uses ReadByte.
func (b *bounded) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := b.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

var gzipMagic = []byte{0x1f, 0x8b}

func newTokens(r io.Reader) (*tokens, error) {
	in := &bounded{r: bufio.NewReaderSize(r, 32<<10)}
	magic, err := in.r.Peek(len(gzipMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &Error{Kind: Unreadable, Err: err}
	}
	if bytes.Equal(magic, gzipMagic) {
		in.gzipped = true
		z, err := gzip.NewReader(in.r)
		if err != nil {
			return nil, in.readFault(err)
		}
		in.r = bufio.NewReaderSize(z, 32<<10)
	}
	if mark, _ := in.r.Peek(3); string(mark) == "\uFEFF" {
		if _, err := in.r.Discard(3); err != nil {
			return nil, in.readFault(err)
		}
	}
	d := xml.NewDecoder(in)
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errEncoding }
	t := &tokens{xml: d, in: in}
	t.entry()
	return t, nil
}

var errEncoding = errors.New("espi: encoding")

// entry starts the count of what an entry holds anew.
func (t *tokens) entry() { t.rest, t.text = MaxEntry, MaxText }

// next returns the next start, end or text; comments and instructions are passed
// over. The error is io.EOF at the end of a whole document, else an *Error.
// What it returns holds until the next call.
func (t *tokens) next() (xml.Token, error) {
	for {
		t.in.token = 0
		token, err := t.xml.Token()
		if err != nil {
			return nil, t.faultOf(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if t.depth++; t.depth > MaxDepth {
				return nil, t.fault(TooDeep)
			}
			return token, nil
		case xml.EndElement:
			t.depth--
			return token, nil
		case xml.CharData:
			return token, nil
		case xml.Directive:
			if bytes.Contains(token, []byte("ENTITY")) {
				return nil, t.fault(EntityDeclaration)
			}
			return nil, t.fault(DocumentType)
		}
	}
}

// skip passes over the element that was begun.
func (t *tokens) skip() error {
	for depth := t.depth; ; {
		if _, err := t.next(); err != nil {
			return err
		}
		if t.depth < depth {
			return nil
		}
	}
}

// raw returns the text of the element that was begun, without the white space
// around it, and passes over elements within it. It holds until the next call.
func (t *tokens) raw() ([]byte, error) {
	t.scratch = t.scratch[:0]
	for depth := t.depth; ; {
		token, err := t.next()
		if err != nil {
			return nil, err
		}
		if text, ok := token.(xml.CharData); ok && t.depth == depth {
			if len(t.scratch)+len(text) > MaxToken {
				return nil, t.fault(PieceTooLong)
			}
			t.scratch = append(t.scratch, text...)
		}
		if t.depth < depth {
			return trim(t.scratch), nil
		}
	}
}

// string returns what raw does, to keep.
func (t *tokens) string() (string, error) {
	b, err := t.raw()
	if err != nil {
		return "", err
	}
	return string(b), t.keep(1, len(b))
}

// number reads a whole number; ok is false for an element without text.
func (t *tokens) number() (n int64, ok bool, err error) {
	b, err := t.raw()
	if err != nil || len(b) == 0 {
		return 0, false, err
	}
	if n, ok = parseInt(b); !ok {
		return 0, false, t.fault(BadNumber)
	}
	return n, true, nil
}

// keep counts what is kept of an entry: a weight in readings, and bytes of text.
func (t *tokens) keep(weight, text int) error {
	t.rest -= weight
	t.text -= text
	if t.rest < 0 || t.text < 0 {
		return t.fault(EntryTooLong)
	}
	return nil
}

func (t *tokens) fault(k Kind) *Error { return &Error{Kind: k, Offset: t.xml.InputOffset()} }

// faultOf names what the XML reader reported; its own words may quote the
// document and go no further.
func (t *tokens) faultOf(err error) error {
	var syntax *xml.SyntaxError
	switch {
	case t.in.fault != nil:
		return t.in.fault
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, errEncoding), strings.HasPrefix(err.Error(), "xml: opening charset"):
		return t.fault(UnknownEncoding)
	case errors.As(err, &syntax):
		switch {
		case strings.HasPrefix(syntax.Msg, "unexpected EOF"):
			return t.fault(Truncated)
		case strings.HasPrefix(syntax.Msg, "invalid character entity"):
			return t.fault(UndeclaredEntity)
		}
		return t.fault(Malformed)
	case strings.HasPrefix(err.Error(), "xml: "):
		return t.fault(Malformed)
	}
	return t.in.readFault(err)
}

// readFault names what the reader under the XML reported.
func (b *bounded) readFault(err error) *Error {
	var corrupt flate.CorruptInputError
	switch {
	case !b.gzipped:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Kind: TruncatedGzip, Offset: b.total}
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return &Error{Kind: CorruptGzip, Offset: b.total}
	}
	return &Error{Kind: Unreadable, Offset: b.total, Err: err}
}
