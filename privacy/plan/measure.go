package plan

import (
	"fmt"

	"github.com/wattveil/wattveil/privacy/dp"
)

// measured is a population clipped for every level and added up below the finest
// nodes, from which the sums of all nodes are gathered. All is of the sum over days.
type measured struct {
	truth []int64   // in Wh, by finest node
	sums  [][]int64 // of each level's clip, in lattice units, by finest node
}

func (d *Design) measure(population Source) (*measured, error) {
	sizes := make([]int, len(d.Levels))
	for i, l := range d.Levels {
		sizes[i] = l.Size
	}
	if err := checkTree(population.Households(), sizes); err != nil {
		return nil, err
	}
	r, err := d.Product.reads(population, d.Basis, d.share())
	if err != nil {
		return nil, err
	}
	finest := sizes[len(sizes)-1]
	n := sizes[0] / finest * Intervals
	m := &measured{truth: make([]int64, n), sums: rows(len(sizes), n)}
	z := make([]int64, Intervals)
	for h := range population.Households() {
		wh, whole, err := r.read(h)
		if err != nil {
			return nil, err
		}
		at := h / finest * Intervals
		if err := dp.Add(m.truth[at:at+Intervals], wh); err != nil {
			return nil, fmt.Errorf("adding a household: %w", err)
		}
		for i, l := range d.Levels {
			copy(z, whole)
			if err := dp.ClipL2(z, l.Clip); err != nil {
				return nil, fmt.Errorf("clipping a household: %w", err)
			}
			if err := dp.Add(m.sums[i][at:at+Intervals], z); err != nil {
				return nil, fmt.Errorf("adding a household: %w", err)
			}
		}
	}
	return m, nil
}

// share is what a day is clipped to before it joins its household's sum: the least of
// the levels' norms, so that one running sum serves all.
func (d *Design) share() int64 {
	share := d.Levels[0].Clip
	for _, l := range d.Levels {
		share = min(share, l.Clip)
	}
	return share
}

// gather adds the finest nodes up to all others. They are taken in steps of stride
// around the row, so that each stride that has no divisor in common with their number
// puts other neighbours together; 1 leaves them where they are.
func (d *Design) gather(m *measured, stride int) (*trial, error) {
	t, err := d.layOut()
	if err != nil {
		return nil, err
	}
	t.truth, t.sums = make([]float64, t.tree.Len()*Intervals), make([]int64, t.tree.Len()*Intervals)
	leaves := len(m.truth) / Intervals
	for leaf := range leaves {
		from := leaf * stride % leaves * Intervals
		for i, l := range d.Levels {
			at := (t.nodes[i] + leaf*d.Levels[len(d.Levels)-1].Size/l.Size) * Intervals
			if err := dp.Add(t.sums[at:at+Intervals], m.sums[i][from:from+Intervals]); err != nil {
				return nil, fmt.Errorf("adding a node: %w", err)
			}
			for j, v := range m.truth[from : from+Intervals] {
				t.truth[at+j] += float64(v) / d.Days()
			}
		}
	}
	return t, nil
}
