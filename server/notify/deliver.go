package notify

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Config is what a Deliverer is handed.
type Config struct {
	Outbox   Outbox
	Sender   Sender
	Composer Composer
	Clock    func() time.Time
	Random   io.Reader // draws leases and waits; cryptographic, safe for concurrent use
	Log      *slog.Logger
	Sound    func() error  // why nothing may be sent now; nil for no reason
	Calls    int           // in each lane at once; 128 if 0
	Timeout  time.Duration // of a call; 10 s if 0
	Patience time.Duration // after which a call is a slow one; 500 ms if 0
	GiveUp   time.Duration // after which an endpoint, or a notification, is given up; 3 days if 0
}

const (
	defaultCalls    = 128
	defaultTimeout  = 10 * time.Second
	defaultPatience = 500 * time.Millisecond
	// DefaultGiveUp is how long it is tried to tell of something.
	DefaultGiveUp = 3 * 24 * time.Hour

	// A lease outlasts a call and writing down what became of it.
	leaseMargin = 50 * time.Second
	// poll is how often it is looked whether something is due.
	poll = time.Second
	// troubled is how long an endpoint waits for which nothing is to be had from the store.
	troubled = time.Minute
	// settledAtOnce bounds the endpoints whose rows one transaction holds.
	settledAtOnce = 32
)

// Deliverer calls the endpoints that have something due.
//
// Calls run in lanes, each of so many at once: one for endpoints that are quick, one for
// those whose last call took its time, one for those whose last call failed. A call of the
// first that takes longer than a moment gives its place back and goes on among others like
// it; where there are too many of these it pushes the oldest out, which then counts as
// failed. So however many receivers are slow or dead, one that answers waits for a place no
// longer than such moments, and only until the others are known.
type Deliverer struct {
	Config

	random io.Reader
	giveUp time.Duration
	lanes  [Failing + 1]lane // by the pace of the endpoints
	tardy  row               // calls from the first lane that take their time

	mu       sync.Mutex // guards the rest
	inFlight int        // claimed and not settled
	queue    []Settlement
	settling bool
	changed  chan struct{} // closed and replaced when inFlight falls
	stats    Stats
}

// lane holds a place for each call that may run in it.
type lane chan struct{}

func (l lane) free() int { return cap(l) - len(l) }

// row holds calls in the order they came, so many at most: the oldest goes for the next.
type row struct {
	most int

	mu    sync.Mutex
	calls []*context.CancelFunc
}

func (r *row) join(cancel *context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, cancel)
	if len(r.calls) > r.most {
		(*r.calls[0])()
		r.calls = r.calls[1:]
	}
}

func (r *row) leave(cancel *context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = slices.DeleteFunc(r.calls, func(c *context.CancelFunc) bool { return c == cancel })
}

// NewDeliverer returns a Deliverer. Run it, or have it deliver what is due.
func NewDeliverer(c Config) *Deliverer {
	if c.Calls == 0 {
		c.Calls = defaultCalls
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.GiveUp == 0 {
		c.GiveUp = DefaultGiveUp
	}
	if c.Sound == nil {
		c.Sound = func() error { return nil }
	}
	return &Deliverer{
		Config: c, random: c.Random, giveUp: c.GiveUp, changed: make(chan struct{}),
		lanes: [...]lane{make(lane, c.Calls), make(lane, c.Calls), make(lane, c.Calls)}, tardy: row{most: c.Calls},
	}
}

// Run delivers what is due until ctx ends, and returns when no call is under way. Calls that
// ctx ended count as not made.
func (d *Deliverer) Run(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := d.settled()
		if _, err := d.claim(ctx); err != nil && ctx.Err() == nil {
			d.Log.LogAttrs(ctx, slog.LevelError, "looking for notifications", slog.String("cause", err.Error()))
			changed = nil // what is wrong is not asked again before the next tick
		}
		select {
		case <-tick.C:
		case <-changed:
		case <-ctx.Done():
		}
	}
	for d.underWay() > 0 {
		<-d.settled()
	}
}

// DeliverDue delivers what is due now, by the clock, and returns when nothing is and no call
// is under way.
func (d *Deliverer) DeliverDue(ctx context.Context) error {
	for {
		changed := d.settled()
		n, err := d.claim(ctx)
		if err != nil {
			return err
		}
		if n == 0 && d.underWay() == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settled returns a channel that is closed when calls have been settled.
func (d *Deliverer) settled() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

func (d *Deliverer) underWay() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inFlight
}

// claim leases as many endpoints as there are places, begins to call them, and returns how
// many.
func (d *Deliverer) claim(ctx context.Context) (n int, err error) {
	if err := d.Sound(); err != nil {
		return 0, err
	}
	for pace, in := range d.lanes {
		free := in.free()
		if free == 0 {
			continue
		}
		now := d.Clock().Unix()
		c := Claim{Now: now, Until: now + seconds(d.Timeout+leaseMargin), Pace: Pace(pace), Limit: free}
		if _, err := io.ReadFull(d.random, c.Lease[:]); err != nil {
			return n, fmt.Errorf("drawing a lease: %w", err)
		}
		claimed, err := d.Outbox.ClaimDue(ctx, c)
		if err != nil {
			return n, err
		}
		n += len(claimed)
		d.mu.Lock()
		d.inFlight += len(claimed)
		d.mu.Unlock()
		for _, e := range claimed {
			in <- struct{}{} // only here are places taken: there is one
			go d.deliver(ctx, in, c.Lease, e)
		}
	}
	return n, nil
}

// deliver calls one endpoint, which holds a place in a lane, and settles that.
func (d *Deliverer) deliver(ctx context.Context, in lane, lease Lease, e Endpoint) {
	s := Settlement{Endpoint: e, Unchanged: true}
	batch, m, err := d.compose(ctx, e)
	if err != nil || len(batch) == 0 {
		<-in
		if err != nil && ctx.Err() == nil {
			d.Log.LogAttrs(ctx, slog.LevelError, "composing notifications", slog.String("cause", err.Error()))
			s.Due = d.Clock().Unix() + seconds(troubled)
		}
	} else if a, slow := d.call(ctx, in, e.URL, m); ctx.Err() == nil || a.Status != 0 {
		e.Slow = slow
		s = d.judge(e, batch, a, d.Clock().Unix())
		d.count(s)
	}
	s.Lease = lease
	d.settle(ctx, s)
}

// compose returns what the endpoint is told next.
func (d *Deliverer) compose(ctx context.Context, e Endpoint) ([]Event, Message, error) {
	due, err := d.Outbox.Waiting(ctx, e.Recipient, d.Clock().Unix(), window)
	if err != nil {
		return nil, Message{}, err
	}
	batch := pick(e.Failures > 0, due)
	if len(batch) == 0 {
		return nil, Message{}, nil
	}
	m, err := d.Composer.Compose(e.Form, batch)
	return batch, m, err
}

// call makes one call, gives its place back, of the first lane as soon as it takes its time,
// and reports whether it did.
func (d *Deliverer) call(ctx context.Context, in lane, url string, m Message) (_ Answer, slow bool) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	var mu sync.Mutex // guards the two
	moved, over := false, false
	patience := time.AfterFunc(d.Patience, func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		slow = true
		if in == d.lanes[Quick] {
			d.tardy.join(&cancel)
			<-in
			moved = true
			d.moved()
		}
	})
	a := d.Sender.Send(ctx, url, m)
	patience.Stop()
	mu.Lock()
	defer mu.Unlock()
	over = true
	if moved {
		d.tardy.leave(&cancel)
	} else {
		<-in
	}
	return a, slow
}

// moved says that a place in the first lane is free.
func (d *Deliverer) moved() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell()
}

// tell wakes who waits for something to change. The caller holds mu.
func (d *Deliverer) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}
