package profile

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"

	"github.com/wattveil/wattveil/meter"
)

var (
	comma     = []byte{','}
	gzipMagic = []byte{0x1f, 0x8b}
)

// Decoder reads household-days from a file, in the file's order, holding one
// line at a time. It is for one goroutine.
type Decoder struct {
	options Options
	lines   *bufio.Reader
	gzipped bool
	line    int // number of the line last read
	header  header
	err     error // of an earlier Next

	household meter.UsagePoint // of the row before, empty at first: a household's rows share one string
	day       localDay         // of the row before
	cells     []int            // for each column, the interval it names on that day, or -1
	given     []bool           // scratch: for each interval of a row, whether a cell held a value
}

// NewDecoder reads the header of r, which may be gzip or plain. The error wraps
// ErrOptions or is an *Error. The Decoder reads ahead of what it returned.
func NewDecoder(r io.Reader, o Options) (*Decoder, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	d := &Decoder{options: o, lines: bufio.NewReaderSize(r, MaxLine)}
	magic, err := d.lines.Peek(len(gzipMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, d.readFault(err)
	}
	if bytes.Equal(magic, gzipMagic) {
		d.gzipped = true
		z, err := gzip.NewReader(d.lines)
		if err != nil {
			return nil, d.readFault(err)
		}
		d.lines = bufio.NewReaderSize(z, MaxLine)
	}
	line, err := d.readLine()
	if errors.Is(err, io.EOF) {
		return nil, &Error{Kind: Empty}
	}
	if err != nil {
		return nil, err
	}
	h, fault := parseHeader(line)
	if fault != nil {
		return nil, fault
	}
	d.header = h
	d.cells = make([]int, len(h.columns))
	return d, nil
}

// Length returns the length of an interval, in seconds.
func (d *Decoder) Length() int64 { return d.header.length }

// Next returns the next household-day: one Series from local midnight to local
// midnight, which usually spans two UTC days. Its arrays are the caller's.
// Quality is nil if no interval is missing. At the end of the file the error
// is io.EOF; any other is an *Error, and every later call returns it again.
func (d *Decoder) Next() (meter.Series, error) {
	if d.err != nil {
		return meter.Series{}, d.err
	}
	s, err := d.next()
	if err != nil {
		d.err = err
		return meter.Series{}, err
	}
	return s, nil
}

func (d *Decoder) next() (meter.Series, error) {
	line, err := d.readLine()
	if err != nil {
		return meter.Series{}, err
	}
	// Counted first, so that a row cut short is not taken for a bad number.
	if bytes.Count(line, comma)+1 != nameColumns+len(d.header.columns) {
		return meter.Series{}, d.fault(WrongColumnCount, 0)
	}

	household, line, _ := bytes.Cut(line, comma)
	if len(household) == 0 || string(household) != string(d.household) {
		if d.household, err = meter.ParseUsagePoint(string(household)); err != nil {
			return meter.Series{}, d.fault(BadUsagePoint, 1)
		}
	}
	date, line, _ := bytes.Cut(line, comma)
	day, err := meter.ParseDay(string(date))
	if err != nil {
		return meter.Series{}, d.fault(BadDate, 2)
	}
	if kind := d.turnTo(day); kind != "" {
		return meter.Series{}, d.fault(kind, 2)
	}

	s := meter.Series{
		UsagePoint: d.household,
		Register:   d.options.Register,
		Start:      d.day.start(),
		Length:     d.header.length,
		Values:     make([]int64, d.day.intervals(d.header.length)),
	}
	err = d.readCells(line, &s)
	return s, err
}

// turnTo sets d.day to date and d.cells to what the columns mean on it.
func (d *Decoder) turnTo(date meter.Day) Kind {
	day, kind := localDayOf(date, d.options.Zone, d.header.length)
	if kind != "" {
		return kind
	}
	alike := len(d.day.stretches) > 0 && d.day.ordinary() && day.ordinary()
	d.day = day
	if alike {
		return ""
	}
	for i, c := range d.header.columns {
		interval, ok := day.interval(c, d.header.length)
		if !ok {
			interval = -1
		}
		d.cells[i] = interval
	}
	return ""
}

// readCells fills s with the cells of line, one for each column.
func (d *Decoder) readCells(line []byte, s *meter.Series) error {
	decimals := d.options.Unit.decimals()
	d.given = append(d.given[:0], make([]bool, len(s.Values))...)
	missing := len(s.Values)
	for i, interval := range d.cells {
		var cell []byte
		cell, line, _ = bytes.Cut(line, comma)
		if len(cell) == 0 {
			continue
		}
		if interval < 0 {
			return d.fault(NoSuchTime, nameColumns+i+1)
		}
		value, kind := parseNumber(cell, decimals)
		if kind != "" {
			return d.fault(kind, nameColumns+i+1)
		}
		s.Values[interval] = value
		d.given[interval] = true
		missing--
	}
	if missing == 0 {
		return nil
	}
	// Not only empty cells: without a second column the second pass of an
	// autumn hour has no cell at all.
	s.Quality = make([]meter.Quality, len(s.Values))
	for i, given := range d.given {
		if !given {
			s.Quality[i] = meter.Missing
		}
	}
	return nil
}

// readLine returns the next line without its end, valid until the next call.
// The error is io.EOF after the last line, else an *Error.
func (d *Decoder) readLine() ([]byte, error) {
	line, err := d.lines.ReadSlice('\n')
	ended := errors.Is(err, io.EOF)
	if ended && len(line) == 0 {
		return nil, io.EOF
	}
	d.line++
	switch {
	case ended:
		return nil, d.fault(UnterminatedLine, 0)
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, d.fault(LineTooLong, 0)
	case err != nil:
		return nil, d.readFault(err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}

// readFault names what the reader under the lines reported.
func (d *Decoder) readFault(err error) *Error {
	var corrupt flate.CorruptInputError
	switch {
	case !d.gzipped:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return d.fault(TruncatedGzip, 0)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return d.fault(CorruptGzip, 0)
	}
	return &Error{Kind: Unreadable, Line: d.line, Err: err}
}

func (d *Decoder) fault(k Kind, column int) *Error {
	return &Error{Kind: k, Line: d.line, Column: column}
}
