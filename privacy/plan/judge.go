package plan

import "math"

// judge learns from the reference, without noise, how far the estimates are off, and
// how much that differs from node to node, over several arrangements of its finest
// nodes.
func (d *Design) judge(b *biases) error {
	m := b.clipped(d)
	for i := range d.Levels {
		d.Levels[i].Bias, d.Levels[i].between = make([]float64, Intervals), make([]float64, Intervals)
	}
	ways := apart(len(m.truth) / Intervals)
	synthesis := d.synthesis()
	for _, stride := range ways {
		t, err := d.gather(m, stride)
		if err != nil {
			return err
		}
		if stride == 1 {
			for i := range d.Levels {
				d.Levels[i].Load, d.Levels[i].Baseline = t.baseline(i)
			}
		}
		if err := d.learn(t, synthesis); err != nil {
			return err
		}
	}
	drift := d.judgeRegion(b, synthesis)
	for i := range d.Levels {
		l := &d.Levels[i]
		nodes := float64(d.Levels[0].Size / l.Size)
		n := float64(len(ways)) * nodes
		l.Spread = make([]float64, Intervals)
		for t := range l.Bias {
			l.Bias[t] /= n
			l.between[t] = max(0, l.between[t]/n-square(l.Bias[t]))
			// The nodes add up to the region, and share what it is off.
			l.Spread[t] = l.between[t] + drift[t]/(nodes*nodes)
		}
		if nodes == 1 {
			clear(l.between) // rounding
		}
	}
	return nil
}

// learn adds up how far a trial's estimates are off, and the squares of that.
func (d *Design) learn(t *trial, synthesis [][]float64) error {
	fitted, err := t.fit(t.curves())
	if err != nil {
		return err
	}
	off := make([]float64, Intervals)
	for i := range d.Levels {
		l := &d.Levels[i]
		for node := t.nodes[i]; node < t.nodes[i+1]; node++ {
			for j, v := range t.truth[node*Intervals:][:Intervals] {
				off[j] = -v
			}
			for k, v := range fitted.Node(node) {
				for j, w := range synthesis[k] {
					off[j] += v * w
				}
			}
			for j, v := range off {
				l.Bias[j] += v
				l.between[j] += v * v
			}
		}
	}
	return nil
}

// judgeRegion finds how much the bias of the region, of which the reference has one,
// differs from that of another population: the variance of a difference of two draws,
// in Wh² by interval. A region's estimate is its own measurement, and what its clip
// takes is the sum of what it takes from equal parts, which are many and independent.
func (d *Design) judgeRegion(b *biases, synthesis [][]float64) []float64 {
	region := d.Levels[0]
	taken := b.stretches[b.at(region.ClipWh)]
	n := float64(len(taken) / Intervals)
	sum, squares := make([]float64, Intervals), make([]float64, Intervals)
	for at := 0; at < len(taken); at += Intervals {
		for t := range Intervals {
			off := 0.0
			for k, row := range synthesis {
				off += float64(taken[at+k]) * row[t]
			}
			sum[t] += off
			squares[t] += off * off
		}
	}
	parts := float64(region.Size) / float64(b.stretch)
	drift := make([]float64, Intervals)
	for t := range drift {
		drift[t] = 2 * parts * max(0, squares[t]-sum[t]*sum[t]/n) / (n - 1)
	}
	return drift
}

// baseline is a level's mean load, in Wh, and the root mean square error of the
// region's curve in equal parts, in parts of it.
func (t *trial) baseline(level int) (load, rmse float64) {
	n := float64((t.nodes[level+1] - t.nodes[level]) * Intervals)
	part := float64(t.d.Levels[level].Size) / float64(t.d.Levels[0].Size)
	for at := t.nodes[level] * Intervals; at < t.nodes[level+1]*Intervals; at++ {
		load += t.truth[at] / n
		rmse += square(t.truth[at%Intervals]*part-t.truth[at]) / n
	}
	return load, math.Sqrt(rmse) / load
}
