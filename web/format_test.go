package web

import (
	"math"
	"testing"
	"time"
)

// Catches a figure that is not the reading: energy is shown exactly, or rounded
// once and away from zero.
func TestFigures(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{kWh(7412), "7.412"},
		{kWh(0), "0.000"},
		{kWh(-5), "−0.005"},
		{kWh(1_234_567_890), "1,234,567.890"},
		{kWh(math.MaxInt64), "9,223,372,036,854,775.807"},
		{kWh(math.MinInt64), "−9,223,372,036,854,775.808"},
		{roundKWh(7449), "7.4"}, // rounding twice would make 7.45 and then 7.5 of it
		{roundKWh(7450), "7.5"},
		{roundKWh(-7450), "−7.5"},
		{roundKWh(85), "0.085"},
		{roundKWh(-85), "−0.085"},
		{roundKW(-4), "0.00"}, // no minus before nothing
		{roundKW(5), "0.01"},
		{roundKW(1540), "1.5"},
		{kW(1500), "1.5"},
		{kW(2000), "2"},
		{kW(750), "0.75"},
		{kW(400_000), "400"},
		{count(0), "0"},
		{count(999), "999"},
		{count(48_213), "48,213"},
		{count(math.MaxUint64), "18,446,744,073,709,551,615"},
		{many(1, "figure", "figures"), "1 figure"},
		{many(2880, "figure", "figures"), "2,880 figures"},
		{span(900), "15 minutes"},
		{span(7200), "2 hours"},
		{span(5400), "1 hour 30 minutes"},
		{nano(18_000_000), "0.018"},
		{nano(1_000_000_000), "1"},
		{nano(1), "0.000000001"},
		{excerpt("short", 5), "short"},
		{excerpt("one two three", 9), "one two…"},
		{excerpt("abcdefghij", 4), "abcd…"},
		{groups([]byte{1, 2, 3, 4, 5}), "0102 0304 05"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

// Catches a range that is named a day too long or too short: its end is
// exclusive on the wire and included in words.
func TestPeriods(t *testing.T) {
	zone := location(t, zurich)
	midnight := func(y int, m time.Month, d int) int64 { return date{y, m, d}.start(zone) }
	for _, tt := range []struct {
		first, end    int64
		from, through string
		oneDay        bool
	}{
		{midnight(2025, 10, 1), midnight(2025, 11, 1), "1 October 2025", "31 October 2025", false},
		{midnight(2025, 10, 26), midnight(2025, 10, 27), "26 October 2025", "26 October 2025", true}, // 25 hours
		{midnight(2025, 10, 1) + 3600, midnight(2025, 10, 2), "1 October 2025, 01:00", "1 October 2025", false},
		{midnight(2025, 10, 1), midnight(2025, 10, 1) + 900, "1 October 2025", "1 October 2025, 00:15", false},
	} {
		p := during(tt.first, tt.end, zone)
		if p.From.Text != tt.from || p.Through.Text != tt.through || p.OneDay != tt.oneDay {
			t.Errorf("%+v, want %q to %q, one day: %v", p, tt.from, tt.through, tt.oneDay)
		}
	}
}
