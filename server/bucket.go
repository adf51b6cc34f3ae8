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
