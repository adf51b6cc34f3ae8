package release

import (
	"context"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// The doors through which tests see raw sums: nothing exported takes noise away.

// Raw returns the sums of what ends with a day, by release and node, before any noise,
// and the conflicts that its closing would report.
func (e *Engine[T]) Raw(ctx context.Context, day meter.Day) (map[string]map[string][]int64, error) {
	w, err := e.Store.Window(ctx, day)
	if err != nil {
		return nil, err
	}
	s, err := e.schedule(ctx)
	if err != nil {
		return nil, err
	}
	tree, err := e.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	in, err := e.inputs(ctx, w, s)
	if err != nil {
		return nil, err
	}
	due, err := e.ending(ctx, in, tree)
	if err != nil {
		return nil, err
	}
	if err := e.sum(ctx, in); err != nil {
		return nil, err
	}
	out := map[string]map[string][]int64{}
	for _, t := range due {
		out[t.releaseID()] = (&Sums{t.sums}).Raw()
	}
	return out, nil
}

// HoldAtOnce sets how many households a closing holds in memory.
func (e *Engine[T]) HoldAtOnce(households int) { e.atOnce = households }

// RegisterAtOnce sets how many households of the register a closing holds in memory.
func (e *Engine[T]) RegisterAtOnce(households int) { e.registered = households }

// Sums are those of one release.
type Sums struct{ s *sums }

// NewSums lays out a tree for a product's release of the span that holds a day, and
// draws its noise.
func NewSums(p Product, day meter.Day, tree []Node, tariffs ...string) (*Sums, error) {
	m, err := newMeasure(p, p.blocks(day))
	if err != nil {
		return nil, err
	}
	s, err := newSums(m, tree, tariffs)
	if err != nil {
		return nil, err
	}
	return &Sums{s}, s.draw()
}

// Add adds a household that brings some days, in the product's grid.
func (s *Sums) Add(at Place, days ...[]int64) error {
	m := s.s.measure
	running := make([]int64, m.width())
	for _, d := range days {
		if err := m.add(running, d); err != nil {
			return err
		}
	}
	return s.s.add(running, len(days), at)
}

// Raw shows the sums by node.
func (s *Sums) Raw() map[string][]int64 {
	out := map[string][]int64{}
	dim := s.s.measure.dim()
	for _, l := range s.s.levels {
		for i, n := range l.nodes {
			out[n.ID] = l.sums[i*dim : (i+1)*dim]
		}
	}
	return out
}

// Take adds the noise.
func (s *Sums) Take() ([]LevelBody, []NodeBody, error) { return s.s.take() }

// Erase forgets everything.
func (s *Sums) Erase() { s.s.erase() }

// Bounds are what a household may add on each level, in lattice units.
func (s *Sums) Bounds() map[string]int64 {
	out := map[string]int64{}
	for _, l := range s.s.measure.levels {
		out[l.plan.Kind] = l.bound
	}
	return out
}

// Stated is a release that says whatever sums write, in place of noisy sums.
func (e *Engine[T]) Stated(ctx context.Context, p Product, day meter.Day, tree []Node, write func(sums map[string][]int64)) (Body, error) {
	entry, hash, err := p.Entry()
	if err != nil {
		return Body{}, err
	}
	m, err := newMeasure(p, p.blocks(day))
	if err != nil {
		return Body{}, err
	}
	s, err := newSums(m, tree, e.Catalogue.Tariffs)
	if err != nil {
		return Body{}, err
	}
	write((&Sums{s}).Raw())
	levels, nodes := s.state()
	blocks := p.blocks(day)
	return e.body(ctx, &track{trackID: trackID{hash, blocks[0]}, measure: m, blocks: blocks, entry: entry}, levels, nodes)
}

// RunningRecord writes and reads a record of running sums, to be fuzzed.
func ReadRunning(b []byte) (again []byte, err error) {
	var h recordHead
	again = nil
	type home struct {
		name   consent.Household
		states []state
	}
	var homes []home
	err = readRecord(b, func(read recordHead) { h = read }, func(name consent.Household, s []state) { homes = append(homes, home{name, s}) })
	if err != nil {
		return nil, err
	}
	again = append(again, runningVersion, byte(len(h.tracks)))
	for i, t := range h.tracks {
		again = append(again, t.entry[:]...)
		again = append(again, byte(uint32(t.first)>>24), byte(uint32(t.first)>>16), byte(uint32(t.first)>>8), byte(t.first))
		again = append(again, byte(h.widths[i]>>8), byte(h.widths[i]))
	}
	n := len(homes)
	again = append(again, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	for _, home := range homes {
		again = appendHome(again, home.name, home.states)
	}
	return again, nil
}

// Admit adds one interval of a household, whose clips Clips made.
func (s *Sums) Admit(at Place, wh int64, clips []dp.CausalClip) error {
	return s.s.admit(wh, clips, at)
}

// Clips are those of a household at the beginning of its day.
func (s *Sums) Clips() ([]dp.CausalClip, error) {
	l := liveState{tracks: []*liveTrack{{track: &track{measure: s.s.measure}}}, clips: map[consent.Household][]dp.CausalClip{}}
	return l.clipsOf("home")
}
