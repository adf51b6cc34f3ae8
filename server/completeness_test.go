package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// account of a day, as a person would write it.
func tell(c *wattveilv1.SeriesCompleteness) string {
	return fmt.Sprintf("%s: %d of %d s in %d, %d estimated, %d substituted, %d suspect, %d revised",
		c.GetDate(), c.GetPresentSeconds(), c.GetExpectedSeconds(), c.GetIntervals(), c.GetEstimated(), c.GetSubstituted(), c.GetSuspect(), c.GetRevised())
}

// The account of an answer names gaps, guesses and corrections by the local day, of 23
// hours where the clock was changed; it tells of what is disclosed and of nothing finer.
func TestCompleteness(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	w.clock.set(time.Date(2026, time.March, 30, 12, 0, 0, 0, time.UTC))
	start := time.Date(2026, time.March, 28, 0, 0, 0, 0, time.UTC)
	first := day(home, start, 0)
	first.Qualities = make([]byte, 96)
	first.Qualities[0], first.Qualities[1], first.Qualities[2], first.Qualities[3] = byte(meter.Estimated), byte(meter.Substituted), byte(meter.Suspect), byte(meter.Missing)
	w.send(w.utility, batch("b-1", first, day(home, start.AddDate(0, 0, 1), 0)))
	w.send(w.utility, batch("b-2", revised(2, series(home, start.Add(10*time.Hour), 1, 2))))
	from, until := time.Date(2026, time.March, 28, 23, 0, 0, 0, time.UTC).AddDate(0, 0, -1), start.AddDate(0, 0, 3)
	for granularity, want := range map[wattveilv1.Granularity][]string{
		wattveilv1.Granularity_GRANULARITY_INTERVAL: {
			"2026-03-28: 81900 of 86400 s in 91, 1 estimated, 1 substituted, 1 suspect, 2 revised",
			"2026-03-29: 82800 of 82800 s in 92, 0 estimated, 0 substituted, 0 suspect, 0 revised",
			"2026-03-30: 7200 of 50400 s in 8, 0 estimated, 0 substituted, 0 suspect, 0 revised",
		},
		wattveilv1.Granularity_GRANULARITY_HOUR: {
			"2026-03-28: 82800 of 86400 s in 23, 0 estimated, 0 substituted, 1 suspect, 0 revised",
			"2026-03-29: 82800 of 82800 s in 23, 0 estimated, 0 substituted, 0 suspect, 0 revised",
			"2026-03-30: 7200 of 50400 s in 2, 0 estimated, 0 substituted, 0 suspect, 0 revised",
		},
		wattveilv1.Granularity_GRANULARITY_DAY: {
			"2026-03-28: 86400 of 86400 s in 1, 0 estimated, 0 substituted, 1 suspect, 0 revised",
			"2026-03-29: 82800 of 82800 s in 1, 0 estimated, 0 substituted, 0 suspect, 0 revised",
		},
		wattveilv1.Granularity_GRANULARITY_MONTH: nil,
	} {
		name := strings.ToLower(granularity.String()[12:])
		id := w.granted(h, name, terms(func(t *wattveilv1.Terms) { t.Granularity = granularity }))
		got, err := w.recipient.ReadSeries(t.Context(), reading(name, id, func(r *wattveilv1.ReadSeriesRequest) {
			r.From, r.Until, r.Completeness = from.Unix(), until.Unix(), true
		}))
		ok(t, err)
		var told []string
		for _, c := range got.GetCompleteness() {
			told = append(told, tell(c))
		}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", name, told, want)
		}
		changes, err := w.recipient.ReadChanges(t.Context(), &wattveilv1.ReadChangesRequest{RequestId: name + "-changes", ConsentId: id, Purpose: "advice", Completeness: true})
		ok(t, err)
		if len(changes.GetCompleteness()) < len(want) {
			t.Errorf("%s: changes tell of %d days", name, len(changes.GetCompleteness()))
		}
	}
	own, err := h.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: from.Unix(), Until: until.Unix(), UsagePoints: []string{home}, Completeness: true})
	ok(t, err)
	if len(own.GetCompleteness()) != 3 || own.GetCompleteness()[0].GetPresentSeconds() != 81900 {
		t.Errorf("the household is told %v", own.GetCompleteness())
	}
	quiet, err := h.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: from.Unix(), Until: until.Unix()})
	ok(t, err)
	if len(quiet.GetCompleteness()) != 0 {
		t.Error("told without being asked")
	}
}
