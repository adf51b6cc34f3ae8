package plan

import "math"

// strides regroup the reference's finest nodes: without a divisor in common with any
// usual number of them.
var strides = []int{1, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61}

// judge learns from the reference, without noise, how far the estimates are off, and
// how much that differs from node to node. A reference has few nodes near its root, so
// its finest ones are put together in other ways, too, as if each were connected where
// another is: a plan takes feeders for independent of their neighbours.
func (d *Design) judge(reference Source, b *biases) error {
	m, err := d.measure(reference)
	if err != nil {
		return err
	}
	for i := range d.Levels {
		d.Levels[i].Bias, d.Levels[i].Spread = make([]float64, Intervals), make([]float64, Intervals)
	}
	leaves := len(m.truth) / Intervals
	times := 0.0
	for _, stride := range strides {
		if stride > 1 && leaves%stride == 0 {
			continue
		}
		t, err := d.gather(m, stride)
		if err != nil {
			return err
		}
		if err := t.estimate(); err != nil {
			return err
		}
		if stride == 1 {
			for i, o := range t.errors() {
				d.Levels[i].Load, d.Levels[i].Baseline = o.Load, o.Baseline
			}
		}
		times++
		d.learn(t)
	}
	for i := range d.Levels {
		l := &d.Levels[i]
		n := float64(d.Levels[0].Size / l.Size)
		for j := range l.Bias {
			l.Bias[j] /= times * n
			l.Spread[j] = max(0, l.Spread[j]/(times*n)-l.Bias[j]*l.Bias[j])
			if n > 1 { // the nodes add up to the region, whose error is one
				l.Spread[j] *= n / (n - 1)
			}
		}
	}
	return d.judgeRegion(b)
}

// learn adds up how far a trial's estimates are off, and the squares of that.
func (d *Design) learn(t *trial) {
	for i := range d.Levels {
		l := &d.Levels[i]
		for at := t.nodes[i] * Intervals; at < t.nodes[i+1]*Intervals; at++ {
			off := t.fitted[at] - t.truth[at]
			l.Bias[at%Intervals] += off
			l.Spread[at%Intervals] += off * off
		}
	}
}

// judgeRegion finds how much the bias of the region, of which the reference has one,
// differs from population to population: its parts do from each other, and they are
// many and independent.
func (d *Design) judgeRegion(b *biases) error {
	if len(d.Levels) < 2 {
		return nil
	}
	region := &d.Levels[0]
	nodes := float64(d.Levels[0].Size / d.Levels[1].Size)
	_, spread := b.level(b.at(region.Clip), 1)
	scales := d.scales()
	for j := range region.Spread {
		region.Spread[j] = 0
		for k, v := range spread {
			// A coefficient's variance is spread over the intervals by its squared row.
			region.Spread[j] += v * nodes * square(scales[k]*cosine(k, j)) * nodes / (nodes - 1)
		}
	}
	return nil
}

// cosine is an entry of the orthonormal DCT-II.
func cosine(k, t int) float64 {
	if k == 0 {
		return math.Sqrt(1.0 / Intervals)
	}
	return math.Sqrt(2.0/Intervals) * math.Cos(math.Pi*float64(k)*float64(2*t+1)/(2*Intervals))
}
