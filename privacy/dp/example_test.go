package dp_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/wattveil/wattveil/privacy/dp"
)

// The sum of two households' days, released once for ρ = 0.006.
func Example() {
	const bound = 3000 // Wh, the norm of a household's day
	budget, err := dp.ParseRho("0.006")
	if err != nil {
		log.Fatal(err)
	}
	variance, err := dp.GaussianVariance(bound, budget)
	if err != nil {
		log.Fatal(err)
	}

	// Draw before touching data.
	noise, err := dp.DrawNoise(3, variance)
	if err != nil {
		log.Fatal(err)
	}
	defer noise.Erase()

	sum := make([]int64, 3)
	for _, day := range [][]int64{{200, 450, 300}, {6000, 0, 8000}} {
		if err := dp.ClipL2(day, bound); err != nil {
			log.Fatal(err)
		}
		fmt.Println("clipped:", day)
		if err := dp.Add(sum, day); err != nil {
			log.Fatal(err)
		}
	}
	if err := noise.AddTo(sum); err != nil { // sum may now be published, once
		log.Fatal(err)
	}

	spent, err := dp.RhoOf(bound, variance)
	if err != nil {
		log.Fatal(err)
	}
	epsilon, err := dp.Epsilon(spent, 1e-6)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("σ² = %v Wh², spent ρ = %v, ε = %v at δ = 1e-6\n", variance, spent, epsilon)
	// Output:
	// clipped: [200 450 300]
	// clipped: [1800 0 2400]
	// σ² = 750000000 Wh², spent ρ = 0.006, ε = 0.4738 at δ = 1e-6
}

// One home's share of sums that are published half hour by half hour. The whole
// block is charged once, before its first interval.
func ExampleCausalClip() {
	const bound = 3000 // Wh, the norm of a household's day
	home, err := dp.NewCausalClip(bound)
	if err != nil {
		log.Fatal(err)
	}
	for _, day := range [][]int64{{200, 450, 6000, 300}, {250, 400, 350, 300}} {
		home.Reset()
		for i, wh := range day {
			day[i] = home.Admit(wh) // joins its interval's sum, which gets fresh noise
		}
		fmt.Println("admitted:", day)
	}
	// Output:
	// admitted: [200 450 2959 42]
	// admitted: [250 400 350 300]
}

// An analyst's session: each question is paid for before it is computed.
func ExampleFilter() {
	session := dp.NewFilter(dp.RhoUnit / 50)
	for _, cost := range []string{"0.018", "0.006", "0.002"} {
		rho, err := dp.ParseRho(cost)
		if err != nil {
			log.Fatal(err)
		}
		if err := session.Spend(rho); errors.Is(err, dp.ErrBudget) {
			fmt.Println(rho, "refused,", session.Left(), "left")
			continue
		}
		fmt.Println(rho, "spent,", session.Left(), "left")
	}
	// Output:
	// 0.018 spent, 0.002 left
	// 0.006 refused, 0.002 left
	// 0.002 spent, 0 left
}

// Two households' days, measured in a basis that suits a public reference
// population, clipped there, and added up: what noise is then added to.
func ExampleBasis() {
	// Public second moments of the DCT coefficients of a reference population.
	basis, err := dp.NewBasisFromMoments([]uint64{810000, 160000, 10000, 10000}, 32, 30)
	if err != nil {
		log.Fatal(err)
	}
	const bound = 4 * 1000 // weighted Wh; 2^(32-30) lattice units each

	sum := make([]int64, basis.Intervals())
	for _, day := range [][]int64{{200, 450, 300, 250}, {600, 0, 800, 100}} {
		z, err := basis.Measure(day)
		if err != nil {
			continue // beyond any meter: count it as absent
		}
		fmt.Println("measured:", z)
		if err := dp.ClipL2(z, bound); err != nil {
			log.Fatal(err)
		}
		if err := dp.Add(sum, z); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("sum of what was clipped:", sum)
	// Output:
	// measured: [2400 47 -1800 -1338]
	// measured: [3000 660 -600 7895]
	// sum of what was clipped: [3812 357 -2082 2380]
}

// Households in three classes of daily energy, for a distribution function.
func ExampleStrategy() {
	strategy, err := dp.NewStrategy(3, 10)
	if err != nil {
		log.Fatal(err)
	}
	budget, err := dp.ParseRho("0.01")
	if err != nil {
		log.Fatal(err)
	}
	variance, err := dp.GaussianVariance(strategy.Sensitivity(), budget)
	if err != nil {
		log.Fatal(err)
	}
	noise, err := dp.DrawNoise(strategy.Bins(), variance)
	if err != nil {
		log.Fatal(err)
	}
	defer noise.Erase()

	sum := make([]int64, strategy.Bins())
	for _, class := range []int{0, 1, 1, 2} { // each household once
		if err := strategy.Add(sum, class); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("sensitivity %d, σ² = %v, sums %v\n", strategy.Sensitivity(), variance, sum)
	if err := noise.AddTo(sum); err != nil { // sum may now be published, once
		log.Fatal(err)
	}
	// Output:
	// sensitivity 1024, σ² = 52428800, sums [868 2264 2263]
}
