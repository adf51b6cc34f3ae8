package estimate

import (
	"errors"
	"fmt"
	"math"
)

// Errors of measurements that no estimate can be made of.
var (
	ErrShape    = errors.New("estimate: lengths do not fit")
	ErrValue    = errors.New("estimate: value is not finite")
	ErrVariance = errors.New("estimate: variance out of range")
)

// Limits that keep every product of two numbers a float64; no measurement of
// energy comes near them.
const (
	maxValue    = 1e100
	minVariance = 1e-100
	maxVariance = 1e100
)

// Curves holds a vector of Intervals values for each of a number of nodes.
type Curves struct {
	Intervals int       // values per node, at least 1
	Values    []float64 // node i has Values[i*Intervals : (i+1)*Intervals]
	Variance  []float64 // of each of node i's values; +Inf for a node that was not measured
}

// Node returns the values of node i, which share memory with c.
func (c Curves) Node(i int) []float64 {
	return c.Values[i*c.Intervals : (i+1)*c.Intervals : (i+1)*c.Intervals]
}

// Measured reports whether node i was measured.
func (c Curves) Measured(i int) bool { return !math.IsInf(c.Variance[i], 1) }

// check returns the first thing wrong with measurements of n nodes. The values
// of a node that was not measured are nobody's business.
func (c Curves) check(n int) error {
	if c.Intervals < 1 || len(c.Variance) != n || len(c.Values)%c.Intervals != 0 || len(c.Values)/c.Intervals != n {
		return fmt.Errorf("%d values and %d variances for %d nodes of %d intervals: %w",
			len(c.Values), len(c.Variance), n, c.Intervals, ErrShape)
	}
	for i, v := range c.Variance {
		if !c.Measured(i) {
			continue
		}
		if !(v >= minVariance && v <= maxVariance) {
			return fmt.Errorf("node %d has variance %v: %w", i, v, ErrVariance)
		}
		for _, x := range c.Node(i) {
			if !(math.Abs(x) <= maxValue) {
				return fmt.Errorf("node %d measures %v: %w", i, x, ErrValue)
			}
		}
	}
	return nil
}
