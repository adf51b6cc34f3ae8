package server

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A whole life at the most talkative level, with everything going wrong that can:
// the log names no reading, usage point, household, consent, code, token, session
// or text of a purpose. What it does name is what an operator needs: calls,
// codes, reasons.
func TestLogsTellNothing(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		secrets := map[string]string{}
		keep := func(what, secret string) { secrets[secret] = what }

		// Counters, whose values are long enough not to be there by chance.
		counter := series(home, yesterday)
		counter.Register = "1-0:1.8.0*255"
		refusedValue := int64(-7_000_000_000_000_000_000)
		for range 20 {
			var b [8]byte
			_, _ = rand.Read(b[:])
			v := int64(binary.BigEndian.Uint64(b[:])>>4 | 1<<58)
			counter.Values = append(counter.Values, v)
			keep("a reading", fmt.Sprint(v))
		}
		keep("a refused reading", fmt.Sprint(refusedValue))
		for _, h := range w.homes {
			keep("a household", h.GetHousehold())
			keep("a letter's code", h.GetLetterCode())
			keep("a letter's code", strings.ReplaceAll(h.GetLetterCode(), "-", ""))
		}
		for _, p := range []string{home, secondMeter, nextDoor, farAway, empty, "no-such-point"} {
			keep("a usage point", p)
		}

		conflicting := series(home, yesterday, counter.Values[3])
		conflicting.Register = counter.Register
		lost := series(empty, yesterday, refusedValue)
		bad := series("no-such-point", yesterday, refusedValue)
		answers, err := submit(ctx, w.utility, batch("b-1", counter, series(home, yesterday, refusedValue), lost, bad), batch("b-2", conflicting))
		ok(t, err)
		if answers["b-1"].GetAccepted() != 20 {
			t.Fatalf("accepted %d", answers["b-1"].GetAccepted())
		}
		w.send(w.utility, batch("b-1", bad))       // other content
		w.send(w.otherUtility, batch("b-1", lost)) // another's usage point
		_, _ = submit(ctx, w.recipient, batch("b-1", counter))

		h, token := w.signIn(w.homes[home])
		keep("a token", token)
		keep("a session", fmt.Sprintf("%x", tokenHash(token)))
		_, _ = w.bearing(token+"x").GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
		counters := terms(func(t *wattveilv1.Terms) { t.Registers = []string{counter.Register} })
		keep("a purpose's text", counters.GetPurpose().GetText())
		id := w.granted(h, "1", counters)
		keep("a consent", id)
		if _, err := w.recipient.ReadSeries(ctx, reading("1", id)); err != nil {
			t.Fatal(err)
		}
		_, _ = w.recipient.ReadSeries(ctx, reading("2", id, func(r *wattveilv1.ReadSeriesRequest) { r.UsagePoints = []string{nextDoor} }))
		_, _ = w.otherRecipient.ReadSeries(ctx, reading("2", id))
		_, err = h.ReadOwnSeries(ctx, &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
		ok(t, err)
		_, _ = h.RevokeConsent(ctx, &wattveilv1.RevokeConsentRequest{RequestId: "1", ConsentId: id})

		// Over REST and through the pages, by mistake and with a wrong code.
		door := w.rest(token)
		for path, body := range map[string]string{
			"/v1/consents/" + id + "/grant": `{"x":`, "/v1/session": `{"letter_code":"` + w.homes[nextDoor].GetLetterCode()[:13] + `0"}`,
			"/v1/households/" + w.homes[home].GetHousehold() + "/move-out": `{}`, "/" + home: "", "/sign-in": "code=" + w.homes[nextDoor].GetLetterCode(),
		} {
			door.raw(t, http.MethodPost, path, []byte(body))
			door.raw(t, http.MethodGet, path, nil)
		}

		// The key service away, a call that panics, a day that closes, a store that goes.
		w.keys.away.Store(true)
		_, _ = w.operator.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: []*wattveilv1.NewHousehold{{UsagePoints: []string{empty}}}})
		_, _ = h.ReadOwnSeries(ctx, &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
		w.keys.away.Store(false)
		w.keys.breakWith(func() { panic(errors.New(home + fmt.Sprint(counter.Values))) })
		_, _ = h.ReadOwnSeries(ctx, &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
		w.keys.mend()
		w.clock.set(pastWatermark)
		ok(t, w.hub.Tend(ctx))
		w.clock.add(24 * time.Hour)
		w.restart()
		w.keep(batch("b-9", series(home, yesterday, 1)))
		ok(t, w.store.Close())
		_, _ = submit(ctx, w.utility, batch("b-10", counter))
		_, _ = w.bearing(token).GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
		_, _ = w.operator.MoveOut(ctx, &wattveilv1.MoveOutRequest{Household: w.homes[home].GetHousehold(), At: morning.Unix()})
		_ = w.hub.Tend(ctx)
		w.stop()

		log := w.log.bytes()
		for _, line := range []string{"level=DEBUG", "level=ERROR", "ReadOwnSeries", "Submit", "panic", "code=Unavailable", "code=PermissionDenied"} {
			if !bytes.Contains(log, []byte(line)) {
				t.Errorf("the log does not hold %q: the life was not as eventful as it should be", line)
			}
		}
		for secret, what := range secrets {
			for _, line := range bytes.Split(log, []byte("\n")) {
				if bytes.Contains(line, []byte(secret)) {
					t.Errorf("the log holds %s: %s", what, bytes.ReplaceAll(line, []byte(secret), []byte("……")))
				}
			}
		}
	})
}
