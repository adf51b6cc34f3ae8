package meter_test

import (
	"errors"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

// Day keys, windows and partitions all hang on this cut: it catches rounding
// toward zero before 1970 and an instant counted into two days or none.
func TestDayOf(t *testing.T) {
	for _, c := range []struct {
		unix int64
		day  string
	}{
		{0, "1970-01-01"},
		{86399, "1970-01-01"},
		{86400, "1970-01-02"},
		{-1, "1969-12-31"},
		{-86400, "1969-12-31"},
		{-86401, "1969-12-30"},
		{1540767600, "2018-10-28"}, // 2018-10-29 00:00 CET
		{1540771200, "2018-10-29"},
		{951782400, "2000-02-29"},
		{-62167219200, "0000-01-01"},
		{253402300799, "9999-12-31"},
	} {
		d := meter.DayOf(c.unix)
		if d.String() != c.day {
			t.Errorf("DayOf(%d) = %s, want %s", c.unix, d, c.day)
		}
		if c.unix < d.Start() || c.unix >= d.End() || d.Next().Start() != d.End() {
			t.Errorf("DayOf(%d): day spans [%d, %d)", c.unix, d.Start(), d.End())
		}
		if p, err := meter.ParseDay(c.day); err != nil || p != d {
			t.Errorf("ParseDay(%q) = %d, %v; want %d", c.day, p, err, d)
		}
	}
}

// ParseDay accepts only what String writes: this catches a lenient date parser.
func TestParseDayRefuses(t *testing.T) {
	for _, s := range []string{
		"", "2018-10-32", "2019-02-29", "2018-13-01", "2018-00-10", "2018-1-1", "18-10-29",
		"2018/10/29", " 2018-10-29", "2018-10-29 ", "2018-10-29T00:00:00Z", "-2018-10-29", "20181029",
	} {
		if d, err := meter.ParseDay(s); !errors.Is(err, meter.ErrDay) {
			t.Errorf("ParseDay(%q) = %v, %v; want ErrDay", s, d, err)
		}
	}
}

func FuzzParseDay(f *testing.F) {
	f.Add("2018-10-29")
	f.Add("2000-02-29")
	f.Add("9999-12-31")
	f.Add("0000-02-30")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := meter.ParseDay(s); err == nil && d.String() != s {
			t.Errorf("ParseDay(%q).String() = %q", s, d)
		}
	})
}
