package release

import (
	"context"

	"github.com/wattveil/wattveil/meter"
)

// The doors through which tests see raw sums: nothing exported takes noise away.

// Raw returns the clipped sums of a day by node, before any noise, and the
// conflicts that its closing would report.
func (e *Engine[T]) Raw(ctx context.Context, day meter.Day) (map[string][]int64, map[meter.UsagePoint]int, error) {
	w, err := e.Store.Window(ctx, day)
	if err != nil {
		return nil, nil, err
	}
	in, c, err := e.prepare(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	conflicts, err := e.sum(ctx, in, c)
	return (&Curves{c}).Raw(), conflicts, err
}

// HoldAtOnce sets how many households a closing holds in memory.
func (e *Engine[T]) HoldAtOnce(households int) { e.atOnce = households }

// Curves are the sums of one day.
type Curves struct{ c *curves }

// NewCurves lays out a tree and draws its noise.
func NewCurves(plan Plan, tree []Node) (*Curves, error) {
	c, err := newCurves(plan, tree)
	if err != nil {
		return nil, err
	}
	return &Curves{c}, c.draw()
}

// Add adds a household's day.
func (c *Curves) Add(x []int64, node string) error { return c.c.add(x, node) }

// Raw shows the sums by node.
func (c *Curves) Raw() map[string][]int64 {
	out := map[string][]int64{}
	for _, l := range c.c.levels {
		for i, n := range l.nodes {
			out[n.ID] = l.sums[i*Intervals : (i+1)*Intervals]
		}
	}
	return out
}

// Take adds the noise.
func (c *Curves) Take() ([]LevelBody, []NodeBody, error) { return c.c.take() }

// Erase forgets everything.
func (c *Curves) Erase() { c.c.erase() }

// Stated is a release that says whatever sums write, in place of noisy sums.
func (e *Engine[T]) Stated(day meter.Day, tree []Node, write func(sums map[string][]int64)) (Body, error) {
	c, err := newCurves(e.Plan, tree)
	if err != nil {
		return Body{}, err
	}
	write((&Curves{c}).Raw())
	levels, nodes := state(c.levels)
	return e.body(day, levels, nodes)
}
