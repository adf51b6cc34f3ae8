package notify_test

import (
	"context"
	"crypto/x509"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
)

// What happened reaches the receiver, signed, in its order, once.
func TestDelivered(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		h := newHub(t, url)
		r, d := newReceiver(h, nil), h.process()
		h.put("adviser", r.URL+"/hook?x=1", notify.Webhook)
		h.change("adviser", consent.Granted, "a", "b")
		h.change("adviser", consent.Revoked, "a")
		_, err := h.store.Announce(t.Context(), notify.Announcement{Recipient: "adviser", Consent: "b", Spans: []notify.Span{{From: 86400, Until: 3 * 86400}}, At: 99})
		ok(t, err)
		h.deliver(d)
		want := []string{"consent.granted a", "consent.granted b", "consent.revoked a", "readings.available b"}
		if got := r.kinds(); !slices.Equal(got, want) || r.calls != 1 {
			t.Errorf("took %v in %d calls", got, r.calls)
		}
		if last := r.came[3]; last != (received{4, "readings.available", "b", 99, 86400, 3 * 86400}) {
			t.Errorf("the last is %+v", last)
		}
		h.now.Add(3600)
		h.deliver(d)
		if e := h.endpoint("adviser"); r.calls != 1 || e.Waiting != 0 || e.TakenAt == 0 || e.Status != 200 {
			t.Errorf("called %d times, %+v", r.calls, e)
		}
	})
}

// A Green Button receiver gets a BatchList of what changed, each once.
func TestDeliveredToGreenButton(t *testing.T) {
	h := newHub(t, onSQLite(t))
	r := newReceiver(h, nil)
	h.put("adviser", r.URL, notify.GreenButton)
	h.change("adviser", consent.Granted, "a")
	h.change("adviser", consent.Revoked, "a")
	h.deliver(h.process())
	var list struct {
		XMLName   xml.Name `xml:"http://naesb.org/espi BatchList"`
		Resources []string `xml:"resources"`
	}
	ok(t, xml.Unmarshal(r.body, &list))
	if want := []string{"https://hub.test/espi/1_1/resource/Authorization/a"}; !slices.Equal(list.Resources, want) || h.endpoint("adviser").Waiting != 0 {
		t.Errorf("%s", r.body)
	}
}

// Who has trouble is called again later, each time later, with one notification, until it
// takes it; then it gets the rest. Nothing is lost meanwhile.
func TestTriedAgain(t *testing.T) {
	h := newHub(t, onSQLite(t))
	down := atomic.Bool{}
	down.Store(true)
	r := newReceiver(h, func(w http.ResponseWriter, got []received) int {
		if down.Load() {
			w.Header().Set("Retry-After", "120")
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	d := h.process()
	h.put("adviser", r.URL, notify.Webhook)
	h.change("adviser", consent.Granted, "a", "b", "c")
	h.deliver(d)
	h.deliver(d) // not before it is time
	if e := h.endpoint("adviser"); r.calls != 1 || e.Failures != 1 || e.Status != 503 || e.Problem != notify.StatusProblem || e.Waiting != 3 {
		t.Fatalf("after %d calls: %+v", r.calls, e)
	}
	h.now.Add(119)
	h.change("adviser", consent.Granted, "d") // no reason to call sooner than it has asked for
	h.deliver(d)
	if r.calls != 1 {
		t.Error("called before the time that it has asked for")
	}
	h.now.Add(1)
	h.deliver(d)
	if e := h.endpoint("adviser"); r.calls != 2 || e.Failures != 2 {
		t.Fatalf("after %d calls: %+v", r.calls, e)
	}
	down.Store(false)
	h.now.Add(120)
	h.deliver(d)
	want := []string{"consent.granted a", "consent.granted b", "consent.granted c", "consent.granted d"}
	if got := r.kinds(); !slices.Equal(got, want) || r.calls != 4 {
		t.Errorf("took %v in %d calls", got, r.calls)
	}
}

// Who takes nothing for three days is given up, and both it and the operator see that. What
// it missed is kept: it can be pulled, and is sent when the endpoint is put again.
func TestGivenUp(t *testing.T) {
	h := newHub(t, onSQLite(t))
	down := atomic.Bool{}
	down.Store(true)
	r := newReceiver(h, func(http.ResponseWriter, []received) int {
		if down.Load() {
			return http.StatusBadGateway
		}
		return http.StatusOK
	})
	d := h.process()
	h.put("adviser", r.URL, notify.Webhook)
	h.change("adviser", consent.Granted, "a")
	for range 80 {
		h.deliver(d)
		h.now.Add(3600)
	}
	e := h.endpoint("adviser")
	if e.State != notify.GivenUp || r.calls < 60 || r.calls > 73 || e.Waiting != 1 {
		t.Errorf("after %d calls in 80 hours: %+v", r.calls, e)
	}
	h.change("adviser", consent.Revoked, "a")
	before := r.calls
	h.deliver(d)
	if events, err := h.store.ListNotifications(t.Context(), "adviser", 0, 10); err != nil || len(events) != 2 || r.calls != before {
		t.Errorf("what it missed: %v, %v; %d calls after it was given up", events, err, r.calls-before)
	}
	down.Store(false)
	h.put("adviser", r.URL, notify.Webhook)
	h.deliver(d)
	if got := r.kinds(); !slices.Equal(got, []string{"consent.granted a", "consent.revoked a"}) {
		t.Errorf("after it was put again: %v", got)
	}
	if s := d.Stats(); s.GivenUp != 1 || s.Taken != 2 {
		t.Errorf("counts %+v", s)
	}
}

// Who says that it is gone is called no more.
func TestGone(t *testing.T) {
	h := newHub(t, onSQLite(t))
	r := newReceiver(h, func(http.ResponseWriter, []received) int { return http.StatusGone })
	d := h.process()
	h.put("adviser", r.URL, notify.Webhook)
	h.change("adviser", consent.Granted, "a")
	for range 5 {
		h.deliver(d)
		h.now.Add(7200)
		h.change("adviser", consent.Granted, "b"+strconv.Itoa(int(h.now.Load())))
	}
	if e := h.endpoint("adviser"); r.calls != 1 || e.State != notify.Gone || e.Waiting != 6 {
		t.Errorf("after %d calls: %+v", r.calls, e)
	}
}

// What a receiver refuses holds up what is later of the same consent, and nothing else: for
// three days, then it is dropped, and the rest goes on. It would catch one notification that
// a third party chokes on and that keeps all others from it.
func TestRefusedHoldsUpItsConsentAlone(t *testing.T) {
	h := newHub(t, onSQLite(t))
	r := newReceiver(h, func(_ http.ResponseWriter, got []received) int {
		if slices.ContainsFunc(got, func(n received) bool { return n.ConsentID == "bad" && n.Kind == "consent.granted" }) {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	d := h.process()
	h.put("adviser", r.URL, notify.Webhook)
	h.change("adviser", consent.Granted, "a", "bad")
	h.change("adviser", consent.Revoked, "bad")
	h.change("adviser", consent.Granted, "b")
	for range 4 {
		h.deliver(d)
		h.now.Add(60)
		h.change("adviser", consent.Granted, fmt.Sprint("c", h.now.Load()))
	}
	took := r.kinds()
	if len(took) < 5 || slices.Contains(took, "consent.revoked bad") || !slices.Contains(took, "consent.granted a") || !slices.Contains(took, "consent.granted b") {
		t.Errorf("took %v", took)
	}
	for range 80 {
		h.now.Add(3600)
		h.deliver(d)
		h.change("adviser", consent.Granted, fmt.Sprint("d", h.now.Load()))
	}
	took = r.kinds()
	if e := h.endpoint("adviser"); !slices.Contains(took, "consent.revoked bad") || e.Dropped != 1 || e.State != notify.Active || e.Waiting > 1 {
		t.Errorf("after three days took %d, %+v", len(took), e)
	}
}

// Two processes share the work: nothing is sent twice, and no receiver has two calls at a
// time. It would catch a lease that two can have.
func TestTwoProcesses(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		const parties, rounds = 12, 3
		h := newHub(t, url)
		var rs []*receiver
		for i := range parties {
			rs = append(rs, newReceiver(h, nil))
			h.put(fmt.Sprint("p", i), rs[i].URL, notify.Webhook)
		}
		a, b := h.process(), h.process()
		for round := range rounds {
			for i := range parties {
				h.change(fmt.Sprint("p", i), consent.Granted, fmt.Sprint("c", i, "-", round), fmt.Sprint("e", i, "-", round))
			}
			var wg sync.WaitGroup
			for _, d := range []*notify.Deliverer{a, b} {
				wg.Go(func() {
					if err := d.DeliverDue(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		for i, r := range rs {
			seen := map[uint64]int{}
			last := uint64(0)
			for _, n := range r.came {
				seen[n.Sequence]++
				if n.Sequence <= last {
					t.Errorf("p%d took number %d after %d", i, n.Sequence, last)
				}
				last = n.Sequence
			}
			if len(seen) != 2*rounds || len(r.came) != 2*rounds || r.most.Load() > 1 {
				t.Errorf("p%d took %d, %d of them different, %d calls at once", i, len(r.came), len(seen), r.most.Load())
			}
		}
	})
}

// A process dies after it has called and before it has written that down: another calls
// again when the lease is over, and not before.
func TestProcessDies(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		h := newHub(t, url)
		r := newReceiver(h, nil)
		h.put("adviser", r.URL, notify.Webhook)
		h.change("adviser", consent.Granted, "a")
		dies := h.process(func(c *notify.Config, _ *notify.Guard) { c.Outbox = forgetful{h.store} })
		h.deliver(dies)
		next := h.process()
		h.deliver(next)
		if r.calls != 1 {
			t.Fatalf("%d calls under the lease of the dead", r.calls)
		}
		h.now.Add(60)
		h.deliver(next)
		if got := r.kinds(); !slices.Equal(got, []string{"consent.granted a", "consent.granted a"}) || h.endpoint("adviser").Waiting != 0 {
			t.Errorf("took %v", got)
		}
	})
}

// forgetful writes nothing down.
type forgetful struct{ *store.Store }

func (forgetful) Settle(context.Context, []notify.Settlement) ([]notify.Settlement, error) {
	return nil, nil
}

// A process that is told to stop in the middle of a call leaves the endpoint free for the
// next, at once, and counts nothing against it.
func TestStopped(t *testing.T) {
	h := newHub(t, onSQLite(t))
	called, release := make(chan struct{}), make(chan struct{})
	hangs := atomic.Bool{}
	hangs.Store(true)
	r := newReceiver(h, func(http.ResponseWriter, []received) int {
		if hangs.Load() {
			close(called)
			<-release
		}
		return http.StatusOK
	})
	h.put("adviser", r.URL, notify.Webhook)
	h.change("adviser", consent.Granted, "a")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.process().Run(ctx); close(done) }()
	<-called
	stop()
	<-done
	hangs.Store(false)
	if e := h.endpoint("adviser"); e.Failures != 0 || e.TriedAt != 0 || e.Waiting != 1 {
		t.Errorf("after the stop: %+v", e)
	}
	close(release)
	h.deliver(h.process())
	if e := h.endpoint("adviser"); e.Waiting != 0 {
		t.Errorf("after the next process: %+v", e)
	}
}

// A redirect is an answer, and not followed: what is told goes to the URL that was put and
// nowhere else.
func TestRedirectIsNotFollowed(t *testing.T) {
	h := newHub(t, onSQLite(t))
	elsewhere := newReceiver(h, nil)
	for _, status := range []int{301, 302, 303, 307, 308} {
		r := newReceiver(h, func(w http.ResponseWriter, _ []received) int {
			w.Header().Set("Location", elsewhere.URL)
			return status
		})
		name := fmt.Sprint("p", status)
		h.put(name, r.URL, notify.Webhook)
		h.change(name, consent.Granted, fmt.Sprint("c", status))
		h.deliver(h.process())
		if e := h.endpoint(name); elsewhere.calls != 0 || r.calls != 1 || e.Status != status || e.Failures != 1 || e.Waiting != 1 {
			t.Errorf("%d: %d calls elsewhere, %+v", status, elsewhere.calls, e)
		}
	}
}

// What keeps a receiver from being called has a word of its own, for its owner and the
// operator; the log has neither names nor addresses.
func TestProblems(t *testing.T) {
	h := newHub(t, onSQLite(t))
	untrusted := func(c *notify.Config, g *notify.Guard) {
		c.Sender = notify.NewPoster(g, h.keys, x509.NewCertPool(), h.clock)
	}
	r := newReceiver(h, nil)
	block := make(chan struct{})
	hangs := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	t.Cleanup(func() { close(block); hangs.Close() })
	closed := httptest.NewTLSServer(nil)
	closed.Close()
	for what, c := range map[notify.Problem]struct {
		url    string
		change func(*notify.Config, *notify.Guard)
	}{
		notify.AddressProblem:     {r.URL, func(_ *notify.Config, g *notify.Guard) { g.Networks = nil }},
		notify.NameProblem:        {"https://nowhere.invalid/", func(_ *notify.Config, g *notify.Guard) { g.Resolver = nobody{} }},
		notify.CertificateProblem: {r.URL, untrusted},
		notify.ConnectionProblem:  {closed.URL, func(*notify.Config, *notify.Guard) {}},
		notify.TimeoutProblem:     {hangs.URL, func(c *notify.Config, _ *notify.Guard) { c.Timeout = 50 * time.Millisecond }},
	} {
		h.put(string(what), c.url, notify.Webhook)
		h.change(string(what), consent.Granted, "of-"+string(what))
		h.deliver(h.process(c.change))
		if e := h.endpoint(string(what)); e.Problem != what || e.Status != 0 || e.Failures != 1 {
			t.Errorf("%s: %+v", what, e)
		}
	}
	if r.calls != 0 {
		t.Errorf("%d calls to who must not be called", r.calls)
	}
	if log := h.log.String(); strings.Contains(log, "127.0.0.1") || strings.Contains(log, "nowhere") || strings.Contains(log, "address_refused") {
		t.Errorf("the log names somebody: %s", log)
	}
}

// nobody is a resolver that knows no name.
type nobody struct{}

func (nobody) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }

// While the ledger cannot be trusted nobody is told anything.
func TestUnsoundHubTellsNothing(t *testing.T) {
	h := newHub(t, onSQLite(t))
	r := newReceiver(h, nil)
	h.put("adviser", r.URL, notify.Webhook)
	h.change("adviser", consent.Granted, "a")
	d := h.process(func(c *notify.Config, _ *notify.Guard) { c.Sound = func() error { return io.ErrUnexpectedEOF } })
	if err := d.DeliverDue(t.Context()); err != io.ErrUnexpectedEOF || r.calls != 0 {
		t.Errorf("%v, %d calls", err, r.calls)
	}
}
