package release_test

import (
	"math"
	"testing"
)

// quiet is what was published of homes that no clip touches, less what they add: noise. It
// is in units of σ, by release, and in each by node and interval. One release of four is of
// nobody.
type quiet struct {
	noise    [][]float64
	table    []table // as published
	answers  int     // to who asked a second and a third time
	renoised int     // of them, those that said something else
}

// releases is how many quiet releases are looked at: each node has at least 4,000 draws of
// noise in them, each interval 13,000, and the feeders of each subject 40,000 together.
func (t *trial) releases() int { return max(1000, 4000/t.dim) }

// sample makes the quiet releases of one start, once.
func (t *trial) sample(test *testing.T, start int) *quiet {
	if t.drawn[start] != nil {
		return t.drawn[start]
	}
	if start == 1 {
		t.sample(test, 0)
	}
	m := t.fresh()
	homes, known := t.known()
	nothing := zeros(known)
	q := &quiet{}
	for r := range t.releases() {
		homes, known := homes, known
		if r%4 == 3 {
			homes, known = nil, nothing
		}
		ask := m.publish(test, homes)
		published, ok := ask()
		if !ok {
			test.Fatal("a release was refused to the first who asked")
		}
		for range 2 {
			if again, ok := ask(); ok {
				q.answers++
				if !again.equal(published) {
					q.renoised++
				}
			}
		}
		noise := make([]float64, 0, len(known)*t.dim)
		for node, values := range published {
			sigma := math.Sqrt(t.sigma2(node))
			for i, v := range values {
				noise = append(noise, (v-known[node][i])/sigma)
			}
		}
		q.noise, q.table = append(q.noise, noise), append(q.table, published)
	}
	t.drawn[start] = q
	return q
}

// zeros are as many zeros as a table has numbers.
func zeros(t table) table {
	out := make(table, len(t))
	for i := range out {
		out[i] = make([]float64, len(t[i]))
	}
	return out
}

func (t table) equal(other table) bool {
	for i := range t {
		for j := range t[i] {
			if t[i][j] != other[i][j] {
				return false
			}
		}
	}
	return true
}

// nodes is how many a release has: the region, then feeders.
func (t *trial) nodes() int { return len(t.canaries) + 3 }

// of is the noise of a node's interval in one release.
func (t *trial) of(noise []float64, node, interval int) float64 { return noise[node*t.dim+interval] }

// scale expects noise of the size that the level's ρ asks for: on each level, at each
// node, an empty one as well as one with households in it, and in each interval. On
// 40,000 draws σ is known to 0.35 %, and what is 2.2 % off is reported: a σ that is too
// small by 4 % is missed with odds below 1e-6. The 126,000 of the day's curve know it to
// 0.2 %. At a single node, of 4,000 draws, 7 % are reported, and a σ too small by √2 is
// missed with odds below 1e-25. It would catch a wrong formula for σ, another level's
// noise, and noise that is left out where nobody is.
func (t *trial) scale(test *testing.T) (v verdict) {
	q := t.sample(test, 0)
	levels, nodes, intervals := make([]moments, 2), make([]moments, t.nodes()), make([]moments, t.dim)
	var all moments
	for _, noise := range q.noise {
		for node := range nodes {
			for i := range intervals {
				x := t.of(noise, node, i)
				all.add(x)
				levels[min(node, 1)].add(x * x)
				nodes[node].add(x * x)
				intervals[i].add(x * x)
			}
		}
	}
	v.normal(all.mean()*math.Sqrt(all.n), "mean of all noise")
	for i, m := range levels {
		v.scale(m, "level %d", i)
	}
	for i, m := range nodes {
		v.scale(m, "node %d", i)
	}
	for i, m := range intervals {
		v.scale(m, "interval %d", i)
	}
	return v
}

// shape expects the exact discrete Gaussian: in cells of a quarter of σ, and in the
// numbers beyond 2σ, 3σ, 4σ and 5σ. A law that
// has ε of its mass elsewhere adds at least 4nε² to a χ² of n draws, whose limit is 98 on
// 19 cells: 40,000 draws show ε = 0.04 (miss: 1e-5), and uniform noise of the same
// variance has more than 0.1. Of 40,000 draws of σ = 3, on whole numbers, 59 should lie
// beyond 3σ, and a cut there leaves none: Chernoff's bound reports it where 22 are to be. A
// cut at 4σ would leave out two or three, and is not seen; that is left to package dp,
// which draws a million.
func (t *trial) shape(test *testing.T) (v verdict) {
	q := t.sample(test, 0)
	for level, last := range []int{0, t.nodes() - 1} {
		law := newDiscrete(t.sigma2(level))
		var draws []float64
		for _, noise := range q.noise {
			for _, x := range noise[level*t.dim : (last+1)*t.dim] {
				draws = append(draws, x*law.sigma)
			}
		}
		edges, p := law.cells(len(draws))
		counts := make([]int, len(p))
		for _, x := range draws {
			for i, edge := range edges {
				if x < edge+0.5 {
					counts[i]++
					break
				}
			}
		}
		v.fit(counts, p, "level %d", level)
		for far := 2.0; far <= 5; far++ {
			beyond := 0
			for _, x := range draws {
				if math.Abs(x) > math.Floor(far*law.sigma)+0.5 {
					beyond++
				}
			}
			v.share(beyond, len(draws), law.beyond(far*law.sigma), "level %d: beyond %.0fσ", level, far)
		}
	}
	return v
}

// independence expects no two draws to know of each other: of two intervals, two nodes,
// two levels, two days, and two starts of the program. A mean of n products of
// independent standard normals has deviation 1/√n, and n is 4,000 and more: each single
// pair shows a correlation of 0.2 but for odds of 1e-9, and one draw used twice has 1.
// Magnitudes are compared for themselves, since a sign drawn anew leaves no correlation.
// It would catch one draw used for a whole curve or for two nodes, noise seeded by day, by
// node, by query or at the start of the program.
func (t *trial) independence(test *testing.T) (v verdict) {
	first, second := t.sample(test, 0), t.sample(test, 1)
	intervals, nodes := newPairs(t.dim), newPairs(t.nodes())
	var days, starts moments
	var magnitudes, along, across moments // of days; of intervals; of nodes
	for r, noise := range first.noise {
		for node := range t.nodes() {
			for i := range t.dim {
				x := t.of(noise, node, i)
				for j := range i {
					intervals[i][j].add(x * t.of(noise, node, j))
				}
				for other := range node {
					nodes[node][other].add(x * t.of(noise, other, i))
				}
				size := t.large(node, x)
				if i > 0 {
					along.add(size * t.large(node, t.of(noise, node, i-1)))
				}
				if node > 0 {
					across.add(size * t.large(node-1, t.of(noise, node-1, i)))
				}
				if r > 0 {
					before := t.of(first.noise[r-1], node, i)
					days.add(x * before)
					magnitudes.add(size * t.large(node, before))
				}
				starts.add(x * t.of(second.noise[r], node, i))
			}
		}
	}
	intervals.expectNone(&v, "intervals")
	nodes.expectNone(&v, "nodes")
	for what, m := range map[string]moments{
		"a day and the next": days, "two starts of the program": starts,
		"magnitudes of a day and the next": magnitudes, "magnitudes of neighbouring intervals": along, "magnitudes of neighbouring nodes": across,
	} {
		if m.n > 0 {
			v.normal(m.mean()*math.Sqrt(m.n), "%s: correlation %.3f", what, m.mean())
		}
	}
	return v
}

// large says whether a draw is further out than σ, less how often it is, in units of its
// deviation.
func (t *trial) large(node int, x float64) float64 {
	p := t.beyond[min(node, 1)]
	if math.Abs(x) > 1+1e-9 {
		return math.Sqrt((1 - p) / p)
	}
	return -math.Sqrt(p / (1 - p))
}

// pairs are the products of each two of some numbers.
type pairs [][]moments

func newPairs(n int) pairs {
	p := make(pairs, n)
	for i := range p {
		p[i] = make([]moments, i)
	}
	return p
}

func (p pairs) expectNone(v *verdict, what string) {
	for i := range p {
		for j, m := range p[i] {
			v.normal(m.mean()*math.Sqrt(m.n), "%s %d and %d: correlation %.3f", what, j, i, m.mean())
		}
	}
}

// lattice expects whole numbers, odd ones as often as the exact law has them. It would
// catch a float anywhere on the way (the digits of what was added show in the last ones
// of what is published), and noise on a coarser lattice than the sums, of which a single
// published number tells a household. Of 40,000 parities, noise that is rounded to even numbers
// one time in ten is 20 deviations off.
func (t *trial) lattice(test *testing.T) (v verdict) {
	q := t.sample(test, 0)
	broken := 0
	odd, n := [2]int{}, [2]int{}
	for r, published := range q.table {
		for node, values := range published {
			for i, x := range values {
				if x != math.Trunc(x) {
					broken++
				}
				noise := math.Round(t.of(q.noise[r], node, i) * math.Sqrt(t.sigma2(node)))
				n[min(node, 1)]++
				if math.Mod(noise, 2) != 0 {
					odd[min(node, 1)]++
				}
			}
		}
	}
	v.compare(broken == 0, "%d numbers are no integers", broken)
	for level := range odd {
		v.share(odd[level], n[level], newDiscrete(t.sigma2(level)).odd(), "odd numbers on level %d", level)
	}
	return v
}

// averaging expects the same answer to who asks again, or none: otherwise the mean of k
// answers has noise of σ/√k. One answer that differs is one too many, and there is no
// chance in it.
func (t *trial) averaging(test *testing.T) (v verdict) {
	q := t.sample(test, 0)
	v.compare(q.renoised == 0, "%d of %d further answers differ from the first", q.renoised, q.answers)
	return v
}

// differencing expects that nothing cancels when a region is compared with its feeders:
// what is left has the noise of all of them. It would catch a region that is published as
// the sum of its noisy feeders (the difference is exact) and feeders that share out their
// region's noise. Of 4,000 differences a variance that is too small by
// half is missed with odds below 1e-25.
func (t *trial) differencing(test *testing.T) (v verdict) {
	q := t.sample(test, 0)
	variance := 0.0
	for node := range t.nodes() {
		variance += t.sigma2(node)
	}
	var squares moments
	for _, noise := range q.noise {
		for i := range t.dim {
			left := 0.0
			for node := range t.nodes() {
				x := t.of(noise, node, i) * math.Sqrt(t.sigma2(node))
				if node > 0 {
					x = -x
				}
				left += x
			}
			squares.add(left * left / variance)
		}
	}
	v.scale(squares, "region less feeders")
	return v
}
