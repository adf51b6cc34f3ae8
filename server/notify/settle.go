package notify

import (
	"context"
	"log/slog"
	"time"
)

// Waits before another try to write down what became of calls, and how often it is tried:
// in the end their leases run out, and they are made again.
const (
	settlePause   = 20 * time.Millisecond
	settleTries   = 250
	stoppingTries = 3 // of a process that was told to stop
	// settleTimeout bounds what is written down after the process was told to stop.
	settleTimeout = 5 * time.Second
)

// settle writes down what became of a call. Whoever comes while somebody else writes leaves
// his to him: many are one transaction, where a call alone would wait for the disk.
func (d *Deliverer) settle(ctx context.Context, s Settlement) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, s)
	if d.settling {
		return
	}
	d.settling = true
	stopping := context.WithoutCancel(ctx)
	for tries := 0; len(d.queue) > 0; {
		group := d.queue[:min(len(d.queue), settledAtOnce)]
		d.queue = d.queue[len(group):]
		d.mu.Unlock()
		undone, err := d.write(stopping, group)
		if err != nil && tries == 0 {
			d.Log.LogAttrs(ctx, slog.LevelWarn, "writing down what was sent", slog.String("cause", err.Error()))
		}
		if err != nil {
			undone = group
		}
		if len(undone) > 0 {
			tries++
			time.Sleep(settlePause)
		} else {
			tries = 0
		}
		d.mu.Lock()
		if tries > settleTries || tries > stoppingTries && ctx.Err() != nil {
			tries, undone = 0, nil
		}
		d.queue = append(d.queue, undone...)
		d.inFlight -= len(group) - len(undone)
		d.tell()
	}
	d.settling = false
}

func (d *Deliverer) write(ctx context.Context, group []Settlement) (undone []Settlement, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	return d.Outbox.Settle(ctx, group)
}

// Stats count what a Deliverer has done since it was made. They name nobody.
type Stats struct {
	Calls    uint64 // that were made
	Taken    uint64 // notifications that were taken
	Refused  uint64 // notifications that were refused, each time
	Failed   uint64 // calls without success
	GivenUp  uint64 // endpoints
	Gone     uint64 // endpoints
	Dropped  uint64 // notifications
	UnderWay int    // calls
}

// Stats returns the counts.
func (d *Deliverer) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.UnderWay = d.inFlight
	return s
}

// count adds what a call came to.
func (d *Deliverer) count(s Settlement) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &d.stats
	c.Calls++
	c.Taken += uint64(len(s.Taken))
	c.Refused += uint64(len(s.Refused))
	if s.Endpoint.Problem != NoProblem {
		c.Failed++
	}
	switch s.Endpoint.State {
	case Gone:
		c.Gone++
	case GivenUp:
		c.GivenUp++
	case Active, Removed:
	}
	for _, e := range s.Refused {
		if e.State == Dropped {
			c.Dropped++
		}
	}
}
