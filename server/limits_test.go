package server

import (
	"fmt"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A range that nobody could mean is an answer, not a record: it costs the ledger
// nothing. The bounds hold for the household's own readings too.
func TestRangeLimits(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	before := len(w.events(w.regulator, ""))
	for name, r := range map[string][2]int64{
		"empty":                 {yesterday.Unix(), yesterday.Unix()},
		"backwards":             {yesterday.Unix(), yesterday.Unix() - 1},
		"401 days":              {yesterday.Unix() - 401*86400, yesterday.Unix()},
		"before 1970":           {-1, 86400},
		"after 9999":            {253402300799, 253402300800},
		"an overflow":           {math.MinInt64, math.MaxInt64},
		"another overflow":      {math.MinInt64, 1},
		"the whole of the time": {0, 253402300799},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.recipient.ReadSeries(t.Context(), reading("r", id, func(q *wattveilv1.ReadSeriesRequest) { q.From, q.Until = r[0], r[1] }))
			refused(t, err, codes.InvalidArgument, "bad_range")
			_, err = h.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: r[0], Until: r[1]})
			refused(t, err, codes.InvalidArgument, "bad_range")
		})
	}
	if n := len(w.events(w.regulator, "")); n != before {
		t.Errorf("%d records were written", n-before)
	}
}

// What callers send is checked where it comes in, and answered by name. It would
// catch text that reaches the database as it is: a NUL is an error of
// PostgreSQL's own.
func TestMalformedRequests(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		h, _ := w.signIn(w.homes[home])
		ctx := t.Context()
		type wrong struct {
			reason string
			call   func() error
		}
		for _, c := range []wrong{
			{"bad_request_id", func() error { _, err := w.recipient.ReadSeries(ctx, reading("", "x")); return err }},
			{"bad_access", func() error { _, err := w.recipient.ReadSeries(ctx, reading("1", "a\x00b")); return err }},
			{"bad_register", func() error {
				_, err := w.recipient.ReadSeries(ctx, reading("1", "x", func(r *wattveilv1.ReadSeriesRequest) { r.Registers = []string{"1.8.0"} }))
				return err
			}},
			{"bad_page_token", func() error {
				_, err := h.ListConsents(ctx, &wattveilv1.ListConsentsRequest{PageToken: "x"})
				return err
			}},
			{"bad_page_token", func() error {
				_, err := h.ListEvents(ctx, &wattveilv1.ListEventsRequest{PageToken: "7.a\x00"})
				return err
			}},
			{"bad_page_size", func() error {
				_, err := w.public().ListReleases(ctx, &wattveilv1.ListReleasesRequest{PageSize: 501})
				return err
			}},
			{"bad_name", func() error {
				_, err := h.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: "a\x00b"})
				return err
			}},
			{"bad_name", func() error {
				_, err := h.ListEvents(ctx, &wattveilv1.ListEventsRequest{Kind: "access\x00"})
				return err
			}},
			{"bad_name", func() error {
				_, err := h.ListEvents(ctx, &wattveilv1.ListEventsRequest{Recipient: "a\x00"})
				return err
			}},
			{"bad_name", func() error {
				_, err := w.regulator.ListEvents(ctx, &wattveilv1.ListEventsRequest{Purpose: "a b"})
				return err
			}},
			{"bad_time", func() error {
				_, err := w.regulator.ListEvents(ctx, &wattveilv1.ListEventsRequest{RecordedFrom: math.MaxInt64})
				return err
			}},
			{"bad_time", func() error {
				_, err := h.ListEvents(ctx, &wattveilv1.ListEventsRequest{RecordedUntil: -1})
				return err
			}},
			{"bad_range", func() error {
				_, err := w.regulator.ListEvents(ctx, &wattveilv1.ListEventsRequest{RecordedFrom: 10, RecordedUntil: 10})
				return err
			}},
			{"bad_name", func() error {
				_, err := w.public().GetRelease(ctx, &wattveilv1.GetReleaseRequest{Id: "day-curve/\x00"})
				return err
			}},
			{"bad_name", func() error {
				_, err := w.operator.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: []*wattveilv1.UsagePoint{{Id: "p", Utility: utility, Node: "a\x00"}}})
				return err
			}},
			{"bad_name", func() error {
				_, err := w.operator.PutRecipients(ctx, &wattveilv1.PutRecipientsRequest{Recipients: []*wattveilv1.Recipient{{Id: "r", Name: "Energy \u202eecivdA"}}})
				return err
			}},
			{"bad_time", func() error {
				_, err := w.operator.MoveOut(ctx, &wattveilv1.MoveOutRequest{Household: w.homes[home].GetHousehold(), At: math.MaxInt64})
				return err
			}},
			{"bad_time", func() error {
				_, err := w.operator.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: []*wattveilv1.NewHousehold{{UsagePoints: []string{empty}, From: -1}}})
				return err
			}},
			{"bad_zone", func() error {
				_, err := w.operator.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: []*wattveilv1.UsagePoint{{Id: "p", Utility: utility, Node: "feeder", Zone: "../etc/localtime"}}})
				return err
			}},
			{"bad_cap", func() error {
				_, err := w.operator.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: []*wattveilv1.UsagePoint{{Id: "p", Utility: utility, Node: "feeder", CapWatts: -1}}})
				return err
			}},
			{"bad_tree", func() error {
				_, err := w.operator.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: []*wattveilv1.GridNode{{Id: "n", Kind: "k", Level: 1}}})
				return err
			}},
			{"bad_day", func() error {
				_, err := w.utility.Completeness(ctx, &wattveilv1.CompletenessRequest{UsagePoints: []string{home}, FromDay: "2026-13-01", ToDay: "2026-01-01"})
				return err
			}},
			{"bad_count", func() error {
				_, err := w.utility.Completeness(ctx, &wattveilv1.CompletenessRequest{FromDay: "2026-01-01", ToDay: "2026-01-01"})
				return err
			}},
			{"bad_year", func() error { _, err := w.public().GetBudget(ctx, &wattveilv1.GetBudgetRequest{Year: -5}); return err }},
			{"bad_terms", func() error {
				_, err := w.recipient.RequestConsent(ctx, &wattveilv1.RequestConsentRequest{RequestId: "1", UsagePoint: home, Terms: terms(func(t *wattveilv1.Terms) { t.Registers = nil })})
				return err
			}},
			{"too_many", func() error {
				_, err := w.operator.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: make([]*wattveilv1.Utility, 1001)})
				return err
			}},
		} {
			t.Run(c.reason, func(t *testing.T) { refused(t, c.call(), codes.InvalidArgument, c.reason) })
		}
		for _, c := range []wrong{
			{"not_found", func() error {
				_, err := w.regulator.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: 1 << 40})
				return err
			}},
			{"not_found", func() error {
				_, err := w.public().GetRelease(ctx, &wattveilv1.GetReleaseRequest{Id: "day-curve/2026-01-01"})
				return err
			}},
			{"not_found", func() error {
				_, err := w.operator.IssueLetterCode(ctx, &wattveilv1.IssueLetterCodeRequest{Household: "nobody"})
				return err
			}},
			{"not_found", func() error {
				_, err := h.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "1", ConsentId: "nothing"})
				return err
			}},
		} {
			t.Run(c.reason, func(t *testing.T) { refused(t, c.call(), codes.NotFound, c.reason) })
		}
		_, err := w.operator.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: []*wattveilv1.NewHousehold{{UsagePoints: []string{home}, From: morning.Unix()}}})
		refused(t, err, codes.FailedPrecondition, "conflict")
	})
}

// A third party that asks without end fills neither the ledger nor the day of the
// others: what is too much is refused before a record, whatever it asks for.
func TestReadRate(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 1)))
	h, _ := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	for i := range readsPerMinute {
		_, err := w.recipient.ReadSeries(t.Context(), reading(fmt.Sprint(i), id, func(r *wattveilv1.ReadSeriesRequest) { r.Until = 0 }))
		if i == 0 || i == readsPerMinute-1 {
			refused(t, err, codes.InvalidArgument, "bad_range")
		}
	}
	_, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id))
	refused(t, err, codes.ResourceExhausted, "too_many_reads")
	if n := len(w.events(h, string(ledger.KindAccess))) + len(w.events(h, string(ledger.KindAccessDenied))); n != 0 {
		t.Errorf("%d records", n)
	}
	_, err = w.otherRecipient.ReadSeries(t.Context(), reading("r-1", id))
	refused(t, err, codes.PermissionDenied, "not_consented") // another one's reads are its own
	w.clock.add(time.Minute / 2)
	if _, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id)); err != nil {
		t.Errorf("half a minute later: %v", err)
	}
}

// The bucket holds its size, fills evenly, and never beyond; a clock that is set
// back takes nothing away and gives nothing.
func TestBucket(t *testing.T) {
	b := newBucket(3, time.Minute)
	now := morning
	take := func(after time.Duration, want int) {
		t.Helper()
		now = now.Add(after)
		got := 0
		for b.take(now) {
			got++
		}
		if got != want {
			t.Errorf("%s: took %d, want %d", now.Format(time.TimeOnly), got, want)
		}
	}
	take(0, 3)
	take(19*time.Second, 0)
	take(time.Second, 1)
	take(40*time.Second, 2)
	take(-time.Hour, 0)
	take(time.Hour, 0)
	take(20*time.Second, 1)
	take(24*time.Hour, 3)
}

// The cache of keys holds what it may and forgets what was used longest ago.
func TestLRU(t *testing.T) {
	l := newLRU[string, int](2)
	l.put("a", 1)
	l.put("b", 2)
	l.put("a", 3)
	l.put("c", 4) // b goes
	for key, want := range map[string]int{"a": 3, "b": 0, "c": 4} {
		if v, held := l.get(key); v != want || held != (want != 0) {
			t.Errorf("%s: %d, %t", key, v, held)
		}
	}
	if l.order.Len() != 2 || len(l.byKey) != 2 {
		t.Errorf("%d and %d held", l.order.Len(), len(l.byKey))
	}
}
