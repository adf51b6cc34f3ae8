package profile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// ErrNotWide reports a series that the wide form cannot hold, or that it could
// not give back as it was.
var ErrNotWide = errors.New("profile: not in the wide form")

// Encode writes household-days, one Series each, as a plain file that a Decoder
// with the same options turns into the same days (a Quality that calls every
// value Measured comes back as nil). All must have one interval length, the
// options' register, revision 0, and reach from local midnight to local
// midnight; values are Measured, or 0 and Missing. Otherwise the error wraps
// ErrNotWide and nothing is written. Other errors are w's.
func Encode(w io.Writer, days []meter.Series, o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	if len(days) == 0 {
		return fmt.Errorf("%w: no days", ErrNotWide)
	}
	length := days[0].Length
	if length < minute || length%minute != 0 || hour%length != 0 {
		return fmt.Errorf("%w: interval length is not minutes that divide the hour", ErrNotWide)
	}
	dates := make([]meter.Day, len(days))
	local := make([]localDay, len(days))
	for i, s := range days {
		if fault := misfit(s, length, o.Register); fault != "" {
			return fmt.Errorf("%w: day %d: %s", ErrNotWide, i, fault)
		}
		_, offset := time.Unix(s.Start, 0).In(o.Zone).Zone()
		dates[i] = meter.DayOf(s.Start + int64(offset))
		if date, err := meter.ParseDay(dates[i].String()); err != nil || date != dates[i] {
			return fmt.Errorf("%w: day %d: outside the years 0 to 9999", ErrNotWide, i)
		}
		day, kind := localDayOf(dates[i], o.Zone, length)
		if kind != "" {
			return fmt.Errorf("%w: day %d: %s", ErrNotWide, i, explanations[kind])
		}
		if day.start() != s.Start || day.intervals(length) != len(s.Values) {
			return fmt.Errorf("%w: day %d: does not reach from local midnight to local midnight", ErrNotWide, i)
		}
		local[i] = day
	}

	h := headerFor(local, length)
	out := bufio.NewWriter(w)
	line := h.appendTo(nil)
	for i, s := range days {
		out.Write(line) // a bufio.Writer keeps its first error for Flush
		line = append(line[:0], s.UsagePoint...)
		line = append(line, ',')
		line = append(line, dates[i].String()...)
		for _, c := range h.columns {
			line = append(line, ',')
			if k, ok := local[i].interval(c, length); ok && s.QualityAt(k) != meter.Missing {
				line = appendNumber(line, s.Values[k], o.Unit.decimals())
			}
		}
		line = append(line, '\n')
	}
	out.Write(line)
	return out.Flush()
}

// misfit says what of s, apart from its place in time, the form has no column for.
func misfit(s meter.Series, length int64, register meter.Register) string {
	_, err := meter.ParseUsagePoint(string(s.UsagePoint))
	switch {
	case err != nil:
		return "bad usage point"
	case s.Register != register:
		return "other register"
	case s.Length != length:
		return "other interval length"
	case s.Revision != 0:
		return "revision above 0"
	case s.Quality != nil && len(s.Quality) != len(s.Values):
		return "not one quality for each value"
	case slices.ContainsFunc(s.Quality, func(q meter.Quality) bool { return q != meter.Measured && q != meter.Missing }):
		return "quality other than measured or missing"
	}
	for i, v := range s.Values {
		if v != 0 && s.QualityAt(i) == meter.Missing {
			return "value where missing"
		}
	}
	return ""
}
