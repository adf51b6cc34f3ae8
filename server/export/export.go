// Package export writes readings as tables that other people's programs open: CSV
// (RFC 4180) and Apache Parquet. It promises a row for each value and none for a missing
// one, exact integers in the register's base unit, and memory that does not grow with the
// table.
//
// A table has these columns, in this order:
//
//	usage_point   name of the usage point
//	register      OBIS code A-B:C.D.E*F
//	start         start of the interval, UTC (RFC 3339; in Parquet a timestamp)
//	start_local   the same instant by the usage point's clock, with its offset (RFC 3339)
//	duration_s    length in seconds; of a local day 82800 or 90000 where clocks change
//	value         integer, in unit
//	unit          of the register: Wh, varh, W …
//	quality       measured, estimated, substituted or suspect
//	revision      a higher one replaces a lower one; of sums 0
package export

import (
	"errors"
	"io"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// Format is a form that a table is written in.
type Format string

// The formats. The words are on the wire.
const (
	CSV     Format = "csv"
	Parquet Format = "parquet"
)

// ErrFormat reports a word that names no format.
var ErrFormat = errors.New("export: format is not csv or parquet")

// ParseFormat reads a format's name, or returns ErrFormat.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case CSV, Parquet:
		return f, nil
	}
	return "", ErrFormat
}

// ContentType is the format's media type (RFC 7111; registered by the Parquet project).
func (f Format) ContentType() string {
	if f == Parquet {
		return "application/vnd.apache.parquet"
	}
	return "text/csv; charset=utf-8; header=present"
}

// Table writes rows. Close ends the table; without it a CSV table lacks rows that were
// written last, and a Parquet file cannot be read at all. Not safe for concurrent use.
type Table interface {
	// Write adds a row for each value of the series, in the local time of zone.
	Write(s meter.Series, zone *time.Location) error
	Close() error
}

// New returns a table that is written to w in the format f.
func New(w io.Writer, f Format) (Table, error) {
	switch f {
	case CSV:
		return newCSV(w)
	case Parquet:
		return newParquet(w), nil
	}
	return nil, ErrFormat
}

var columns = []string{"usage_point", "register", "start", "start_local", "duration_s", "value", "unit", "quality", "revision"}

// Times as RFC 3339 writes them; a local one has its offset in figures also where that is
// nothing.
const (
	utcLayout   = "2006-01-02T15:04:05Z"
	localLayout = "2006-01-02T15:04:05-07:00"
)
