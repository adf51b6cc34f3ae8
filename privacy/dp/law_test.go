package dp_test

import (
	"math"
	"sort"

	"github.com/wattveil/wattveil/privacy/dp"
)

// A law is a probability distribution on the integers lo … lo+len(p)-1. What
// lies outside has a mass too small for a float64 to tell from zero, unless a
// comment says otherwise.
type law struct {
	lo int64
	p  []float64
}

// gaussianLaw enumerates the discrete Gaussian, at least 12σ to each side.
func gaussianLaw(v dp.Variance) law {
	sigma2, _ := v.Rat().Float64()
	return enumerate(int64(12*math.Sqrt(sigma2))+12, func(x float64) float64 { return -x * x / (2 * sigma2) })
}

// laplaceLaw enumerates the discrete Laplace of scale num/den.
func laplaceLaw(num, den uint64) law {
	scale := float64(num) / float64(den)
	return enumerate(int64(40*scale)+40, func(x float64) float64 { return -math.Abs(x) / scale })
}

func enumerate(reach int64, logWeight func(float64) float64) law {
	l := law{lo: -reach, p: make([]float64, 2*reach+1)}
	total := 0.0
	for i := range l.p {
		l.p[i] = math.Exp(logWeight(float64(l.lo + int64(i))))
		total += l.p[i]
	}
	for i := range l.p {
		l.p[i] /= total
	}
	return l
}

// moment returns E[x^k].
func (l law) moment(k float64) float64 {
	m := 0.0
	for i, p := range l.p {
		m += p * math.Pow(float64(l.lo+int64(i)), k)
	}
	return m
}

// Bins partition the integers: bin i ends with last[i], the final one never,
// and has probability p[i].
type bins struct {
	last []int64
	p    []float64
}

func (b bins) find(x int64) int {
	return sort.Search(len(b.last), func(i int) bool { return x <= b.last[i] })
}

// cut groups the integers into bins of probability at least width, and finer
// ones, of at least width/10, in the outer width of either tail, where a
// sampler most easily goes wrong.
func (l law) cut(width float64) bins {
	var b bins
	below, mass := 0.0, 0.0
	for i, p := range l.p {
		mass += p
		rest := 1 - below - mass
		if mass >= width || mass >= width/10 && (below < width || rest < width) {
			if rest < width/10 {
				break // the last bin takes what is left
			}
			b.last = append(b.last, l.lo+int64(i))
			b.p = append(b.p, mass)
			below, mass = below+mass, 0
		}
	}
	b.p = append(b.p, 1-below)
	return b
}

// normalBins cuts a discrete Gaussian too wide to enumerate at every tenth of σ
// up to 3σ, by the continuous Gaussian: for σ ≥ 10^4 its mass between half
// integers differs from the sum by less than 1 part in 10^8.
func normalBins(v dp.Variance) bins {
	sigma := v.Sigma()
	var b bins
	below := 0.0
	for z := -3.0; z < 3.05; z += 0.1 {
		edge := int64(math.Round(z * sigma))
		cdf := math.Erfc(-(float64(edge)+0.5)/(sigma*math.Sqrt2)) / 2
		b.last = append(b.last, edge)
		b.p = append(b.p, cdf-below)
		below = cdf
	}
	b.p = append(b.p, 1-below)
	return b
}

// misfit returns Pearson's statistic of counts against p, over the value it
// exceeds with probability at most 1e-5 if p is true.
//
// The statistic follows a chi-square law of k = bins-1 degrees of freedom as
// the expected counts grow. Laurent and Massart (2000), Lemma 1, bound its tail
// for every k: P(X ≥ k + 2√(kx) + 2x) ≤ exp(-x); x = ln 1e5 gives the limit.
// The true tail beyond it is another ten to a hundred times thinner, which
// leaves room for the approximation; all callers expect at least 100 in a bin.
func misfit(counts []int, p []float64) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	stat := 0.0
	for i, c := range counts {
		d := float64(c) - float64(n)*p[i]
		stat += d * d / (float64(n) * p[i])
	}
	k, x := float64(len(p)-1), math.Log(1e5)
	return stat / (k + 2*math.Sqrt(k*x) + 2*x)
}

func (b bins) misfit(draws []int64) float64 {
	counts := make([]int, len(b.p))
	for _, x := range draws {
		counts[b.find(x)]++
	}
	return misfit(counts, b.p)
}

// misfitPairs is misfit of the pairs of neighbouring draws against independence:
// bins × bins cells.
func (b bins) misfitPairs(draws []int64) float64 {
	k := len(b.p)
	counts, p := make([]int, k*k), make([]float64, k*k)
	for i := range k {
		for j := range k {
			p[i*k+j] = b.p[i] * b.p[j]
		}
	}
	for i := 0; i+1 < len(draws); i += 2 {
		counts[b.find(draws[i])*k+b.find(draws[i+1])]++
	}
	return misfit(counts, p)
}
