package profile

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones of these tests, wherever they run

	"github.com/wattveil/wattveil/meter"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func date(t testing.TB, s string) meter.Day {
	t.Helper()
	d, err := meter.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Every interval of a local day exactly once, in order, at the instant its
// clock meant; checked against package time from the other side: each interval's
// start, shown on the zone's clock, is the column's time and date. The zones
// were chosen for their oddities.
func TestLocalDay(t *testing.T) {
	const quarter = 15 * minute
	for _, c := range []struct {
		zone, date string
		length     int64
		intervals  int
		kind       Kind
	}{
		{"UTC", "2018-10-29", quarter, 96, ""},
		{"Europe/Zurich", "2018-10-29", quarter, 96, ""},
		{"Europe/Zurich", "2018-10-28", quarter, 100, ""}, // 03:00 → 02:00
		{"Europe/Zurich", "2018-03-25", quarter, 92, ""},  // 02:00 → 03:00
		{"Europe/Zurich", "2018-10-28", hour, 25, ""},
		{"Europe/Zurich", "2018-03-25", hour, 23, ""},
		{"Europe/Zurich", "2040-10-28", quarter, 100, ""}, // by the rule, beyond the table
		{"Europe/London", "2018-10-28", 30 * minute, 50, ""},
		{"Europe/London", "1968-10-27", quarter, 96, ""},      // summer time became standard time: nothing moved
		{"Asia/Kolkata", "2018-10-28", quarter, 96, ""},       // UTC+5:30
		{"America/Sao_Paulo", "2018-11-04", quarter, 92, ""},  // midnight → 01:00
		{"America/Sao_Paulo", "2018-02-17", quarter, 100, ""}, // midnight → 23:00: the day's last hour twice
		{"America/Havana", "2018-11-04", quarter, 100, ""},    // 01:00 → 00:00: the day's first hour twice
		{"Australia/Lord_Howe", "2018-04-01", 30 * minute, 49, ""},
		{"Australia/Lord_Howe", "2018-10-07", 30 * minute, 47, ""},
		{"Australia/Lord_Howe", "2018-04-01", hour, 0, UnevenZoneChange}, // by half an hour
		{"Pacific/Apia", "2011-12-29", quarter, 96, ""},
		{"Pacific/Apia", "2011-12-30", quarter, 0, NoSuchDate}, // crossed the date line
		{"Pacific/Apia", "2011-12-31", quarter, 96, ""},
		{"America/St_Johns", "2006-10-28", minute, 0, UnevenZoneChange}, // 00:01 → 23:01: the date comes back
		{"America/St_Johns", "2006-10-28", quarter, 0, UnevenZoneChange},
	} {
		t.Run(c.zone+" "+c.date, func(t *testing.T) {
			z := zone(t, c.zone)
			day, kind := localDayOf(date(t, c.date), z, c.length)
			if kind != c.kind {
				t.Fatalf("kind %q, want %q", kind, c.kind)
			}
			if kind != "" {
				return
			}
			if n := day.intervals(c.length); n != c.intervals {
				t.Errorf("%d intervals, want %d", n, c.intervals)
			}
			named := make(map[int]column)
			for clock := int64(0); clock < secondsInDay; clock += c.length {
				for pass := range 3 {
					if i, ok := day.interval(column{clock, pass}, c.length); ok {
						if _, twice := named[i]; twice {
							t.Errorf("interval %d has two names", i)
						}
						named[i] = column{clock, pass}
					}
				}
			}
			if len(named) != c.intervals {
				t.Errorf("%d intervals have a name, want %d", len(named), c.intervals)
			}
			for i, col := range named {
				at := time.Unix(day.start()+int64(i)*c.length, 0).In(z)
				h, m, s := at.Clock()
				if at.Format(time.DateOnly) != c.date || int64(h*hour+m*minute+s) != col.clock {
					t.Errorf("interval %d starts %s, named %d s after midnight", i, at, col.clock)
				}
				earlier := i - int(hour/c.length)
				if before, ok := named[earlier]; col.pass == 1 && c.zone == "Europe/Zurich" && (!ok || before != column{col.clock, 0}) {
					t.Errorf("interval %d is a second pass, and an hour before it is %v", i, before)
				}
			}
		})
	}
}

// Days follow each other without a gap or an overlap, over both changes of a
// year: this catches an hour sealed twice or never.
func TestLocalDaysMeet(t *testing.T) {
	for _, name := range []string{"Europe/Zurich", "America/Sao_Paulo", "Australia/Lord_Howe", "America/Havana"} {
		z := zone(t, name)
		end := int64(0)
		for d := date(t, "2018-01-01"); d < date(t, "2019-01-01"); d = d.Next() {
			day, kind := localDayOf(d, z, 30*minute)
			if kind != "" {
				t.Fatalf("%s %s: %s", name, d, kind)
			}
			if end != 0 && day.start() != end {
				t.Errorf("%s %s starts at %d, the day before ended at %d", name, d, day.start(), end)
			}
			end = day.start() + int64(day.intervals(30*minute))*30*minute
		}
	}
}

// Beyond a zone's table package time ends a leap year a day early. It would catch a
// search for the day's parts that goes round for ever, or counts an hour twice.
func TestDistantLeapYears(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	for _, year := range []int{2024, 2028, 2040, 2096} {
		for d := meter.DayOf(time.Date(year, 12, 28, 0, 0, 0, 0, time.UTC).Unix()); d <= meter.DayOf(time.Date(year+1, 1, 2, 0, 0, 0, 0, time.UTC).Unix()); d++ {
			day, kind := localDayOf(d, zurich, 30*minute)
			if kind != "" || !day.ordinary() || day.start() != d.Start()-hour {
				t.Errorf("%s: %+v, %q", d, day, kind)
			}
		}
	}
}
