package release

import (
	"fmt"

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

// vector adds up a household's merged series of one day into half-hours;
// missing intervals count as zero.
func vector(day meter.Day, series []meter.Series) ([]int64, error) {
	x := make([]int64, Intervals)
	for _, s := range series {
		if !Contributes(s) {
			continue
		}
		for i, v := range s.Values {
			slot := (s.StartAt(i) - day.Start()) / IntervalSeconds
			if s.QualityAt(i) == meter.Missing || slot < 0 || slot >= Intervals {
				continue
			}
			sum := x[slot] + v
			if (v > 0) != (sum > x[slot]) && v != 0 {
				return nil, fmt.Errorf("adding up a day: %w", dp.ErrOverflow)
			}
			x[slot] = sum
		}
	}
	return x, nil
}

// curves holds the clipped sums of one day: for every level of the plan, every
// node of that level. The sums are raw: they leave this package through publish
// alone, which takes noise, and takes it once.
type curves struct {
	levels []level
	taken  bool
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

// newCurves lays out the tree and draws all the noise of the day, before
// anybody looks at data.
func newCurves(plan Plan, tree []Node) (*curves, error) {
	c := &curves{}
	for _, lp := range plan.Levels {
		l := level{plan: lp}
		for _, n := range tree {
			if n.Kind == lp.Kind {
				if len(l.nodes) > 0 && n.Level != l.depth {
					return nil, fmt.Errorf("%w: nodes of one kind on two levels", ErrPlan)
				}
				l.depth = n.Level
				l.nodes = append(l.nodes, n)
			}
		}
		var err error
		if l.variance, err = dp.GaussianVariance(lp.ClipWh, lp.Rho); err != nil {
			return nil, fmt.Errorf("planning noise: %w", err)
		}
		l.sums = make([]int64, len(l.nodes)*Intervals)
		if l.noise, err = dp.DrawNoise(len(l.sums), l.variance); err != nil {
			return nil, fmt.Errorf("drawing noise: %w", err)
		}
		c.levels = append(c.levels, l)
	}
	return c, nil
}

// erase forgets what noise is left, and the raw sums unless they were taken.
func (c *curves) erase() {
	for _, l := range c.levels {
		l.noise.Erase()
		if !c.taken {
			clear(l.sums)
		}
	}
}

// places maps every leaf of the tree to the index of its ancestor on each level
// of the plan, -1 where it has none.
func (c *curves) places(tree []Node) map[string][]int {
	parent := make(map[string]string, len(tree))
	for _, n := range tree {
		parent[n.ID] = n.Parent
	}
	at := make([]map[string]int, len(c.levels))
	for l := range c.levels {
		at[l] = make(map[string]int)
		for i, n := range c.levels[l].nodes {
			at[l][n.ID] = i
		}
	}
	out := make(map[string][]int, len(tree))
	for _, n := range tree {
		p := make([]int, len(c.levels))
		for l := range p {
			p[l] = -1
			for id := n.ID; id != ""; id = parent[id] {
				if i, ok := at[l][id]; ok {
					p[l] = i
					break
				}
			}
		}
		out[n.ID] = p
	}
	return out
}

// add clips a household's day for every level and adds it to one node of each.
func (c *curves) add(x []int64, places []int) error {
	clipped := make([]int64, Intervals)
	for l, i := range places {
		if i < 0 {
			continue
		}
		copy(clipped, x)
		if err := dp.ClipL2(clipped, c.levels[l].plan.ClipWh); err != nil {
			return fmt.Errorf("clipping a day: %w", err)
		}
		if err := dp.Add(c.levels[l].sums[i*Intervals:(i+1)*Intervals], clipped); err != nil {
			return fmt.Errorf("adding a day: %w", err)
		}
	}
	return nil
}

// take adds the noise and hands out the noisy curves; the second call fails.
func (c *curves) take() ([]level, error) {
	if c.taken {
		return nil, fmt.Errorf("taking curves: %w", dp.ErrSpent)
	}
	for _, l := range c.levels {
		if err := l.noise.AddTo(l.sums); err != nil {
			return nil, fmt.Errorf("adding noise: %w", err)
		}
	}
	c.taken = true
	return c.levels, nil
}
