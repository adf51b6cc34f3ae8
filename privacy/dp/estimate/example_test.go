package estimate_test

import (
	"fmt"
	"log"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// One region of two substations with two feeders each, and one interval, as it
// was published: noisy sums in Wh, the lower levels clipped tighter and so too
// low together.
func Example() {
	tree, err := estimate.NewTree([]int{estimate.NoParent, 0, 0, 1, 1, 2, 2})
	if err != nil {
		log.Fatal(err)
	}
	published := estimate.Curves{
		Intervals: 1,
		Values:    []float64{1_000_000, 580_000, 350_000, 240_000, 300_000, 160_000, 100_000},
		Variance:  []float64{4e8, 1e8, 1e8, 2.5e7, 2.5e7, 2.5e7, 2.5e7},
	}
	usagePoints := []float64{2000, 1200, 800, 500, 700, 450, 350} // of the asset register

	aligned, err := tree.CommonMode(published, usagePoints)
	if err != nil {
		log.Fatal(err)
	}
	for _, level := range aligned.Levels {
		fmt.Printf("depth %d: %.0f Wh against the region\n", level.Depth, level.Excess[0])
	}
	estimates := aligned.LeastSquares()
	for _, node := range []int{0, 1, 3} {
		// What the region's clip takes at most, by a reference population: the
		// correction leaves each node its part.
		clip := estimate.Bias{Low: -6000 * usagePoints[node] / usagePoints[0], Source: estimate.PublicReference}
		interval, err := estimate.NewInterval(estimates.Node(node)[0], estimates.Variance[node], clip, 0.95)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("node %d: %v\n", node, interval)
	}
	shrunk, err := estimates.Shrink([]int{3, 4}, []float64{5. / 12, 7. / 12},
		estimate.Prior{Between: []float64{1e8}, Source: "reference population of 2024"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("shrunk: %.0f and %.0f Wh, by a prior of %v\n", shrunk.Values[0], shrunk.Values[1], shrunk.Prior.Source)
	// Output:
	// depth 1: -70000 Wh against the region
	// depth 2: -200000 Wh against the region
	// node 0: 1000000.0 (960800.7 to 1045199.3 at 95 %; bias: public reference)
	// node 1: 647333.3 (622438.4 to 675828.2 at 95 %; bias: public reference)
	// node 3: 283666.7 (271002.5 to 297830.8 at 95 %; bias: public reference)
	// shrunk: 282025 and 365171 Wh, by a prior of reference population of 2024
}
