package server

import (
	"sync"
	"time"
)

// bucket is a token bucket: size tokens, refilled evenly over per. Safe for
// concurrent use.
type bucket struct {
	size int
	per  time.Duration

	mu   sync.Mutex
	left float64
	last time.Time
}

func newBucket(size int, per time.Duration) *bucket {
	return &bucket{size: size, per: per, left: float64(size)}
}

// take takes a token, or reports that there is none.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.IsZero() {
		b.last = now
	}
	if d := now.Sub(b.last); d > 0 {
		b.left = min(float64(b.size), b.left+float64(b.size)*d.Seconds()/b.per.Seconds())
		b.last = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// maxBuckets is how many callers' buckets are remembered; one that is forgotten
// was idle while as many others called, and is full again.
const maxBuckets = 10_000

// buckets are buckets of one kind, one for each caller. Safe for concurrent use.
type buckets struct {
	size int
	per  time.Duration

	mu     sync.Mutex
	caller *lru[string, *bucket]
}

func newBuckets(size int, per time.Duration) *buckets {
	return &buckets{size: size, per: per, caller: newLRU[string, *bucket](maxBuckets)}
}

// take takes a token of the caller's, or reports that there is none.
func (b *buckets) take(caller string, now time.Time) bool {
	b.mu.Lock()
	of, ok := b.caller.get(caller)
	if !ok {
		of = newBucket(b.size, b.per)
		b.caller.put(caller, of)
	}
	b.mu.Unlock()
	return of.take(now)
}
