package espi_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
)

// The values that stand in other people's feeds, and clocks that ask for each
// form of rule. Catches a bit in the wrong place and a sign turned round.
func TestLocalTime(t *testing.T) {
	for _, c := range []struct {
		zone       string
		year       int
		end, start string
		dst, tz    int64
	}{
		{"Europe/Zurich", 2026, "AE0E3000", "3E0E2000", 3600, 3600},      // last Sundays
		{"America/New_York", 2026, "B40E2000", "360E2000", 3600, -18000}, // first and second Sunday
		{"America/Los_Angeles", 2026, "B40E2000", "360E2000", 3600, -28800},
		{"Europe/London", 2026, "AE0E2000", "3E0E1000", 3600, 0},
		{"Europe/Dublin", 2026, "AE0E2000", "3E0E1000", 3600, 0}, // where winter time is the one that is set, by law
		{"Australia/Lord_Howe", 2026, "440E2000", "A40E2000", 1800, 37800},
		{"America/Santiago", 2026, "422E0000", "922E0000", 3600, -14400}, // the Sunday on or after the 2nd, at midnight
		{"Asia/Kolkata", 2026, "FFFFFFFF", "FFFFFFFF", 0, 19800},
		{"UTC", 2026, "FFFFFFFF", "FFFFFFFF", 0, 0},
		{"America/New_York", 2006, "", "", 3600, -18000}, // a law changed after this year: dates, not rules
		{"Europe/Zurich", 2044, "AE0E3000", "3E0E2000", 3600, 3600},
	} {
		at := time.Date(c.year, 7, 1, 12, 0, 0, 0, time.UTC)
		got := espi.LocalTime(zone(t, c.zone), at)
		want := espi.LocalTimeParameters{DSTEndRule: c.end, DSTOffset: c.dst, DSTStartRule: c.start, TZOffset: c.tz}
		if c.end == "" {
			want.DSTEndRule, want.DSTStartRule = got.DSTEndRule, got.DSTStartRule
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in %d (-want +got):\n%s", c.zone, c.year, diff)
		}
	}
}

// For every zone of the tz database, the rules say the very seconds at which its
// clock is set, in every year for which there are rules; and reading the rule
// back gives it. One rule for all zones leaves no room for a favourite.
func TestLocalTimeOfAllZones(t *testing.T) {
	zones := zoneNames(t)
	if len(zones) < 300 {
		t.Fatalf("only %d zones", len(zones))
	}
	ruled := 0
	for _, name := range zones {
		z, err := time.LoadLocation(name)
		if err != nil {
			continue // a file beside the zones
		}
		for _, year := range []int{1995, 2006, 2007, 2015, 2019, 2024, 2025, 2026, 2027, 2028, 2036, 2040, 2060} {
			l := espi.LocalTime(z, time.Date(year, 6, 1, 12, 0, 0, 0, z))
			want := settings(z, year)
			if l.DSTStartRule == espi.NoDST.String() {
				if len(want) == 2 && want[0].before == want[1].after {
					t.Errorf("%s in %d: no rules, but the clock is set there and back", name, year)
				}
				continue
			}
			ruled++
			var got []setting
			for _, r := range []struct {
				text          string
				before, after int64
			}{
				{l.DSTStartRule, l.TZOffset, l.TZOffset + l.DSTOffset},
				{l.DSTEndRule, l.TZOffset + l.DSTOffset, l.TZOffset},
			} {
				rule, err := espi.ParseDSTRule(r.text)
				if err != nil || rule.String() != r.text {
					t.Fatalf("%s in %d: rule %s: %v", name, year, r.text, err)
				}
				wall, ok := rule.In(year)
				if !ok {
					t.Fatalf("%s in %d: rule %s names no moment", name, year, r.text)
				}
				got = append(got, setting{wall.Unix() - r.before, r.before, r.after})
			}
			slices.SortFunc(got, func(a, b setting) int { return int(a.at - b.at) })
			if !slices.Equal(got, want) {
				t.Errorf("%s in %d: %+v says %v, the clock is set at %v", name, year, l, got, want)
			}
		}
	}
	if ruled < 1000 {
		t.Errorf("only %d pairs of rules were compared", ruled)
	}
}

// setting is a moment at which a clock is set: unix seconds, seconds east of UTC.
type setting struct{ at, before, after int64 }

// settings finds the moments of a calendar year by looking at the clock itself,
// hour by hour and then second by second.
func settings(z *time.Location, year int) (out []setting) {
	offset := func(unix int64) int64 {
		_, o := time.Unix(unix, 0).In(z).Zone()
		return int64(o)
	}
	from := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - 86400
	for t := from; t < from+368*86400; t += 3600 {
		low, high := t, t+3600
		if offset(low) == offset(high) {
			continue
		}
		for high-low > 1 {
			if middle := (low + high) / 2; offset(middle) == offset(low-1) {
				low = middle
			} else {
				high = middle
			}
		}
		if time.Unix(high+offset(high-1), 0).UTC().Year() == year {
			out = append(out, setting{high, offset(high - 1), offset(high)})
		}
	}
	return out
}

// zoneNames returns the zones that the machine knows.
func zoneNames(t *testing.T) (names []string) {
	t.Helper()
	root := "/usr/share/zoneinfo"
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (rel == "posix" || rel == "right"):
			return filepath.SkipDir
		case !d.IsDir() && rel != "" && rel[0] >= 'A' && rel[0] <= 'Z' && !strings.Contains(rel, "."):
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Skipf("SKIPPED, rules of all zones are not compared with their clocks: %v", err)
	}
	return names
}

// Texts that are no rule, and rules that name no moment.
func TestDSTRuleRefuses(t *testing.T) {
	for _, text := range []string{"", "B40E", "AE0E30000", "AE0E300G", "0xAE0E30", "-E0E3000"} {
		if _, err := espi.ParseDSTRule(text); !errors.Is(err, espi.ErrDSTRule) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, r := range []espi.DSTRule{espi.NoDST, 0, 0xD40E2000, 0x340FF000, 0x34002000, 0x30002000, 0x340E2FFF} {
		if at, ok := r.In(2026); ok {
			t.Errorf("%s names %v", r, at)
		}
	}
	if r, err := espi.ParseDSTRule("ae0e3000"); err != nil || r.String() != "AE0E3000" {
		t.Errorf("lower case: %s, %v", r, err)
	}
	// The schema's own example: the third Friday of March at 01:45.
	example := espi.DSTRule(3<<28 | 4<<25 | 5<<17 | 1<<12 | 2700)
	if at, ok := example.In(2026); !ok || !at.Equal(time.Date(2026, 3, 20, 1, 45, 0, 0, time.UTC)) {
		t.Errorf("the schema's example is %v", at)
	}
}

// The days on which the clock is set, in five zones, in each granularity: as many
// readings as the day has, each at its own instant, a day as long as it is.
func TestClockChanges(t *testing.T) {
	for _, c := range []struct {
		zone  string
		date  time.Time // a day on which the clock is set
		hours float64
	}{
		{"Europe/Zurich", date(2026, 3, 29), 23},
		{"Europe/Zurich", date(2026, 10, 25), 25},
		{"Europe/London", date(2026, 3, 29), 23},
		{"Europe/London", date(2026, 10, 25), 25},
		{"America/New_York", date(2026, 3, 8), 23},
		{"America/New_York", date(2026, 11, 1), 25},
		{"Australia/Lord_Howe", date(2026, 10, 4), 23.5},
		{"Australia/Lord_Howe", date(2026, 4, 5), 24.5},
		{"Asia/Kolkata", date(2026, 3, 29), 24},
		{"Asia/Kolkata", date(2026, 10, 25), 24},
	} {
		z := zone(t, c.zone)
		midnight := func(days int) int64 {
			return time.Date(c.date.Year(), c.date.Month(), c.date.Day()+days, 0, 0, 0, 0, z).Unix()
		}
		start, end := midnight(0), midnight(1)
		if float64(end-start) != 3600*c.hours {
			t.Fatalf("%s %s has %v hours", c.zone, c.date.Format(time.DateOnly), float64(end-start)/3600)
		}
		s := sub(t)
		s.Updated = c.date
		document := write(t, s, func(b *espi.Batch) error {
			day := func(n int) meter.Series {
				return meter.Series{UsagePoint: "CH-1", Register: meter.ActiveImport, Start: midnight(n), Length: midnight(n+1) - midnight(n), Values: []int64{int64(1000 + n)}}
			}
			month := time.Date(c.date.Year(), c.date.Month(), 1, 0, 0, 0, 0, z)
			length := month.AddDate(0, 1, 0).Unix() - month.Unix()
			whole := meter.Series{UsagePoint: "CH-1", Register: meter.ActiveImport, Start: month.Unix(), Length: length, Values: []int64{31}}
			return errors.Join(b.UsagePoint(espi.Point{UsagePoint: "CH-1", Zone: z}),
				b.Meter(espi.Meter{Register: meter.ActiveImport, Step: quarter}, quarters(meter.ActiveImport, start, int(end-start)/900)),
				b.Meter(espi.Meter{Register: meter.ActiveImport, Step: espi.Daily}, day(-1), day(0), day(1)),
				b.Meter(espi.Meter{Register: meter.ActiveImport, Step: espi.Monthly}, whole))
		})
		valid(t, document, "FB_01", "FB_04", "FB_05")
		var perQuarter, perDay, perMonth []espi.Value
		for _, v := range values(t, document) {
			switch {
			case v.Duration == 900:
				perQuarter = append(perQuarter, v)
			case v.Duration < 86400*2:
				perDay = append(perDay, v)
			default:
				perMonth = append(perMonth, v)
			}
		}
		if len(perQuarter) != int(4*c.hours) || perQuarter[0].Start != start || perQuarter[len(perQuarter)-1].Start != end-900 {
			t.Errorf("%s %s: %d quarter hours", c.zone, c.date.Format(time.DateOnly), len(perQuarter))
		}
		if len(perDay) != 3 || perDay[1].Start != start || perDay[1].Duration != end-start || *perDay[1].Type.IntervalLength != 86400 {
			t.Errorf("%s %s: days %+v", c.zone, c.date.Format(time.DateOnly), perDay)
		}
		if len(perMonth) != 1 || *perMonth[0].Type.TimeAttribute != 13 {
			t.Errorf("%s %s: months %+v", c.zone, c.date.Format(time.DateOnly), perMonth)
		}
	}
}

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
