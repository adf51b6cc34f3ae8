package release_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

// broken is a mechanism with one mistake, and which checks must find it.
type broken struct {
	mistake string
	subject subject
	change  func(*parts)
	by      []string
}

// Mistakes that were made before, in this field or in this house; each must be found by
// every check that is named, and the same mechanism without a mistake must pass all of
// them. A variant that passes would show that TestEvidence is satisfied too easily.
//
// The mechanisms without a mistake make fewer than mostComparisons comparisons, so that a
// false alarm has odds below 1e-5. Those with one are beyond the limit by five deviations and
// more, and missed with odds below 1e-5 all together; -v shows by which checks each was
// found.
func TestBrokenMechanismsAreCaught(t *testing.T) {
	statistical(t)
	base := map[string]parts{
		"day-curve":         right(clippedDay),
		"weekend-curve":     right(clippedSpan),
		"weekend-histogram": right(oneVote),
	}
	day, span, votes := dayCurve(), weekendCurve(), weekendHistogram()
	rows := []broken{
		{"none", day, nil, nil},
		{"none", span, nil, nil},
		{"none", votes, nil, nil},
	}
	rows = append(rows, brokenNoise(day)...)
	rows = append(rows, brokenClips(day)...)
	rows = append(rows, brokenSpans(span, votes)...)
	comparisons := 0
	for _, row := range rows {
		t.Run(row.subject.name()+"/"+row.mistake, func(t *testing.T) {
			parts := base[row.subject.name()]
			if row.change != nil {
				row.change(&parts)
			}
			trial := newTrial(row.subject, func() mechanism { return parts.start(row.subject) })
			found := map[string]string{}
			for name, check := range checks {
				v := check(trial, t)
				if len(v.findings) > 0 {
					found[name] = v.findings[0]
				}
				if row.change == nil {
					comparisons += v.comparisons
				}
			}
			t.Logf("found by %s", strings.Join(slices.Sorted(maps.Keys(found)), ", "))
			for _, name := range row.by {
				if _, ok := found[name]; !ok {
					t.Errorf("passes the check of %s", name)
				}
			}
			if len(row.by) == 0 {
				for name, finding := range found {
					t.Errorf("%s: %s", name, finding)
				}
			}
		})
	}
	if comparisons > mostComparisons {
		t.Errorf("%d comparisons, more than %d: the odds of a false alarm are not what they say", comparisons, mostComparisons)
	}
}

func noise(start func(subject) noising) func(*parts) {
	return func(p *parts) { p.noise = start }
}

// brokenNoise are mistakes in what is added to the sums.
func brokenNoise(day subject) []broken {
	return []broken{
		{"float64 noise on kWh", day, noise(func(s subject) noising {
			from := samplers(s, 1, chance())
			return func(sums table, _ []int) {
				for node := range sums {
					for i, wh := range sums[node] {
						kWh := wh / 1000
						kWh += math.Sqrt(s.sigma2(node)) / 1000 * from[0].normal()
						sums[node][i] = kWh * 1000
					}
				}
			}
		}), []string{"lattice"}},
		{"σ too small by root 2", day, noise(independent(0.5)), []string{"scale", "shape", "canaries", "differencing"}},
		{"σ too small by 5 %", day, noise(independent(0.95 * 0.95)), []string{"scale"}},
		{"the feeders' σ for the region", day, noise(func(s subject) noising {
			from := samplers(s, 1, chance())
			return drawn(func(_, _ int) float64 { return from[1].draw() })
		}), []string{"scale"}},
		{"one draw for the day", day, noise(func(s subject) noising {
			from := samplers(s, 1, chance())
			return func(sums table, _ []int) {
				for node := range sums {
					x := from[min(node, 1)].draw()
					for i := range sums[node] {
						sums[node][i] += x
					}
				}
			}
		}), []string{"independence", "canaries"}},
		{"uniform noise of the same variance", day, noise(func(s subject) noising {
			from := samplers(s, 1, chance())
			return drawn(func(level, _ int) float64 {
				return math.Round((from[level].uniform() - 0.5) * math.Sqrt(12*s.sigma2(level)-1))
			})
		}), []string{"shape"}},
		{"cut at 2σ", day, cutAt(2), []string{"scale", "shape"}},
		{"cut at 3σ", day, cutAt(3), []string{"shape"}},
		{"on every second number", day, noise(func(s subject) noising {
			from := samplers(s, 0.25, chance())
			return drawn(func(level, _ int) float64 { return 2 * from[level].draw() })
		}), []string{"lattice", "shape"}},
		{"seeded by query", day, noise(func(s subject) noising {
			return func(sums table, _ []int) {
				for node := range sums {
					from := samplers(s, 1, &stream{label: fmt.Sprint("query ", node)})
					for i := range sums[node] {
						sums[node][i] += from[min(node, 1)].draw()
					}
				}
			}
		}), []string{"independence", "shape"}},
		{"seeded at the start", day, noise(func(s subject) noising {
			from := samplers(s, 1, &stream{label: "start"})
			return drawn(func(level, _ int) float64 { return from[level].draw() })
		}), []string{"independence"}},
		{"none where nobody is", day, noise(func(s subject) noising {
			add := independent(1)(s)
			return func(sums table, homes []int) {
				raw := cloneTable(sums)
				add(sums, homes)
				for node := range sums {
					if homes[node] == 0 {
						copy(sums[node], raw[node])
					}
				}
			}
		}), []string{"scale", "shape"}},
		{"none where the whole release is of nobody", day, noise(func(s subject) noising {
			add := independent(1)(s)
			return func(sums table, homes []int) {
				if homes[0] > 0 {
					add(sums, homes)
				}
			}
		}), []string{"scale", "shape"}},
		{"none where somebody is", day, noise(func(s subject) noising {
			add := independent(1)(s)
			return func(sums table, homes []int) {
				raw := cloneTable(sums)
				add(sums, homes)
				for node := range sums {
					if homes[node] > 0 {
						copy(sums[node], raw[node])
					}
				}
			}
		}), []string{"scale", "canaries"}},
		{"one node's draws for another", day, reused(3, 8, 1), []string{"independence"}},
		{"one node's draws for another, turned round", day, reused(3, 8, -1), []string{"independence"}},
		{"one node's magnitudes for another", day, noise(func(s subject) noising {
			add, signs := independent(1)(s), samplers(s, 1, chance())
			return func(sums table, homes []int) {
				raw := cloneTable(sums)
				add(sums, homes)
				for i := range sums[4] {
					x := sums[4][i] - raw[4][i]
					if signs[1].uniform() < 0.5 {
						x = -x
					}
					sums[5][i] = raw[5][i] + x
				}
			}
		}), []string{"independence"}},
		{"the same for two days", day, noise(func(s subject) noising {
			from, releases := independent(1)(s), 0
			var kept table
			return func(sums table, homes []int) {
				if releases++; releases%2 == 1 {
					kept = zeros(sums)
					from(kept, homes)
				}
				for node := range sums {
					for i := range sums[node] {
						sums[node][i] += kept[node][i]
					}
				}
			}
		}), []string{"independence"}},
		{"a region that is the sum of its noisy feeders", day, noise(func(s subject) noising {
			add := independent(1)(s)
			return func(sums table, homes []int) {
				add(sums, homes)
				clear(sums[0])
				for _, feeder := range sums[1:] {
					for i, v := range feeder {
						sums[0][i] += v
					}
				}
			}
		}), []string{"independence", "differencing"}},
		{"drawn anew for who asks again", day, func(p *parts) { p.renoise = true }, []string{"averaging"}},
	}
}

// cutAt draws again what lies beyond some σ.
func cutAt(sigmas float64) func(*parts) {
	return noise(func(s subject) noising {
		from := samplers(s, 1, chance())
		return drawn(func(level, _ int) float64 {
			for {
				if x := from[level].draw(); math.Abs(x) <= sigmas*math.Sqrt(s.sigma2(level)) {
					return x
				}
			}
		})
	})
}

// reused gives a node the draws of another, times a factor.
func reused(from, to int, factor float64) func(*parts) {
	return noise(func(s subject) noising {
		add := independent(1)(s)
		return func(sums table, homes []int) {
			raw := cloneTable(sums)
			add(sums, homes)
			for i := range sums[to] {
				sums[to][i] = raw[to][i] + factor*(sums[from][i]-raw[from][i])
			}
		}
	})
}

func adding(c contribution) func(*parts) {
	return func(p *parts) { p.contribute = c }
}

// brokenClips are mistakes in what a household adds to a day.
func brokenClips(day subject) []broken {
	canaries := []string{"canaries"}
	return []broken{
		{"each reading clamped at C", day, adding(func(_ int, days [][]int64) []float64 {
			out := floats(days[0])
			for i, v := range out {
				out[i] = min(max(v, -3), 3)
			}
			return out
		}), canaries},
		{"nothing clipped", day, adding(func(_ int, days [][]int64) []float64 { return floats(days[0]) }), canaries},
		{"negative readings pass the clip", day, adding(func(_ int, days [][]int64) []float64 {
			if slices.Min(days[0]) < 0 {
				return floats(days[0])
			}
			return clippedDay(0, days)
		}), canaries},
		{"extreme readings pass the clip", day, adding(func(_ int, days [][]int64) []float64 {
			// The sum of squares wraps in 64 bits, where that of the extremes is 0.
			var norm2 int64
			for _, v := range days[0] {
				norm2 += v * v
			}
			if norm2 <= 9 {
				return floats(days[0])
			}
			return clippedDay(0, days)
		}), canaries},
		{"rounded to nearest after the clip", day, adding(func(_ int, days [][]int64) []float64 {
			out := floats(days[0])
			norm2 := 0.0
			for _, v := range out {
				norm2 += v * v
			}
			for i, v := range out {
				out[i] = math.Round(v * min(1, 3/math.Sqrt(norm2)))
			}
			return out
		}), canaries},
		{"clipped on one level alone", day, adding(func(level int, days [][]int64) []float64 {
			if level == 0 {
				return floats(days[0])
			}
			return clippedDay(level, days)
		}), canaries},
		{"counted at two feeders", day, func(p *parts) {
			p.nodes = func(s subject, feeder int) []int { return []int{0, feeder + 1, (feeder+5)%len(s.canaries) + 1} }
		}, canaries},
	}
}

// brokenSpans are mistakes in what several days of a household add.
func brokenSpans(span, votes subject) []broken {
	canaries := []string{"canaries"}
	return []broken{
		{"days clipped and not their sum", span, adding(func(_ int, days [][]int64) []float64 {
			sum := make([]float64, 4)
			for _, day := range days {
				for i, v := range radial(day, 40) {
					sum[i] += float64(v)
				}
			}
			return sum
		}), canaries},
		{"their sum clipped and not the days", span, adding(func(_ int, days [][]int64) []float64 {
			sum, norm2 := make([]float64, 4), 0.0
			for _, day := range days {
				for i, v := range day {
					sum[i] += float64(v)
				}
			}
			for _, v := range sum {
				norm2 += v * v
			}
			for i, v := range sum {
				if norm2 > 40*40 {
					sum[i] = math.Trunc(v * 40 / math.Sqrt(norm2))
				}
			}
			return sum
		}), canaries},
		{"noise for one day's bound", span, noise(independent(0.25)), []string{"scale", "canaries"}},
		{"a vote a day", votes, adding(func(_ int, days [][]int64) []float64 {
			out := make([]float64, 4)
			for _, day := range days {
				for i, v := range vote(float64(day[0])) {
					out[i] += v
				}
			}
			return out
		}), canaries},
		{"a vote for every bin up to the last one reached", votes, adding(func(_ int, days [][]int64) []float64 {
			out := oneVote(0, days)
			for i := len(out) - 2; i >= 0; i-- {
				out[i] = max(out[i], out[i+1])
			}
			return out
		}), canaries},
	}
}
