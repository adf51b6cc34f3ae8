package notify

import (
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/wattveil/wattveil/consent"
)

// What a call carries at most, and what is looked through for it.
const (
	maxBatch = 256
	window   = 512
)

// pick returns the events of one call, of those that are due, in their order. An endpoint
// that is well gets all that were never refused; when there are none, one that was, alone.
// One that is failing is tried with a single event, another than the last time if there is
// one. Events of a consent stay in order: what comes after one that is left out is left out.
func pick(failing bool, due []Event) []Event {
	var fresh, refused []Event
	held := map[consent.ID]bool{} // an earlier one of it is left out
	for _, e := range due {
		switch {
		case held[e.Consent]:
		case e.Attempts > 0:
			refused, held[e.Consent] = append(refused, e), true
		case len(fresh) < maxBatch:
			fresh = append(fresh, e)
		default:
			held[e.Consent] = true
		}
	}
	switch {
	case len(fresh) > 0 && failing:
		return fresh[:1]
	case len(fresh) > 0:
		return fresh
	case len(refused) > 0:
		least := slices.MinFunc(refused, func(a, b Event) int { return a.Attempts - b.Attempts })
		return []Event{least}
	}
	return nil
}

// Waits between calls to who does not answer, or between tries of what is refused: twice as
// long each time, less up to half by chance, so that receivers that failed together are not
// called together.
const (
	firstWait = 5 * time.Second
	longest   = time.Hour
)

func wait(failures int, random io.Reader) time.Duration {
	d := longest
	if failures < 20 {
		d = min(longest, firstWait<<(failures-1))
	}
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return d // without chance it is the longest
	}
	return d - time.Duration(binary.BigEndian.Uint64(b[:])%uint64(d/2))
}

// judge returns what a call with the batch came to, of an endpoint as it was before it.
func (d *Deliverer) judge(e Endpoint, batch []Event, a Answer, now int64) Settlement {
	s := Settlement{Endpoint: e}
	is := &s.Endpoint
	is.TriedAt, is.Status, is.Problem = now, a.Status, a.Problem
	if a.Problem == NoProblem {
		is.Failures, is.FailingSince, is.TakenAt = 0, 0, now
		for _, ev := range batch {
			s.Taken = append(s.Taken, ev.Seq)
		}
		return s
	}
	is.Failures++
	if is.FailingSince == 0 {
		is.FailingSince = now
	}
	s.Due = now + seconds(max(wait(is.Failures, d.random), min(a.RetryAfter, longest)))
	switch {
	case a.Status == http.StatusGone:
		is.State = Gone
	case now-is.FailingSince >= seconds(d.giveUp):
		is.State = GivenUp
	}
	if !refuses(a.Status) {
		return s
	}
	for _, ev := range batch {
		ev.Attempts++
		if ev.TriedAt == 0 {
			ev.TriedAt = now
		}
		ev.Due = now + seconds(wait(ev.Attempts, d.random))
		if now-ev.TriedAt >= seconds(d.giveUp) {
			ev.State = Dropped
		}
		s.Refused = append(s.Refused, ev)
	}
	return s
}

// refuses reports whether a status that is no success is about what was sent, rather than
// about the receiver.
func refuses(status int) bool {
	switch status {
	case 0, http.StatusGone, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return true
}

// seconds rounds up: nobody is called before time.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
