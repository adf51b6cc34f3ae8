package server

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// recordOf is a household's record as its own tools read it.
func recordOf(t *testing.T, c *client) ledger.HouseholdRecord {
	t.Helper()
	got, err := c.GetHouseholdRecord(t.Context(), &wattveilv1.GetHouseholdRecordRequest{})
	ok(t, err)
	rec := ledger.HouseholdRecord{
		Household: got.GetHousehold(), MapPayload: got.GetMapHead().GetPayload(), MapNonce: ledger.Hash(got.GetMapHead().GetNonce()),
		MapReceipt: []byte(got.GetMapHead().GetProof()),
	}
	for _, k := range got.GetTagKeys() {
		rec.TagKeys = append(rec.TagKeys, ledger.TagKey{FromSeq: k.GetFromSequence(), Key: ledger.Hash(k.GetKey())})
	}
	for _, e := range got.GetEvents() {
		event := ledger.HouseholdEvent{Index: e.GetIndex(), Payload: e.GetPayload(), Nonce: ledger.Hash(e.GetNonce())}
		if len(e.GetEnvelopeHash()) > 0 {
			event.Envelope = ledger.Hash(e.GetEnvelopeHash())
		}
		rec.Events = append(rec.Events, event)
	}
	for _, s := range got.GetMapSiblings() {
		rec.MapProof.Siblings = append(rec.MapProof.Siblings, ledger.Hash(s))
	}
	if len(got.GetMapOtherKey()) > 0 {
		rec.MapProof.Other = &ledger.MapEntry{Key: ledger.Hash(got.GetMapOtherKey()), Value: ledger.Hash(got.GetMapOtherValue())}
	}
	if n := got.GetMapSequence(); n > uint64(len(rec.Events)) {
		t.Errorf("the map knows of event %d of %d", n, len(rec.Events))
	}
	return rec
}

func (w *town) verifier() *ledger.Verifier {
	w.t.Helper()
	v, err := ledger.NewVerifier(w.hub.VerifierKey())
	ok(w.t, err)
	return v
}

// A household gets, from the hub itself, what proves that the hub hides nothing:
// its consent, the reads of others and its own, newer ones too; and a change of
// its secret, after which the old secret recognises nothing and other sessions are
// shut.
func TestHouseholdRecord(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		family, token := w.signIn(w.homes[home])
		other, _ := w.signIn(w.homes[home])
		w.keep(batch("b-1", series(home, yesterday, 1)))
		id := w.granted(family, "ask-1", terms())
		_, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id))
		ok(t, err)
		_, err = family.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
		ok(t, err)
		report, err := w.verifier().Household(recordOf(t, family))
		ok(t, err)
		if report.Events != 4 || report.Own != 1 || report.Accesses[recipient] != 1 {
			t.Errorf("report %+v, want request, grant, a read and an own one", report)
		}
		rotated, err := family.RotateHouseholdSecret(t.Context(), &wattveilv1.RotateHouseholdSecretRequest{RequestId: "left"})
		ok(t, err)
		_, err = other.GetHousehold(t.Context(), &wattveilv1.GetHouseholdRequest{})
		refused(t, err, codes.Unauthenticated, "session_ended")
		again, err := w.bearing(token).RotateHouseholdSecret(t.Context(), &wattveilv1.RotateHouseholdSecretRequest{RequestId: "left"})
		if ok(t, err); again.GetSequence() != rotated.GetSequence() || rotated.GetSequence() != 5 {
			t.Errorf("the change is event %d, and %d when repeated; want 5", rotated.GetSequence(), again.GetSequence())
		}
		w.clock.add(3 * time.Second) // a map head is due
		ok(t, w.hub.mapIfDue(t.Context()))
		rec := recordOf(t, family)
		report, err = w.verifier().Household(rec)
		ok(t, err)
		if report.Events != 5 || report.Newer != 0 || len(rec.TagKeys) != 2 {
			t.Errorf("report %+v with %d secrets", report, len(rec.TagKeys))
		}
		rec.Events = rec.Events[:4]
		var v *ledger.Violation
		if _, err := w.verifier().Household(rec); !errors.As(err, &v) {
			t.Errorf("with its last event hidden: %v", err)
		}
	})
}

// Every leaf opens for the regulator, with its own key alone: what was recorded
// before it posted one in the clear, the rest by envelope. The map is that of its
// newest head.
func TestListRecords(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		family, _ := w.signIn(w.homes[home])
		w.granted(family, "ask-1", terms())
		w.clock.add(3 * time.Second)
		ok(t, w.hub.mapIfDue(t.Context()))
		opener := ledger.NewEnvelopeOpener(w.cfg.Origin, w.envelopeKeys...)
		stream, err := w.regulator.ListRecords(t.Context(), &wattveilv1.ListRecordsRequest{})
		ok(t, err)
		var next, sealed uint64
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			ok(t, err)
			for _, h := range resp.GetHeads() {
				ok(t, opener.AddHead(ledger.EnvelopeHead{FirstIndex: h.GetFirstIndex(), KeyID: ledger.Hash(h.GetKeyId()), Sealed: h.GetSealed()}))
			}
			for _, r := range resp.GetRecords() {
				payload := r.GetPayload()
				if len(r.GetEnvelope()) > 0 {
					sealed++
					if payload, _, _, err = opener.Open(r.GetIndex(), r.GetEnvelope()); err != nil {
						t.Errorf("record %d: %v", r.GetIndex(), err)
					}
				}
				if _, err := ledger.DecodePayload(payload); err != nil || r.GetIndex() != next {
					t.Errorf("record %d at %d: %v", r.GetIndex(), next, err)
				}
				next++
			}
		}
		note, err := w.store.Checkpoint(t.Context())
		ok(t, err)
		if size, _, err := w.verifier().Checkpoint(note); err != nil || size != next || sealed == 0 || sealed == next {
			t.Errorf("%d records, %d of them sealed, of a log of %d, %v", next, sealed, size, err)
		}
		list, err := w.public().ListMap(t.Context(), &wattveilv1.ListMapRequest{})
		ok(t, err)
		part, err := list.Recv()
		ok(t, err)
		if len(part.GetKeys()) != 1 || part.GetMapHead() != next-1 {
			t.Errorf("the map of head %d has %d keys, want the household's under the last leaf %d", part.GetMapHead(), len(part.GetKeys()), next-1)
		}
	})
}

// While no regulator's key is valid no third party reads, and everything else goes
// on; keys are checked at the edge.
func TestEnvelopeKeys(t *testing.T) {
	w := newTown(t, onSQLite(t))
	family, _ := w.signIn(w.homes[home])
	w.keep(batch("b-1", series(home, yesterday, 1)))
	id := w.granted(family, "ask-1", terms())
	w.clock.set(morning.AddDate(0, 0, 3*35)) // past the last key
	family, _ = w.signIn(w.homes[home])      // and past the session
	tomorrow := func(r *wattveilv1.ReadSeriesRequest) { r.RequestId += "-late" }
	_, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id, tomorrow))
	refused(t, err, codes.FailedPrecondition, "no_regulator_key")
	w.keep(batch("b-2", series(nextDoor, yesterday, 1)))
	if _, err := family.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()}); err != nil {
		t.Errorf("an own read without a regulator's key: %v", err)
	}
	now := w.clock.now()
	key := w.postKey(now)
	_, err = w.recipient.ReadSeries(t.Context(), reading("r-2", id))
	ok(t, err)
	day := int64(86400)
	code := map[string]codes.Code{"conflict": codes.FailedPrecondition, "request_id_used": codes.AlreadyExists}
	for name, req := range map[string]*wattveilv1.PutEnvelopeKeyRequest{
		"bad_envelope_key": {RequestId: "a", PublicKey: []byte("x"), From: now.Unix(), Until: now.Unix() + day},
		"bad_range":        {RequestId: "a", PublicKey: key.Public(), From: now.Unix(), Until: now.Unix() + 36*day},
		"bad_request_id":   {RequestId: "a b", PublicKey: key.Public(), From: now.Unix(), Until: now.Unix() + day},
		"conflict":         {RequestId: "another", PublicKey: key.Public(), From: now.Unix(), Until: now.Unix() + day},
		"request_id_used":  {RequestId: now.Format("2006-01-02"), PublicKey: w.envelopeKeys[0].Public(), From: now.Unix(), Until: now.Unix() + day},
	} {
		want, named := code[name]
		if !named {
			want = codes.InvalidArgument
		}
		_, err := w.regulator.PutEnvelopeKey(t.Context(), req)
		refused(t, err, want, name)
	}
	keys, err := w.regulator.ListEnvelopeKeys(t.Context(), &wattveilv1.ListEnvelopeKeysRequest{})
	ok(t, err)
	if n := len(keys.GetKeys()); n != 4 || keys.GetKeys()[0].GetRegulator() != "reg" {
		t.Errorf("%d keys are listed", n)
	}
}

// Erasing a household leaves the log whole and nothing that opens its part; what
// is left says which events are gone, in whose chain, and not whose they were.
func TestEraseHousehold(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		family, _ := w.signIn(w.homes[home])
		w.keep(batch("b-1", series(home, yesterday, 1)))
		id := w.granted(family, "ask-1", terms())
		_, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id))
		ok(t, err)
		household := w.homes[home].GetHousehold()
		erased, err := w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: household, LegalBasis: "gdpr-17-1-b"})
		ok(t, err)
		if len(erased.GetIndices()) != 1 || erased.GetEvents() != 3 {
			t.Fatalf("erasure %+v, want one leaf over request, grant and read", erased)
		}
		_, err = family.GetHousehold(t.Context(), &wattveilv1.GetHouseholdRequest{})
		refused(t, err, codes.Unauthenticated, "session_ended")
		_, err = w.recipient.ReadSeries(t.Context(), reading("r-2", id))
		refused(t, err, codes.PermissionDenied, "not_consented")
		got, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: erased.GetIndices()[0]})
		ok(t, err)
		p := w.proven(got.GetReceipt())
		if len(p.Erased) != 3 || p.Subject != "" || len(p.MapKeys) != 1 || strings.Contains(string(got.GetReceipt().GetPayload()), household) {
			t.Errorf("the erasure's leaf says %+v", p)
		}
		for _, e := range p.Erased {
			if e.Recipient != recipient || e.RecipientSeq == 0 {
				t.Errorf("erased event %+v", e)
			}
			_, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: e.Index})
			refused(t, err, codes.NotFound, "not_found")
		}
		_, err = w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: household, LegalBasis: "again"})
		refused(t, err, codes.NotFound, "not_found")
		_, err = w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: household, LegalBasis: "a sentence"})
		refused(t, err, codes.InvalidArgument, "bad_name")
	})
}

// A database that was set back is found at the next start, by the witness file
// outside it; one that is set back under a running hub, at its next decision. Then
// the hub serves nothing, over no door, and says why.
func TestRolledBackHub(t *testing.T) {
	w := newTown(t, onSQLite(t), func(c *Config) { c.Ledger.SelfWitness = filepath.Join(t.TempDir(), "witness") })
	family, _ := w.signIn(w.homes[home])
	open, err := w.utility.Submit(t.Context())
	ok(t, err)
	ok(t, open.Send(batch("before", series(home, yesterday, 1))))
	_, err = open.Recv()
	ok(t, err)
	tamper := storetest.OpenTamper(t, w.cfg.Store)
	tamper.Save(t)
	w.granted(family, "ask-1", terms())
	tamper.SetBack(t)
	_, err = family.RotateHouseholdSecret(t.Context(), &wattveilv1.RotateHouseholdSecretRequest{RequestId: "x"})
	refused(t, err, codes.DataLoss, "ledger_rolled_back")
	_, err = w.public().GetCheckpoint(t.Context(), &wattveilv1.GetCheckpointRequest{})
	refused(t, err, codes.DataLoss, "ledger_rolled_back")
	_, err = w.recipient.ReadSeries(t.Context(), reading("r", "c"))
	refused(t, err, codes.DataLoss, "ledger_rolled_back")
	answers, err := submit(t.Context(), w.utility, batch("b", series(home, yesterday, 1)))
	refused(t, err, codes.DataLoss, "ledger_rolled_back")
	if len(answers) > 0 {
		t.Error("a batch was taken")
	}
	ok(t, open.Send(batch("after", series(home, yesterday.Add(time.Hour), 1))))
	_, err = open.Recv()
	refused(t, err, codes.DataLoss, "ledger_rolled_back") // also on a stream that was open before
	for path, want := range map[string]int{"/checkpoint": 503, "/": 503, "/v1/releases": 503, "/readyz": 503, "/healthz": 200} {
		code, body, _ := w.rest("").raw(t, http.MethodGet, path, nil)
		if code != want || want == 503 && !strings.Contains(string(body), "ledger_rolled_back") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	w.clock.set(pastWatermark) // a day is due, and must not be paid for
	if err := w.hub.Tend(t.Context()); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("tending: %v", err)
	}
	if spends, err := w.store.ChargesOf(t.Context(), 2026); err != nil || len(spends) > 0 {
		t.Errorf("budget was spent over a ledger that cannot record it: %v, %v", spends, err)
	}
	w.stop()
	_, err = New(context.Background(), w.cfg, Deps{Store: w.store, Keys: w.keys, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger()})
	if !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("starting over it: %v", err)
	}
}
