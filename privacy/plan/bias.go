package plan

import (
	"fmt"
	"math"

	"github.com/wattveil/wattveil/privacy/dp"
)

// biases are what each clip norm takes from the nodes of a reference: clipped less
// whole, by coefficient, in lattice units, of the sum over a product's days.
type biases struct {
	clips []int64 // in Wh of the mean day
	sizes []int
	// Of the finest nodes, one after the other: energy in Wh, the same in the basis,
	// and what each norm takes from that.
	truth, whole []int64
	taken        [][]int64
	// levels holds, by level and clip norm, what is taken from a node.
	levels [][]moments
	// stretches are what each norm takes from equal parts of the region, many enough
	// to tell how populations differ: the finest nodes, where those are.
	stretch   int // households in one
	stretches [][]int64
}

// moments are the mean over nodes of what is taken from them, and its variance from
// node to node, by coefficient.
type moments struct{ mean, variance []float64 }

// leastStretches is how many equal parts of a region are asked for. A variance of 100
// is known to 14 %.
const leastStretches = 100

// strides regroup the reference's finest nodes: without a divisor in common with any
// usual number of them.
var strides = []int{1, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61}

// apart returns the strides that put other nodes of so many together.
func apart(leaves int) (good []int) {
	for _, stride := range strides {
		if stride == 1 || leaves%stride != 0 {
			good = append(good, stride)
		}
	}
	return good
}

// candidates are the clip norms that are tried for a product, in Wh: up to a row of
// fast chargers, in steps of a sixth of a doubling, from a fridge on, or from what lets
// nearly every day of a span pass the clip of its share.
func (p Product) candidates() []int64 {
	least := 300.0
	if p != Day {
		least = max(least, leastShare/float64(p))
	}
	var cs []int64
	for c := least; c < 60_000; c *= math.Pow(2, 1.0/6) {
		cs = append(cs, int64(c))
	}
	return cs
}

// leastShare is the least norm, in Wh, that days are clipped to before they join a span:
// the finest level's norm decides it for all levels, and a plan looks at the second clip
// alone. A car's charge of 25 kWh at 7.4 kW has a norm of 10 kWh, and one of 40 where
// weights are 4. Of the model's days 0.07 % meet it in the basis of a mean of 20, and
// lose 0.11 % of all energy.
const leastShare = 60_000

func findBiases(reference Source, product Product, basis *dp.Basis, sizes []int) (*biases, error) {
	finest, households := sizes[len(sizes)-1], reference.Households()
	b := &biases{clips: product.candidates(), sizes: sizes, stretch: finest}
	n := households / finest * Intervals
	b.truth, b.whole, b.taken = make([]int64, n), make([]int64, n), rows(len(b.clips), n)
	b.stretches = b.taken
	if households/finest < leastStretches {
		b.stretch = max(1, households/leastStretches)
		b.stretches = rows(len(b.clips), households/b.stretch*Intervals)
	}
	r, err := product.reads(reference, basis, dp.MaxBound)
	if err != nil {
		return nil, err
	}
	z := make([]int64, Intervals)
	for h := range households {
		wh, whole, err := r.read(h)
		if err != nil {
			return nil, err
		}
		at := h / finest * Intervals
		if err := dp.Add(b.truth[at:at+Intervals], wh); err != nil {
			return nil, fmt.Errorf("adding a household: %w", err)
		}
		if err := dp.Add(b.whole[at:at+Intervals], whole); err != nil {
			return nil, fmt.Errorf("adding a household: %w", err)
		}
		for c := range b.clips {
			copy(z, whole)
			if err := dp.ClipL2(z, product.lattice(b.clips[c])); err != nil {
				return nil, fmt.Errorf("clipping the reference: %w", err)
			}
			for j := range z {
				z[j] -= whole[j]
			}
			if err := b.take(c, h, z); err != nil {
				return nil, fmt.Errorf("adding a household: %w", err)
			}
		}
	}
	b.regroup()
	return b, nil
}

func rows(n, width int) [][]int64 {
	all := make([][]int64, n)
	for i := range all {
		all[i] = make([]int64, width)
	}
	return all
}

// take notes what a norm takes from a household.
func (b *biases) take(c, household int, off []int64) error {
	finest := b.sizes[len(b.sizes)-1]
	if err := dp.Add(b.taken[c][household/finest*Intervals:][:Intervals], off); err != nil || b.stretch == finest {
		return err
	}
	at := household / b.stretch * Intervals
	if at == len(b.stretches[c]) { // a last stretch that is cut short is left out
		return nil
	}
	return dp.Add(b.stretches[c][at:at+Intervals], off)
}

// regroup finds what is taken from the nodes of each level. A reference has few nodes
// near its root, so its finest ones are put together in other ways, too, as if each
// were connected where another is: a plan takes feeders for independent of their
// neighbours, and a norm must not rest on one lucky arrangement.
func (b *biases) regroup() {
	leaves := len(b.truth) / Intervals
	b.levels = make([][]moments, len(b.sizes))
	for at, size := range b.sizes {
		ways := apart(leaves)
		if size == b.sizes[0] || at == len(b.sizes)-1 { // all ways are one
			ways = ways[:1]
		}
		each := size / b.sizes[len(b.sizes)-1]
		for c := range b.clips {
			b.levels[at] = append(b.levels[at], over(b.taken[c], ways, each))
		}
	}
}

// over returns the moments over nodes of some leaves each, in several arrangements.
func over(taken []int64, ways []int, each int) moments {
	leaves := len(taken) / Intervals
	times := float64(len(ways) * leaves / each)
	m := moments{make([]float64, Intervals), make([]float64, Intervals)}
	node := make([]int64, Intervals)
	for _, stride := range ways {
		for leaf := range leaves {
			if leaf%each == 0 {
				clear(node)
			}
			for j, v := range taken[leaf*stride%leaves*Intervals:][:Intervals] {
				node[j] += v
			}
			if leaf%each == each-1 {
				for j, v := range node {
					m.mean[j] += float64(v) / times
					m.variance[j] += square(float64(v)) / times
				}
			}
		}
	}
	for j, mean := range m.mean {
		m.variance[j] = max(0, m.variance[j]-mean*mean)
	}
	return m
}

// at returns the place of a clip norm among the candidates.
func (b *biases) at(clipWh int64) int {
	for c, v := range b.clips {
		if v == clipWh {
			return c
		}
	}
	panic("plan: a clip norm that was not tried")
}

// clipped is the reference as a design measures it, noise left out.
func (b *biases) clipped(d *Design) *measured {
	m := &measured{truth: b.truth}
	for _, l := range d.Levels {
		taken := b.taken[b.at(l.ClipWh)]
		sums := make([]int64, len(taken))
		for i, v := range taken {
			sums[i] = b.whole[i] + v
		}
		m.sums = append(m.sums, sums)
	}
	return m
}
