package seal

import (
	"math/bits"

	"github.com/wattveil/wattveil/meter"
)

// packing is how the values of a series are laid out: the low seven bits are
// the width of a value in bits, 1 to 64; the top bit says two's complement.
// Each interval is its value, then four bits of quality, most significant bit
// first, without gaps; zero bits fill the last byte.
type packing byte

const (
	twosComplement = 0x80
	qualityBits    = 4
)

// packingFor derives the packing from what is public about a series. Energy
// within an interval takes as many bits as the most that the point's cap allows
// in that interval, and a sign if the register has one; every other register
// takes 64. No value has a say, so the length of a block tells nothing of them.
func packingFor(r meter.Register, lengthSeconds, capWatts int64) packing {
	if !r.PerInterval() {
		return twosComplement | 64
	}
	width := max(1, bits.Len64(uint64(meter.CapValue(capWatts, lengthSeconds))))
	if r.Signed() {
		return twosComplement | packing(width+1)
	}
	return packing(width)
}

func (p packing) width() uint  { return uint(p &^ twosComplement) }
func (p packing) signed() bool { return p&twosComplement != 0 }

// valid reports whether p is one that packingFor can return.
func (p packing) valid() bool {
	w := p.width()
	return w >= 1 && w <= 64 && (p.signed() || w < 64)
}

// size returns the packed bytes of count intervals; count is at most 86,400.
func (p packing) size(count int) int {
	return (count*int(p.width()+qualityBits) + 7) / 8
}

// holds reports whether v has a representation of its own in p.
func (p packing) holds(v int64) bool {
	spare := 64 - p.width()
	if p.signed() {
		return v<<spare>>spare == v
	}
	return v >= 0 && v>>p.width() == 0
}

// appendPacked appends the intervals of s. The error is ErrSeries if a value
// does not fit, a quality is unassigned, or a Missing interval has a value.
func (p packing) appendPacked(dst []byte, s meter.Series) ([]byte, error) {
	w := bitWriter{dst: dst}
	width := p.width()
	for i, v := range s.Values {
		q := s.QualityAt(i)
		if !p.holds(v) || !q.Known() || q == meter.Missing && v != 0 {
			return nil, ErrSeries
		}
		u := uint64(v) & (1<<width - 1)
		if width > 32 {
			w.put(u>>32, width-32)
			w.put(u&(1<<32-1), 32)
		} else {
			w.put(u, width)
		}
		w.put(uint64(q), qualityBits)
	}
	return w.flush(), nil
}

// unpack reads count intervals from src, which must be exactly their size. The
// qualities are nil if every value is Measured. It accepts only what
// appendPacked writes: the error is ErrFormat.
func (p packing) unpack(src []byte, count int) ([]int64, []meter.Quality, error) {
	if !p.valid() || len(src) != p.size(count) {
		return nil, nil, ErrFormat
	}
	r := bitReader{src: src}
	width, spare := p.width(), 64-p.width()
	values := make([]int64, count)
	var quality []meter.Quality
	for i := range values {
		var u uint64
		if width > 32 {
			u = r.take(width-32)<<32 | r.take(32)
		} else {
			u = r.take(width)
		}
		v := int64(u)
		if p.signed() {
			v = v << spare >> spare
		}
		q := meter.Quality(r.take(qualityBits))
		if !q.Known() || q == meter.Missing && v != 0 {
			return nil, nil, ErrFormat
		}
		if q != meter.Measured && quality == nil {
			quality = make([]meter.Quality, count)
		}
		if quality != nil {
			quality[i] = q
		}
		values[i] = v
	}
	if r.rest() != 0 {
		return nil, nil, ErrFormat
	}
	return values, quality, nil
}

// bitWriter appends bits to dst, most significant first.
type bitWriter struct {
	dst     []byte
	pending uint64 // the low n bits are not yet in dst
	n       uint   // below 32 between calls
}

// put appends the low width bits of v, at most 32; its other bits are 0.
func (w *bitWriter) put(v uint64, width uint) {
	w.pending = w.pending<<width | v
	w.n += width
	if w.n >= 32 {
		w.n -= 32
		u := w.pending >> w.n
		w.dst = append(w.dst, byte(u>>24), byte(u>>16), byte(u>>8), byte(u))
	}
}

// flush fills the last byte with zero bits and returns dst.
func (w *bitWriter) flush() []byte {
	for w.n >= 8 {
		w.n -= 8
		w.dst = append(w.dst, byte(w.pending>>w.n))
	}
	if w.n > 0 {
		w.dst = append(w.dst, byte(w.pending<<(8-w.n)))
		w.n = 0
	}
	return w.dst
}

// bitReader reads what a bitWriter wrote. Its user knows the length.
type bitReader struct {
	src     []byte
	pending uint64 // the low n bits are not yet taken
	n       uint
}

// take returns the next width bits, at most 32.
func (r *bitReader) take(width uint) uint64 {
	for r.n < width {
		r.pending = r.pending<<8 | uint64(r.src[0])
		r.src = r.src[1:]
		r.n += 8
	}
	r.n -= width
	return r.pending >> r.n & (1<<width - 1)
}

// rest returns the bits not taken; it is 0 if they are all zero.
func (r *bitReader) rest() uint64 {
	return r.pending & (1<<r.n - 1)
}
