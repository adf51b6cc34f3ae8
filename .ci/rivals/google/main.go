// Command google times draws of Gaussian noise by Google's differential privacy
// library, for `wattveil bench release`. It prints one JSON object: the rate, and what part
// of the time goes into finding σ again for each draw.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/google/differential-privacy/go/v3/noise"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "google:", err)
		os.Exit(2)
	}
}

// The library chooses σ for ε, δ and a sensitivity; the sensitivity is scaled until σ
// is the one that is asked for.
const (
	epsilon = 1.0
	delta   = 1e-6
)

func run() error {
	draws := flag.Int("draws", 200_000, "draws to time")
	sigma := flag.Float64("sigma", 10_000, "standard deviation")
	flag.Parse()

	unit := noise.SigmaForGaussian(1, 1, epsilon, delta)
	sensitivity := int64(math.Round(*sigma / unit))
	g := noise.Gaussian()
	sum := 0.0
	began := time.Now()
	for range *draws {
		v, err := g.AddNoiseInt64(0, 1, sensitivity, epsilon, delta)
		if err != nil {
			return err
		}
		sum += float64(v) * float64(v)
	}
	took := time.Since(began)
	if root := math.Sqrt(sum / float64(*draws)); math.Abs(root / *sigma - 1) > 0.05 {
		return fmt.Errorf("draws have a root mean square of %.0f instead of %.0f", root, *sigma)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"draws_per_second": float64(*draws) / took.Seconds(),
		"solving_share":    solving(float64(sensitivity)).Seconds() / (took.Seconds() / float64(*draws)),
	})
}

// solving is how long the library takes to find σ, which every draw does anew: there is
// no way to hand in one that is known.
func solving(sensitivity float64) time.Duration {
	const times = 20_000
	began := time.Now()
	for range times {
		noise.SigmaForGaussian(1, sensitivity, epsilon, delta)
	}
	return time.Since(began) / times
}
