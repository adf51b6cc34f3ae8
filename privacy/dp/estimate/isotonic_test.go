package estimate_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Catches a pool that is merged wrongly or not at all: of every way to cut the
// sequence into runs at their weighted means, the closest one that does not
// decrease is the answer. Ties, equal weights and weights over two decades.
func TestIsotonicAgainstBruteForce(t *testing.T) {
	r := newNormals(t, "isotonic")
	for range 2000 {
		x, w := make([]float64, r.below(9)), []float64(nil)
		for i := range x {
			x[i] = float64(r.below(7))
		}
		if r.below(2) == 0 {
			for range x {
				w = append(w, math.Exp(5*(r.uniform()-0.5)))
			}
		}
		got, err := estimate.Isotonic(x, w)
		if err != nil {
			t.Fatal(err)
		}
		want := closest(x, w)
		for i := range want {
			near(t, "value", got[i], want[i], 1e-9)
		}
		if !slices.IsSorted(got) {
			t.Errorf("%v, weights %v: %v decreases", x, w, got)
		}
	}
}

// closest searches all 2^(n-1) cuts into runs.
func closest(x, w []float64) []float64 {
	var best []float64
	least := math.Inf(1)
	for cuts := 0; len(x) > 0 && cuts < 1<<(len(x)-1); cuts++ {
		fit, cost := make([]float64, 0, len(x)), 0.0
		for from := 0; from < len(x); {
			to := from + 1
			for to < len(x) && cuts>>(to-1)&1 == 0 {
				to++
			}
			sum, weight := 0.0, 0.0
			for i := from; i < to; i++ {
				sum += at(w, i) * x[i]
				weight += at(w, i)
			}
			for i := from; i < to; i++ {
				fit = append(fit, sum/weight)
				cost += at(w, i) * (x[i] - sum/weight) * (x[i] - sum/weight)
			}
			from = to
		}
		if slices.IsSorted(fit) && cost < least {
			best, least = fit, cost
		}
	}
	return best
}

func at(w []float64, i int) float64 {
	if w == nil {
		return 1
	}
	return w[i]
}

// Catches a repair that makes the worst error worse, on which the bands of a CDF
// rest, in sequences of several hundred values.
func TestIsotonicDoesNotSpreadErrors(t *testing.T) {
	r := newNormals(t, "sup norm")
	for range 200 {
		n := 1 + r.below(300)
		truth, x, w := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			truth[i] = float64(i*i) / 100
			w[i] = math.Exp(r.draw(1))
			x[i] = truth[i] + r.draw(50)
		}
		got, err := estimate.Isotonic(x, w)
		if err != nil {
			t.Fatal(err)
		}
		var before, after float64
		for i := range n {
			before = max(before, math.Abs(x[i]-truth[i]))
			after = max(after, math.Abs(got[i]-truth[i]))
		}
		if after > before*(1+1e-12) {
			t.Errorf("worst error %v after repair, %v before", after, before)
		}
	}
}

// Catches values and weights that no pool can hold.
func TestIsotonicRefuses(t *testing.T) {
	for _, c := range []struct {
		x, w []float64
		want error
	}{
		{[]float64{1, math.NaN()}, nil, estimate.ErrValue},
		{[]float64{math.Inf(1)}, nil, estimate.ErrValue},
		{[]float64{1, 2}, []float64{1}, estimate.ErrShape},
		{[]float64{1, 2}, []float64{1, 0}, estimate.ErrWeight},
		{[]float64{1, 2}, []float64{1, math.NaN()}, estimate.ErrWeight},
		{[]float64{1, 2}, []float64{1, math.Inf(1)}, estimate.ErrWeight},
		{nil, nil, nil},
	} {
		if _, err := estimate.Isotonic(c.x, c.w); !errors.Is(err, c.want) {
			t.Errorf("%v, weights %v: %v, want %v", c.x, c.w, err, c.want)
		}
	}
}
