package server

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// What is one caller's is not there for another: a third party sees the consents
// and records that name it, a household its own, and neither can tell what is
// another's from what does not exist. A regulator sees every record.
func TestNobodySeesAnothers(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		w.keep(batch("b-1", day(home, yesterday, 1)))
		a, _ := w.signIn(w.homes[home])
		b, _ := w.signIn(w.homes[nextDoor])
		id := w.granted(a, "1", terms())
		got, err := w.recipient.ReadSeries(ctx, reading("1", id))
		ok(t, err)
		open := w.ask(w.recipient, "2", home, terms())

		for who, c := range map[string]*client{"another third party": w.otherRecipient, "another household": b} {
			t.Run(who, func(t *testing.T) {
				_, err := c.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: id})
				refused(t, err, codes.NotFound, "not_found")
				list, err := c.ListConsents(ctx, &wattveilv1.ListConsentsRequest{})
				ok(t, err)
				if len(list.GetConsents()) != 0 || len(w.events(c, "")) != 0 {
					t.Errorf("sees %d consents, %d events", len(list.GetConsents()), len(w.events(c, "")))
				}
				_, err = c.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: got.GetReceipt().GetIndex()})
				refused(t, err, codes.NotFound, "not_found")
				_, err = c.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: 1 << 40}) // nothing is answered alike
				refused(t, err, codes.NotFound, "not_found")
			})
		}
		for what, call := range map[string]func(id string) error{
			"grant": func(id string) error {
				_, err := b.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "g-" + id, ConsentId: id})
				return err
			},
			"deny": func(id string) error {
				_, err := b.DenyConsent(ctx, &wattveilv1.DenyConsentRequest{RequestId: "d-" + id, ConsentId: id})
				return err
			},
			"revoke": func(id string) error {
				_, err := b.RevokeConsent(ctx, &wattveilv1.RevokeConsentRequest{RequestId: "r-" + id, ConsentId: id})
				return err
			},
			"narrow": func(id string) error {
				_, err := b.NarrowConsent(ctx, &wattveilv1.NarrowConsentRequest{RequestId: "n-" + id, ConsentId: id, Narrowed: terms(daily)})
				return err
			},
		} {
			for _, id := range []string{id, open, "0123456789abcdef"} {
				t.Run(what, func(t *testing.T) { refused(t, call(id), codes.NotFound, "not_found") })
			}
		}
		if own := w.own(b, home, movedIn, morning); len(own) != 0 {
			t.Errorf("a household reads %d of another's intervals", len(own))
		}

		all := w.events(w.regulator, "")
		for i, e := range all {
			if e.GetIndex() != uint64(i) {
				t.Fatalf("the regulator sees record %d where %d stands", e.GetIndex(), i)
			}
			receipt, err := w.regulator.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
			ok(t, err)
			if p := w.proven(receipt.GetReceipt()); string(p.Kind) != e.GetKind() {
				t.Errorf("record %d: %s and %s", i, p.Kind, e.GetKind())
			}
		}
		kinds := func(c *client) (k []string) {
			for _, e := range w.events(c, "") {
				k = append(k, e.GetKind()+" "+e.GetPurpose())
			}
			return k
		}
		if got, want := kinds(a), []string{"consent.request advice", "consent.grant advice", "access advice", "consent.request advice"}; !slices.Equal(got, want) {
			t.Errorf("the household sees %q", got)
		}
		w.own(a, home, yesterday, morning)
		if got := kinds(w.recipient); slices.Contains(got, "access self") || len(got) != 4 {
			t.Errorf("the third party sees %q", got)
		}
	})
}

// A third party that asks about a usage point learns nothing of who lives there:
// an unknown one, an empty one and a home are answered alike, listed alike, run
// out alike, and their payloads, which name the household or nobody, are not
// shown until it has agreed.
func TestAskingTellsNothing(t *testing.T) {
	w := newTown(t, onSQLite(t))
	ctx := t.Context()
	short := func(t *wattveilv1.Terms) { t.UsagePoints, t.PermissionUntil = nil, morning.Add(time.Hour).Unix() }
	asked := map[string]string{}
	for _, point := range []string{home, empty, "no-such-point"} {
		asked[point] = w.ask(w.recipient, point, point, terms(short))
	}
	h, _ := w.signIn(w.homes[home])
	denied := w.ask(w.recipient, "denied", home, terms())
	_, err := h.DenyConsent(ctx, &wattveilv1.DenyConsentRequest{RequestId: "1", ConsentId: denied})
	ok(t, err)
	agreed := w.granted(h, "agreed", terms(func(t *wattveilv1.Terms) { t.PermissionUntil = morning.Add(time.Hour).Unix() }))
	w.clock.add(2 * time.Hour)
	ok(t, w.hub.Tend(ctx))

	like := func(c *wattveilv1.Consent) string {
		return c.GetState().String() + " " + c.GetTerms().GetPurpose().GetCode()
	}
	var first string
	for point, id := range asked {
		got, err := w.recipient.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: id})
		ok(t, err)
		if first == "" {
			first = like(got.GetConsent())
		}
		if like(got.GetConsent()) != first || len(got.GetConsent().GetTerms().GetUsagePoints()) != 0 || got.GetConsent().GetState() != wattveilv1.ConsentState_CONSENT_STATE_EXPIRED {
			t.Errorf("%s: %v", point, got.GetConsent())
		}
	}
	for _, e := range w.events(w.recipient, "") {
		receipt, err := w.recipient.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
		if may := e.GetConsentId() == agreed && e.GetKind() != string(ledger.KindConsentRequest); may != (err == nil) {
			t.Errorf("%s: shown %t, want %t", e.GetKind(), err == nil, may)
		} else if may {
			w.proven(receipt.GetReceipt())
		}
	}
	if got := len(w.events(w.recipient, string(ledger.KindConsentExpire))); got != 4 {
		t.Errorf("%d ran out, want 4", got)
	}
}

// A household's reading of its own: one record for each session and UTC day, of
// all it has, listed apart by its purpose; and nothing that is not its own.
func TestOwnReading(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		out := day(home, yesterday, 40)
		out.Register = energyOut
		w.keep(batch("b-1", day(home, yesterday, 1), out, day(secondMeter, yesterday, 2), day(nextDoor, yesterday, 3)))
		h, token := w.signIn(w.homes[home])
		records := func() int { return len(w.events(h, string(ledger.KindAccess))) }
		for _, c := range []struct {
			points, registers []string
			series            int
		}{
			{nil, nil, 3},
			{[]string{home}, nil, 2},
			{[]string{home}, []string{energyOut}, 1},
			{nil, []string{energyIn}, 2},
			{[]string{nextDoor}, nil, 0},
			{[]string{"no-such-point"}, nil, 0},
			{nil, []string{"1-0:3.29.0*255"}, 0},
		} {
			got, err := h.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{UsagePoints: c.points, Registers: c.registers, From: yesterday.Unix(), Until: morning.Unix()})
			ok(t, err)
			if len(got.GetSeries()) != c.series {
				t.Errorf("%v %v: %d series, want %d", c.points, c.registers, len(got.GetSeries()), c.series)
			}
			p := w.proven(got.GetReceipt())
			if p.Kind != ledger.KindAccess || p.Purpose != "self" || p.Subject != w.homes[home].GetHousehold() || p.Session != tokenHash(token) || !slices.Equal(p.UsagePoints, []string{home, secondMeter}) {
				t.Errorf("proves %+v", p)
			}
		}
		if n := records(); n != 1 {
			t.Errorf("%d records of one session and day, want 1", n)
		}
		other, _ := w.signIn(w.homes[home])
		w.own(other, secondMeter, yesterday, morning)
		if n := records(); n != 2 {
			t.Errorf("%d records of two sessions, want 2", n)
		}
		w.clock.add(24 * time.Hour)
		w.own(h, secondMeter, yesterday, morning)
		w.own(h, secondMeter, yesterday, morning)
		if n := records(); n != 3 {
			t.Errorf("%d records with the next day, want 3", n)
		}
	})
}

// A range is cut to the second, not to the block.
func TestOwnReadingIsCut(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0)))
	h, _ := w.signIn(w.homes[home])
	for _, c := range []struct {
		from, until time.Duration
		first, n    int
	}{
		{0, 15 * time.Minute, 0, 1},
		{time.Second, 30 * time.Minute, 1, 1},
		{time.Hour, time.Hour + time.Second, 4, 1},
		{time.Minute, 2 * time.Minute, 0, 0},
		{-24 * time.Hour, 48 * time.Hour, 0, 96},
	} {
		got := w.own(h, home, yesterday.Add(c.from), yesterday.Add(c.until))
		if len(got) != c.n || c.n > 0 && got[yesterday.Unix()+int64(c.first)*900] != int64(c.first) {
			t.Errorf("from %s until %s: %v", c.from, c.until, got)
		}
	}
}
