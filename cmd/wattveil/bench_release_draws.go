package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"time"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

// prefixLengths are a day, bins of a histogram, and a week, a month and a year of
// half-hours.
var prefixLengths = []int{48, 64, 336, 1488, 17_520}

// prefixRatio is the mean error of prefix sums over the least that any factorisation
// (matrix) mechanism has: the nuclear norm of the lower triangular matrix of ones, over
// n. Other mechanisms are not bounded by it.
func prefixRatio(n int) (float64, error) {
	strategy, err := dp.NewStrategy(n, 30)
	if err != nil {
		return 0, err
	}
	variance, err := dp.GaussianVariance(strategy.Sensitivity(), dp.RhoUnit/2)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, v := range estimate.NewPrefixEstimator(strategy).Variances(variance) {
		sum += v
	}
	bound := 0.0
	for j := 1; j <= n; j++ {
		bound += 1 / (2 * math.Sin(float64(2*j-1)*math.Pi/float64(4*n+2)))
	}
	return math.Sqrt(sum/float64(n)) / (bound / float64(n)), nil
}

// drawsARound is how many draws are timed at once, at drawsSigma Wh.
const (
	drawsARound = 200_000
	drawsSigma  = 10_000
)

// draw times exact draws, and those of Google's library in turns.
func (b *benchRelease) draw(ctx context.Context) error {
	variance, err := dp.NewVariance(drawsSigma*drawsSigma, 1)
	if err != nil {
		return err
	}
	var ours, theirs, solving []float64
	dst := make([]int64, drawsARound)
	for range b.rounds {
		began := time.Now()
		if err := dp.DrawGaussian(dst, variance); err != nil {
			return err
		}
		ours = append(ours, drawsARound/time.Since(began).Seconds())
		sum := 0.0
		for _, v := range dst {
			sum += float64(v) * float64(v)
		}
		if root := math.Sqrt(sum / drawsARound); math.Abs(root/drawsSigma-1) > 0.02 { // 12 standard errors
			return fmt.Errorf("%d draws of σ = %d have a root mean square of %.0f", drawsARound, drawsSigma, root)
		}
		if b.google != "" {
			answer, err := googleDraws(ctx, b.google)
			if err != nil {
				return err
			}
			theirs, solving = append(theirs, answer.Rate), append(solving, answer.Solving)
		}
	}
	b.results.Draws = median(ours)
	if b.google == "" {
		b.results.NotRun = append(b.results.NotRun, "google: --google names no program; .ci/rivals builds one")
		return nil
	}
	rate := median(theirs)
	ratio := b.results.Draws / rate
	b.results.Google, b.results.RatioGoogle = &rate, &ratio
	b.results.Settings = append(b.results.Settings, fmt.Sprintf(
		"google: a draw by AddNoiseInt64, which solves for sigma anew on each call, %.0f %% of its time; ours draws many of one sigma", 100*median(solving)))
	return nil
}

// googleAnswer is what the child program prints.
type googleAnswer struct {
	Rate    float64 `json:"draws_per_second"`
	Solving float64 `json:"solving_share"` // of the time, for sigma
}

// googleDraws runs the child program, which times as many draws of the same σ.
func googleDraws(ctx context.Context, program string) (answer googleAnswer, err error) {
	out, err := exec.CommandContext(ctx, program, "-draws", fmt.Sprint(drawsARound), "-sigma", fmt.Sprint(drawsSigma)).Output() //nolint:gosec // the operator names the program
	if err != nil {
		return answer, fmt.Errorf("running Google's library: %w", err)
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return answer, fmt.Errorf("reading what Google's library did: %w", err)
	}
	return answer, nil
}
