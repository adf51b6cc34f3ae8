package plan

import (
	"fmt"

	"github.com/wattveil/wattveil/privacy/dp"
)

// biases are what each clip norm takes from each node of the finest level, and with
// that from every node: clipped less true, by coefficient, in lattice units.
type biases struct {
	clips []int64
	sizes []int
	taken [][]float64 // by clip norm: of the finest level's nodes, one after the other
}

func findBiases(reference Source, basis *dp.Basis, sizes []int) (*biases, error) {
	b := &biases{clips: candidates(), sizes: sizes}
	finest := sizes[len(sizes)-1]
	nodes := reference.Households() / finest
	for range b.clips {
		b.taken = append(b.taken, make([]float64, nodes*Intervals))
	}
	wh, z := make([]int64, Intervals), make([]int64, Intervals)
	for h := range reference.Households() {
		reference.Fill(h, wh)
		whole, err := basis.Measure(wh)
		if err != nil {
			return nil, fmt.Errorf("measuring the reference: %w", err)
		}
		for c := len(b.clips) - 1; c >= 0; c-- {
			copy(z, whole)
			if err := dp.ClipL2(z, b.clips[c]); err != nil {
				return nil, fmt.Errorf("clipping the reference: %w", err)
			}
			row := b.taken[c][h/finest*Intervals:][:Intervals]
			for j := range row {
				row[j] += float64(z[j] - whole[j])
			}
		}
	}
	return b, nil
}

// level returns the mean over a level's nodes of what a clip norm takes, and its
// variance from node to node.
func (b *biases) level(c, at int) (mean, variance []float64) {
	finest := b.sizes[len(b.sizes)-1]
	nodes, each := b.sizes[0]/b.sizes[at], b.sizes[at]/finest
	mean, variance = make([]float64, Intervals), make([]float64, Intervals)
	row := make([]float64, Intervals)
	for node := range nodes {
		clear(row)
		for leaf := node * each; leaf < (node+1)*each; leaf++ {
			for j, v := range b.taken[c][leaf*Intervals:][:Intervals] {
				row[j] += v
			}
		}
		for j, v := range row {
			mean[j] += v / float64(nodes)
			variance[j] += v * v / float64(nodes)
		}
	}
	for j, m := range mean {
		variance[j] = max(0, variance[j]-m*m)
	}
	return mean, variance
}

// at returns the place of a clip norm among the candidates.
func (b *biases) at(clip int64) int {
	for c, v := range b.clips {
		if v == clip {
			return c
		}
	}
	panic("plan: a clip norm that was not tried")
}
