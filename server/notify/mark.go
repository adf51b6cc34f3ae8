package notify

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// Mark is what a Sweeper has seen of a consent's readings: how many blocks each UTC day had.
// Blocks are only added, so a day that has more has something new.
type Mark struct {
	Version uint64      // grows with each change; 0 for none yet
	Terms   ledger.Hash // of the terms it was counted under
	Days    []DayCount  // ascending
}

// ErrMark reports bytes that Mark.Encode does not write.
var ErrMark = errors.New("notify: not a mark")

const markVersion = 1

// Encode returns the days: the format's version, then for each day how many days it comes
// after the one before, the first after 1970-01-01, and its blocks; all as uvarints. A day
// before 1970 has no place in it.
func (m Mark) Encode() []byte {
	b := []byte{markVersion}
	var last meter.Day
	for _, d := range m.Days {
		b = binary.AppendUvarint(b, uint64(d.Day-last))
		b = binary.AppendUvarint(b, d.Blocks)
		last = d.Day
	}
	return b
}

// DecodeDays reads what Encode writes, and nothing else, or returns ErrMark.
func DecodeDays(b []byte) ([]DayCount, error) {
	if len(b) == 0 || b[0] != markVersion {
		return nil, ErrMark
	}
	var days []DayCount
	for rest := b[1:]; len(rest) > 0; {
		var after, blocks uint64
		for _, v := range []*uint64{&after, &blocks} {
			n := 0
			if *v, n = binary.Uvarint(rest); n <= 0 {
				return nil, ErrMark
			}
			rest = rest[n:]
		}
		var last uint64
		if len(days) > 0 {
			last = uint64(days[len(days)-1].Day)
		}
		if after > lastDay-last || after == 0 && len(days) > 0 || blocks == 0 {
			return nil, ErrMark
		}
		days = append(days, DayCount{meter.Day(last + after), blocks})
	}
	if !slices.Equal(Mark{Days: days}.Encode(), b) { // a number written longer than it need be
		return nil, ErrMark
	}
	return days, nil
}

// lastDay is 9999-12-31.
const lastDay = 2932896

// with returns the days with what was counted in [first, last] put in place of what was
// there, and of which days there is more than before.
func (m Mark) with(counted []DayCount, first, last meter.Day) (days []DayCount, grown []meter.Day) {
	before := make(map[meter.Day]uint64, len(m.Days))
	for _, d := range m.Days {
		before[d.Day] = d.Blocks
		if d.Day < first || d.Day > last {
			days = append(days, d)
		}
	}
	for _, d := range counted {
		if d.Blocks > before[d.Day] {
			grown = append(grown, d.Day)
		}
	}
	days = append(days, counted...)
	slices.SortFunc(days, func(a, b DayCount) int { return int(a.Day) - int(b.Day) })
	slices.Sort(grown)
	return days, grown
}

// spans joins days that follow one another.
func spans(days []meter.Day) (out []Span) {
	for _, d := range days {
		if n := len(out) - 1; n >= 0 && out[n].Until == d.Start() {
			out[n].Until = d.End()
			continue
		}
		out = append(out, Span{d.Start(), d.End()})
	}
	return out
}
