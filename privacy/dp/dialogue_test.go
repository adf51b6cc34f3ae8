package dp_test

import "math"

// The tests of claims 8 and 10 of PROOFS.md enumerate whole dialogues between an
// analyst and a mechanism, and compute the divergence between what neighbours
// answer from exact probabilities, as privacy_test.go does for single releases.
// Of each answer an analyst sees whether it is positive, and chooses the next
// question by it. Nothing is sampled.

// A question is one noised answer: its law is the discrete Gaussian of variance
// sigma2 around here under one input and around there under its neighbour. The
// zero question is one that is refused, whatever the input.
type question struct {
	here, there int64
	sigma2      float64
}

// turns is how many questions a dialogue has.
const turns = 4

// A dialogue holds the question after every sequence of answers: first that at
// index 1, and after the one at i that at 2i if its answer was not positive, at
// 2i+1 if it was.
type dialogue [1 << turns]question

// converse asks for every question of a dialogue, given the answers before it.
func converse(ask func(positive []bool) question) (d dialogue) {
	var from func(i int, positive []bool)
	from = func(i int, positive []bool) {
		if i >= len(d) {
			return
		}
		d[i] = ask(positive)
		from(2*i, append(positive, false))
		from(2*i+1, append(positive, true))
	}
	from(1, make([]bool, 0, turns))
	return d
}

// logMoment returns ln Σ P^α Q^(1-α) over all transcripts of d from question i
// on, with P for what is answered here and Q there: (α-1)·D_α.
func (d *dialogue) logMoment(i int, alpha float64, m moments) float64 {
	if i >= len(d) {
		return 0
	}
	q := d[i]
	if q == (question{}) {
		return d.logMoment(2*i, alpha, m)
	}
	no := m.of(q, alpha, false) + d.logMoment(2*i, alpha, m)
	yes := m.of(q, alpha, true) + d.logMoment(2*i+1, alpha, m)
	return max(no, yes) + math.Log1p(math.Exp(-math.Abs(no-yes)))
}

// moments remembers ln Σ P(x)^α Q(x)^(1-α) over the positive answers to a
// question, or over the others.
type moments map[part]float64

type part struct {
	question
	alpha    float64
	positive bool
}

func (m moments) of(q question, alpha float64, positive bool) float64 {
	key := part{q, alpha, positive}
	if v, ok := m[key]; ok {
		return v
	}
	// The terms peak at there + α(here - there).
	reach := int64(math.Abs(alpha*float64(q.here-q.there))+14*math.Sqrt(q.sigma2)) + 28
	norm := 0.0
	var logs []float64
	top := math.Inf(-1)
	for i := -reach; i <= reach; i++ {
		x := float64(i)
		norm += math.Exp(-x * x / (2 * q.sigma2))
		if i > 0 == positive {
			h, g := x-float64(q.here), x-float64(q.there)
			e := -(alpha*h*h + (1-alpha)*g*g) / (2 * q.sigma2)
			logs, top = append(logs, e), max(top, e)
		}
	}
	total := 0.0
	for _, e := range logs {
		total += math.Exp(e - top)
	}
	m[key] = top + math.Log(total/norm)
	return m[key]
}

// worth returns the greatest D_α/α of d, in both directions.
func (d *dialogue) worth(alphas []float64, m moments) float64 {
	back := *d
	for i, q := range d {
		back[i].here, back[i].there = q.there, q.here
	}
	most := 0.0
	for _, alpha := range alphas {
		most = max(most, d.logMoment(1, alpha, m)/(alpha-1)/alpha, back.logMoment(1, alpha, m)/(alpha-1)/alpha)
	}
	return most
}

// choice returns digit n of a rule in the given base: what an analyst who
// follows it does at the start (n = 0), or in turn t after an answer that was
// positive or not (n = 2t-1, 2t). Counting through all rules tries every analyst
// who goes by the turn and the last answer.
func choice(rule, base int, positive []bool) int {
	n := 0
	if t := len(positive); t > 0 {
		n = 2*t - 1
		if positive[t-1] {
			n++
		}
	}
	for range n {
		rule /= base
	}
	return rule % base
}
