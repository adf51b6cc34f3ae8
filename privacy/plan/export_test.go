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
