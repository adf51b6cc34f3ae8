package release_test

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"math/big"
	"slices"
	"sort"
	"testing"
)

// model is a release mechanism made of parts that can be exchanged for broken ones.
type model struct {
	subject
	parts parts
	noise noising
	made  map[string][2][]float64 // by home: what it adds on each level
}

// parts are what a mechanism is made of.
type parts struct {
	contribute contribution
	nodes      func(s subject, feeder int) []int // that a household at a feeder counts in
	noise      func(s subject) noising           // of one start of the program
	renoise    bool                              // who asks again is answered with new noise
}

// contribution is what a household adds on a level.
type contribution func(level int, days [][]int64) []float64

// noising adds noise to the sums of one release, of some homes each.
type noising func(sums table, homes []int)

// right are the parts of a mechanism that keeps its promise.
func right(contribute contribution) parts {
	return parts{contribute: contribute, nodes: ownNodes, noise: independent(1)}
}

// ownNodes are the region and the feeder.
func ownNodes(_ subject, feeder int) []int { return []int{0, feeder + 1} }

// start starts the mechanism of a subject.
func (p parts) start(s subject) mechanism {
	return &model{subject: s, parts: p, noise: p.noise(s), made: map[string][2][]float64{}}
}

func (m *model) publish(_ *testing.T, homes []home) func() (table, bool) {
	sums, counts := make(table, len(m.canaries)+3), make([]int, len(m.canaries)+3)
	for node := range sums {
		sums[node] = make([]float64, m.dim)
	}
	for _, h := range homes {
		add, known := m.made[h.name]
		if !known {
			add = [2][]float64{m.parts.contribute(0, h.days), m.parts.contribute(1, h.days)}
			m.made[h.name] = add
		}
		for _, node := range m.parts.nodes(m.subject, feederNumber(h.feeder)) {
			counts[node]++
			for i, v := range add[min(node, 1)] {
				sums[node][i] += v
			}
		}
	}
	raw := cloneTable(sums)
	m.noise(sums, counts)
	asked := false
	return func() (table, bool) {
		if asked && m.parts.renoise {
			again := cloneTable(raw)
			m.noise(again, counts)
			return again, true
		}
		asked = true
		return cloneTable(sums), true
	}
}

func cloneTable(t table) table {
	out := slices.Clone(t)
	for i := range out {
		out[i] = slices.Clone(out[i])
	}
	return out
}

// feederNumber is the number of a feeder.
func feederNumber(name string) int { return int(name[len(name)-2]-'0')*10 + int(name[len(name)-1]-'0') }

// radial clips to a norm of c and truncates, as ClipL2 should: sign(v)·⌊√(v²c²/S)⌋.
func radial(x []int64, c int64) []int64 {
	s := new(big.Int)
	for _, v := range x {
		b := big.NewInt(v)
		s.Add(s, b.Mul(b, b))
	}
	bound := new(big.Int).Mul(big.NewInt(c), big.NewInt(c))
	out := slices.Clone(x)
	if s.Cmp(bound) <= 0 {
		return out
	}
	for i, v := range x {
		q := big.NewInt(v)
		q.Mul(q, q).Mul(q, bound).Div(q, s).Sqrt(q)
		if out[i] = q.Int64(); v < 0 {
			out[i] = -out[i]
		}
	}
	return out
}

func floats(x []int64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// clippedDay is what a household adds to the day's curve of dayCurve.
func clippedDay(_ int, days [][]int64) []float64 { return floats(radial(days[0], 3)) }

// clippedSpan is what one adds to weekendCurve: each day is clipped, and their sum.
func clippedSpan(_ int, days [][]int64) []float64 {
	sum := make([]int64, 4)
	for _, day := range days {
		for i, v := range radial(day, 40) {
			sum[i] += v
		}
	}
	return floats(radial(sum, 40))
}

// oneVote is what one adds to weekendHistogram: a vote for the bin of its mean day.
func oneVote(_ int, days [][]int64) []float64 {
	sum := 0.0
	for _, day := range days {
		sum += float64(day[0])
	}
	return vote(sum / float64(len(days)))
}

func vote(energy float64) []float64 {
	votes := make([]float64, 4)
	votes[int(min(max(math.Floor(energy/10), 0), 3))] = 1
	return votes
}

// sampler draws from a discrete law by inversion, 53 bits at a time.
type sampler struct {
	law   discrete
	words io.Reader
}

func (s sampler) uniform() float64 {
	var b [8]byte
	if _, err := io.ReadFull(s.words, b[:]); err != nil {
		panic(err) // of a stream without end
	}
	return float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
}

func (s sampler) draw() float64 {
	return float64(sort.SearchFloat64s(s.law.below, s.uniform()) - s.law.reach)
}

// normal draws from the continuous Gaussian of variance 1 (Box and Muller 1958).
func (s sampler) normal() float64 {
	return math.Sqrt(-2*math.Log(1-s.uniform())) * math.Cos(2*math.Pi*s.uniform())
}

// chance is the machine's randomness.
func chance() io.Reader { return bufio.NewReader(rand.Reader) }

// stream is the same bytes every time: SHA-256 of a label and a counter.
type stream struct {
	label string
	next  uint64
	rest  []byte
}

func (s *stream) Read(b []byte) (int, error) {
	for i := range b {
		if len(s.rest) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.label), s.next))
			s.next++
			s.rest = h[:]
		}
		b[i], s.rest = s.rest[0], s.rest[1:]
	}
	return len(b), nil
}

// samplers are those of the region and of the feeders, at a multiple of σ².
func samplers(s subject, factor float64, words io.Reader) [2]sampler {
	return [2]sampler{{newDiscrete(s.sigma2(0) * factor), words}, {newDiscrete(s.sigma2(1) * factor), words}}
}

// drawn is noise made node by node, interval by interval, of a function of level and
// node.
func drawn(draw func(level, node int) float64) noising {
	return func(sums table, _ []int) {
		for node := range sums {
			for i := range sums[node] {
				sums[node][i] += draw(min(node, 1), node)
			}
		}
	}
}

// independent is noise as it should be, at a multiple of σ².
func independent(factor float64) func(subject) noising {
	return func(s subject) noising {
		from := samplers(s, factor, chance())
		return drawn(func(level, _ int) float64 { return from[level].draw() })
	}
}
