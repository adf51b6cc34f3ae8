package plan

import "github.com/wattveil/wattveil/privacy/dp/estimate"

// findNoise works out what the noise of every level leaves in the estimates of each.
//
// Correction and least squares are linear, so an estimate is a sum of measurements,
// each times a number, and its variance the sum of their variances, each times that
// number squared. All nodes of a level that meet the estimated node at the same
// ancestor have the same number, which is what comes out for a measurement of one
// there and nothing elsewhere.
func (d *Design) findNoise() error {
	t, err := d.layOut()
	if err != nil {
		return err
	}
	for to := range d.Levels {
		for from, l := range d.Levels {
			sigma2, _ := l.Variance.Rat().Float64()
			for meet := 0; meet <= min(to, from); meet++ {
				node, alike := d.meeting(to, from, meet)
				if alike == 0 {
					continue
				}
				c := estimate.Curves{Intervals: 1, Values: make([]float64, t.tree.Len())}
				c.Values[t.nodes[from]+node] = 1
				fitted, err := t.fit(c)
				if err != nil {
					return err
				}
				d.Levels[to].Noise += float64(alike) * square(fitted.Values[t.nodes[to]]) * sigma2
			}
		}
	}
	return nil
}

// meeting returns, of the nodes of a level whose lowest common ancestor with the
// first node of level to is on level meet, the first, and how many there are.
func (d *Design) meeting(to, from, meet int) (node, alike int) {
	below := func(level int) int { return d.Levels[level].Size / d.Levels[from].Size } // nodes of level from below one of level
	if meet == min(to, from) {
		return 0, max(1, below(meet))
	}
	return below(meet + 1), below(meet) - below(meet+1)
}
