package espi

import (
	"io"

	"github.com/wattveil/wattveil/meter"
)

// Block writes the readings of one register by themselves: a document of one
// IntervalBlock, or the feed of a meter reading's blocks, which has one.
type Block struct{ batch *Batch }

// NewBlockFeed begins the feed of a meter reading's blocks. It has no entry if no
// value comes. Its block is to end at until, as with [Batch.Begin].
func NewBlockFeed(w io.Writer, s Subscription, p meter.UsagePoint, m Meter, until int64) (*Block, error) {
	reading := s.Names().MeterReading(p, m.Register, m.Step)
	head := s.Head("IntervalBlock", s.Site.IntervalBlocks(s.ID, s.point(p), reading))
	return newBlock(NewFeed(w, head), s, p, m, until)
}

// NewBlockEntry begins the document of one block. Close returns ErrSequence, with
// nothing written, if no value came.
func NewBlockEntry(w io.Writer, s Subscription, p meter.UsagePoint, m Meter, until int64) (*Block, error) {
	return newBlock(NewEntry(w), s, p, m, until)
}

func newBlock(f *Feed, s Subscription, p meter.UsagePoint, m Meter, until int64) (*Block, error) {
	b := &Batch{feed: f, sub: s, point: Point{UsagePoint: p}, named: true, bare: true}
	return &Block{b}, b.Begin(m, until)
}

// Values is [Batch.Values].
func (b *Block) Values(s meter.Series) error { return b.batch.Values(s) }

// Close is [Batch.Close].
func (b *Block) Close() error { return b.batch.Close() }
