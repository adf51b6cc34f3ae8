package seal

import (
	"encoding/binary"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// The plaintext of a spool record, integers big endian:
//
//	accepted (8) ‖ number of contributions (4) ‖ contributions ‖ zero bytes
//
// up to a multiple of 256 bytes. A contribution is
//
//	household ‖ usage point ‖ register (6) ‖ start (8) ‖ length (4) ‖ revision (4) ‖ count (4) ‖ packing (1) ‖ intervals
//
// where the first two are names: the number (4) of an earlier name of the
// record, counted from 1, or 0 for a new one, which follows as length (1) and
// bytes.
const (
	spoolHeader       = 8 + 4
	contributionFrame = 6 + 8 + 4 + 4 + 4 + 1
	// contributionLeast is the least that a contribution takes.
	contributionLeast = 4 + 4 + contributionFrame + 1
)

// appendSpool appends the plaintext of a record.
func appendSpool(dst []byte, accepted int64, contributions []Contribution) ([]byte, error) {
	origin := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(accepted))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(contributions)))
	names := map[string]uint32{}
	for i := range contributions {
		c := &contributions[i]
		s := c.Series
		if !sealable(meter.DayOf(s.Start), s) || !named(string(c.Household)) {
			return nil, ErrSeries
		}
		dst = appendName(dst, names, string(c.Household))
		dst = appendName(dst, names, string(s.UsagePoint))
		dst = append(dst, s.Register[:]...)
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Start))
		dst = binary.BigEndian.AppendUint32(dst, uint32(s.Length))
		dst = binary.BigEndian.AppendUint32(dst, s.Revision)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Values)))
		p := packingFor(s.Register, s.Length, c.CapWatts)
		dst = append(dst, byte(p))
		var err error
		if dst, err = p.appendPacked(dst, s); err != nil {
			return nil, err
		}
	}
	pad := -(len(dst) - origin) & (spoolPadding - 1)
	return append(dst, make([]byte, pad)...), nil
}

func appendName(dst []byte, names map[string]uint32, name string) []byte {
	if n, ok := names[name]; ok {
		return binary.BigEndian.AppendUint32(dst, n)
	}
	names[name] = uint32(len(names) + 1)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = append(dst, byte(len(name)))
	return append(dst, name...)
}

// parseSpool reads what appendSpool wrote and accepts nothing else: the error is
// ErrFormat.
func parseSpool(plain []byte, writer WriterID, seq uint64) ([]Spooled, error) {
	r := spoolReader{rest: plain}
	accepted := int64(r.uint64())
	count := int(r.uint32())
	if r.failed || len(plain)%spoolPadding != 0 || count > len(r.rest)/contributionLeast {
		return nil, ErrFormat
	}
	out := make([]Spooled, count)
	for i := range out {
		household, point := r.name(), r.name()
		s := meter.Series{UsagePoint: meter.UsagePoint(point)}
		copy(s.Register[:], r.bytes(len(s.Register)))
		s.Start = int64(r.uint64())
		s.Length = int64(r.uint32())
		s.Revision = r.uint32()
		n := int(r.uint32())
		p := packing(r.byte())
		if r.failed || !p.valid() || !inOneDay(meter.DayOf(s.Start), s.Start, s.Length, n) {
			return nil, ErrFormat
		}
		packed := r.bytes(p.size(n))
		if r.failed {
			return nil, ErrFormat
		}
		var err error
		if s.Values, s.Quality, err = p.unpack(packed, n); err != nil {
			return nil, err
		}
		out[i] = Spooled{consent.Household(household), Opened{Series: s, AcceptedAt: accepted, Writer: writer, Seq: seq}}
	}
	if len(r.rest) >= spoolPadding {
		return nil, ErrFormat
	}
	for _, b := range r.rest {
		if b != 0 {
			return nil, ErrFormat
		}
	}
	return out, nil
}

// spoolReader takes fields off a record. Once one is missing it is failed, and
// every further field is zero.
type spoolReader struct {
	rest   []byte
	failed bool
	names  []string
	known  map[string]bool
}

func (r *spoolReader) bytes(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *spoolReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *spoolReader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *spoolReader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// name reads a name, which must be written out where it first occurs and
// nowhere else.
func (r *spoolReader) name() string {
	n := r.uint32()
	if n > 0 {
		if uint64(n) > uint64(len(r.names)) {
			r.failed = true
			return ""
		}
		return r.names[n-1]
	}
	name := string(r.bytes(int(r.byte())))
	if r.failed || !named(name) || r.known[name] {
		r.failed = true
		return ""
	}
	if r.known == nil {
		r.known = map[string]bool{}
	}
	r.known[name] = true
	r.names = append(r.names, name)
	return name
}
