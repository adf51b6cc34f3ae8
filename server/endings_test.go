package server

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A third party that gives up its permission reads no more, its household sees who ended
// it, and nobody ends what is another's. It would catch an end that only the state shows.
func TestWithdraw(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		w.keep(batch("b-1", day(home, yesterday, 0)))
		h, _ := w.signIn(w.homes[home])
		id := w.granted(h, "1", terms())
		_, err := w.otherRecipient.WithdrawConsent(ctx, &wattveilv1.WithdrawConsentRequest{RequestId: "1", ConsentId: id})
		refused(t, err, codes.NotFound, "not_found")
		got, err := w.recipient.WithdrawConsent(ctx, &wattveilv1.WithdrawConsentRequest{RequestId: "1", ConsentId: id})
		ok(t, err)
		if c := got.GetConsent(); c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_TERMINATED || c.GetCause() != "third_party" || c.GetStatus() != "TERMINATED" {
			t.Errorf("withdrawn: %v", c)
		}
		_, err = w.recipient.ReadSeries(ctx, reading("1", id))
		refused(t, err, codes.PermissionDenied, "ended")
		seen, err := h.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: id})
		ok(t, err)
		if c := seen.GetConsent(); c.GetCause() != "third_party" || c.GetEndsAt() != 0 || c.GetAsked() == nil {
			t.Errorf("the household sees %v", c)
		}
	})
}

// Operator and regulator hold and end a permission without learning what it is about.
// It would catch an override that shows them a household's terms, and a hold that does
// not hold.
func TestOverride(t *testing.T) {
	w := newTown(t, onSQLite(t))
	ctx := t.Context()
	w.keep(batch("b-1", day(home, yesterday, 0)))
	h, _ := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms())
	held, err := w.operator.SuspendConsent(ctx, &wattveilv1.SuspendConsentRequest{RequestId: "1", ConsentId: id})
	ok(t, err)
	if c := held.GetConsent(); c.GetStatus() != "SUSPENDED" || c.GetCause() != "operator" || c.GetTerms() != nil || c.GetAsked() != nil || c.GetDecidedAt() != 0 {
		t.Errorf("held: %v", c)
	}
	_, err = w.recipient.ReadSeries(ctx, reading("1", id))
	refused(t, err, codes.PermissionDenied, "suspended")
	_, err = w.operator.ResumeConsent(ctx, &wattveilv1.ResumeConsentRequest{RequestId: "1", ConsentId: id})
	ok(t, err)
	_, err = w.recipient.ReadSeries(ctx, reading("2", id))
	ok(t, err)
	_, err = w.operator.TerminateConsent(ctx, &wattveilv1.TerminateConsentRequest{RequestId: "1", ConsentId: id})
	ok(t, err)
	_, err = w.recipient.ReadSeries(ctx, reading("3", id))
	refused(t, err, codes.PermissionDenied, "ended")
	_, err = w.operator.TerminateConsent(ctx, &wattveilv1.TerminateConsentRequest{RequestId: "2", ConsentId: "nothing"})
	refused(t, err, codes.NotFound, "not_found")
}

// All sharing of a home ends the day that it moves out, and a meter that comes to it is
// read under a permission that includes such. It would catch a hub that forgets one of
// the two, and a read beyond the day.
func TestHomeChanges(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		family := w.moveIn(movedIn, empty)
		h, _ := w.signIn(family)
		id := w.ask(w.recipient, "1", empty, terms(func(t *wattveilv1.Terms) { t.UsagePoints, t.FutureUsagePoints = nil, true }))
		granted, err := h.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "1", ConsentId: id})
		ok(t, err)
		if c := granted.GetConsent(); len(c.GetTerms().GetUsagePoints()) != 1 || c.GetStatus() != "ACCEPTED" {
			t.Fatalf("granted %v", c)
		}
		const solar = "UP-SOLAR"
		_, err = w.operator.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: []*wattveilv1.UsagePoint{{Id: solar, Utility: utility, Node: "feeder", Zone: "Europe/Zurich"}}})
		ok(t, err)
		_, err = w.operator.AddUsagePoints(ctx, &wattveilv1.AddUsagePointsRequest{Household: family.GetHousehold(), UsagePoints: []string{solar}, From: yesterday.Unix()})
		ok(t, err)
		w.send(w.utility, batch("b-1", day(solar, yesterday, 0)))
		got, err := w.recipient.ReadSeries(ctx, reading("1", id))
		ok(t, err)
		if read := got.GetSeries(); len(read) != 1 || read[0].GetUsagePoint() != solar {
			t.Errorf("read %v", read)
		}
		w.moveOut(family.GetHousehold(), yesterday.Add(12*time.Hour))
		_, err = w.recipient.ReadSeries(ctx, reading("2", id))
		refused(t, err, codes.PermissionDenied, "ended")
		seen, err := h.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: id})
		ok(t, err)
		if c := seen.GetConsent(); c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_TERMINATED || c.GetCause() != "occupant_change" {
			t.Errorf("after moving out: %v", c)
		}
	})
}
