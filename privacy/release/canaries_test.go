package release_test

import (
	"crypto/rand"
	"math"
	"testing"
)

// A canary hunt makes releases with each canary in a random half of them: the first to
// learn how it shows, the rest to measure how well.
const (
	learning  = 4000
	measuring = 8000
)

// canaryHunt expects that nobody is easier to find than the release says. For Gaussian
// noise, which shape and scale see to, and any numbers w, the mean of ⟨w, release⟩ moves
// by at most μ = √(2ρ) of its standard deviations when a household is there: by Cauchy
// and Schwarz, and the others' coming and going only adds to the deviation. So what was
// measured, with w learnt from other releases, is a lower bound on μ, up to chance. One
// day of a household may move it by √(2ρ) of what a day is charged.
//
// w is learnt in two ways: as the difference of the means at the canary's own feeder, and
// as that difference whitened by the covariance of everything that was published (Fisher's
// discriminant), which finds noise that cancels, and whatever shows elsewhere.
//
// On 8,000 releases an estimate of μ = 1 is off by 0.024, and what is above 1.15 is
// reported: a μ of 1.25 is missed with odds of 1e-5, and one of 1.41, which is that of a σ
// too small by √2, with odds below 1e-25. A canary that can show, and does not at half of
// what it may, is reported too: the hunt would be blind.
func (t *trial) canaryHunt(test *testing.T) (v verdict) {
	if len(t.canaries) < 10 {
		test.Fatalf("%d canaries, want at least 10", len(t.canaries))
	}
	h := t.release(test)
	covariance := h.covariance()
	for c := range t.canaries {
		canary := t.canaries[c]
		w := h.difference(c)
		own := make([]float64, len(w))
		copy(own[(c+1)*t.dim:(c+2)*t.dim], w[(c+1)*t.dim:])
		factor := 1.0
		if !canary.household {
			factor = t.days
		}
		feeder, whole := factor*math.Sqrt(2*t.rho(1)), factor*math.Sqrt(2*(t.rho(0)+t.rho(1)))
		seen := h.separation(c, own)
		v.below(seen, feeder, "%s, at its own feeder", canary.name)
		v.below(h.separation(c, covariance.solve(w)), whole, "%s, whitened", canary.name)
		v.compare(!canary.plain || seen.mu > feeder/2, "%s: μ is %.2f where it should be nearly %.2f: the hunt is blind", canary.name, seen.mu, feeder)
	}
	return v
}

// hunt is releases in which canaries were there, or were not.
type hunt struct {
	dim, canaries int
	there         [][]bool    // by release and canary
	numbers       [][]float64 // by release, node and interval; in units of σ
}

func (t *trial) release(test *testing.T) *hunt {
	m := t.fresh()
	known, _ := t.known()
	h := &hunt{dim: t.nodes() * t.dim, canaries: len(t.canaries)}
	tosses := make([]byte, len(t.canaries))
	for range learning + measuring {
		if _, err := rand.Read(tosses); err != nil {
			test.Fatal(err)
		}
		homes, there := known[:len(known):len(known)], make([]bool, len(t.canaries))
		for c, canary := range t.canaries {
			name, days := canary.name+", without", canary.never
			if there[c] = tosses[c]&1 == 1; there[c] {
				name, days = canary.name, canary.may
			}
			if days != nil {
				homes = append(homes, home{name, feeder(c), days})
			}
		}
		published, ok := m.publish(test, homes)()
		if !ok {
			test.Fatal("a release was refused to the first who asked")
		}
		numbers := make([]float64, 0, h.dim)
		for node, values := range published {
			sigma := math.Sqrt(t.sigma2(node))
			for _, x := range values {
				numbers = append(numbers, x/sigma)
			}
		}
		h.there, h.numbers = append(h.there, there), append(h.numbers, numbers)
	}
	return h
}

// difference is the mean release with a canary less that without it, as learnt.
func (h *hunt) difference(canary int) []float64 {
	sums, n := [2][]float64{make([]float64, h.dim), make([]float64, h.dim)}, [2]float64{}
	for r := range learning {
		in := 0
		if h.there[r][canary] {
			in = 1
		}
		n[in]++
		for i, x := range h.numbers[r] {
			sums[in][i] += x
		}
	}
	for i := range sums[1] {
		sums[1][i] = sums[1][i]/n[1] - sums[0][i]/n[0]
	}
	return sums[1]
}

// separation is how far apart the scores ⟨w, release⟩ with and without a canary lie.
type separation struct {
	mu, n, inverse float64 // inverse: 1/n + 1/m of the two halves
}

func (h *hunt) separation(canary int, w []float64) separation {
	var halves, squares [2]moments
	for r := learning; r < len(h.numbers); r++ {
		in := 0
		if h.there[r][canary] {
			in = 1
		}
		score := 0.0
		for i, x := range h.numbers[r] {
			score += w[i] * x
		}
		halves[in].add(score)
		squares[in].add(score * score)
	}
	within := 0.0
	for in := range halves {
		within += squares[in].sum - halves[in].n*halves[in].mean()*halves[in].mean()
	}
	n := halves[0].n + halves[1].n
	apart := halves[1].mean() - halves[0].mean()
	mu := 0.0
	if apart != 0 {
		mu = apart / math.Sqrt(max(within, 0)/(n-2))
	}
	return separation{mu, n, 1/halves[0].n + 1/halves[1].n}
}

// below expects a separation of at most a claimed μ. An estimate of μ from two halves of
// n in all has variance 1/n₁ + 1/n₂ + μ²/(2n): of the two means, and of the deviation.
func (v *verdict) below(s separation, claim float64, format string, args ...any) {
	off := (s.mu - claim) / math.Sqrt(s.inverse+claim*claim/(2*s.n))
	v.compare(off <= farOff, format+": μ is %.2f, claimed %.2f: %.1f deviations off", append(args, s.mu, claim, off)...)
}

// triangle is the lower one of Cholesky's two factors.
type triangle [][]float64

// covariance is that of everything published, as learnt, made a little larger so that
// numbers that determine each other have one too.
func (h *hunt) covariance() triangle {
	mean := make([]float64, h.dim)
	for r := range learning {
		for i, x := range h.numbers[r] {
			mean[i] += x / learning
		}
	}
	l := make(triangle, h.dim)
	for i := range l {
		l[i] = make([]float64, i+1)
	}
	centred := make([]float64, h.dim)
	for r := range learning {
		for i, x := range h.numbers[r] {
			centred[i] = x - mean[i]
		}
		for i, x := range centred {
			row := l[i]
			for j := range row {
				row[j] += x * centred[j] / (learning - 1)
			}
		}
	}
	for i := range l {
		l[i][i] += 1e-6 * (1 + l[i][i])
	}
	l.factor()
	return l
}

// factor replaces the lower half of a matrix by its Cholesky factor.
func (l triangle) factor() {
	for i := range l {
		for j := range l[i] {
			sum := l[i][j]
			for k := range j {
				sum -= l[i][k] * l[j][k]
			}
			if i == j {
				l[i][i] = math.Sqrt(max(sum, 1e-9))
			} else {
				l[i][j] = sum / l[j][j]
			}
		}
	}
}

// solve divides by the matrix that was factored.
func (l triangle) solve(b []float64) []float64 {
	x := make([]float64, len(b))
	for i := range x {
		x[i] = b[i]
		for j := range i {
			x[i] -= l[i][j] * x[j]
		}
		x[i] /= l[i][i]
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := i + 1; j < len(x); j++ {
			x[i] -= l[j][i] * x[j]
		}
		x[i] /= l[i][i]
	}
	return x
}
