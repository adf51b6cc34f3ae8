package profile

import (
	"bytes"
)

// The two columns before the times.
const (
	nameHousehold = "household_id"
	nameDate      = "date"
	nameColumns   = 2
)

const (
	minute       = 60
	hour         = 60 * minute
	secondsInDay = 24 * hour
)

// column is where a cell's interval starts on the household's clock.
type column struct {
	clock int64 // seconds after local midnight
	pass  int   // 0; 1 for the second time that the clock shows this on one day
}

// header is the first line, understood.
type header struct {
	length  int64 // seconds per interval; divides the hour
	columns []column
}

var byteOrderMark = []byte("\uFEFF")

// parseHeader reads the first line, without its end.
func parseHeader(line []byte) (header, *Error) {
	line = bytes.TrimPrefix(line, byteOrderMark)
	fault := func(k Kind, cell int) (header, *Error) { return header{}, &Error{Kind: k, Line: 1, Column: cell} }
	if bytes.Count(line, comma)+1 > MaxColumns {
		return fault(TooManyColumns, 0)
	}
	cells := bytes.Split(line, comma)
	for i, name := range [nameColumns]string{nameHousehold, nameDate} {
		if i >= len(cells) || string(cells[i]) != name {
			return fault(BadHeader, i+1)
		}
	}

	h := header{columns: make([]column, len(cells)-nameColumns)}
	for i, cell := range cells[nameColumns:] {
		clock, ok := parseClock(cell)
		if !ok {
			return fault(BadHeader, nameColumns+i+1)
		}
		h.columns[i].clock = clock
		if h.length == 0 {
			h.length = clock
		}
	}
	if h.length == 0 || hour%h.length != 0 {
		return fault(UnevenHeader, 0)
	}

	next := int64(0)
	repeated := make(map[int64]bool)
	for i := range h.columns {
		c := &h.columns[i]
		switch {
		case c.clock == next:
			next += h.length
		case c.clock > next || c.clock%h.length != 0:
			return fault(UnevenHeader, nameColumns+i+1)
		case repeated[c.clock]:
			return fault(DuplicateHeader, nameColumns+i+1)
		default:
			c.pass = 1
			repeated[c.clock] = true
		}
	}
	if next != secondsInDay {
		return fault(UnevenHeader, 0)
	}
	return h, nil
}

// headerFor returns the header that can hold these days, all of one interval
// length: a second column for every local time that passes twice on one of
// them, standing where it passes.
func headerFor(days []localDay, length int64) header {
	twice := make(map[int64]bool)
	for _, d := range days {
		for clock := int64(0); clock < secondsInDay; clock += length {
			if _, ok := d.interval(column{clock, 1}, length); ok {
				twice[clock] = true
			}
		}
	}
	h := header{length: length}
	var pending []column
	for clock := int64(0); clock < secondsInDay; clock += length {
		if !twice[clock] {
			h.columns = append(h.columns, pending...)
			pending = nil
		} else {
			pending = append(pending, column{clock, 1})
		}
		h.columns = append(h.columns, column{clock, 0})
	}
	h.columns = append(h.columns, pending...)
	return h
}

// appendTo writes the header line.
func (h header) appendTo(b []byte) []byte {
	b = append(b, nameHousehold+","+nameDate...)
	for _, c := range h.columns {
		m := c.clock / minute
		b = append(b, ',', byte('0'+m/600), byte('0'+m/60%10), ':', byte('0'+m%60/10), byte('0'+m%10))
	}
	return append(b, '\n')
}

// parseClock reads HH:MM as seconds after midnight.
func parseClock(b []byte) (int64, bool) {
	if len(b) != len("HH:MM") || b[2] != ':' {
		return 0, false
	}
	for _, i := range []int{0, 1, 3, 4} {
		if b[i] < '0' || b[i] > '9' {
			return 0, false
		}
	}
	h := int64(b[0]-'0')*10 + int64(b[1]-'0')
	m := int64(b[3]-'0')*10 + int64(b[4]-'0')
	return h*hour + m*minute, h < 24 && m < 60
}
