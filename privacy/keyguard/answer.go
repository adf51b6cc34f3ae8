package keyguard

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// ErrAnswer reports an answer that is not whole, or bytes that Encode did not
// write.
var ErrAnswer = errors.New("keyguard: malformed answer")

// An answer, version 1, integers big-endian. Every list ascends strictly, and
// names are ordered by their bytes:
//
//	version (1, = 1) ‖ damaged (4)
//	number of usage points (2) ‖ each as length (1) ‖ bytes
//	number of registers (1) ‖ each as 6 bytes
//	number of day keys (4) ‖ each as UTC day since 1970 (4, in two's complement) ‖ generation (4) ‖ writer (16)
//	block keys of 32 bytes: for each day key, for each usage point, for each register
//
// Either all three lists are empty or none is. It crosses the wire inside a
// sealed message and is never stored.
const (
	answerVersion = 1
	dayKeySize    = 4 + 4 + 16
	blockKeySize  = seal.BlockKeySize
)

// MaxAnswer is the greatest length of an encoded answer, in bytes: MaxKeys block
// keys, each of a day key of its own, beside the most names that fit with them.
const MaxAnswer = MaxKeys*(blockKeySize+dayKeySize) + 1<<16

// Encode returns the canonical bytes of k. It is ErrAnswer unless k holds, for
// each of its usage points and registers, the key of every one of its day keys,
// as answers of a guard do. The bytes are keys: seal them, then clear them.
func (k *BlockKeys) Encode() ([]byte, error) {
	points, registers, days := k.lists()
	n := len(points) * len(registers) * len(days)
	if n != len(k.Keys) || n > MaxKeys || len(points) > consent.MaxUsagePoints || len(registers) > consent.MaxRegisters || k.Damaged < 0 || k.Damaged > MaxKeys {
		return nil, ErrAnswer
	}
	b := make([]byte, 0, 1<<10+len(points)*(1+meter.MaxIdentifier)+len(days)*dayKeySize+n*blockKeySize)
	b = append(b, answerVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(k.Damaged))
	b = binary.BigEndian.AppendUint16(b, uint16(len(points)))
	for _, p := range points {
		if _, err := meter.ParseUsagePoint(string(p)); err != nil {
			return nil, ErrAnswer
		}
		b = append(append(b, byte(len(p))), p...)
	}
	b = append(b, byte(len(registers)))
	for _, r := range registers {
		b = append(b, r[:]...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(days)))
	for _, d := range days {
		b = binary.BigEndian.AppendUint32(b, uint32(d.day))
		b = binary.BigEndian.AppendUint32(b, d.generation)
		b = append(b, d.writer[:]...)
	}
	for _, d := range days {
		for _, p := range points {
			for _, r := range registers {
				key, ok := k.Keys[Name{p, r, d.day, d.generation, d.writer}]
				if !ok {
					clear(b)
					return nil, ErrAnswer
				}
				b = key.Append(b)
			}
		}
	}
	return b, nil
}

// lists returns what the names of the keys are made of, each once and in order.
func (k *BlockKeys) lists() ([]meter.UsagePoint, []meter.Register, []dayKeyName) {
	points, registers, days := map[meter.UsagePoint]bool{}, map[meter.Register]bool{}, map[dayKeyName]bool{}
	for n := range k.Keys {
		points[n.UsagePoint], registers[n.Register], days[dayKeyName{n.Day, n.Generation, n.Writer}] = true, true, true
	}
	return slices.Sorted(maps.Keys(points)),
		slices.SortedFunc(maps.Keys(registers), compareRegisters),
		slices.SortedFunc(maps.Keys(days), dayKeyName.compare)
}

func compareRegisters(a, b meter.Register) int { return bytes.Compare(a[:], b[:]) }

func (n dayKeyName) compare(o dayKeyName) int {
	return cmp.Or(cmp.Compare(n.day, o.day), cmp.Compare(n.generation, o.generation), bytes.Compare(n.writer[:], o.writer[:]))
}

// DecodeBlockKeys reads what Encode wrote and accepts nothing else: the error is
// ErrAnswer.
func DecodeBlockKeys(b []byte) (*BlockKeys, error) {
	r := answerReader{rest: b}
	if len(b) > MaxAnswer || r.uint(1) != answerVersion {
		return nil, ErrAnswer
	}
	k := &BlockKeys{Damaged: int(r.uint(4))}
	points := list(&r, r.count(2, consent.MaxUsagePoints), func() (meter.UsagePoint, bool) {
		p, err := meter.ParseUsagePoint(string(r.take(int(r.uint(1)))))
		return p, err == nil
	}, cmp.Compare)
	registers := list(&r, r.count(1, consent.MaxRegisters), func() (meter.Register, bool) {
		return meter.Register(r.take(len(meter.Register{}))), true
	}, compareRegisters)
	days := list(&r, r.count(4, uint64(len(r.rest)/dayKeySize)), func() (dayKeyName, bool) {
		return dayKeyName{meter.Day(int32(r.uint(4))), uint32(r.uint(4)), seal.WriterID(r.take(len(seal.WriterID{})))}, true
	}, dayKeyName.compare)
	n := len(points) * len(registers) * len(days)
	if r.bad || k.Damaged > MaxKeys || n > MaxKeys || n == 0 && len(points)+len(registers)+len(days) > 0 || len(r.rest) != n*blockKeySize {
		return nil, ErrAnswer
	}
	k.Keys = make(map[Name]seal.BlockKey, n)
	for _, d := range days {
		for _, p := range points {
			for _, reg := range registers {
				key, err := seal.ParseBlockKey(r.take(blockKeySize))
				if err != nil {
					return nil, ErrAnswer
				}
				k.Keys[Name{p, reg, d.day, d.generation, d.writer}] = key
			}
		}
	}
	return k, nil
}

// list reads n elements that ascend strictly.
func list[E any](r *answerReader, n int, next func() (E, bool), compare func(a, b E) int) []E {
	all := make([]E, 0, n)
	for i := range n {
		e, ok := next()
		if r.bad || !ok || i > 0 && compare(all[i-1], e) >= 0 {
			r.bad = true
			return nil
		}
		all = append(all, e)
	}
	return all
}

// answerReader takes the pieces off an answer. After the first piece that is not
// there, bad is set and every further piece is zero.
type answerReader struct {
	rest []byte
	bad  bool
}

func (r *answerReader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// uint reads an integer of so many bytes.
func (r *answerReader) uint(size int) (v uint64) {
	for _, c := range r.take(size) {
		v = v<<8 | uint64(c)
	}
	return v
}

// count reads the length of a list, which may be at most limit, so that a
// malformed one cannot ask for memory.
func (r *answerReader) count(size int, limit uint64) int {
	n := r.uint(size)
	if n > limit {
		r.bad = true
		return 0
	}
	return int(n)
}
