package plan

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// Outlook is what to expect of a product that is not a curve, on one level: root mean
// square errors over nodes and numbers. Each level is taken alone; what the tree adds
// makes it less.
type Outlook struct {
	Size int // households below a node
	Rho  dp.Rho
	// ClipWh bounds a household's energy, where the product is clipped.
	ClipWh int64
	// Error is of the noise and of what the clip takes, Baseline that of what anybody
	// knows without the level: the region's true numbers in equal parts. Both are in parts
	// of a node: of its energy, or of its households.
	Error, Baseline float64
}

// Energy is what to expect of the energy of a node's mean day.
func Energy(reference Source, sizes []int, rhos []dp.Rho) ([]Outlook, error) {
	if err := checkOutlook(reference, sizes, rhos); err != nil {
		return nil, err
	}
	days := make([]float64, reference.Households())
	wh := make([]int64, Intervals)
	total := 0.0
	for h := range days {
		reference.Fill(h, wh)
		for _, v := range wh {
			days[h] += float64(v)
		}
		total += days[h]
	}
	if total == 0 {
		return nil, ErrLoad
	}
	var out []Outlook
	for i, size := range sizes {
		load := total * float64(size) / float64(len(days))
		best := Outlook{Size: size, Rho: rhos[i], Error: math.Inf(1), Baseline: sumsOff(days, size, load) / load}
		for _, clip := range energyClips() {
			variance, err := dp.GaussianVariance(clip, rhos[i])
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrRho, err)
			}
			if off := math.Hypot(variance.Sigma(), taken(days, size, float64(clip))) / load; off < best.Error {
				best.Error, best.ClipWh = off, clip
			}
		}
		out = append(out, best)
	}
	return out, nil
}

// energyClips are the bounds that are tried on a household's energy in a day: from 1 kWh
// to 1 MWh, a fifth apart.
func energyClips() (clips []int64) {
	for c := 1000.0; c < 1_000_000; c *= 1.2 {
		clips = append(clips, int64(c))
	}
	return clips
}

// taken is the root mean square over nodes of what a clip takes.
func taken(days []float64, size int, clip float64) float64 {
	sum := 0.0
	for first := 0; first < len(days); first += size {
		off := 0.0
		for _, v := range days[first : first+size] {
			off += max(0, v-clip)
		}
		sum += off * off
	}
	return math.Sqrt(sum / float64(len(days)/size))
}

// sumsOff is the root mean square over nodes of how far their sums are off from what is
// meant.
func sumsOff(days []float64, size int, meant float64) float64 {
	sum := 0.0
	for first := 0; first < len(days); first += size {
		node := 0.0
		for _, v := range days[first : first+size] {
			node += v
		}
		sum += square(node - meant)
	}
	return math.Sqrt(sum / float64(len(days)/size))
}

// Households is what to expect of the number of households of a node. Without the
// release nobody knows who sends readings: there is no baseline.
func Households(reference Source, sizes []int, rhos []dp.Rho) ([]Outlook, error) {
	if err := checkOutlook(reference, sizes, rhos); err != nil {
		return nil, err
	}
	var out []Outlook
	for i, size := range sizes {
		sigma, err := sigmaOfOne(rhos[i])
		if err != nil {
			return nil, err
		}
		out = append(out, Outlook{Size: size, Rho: rhos[i], Error: sigma / float64(size), Baseline: math.NaN()})
	}
	return out, nil
}

// Histogram is what to expect of how many households are in each bin: of the energy of
// their mean day between edges, in Wh, or, without edges, of the hour of their highest
// load.
func Histogram(reference Source, edges []int64, sizes []int, rhos []dp.Rho) ([]Outlook, error) {
	if err := checkOutlook(reference, sizes, rhos); err != nil {
		return nil, err
	}
	bins, of := binned(reference, edges)
	var out []Outlook
	for i, size := range sizes {
		sigma, err := sigmaOfOne(rhos[i])
		if err != nil {
			return nil, err
		}
		out = append(out, Outlook{Size: size, Rho: rhos[i], Error: sigma / float64(size), Baseline: countsOff(of, bins, size, false) / float64(size)})
	}
	return out, nil
}

// Quantiles is what to expect of how many households are at or below each edge, which is
// what quantiles are read from.
func Quantiles(reference Source, edges []int64, sizes []int, rhos []dp.Rho) ([]Outlook, error) {
	if err := checkOutlook(reference, sizes, rhos); err != nil {
		return nil, err
	}
	bins, of := binned(reference, edges)
	strategy, err := dp.NewStrategy(bins, 30)
	if err != nil {
		return nil, fmt.Errorf("measuring a distribution: %w", err)
	}
	var out []Outlook
	for i, size := range sizes {
		variance, err := dp.GaussianVariance(strategy.Sensitivity(), rhos[i])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRho, err)
		}
		sum := 0.0
		for _, v := range estimate.NewPrefixEstimator(strategy).Variances(variance) {
			sum += v
		}
		out = append(out, Outlook{
			Size: size, Rho: rhos[i], Error: math.Sqrt(sum/float64(bins)) / float64(size), Baseline: countsOff(of, bins, size, true) / float64(size),
		})
	}
	return out, nil
}

func sigmaOfOne(rho dp.Rho) (float64, error) {
	variance, err := dp.GaussianVariance(1, rho)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRho, err)
	}
	return variance.Sigma(), nil
}

// binned finds the bin of every household.
func binned(reference Source, edges []int64) (bins int, of []int) {
	of = make([]int, reference.Households())
	wh := make([]int64, Intervals)
	for h := range of {
		reference.Fill(h, wh)
		of[h] = bin(wh, edges)
	}
	if edges == nil {
		return hours, of
	}
	return len(edges) - 1, of
}

const hours = 24

func bin(wh, edges []int64) int {
	if edges == nil {
		sums := make([]int64, hours)
		for i, v := range wh {
			sums[i*hours/Intervals] += v
		}
		return slices.Index(sums, slices.Max(sums))
	}
	sum := int64(0)
	for _, v := range wh {
		sum += v
	}
	at := sort.Search(len(edges), func(i int) bool { return edges[i] > sum }) - 1
	return min(max(at, 0), len(edges)-2)
}

// countsOff is the root mean square, over nodes and bins, of how far a node's counts are
// off the region's in equal parts; of cumulative counts, if asked for.
func countsOff(of []int, bins, size int, cumulative bool) float64 {
	count := func(of []int) []float64 {
		c := make([]float64, bins)
		for _, b := range of {
			c[b]++
		}
		for b := 1; cumulative && b < bins; b++ {
			c[b] += c[b-1]
		}
		return c
	}
	region, part, sum := count(of), float64(size)/float64(len(of)), 0.0
	for first := 0; first < len(of); first += size {
		for b, v := range count(of[first : first+size]) {
			sum += square(v - region[b]*part)
		}
	}
	return math.Sqrt(sum / float64(len(of)/size*bins))
}

func checkOutlook(reference Source, sizes []int, rhos []dp.Rho) error {
	if len(rhos) != len(sizes) {
		return ErrRho
	}
	return checkTree(reference.Households(), sizes)
}
