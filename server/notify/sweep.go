package notify

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Sweeper finds readings that third parties have not been told of. Ingest has no part in it
// and is not made to wait: it knows no consent, and a mark it had to leave for each would be
// a second write for every home. Instead the blocks of live consents are counted, which the
// order they are stored in makes cheap: those of the last few days at every sweep, all of
// them once a day, for what comes late, each consent at another time. However many batches
// came meanwhile, a consent's days are told of once.
//
// Nothing is kept but how many blocks each day had when it was last told of. The count and
// the notification are one transaction, so a sweep that is interrupted loses nothing and
// tells nothing twice. Safe for concurrent use, by several processes too.
type Sweeper struct {
	store Readings
	every time.Duration
	keep  time.Duration
	clock func() time.Time
}

// NewSweeper returns a Sweeper that looks at each recipient's consents once in every, and
// forgets notifications after keep.
func NewSweeper(store Readings, every, keep time.Duration, clock func() time.Time) *Sweeper {
	return &Sweeper{store: store, every: every, keep: keep, clock: clock}
}

const (
	recentDays   = 4            // counted at every sweep: what comes within a long weekend
	fullEvery    = 24 * 3600    // seconds between counts of all days
	sweepsAtOnce = 64           // recipients claimed together
	consentsPage = 500          // consents read together
	pruneAtOnce  = 5000         // notifications forgotten in one transaction
	settleAfter  = 12 * 3600    // seconds until a UTC day is over in every zone
	aheadOfClock = meter.Day(1) // a day that has begun somewhere
)

// Sweep looks at every recipient that is due, and returns how many notifications it wrote.
func (s *Sweeper) Sweep(ctx context.Context) (told int, err error) {
	for {
		now := s.clock().Unix()
		due, err := s.store.ClaimSweeps(ctx, now-int64(s.every/time.Second), now, sweepsAtOnce)
		if err != nil || len(due) == 0 {
			return told, err
		}
		for _, r := range due {
			n, err := s.sweep(ctx, r.Recipient, r.At, now)
			told += n
			if err != nil {
				return told, fmt.Errorf("looking for new readings: %w", err)
			}
		}
	}
}

func (s *Sweeper) sweep(ctx context.Context, r consent.Recipient, before, now int64) (told int, err error) {
	for n := pruneAtOnce; n == pruneAtOnce; {
		if n, err = s.store.Prune(ctx, r, now-int64(s.keep/time.Second), pruneAtOnce); err != nil {
			return 0, err
		}
	}
	for after := (consent.Consent{}); ; {
		page, err := s.store.LiveConsents(ctx, r, after, consentsPage)
		if err != nil || len(page) == 0 {
			return told, err
		}
		for _, c := range page {
			n, err := s.look(ctx, c, before, now)
			told += n
			if err != nil {
				return told, err
			}
		}
		after = page[len(page)-1].Consent
	}
}

// look counts a consent's days and tells of those that have more than was seen. The last
// sweep was at before.
func (s *Sweeper) look(ctx context.Context, c Marked, before, now int64) (told int, err error) {
	mark := c.Mark
	if terms := c.Terms.Hash(); mark.Terms != terms {
		// Counted under other terms, or never. What the consent allows now is told of whole:
		// too much does no harm.
		mark = Mark{Version: mark.Version, Terms: terms}
	}
	first, last := meter.DayOf(c.Terms.DataFrom), min(meter.DayOf(c.Terms.DataUntil-1), Horizon(c.Terms.Granularity, now))
	if mark.Version > 0 && mark.Terms == c.Mark.Terms && !wholeIsDue(c.ID, before, now) {
		first = max(first, meter.DayOf(now)+1-recentDays)
	}
	if first > last {
		return 0, nil
	}
	counted, err := s.store.StoredDays(ctx, c.Household, c.Terms.UsagePoints, c.Terms.Registers, first, last)
	if err != nil {
		return 0, err
	}
	days, grown := mark.with(counted, first, last)
	if len(grown) == 0 {
		return 0, nil
	}
	mark.Days = days
	a := Announcement{Recipient: c.Recipient, Consent: c.ID, Version: c.Mark.Version, Mark: mark, At: now}
	for _, span := range spans(grown) {
		a.Spans = append(a.Spans, Span{max(span.From, c.Terms.DataFrom), min(span.Until, c.Terms.DataUntil)})
	}
	done, err := s.store.Announce(ctx, a)
	if err != nil || !done { // somebody else was faster
		return 0, err
	}
	return len(a.Spans), nil
}

// wholeIsDue reports whether the consent's time of day, which its name decides, came after
// the last sweep.
func wholeIsDue(id consent.ID, before, now int64) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	at := int64(h.Sum64() % fullEvery)
	turns := func(t int64) int64 { return (t + fullEvery - at) / fullEvery }
	return turns(now) > turns(before)
}

// Horizon returns the last UTC day of which a third party is told under a granularity: with
// sums of days and months, only what may leave by now. When a day's readings came in says
// something about the day, and is nobody's to know sooner than the sum.
func Horizon(g consent.Granularity, now int64) meter.Day {
	switch g {
	case consent.Day:
		return meter.DayOf(now-settleAfter) - 1
	case consent.Month:
		over := time.Unix(now-settleAfter, 0).UTC()
		return meter.DayOf(time.Date(over.Year(), over.Month(), 1, 0, 0, 0, 0, time.UTC).Unix()) - 1
	case consent.Interval, consent.Hour:
	}
	return meter.DayOf(now) + aheadOfClock
}
