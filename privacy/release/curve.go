package release

import (
	"fmt"
	"math"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// The grid of a day: 48 half-hours in UTC. Whatever the length of intervals and
// whatever the local clock did, a household's day is one vector of 48 integers.
const (
	Intervals       = 48
	IntervalSeconds = 1800
)

// Contributes reports whether a series enters the day curve: active energy drawn
// from the grid, in intervals that fit the half-hour.
func Contributes(s meter.Series) bool {
	return s.Register == meter.ActiveImport && s.Length > 0 && IntervalSeconds%s.Length == 0
}

// addTo adds a series to a household's day, half-hour by half-hour; missing
// intervals count as zero, and those that start on another day are none of this
// day's. Where one usage point states a time in two interval lengths, both count.
//
// A sum that does not fit stays at the end of the range, which the clip takes to
// its bound anyway. An error here would be one household's power over everybody's
// release, and would tell that it was there.
func addTo(x []int64, day meter.Day, s meter.Series) {
	for i, v := range s.Values {
		at := s.StartAt(i)
		if s.QualityAt(i) == meter.Missing || at < day.Start() || at >= day.End() {
			continue
		}
		slot := &x[(at-day.Start())/IntervalSeconds]
		switch {
		case v > 0 && *slot > math.MaxInt64-v:
			*slot = math.MaxInt64
		case v < 0 && *slot < math.MinInt64-v:
			*slot = math.MinInt64
		default:
			*slot += v
		}
	}
}

// curves holds the clipped sums of one day: for every level of the plan, every
// node of that level. The sums are raw: they leave through take alone, which
// adds noise, and works once.
type curves struct {
	levels  []level
	places  map[string][]int // by node: the index of its ancestor on each level, -1 for none
	clipped []int64          // scratch of add
	taken   bool
}

// level is one level's nodes in a row: node i owns sums[i*48:(i+1)*48].
type level struct {
	plan     LevelPlan
	variance dp.Variance
	depth    int
	nodes    []Node
	noise    *dp.Noise
	sums     []int64
}

// newCurves lays out the curves of a tree, parents first. A kind that the tree
// has no node of takes its share of the budget and publishes nothing.
func newCurves(plan Plan, tree []Node) (*curves, error) {
	c := &curves{clipped: make([]int64, Intervals), places: make(map[string][]int, len(tree))}
	at := make(map[string]int, len(plan.Levels)) // level of a kind
	for i, lp := range plan.Levels {
		variance, err := dp.GaussianVariance(lp.ClipWh, lp.Rho)
		if err != nil {
			return nil, fmt.Errorf("planning noise: %w", err)
		}
		at[lp.Kind] = i
		c.levels = append(c.levels, level{plan: lp, variance: variance})
	}
	for _, n := range tree {
		if err := c.place(n, at); err != nil {
			return nil, err
		}
	}
	for i := range c.levels {
		c.levels[i].sums = make([]int64, len(c.levels[i].nodes)*Intervals)
	}
	return c, nil
}

// place gives a node its row, if its kind is published, and finds the rows that
// whoever is registered at it counts in: its own and those of its ancestors. No
// two of them are on one level, which is what makes a level cost its ρ once.
func (c *curves) place(n Node, at map[string]int) error {
	places := make([]int, len(c.levels))
	for i := range places {
		places[i] = -1
	}
	if n.Parent != "" {
		above, known := c.places[n.Parent]
		if !known {
			return fmt.Errorf("%w: a node of the grid tree before its parent", ErrPlan)
		}
		copy(places, above)
	}
	if _, twice := c.places[n.ID]; twice || n.ID == "" {
		return fmt.Errorf("%w: a node of the grid tree without a name of its own", ErrPlan)
	}
	if i, published := at[n.Kind]; published {
		l := &c.levels[i]
		if len(l.nodes) > 0 && n.Level != l.depth || places[i] >= 0 {
			return fmt.Errorf("%w: nodes of one kind on two levels of the grid tree", ErrPlan)
		}
		places[i] = len(l.nodes)
		l.depth = n.Level
		l.nodes = append(l.nodes, n)
	}
	c.places[n.ID] = places
	return nil
}

// draw draws all the noise of the day, before anybody looks at data.
func (c *curves) draw() error {
	for i := range c.levels {
		l := &c.levels[i]
		var err error
		if l.noise, err = dp.DrawNoise(len(l.sums), l.variance); err != nil {
			return fmt.Errorf("drawing noise: %w", err)
		}
	}
	return nil
}

// add clips a household's day for every level and adds it to one node of each. A
// node that is not in the tree adds nothing.
func (c *curves) add(x []int64, node string) error {
	if c.taken {
		return fmt.Errorf("adding a day: %w", dp.ErrSpent)
	}
	defer clear(c.clipped)
	for i, row := range c.places[node] {
		if row < 0 {
			continue
		}
		l := &c.levels[i]
		copy(c.clipped, x)
		if err := dp.ClipL2(c.clipped, l.plan.ClipWh); err != nil {
			return fmt.Errorf("clipping a day: %w", err)
		}
		if err := dp.Add(l.sums[row*Intervals:(row+1)*Intervals], c.clipped); err != nil {
			return fmt.Errorf("adding a day: %w", err)
		}
	}
	return nil
}

// take adds the noise and states the noisy curves; it works once, and a failure
// leaves nothing to take.
func (c *curves) take() ([]LevelBody, []NodeBody, error) {
	if c.taken {
		return nil, nil, fmt.Errorf("taking curves: %w", dp.ErrSpent)
	}
	c.taken = true
	for _, l := range c.levels {
		if l.noise == nil {
			return nil, nil, fmt.Errorf("taking curves: %w", dp.ErrSpent)
		}
		if err := l.noise.AddTo(l.sums); err != nil {
			return nil, nil, fmt.Errorf("adding noise: %w", err)
		}
	}
	levels, nodes := state(c.levels)
	c.levels = nil // what is stated shares their memory, and is no longer raw
	return levels, nodes, nil
}

// erase forgets whatever sums and noise are left.
func (c *curves) erase() {
	for _, l := range c.levels {
		clear(l.sums)
		if l.noise != nil {
			l.noise.Erase()
		}
	}
	c.levels, c.taken = nil, true
}
