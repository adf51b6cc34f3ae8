package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// total is what the fake hub's meter measured on a local day.
func total(d date, zone string, t testing.TB) (wh int64) {
	z := location(t, zone)
	for at := d.start(z); at < d.add(1).start(z); at += 900 {
		wh += wattHours(at)
	}
	return wh
}

// Catches a local day with the wrong quarter-hours: 96, 92 in spring, 100 in
// autumn, each in the table with its offset, their sum exact, no gap where the
// clock only jumped.
func TestDaysOfTheClockChange(t *testing.T) {
	for _, tt := range []struct {
		day   date
		rows  int
		says  string
		table []string
	}{
		{date{2025, 10, 25}, 96, "", []string{"00:00", "23:45"}},
		{date{2025, 10, 26}, 100, "came twice", []string{"02:15 UTC+02:00", "02:15 UTC+01:00"}},
		{date{2025, 3, 30}, 92, "after 01:59 came 03:00", []string{"01:45 UTC+01:00", "03:00 UTC+02:00"}},
	} {
		t.Run(tt.day.String(), func(t *testing.T) {
			hub, handler := newPortal(t)
			hub.set(func() { hub.first, hub.last = tt.day.add(-3).String(), tt.day.add(3).String() })
			body := page(t, household(t, handler).get("/home?day="+tt.day.String()), http.StatusOK)
			sane(t, body)
			says(t, body, "Your home used "+roundKWh(total(tt.day, zurich, t))+" kWh", tt.day.long(), tt.says)
			says(t, body, tt.table...)
			silent(t, body, "without readings")
			if n := strings.Count(body, `<tr><th scope="row">`); n != tt.rows {
				t.Errorf("%d rows, want %d", n, tt.rows)
			}
		})
	}
}

// Catches a day that is not the newest with readings. A UTC day that has begun
// does not mean that the local one has: in Zurich the last UTC day ends within
// the next local day, in Honolulu within the day before.
func TestDayShownFirst(t *testing.T) {
	for zone, want := range map[string]date{
		zurich:             {2025, 11, 1}, // 31 October UTC ends at 01:00 there
		"UTC":              {2025, 10, 31},
		"Pacific/Honolulu": {2025, 10, 31},
	} {
		hub, handler := newPortal(t)
		hub.set(func() { hub.zone = zone })
		says(t, page(t, household(t, handler).get("/home"), http.StatusOK), want.long())
	}

	// The last UTC day has one reading, which is of the local day before.
	hub, handler := newPortal(t)
	hub.set(func() {
		hub.last = "2025-11-02"
		hub.series = func(from, until int64) []*wattveilv1.Series {
			at := date{2025, 11, 2}.start(location(t, "UTC"))
			if at < from || at >= until {
				return nil
			}
			return []*wattveilv1.Series{{UsagePoint: "CH-0001", Register: registerUsed, Start: at, LengthSeconds: 900, Values: []int64{5}}}
		}
		hub.zone = "Pacific/Honolulu"
	})
	says(t, page(t, household(t, handler).get("/home"), http.StatusOK), date{2025, 11, 1}.long())
}

// Catches links that lead out of the history, or that leave out its edge.
func TestNeighbouringDays(t *testing.T) {
	_, handler := newPortal(t)
	v := household(t, handler)
	for day, want := range map[string][]string{
		"2025-10-20": {"2025-10-21"},               // the first
		"2025-10-25": {"2025-10-24", "2025-10-26"}, // in between
		"2025-11-01": {"2025-10-31"},               // an hour of it is there
		"2024-01-01": nil,                          // long before
	} {
		elements, _, err := parse(page(t, v.get("/home?day="+day), http.StatusOK))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range elements {
			if e.attr["rel"] == "prev" || e.attr["rel"] == "next" {
				got = append(got, strings.TrimPrefix(e.attr["href"], "/home?day="))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s leads to %v, want %v", day, got, want)
		}
	}
}

// Catches a missing value shown as zero, an estimated one as measured, and a
// total that counts what is not there.
func TestMissingAndEstimatedValues(t *testing.T) {
	hub, handler := newPortal(t)
	day := date{2025, 10, 22}
	start := day.start(location(t, zurich))
	hub.set(func() {
		hub.series = func(from, until int64) []*wattveilv1.Series {
			if start < from || start >= until {
				return nil
			}
			values, qualities := make([]int64, 96), make([]byte, 96)
			for i := range values {
				values[i] = 100
			}
			for i := 20; i < 28; i++ {
				values[i], qualities[i] = 9999, qualityMissing
			}
			qualities[40], qualities[41], qualities[42], qualities[43] = 1, 2, 3, 9
			return []*wattveilv1.Series{
				{UsagePoint: "CH-0001", Register: registerUsed, Start: start, LengthSeconds: 900, Values: values, Qualities: qualities},
				{UsagePoint: "CH-0001", Register: "1-0:3.29.0*255", Start: start, LengthSeconds: 900, Values: []int64{77_777}},
			}
		}
	})
	body := page(t, household(t, handler).get("/home?day="+day.String()), http.StatusOK)
	says(t, body, "Your home used 8.8 kWh", "2 hours without readings", "4 values are not measured", "estimated", "substituted", "suspect", "not measured")
	silent(t, body, "9.999", "77.777")
	if n := strings.Count(body, `<tr><th scope="row">`); n != 88 {
		t.Errorf("%d rows, want 88", n)
	}
	if n := strings.Count(body, `class="gap"`); n != 1 {
		t.Errorf("%d gaps drawn, want 1", n)
	}
}

// Catches meters or directions that are added up with each other, or of which
// one goes unnamed.
func TestSeveralMeters(t *testing.T) {
	hub, handler := newPortal(t)
	day := date{2025, 10, 22}
	start := day.start(location(t, zurich))
	hub.set(func() {
		hub.series = func(int64, int64) []*wattveilv1.Series {
			one := func(point, register string, wh int64) *wattveilv1.Series {
				return &wattveilv1.Series{UsagePoint: point, Register: register, Start: start, LengthSeconds: 3600, Values: []int64{wh}}
			}
			return []*wattveilv1.Series{
				one("CH-0001", registerUsed, 1500), one("CH-0002", registerUsed, 2500), one("CH-0001", registerFed, 7000),
			}
		}
	})
	body := page(t, household(t, handler).get("/home?day="+day.String()), http.StatusOK)
	sane(t, body)
	says(t, body, "Your home used 4.0 kWh", "Electricity used, meter CH-0001 1.5 kWh", "Electricity used, meter CH-0002 2.5 kWh", "Electricity fed in, meter CH-0001 7.0 kWh")
}

// Catches a page that fails as a whole because a part of it cannot be had, and
// one that calls what cannot be had nothing.
func TestPartsThatFail(t *testing.T) {
	hub, handler := newPortal(t)
	hub.set(func() {
		hub.fail[wattveilv1.ReadingService_ReadOwnSeries_FullMethodName] = refusal(codes.Unavailable, "key_service_unavailable")
	})
	body := page(t, household(t, handler).get("/home"), http.StatusOK)
	sane(t, body)
	says(t, body, "The key to your readings cannot be reached.", "Nobody is asking to see it.")

	hub, handler = newPortal(t)
	hub.set(func() {
		hub.fail[wattveilv1.ConsentService_ListConsents_FullMethodName] = refusal(codes.Unavailable, "store_unavailable")
	})
	body = page(t, household(t, handler).get("/home"), http.StatusOK)
	sane(t, body)
	says(t, body, "Your home used", "We cannot say at the moment who may see it.")
	silent(t, body, "Nobody is asking")
}

// Catches a home without readings that gets an error, and reads of nothing.
func TestNoReadingsYet(t *testing.T) {
	hub, handler := newPortal(t)
	hub.set(func() { hub.first, hub.last = "", "" })
	body := page(t, household(t, handler).get("/home"), http.StatusOK)
	sane(t, body)
	says(t, body, "No readings yet", "Nobody is asking to see it. No company may see it.")

	hub, handler = newPortal(t)
	body = page(t, household(t, handler).get("/home?day=2031-01-01"), http.StatusOK)
	says(t, body, "No readings on this day")
	if slices.Contains(hub.called(), wattveilv1.ReadingService_ReadOwnSeries_FullMethodName) {
		t.Error("asked for readings where there are none")
	}
	page(t, household(t, handler).get("/home?day=tomorrow"), http.StatusBadRequest)
}

// Catches a household's own look that the page does not own up to.
func TestOwnLookIsNamed(t *testing.T) {
	_, handler := newPortal(t)
	says(t, page(t, household(t, handler).get("/home"), http.StatusOK), "Your own look was written into the record too: entry 0.")
}
