package profile

import (
	"strings"
	"testing"
)

// times returns the columns of a day at this distance in minutes, comma-separated.
func times(distance int64) string {
	line := string(header{length: distance * minute, columns: evenly(distance)}.appendTo(nil))
	return strings.TrimSuffix(strings.TrimPrefix(line, "household_id,date,"), "\n")
}

func evenly(distance int64) []column {
	var c []column
	for clock := int64(0); clock < secondsInDay; clock += distance * minute {
		c = append(c, column{clock: clock})
	}
	return c
}

// A column that is misread moves a value in time. What the header may say:
func TestParseHeader(t *testing.T) {
	quarters, hours := times(15), times(60)
	autumn := strings.Replace(quarters, "03:00", "02:00,02:15,02:30,02:45,03:00", 1)
	for _, c := range []struct {
		name    string
		line    string
		minutes int64
		columns int
	}{
		{"quarter hours", "household_id,date," + quarters, 15, 96},
		{"half hours", "household_id,date," + times(30), 30, 48},
		{"hours", "household_id,date," + hours, 60, 24},
		{"minutes", "household_id,date," + times(1), 1, 1440},
		{"byte order mark", "\uFEFFhousehold_id,date," + hours, 60, 24},
		{"second pass of an hour", "household_id,date," + autumn, 15, 100},
		{"second pass at the end", "household_id,date," + quarters + ",02:00,02:15,02:30,02:45", 15, 100},
		{"second pass of the first hour", "household_id,date,00:00," + hours[len("00:00,"):], 60, 24},
		{"second pass at midnight", "household_id,date,00:00," + hours, 60, 25},
	} {
		h, fault := parseHeader([]byte(c.line))
		if fault != nil {
			t.Errorf("%s: %v", c.name, fault)
			continue
		}
		if h.length != c.minutes*minute || len(h.columns) != c.columns {
			t.Errorf("%s: %d s, %d columns", c.name, h.length, len(h.columns))
		}
		next := int64(0)
		for _, col := range h.columns {
			if col.pass == 0 {
				if col.clock != next {
					t.Errorf("%s: first pass of %d, want %d", c.name, col.clock, next)
				}
				next += h.length
			}
		}
		if got := strings.TrimSuffix(string(h.appendTo(nil)), "\n"); got != strings.TrimPrefix(c.line, "\uFEFF") {
			t.Errorf("%s: written as %s", c.name, got)
		}
	}
}

// … and what it may not.
func TestParseHeaderRefuses(t *testing.T) {
	hours := times(60)
	for _, c := range []struct {
		name, line string
		kind       Kind
		column     int
	}{
		{"nothing", "", BadHeader, 1},
		{"another name", "id,date," + hours, BadHeader, 1},
		{"names exchanged", "date,household_id," + hours, BadHeader, 1},
		{"no date", "household_id", BadHeader, 2},
		{"no times", "household_id,date", UnevenHeader, 0},
		{"midnight alone", "household_id,date,00:00", UnevenHeader, 0},
		{"midnight thrice", "household_id,date,00:00,00:00,00:00", UnevenHeader, 0},
		{"not a time", "household_id,date,00:00,1:00", BadHeader, 4},
		{"seconds", "household_id,date,00:00:00", BadHeader, 3},
		{"hour 24", "household_id,date,00:00,24:00", BadHeader, 4},
		{"minute 60", "household_id,date,00:00,00:60", BadHeader, 4},
		{"signs", "household_id,date,00:00,+1:00", BadHeader, 4},
		{"labels of interval ends", "household_id,date," + hours[len("00:00,"):], UnevenHeader, 3},
		{"a time left out", "household_id,date," + strings.Replace(hours, "05:00,", "", 1), UnevenHeader, 8},
		{"the last left out", "household_id,date," + strings.TrimSuffix(hours, ",23:00"), UnevenHeader, 0},
		{"two hours", "household_id,date," + times(120), UnevenHeader, 0},
		{"seven minutes", "household_id,date,00:00,00:07", UnevenHeader, 0},
		{"off the grid", "household_id,date," + strings.Replace(hours, "05:00", "04:30", 1), UnevenHeader, 8},
		{"a time thrice", "household_id,date," + hours + ",02:00,02:00", DuplicateHeader, 28},
		{"too many", "household_id,date" + strings.Repeat(",00:00", MaxColumns-1), TooManyColumns, 0},
		{"a comma at the end", "household_id,date," + hours + ",", BadHeader, 27},
	} {
		_, fault := parseHeader([]byte(c.line))
		if fault == nil || *fault != (Error{Kind: c.kind, Line: 1, Column: c.column}) {
			t.Errorf("%s: %v; want %s in column %d", c.name, fault, c.kind, c.column)
		}
	}
}
