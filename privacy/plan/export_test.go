package plan

import "fmt"

// Errors tries a design and returns each level's mean squared error in Wh².
func Errors(d *Design, population Source) ([]float64, error) {
	t, err := d.noisy(population)
	if err != nil {
		return nil, err
	}
	var off []float64
	for i := range d.Levels {
		sum := 0.0
		for at := t.nodes[i] * Intervals; at < t.nodes[i+1]*Intervals; at++ {
			sum += square(t.fitted[at] - t.truth[at])
		}
		off = append(off, sum/float64((t.nodes[i+1]-t.nodes[i])*Intervals))
	}
	if len(off) == 0 {
		return nil, fmt.Errorf("no levels")
	}
	return off, nil
}

// PerUnit is the mean over intervals of the variance in Wh² for one in lattice units.
func PerUnit(d *Design) float64 {
	sum := 0.0
	for _, v := range d.perUnit() {
		sum += v / Intervals
	}
	return sum
}

// Off is how far a design's estimates of a population are off without noise, in Wh, by
// level, node and interval.
func Off(d *Design, population Source) ([][]float64, error) {
	m, err := d.measure(population)
	if err != nil {
		return nil, err
	}
	t, err := d.gather(m, 1)
	if err != nil {
		return nil, err
	}
	if err := t.estimate(); err != nil {
		return nil, err
	}
	var off [][]float64
	for i := range d.Levels {
		var level []float64
		for at := t.nodes[i] * Intervals; at < t.nodes[i+1]*Intervals; at++ {
			level = append(level, t.fitted[at]-t.truth[at])
		}
		off = append(off, level)
	}
	return off, nil
}

// Sums are what a design measures of a population before the noise, by level: of the
// finest nodes, in lattice units.
func Sums(d *Design, population Source) ([][]int64, error) {
	m, err := d.measure(population)
	if err != nil {
		return nil, err
	}
	return m.sums, nil
}
