package server

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A receipt says what was agreed and all that came of it, in a statement that checks
// under the hub's published key and proves its newest entry; its address, which only the
// household is told, shows the same to whoever has it, and revokes. It would catch a
// receipt of other terms, an address that another consent's opens, and a third party that
// is told how to revoke.
func TestConsentReceipt(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		w.keep(batch("b-1", day(home, yesterday, 0)))
		h, _ := w.signIn(w.homes[home])
		id := w.ask(w.recipient, "1", home, terms())
		_, err := h.GetConsentReceipt(ctx, &wattveilv1.GetConsentReceiptRequest{ConsentId: id})
		refused(t, err, codes.NotFound, "not_found") // nothing was agreed
		_, err = h.GrantConsent(ctx, &wattveilv1.GrantConsentRequest{RequestId: "1", ConsentId: id})
		ok(t, err)
		_, err = h.NarrowConsent(ctx, &wattveilv1.NarrowConsentRequest{RequestId: "2", ConsentId: id, Narrowed: terms(daily)})
		ok(t, err)

		own, err := h.GetConsentReceipt(ctx, &wattveilv1.GetConsentReceiptRequest{ConsentId: id})
		ok(t, err)
		record := w.receipt(own.GetReceipt())
		if record.RecordID != id || record.Status != "PARTIAL" || record.PrincipalID != w.homes[home].GetHousehold() || len(record.Processing.Purposes) != 1 {
			t.Errorf("the record is %+v", record)
		}
		p := record.Processing.Purposes[0]
		if p.Text != terms().GetPurpose().GetText() || p.Information[0].Granularity != "day" || p.PermissionUntil.Unix() != terms().GetPermissionUntil() {
			t.Errorf("it is for %+v", p)
		}
		var kinds, states []string
		for _, e := range record.Events {
			kinds, states = append(kinds, e.Type), append(states, e.State)
		}
		if strings.Join(kinds, " ") != "consent.request consent.grant consent.narrow" || strings.Join(states, " ") != "requested given given" {
			t.Errorf("its story is %v, %v", kinds, states)
		}
		newest := w.proven(&wattveilv1.Receipt{Index: record.Ledger.Index, Payload: record.Ledger.Payload, Nonce: record.Ledger.Nonce, Proof: record.Ledger.Proof})
		if newest.Kind != ledger.KindConsentNarrow || newest.Consent != id || hex.EncodeToString(newest.Terms[:]) != record.Events[2].Terms {
			t.Errorf("it proves %+v", newest)
		}

		theirs, err := w.recipient.GetConsentReceipt(ctx, &wattveilv1.GetConsentReceiptRequest{ConsentId: id})
		ok(t, err)
		if theirs.GetAddress() != "" || w.receipt(theirs.GetReceipt()).RecordID != id {
			t.Errorf("the third party is told %q", theirs.GetAddress())
		}
		_, err = w.otherRecipient.GetConsentReceipt(ctx, &wattveilv1.GetConsentReceiptRequest{ConsentId: id})
		refused(t, err, codes.NotFound, "not_found")

		address, found := strings.CutPrefix(own.GetAddress(), "/r/")
		if !found || len(address) < len(id)+24 {
			t.Fatalf("address %q", own.GetAddress())
		}
		other := w.granted(h, "other", terms())
		for _, guess := range []string{id, id + ".", other + address[strings.IndexByte(address, '.'):], address + "x", address[:len(address)-1], strings.Repeat("x", 4000)} {
			_, err := w.public().OpenReceipt(ctx, &wattveilv1.OpenReceiptRequest{Address: guess})
			refused(t, err, codes.NotFound, "not_found")
			_, err = w.public().RevokeByReceipt(ctx, &wattveilv1.RevokeByReceiptRequest{RequestId: "x", Address: guess})
			refused(t, err, codes.NotFound, "not_found")
		}
		seen, err := w.public().OpenReceipt(ctx, &wattveilv1.OpenReceiptRequest{Address: address})
		ok(t, err)
		if seen.GetConsent().GetId() != id || len(seen.GetSteps()) != 3 || seen.GetSteps()[2].GetTerms().GetGranularity() != wattveilv1.Granularity_GRANULARITY_DAY || seen.GetZone() != "Europe/Zurich" {
			t.Errorf("its page shows %v", seen)
		}
		revoked, err := w.public().RevokeByReceipt(ctx, &wattveilv1.RevokeByReceiptRequest{RequestId: "x", Address: address})
		ok(t, err)
		if p := w.proven(revoked.GetReceipt()); p.Kind != ledger.KindConsentRevoke || p.Consent != id || p.Reason != "household" {
			t.Errorf("proves %+v", p)
		}
		_, err = w.recipient.ReadSeries(ctx, reading("1", id))
		refused(t, err, codes.PermissionDenied, "revoked")
		after, err := w.public().OpenReceipt(ctx, &wattveilv1.OpenReceiptRequest{Address: address})
		ok(t, err)
		if events := w.receipt(after.GetReceipt()).Events; events[len(events)-1].State != "withdrawn" {
			t.Errorf("afterwards its story ends %+v", events[len(events)-1])
		}
	})
}

// receipt checks a signed record under the hub's published keys.
func (w *town) receipt(signed string) consentRecord {
	w.t.Helper()
	code, body, _ := w.rest("").raw(w.t, http.MethodGet, "/.well-known/jwks.json", nil)
	var keys jose.JSONWebKeySet
	ok(w.t, json.Unmarshal(body, &keys))
	if code != http.StatusOK || slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { return !k.IsPublic() }) {
		w.t.Fatalf("published keys: %s", body)
	}
	jws, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.EdDSA})
	ok(w.t, err)
	content, err := jws.Verify(keys)
	ok(w.t, err)
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	var r consentRecord
	ok(w.t, d.Decode(&r))
	return r
}
