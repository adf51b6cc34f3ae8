package release

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// state is what a household has added to a track so far.
type state struct {
	days uint32 // bit i: the track's block i has added its share
	sum  []int64
}

func (s state) stated() int { return bits.OnesCount32(s.days) }

func (s state) clear() { clear(s.sum) }

// Running sums are stored in records of many households. All of a set have the tracks
// of its closing, in its order, so that how long a record is tells how many households
// it holds and nothing else:
//
//	version (8, = 1)
//	number of tracks (8), each: entry (256), first day (32), elements (16)
//	number of households (32), each: name length (8), name, and of each track days (32), elements (32 each)
//
// Integers are big endian; elements are in two's complement.
const (
	runningVersion = 1
	recordTarget   = 256 << 10 // bytes, after which a record is full
)

// errRunning says that a record of running sums is not of the form that appendHead and
// appendHome write.
var errRunning = errors.New("release: malformed running sums")

// errTracks says that more spans run at once than a record can name: weeks of closings
// are stuck.
var errTracks = errors.New("release: more than 255 spans run at once")

func appendHead(b []byte, tracks []*track) []byte {
	b = append(b, runningVersion, byte(len(tracks)))
	for _, t := range tracks {
		b = append(b, t.trackID.entry[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(t.first))
		b = binary.BigEndian.AppendUint16(b, uint16(t.measure.width()))
	}
	return b
}

func appendHome(b []byte, household consent.Household, states []state) []byte {
	b = append(b, byte(len(household)))
	b = append(b, household...)
	for _, s := range states {
		b = binary.BigEndian.AppendUint32(b, s.days)
		for _, v := range s.sum {
			b = binary.BigEndian.AppendUint32(b, uint32(int32(v)))
		}
	}
	return b
}

// recordHead says what a record's states belong to.
type recordHead struct {
	tracks []trackID
	widths []int
}

// readRecord calls yield, unless it is nil, with every household of a record; its
// states are yield's own.
func readRecord(b []byte, head func(recordHead), yield func(consent.Household, []state)) error {
	r := reader{b: b}
	if r.take(1)[0] != runningVersion {
		return errRunning
	}
	var h recordHead
	for range r.take(1)[0] {
		var id trackID
		copy(id.entry[:], r.take(len(id.entry)))
		id.first = meter.Day(int32(r.uint32()))
		h.tracks = append(h.tracks, id)
		h.widths = append(h.widths, int(binary.BigEndian.Uint16(r.take(2))))
	}
	if r.bad {
		return errRunning
	}
	head(h)
	for range r.uint32() {
		household := consent.Household(r.take(int(r.take(1)[0])))
		states := make([]state, len(h.tracks))
		for i, width := range h.widths {
			if len(r.b) < 4+4*width { // before memory is made for it
				return errRunning
			}
			states[i] = state{days: r.uint32(), sum: make([]int64, width)}
			for j := range states[i].sum {
				states[i].sum[j] = int64(int32(r.uint32()))
			}
		}
		if r.bad || household == "" {
			return errRunning
		}
		if yield != nil {
			yield(household, states)
		}
	}
	if r.bad || len(r.b) > 0 {
		return errRunning
	}
	return nil
}

// reader takes bytes off the front. Past the end it is bad, and gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, n)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// set writes the running sums that a closing leaves to the next.
type set[T Tx] struct {
	e      *Engine[T]
	from   meter.Day
	tracks []*track
	sealer *seal.RunningSealer
	record []byte // being filled
	homes  uint32
	at     int // of the number of homes
}

func (e *Engine[T]) newSet(from meter.Day, tracks []*track) (*set[T], error) {
	if len(tracks) > math.MaxUint8 {
		return nil, errTracks
	}
	sealer, err := seal.NewRunningSealer(e.Rand, from)
	if err != nil {
		return nil, fmt.Errorf("sealing running sums: %w", err)
	}
	s := &set[T]{e: e, from: from, tracks: tracks, sealer: sealer}
	s.begin()
	return s, nil
}

func (s *set[T]) begin() {
	clear(s.record)
	s.record = appendHead(s.record[:0], s.tracks)
	s.at = len(s.record)
	s.record = binary.BigEndian.AppendUint32(s.record, 0)
	s.homes = 0
}

// add adds a household's states, of the set's tracks in their order.
func (s *set[T]) add(ctx context.Context, household consent.Household, states []state) error {
	s.record = appendHome(s.record, household, states)
	s.homes++
	if len(s.record) < recordTarget {
		return nil
	}
	return s.flush(ctx)
}

func (s *set[T]) flush(ctx context.Context) error {
	binary.BigEndian.PutUint32(s.record[s.at:], s.homes)
	r, err := s.sealer.Seal(s.record)
	if err != nil {
		return fmt.Errorf("sealing running sums: %w", err)
	}
	if err := s.e.Store.PutRunning(ctx, s.from, []seal.RunningRecord{r}); err != nil {
		return fmt.Errorf("storing running sums: %w", err)
	}
	s.begin()
	return nil
}

// end stores what is left, and seals the set to a window. There is a record even where
// there is no household: it names the tracks.
func (s *set[T]) end(ctx context.Context, to Window) (*seal.RunningKeyWrap, error) {
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	key, err := seal.ParsePublicKey(to.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("reading window key: %w", err)
	}
	w, err := s.sealer.Wrap(to.Day, key, s.e.Signer)
	if err != nil {
		return nil, fmt.Errorf("sealing running sums: %w", err)
	}
	return &w, nil
}

// erase forgets the set's key and what was not stored.
func (s *set[T]) erase() {
	clear(s.record)
	s.sealer.Erase()
}
