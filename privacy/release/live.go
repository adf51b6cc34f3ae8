package release

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/seal"
)

// PublishLive publishes every interval of live load that has ended, with its lateness,
// and returns the IDs of those releases. Each interval is published once, in order,
// from the readings that have arrived; what comes later counts in other products. A
// product that no budget is left for is not live that day.
//
// What a household may still add that day, on each level, is kept between intervals
// (dp.CausalClip), sealed to the day's window. It is stored before the interval's sum
// is published: a crash in between loses that interval, and never lets a household add
// the same twice. Budget is charged once a day, before the first interval.
func (e *Engine[T]) PublishLive(ctx context.Context) ([]string, error) {
	products := e.Catalogue.live()
	if len(products) == 0 {
		return nil, nil
	}
	e.closing.Lock()
	defer e.closing.Unlock()
	windows, err := e.Store.Windows(ctx)
	if err != nil {
		return nil, reading("windows", err)
	}
	var published []string
	var errs []error
	now := e.Now()
	for _, w := range windows {
		if w.State != WindowOpen || e.due(w.Day, now) {
			delete(e.live, w.Day)
			continue
		}
		ids, err := e.liveDay(ctx, w, products, now)
		published = append(published, ids...)
		if err != nil {
			errs = append(errs, fmt.Errorf("live load of %s: %w", w.Day, err))
		}
	}
	return published, errors.Join(errs...)
}

// live lists the products that are.
func (c Catalogue) live() []Product {
	var out []Product
	for _, p := range c.Products {
		if p.Kind == Live {
			out = append(out, p)
		}
	}
	return out
}

// liveDay is what is not on record yet of a day's live load.
type liveDay struct {
	unrecorded []signed
	refused    map[string]bool // products
	next       map[string]int  // interval, of a product, as far as is known
}

// liveTrack is one live product on one day.
type liveTrack struct {
	*track
	next int     // interval
	sums []*sums // of the intervals that are due, from next on
}

// ended is how many of a day's intervals have ended, with their lateness.
func (p Product) ended(day meter.Day, now time.Time) int {
	passed := now.Unix() - p.LatenessSeconds - day.Start()
	return int(min(max(passed/p.IntervalSeconds, 0), secondsPerDay/p.IntervalSeconds))
}

// missed reports whether a day went by without live load: when it began, or the hub.
func (p Product) missed(day meter.Day, now time.Time) bool {
	return now.Unix() >= day.End()+p.LatenessSeconds
}

func (e *Engine[T]) liveDay(ctx context.Context, w Window, products []Product, now time.Time) ([]string, error) {
	d := e.live[w.Day]
	if d == nil {
		d = &liveDay{refused: map[string]bool{}, next: map[string]int{}}
		e.live[w.Day] = d
	}
	published, err := e.recordLive(ctx, d)
	if err != nil {
		return published, err
	}
	if !slices.ContainsFunc(products, func(p Product) bool { return !d.refused[p.Name] && p.ended(w.Day, now) > d.next[p.Name] }) {
		return published, nil
	}
	l, err := e.openLive(ctx, w, products, now)
	if errors.Is(err, errOtherEntries) {
		e.Log.LogAttrs(ctx, slog.LevelWarn, "not live: the catalogue has changed since the day began", slog.String("day", w.Day.String()))
		for _, p := range products {
			d.refused[p.Name] = true
		}
		return published, nil
	}
	if err != nil {
		return published, err
	}
	for _, t := range l.tracks {
		d.next[t.product().Name] = t.next
	}
	due, err := e.payLive(ctx, w, d, l)
	if err != nil || len(due) == 0 {
		return published, err
	}
	if err := e.sumLive(ctx, l); err != nil {
		return published, err
	}
	for _, t := range due {
		for i, s := range t.sums {
			r, err := e.signLive(ctx, t, t.next+i, s)
			if err != nil {
				return published, err
			}
			d.unrecorded = append(d.unrecorded, r)
		}
	}
	more, err := e.recordLive(ctx, d)
	return append(published, more...), err
}

// recordLive commits what is signed, in order.
func (e *Engine[T]) recordLive(ctx context.Context, d *liveDay) ([]string, error) {
	var published []string
	for len(d.unrecorded) > 0 {
		if err := e.record(ctx, d.unrecorded[0]); err != nil {
			return published, err
		}
		published = append(published, d.unrecorded[0].published.ID)
		d.unrecorded = d.unrecorded[1:]
	}
	return published, nil
}

// liveState is a day's live load as its last interval left it.
type liveState struct {
	in     *inputs
	tracks []*liveTrack
	set    seal.RunningID
	clips  map[consent.Household][]dp.CausalClip // of each track's levels, in a row
}

// openLive reads the state of a day, and lays out what is due.
func (e *Engine[T]) openLive(ctx context.Context, w Window, products []Product, now time.Time) (*liveState, error) {
	private, err := e.open(ctx, w)
	if err != nil {
		return nil, err
	}
	l := &liveState{in: &inputs{window: w}, clips: map[consent.Household][]dp.CausalClip{}}
	if err := e.openSpoolKeys(ctx, l.in, private); err != nil {
		return nil, err
	}
	for _, p := range products {
		entry, hash, err := p.Entry()
		if err != nil {
			return nil, err
		}
		blocks := []meter.Day{w.Day}
		m, err := newMeasure(p, blocks)
		if err != nil {
			return nil, err
		}
		l.tracks = append(l.tracks, &liveTrack{track: &track{trackID: trackID{hash, w.Day}, measure: m, blocks: blocks, entry: entry}})
	}
	if err := e.readLive(ctx, l, private); err != nil {
		return nil, err
	}
	tree, err := e.Store.Nodes(ctx)
	if err != nil {
		return nil, reading("grid tree", err)
	}
	for _, t := range l.tracks {
		l.in.tracks = append(l.in.tracks, t.track)
		for range t.product().ended(w.Day, now) - t.next {
			s, err := newSums(t.measure, tree, e.Catalogue.Tariffs)
			if err != nil {
				return nil, err
			}
			t.sums = append(t.sums, s)
		}
	}
	l.in.register, err = e.where(ctx, l.in.tracks, l.in.mine, math.MaxInt)
	return l, err
}

// payLive pays for the days that begin, draws the noise of all intervals that are due,
// and returns the tracks that have any. What is refused is not live that day.
func (e *Engine[T]) payLive(ctx context.Context, w Window, d *liveDay, l *liveState) ([]*liveTrack, error) {
	var due []*liveTrack
	for _, t := range l.tracks {
		if t.next == 0 && t.product().missed(w.Day, e.Now()) {
			d.refused[t.product().Name] = true
		}
		if len(t.sums) == 0 || d.refused[t.product().Name] {
			t.sums = nil
			continue
		}
		if t.next == 0 {
			switch err := e.payLiveDay(ctx, w, t); {
			case errors.Is(err, ErrOverBudget):
				e.Log.LogAttrs(ctx, slog.LevelWarn, "not live: over budget", slog.String("product", t.product().Name), slog.String("day", w.Day.String()))
				d.refused[t.product().Name], t.sums = true, nil
				continue
			case err != nil:
				return nil, err
			}
		}
		for _, s := range t.sums {
			if err := s.draw(); err != nil {
				return nil, err
			}
		}
		due = append(due, t)
	}
	return due, nil
}

// payLiveDay charges a day of live load. A payment that was made is good for the day's
// first interval, and through the state that this leaves for those that follow.
func (e *Engine[T]) payLiveDay(ctx context.Context, w Window, t *liveTrack) error {
	name := t.releaseID()
	p := e.payments[name]
	if p == nil {
		own := make([]byte, 8) // attempts of a closing are counted in the store; here the store knows no state yet
		if _, err := e.Rand.Read(own); err != nil {
			return fmt.Errorf("naming a reservation: %w", err)
		}
		r, err := e.reservation(t.track, w, 0)
		if err != nil {
			return err
		}
		r.ID = fmt.Sprintf("%s/%x", name, own)
		p = &payment{reservation: r}
		e.payments[name] = p
	}
	err := e.reserve(ctx, p)
	if errors.Is(err, ErrOverBudget) {
		delete(e.payments, name)
	}
	return err
}

// sumLive lets every household add what is left of its day to the intervals that are
// due, and stores what remains.
func (e *Engine[T]) sumLive(ctx context.Context, l *liveState) error {
	l.in.register.together = true // more may arrive while the spool is read, and nobody adds twice
	f := &folder{tracks: l.in.tracks, conflicts: map[conflict]int{}}
	err := e.eachHome(ctx, l.in, func(household consent.Household, r *resident, h *home) error {
		defer f.clear(h, nil)
		series := f.today(l.in.window.Day, h)
		clips, err := l.clipsOf(household)
		if err != nil {
			return err
		}
		for i := range f.grids {
			f.grids[i].made = false
		}
		at := 0
		for i, t := range l.tracks {
			levels := len(t.measure.levels)
			if len(t.sums) > 0 && r.counts[i] {
				g := f.grid(t.product(), l.in.window.Day, series)
				for j, s := range t.sums {
					if err := s.admit(g.day[t.next+j], clips[at:at+levels], r.places[i]); err != nil {
						return err
					}
				}
			}
			at += levels
		}
		for _, g := range f.grids {
			clear(g.day)
		}
		for _, s := range series {
			clear(s.Values)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.putLive(ctx, l)
}

// clipsOf are a household's clips, new ones at the beginning of its day.
func (l *liveState) clipsOf(h consent.Household) ([]dp.CausalClip, error) {
	clips := l.clips[h]
	if clips != nil {
		return clips, nil
	}
	for _, t := range l.tracks {
		for _, level := range t.measure.levels {
			c, err := dp.NewCausalClip(level.bound)
			if err != nil {
				return nil, fmt.Errorf("clipping a household: %w", err)
			}
			clips = append(clips, c)
		}
	}
	l.clips[h] = clips
	return clips, nil
}

// admit adds an interval of one household, as far as each level's clip admits it.
func (s *sums) admit(wh int64, clips []dp.CausalClip, at Place) error {
	if s.taken {
		return fmt.Errorf("adding a household: %w", dp.ErrSpent)
	}
	return s.tree.rows(at, func(level, row int) error {
		if err := dp.Add(s.levels[level].sums[row:row+1], []int64{clips[level].Admit(wh)}); err != nil {
			return fmt.Errorf("adding a household: %w", err)
		}
		return nil
	})
}

// signLive states one interval.
func (e *Engine[T]) signLive(ctx context.Context, t *liveTrack, interval int, s *sums) (signed, error) {
	part := *t.track
	part.sums = s
	part.from = t.first.Start() + int64(interval)*t.product().IntervalSeconds
	part.part = interval + 1
	return e.sign(ctx, &part)
}

// The state of live load is kept in records of many households:
//
//	version (8, = 2)
//	number of tracks (8), each: entry (256), next interval (16), levels (16)
//	number of households (32), each: name length (8), name, and for each track and level a dp.CausalClip
const liveVersion = 2

// errOtherEntries says that a day's live load began under other catalogue entries.
var errOtherEntries = errors.New("release: live load of other catalogue entries")

// putLive stores the state of a day after the intervals that are due.
func (e *Engine[T]) putLive(ctx context.Context, l *liveState) error {
	sealer, err := seal.NewRunningSealer(e.Rand, l.in.window.Day)
	if err != nil {
		return fmt.Errorf("sealing live state: %w", err)
	}
	defer sealer.Erase()
	head := []byte{liveVersion, byte(len(l.tracks))}
	for _, t := range l.tracks {
		head = append(head, t.trackID.entry[:]...)
		head = binary.BigEndian.AppendUint16(head, uint16(t.next+len(t.sums)))
		head = binary.BigEndian.AppendUint16(head, uint16(len(t.measure.levels)))
	}
	var records []seal.RunningRecord
	record, homes := append([]byte(nil), head...), uint32(0)
	record = binary.BigEndian.AppendUint32(record, 0)
	flush := func() error {
		binary.BigEndian.PutUint32(record[len(head):], homes)
		r, err := sealer.Seal(record)
		if err != nil {
			return fmt.Errorf("sealing live state: %w", err)
		}
		records = append(records, r)
		clear(record[len(head):])
		record, homes = record[:len(head)+4], 0
		return nil
	}
	for household, clips := range l.clips {
		record = append(append(record, byte(len(household))), household...)
		for i := range clips {
			if record, err = clips[i].AppendBinary(record); err != nil {
				return fmt.Errorf("sealing live state: %w", err)
			}
		}
		if homes++; len(record) >= recordTarget {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	key, err := seal.ParsePublicKey(l.in.window.PublicKey)
	if err != nil {
		return fmt.Errorf("reading window key: %w", err)
	}
	wrap, err := sealer.Wrap(l.in.window.Day, key, e.Signer)
	if err != nil {
		return fmt.Errorf("sealing live state: %w", err)
	}
	if err := e.Store.PutLive(ctx, l.in.window.Day, l.set, wrap, records); err != nil {
		return fmt.Errorf("storing live state: %w", err)
	}
	for _, t := range l.tracks {
		if len(t.sums) > 0 {
			delete(e.payments, t.releaseID()) // the state says so from here on
		}
	}
	return nil
}

// readLive reads the state of a day, if it has one. A product whose entry has changed
// since begins with the next day.
func (e *Engine[T]) readLive(ctx context.Context, l *liveState, private seal.PrivateKey) error {
	wrap, records, err := e.Store.Live(ctx, l.in.window.Day)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return reading("live state", err)
	}
	l.set = wrap.ID
	key, err := seal.OpenRunningKey(private, wrap, e.signerPublic())
	if err != nil {
		return fmt.Errorf("opening live state: %w", err)
	}
	defer key.Erase()
	opener := key.Opener()
	for _, r := range records {
		plain, err := opener.Open(r)
		if err == nil {
			err = l.read(plain)
			clear(plain)
		}
		if err != nil {
			return fmt.Errorf("opening live state: %w", err)
		}
	}
	if err := opener.Complete(); err != nil {
		return fmt.Errorf("opening live state: %w", err)
	}
	return nil
}

// read takes in one record.
func (l *liveState) read(b []byte) error {
	r := reader{b: b}
	if r.take(1)[0] != liveVersion {
		return errRunning
	}
	if int(r.take(1)[0]) != len(l.tracks) {
		return errOtherEntries
	}
	levels := 0
	for _, t := range l.tracks {
		var entry [32]byte
		copy(entry[:], r.take(len(entry)))
		next, n := binary.BigEndian.Uint16(r.take(2)), binary.BigEndian.Uint16(r.take(2))
		if r.bad || int(next) > t.measure.slots {
			return errRunning
		}
		if entry != t.trackID.entry || int(n) != len(t.measure.levels) {
			return errOtherEntries
		}
		t.next = int(next)
		levels += len(t.measure.levels)
	}
	for range r.uint32() {
		household := consent.Household(r.take(int(r.take(1)[0])))
		clips := make([]dp.CausalClip, levels)
		for i := range clips {
			if err := clips[i].UnmarshalBinary(r.take(dp.CausalClipSize)); err != nil {
				return errRunning
			}
		}
		if r.bad || household == "" || l.clips[household] != nil {
			return errRunning
		}
		l.clips[household] = clips
	}
	if r.bad || len(r.b) > 0 {
		return errRunning
	}
	return nil
}
