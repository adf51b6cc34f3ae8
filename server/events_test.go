package server

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A regulator finds events by recipient, purpose, outcome and time, and whose
// they are; a household filters its own and is not named. It would catch a filter
// that is taken in and ignored, and one that shows more than its owner's.
func TestFindingEvents(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		w.keep(batch("b-1", day(home, yesterday, 1), day(nextDoor, yesterday, 1)))
		a, _ := w.signIn(w.homes[home])
		b, _ := w.signIn(w.homes[nextDoor])
		ofA := w.granted(a, "1", terms())
		w.granted(b, "2", terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{nextDoor} }))
		w.ask(w.otherRecipient, "3", home, terms(func(t *wattveilv1.Terms) { t.Purpose.Code = "research" }))
		w.clock.add(time.Hour)
		later := morning.Add(time.Hour).Unix()
		_, err := w.recipient.ReadSeries(ctx, reading("1", ofA))
		ok(t, err)
		_, _ = w.otherRecipient.ReadSeries(ctx, reading("1", ofA)) // not its own

		find := func(c *client, req *wattveilv1.ListEventsRequest) (kinds []string, households []string) {
			t.Helper()
			got, err := c.ListEvents(ctx, req)
			ok(t, err)
			for _, e := range got.GetEvents() {
				if !slices.Contains([]string{string(ledger.KindAdmin), string(ledger.KindMapHead)}, e.GetKind()) {
					kinds, households = append(kinds, e.GetKind()), append(households, e.GetHousehold())
				}
			}
			slices.Reverse(kinds)
			slices.Reverse(households)
			return kinds, households
		}
		homeA, homeB := w.homes[home].GetHousehold(), w.homes[nextDoor].GetHousehold()
		for _, c := range []struct {
			name       string
			req        *wattveilv1.ListEventsRequest
			kinds      []string
			households []string
		}{
			{
				"one third party", &wattveilv1.ListEventsRequest{Recipient: recipient},
				[]string{"consent.request", "consent.grant", "consent.request", "consent.grant", "access"},
				[]string{homeA, homeA, homeB, homeB, homeA},
			},
			{"one purpose", &wattveilv1.ListEventsRequest{Purpose: "research"}, []string{"consent.request"}, []string{homeA}},
			{"one outcome", &wattveilv1.ListEventsRequest{Kind: "access.denied"}, []string{"access.denied"}, []string{""}},
			{"since", &wattveilv1.ListEventsRequest{RecordedFrom: later}, []string{"access", "access.denied"}, []string{homeA, ""}},
			{"before", &wattveilv1.ListEventsRequest{RecordedUntil: later, Recipient: otherRecipient}, []string{"consent.request"}, []string{homeA}},
			{"all at once", &wattveilv1.ListEventsRequest{Kind: "access", Recipient: recipient, Purpose: "advice", RecordedFrom: later, RecordedUntil: later + 1}, []string{"access"}, []string{homeA}},
			{"nothing", &wattveilv1.ListEventsRequest{Recipient: "nobody"}, nil, nil},
		} {
			kinds, households := find(w.regulator, c.req)
			if !slices.Equal(kinds, c.kinds) || !slices.Equal(households, c.households) {
				t.Errorf("%s: %v of %v, want %v of %v", c.name, kinds, households, c.kinds, c.households)
			}
		}
		kinds, households := find(a, &wattveilv1.ListEventsRequest{Recipient: recipient})
		if want := []string{"consent.request", "consent.grant", "access"}; !slices.Equal(kinds, want) || slices.ContainsFunc(households, func(h string) bool { return h != "" }) {
			t.Errorf("the household finds %v of %v", kinds, households)
		}
		if kinds, _ := find(w.recipient, &wattveilv1.ListEventsRequest{Recipient: otherRecipient}); len(kinds) != 0 {
			t.Errorf("a third party finds another's: %v", kinds)
		}
		if _, households := find(w.recipient, &wattveilv1.ListEventsRequest{}); slices.ContainsFunc(households, func(h string) bool { return h != "" }) {
			t.Errorf("a third party is told whose events they are: %v", households)
		}
	})
}

// The filters come over REST too.
func TestRESTFindsEvents(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, token := w.signIn(w.homes[home])
	w.granted(h, "1", terms())
	for query, want := range map[string]int{
		"recipient=" + recipient + "&kind=consent.grant&purpose=advice": 1,
		"purpose=other": 0,
		fmt.Sprint("recorded_from=", morning.Unix(), "&recorded_until=", morning.Unix()+1): 2,
		fmt.Sprint("recorded_from=", morning.Unix()+1):                                     0,
	} {
		got := &wattveilv1.ListEventsResponse{}
		ok(t, w.rest(token).call(t, http.MethodGet, "/v1/events?"+query, nil, got))
		if len(got.GetEvents()) != want {
			t.Errorf("%s: %d events, want %d", query, len(got.GetEvents()), want)
		}
	}
}
