package consent

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tests, wherever they run
)

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// Days and months cover all time, in order, without gap or overlap, and begin
// when the calendar's date changes, in zones whose clocks are set at night, at
// midnight (Havana back, Beirut forward), by half an hour (Lord Howe), or not at
// all. It would catch a day of 24 hours where there are 23 or 25.
func TestBucketsPartitionTime(t *testing.T) {
	from := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	until := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for _, name := range []string{"Europe/Zurich", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "Asia/Kolkata", "America/New_York", "UTC"} {
		zone := location(t, name)
		for _, g := range []Granularity{Hour, Day, Month} {
			last := int64(-1)
			for at := from; at < until; at += 900 {
				start, end := g.bucket(at, zone)
				if at < start || at >= end {
					t.Fatalf("%s %v: %s is not in its own bucket", name, g, time.Unix(at, 0).In(zone))
				}
				if last >= 0 && start != last {
					if s, e := g.bucket(at-900, zone); e != start || s >= start {
						t.Fatalf("%s %v: gap or overlap before %s", name, g, time.Unix(start, 0).In(zone))
					}
				}
				last = start
				if g == Hour {
					continue
				}
				local, begin := time.Unix(at, 0).In(zone), time.Unix(start, 0).In(zone)
				if local.Month() != begin.Month() || g == Day && local.Day() != begin.Day() {
					t.Fatalf("%s %v: %s counts for %s", name, g, local, begin)
				}
			}
		}
	}
}

// Known days: it would catch an error that the partition above shares.
func TestKnownDays(t *testing.T) {
	for _, test := range []struct {
		zone  string
		date  string // local noon
		start string // UTC
		hours float64
	}{
		{"Europe/Zurich", "2024-03-31", "2024-03-30T23:00:00Z", 23},
		{"Europe/Zurich", "2024-10-27", "2024-10-26T22:00:00Z", 25},
		{"Europe/Zurich", "2024-07-01", "2024-06-30T22:00:00Z", 24},
		{"America/Havana", "2024-11-03", "2024-11-03T04:00:00Z", 25},
		{"America/Havana", "2024-03-10", "2024-03-10T05:00:00Z", 23}, // 00:00 is skipped: the day begins at 01:00
		{"Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00Z", 23},
		{"Australia/Lord_Howe", "2024-04-07", "2024-04-06T13:00:00Z", 24.5},
		{"Asia/Kolkata", "2024-01-01", "2023-12-31T18:30:00Z", 24},
		{"America/St_Johns", "2010-11-07", "2010-11-07T03:30:00Z", 24}, // back at 00:01: the later midnight counts
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z", 24},     // the day after the one that was left out
	} {
		zone := location(t, test.zone)
		noon, err := time.ParseInLocation("2006-01-02T15", test.date+"T12", zone)
		if err != nil {
			t.Fatal(err)
		}
		start, end := Day.bucket(noon.Unix(), zone)
		if got := time.Unix(start, 0).UTC().Format(time.RFC3339); got != test.start || float64(end-start)/3600 != test.hours {
			t.Errorf("%s %s: from %s, %v h, want %s, %v h", test.zone, test.date, got, float64(end-start)/3600, test.start, test.hours)
		}
		if s, e := Day.bucket(start, zone); s != start || e != end {
			t.Errorf("%s %s: its first second belongs to another day", test.zone, test.date)
		}
		if _, e := Day.bucket(start-1, zone); e != start {
			t.Errorf("%s %s: the second before it does not belong to the day before", test.zone, test.date)
		}
	}
	zone := location(t, "Europe/Zurich")
	start, end := Month.bucket(time.Date(2024, 3, 15, 0, 0, 0, 0, zone).Unix(), zone)
	if end-start != 31*24*3600-3600 {
		t.Errorf("March 2024 is %d s long, want an hour less than 31 days", end-start)
	}
}
