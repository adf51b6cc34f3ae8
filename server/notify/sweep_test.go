package notify

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// shelf is a Readings of one recipient: what is stored of each day, for every consent alike.
type shelf struct {
	days     map[meter.Day]uint64
	consents []Marked
	swept    int64
	said     []Announcement
	looked   []Span // what was counted, in days
	pruned   []int64
	refuse   bool
}

func (s *shelf) ClaimSweeps(_ context.Context, before, now int64, _ int) ([]Swept, error) {
	if s.swept > before {
		return nil, nil
	}
	was := s.swept
	s.swept = now
	return []Swept{{"r", was}}, nil
}

func (s *shelf) LiveConsents(_ context.Context, _ consent.Recipient, after consent.Consent, _ int) ([]Marked, error) {
	i := slices.IndexFunc(s.consents, func(m Marked) bool { return m.ID == after.ID })
	return s.consents[i+1 : min(i+3, len(s.consents))], nil // two a page
}

func (s *shelf) StoredDays(_ context.Context, _ consent.Household, _ []meter.UsagePoint, _ []meter.Register, first, last meter.Day) (out []DayCount, err error) {
	s.looked = append(s.looked, Span{int64(first), int64(last)})
	for d := first; d <= last; d++ {
		if n := s.days[d]; n > 0 {
			out = append(out, DayCount{d, n})
		}
	}
	return out, nil
}

func (s *shelf) Announce(_ context.Context, a Announcement) (bool, error) {
	if s.refuse {
		return false, nil
	}
	s.said = append(s.said, a)
	for i := range s.consents {
		if m := &s.consents[i]; m.ID == a.Consent {
			m.Mark = a.Mark
			m.Mark.Version = a.Version + 1
		}
	}
	return true, nil
}

func (s *shelf) Prune(_ context.Context, _ consent.Recipient, before int64, _ int) (int, error) {
	s.pruned = append(s.pruned, before)
	return 0, nil
}

// Readings that came are told of once, by day and within the consent; at every sweep what is
// recent, once a day what is old.
func TestSweep(t *testing.T) {
	const today = meter.Day(20500)
	now := today.Start() + 6*3600
	s := &shelf{days: map[meter.Day]uint64{today - 100: 4, today - 99: 4, today - 50: 1, today: 2}}
	terms := consent.Terms{Granularity: consent.Interval, DataFrom: (today - 99).Start() + 3600, DataUntil: (today + 100).Start(), PermissionUntil: (today + 100).Start()}
	s.consents = []Marked{{Consent: consent.Consent{ID: "c", Recipient: "r", Terms: terms}}}
	w := NewSweeper(s, 5*time.Minute, 30*24*time.Hour, func() time.Time { return time.Unix(now, 0) })
	sweep := func(what string, want ...Span) {
		t.Helper()
		s.said = nil
		n, err := w.Sweep(t.Context())
		ok(t, err)
		var got []Span
		for _, a := range s.said {
			got = append(got, a.Spans...)
			if a.At != now {
				t.Errorf("%s: told at %d", what, a.At)
			}
		}
		if d := cmp.Diff(want, got); d != "" || n != len(want) {
			t.Errorf("%s: %d told (-want +got):\n%s", what, n, d)
		}
	}
	span := func(first, last meter.Day) Span { return Span{first.Start(), last.End()} }
	first := span(today-99, today-99)
	first.From = terms.DataFrom
	sweep("all that is there, cut to the consent", first, span(today-50, today-50), span(today, today))
	s.days[today] = 3
	sweep("too soon")
	now += 300
	sweep("a million batches of one day are one", span(today, today))
	now += 300
	sweep("nothing new")
	s.days[today-1], s.days[today-60] = 1, 1
	now += 300
	sweep("what is recent", span(today-1, today-1))
	if last := s.looked[len(s.looked)-1]; last != (Span{int64(today) - 3, int64(today) + 1}) {
		t.Errorf("looked at days %v", last)
	}
	now += 24 * 3600
	sweep("what is old, once a day", span(today-60, today-60))
	narrower := terms
	narrower.DataFrom = (today - 50).Start()
	s.consents[0].Terms = narrower
	now += 300
	sweep("all, under other terms", span(today-50, today-50), span(today-1, today))
	s.refuse, s.days[today] = true, 9
	now += 300
	if n, err := w.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("somebody else was faster: %d, %v", n, err)
	}
	if s.pruned[0] != (today-30).Start()+6*3600 {
		t.Errorf("forgotten from before %d", s.pruned[0])
	}
}

// Every consent is looked at whole once in 24 hours of sweeps, however often they come, and
// not all at the same time.
func TestWholeIsDueOnceADay(t *testing.T) {
	for _, every := range []int64{30, 300, 3600, 50000} {
		together := map[int64]int{}
		for i := range 50 {
			id := consent.ID(fmt.Sprint("c", i))
			n := 0
			for at := int64(1_700_000_000); at < 1_700_000_000+10*fullEvery; at += every {
				if wholeIsDue(id, at, at+every) {
					n++
					together[at]++
				}
			}
			if n < 10 || n > 11 {
				t.Errorf("every %d s: %s is looked at whole %d times in ten days", every, id, n)
			}
		}
		for _, n := range together {
			if every < 3600 && n > 10 {
				t.Errorf("every %d s: %d of 50 at once", every, n)
			}
		}
	}
}

// Sweeping goes through all pages.
func TestSweepPages(t *testing.T) {
	s := &shelf{days: map[meter.Day]uint64{5: 1}}
	for i := range 5 {
		s.consents = append(s.consents, Marked{Consent: consent.Consent{ID: consent.ID(fmt.Sprint(i)), Terms: consent.Terms{DataUntil: 10 * 86400}}})
	}
	w := NewSweeper(s, time.Minute, time.Hour, func() time.Time { return time.Unix(6*86400, 0) })
	if n, err := w.Sweep(t.Context()); n != 5 || err != nil {
		t.Errorf("%d told, %v", n, err)
	}
}

// What a third party is told of, and when, under each granularity: nothing of a sum before
// it may leave.
func TestHorizon(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339, s)
		ok(t, err)
		return v.Unix()
	}
	for _, c := range []struct {
		now  string
		g    consent.Granularity
		want string
	}{
		{"2026-03-03T06:00:00Z", consent.Interval, "2026-03-04"},
		{"2026-03-03T06:00:00Z", consent.Hour, "2026-03-04"},
		{"2026-03-03T06:00:00Z", consent.Day, "2026-03-01"},
		{"2026-03-03T12:00:00Z", consent.Day, "2026-03-02"},
		{"2026-03-03T06:00:00Z", consent.Month, "2026-02-28"},
		{"2026-03-01T06:00:00Z", consent.Month, "2026-01-31"},
	} {
		if got := Horizon(c.g, at(c.now)); got.String() != c.want {
			t.Errorf("%s at %s: up to %s, want %s", c.g, c.now, got, c.want)
		}
	}
}
