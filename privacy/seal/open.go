package seal

import "github.com/wattveil/wattveil/meter"

// Opened is a series in plain, with what decides between it and another that
// states the same interval: see [Merge].
type Opened struct {
	Series     meter.Series
	AcceptedAt int64 // unix µs: when its batch was accepted
	Writer     WriterID
	Seq        uint64
}
