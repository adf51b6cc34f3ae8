package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// inputs is what a closing is made of.
type inputs struct {
	window   Window
	tracks   []*track
	register *register
	keys     map[seal.WriterID]seal.SpoolKey
	sets     []openSet
	damaged  []seal.RunningID // sets that do not open

	// The register is that of one part of all households, by their hashes.
	part, parts uint64
	hash        func(consent.Household) uint64
}

// mine reports whether a household is in the part at hand.
func (in *inputs) mine(h consent.Household) bool {
	return in.parts <= 1 || in.hash(h)%in.parts == in.part
}

// openSet is a set of running sums that an earlier closing left.
type openSet struct {
	wrap seal.RunningKeyWrap
	key  seal.RunningKey
}

// inputs opens the keys of the spool and of running sums, tries whether every record
// opens, and reads the register.
func (e *Engine[T]) inputs(ctx context.Context, w Window, s schedule) (*inputs, error) {
	in := &inputs{window: w, hash: func(h consent.Household) uint64 { return maphash.String(e.seed, string(h)) >> 32 }}
	private, err := e.open(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := e.openSpoolKeys(ctx, in, private); err != nil {
		return nil, err
	}
	running, err := e.openSets(ctx, in, private)
	if err != nil {
		return nil, err
	}
	if in.tracks, err = e.tracks(w.Day, s, running); err != nil {
		return nil, err
	}
	for in.parts = 1; ; in.parts *= 2 {
		if err = e.prepare(ctx, in, e.registered); !errors.Is(err, errManyHouseholds) {
			return in, err
		}
	}
}

func (e *Engine[T]) openSpoolKeys(ctx context.Context, in *inputs, private seal.PrivateKey) error {
	wraps, err := e.Store.SpoolKeys(ctx, in.window.Day)
	if err != nil {
		return reading("spool keys", err)
	}
	writers := make([]seal.WriterID, len(wraps))
	for i, k := range wraps {
		writers[i] = k.Writer
	}
	registered, err := e.Store.WriterKeys(ctx, writers)
	if err != nil {
		return reading("writers", err)
	}
	in.keys = make(map[seal.WriterID]seal.SpoolKey, len(wraps))
	for _, k := range wraps {
		if _, open := in.keys[k.Writer]; open {
			continue
		}
		// One copy that opens is enough. A writer none of whose copies does has
		// no key here, and its records end the closing.
		if key, err := seal.OpenSpoolKey(private, k, registered[k.Writer]); err == nil {
			in.keys[k.Writer] = key
		}
	}
	return nil
}

// recordsAhead is how many records are opened before yield wants them: opening one and
// adding it up are work for two processors.
const recordsAhead = 2

// records opens the window's spool, record by record, ahead of yield.
func (e *Engine[T]) records(ctx context.Context, in *inputs, yield func([]seal.Spooled) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opened, ended := make(chan []seal.Spooled, recordsAhead), make(chan error, 1)
	go func() {
		defer close(opened)
		ended <- e.Store.SpoolRecords(ctx, in.window.Day, func(r seal.SpoolRecord) error {
			key, ok := in.keys[r.Writer]
			if !ok { // unregistered, or its wrap is damaged
				return seal.ErrKey
			}
			spooled, err := seal.OpenSpool(key, r)
			if err != nil {
				return err
			}
			select {
			case opened <- spooled:
				return nil
			case <-ctx.Done():
				forget(spooled)
				return context.Cause(ctx)
			}
		})
	}()
	var failed error
	for spooled := range opened {
		if failed != nil {
			forget(spooled)
			continue
		}
		if failed = yield(spooled); failed != nil {
			cancel(failed)
		}
	}
	if err := <-ended; failed == nil {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("opening spool: %w", failed)
	}
	return nil
}

// forget clears what was opened.
func forget(spooled []seal.Spooled) {
	for _, s := range spooled {
		clear(s.Series.Values)
	}
}

// prepare reads a part of the register while every record of spool and sets is opened.
// Whichever fails first stops the other, and says why.
func (e *Engine[T]) prepare(ctx context.Context, in *inputs, most int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	read := make(chan bool, 1)
	go func() {
		var err error
		if in.register, err = e.where(ctx, in.tracks, in.mine, most); err != nil {
			stop(err)
		}
		read <- err == nil
	}()
	n, err := e.rehearse(ctx, in)
	if err != nil {
		stop(err)
	}
	if ok := <-read; !ok || err != nil {
		return context.Cause(ctx)
	}
	in.register.named = n
	return nil
}

// rehearse opens every record, keeps nothing, and counts how many records name each
// household of the part.
func (e *Engine[T]) rehearse(ctx context.Context, in *inputs) (*named, error) {
	n := &named{records: map[key]uint8{}}
	err := e.records(ctx, in, func(spooled []seal.Spooled) error {
		var last consent.Household
		for _, s := range spooled {
			if s.Household != last && in.mine(s.Household) { // one that is named again later on counts for two: it is held
				n.add(s.Household)
			}
			last = s.Household
			clear(s.Series.Values)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = e.runningRecords(ctx, in, func(household consent.Household, states []state) {
		if in.mine(household) {
			n.add(household)
		}
		for _, s := range states {
			s.clear()
		}
	})
	return n, err
}

// home is what one household brings to a closing.
type home struct {
	opened []seal.Opened
	states []state // by track; nil where nothing ran before
}

// each calls yield once with every household that brings anything, and its states by
// track, which are yield's until it returns. It reports how many intervals were stated
// twice with different values.
func (e *Engine[T]) each(ctx context.Context, in *inputs, yield func(consent.Household, *resident, []state) error) (map[conflict]int, error) {
	f := &folder{tracks: in.tracks, conflicts: map[conflict]int{}}
	err := e.eachHome(ctx, in, func(household consent.Household, r *resident, h *home) error {
		states, err := f.fold(h)
		if err == nil {
			err = yield(household, r, states)
		}
		f.clear(h, states)
		return err
	})
	return f.conflicts, err
}

// eachHome calls yield once with every resident that brings anything, one part of the
// register after the other.
func (e *Engine[T]) eachHome(ctx context.Context, in *inputs, yield func(consent.Household, *resident, *home) error) error {
	for part := range max(1, in.parts) {
		if in.part != part {
			in.part = part
			if err := e.prepare(ctx, in, math.MaxInt); err != nil {
				return err
			}
		}
		if err := e.eachOfPart(ctx, in, yield); err != nil {
			return err
		}
	}
	return nil
}

// eachOfPart calls yield once with every resident of a part that brings anything.
//
// The records of a household may lie anywhere. One that is in a single record is
// done with it; the others are held until all is read, and where these are more than
// atOnce, all is read once for each share of them.
func (e *Engine[T]) eachOfPart(ctx context.Context, in *inputs, yield func(consent.Household, *resident, *home) error) error {
	shares := uint64(max(1, (in.register.held()+e.atOnce-1)/e.atOnce))
	for share := range shares {
		p := &pass{in: in, first: share == 0, held: map[consent.Household]*home{}, yield: yield}
		p.mine = func(h consent.Household) bool { return maphash.String(e.seed, string(h))%shares == share }
		if err := e.records(ctx, in, func(spooled []seal.Spooled) error { return p.record(spooled, e.Catalogue.Contributes) }); err != nil {
			return err
		}
		if err := e.runningRecords(ctx, in, p.running); err != nil {
			return err
		}
		for household, h := range p.held {
			r, _ := in.register.find(household)
			if err := yield(household, r, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// pass is one reading of all that a closing is made of.
type pass struct {
	in    *inputs
	first bool                         // of all passes: the one that does who is in a single record
	mine  func(consent.Household) bool // whether it holds one of the others
	held  map[consent.Household]*home
	yield func(consent.Household, *resident, *home) error
}

// holds reports whether the pass keeps a household, which is in so many records, until
// the end.
func (p *pass) holds(h consent.Household, records uint8) bool { return records > 1 && p.mine(h) }

func (p *pass) hold(h consent.Household) *home {
	if p.held[h] == nil {
		p.held[h] = &home{}
	}
	return p.held[h]
}

// record takes in a record of the spool.
func (p *pass) record(spooled []seal.Spooled, contributes func(meter.Series) bool) error {
	single := home{}
	var r *resident
	var records uint8
	for i, s := range spooled {
		if i == 0 || s.Household != spooled[i-1].Household {
			r, records = p.in.register.find(s.Household)
		}
		switch {
		case r == nil || !contributes(s.Series):
			clear(s.Series.Values)
		case p.holds(s.Household, records):
			h := p.hold(s.Household)
			h.opened = append(h.opened, s.Opened)
		case records == 1 && p.first:
			single.opened = append(single.opened, s.Opened)
		default:
			clear(s.Series.Values)
		}
		if len(single.opened) > 0 && (i+1 == len(spooled) || spooled[i+1].Household != s.Household) {
			if err := p.yield(s.Household, r, &single); err != nil {
				return err
			}
			single.opened = single.opened[:0]
		}
	}
	return nil
}

// running takes in what a household left to this closing.
func (p *pass) running(household consent.Household, states []state) {
	r, records := p.in.register.find(household)
	if r != nil && (p.holds(household, records) || records == 1 && p.first) {
		p.hold(household).merge(states)
		return
	}
	for _, s := range states {
		s.clear()
	}
}

// merge adds states that an earlier closing left. At most one set counts, and names a
// household once; of two states that both have a day, which only damage could leave, the
// first stays, so that no day counts twice.
func (h *home) merge(states []state) {
	if h.states == nil {
		h.states = states
		return
	}
	for i, s := range states {
		mine := &h.states[i]
		if s.sum == nil || mine.days&s.days != 0 {
			continue
		}
		if mine.sum == nil {
			*mine = s
			continue
		}
		mine.days |= s.days
		for j, v := range s.sum {
			mine.sum[j] += v // each within 32 bits
		}
	}
}

// conflict names intervals that were stated twice with different values.
type conflict struct {
	point meter.UsagePoint
	day   meter.Day
}

// folder adds up what households bring, with memory that it uses again.
type folder struct {
	tracks    []*track
	conflicts map[conflict]int
	states    []state
	grids     []grid
}

// grid is a household's day in intervals of one length, of one register.
type grid struct {
	register meter.Register
	seconds  int64
	day      []int64
	stated   bool
	made     bool
}

// fold adds what a household contributed to what ran before. What it returns is the
// folder's until the next call.
func (f *folder) fold(h *home) ([]state, error) {
	f.begin(h)
	slices.SortStableFunc(h.opened, func(a, b seal.Opened) int {
		return cmp.Or(cmp.Compare(meter.DayOf(a.Series.Start), meter.DayOf(b.Series.Start)), cmp.Compare(a.Series.UsagePoint, b.Series.UsagePoint))
	})
	for rest := h.opened; len(rest) > 0; {
		day := meter.DayOf(rest[0].Series.Start)
		n := 1
		for n < len(rest) && meter.DayOf(rest[n].Series.Start) == day {
			n++
		}
		if err := f.addDay(day, f.merge(day, rest[:n])); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return f.states, nil
}

// today makes one account of what a household contributed of one day.
func (f *folder) today(day meter.Day, h *home) []meter.Series {
	of := slices.DeleteFunc(slices.Clone(h.opened), func(o seal.Opened) bool { return meter.DayOf(o.Series.Start) != day })
	slices.SortStableFunc(of, func(a, b seal.Opened) int { return cmp.Compare(a.Series.UsagePoint, b.Series.UsagePoint) })
	return f.merge(day, of)
}

// begin sets the states to what ran before.
func (f *folder) begin(h *home) {
	if f.states == nil {
		f.states = make([]state, len(f.tracks))
		for i, t := range f.tracks {
			f.states[i].sum = make([]int64, t.measure.width())
		}
	}
	for i := range f.states {
		s := &f.states[i]
		clear(s.sum)
		s.days = 0
		if h.states != nil && h.states[i].sum != nil {
			copy(s.sum, h.states[i].sum)
			s.days = h.states[i].days
		}
	}
}

// merge makes one account of a day, usage point by usage point.
func (f *folder) merge(day meter.Day, opened []seal.Opened) []meter.Series {
	var all []meter.Series
	for rest := opened; len(rest) > 0; {
		point := rest[0].Series.UsagePoint
		n := 1
		for n < len(rest) && rest[n].Series.UsagePoint == point {
			n++
		}
		series, differing := seal.Merge(rest[:n])
		if all == nil {
			all = series
		} else {
			all = append(all, series...)
		}
		if differing > 0 {
			f.conflicts[conflict{point, day}] += differing
		}
		rest = rest[n:]
	}
	return all
}

// addDay adds a day to every track that has not had it.
func (f *folder) addDay(day meter.Day, series []meter.Series) error {
	for i := range f.grids {
		f.grids[i].made = false
	}
	for i, t := range f.tracks {
		block := t.block(day)
		if block < 0 || f.states[i].days&(1<<block) != 0 {
			continue
		}
		g := f.grid(t.product(), day, series)
		if !g.stated {
			continue
		}
		f.states[i].days |= 1 << block
		if err := t.measure.add(f.states[i].sum, g.day); err != nil {
			return err
		}
	}
	for _, g := range f.grids {
		clear(g.day)
	}
	for _, s := range series {
		clear(s.Values)
	}
	return nil
}

// grid adds a day up as a product has it, once for all that have it so.
func (f *folder) grid(p Product, day meter.Day, series []meter.Series) *grid {
	at := slices.IndexFunc(f.grids, func(g grid) bool { return g.register == p.Register && g.seconds == p.grid() })
	if at < 0 {
		at = len(f.grids)
		f.grids = append(f.grids, grid{register: p.Register, seconds: p.grid(), day: make([]int64, secondsPerDay/p.grid())})
	}
	g := &f.grids[at]
	if !g.made {
		g.made, g.stated = true, false
		for _, s := range series {
			if p.takes(s) && energyOf(g.day, day, s) {
				g.stated = true
			}
		}
	}
	return g
}

// clear forgets a household.
func (f *folder) clear(h *home, states []state) {
	for i := range h.opened {
		clear(h.opened[i].Series.Values)
	}
	for _, s := range h.states {
		s.clear()
	}
	for _, s := range states {
		s.clear()
	}
}
