package server

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

func daily(t *wattveilv1.Terms) { t.Granularity = wattveilv1.Granularity_GRANULARITY_DAY }

// What a household takes back of a grant is gone for the very next read, the rest
// is not, and the record proves both. It would catch a read path that looks at
// the terms as they were granted.
func TestNarrowThenRead(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		before := yesterday.AddDate(0, 0, -1)
		w.keep(batch("b-1", day(home, before, 0), day(home, yesterday, 0), day(secondMeter, yesterday, 0)))
		h, _ := w.signIn(w.homes[home])
		ctx := t.Context()
		both := func(t *wattveilv1.Terms) { t.UsagePoints = []string{home, secondMeter} }
		id := w.granted(h, "1", terms(both))
		everything := func(r *wattveilv1.ReadSeriesRequest) { r.From = before.Unix() }
		got, err := w.recipient.ReadSeries(ctx, reading("r-1", id, everything))
		ok(t, err)
		if len(got.GetSeries()) != 2 {
			t.Fatalf("read %d series before it, want one of each usage point", len(got.GetSeries()))
		}

		narrow := func(request string, change ...func(*wattveilv1.Terms)) *wattveilv1.NarrowConsentResponse {
			t.Helper()
			n, err := h.NarrowConsent(ctx, &wattveilv1.NarrowConsentRequest{RequestId: request, ConsentId: id, Narrowed: terms(change...)})
			ok(t, err)
			return n
		}
		onePoint := narrow("n-1")
		if c := onePoint.GetConsent(); c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_GRANTED || !slices.Equal(c.GetTerms().GetUsagePoints(), []string{home}) || c.GetEndedAt() != 0 {
			t.Errorf("narrowed to %v", c)
		}
		if p := w.proven(onePoint.GetReceipt()); p.Kind != ledger.KindConsentNarrow || p.Consent != id || !slices.Equal(p.UsagePoints, []string{home}) {
			t.Errorf("proves %+v", p)
		}
		_, err = w.recipient.ReadSeries(ctx, reading("r-2", id, func(r *wattveilv1.ReadSeriesRequest) { r.UsagePoints = []string{secondMeter} }))
		refused(t, err, codes.PermissionDenied, "usage_point_not_granted")
		got, err = w.recipient.ReadSeries(ctx, reading("r-3", id, everything))
		ok(t, err)
		for _, s := range got.GetSeries() {
			if s.GetUsagePoint() != home {
				t.Errorf("a series of %s after it was taken back", s.GetUsagePoint())
			}
		}

		narrow("n-2", func(t *wattveilv1.Terms) { t.DataFrom = yesterday.Unix() })
		_, err = w.recipient.ReadSeries(ctx, reading("r-4", id, everything))
		refused(t, err, codes.PermissionDenied, "range_not_granted")
		got, err = w.recipient.ReadSeries(ctx, reading("r-5", id))
		ok(t, err)
		if n := len(intervals(t, got.GetSeries())); n != 96 {
			t.Errorf("read %d quarter hours of the day that is left", n)
		}

		narrow("n-3", daily, func(t *wattveilv1.Terms) { t.DataFrom = yesterday.Unix() })
		got, err = w.recipient.ReadSeries(ctx, reading("r-6", id))
		ok(t, err)
		for _, s := range got.GetSeries() {
			if s.GetLengthSeconds() < 86400 {
				t.Errorf("a series in steps of %d s where days are allowed", s.GetLengthSeconds())
			}
		}

		soon := morning.Add(time.Minute).Unix()
		narrow("n-4", daily, func(t *wattveilv1.Terms) { t.DataFrom, t.PermissionUntil = yesterday.Unix(), soon })
		w.clock.add(time.Minute)
		_, err = w.recipient.ReadSeries(ctx, reading("r-7", id))
		refused(t, err, codes.PermissionDenied, "expired")
		if n := len(w.events(h, string(ledger.KindConsentNarrow))); n != 4 {
			t.Errorf("the household finds %d narrowings, want 4", n)
		}
	})
}

// What is no narrowing is refused by name and leaves no record; a repeated one is
// answered with the first. It would catch terms that widen on the way, or an
// empty message that takes everything.
func TestNarrowRefused(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	open := w.ask(w.recipient, "2", home, terms())
	narrow := func(request, id string, to *wattveilv1.Terms) error {
		_, err := h.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{RequestId: request, ConsentId: id, Narrowed: to})
		return err
	}
	refused(t, narrow("1", id, terms()), codes.FailedPrecondition, "same_terms")
	refused(t, narrow("2", id, terms(func(t *wattveilv1.Terms) { t.DataUntil++ })), codes.InvalidArgument, "wider_than_asked")
	refused(t, narrow("3", id, terms(daily, func(t *wattveilv1.Terms) { t.UsagePoints = nil })), codes.InvalidArgument, "wider_than_asked")
	refused(t, narrow("4", id, nil), codes.InvalidArgument, "bad_terms")
	refused(t, narrow("5", id, terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{"a b"} })), codes.InvalidArgument, "bad_name")
	refused(t, narrow("", id, terms(daily)), codes.InvalidArgument, "bad_request_id")
	refused(t, narrow("6", open, terms(daily)), codes.FailedPrecondition, "wrong_state")
	refused(t, narrow("7", "a\x00b", terms(daily)), codes.InvalidArgument, "bad_name")
	if n := len(w.events(h, string(ledger.KindConsentNarrow))); n != 0 {
		t.Errorf("%d records of refused narrowings", n)
	}
	ok(t, narrow("8", id, terms(daily)))
	ok(t, narrow("8", id, terms(daily)))
	refused(t, narrow("8", id, terms(daily, func(t *wattveilv1.Terms) { t.DataUntil-- })), codes.AlreadyExists, "request_id_used")
	if n := len(w.events(h, string(ledger.KindConsentNarrow))); n != 1 {
		t.Errorf("%d records of one narrowing", n)
	}
	_, err := h.RevokeConsent(t.Context(), &wattveilv1.RevokeConsentRequest{RequestId: "9", ConsentId: id})
	ok(t, err)
	refused(t, narrow("9", id, terms(func(t *wattveilv1.Terms) { t.Granularity = wattveilv1.Granularity_GRANULARITY_MONTH })), codes.FailedPrecondition, "wrong_state")
}

// Seconds can be taken off one by one for years: a household cannot fill the
// ledger that way, and can still end it all.
func TestNarrowRate(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	neighbour, _ := w.signIn(w.homes[nextDoor])
	id := w.granted(h, "1", terms())
	narrow := func(c *client, i int64) error {
		_, err := c.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{
			RequestId: fmt.Sprint(i), ConsentId: id, Narrowed: terms(func(t *wattveilv1.Terms) { t.PermissionUntil -= i }),
		})
		return err
	}
	for i := range int64(narrowingsPerHour) {
		ok(t, narrow(h, i+1))
	}
	refused(t, narrow(h, narrowingsPerHour+1), codes.ResourceExhausted, "too_many_narrowings")
	refused(t, narrow(neighbour, 1), codes.NotFound, "not_found") // another one's are its own
	w.clock.add(time.Hour / narrowingsPerHour)
	ok(t, narrow(h, narrowingsPerHour+2))
	refused(t, narrow(h, narrowingsPerHour+3), codes.ResourceExhausted, "too_many_narrowings")
	_, err := h.RevokeConsent(t.Context(), &wattveilv1.RevokeConsentRequest{RequestId: "r", ConsentId: id})
	ok(t, err)
}

// A household's own program narrows over REST.
func TestRESTNarrow(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, token := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	got := &wattveilv1.NarrowConsentResponse{}
	ok(t, w.rest(token).call(t, http.MethodPost, "/v1/consents/"+id+"/narrow", &wattveilv1.NarrowConsentRequest{RequestId: "n", Narrowed: terms(daily)}, got))
	if p := w.proven(got.GetReceipt()); p.Kind != ledger.KindConsentNarrow || got.GetConsent().GetTerms().GetGranularity() != wattveilv1.Granularity_GRANULARITY_DAY {
		t.Errorf("proves %+v", p)
	}
}

// Reads that are decided in one batch with a narrowing see it or do not, by the
// order of their records alone. It would catch terms that were read ahead for the
// batch and outlive it.
func TestNarrowAmongReads(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.keep(batch("b-1", day(secondMeter, yesterday, 0)))
		h, _ := w.signIn(w.homes[home])
		id := w.granted(h, "1", terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{home, secondMeter} }))
		const reads = 60
		done := make(chan error)
		for i := range reads {
			go func() {
				if i == reads/2 {
					_, err := h.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{RequestId: "n", ConsentId: id, Narrowed: terms()})
					done <- err
					return
				}
				_, err := w.recipient.ReadSeries(t.Context(), reading(fmt.Sprint(i), id, func(r *wattveilv1.ReadSeriesRequest) { r.UsagePoints = []string{secondMeter} }))
				if status.Code(err) == codes.PermissionDenied {
					err = nil
				}
				done <- err
			}()
		}
		for range reads {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		narrowed := false
		for _, e := range w.events(w.regulator, "") {
			narrowed = narrowed || e.GetKind() == string(ledger.KindConsentNarrow)
			if narrowed && e.GetKind() == string(ledger.KindAccess) {
				t.Errorf("record %d: a read of what was taken back before it", e.GetIndex())
			}
		}
		if !narrowed {
			t.Error("no record of the narrowing")
		}
	})
}
