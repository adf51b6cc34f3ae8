package web

import (
	"testing"
	"time"
)

// zones are those whose clocks do what others do not: change at midnight (so
// that it is missing, or comes twice), by half an hour, by two, never, skip a
// whole day, or run from the far ends of the world.
var zones = []string{
	zurich, "UTC", "America/Sao_Paulo", "America/Havana", "Australia/Lord_Howe", "Antarctica/Troll",
	"Pacific/Apia", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "Africa/Casablanca",
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// Catches a day that begins at the wrong instant: by definition it is the first
// at which the zone's calendar shows that date, or the next where the date was
// skipped. Every date of years in which these zones' rules were in force is
// compared with a search by quarter-hours.
func TestDayStart(t *testing.T) {
	for _, name := range zones {
		zone := location(t, name)
		for _, year := range []int{2011, 2018, 2025} {
			instant := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(-26 * time.Hour).Unix()
			for d := (date{year, 1, 1}); d.year == year; d = d.add(1) {
				for dateOf(instant, zone).before(d) {
					instant += quarter
				}
				if got := d.start(zone); got != instant {
					t.Fatalf("%s: %s begins %d s from the truth", name, d, got-instant)
				}
			}
		}
	}
}

// Catches a clock change that is missed, made up, or turned around.
func TestClockChange(t *testing.T) {
	for _, tt := range []struct {
		zone, day string
		note      string
	}{
		{zurich, "2025-10-25", ""},
		{zurich, "2025-10-26", "The clock went back: the time from 02:00 to 03:00 came twice."},
		{zurich, "2025-10-27", ""},
		{zurich, "2025-03-30", "The clock went forward: after 01:59 came 03:00."},
		{"Australia/Lord_Howe", "2025-04-06", "The clock went back: the time from 01:30 to 02:00 came twice."},
		{"Antarctica/Troll", "2025-03-30", "The clock went forward: after 00:59 came 03:00."},
		{"America/Havana", "2025-11-02", "The clock went back: the time from 00:00 to 01:00 came twice."},
		{"America/Sao_Paulo", "2018-11-04", ""}, // at midnight: the day begins at 01:00, within it nothing changes
		{"UTC", "2025-10-26", ""},
	} {
		d, ok := parseDate(tt.day)
		if !ok {
			t.Fatal(tt.day)
		}
		if got := clockNote(d, location(t, tt.zone)); got != tt.note {
			t.Errorf("%s %s: %q, want %q", tt.zone, tt.day, got, tt.note)
		}
	}
}

// Catches a week that begins on a Sunday, or in another week.
func TestMonday(t *testing.T) {
	for day, want := range map[string]string{"2025-10-26": "2025-10-20", "2025-10-27": "2025-10-27", "2026-01-01": "2025-12-29"} {
		if d, _ := parseDate(day); d.monday().String() != want {
			t.Errorf("the week of %s begins %s, want %s", day, d.monday(), want)
		}
	}
}

// Catches dates that are none, or that no home has readings for.
func TestParseDate(t *testing.T) {
	for _, s := range []string{"", "2025-02-29", "2025-1-1", "1969-12-31", "12025-01-01", "2025-10-26T00:00", " 2025-10-26", "２０２５-10-26"} {
		if d, ok := parseDate(s); ok {
			t.Errorf("%q was read as %s", s, d)
		}
	}
}

// Whatever a browser sends as ?day, what is accepted is written back alike, so
// that a day has one address.
func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"2025-10-26", "1970-01-01", "9999-12-31", "2024-02-29", "", "0000-00-00", "-001-01-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseDate(s); ok && d.String() != s {
			t.Errorf("%q was read as %s", s, d)
		}
	})
}

// Catches an axis that labels the wrong moment: on ordinary days the hours lie
// where they belong, in autumn the doubled hour is there twice, and labels never
// leave the axis.
func TestDayAxis(t *testing.T) {
	zone := location(t, zurich)
	find := func(ticks []tick, text string) string {
		for _, k := range ticks {
			if k.Text == text {
				return k.At
			}
		}
		return ""
	}
	for _, tt := range []struct {
		day    date
		labels map[string]string
	}{
		{date{2025, 10, 25}, map[string]string{"00:00": "0%", "06:00": "25%", "18:00": "75%", "24:00": "100%"}},
		{date{2025, 10, 26}, map[string]string{"00:00": "0%", "02:00 summer": "8%", "02:00 winter": "12%", "06:00": "28%", "24:00": "100%"}},
		{date{2025, 3, 30}, map[string]string{"00:00": "0%", "03:00": "8.695%", "12:00": "47.826%", "24:00": "100%"}},
	} {
		ticks := dayAxis(tt.day, zone)
		for text, at := range tt.labels {
			if got := find(ticks, text); got != at {
				t.Errorf("%s: %q at %q, want %q", tt.day, text, got, at)
			}
		}
	}
}

// Catches a day that never begins: beyond a zone's table package time ends a leap year a
// day early, and a search that trusts it does not.
func TestDaysOfDistantLeapYears(t *testing.T) {
	for _, name := range zones {
		zone := location(t, name)
		for _, year := range []int{2024, 2028, 2040, 2096} {
			for d := (date{year, 12, 29}); d.year == year; d = d.add(1) {
				start := d.start(zone)
				if y, m, day := time.Unix(start, 0).In(zone).Date(); (date{y, m, day}) != d && name != "Africa/Casablanca" {
					t.Errorf("%s: %s begins on %d-%d-%d", name, d, y, m, day)
				}
				if _, changes := d.change(zone); changes && name == zurich {
					t.Errorf("%s: the clock changes on %s", name, d)
				}
			}
		}
	}
}
