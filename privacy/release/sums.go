package release

import (
	"fmt"

	"github.com/wattveil/wattveil/privacy/dp"
)

// sums holds the clipped sums of one release: for every level of its product, every
// node of that level. They are raw: they leave through take alone, which adds noise,
// and works once.
type sums struct {
	measure *measure
	levels  []level
	tree    *layout
	scratch []int64 // of add
	taken   bool
}

// level is one level's nodes in a row: node i owns sums[i*dim:(i+1)*dim].
type level struct {
	levelMeasure
	depth int
	nodes []Node
	noise *dp.Noise
	sums  []int64
}

// layout is where the households of each place count.
type layout struct {
	nodes   [][]Node         // by level
	depths  []int            // by level
	places  map[string][]int // by node: the row of its ancestor on each level, -1 for none
	tariffs map[string]int   // by group: its row on the level of tariffs
	tariff  int              // which level that is; -1 for none
}

// newLayout lays out a tree, parents first, and the tariff groups for some levels. A
// kind that the tree has no node of takes its share of the budget and publishes
// nothing.
func newLayout(levels []LevelPlan, tree []Node, tariffs []string) (*layout, error) {
	y := &layout{
		nodes: make([][]Node, len(levels)), depths: make([]int, len(levels)), tariff: -1,
		places: make(map[string][]int, len(tree)), tariffs: make(map[string]int, len(tariffs)),
	}
	at := make(map[string]int, len(levels)) // level of a kind
	for i, l := range levels {
		if l.Kind != tariffKind {
			at[l.Kind] = i
			continue
		}
		y.tariff = i
		for row, name := range tariffs {
			y.tariffs[name] = row
			y.nodes[i] = append(y.nodes[i], Node{ID: tariffKind + "/" + name, Kind: tariffKind})
		}
	}
	for _, n := range tree {
		if err := y.place(n, at); err != nil {
			return nil, err
		}
	}
	return y, nil
}

// place gives a node its row, if its kind is published, and finds the rows that
// whoever is registered at it counts in: its own and those of its ancestors. No two of
// them are on one level, which is what makes a level cost its ρ once.
func (y *layout) place(n Node, at map[string]int) error {
	places := make([]int, len(y.nodes))
	for i := range places {
		places[i] = -1
	}
	if n.Parent != "" {
		above, known := y.places[n.Parent]
		if !known {
			return invalid("a node of the grid tree before its parent")
		}
		copy(places, above)
	}
	if _, twice := y.places[n.ID]; twice || n.ID == "" {
		return invalid("a node of the grid tree without a name of its own")
	}
	if i, published := at[n.Kind]; published {
		if len(y.nodes[i]) > 0 && n.Level != y.depths[i] || places[i] >= 0 {
			return invalid("nodes of one kind on two levels of the grid tree")
		}
		places[i] = len(y.nodes[i])
		y.depths[i] = n.Level
		y.nodes[i] = append(y.nodes[i], n)
	}
	y.places[n.ID] = places
	return nil
}

// rows calls f with every level on which a place counts, and the row there. A place
// that is not in the tree counts nowhere but in its tariff group.
func (y *layout) rows(p Place, f func(level, row int) error) error {
	for i, row := range y.places[p.Node] {
		if row >= 0 {
			if err := f(i, row); err != nil {
				return err
			}
		}
	}
	if row, known := y.tariffs[p.Tariff]; known && y.tariff >= 0 {
		return f(y.tariff, row)
	}
	return nil
}

// newSums makes room for a measure's sums over a tree.
func newSums(m *measure, tree []Node, tariffs []string) (*sums, error) {
	y, err := newLayout(m.product.Levels, tree, tariffs)
	if err != nil {
		return nil, err
	}
	s := &sums{measure: m, tree: y, scratch: make([]int64, m.dim())}
	for i, l := range m.levels {
		s.levels = append(s.levels, level{levelMeasure: l, depth: y.depths[i], nodes: y.nodes[i], sums: make([]int64, len(y.nodes[i])*m.dim())})
	}
	return s, nil
}

// draw draws all the noise of the release, before any sum is made.
func (s *sums) draw() error {
	for i := range s.levels {
		l := &s.levels[i]
		var err error
		if l.noise, err = dp.DrawNoise(len(l.sums), l.variance); err != nil {
			return fmt.Errorf("drawing noise: %w", err)
		}
	}
	return nil
}

// add adds a household's running sum over some days, once, to one node of each level.
func (s *sums) add(running []int64, stated int, at Place) error {
	if s.taken {
		return fmt.Errorf("adding a household: %w", dp.ErrSpent)
	}
	defer clear(s.scratch)
	dim := len(s.scratch)
	return s.tree.rows(at, func(level, row int) error {
		if err := s.measure.finish(s.scratch, running, stated, level); err != nil {
			return fmt.Errorf("clipping a household: %w", err)
		}
		if err := dp.Add(s.levels[level].sums[row*dim:(row+1)*dim], s.scratch); err != nil {
			return fmt.Errorf("adding a household: %w", err)
		}
		return nil
	})
}

// take adds the noise and states the noisy sums; it works once, and a failure leaves
// nothing to take.
func (s *sums) take() ([]LevelBody, []NodeBody, error) {
	if s.taken {
		return nil, nil, fmt.Errorf("taking sums: %w", dp.ErrSpent)
	}
	s.taken = true
	for _, l := range s.levels {
		if l.noise == nil {
			return nil, nil, fmt.Errorf("taking sums: %w", dp.ErrSpent)
		}
		if err := l.noise.AddTo(l.sums); err != nil {
			return nil, nil, fmt.Errorf("adding noise: %w", err)
		}
	}
	levels, nodes := s.state()
	s.levels = nil // what is stated shares their memory, and is no longer raw
	return levels, nodes, nil
}

// state states levels and nodes as they stand. What it returns shares their memory.
func (s *sums) state() ([]LevelBody, []NodeBody) {
	stated, nodes := make([]LevelBody, 0, len(s.levels)), []NodeBody{}
	dim := s.measure.dim()
	for _, l := range s.levels {
		stated = append(stated, l.levelMeasure.state(l.depth))
		for i, n := range l.nodes {
			nodes = append(nodes, NodeBody{
				ID: n.ID, Parent: n.Parent, Kind: l.plan.Kind, Level: n.Level, UsagePointsPublic: n.UsagePoints, Raw: l.sums[i*dim : (i+1)*dim],
			})
		}
	}
	return stated, nodes
}

// state states how a level of some depth in the tree is measured.
func (l levelMeasure) state(depth int) LevelBody {
	return LevelBody{
		Level: depth, Kind: l.plan.Kind, RhoNano: uint64(l.plan.Rho), ClipWh: l.plan.ClipWh, Bound: l.bound, Sigma2: l.variance, Sigma: rootUp(l.variance.Rat()),
	}
}

// erase forgets whatever sums and noise are left.
func (s *sums) erase() {
	for _, l := range s.levels {
		clear(l.sums)
		if l.noise != nil {
			l.noise.Erase()
		}
	}
	s.levels, s.taken = nil, true
}
