package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// terms ask for import at the home's first meter, as metered, from the day before
// yesterday until the end of the year.
func terms(change ...func(*wattveilv1.Terms)) *wattveilv1.Terms {
	t := &wattveilv1.Terms{
		Purpose:     &wattveilv1.Purpose{Code: "advice", Text: "To tell you where your energy goes."},
		UsagePoints: []string{home}, Registers: []string{energyIn}, Granularity: wattveilv1.Granularity_GRANULARITY_INTERVAL,
		DataFrom: yesterday.AddDate(0, 0, -1).Unix(), DataUntil: yesterday.AddDate(1, 0, 0).Unix(), PermissionUntil: yesterday.AddDate(1, 0, 0).Unix(),
	}
	for _, c := range change {
		c(t)
	}
	return t
}

// ask requests a consent.
func (w *town) ask(c *client, id, point string, t *wattveilv1.Terms) string {
	w.t.Helper()
	got, err := c.RequestConsent(w.t.Context(), &wattveilv1.RequestConsentRequest{RequestId: id, UsagePoint: point, Terms: t})
	ok(w.t, err)
	return got.GetConsentId()
}

// granted asks and grants.
func (w *town) granted(household *client, id string, t *wattveilv1.Terms) string {
	w.t.Helper()
	consent := w.ask(w.recipient, id, t.GetUsagePoints()[0], t)
	_, err := household.GrantConsent(w.t.Context(), &wattveilv1.GrantConsentRequest{RequestId: id, ConsentId: consent})
	ok(w.t, err)
	return consent
}

// reading is a third party's request for yesterday.
func reading(id, consent string, change ...func(*wattveilv1.ReadSeriesRequest)) *wattveilv1.ReadSeriesRequest {
	r := &wattveilv1.ReadSeriesRequest{RequestId: id, ConsentId: consent, Purpose: "advice", From: yesterday.Unix(), Until: yesterday.AddDate(0, 0, 1).Unix()}
	for _, c := range change {
		c(r)
	}
	return r
}

// The life of a consent: asked, seen, granted, read with a proof that holds
// offline, revoked, and shut; every step a record that the whole log's verifier
// accepts. It would catch a reading before its record, a reading of what was not
// granted, and a revocation that takes effect late.
func TestConsentLife(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		exported := day(home, yesterday, 5000)
		exported.Register = energyOut // stored beside what is granted, and not to be read
		w.keep(batch("b-1", day(home, yesterday, 100), day(home, yesterday.AddDate(0, 0, -1), 300), exported, day(secondMeter, yesterday, 700)))
		h, _ := w.signIn(w.homes[home])
		ctx := t.Context()

		id := w.ask(w.recipient, "ask-1", home, terms())
		if again := w.ask(w.recipient, "ask-1", home, terms()); again != id {
			t.Error("the same request made two consents")
		}
		_, err := w.recipient.ReadSeries(ctx, reading("early", id))
		refused(t, err, codes.PermissionDenied, "not_consented")
		seen, err := h.ListConsents(ctx, &wattveilv1.ListConsentsRequest{})
		ok(t, err)
		if len(seen.GetConsents()) != 1 || seen.GetConsents()[0].GetRecipientName() != "Energy Advice" || seen.GetConsents()[0].GetTerms().GetPurpose().GetText() != terms().GetPurpose().GetText() {
			t.Fatalf("the household sees %v", seen)
		}
		grant, err := h.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "grant-1", ConsentId: id})
		ok(t, err)
		if p := w.proven(grant.GetReceipt()); p.Kind != ledger.KindConsentGrant || p.Consent != id || p.Subject != w.homes[home].GetHousehold() {
			t.Errorf("the grant's receipt proves %+v", p)
		}

		got, err := w.recipient.ReadSeries(ctx, reading("read-1", id))
		ok(t, err)
		if len(got.GetSeries()) != 1 || got.GetSeries()[0].GetRegister() != energyIn || got.GetSeries()[0].GetUsagePoint() != home ||
			!slices.Equal(got.GetSeries()[0].GetValues(), day(home, yesterday, 100).GetValues()) || got.GetSeries()[0].GetStart() != yesterday.Unix() {
			t.Errorf("read %d series", len(got.GetSeries()))
		}
		p := w.proven(got.GetReceipt())
		if p.Kind != ledger.KindAccess || p.Recipient != recipient || p.Purpose != "advice" || p.Consent != id || p.From != yesterday.Unix() ||
			p.KeyFrom != p.KeyUntil || !slices.Equal(p.UsagePoints, []string{home}) || !slices.Equal(p.Registers, []string{energyIn}) || p.Intervals != 96 {
			t.Errorf("the access proves %+v", p)
		}
		_, err = w.recipient.ReadSeries(ctx, reading("read-1", id))
		refused(t, err, codes.AlreadyExists, "request_id_used")
		_, err = w.otherRecipient.ReadSeries(ctx, reading("read-1", id))
		refused(t, err, codes.PermissionDenied, "not_consented")

		revoked, err := h.RevokeConsent(ctx, &wattveilv1.RevokeConsentRequest{RequestId: "revoke-1", ConsentId: id})
		ok(t, err)
		if p := w.proven(revoked.GetReceipt()); p.Kind != ledger.KindConsentRevoke {
			t.Errorf("the revocation's receipt proves %+v", p)
		}
		_, err = w.recipient.ReadSeries(ctx, reading("read-2", id))
		refused(t, err, codes.PermissionDenied, "revoked")
		_, err = w.recipient.ReadSeries(ctx, reading("read-2", id)) // again: the same refusal, no further leaf
		refused(t, err, codes.PermissionDenied, "revoked")
		denied := w.events(h, string(ledger.KindAccessDenied))
		if len(denied) != 1 || denied[0].GetReason() != "revoked" || denied[0].GetRecipientName() != "Energy Advice" {
			t.Errorf("the household sees these refusals: %v", denied)
		}
		_, err = h.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "grant-2", ConsentId: id})
		refused(t, err, codes.FailedPrecondition, "wrong_state")

		src, err := ledger.HTTPSource("http://"+w.hub.HTTPAddr(), http.DefaultClient)
		ok(t, err)
		report, err := ledger.VerifyLog(ctx, w.verifier(), src, ledger.VerifyOptions{})
		ok(t, err)
		if all := w.events(w.regulator, ""); report.Size != uint64(len(all)) {
			t.Errorf("%d records verified, the regulator sees %d", report.Size, len(all))
		}
	})
}

// A reading reaches as far as the consent, in every direction, and every refusal
// is a record that its household sees. Reasons are in the order in which nothing
// is told that was not known.
func TestRefusedReadings(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 1)))
	h, _ := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	open := w.ask(w.recipient, "2", home, terms())
	no := w.ask(w.recipient, "3", home, terms())
	_, err := h.DenyConsent(t.Context(), &wattveilv1.DenyConsentRequest{RequestId: "3", ConsentId: no})
	ok(t, err)
	soon := w.granted(h, "4", terms(func(t *wattveilv1.Terms) { t.PermissionUntil = morning.Add(time.Hour).Unix() }))
	w.clock.add(2 * time.Hour)
	type request = wattveilv1.ReadSeriesRequest
	want, n := map[string]int{}, 0
	for name, c := range map[string]struct {
		consent string
		change  func(*request)
		reason  consent.Reason
		theirs  bool // the household sees it
	}{
		"no such consent":     {"0123456789abcdef0123456789abcdef", func(*request) {}, consent.ReasonNotConsented, false},
		"not decided":         {open, func(*request) {}, consent.ReasonNotConsented, false},
		"denied":              {no, func(*request) {}, consent.ReasonNotConsented, false},
		"its time is up":      {soon, func(*request) {}, consent.ReasonExpired, true},
		"another purpose":     {id, func(r *request) { r.Purpose = "marketing" }, consent.ReasonPurpose, true},
		"own purpose":         {id, func(r *request) { r.Purpose = "self" }, consent.ReasonPurpose, true},
		"another usage point": {id, func(r *request) { r.UsagePoints = []string{home, secondMeter} }, consent.ReasonUsagePoint, true},
		"a neighbour's":       {id, func(r *request) { r.UsagePoints = []string{nextDoor} }, consent.ReasonUsagePoint, true},
		"another register":    {id, func(r *request) { r.Registers = []string{energyOut} }, consent.ReasonRegister, true},
		"older data":          {id, func(r *request) { r.From -= 3 * 86400 }, consent.ReasonRange, true},
		"data to come":        {id, func(r *request) { r.From, r.Until = morning.Unix()+86400, morning.Unix()+90000 }, consent.ReasonRangeFuture, false},
	} {
		n++
		_, err := w.recipient.ReadSeries(t.Context(), reading(fmt.Sprint(n), c.consent, c.change))
		t.Run(name, func(t *testing.T) { refused(t, err, codes.PermissionDenied, string(c.reason)) })
		if c.theirs {
			want[string(c.reason)]++
		}
	}
	got := map[string]int{}
	for _, e := range w.events(h, string(ledger.KindAccessDenied)) {
		got[e.GetReason()]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("the household sees %v, want %v", got, want)
	}
	if got := len(w.events(w.recipient, string(ledger.KindAccessDenied))); got != n {
		t.Errorf("%d refusals in the ledger, want %d", got, n)
	}
}

// Hours, days and months leave as sums and never finer, whole ones alone, by the
// calendar of the usage point.
func TestGranularity(t *testing.T) {
	w := newTown(t, onSQLite(t))
	local := yesterday.Add(-time.Hour) // midnight in Zurich
	w.keep(batch("b-1", day(home, yesterday.AddDate(0, 0, -1), 0), day(home, yesterday, 96)))
	h, _ := w.signIn(w.homes[home])
	value := func(at time.Time) int64 { return (at.Unix() - yesterday.AddDate(0, 0, -1).Unix()) / 900 }
	sum := func(from time.Time, hours int) (n int64) {
		for i := range hours * 4 {
			n += value(from) + int64(i)
		}
		return n
	}
	for name, c := range map[string]struct {
		granularity wattveilv1.Granularity
		from, until time.Time
		want        map[int64]int64
	}{
		"hours": {
			wattveilv1.Granularity_GRANULARITY_HOUR, yesterday.Add(30 * time.Minute), yesterday.Add(3*time.Hour + 30*time.Minute),
			map[int64]int64{yesterday.Add(time.Hour).Unix(): sum(yesterday.Add(time.Hour), 1), yesterday.Add(2 * time.Hour).Unix(): sum(yesterday.Add(2*time.Hour), 1)},
		},
		"days": {
			wattveilv1.Granularity_GRANULARITY_DAY, local, yesterday.AddDate(0, 0, 1),
			map[int64]int64{local.Unix(): sum(local, 24)},
		},
		"no whole month": {wattveilv1.Granularity_GRANULARITY_MONTH, local, yesterday.AddDate(0, 0, 1), map[int64]int64{}},
	} {
		id := w.granted(h, name[:2], terms(func(t *wattveilv1.Terms) { t.Granularity = c.granularity }))
		got, err := w.recipient.ReadSeries(t.Context(), reading(name[:2], id, func(r *wattveilv1.ReadSeriesRequest) { r.From, r.Until = c.from.Unix(), c.until.Unix() }))
		ok(t, err)
		if read := intervals(t, got.GetSeries()); !maps.Equal(read, c.want) {
			t.Errorf("%s: %v, want %v", name, read, c.want)
		}
	}
}

// A consent covers what was the household's: what came before it moved in and
// after it moved out is another's, whatever range is asked for and granted.
func TestReadingIsCutToOccupancy(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		first := w.moveIn(movedIn, empty)
		w.moveOut(first.GetHousehold(), yesterday.Add(6*time.Hour))
		second := w.moveIn(yesterday.Add(12*time.Hour), empty)
		w.send(w.utility, batch("b-1", day(empty, yesterday, 0)))
		c, _ := w.signIn(second)
		id := w.granted(c, "1", terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{empty} }))
		got, err := w.recipient.ReadSeries(t.Context(), reading("1", id))
		ok(t, err)
		read := intervals(t, got.GetSeries())
		if len(read) != 48 || read[yesterday.Add(12*time.Hour).Unix()] != 48 {
			t.Errorf("read %d intervals, want the 48 of the household that granted", len(read))
		}
		_, err = w.recipient.ReadSeries(t.Context(), reading("2", id, func(r *wattveilv1.ReadSeriesRequest) { r.Until = yesterday.Add(11 * time.Hour).Unix() }))
		refused(t, err, codes.PermissionDenied, "range_not_granted")
	})
}

// Narrowed terms are what holds, and never more than was asked.
func TestNarrowedGrant(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0), day(secondMeter, yesterday, 0)))
	h, _ := w.signIn(w.homes[home])
	both := terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{home, secondMeter} })
	id := w.ask(w.recipient, "1", home, both)
	wider := terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{home, nextDoor} })
	_, err := h.GrantConsent(t.Context(), &wattveilv1.GrantConsentRequest{RequestId: "1", ConsentId: id, Narrowed: wider})
	refused(t, err, codes.InvalidArgument, "wider_than_asked")
	granted, err := h.GrantConsent(t.Context(), &wattveilv1.GrantConsentRequest{RequestId: "2", ConsentId: id, Narrowed: terms()})
	ok(t, err)
	if got := granted.GetConsent(); got.GetState() != wattveilv1.ConsentState_CONSENT_STATE_GRANTED || !slices.Equal(got.GetTerms().GetUsagePoints(), []string{home}) {
		t.Errorf("granted %v", got)
	}
	got, err := w.recipient.ReadSeries(t.Context(), reading("1", id))
	ok(t, err)
	if len(got.GetSeries()) != 1 || got.GetSeries()[0].GetUsagePoint() != home {
		t.Errorf("read %d series", len(got.GetSeries()))
	}
	_, err = w.recipient.ReadSeries(t.Context(), reading("2", id, func(r *wattveilv1.ReadSeriesRequest) { r.UsagePoints = []string{secondMeter} }))
	refused(t, err, codes.PermissionDenied, "usage_point_not_granted")
}
