package server

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// poller is a third party that keeps what it was given, as one would: by usage point,
// register and start.
type poller struct {
	*town
	as      *client
	consent string
	name    string

	calls  int
	cursor string
	held   map[string]int64
}

func (w *town) poller(name, consent string) *poller {
	return &poller{town: w, as: w.recipient, consent: consent, name: name, held: map[string]int64{}}
}

// ask makes one call.
func (p *poller) ask(change ...func(*wattveilv1.ReadChangesRequest)) (*wattveilv1.ReadChangesResponse, error) {
	p.calls++
	req := &wattveilv1.ReadChangesRequest{RequestId: fmt.Sprintf("%s-%d", p.name, p.calls), ConsentId: p.consent, Purpose: "advice", Cursor: p.cursor}
	for _, c := range change {
		c(req)
	}
	return p.as.ReadChanges(p.t.Context(), req)
}

// poll asks until there is no more, and returns what it was given: for each value how
// often.
func (p *poller) poll() map[string]int {
	p.t.Helper()
	given := map[string]int{}
	for {
		got, err := p.ask()
		ok(p.t, err)
		if (got.GetReceipt() == nil) != (len(got.GetSeries()) == 0) {
			p.t.Errorf("%s: %d series, a record: %t", p.name, len(got.GetSeries()), got.GetReceipt() != nil)
		}
		for _, s := range got.GetSeries() {
			for at, v := range intervals(p.t, []*wattveilv1.Series{s}) {
				key := valueKey(s, at)
				p.held[key] = v
				given[key]++
			}
		}
		p.cursor = got.GetCursor()
		if !got.GetMore() {
			return given
		}
	}
}

func valueKey(s *wattveilv1.Series, at int64) string {
	return fmt.Sprintf("%s %s %s %d", s.GetUsagePoint(), s.GetRegister(), time.Unix(at, 0).UTC().Format(time.RFC3339), s.GetLengthSeconds())
}

// accesses is how many opened reads the third party finds in the ledger.
func (p *poller) accesses() int {
	p.t.Helper()
	return len(p.events(p.as, string(ledger.KindAccess)))
}

// days is how many values of each UTC day were given, once each.
func days(t *testing.T, given map[string]int) map[string]int {
	t.Helper()
	out := map[string]int{}
	for key, n := range given {
		if n > 1 {
			t.Errorf("%s was given %d times", key, n)
		}
		out[strings.Fields(key)[2][:len("2006-01-02")]]++
	}
	return out
}

// A third party that comes again is given what is new, late and corrected, each once,
// however many others are given it too and wherever they stand, and in between nothing:
// then nothing is recorded either. It would catch a correction of an old day that is
// missed, a day that is given again with another, and a poll that fills the ledger.
func TestChanges(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		h, _ := w.signIn(w.homes[home])
		id := w.granted(h, "1", terms(func(t *wattveilv1.Terms) {
			t.UsagePoints, t.DataFrom = []string{home, secondMeter}, yesterday.AddDate(0, 0, -20).Unix()
		}))
		p := w.poller("p", id)
		given := func(p *poller, what string, want map[string]int) {
			t.Helper()
			before := p.accesses()
			if got := days(t, p.poll()); !maps.Equal(got, want) {
				t.Errorf("%s: given %v, want %v", what, got, want)
			}
			if n := p.accesses() - before; (n == 0) != (len(want) == 0) {
				t.Errorf("%s: %d records", what, n)
			}
		}
		given(p, "before anything is stored", nil)
		exported := day(home, yesterday, 5000)
		exported.Register = energyOut // not granted
		w.keep(batch("b-1", day(home, yesterday.AddDate(0, 0, -1), 100), day(home, yesterday.AddDate(0, 0, -15), 50), exported))
		given(p, "the beginning", map[string]int{"2026-03-01": 96, "2026-02-15": 96})
		given(p, "nothing new", nil)
		w.keep(batch("b-2", exported))
		given(p, "new of what is not granted", nil)
		late := w.poller("late", id)
		w.keep(batch("b-3", day(home, yesterday, 200), day(secondMeter, yesterday, 300)))
		given(p, "a day", map[string]int{"2026-03-02": 2 * 96})
		w.keep(batch("b-4", revised(1, series(home, yesterday.AddDate(0, 0, -15), 7))))
		given(p, "a correction of an old day", map[string]int{"2026-02-15": 96})
		given(p, "nothing after it", nil)
		w.keep(batch("b-5", series(home, yesterday.AddDate(0, 0, -5), 11, 12), revised(2, series(home, yesterday, 13))))
		given(p, "late data and a correction", map[string]int{"2026-02-25": 2, "2026-03-02": 2 * 96})
		given(late, "one who begins late", map[string]int{"2026-02-15": 96, "2026-02-25": 2, "2026-03-01": 96, "2026-03-02": 2 * 96})
		for _, q := range []*poller{p, late} {
			if v := q.held[valueKey(series(home, yesterday), yesterday.AddDate(0, 0, -15).Unix())]; v != 7 {
				t.Errorf("%s holds %d for what was corrected to 7", q.name, v)
			}
			if !maps.Equal(q.held, w.whole(id)) {
				t.Errorf("%s does not hold what is stored", q.name)
			}
		}
		w.restart() // a cursor outlives the process that gave it
		p.as = w.recipient
		given(p, "after a restart", nil)
		w.keep(batch("b-6", day(home, yesterday.AddDate(0, 0, -1), 1)))
		given(p, "what only repeats", map[string]int{"2026-03-01": 96})
	})
}

// whole is all that a consent covers, read in one range.
func (w *town) whole(id string) map[string]int64 {
	w.t.Helper()
	out := map[string]int64{}
	got, err := w.recipient.ReadSeries(w.t.Context(), reading(fmt.Sprint("whole-", id, len(w.events(w.recipient, ""))), id, func(r *wattveilv1.ReadSeriesRequest) {
		r.From, r.Until = yesterday.AddDate(0, 0, -20).Unix(), morning.AddDate(0, 0, 1).Unix()
	}))
	ok(w.t, err)
	for _, s := range got.GetSeries() {
		for at, v := range intervals(w.t, []*wattveilv1.Series{s}) {
			out[valueKey(s, at)] = v
		}
	}
	return out
}

// Readings arrive, and are corrected, while third parties poll. In the end each holds
// what is stored. It would catch a cursor that relies on the order in which
// transactions commit, or that is taken after what it stands for was read.
func TestChangesWhileIngesting(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url, func(c *Config) {
			if !strings.HasPrefix(url, "sqlite:") {
				c.Ingest.Committers = 2
			}
		})
		h, _ := w.signIn(w.homes[home])
		id := w.granted(h, "1", terms(func(t *wattveilv1.Terms) {
			t.UsagePoints, t.DataFrom = []string{home, secondMeter}, yesterday.AddDate(0, 0, -20).Unix()
		}))
		const senders, batches = 4, 12
		var sending, polling sync.WaitGroup
		done := make(chan struct{})
		for s := range senders {
			sending.Go(func() {
				for b := range batches {
					at := yesterday.AddDate(0, 0, -(s+5*b)%18).Add(time.Duration(b) * 15 * time.Minute)
					_, err := submit(t.Context(), w.utility, batch(fmt.Sprintf("%d-%d", s, b),
						revised(uint32(b), series([]string{home, secondMeter}[(s+b)%2], at, int64(1000*s+b), int64(b)))))
					if err != nil {
						t.Errorf("sending: %v", err)
					}
				}
			})
		}
		pollers := []*poller{w.poller("a", id), w.poller("b", id), w.poller("c", id)}
		for _, p := range pollers {
			polling.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						got, err := p.ask()
						if err != nil {
							t.Errorf("polling: %v", err)
							return
						}
						for _, s := range got.GetSeries() {
							for at, v := range intervals(t, []*wattveilv1.Series{s}) {
								p.held[valueKey(s, at)] = v
							}
						}
						p.cursor = got.GetCursor()
						w.clock.add(150 * time.Millisecond) // reads are limited by the minute
					}
				}
			})
		}
		sending.Wait()
		close(done)
		polling.Wait()
		want := w.whole(id)
		for _, p := range pollers {
			p.poll()
			if !maps.Equal(p.held, want) {
				t.Errorf("%s holds %d values, stored are %d, or others", p.name, len(p.held), len(want))
			}
			if again := p.poll(); len(again) != 0 {
				t.Errorf("%s is given %d values when nothing has changed", p.name, len(again))
			}
		}
	})
}

// A cursor is of one third party, one consent, and its terms; what is none, or another's,
// is refused by name, with the parameter's, before anything is recorded. Without it the
// third party begins anew.
func TestCursorsAreBound(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0), day(secondMeter, yesterday, 0)))
	h, _ := w.signIn(w.homes[home])
	both := terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{home, secondMeter} })
	p, other := w.poller("p", w.granted(h, "1", both)), w.poller("o", w.granted(h, "2", terms()))
	foreign := w.poller("f", w.ask(w.otherRecipient, "3", home, terms()))
	foreign.as = w.otherRecipient
	_, err := h.GrantConsent(t.Context(), &wattveilv1.GrantConsentRequest{RequestId: "3", ConsentId: foreign.consent})
	ok(t, err)
	for _, p := range []*poller{p, other, foreign} {
		p.poll()
	}
	before := len(w.events(w.regulator, ""))
	altered := []byte(p.cursor)
	altered[len(altered)/2] ^= 1
	for what, c := range map[string]struct{ cursor, reason string }{
		"another consent's":     {other.cursor, "cursor_of_another_consent"},
		"another third party's": {foreign.cursor, "bad_cursor"},
		"altered":               {string(altered), "bad_cursor"},
		"cut short":             {p.cursor[:len(p.cursor)-4], "bad_cursor"},
		"longer":                {p.cursor + "AAAA", "bad_cursor"},
		"of another alphabet":   {p.cursor[:len(p.cursor)-1] + "+", "bad_cursor"},
		"none at all":           {"12345", "bad_cursor"},
		"without end":           {strings.Repeat("A", 200_000), "bad_cursor"},
		"with a NUL":            {"\x00", "bad_cursor"},
	} {
		_, err := p.ask(func(r *wattveilv1.ReadChangesRequest) { r.Cursor = c.cursor })
		t.Run(what, func(t *testing.T) {
			refused(t, err, codes.InvalidArgument, c.reason)
			if got := parameterOf(err); got != "cursor" {
				t.Errorf("parameter %q", got)
			}
		})
	}
	if n := len(w.events(w.regulator, "")); n != before {
		t.Errorf("%d records", n-before)
	}
	_, err = h.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{RequestId: "n", ConsentId: p.consent, Narrowed: terms()})
	ok(t, err)
	_, err = p.ask()
	refused(t, err, codes.FailedPrecondition, "cursor_of_older_terms")
	p.cursor = ""
	if got := days(t, p.poll()); !maps.Equal(got, map[string]int{"2026-03-02": 96}) {
		t.Errorf("begun anew: given %v", got)
	}
}

// What may not be read is refused as a read of a range is: by the gate's reason, on
// record; malformed parameters by name, off record.
func TestChangesRefused(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 0)))
	h, _ := w.signIn(w.homes[home])
	p := w.poller("p", w.granted(h, "1", terms()))
	soon := w.granted(h, "2", terms(func(t *wattveilv1.Terms) { t.PermissionUntil = morning.Add(time.Hour).Unix() }))
	open := w.ask(w.recipient, "3", home, terms())
	type request = wattveilv1.ReadChangesRequest
	deny := func(what string, reason consent.Reason, change func(*request)) {
		t.Helper()
		before := len(w.events(w.recipient, string(ledger.KindAccessDenied)))
		_, err := p.ask(change)
		refused(t, err, codes.PermissionDenied, string(reason))
		if n := len(w.events(w.recipient, string(ledger.KindAccessDenied))); n != before+1 {
			t.Errorf("%s: %d records", what, n-before)
		}
	}
	p.poll()
	w.clock.add(2 * time.Hour)
	deny("no such consent", consent.ReasonNotConsented, func(r *request) { r.ConsentId = "0123456789abcdef0123456789abcdef" })
	deny("not decided", consent.ReasonNotConsented, func(r *request) { r.ConsentId = open })
	deny("its time is up", consent.ReasonExpired, func(r *request) { r.ConsentId, r.Cursor = soon, "" })
	deny("another purpose", consent.ReasonPurpose, func(r *request) { r.Purpose = "marketing" })
	p.as = w.otherRecipient
	_, err := p.ask(func(r *request) { r.Cursor = "" })
	refused(t, err, codes.PermissionDenied, string(consent.ReasonNotConsented))
	p.as = w.recipient
	_, err = h.RevokeConsent(t.Context(), &wattveilv1.RevokeConsentRequest{RequestId: "r", ConsentId: p.consent})
	ok(t, err)
	deny("revoked", consent.ReasonRevoked, func(*request) {})
	before := len(w.events(w.regulator, ""))
	for parameter, change := range map[string]func(*request){
		"request_id": func(r *request) { r.RequestId = "a b" },
		"consent_id": func(r *request) { r.ConsentId = "a\x00b" },
		"purpose":    func(r *request) { r.Purpose = "Energy Advice!" },
	} {
		_, err := p.ask(change)
		if got := parameterOf(err); got != parameter {
			t.Errorf("parameter %q, want %q: %v", got, parameter, err)
		}
	}
	if n := len(w.events(w.regulator, "")); n != before {
		t.Errorf("%d records of malformed requests", n-before)
	}
}

// Sums are given when their hour, day or month is over, once, and again when a value of
// theirs changes; what runs is neither given nor opened. It would catch a sum that is
// never given because its last value came before its end, and a current month that is
// opened at every poll.
func TestChangesOfSums(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	of := func(g wattveilv1.Granularity) *poller {
		return w.poller(g.String()[12:], w.granted(h, g.String(), terms(func(t *wattveilv1.Terms) { t.Granularity, t.DataFrom = g, yesterday.AddDate(0, 0, -20).Unix() })))
	}
	hour, local, month := of(wattveilv1.Granularity_GRANULARITY_HOUR), of(wattveilv1.Granularity_GRANULARITY_DAY), of(wattveilv1.Granularity_GRANULARITY_MONTH)
	given := func(what string, p *poller, want ...string) {
		t.Helper()
		got := p.poll()
		for _, key := range want {
			if got[home+" "+energyIn+" "+key] != 1 {
				t.Errorf("%s: %s is not given once", what, key)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d values, want %d: %v", what, len(got), len(want), got)
		}
	}
	at := func(clock string) {
		t.Helper()
		now, err := time.Parse(time.RFC3339, clock)
		ok(t, err)
		w.clock.set(now)
	}
	// Local midnight is 22:00 UTC since the 29th, which had 23 hours.
	at("2026-03-31T21:50:00Z")
	values := series(home, time.Date(2026, time.March, 31, 20, 0, 0, 0, time.UTC), 1, 2, 3, 4, 5, 6, 7) // until 21:45: the rest is lost
	w.keep(batch("b-1", values, day(home, time.Date(2026, time.March, 29, 0, 0, 0, 0, time.UTC), 0)))
	given("hours that are over", hour, append(hours("2026-03-29", 0, 24), "2026-03-31T20:00:00Z 3600")...)
	given("days that are over", local, "2026-03-28T23:00:00Z 82800", "2026-03-29T22:00:00Z 86400")
	given("the month runs", month)
	if n := month.accesses(); n != 2 {
		t.Errorf("%d records, want those of hours and days", n)
	}
	for _, p := range []*poller{hour, local, month} {
		given("nothing new", p)
	}
	at("2026-03-31T22:10:00Z") // nothing arrives, and an hour, a day and a month end
	given("an hour that has ended", hour, "2026-03-31T20:00:00Z 3600", "2026-03-31T21:00:00Z 3600")
	given("a day that has ended", local, "2026-03-30T22:00:00Z 86400")
	given("a month that has ended", month, "2026-02-28T23:00:00Z 2674800")
	if n := local.accesses(); n != 5 {
		t.Errorf("%d records, want one more of each", n)
	}
	for range 2 {
		at("2026-04-01T08:00:00Z")
		for _, p := range []*poller{hour, local, month} {
			given("hours end that have no values", p)
		}
	}
	w.keep(batch("b-2", revised(1, series(home, time.Date(2026, time.March, 29, 22, 45, 0, 0, time.UTC), 9))))
	given("a correction", hour, hours("2026-03-29", 0, 24)...)
	given("its day, and the one that shares its UTC day", local, "2026-03-28T23:00:00Z 82800", "2026-03-29T22:00:00Z 86400")
	given("its month", month, "2026-02-28T23:00:00Z 2674800")
}

// hours are the keys of so many hours of a UTC day.
func hours(date string, first, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("%sT%02d:00:00Z 3600", date, first+i))
	}
	return keys
}

// What is far apart is opened by records of its own, and each names no more days than
// it must.
func TestChangesAreOpenedApart(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	id := w.granted(h, "1", terms(func(t *wattveilv1.Terms) {
		t.UsagePoints, t.DataFrom = []string{home, secondMeter}, yesterday.AddDate(0, 0, -29).Unix()
	}))
	p := w.poller("p", id)
	w.keep(batch("b-1", day(home, yesterday, 0), day(home, yesterday.AddDate(0, 0, -3), 0), day(secondMeter, yesterday.AddDate(0, 0, -25), 0)))
	var opened []string
	for more := true; more; {
		got, err := p.ask()
		ok(t, err)
		leaf := w.proven(got.GetReceipt())
		opened = append(opened, fmt.Sprintf("%s to %s", meter.Day(leaf.KeyFrom), meter.Day(leaf.KeyUntil)))
		p.cursor, more = got.GetCursor(), got.GetMore()
	}
	want := []string{"2026-02-05 to 2026-02-05", "2026-02-27 to 2026-03-02"}
	if fmt.Sprint(opened) != fmt.Sprint(want) {
		t.Errorf("records name %v, want %v", opened, want)
	}
	if again := p.poll(); len(again) != 0 {
		t.Errorf("%d values again", len(again))
	}
}

// What was there before the household moved in, and after it moved out, is another's.
func TestChangesAreCutToOccupancy(t *testing.T) {
	w := newTown(t, onSQLite(t))
	first := w.moveIn(movedIn, empty)
	w.moveOut(first.GetHousehold(), yesterday.Add(6*time.Hour))
	second := w.moveIn(yesterday.Add(12*time.Hour), empty)
	w.send(w.utility, batch("b-1", day(empty, yesterday, 0)))
	c, _ := w.signIn(second)
	p := w.poller("p", w.granted(c, "1", terms(func(t *wattveilv1.Terms) { t.UsagePoints = []string{empty} })))
	if got := p.poll(); len(got) != 48 {
		t.Errorf("given %d values, want the 48 of the household that granted", len(got))
	}
}
