package plan

import "math"

// judge learns from the reference, without noise, how far the estimates are off, and
// how much that differs from node to node.
func (d *Design) judge(reference Source, b *biases) error {
	t, err := d.measure(reference)
	if err != nil {
		return err
	}
	if err := t.estimate(); err != nil {
		return err
	}
	outcomes := t.errors()
	for i := range d.Levels {
		l := &d.Levels[i]
		n := float64(t.nodes[i+1] - t.nodes[i])
		l.Load, l.Baseline = outcomes[i].Load, outcomes[i].Baseline
		l.Bias, l.Spread = make([]float64, Intervals), make([]float64, Intervals)
		for node := t.nodes[i]; node < t.nodes[i+1]; node++ {
			for j := range Intervals {
				off := t.fitted[node*Intervals+j] - t.truth[node*Intervals+j]
				l.Bias[j] += off / n
				l.Spread[j] += off * off / n
			}
		}
		for j, m := range l.Bias {
			l.Spread[j] = max(0, l.Spread[j]-m*m)
			if n > 1 {
				l.Spread[j] *= n / (n - 1)
			}
		}
	}
	return d.judgeRegion(b)
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
