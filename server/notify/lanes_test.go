package notify

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wattveil/wattveil/consent"
)

// counter is an Outbox of endpoints that each have notifications to be sent.
type counter struct {
	mu    sync.Mutex
	order []consent.Recipient
	of    map[consent.Recipient]*held
}

type held struct {
	Endpoint
	due     int64
	leased  bool
	waiting []Event
}

func (c *counter) add(r string, events int) {
	if c.of == nil {
		c.of = map[consent.Recipient]*held{}
	}
	h := c.of[consent.Recipient(r)]
	if h == nil {
		h = &held{Endpoint: Endpoint{Recipient: consent.Recipient(r), URL: r, Form: Webhook, State: Active}}
		c.of[h.Recipient], c.order = h, append(c.order, h.Recipient)
	}
	for range events {
		h.waiting = append(h.waiting, Event{Seq: uint64(len(h.waiting) + 1), Consent: "c", Kind: Ping, State: Waiting})
	}
}

func (h *held) pace() Pace {
	switch {
	case h.Failures > 0:
		return Failing
	case h.Slow:
		return Slow
	}
	return Quick
}

func (c *counter) ClaimDue(_ context.Context, claim Claim) (out []Endpoint, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.order {
		if h := c.of[r]; len(out) < claim.Limit && !h.leased && len(h.waiting) > 0 && h.due <= claim.Now && h.pace() == claim.Pace {
			h.leased = true
			out = append(out, h.Endpoint)
		}
	}
	return out, nil
}

func (c *counter) Waiting(_ context.Context, r consent.Recipient, _ int64, limit int) ([]Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.of[r].waiting[:min(limit, len(c.of[r].waiting))]), nil
}

func (c *counter) Settle(_ context.Context, calls []Settlement) ([]Settlement, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range calls {
		h := c.of[s.Endpoint.Recipient]
		h.leased, h.due = false, s.Due
		if !s.Unchanged {
			h.Endpoint = s.Endpoint
			h.waiting = slices.DeleteFunc(h.waiting, func(e Event) bool { return slices.Contains(s.Taken, e.Seq) })
		}
	}
	return nil, nil
}

// behaviour is a Sender whose receivers behave as their names say, and that writes down when
// each took what it was sent.
type behaviour struct {
	mu     sync.Mutex
	began  time.Time
	took   map[string]time.Duration
	atOnce int
	most   int
}

func (b *behaviour) Send(ctx context.Context, url string, _ Message) Answer {
	b.mu.Lock()
	b.atOnce++
	b.most = max(b.most, b.atOnce)
	b.mu.Unlock()
	defer func() { b.mu.Lock(); b.atOnce--; b.mu.Unlock() }()
	switch {
	case strings.HasPrefix(url, "dead"):
		<-ctx.Done()
		return Answer{Problem: TimeoutProblem}
	case strings.HasPrefix(url, "slow"):
		select {
		case <-time.After(3 * time.Second):
		case <-ctx.Done():
			return Answer{Problem: TimeoutProblem}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took[url] = time.Since(b.began)
	return Answer{Status: 200}
}

func (b *behaviour) again() { b.began, b.took, b.most = time.Now(), map[string]time.Duration{}, 0 }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Receivers that never answer, many times as many as there are places, delay the others by
// their first moment and no more; once they are known, by nothing. In a bubble, where time
// is exact: it would catch a place that is held by who does not answer.
func TestDeadReceiversDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places, dead, well = 4, 40, 12
		box, sent := &counter{}, &behaviour{}
		for i := range dead {
			box.add(fmt.Sprint("dead", i), 1)
		}
		for i := range well {
			box.add(fmt.Sprint("well", i), 1)
		}
		d := NewDeliverer(Config{Outbox: box, Sender: sent, Composer: Composer{}, Clock: time.Now, Random: rand.Reader, Log: quiet(), Calls: places})
		sent.again()
		ok(t, d.DeliverDue(t.Context()))
		if len(sent.took) != well {
			t.Fatalf("%d were told", len(sent.took))
		}
		for r, after := range sent.took {
			if bound := dead / places * defaultPatience; after > bound {
				t.Errorf("%s was told after %s, beside receivers that nobody knew to be dead; want %s at most", r, after, bound)
			}
		}
		if sent.most > 4*places { // lanes, those that are slow, and those that were just pushed out
			t.Errorf("%d calls at once", sent.most)
		}
		time.Sleep(time.Hour) // the dead are due again
		for i := range well {
			box.add(fmt.Sprint("well", i), 1)
		}
		sent.again()
		ok(t, d.DeliverDue(t.Context()))
		for i := range well {
			if after, told := sent.took[fmt.Sprint("well", i)]; !told || after != 0 {
				t.Errorf("well%d was told after %s, %t, beside receivers that are known to be dead", i, after, told)
			}
		}
		for _, r := range box.order[:dead] {
			if box.of[r].Failures < 2 {
				t.Errorf("%s was not tried again", r)
			}
		}
	})
}

// Receivers that are slow and answer are told all the same, and hold a place among the quick
// for a moment only, and none once they are known.
func TestSlowReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 4
		box, sent := &counter{}, &behaviour{}
		for i := range 2 * places {
			box.add(fmt.Sprint("slow", i), 1)
		}
		box.add("well", 1)
		d := NewDeliverer(Config{Outbox: box, Sender: sent, Clock: time.Now, Random: rand.Reader, Log: quiet(), Calls: places})
		sent.again()
		ok(t, d.DeliverDue(t.Context()))
		if after := sent.took["well"]; after != 2*defaultPatience {
			t.Errorf("who is well was told after %s, want %s", after, 2*defaultPatience)
		}
		time.Sleep(time.Minute) // who found the slow lane full is called again
		ok(t, d.DeliverDue(t.Context()))
		if len(sent.took) != 2*places+1 {
			t.Errorf("%d were told", len(sent.took))
		}
		for i := range 2 * places {
			box.add(fmt.Sprint("slow", i), 1)
		}
		box.add("well", 1)
		calls := d.Stats().Calls
		sent.again()
		ok(t, d.DeliverDue(t.Context()))
		if len(sent.took) != 2*places+1 || sent.took["well"] != 0 || d.Stats().Calls != calls+2*places+1 {
			t.Errorf("once they are known: who is well was told after %s, %d were told", sent.took["well"], len(sent.took))
		}
		if s := d.Stats(); s.Taken != 2*(2*places+1) || s.UnderWay != 0 || s.Calls != s.Failed+2*(2*places+1) {
			t.Errorf("counts %+v", s)
		}
	})
}

// A store that is away for a moment loses nothing: what became of the calls is written down
// when it is back. One that stays away has the calls made again when their leases are over.
func TestStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &counter{}
		box.add("well", 3)
		for _, failures := range []int{3, settleTries + 5} {
			away := &absent{counter: box, left: failures}
			sent := &behaviour{}
			sent.again()
			d := NewDeliverer(Config{Outbox: away, Sender: sent, Clock: time.Now, Random: rand.Reader, Log: quiet(), Calls: 2})
			ok(t, d.DeliverDue(t.Context()))
			left := len(box.of["well"].waiting)
			if lost := failures > settleTries; (left > 0) != lost || d.Stats().UnderWay != 0 {
				t.Errorf("away %d times: %d are not written down", failures, left)
			}
			box.of["well"].waiting, box.of["well"].leased = nil, false
			box.add("well", 3)
		}
	})
}

type absent struct {
	*counter
	left int
}

func (a *absent) Settle(ctx context.Context, calls []Settlement) ([]Settlement, error) {
	if a.left > 0 {
		a.left--
		return nil, context.DeadlineExceeded
	}
	return a.counter.Settle(ctx, calls)
}
