package release_test

import (
	"fmt"
	"math"
)

// odds is how often one comparison calls a right program wrong. Whoever compares
// counts comparisons, and a test that makes at most mostComparisons of them fails a
// right program with odds of at most 1e-5, by the union bound: dependent or not.
const (
	odds            = 1e-9
	mostComparisons = 10_000
)

// farOff is how many standard deviations a normal statistic is off with those odds,
// to one side or the other: erfc(farOff/√2) = 1e-9.
const farOff = 6.11

// verdict is what some comparisons found.
type verdict struct {
	comparisons int
	findings    []string
}

func (v *verdict) compare(right bool, format string, args ...any) {
	v.comparisons++
	if !right {
		v.findings = append(v.findings, fmt.Sprintf(format, args...))
	}
}

// normal expects a statistic that is standard normal, or nearly so.
func (v *verdict) normal(z float64, format string, args ...any) {
	v.compare(math.Abs(z) <= farOff, "%s: %.1f deviations off", fmt.Sprintf(format, args...), z)
}

// scale expects n squares of mean one, of independent and nearly normal numbers. Their
// mean is chi-squared over n, whose cube root is normal to well below what is asked
// here (Wilson and Hilferty 1931).
func (v *verdict) scale(m moments, format string, args ...any) {
	spread := 2 / (9 * m.n)
	z := (math.Cbrt(m.mean()) - 1 + spread) / math.Sqrt(spread)
	v.normal(z, "%s: σ is %.4f of what it should be over %.0f draws", fmt.Sprintf(format, args...), math.Sqrt(m.mean()), m.n)
}

// share expects count events among n independent ones of probability p. Chernoff's
// bound holds for every n and p: a share of q or further out, on its side, has odds of
// at most exp(-n·KL(q‖p)).
func (v *verdict) share(count, n int, p float64, format string, args ...any) {
	q := float64(count) / float64(n)
	divergence := 0.0
	if q > 0 {
		divergence += q * math.Log(q/p)
	}
	if q < 1 {
		divergence += (1 - q) * math.Log((1-q)/(1-p))
	}
	v.compare(float64(n)*divergence <= math.Log(2/odds), "%s: %d of %d, want a share of %.3g", fmt.Sprintf(format, args...), count, n, p)
}

// fit expects counts of independent draws from cells of probabilities p, by Pearson's
// statistic. Laurent and Massart (2000), Lemma 1, bound the tail of a chi-squared law of
// k degrees: P(X ≥ k + 2√(kx) + 2x) ≤ exp(-x). The true tail there is another ten to a
// hundred times thinner, which leaves room for cells of a hundred draws not being
// normal.
func (v *verdict) fit(counts []int, p []float64, format string, args ...any) {
	n := 0
	for _, c := range counts {
		n += c
	}
	stat := 0.0
	for i, c := range counts {
		d := float64(c) - float64(n)*p[i]
		stat += d * d / (float64(n) * p[i])
	}
	k, x := float64(len(p)-1), math.Log(1/odds)
	limit := k + 2*math.Sqrt(k*x) + 2*x
	v.compare(stat <= limit, "%s: χ² is %.0f on %d cells, above %.0f", fmt.Sprintf(format, args...), stat, len(p), limit)
}

// discrete is the discrete Gaussian of a parameter σ².
type discrete struct {
	sigma float64
	below []float64 // below[k] = P(x ≤ k - reach); none for a σ that is past counting
	reach int
}

func newDiscrete(sigma2 float64) discrete {
	d := discrete{sigma: math.Sqrt(sigma2)}
	if d.sigma > 1e4 {
		return d
	}
	d.reach = int(12*d.sigma) + 12
	total := 0.0
	for x := -d.reach; x <= d.reach; x++ {
		total += math.Exp(-float64(x) * float64(x) / (2 * sigma2))
		d.below = append(d.below, total)
	}
	for i := range d.below {
		d.below[i] /= total
	}
	return d
}

// upTo is P(x ≤ k). From σ = 10^4 on the continuous Gaussian up to the next half
// integer differs from the sum by less than 1 part in 10^8.
func (d discrete) upTo(k float64) float64 {
	if d.below == nil {
		return math.Erfc(-(k+0.5)/(d.sigma*math.Sqrt2)) / 2
	}
	i := int(math.Floor(k)) + d.reach
	if i < 0 {
		return 0
	}
	return d.below[min(i, len(d.below)-1)]
}

// beyond is P(|x| > k).
func (d discrete) beyond(k float64) float64 { return 2 * d.upTo(-math.Floor(k)-1) }

// odd is the share of odd numbers: half, less exp(-π²σ²/2)/2 and terms that are far
// smaller (Poisson's summation formula).
func (d discrete) odd() float64 {
	return 0.5 - math.Exp(-math.Pi*math.Pi*d.sigma*d.sigma/2)/(1+2*math.Exp(-2*math.Pi*math.Pi*d.sigma*d.sigma))
}

// cells cuts the integers at every quarter of σ, merging what n draws would fill with
// less than a hundred. edges[i] ends cell i.
func (d discrete) cells(n int) (edges, p []float64) {
	last := 0.0
	for z := -4.0; z <= 4; z += 0.25 {
		edge := math.Floor(z * d.sigma)
		upTo := d.upTo(edge)
		if (upTo-last)*float64(n) < 100 || (1-upTo)*float64(n) < 100 {
			continue
		}
		edges, p = append(edges, edge), append(p, upTo-last)
		last = upTo
	}
	return append(edges, math.Inf(1)), append(p, 1-last)
}
