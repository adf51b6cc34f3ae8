// Package profile reads and writes load profiles in the wide form: a CSV file
// with a row for each household and local day, and a column for each interval.
//
//	household_id,date,00:00,00:15,00:30, … ,23:45
//	7855756,2018-10-29,0.03,0.68,0.57, … ,0.07
//
// The promise: a decoded value is the file's value to the watt-hour, at the
// instant the file's clock meant, or the file is refused with the place and
// kind of the fault. Numbers are decimals read without floats; one that is not
// a whole number of Wh is refused, never rounded.
//
// # The form
//
// Lines end in LF or CRLF, the last one too: a line without an end is taken
// for a file cut short. The file may be gzip (RFC 1952), known by its first two
// bytes, and may begin with a UTF-8 byte order mark. There are no quotes.
//
//   - household_id is read as the usage point.
//   - date is YYYY-MM-DD, a day in the zone of the household.
//   - A column's time is the local time its interval starts. The columns begin
//     with 00:00, keep one distance, which divides the hour, and fill the day;
//     the distance is the interval's length.
//   - A cell is a number (an optional minus, digits, and optionally a point and
//     more digits) in kWh or Wh, or empty: the interval is missing.
//
// # Days on which the clock changes
//
// In spring an hour of the local day does not exist: its cells must be empty.
// In autumn an hour passes twice. A column is the first pass; a second column
// with the same time is the second pass, after the change, and its cells are
// empty on every other day. In a file without such columns the second pass is
// missing. Both days come out as the 23 or 25 hours they are.
//
// Whether a value is plausible is not decided here: a negative number passes,
// see [meter.Series.Validate].
package profile

import (
	"errors"
	"fmt"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// Limits of the form. A file beyond them is refused.
const (
	MaxLine    = 64 << 10    // bytes in a line, with its end
	MaxColumns = 2 + 2*24*60 // two names, every minute, every minute again
)

// Unit is the unit of the numbers in a file.
type Unit uint8

// The units. In a file of KWh a number has up to three decimals, in one of Wh
// none; further decimals may be written if they are zero.
const (
	KWh Unit = iota
	Wh
)

// decimals returns how many decimals of the unit make one Wh.
func (u Unit) decimals() int {
	if u == KWh {
		return 3
	}
	return 0
}

// Options say what a file does not.
type Options struct {
	Zone     *time.Location // the clock on the wall of the households; required
	Unit     Unit           // of the numbers; KWh if zero
	Register meter.Register // what was metered; meter.ActiveImport if zero. Its unit must be Wh
}

// ErrOptions reports options that no file could be read or written with.
var ErrOptions = errors.New("profile: bad options")

func (o Options) complete() (Options, error) {
	if o.Register == (meter.Register{}) {
		o.Register = meter.ActiveImport
	}
	switch {
	case o.Zone == nil:
		return o, fmt.Errorf("%w: no zone", ErrOptions)
	case o.Unit > Wh:
		return o, fmt.Errorf("%w: unknown unit", ErrOptions)
	case o.Register.Unit() != meter.Wh:
		return o, fmt.Errorf("%w: register %s does not hold Wh", ErrOptions, o.Register)
	}
	return o, nil
}

// Kind names a fault of a file in a stable word.
type Kind string

// The kinds of fault.
const (
	Empty               Kind = "empty_file"
	Unreadable          Kind = "unreadable"
	TruncatedGzip       Kind = "truncated_gzip"
	CorruptGzip         Kind = "corrupt_gzip"
	UnterminatedLine    Kind = "unterminated_line"
	LineTooLong         Kind = "line_too_long"
	TooManyColumns      Kind = "too_many_columns"
	BadHeader           Kind = "bad_header"
	UnevenHeader        Kind = "uneven_header"
	DuplicateHeader     Kind = "duplicate_header"
	WrongColumnCount    Kind = "wrong_column_count"
	BadUsagePoint       Kind = "bad_usage_point"
	BadDate             Kind = "bad_date"
	NoSuchDate          Kind = "no_such_date"
	NoSuchTime          Kind = "no_such_time"
	UnevenZoneChange    Kind = "uneven_zone_change"
	BadNumber           Kind = "bad_number"
	NumberOutOfRange    Kind = "number_out_of_range"
	FractionalWattHours Kind = "fractional_watt_hours"
)

var explanations = map[Kind]string{
	Empty:               "the file holds nothing",
	Unreadable:          "reading the file",
	TruncatedGzip:       "the compressed file is cut short",
	CorruptGzip:         "the compressed file is damaged",
	UnterminatedLine:    "the last line has no end: the file may be cut short",
	LineTooLong:         "the line is longer than any row of this form",
	TooManyColumns:      "more columns than a day has minutes",
	BadHeader:           "the header is not household_id,date and times written HH:MM",
	UnevenHeader:        "the times do not fill the day from 00:00 at one distance that divides the hour",
	DuplicateHeader:     "a time is given more than twice",
	WrongColumnCount:    "the row has not as many cells as the header",
	BadUsagePoint:       "the household is not a usage point",
	BadDate:             "the date is not YYYY-MM-DD",
	NoSuchDate:          "the zone skipped this date",
	NoSuchTime:          "a value stands at a local time that this date did not have",
	UnevenZoneChange:    "the zone's clock changes within an interval",
	BadNumber:           "the value is not a decimal number",
	NumberOutOfRange:    "the value does not fit 64 bits of Wh",
	FractionalWattHours: "the value is not a whole number of Wh",
}

// Error is a fault of a file: its kind and place, never its content.
type Error struct {
	Kind   Kind
	Line   int   // from 1; the header is line 1. 0 before any line
	Column int   // from 1: the comma-separated cell. 0 if the fault is not in one cell
	Err    error // what the reader reported, if Kind is Unreadable
}

// Error returns the place, the kind and a sentence.
func (e *Error) Error() string {
	place := ""
	if e.Line > 0 {
		place = fmt.Sprintf("line %d: ", e.Line)
		if e.Column > 0 {
			place = fmt.Sprintf("line %d, column %d: ", e.Line, e.Column)
		}
	}
	s := fmt.Sprintf("profile: %s%s: %s", place, e.Kind, explanations[e.Kind])
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
