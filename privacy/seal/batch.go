package seal

import (
	"encoding/binary"
	"fmt"

	"github.com/wattveil/wattveil/meter"
)

// Batch seals what is accepted together. All blocks and contributions of one
// batch bear the same instant of acceptance, so that whoever opens blocks and
// whoever opens the spool choose the same first one where two batches disagree
// (see [Merge]). Nothing has to be ended; a batch that is dropped has only used
// up sequence numbers. It may be used by several goroutines.
type Batch struct {
	w        *Writer
	accepted int64 // µs
}

// Begin starts a batch. Its instant of acceptance is the clock's, and later than
// that of every batch which this writer began before.
func (w *Writer) Begin() Batch { return Batch{w, w.accept()} }

// AcceptedAt returns the batch's instant of acceptance, in unix microseconds.
func (b Batch) AcceptedAt() int64 { return b.accepted }

// Writer returns the writer that seals the batch.
func (b Batch) Writer() *Writer { return b.w }

// Seal seals a series whose intervals all start in one UTC day, under the
// target's key of that day. The transaction that stores the block carries
// [Writer.Wrap] of the same target and day.
//
// The error is ErrSeries, ErrKey, ErrKeyMismatch or ErrWriterSpent, or that of
// the random source.
func (b Batch) Seal(t Target, s meter.Series) (Block, error) {
	var block Block
	var err error
	erasing(func() { block, err = b.seal(t, s) })
	if err != nil {
		return Block{}, fmt.Errorf("sealing block: %w", err)
	}
	return block, nil
}

func (b Batch) seal(t Target, s meter.Series) (Block, error) {
	day := meter.DayOf(s.Start)
	if !sealable(day, s) || !named(string(t.Household)) {
		return Block{}, ErrSeries
	}
	seq, err := b.w.next()
	if err != nil {
		return Block{}, err
	}
	_, dayKey, err := b.w.dayKey(t, day)
	if err != nil {
		return Block{}, err
	}
	var key [32]byte
	defer clear(key[:])
	deriveBlockKey(&key, dayKey[:], s.UsagePoint, s.Register)
	clear(dayKey[:])

	block := Block{
		Household: t.Household, Generation: t.Generation,
		UsagePoint: s.UsagePoint, Register: s.Register,
		Start: s.Start, Length: s.Length, Count: len(s.Values), Revision: s.Revision,
		Day: day, Writer: b.w.id, Seq: seq,
	}
	p := packingFor(s.Register, s.Length, t.CapWatts)
	buf := make([]byte, 0, blockSize(p, len(s.Values)))
	buf = append(buf, blockVersion)
	buf = binary.BigEndian.AppendUint64(buf, uint64(b.accepted))
	buf = append(buf, byte(p))
	if buf, err = p.appendPacked(buf, s); err != nil {
		return Block{}, err
	}
	nonce, bound := nonceOf(seq), block.bound()
	block.Ciphertext = newAEAD(key[:]).Seal(buf[:1], nonce[:], buf[1:], bound)
	block.Signature = b.w.sign(bound, block.Ciphertext)
	return block, nil
}

// The plaintext of a block is a header, accepted (8) ‖ packing (1), and the
// packed intervals.
const blockHeader = 8 + 1

// blockSize is the length of a block's ciphertext column.
func blockSize(p packing, count int) int {
	return 1 + blockHeader + p.size(count) + tagSize
}

// tagSize is the overhead of AES-GCM.
const tagSize = 16

// sealable reports whether s can be named: its frame lies in day, its
// qualities are as many as its values, its usage point is an identifier.
func sealable(day meter.Day, s meter.Series) bool {
	return inOneDay(day, s.Start, s.Length, len(s.Values)) &&
		(s.Quality == nil || len(s.Quality) == len(s.Values)) &&
		named(string(s.UsagePoint))
}

// named reports whether an identifier has a length that ours have; their
// characters are their parsers' affair.
func named(id string) bool { return len(id) >= 1 && len(id) <= meter.MaxIdentifier }
