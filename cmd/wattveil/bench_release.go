package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// benchRelease measures how close published totals come to the truth, what that costs
// in time, and how far simpler mechanisms come.
type benchRelease struct {
	folder      string
	households  int
	rounds      int
	populations int
	google      string

	results benchReleaseReport
}

// perLevel is a figure for each level of the tree.
type perLevel map[string]float64

type benchReleaseReport struct {
	RMSE        map[string]perLevel            `json:"rmse_percent"`
	Baseline    map[string]perLevel            `json:"baseline"`
	Rivals      map[string]map[string]perLevel `json:"rivals_rmse_percent"`
	Coverage    map[string]perLevel            `json:"interval_coverage"`
	Populations int                            `json:"coverage_populations"`
	Prefix      map[int]float64                `json:"prefix_ratio_to_bound"`
	Draws       float64                        `json:"draws_per_second"`
	Google      *float64                       `json:"draws_per_second_google"` // null: not run
	RatioGoogle *float64                       `json:"ratio_draws_google"`
	HomeDays    float64                        `json:"household_days_per_second"` // measured, clipped for every level, and added
	Rounds      []map[string]perLevel          `json:"rounds"`
	NotRun      []string                       `json:"not_run"`
	Settings    []string                       `json:"settings"`
}

// trialOf is one figure of the table: a product at a budget.
type trialOf struct {
	name    string
	product plan.Product
	rho     float64
	epsilon float64    // at δ = 1e-6, of the exact Gaussian
	split   [4]float64 // of rho over the levels, found on reference populations
}

var trials = []trialOf{
	{"one_day_eps1", plan.Day, 0.028, 1, [4]float64{0.25, 0.25, 0.25, 0.25}},
	{"one_day_eps5", plan.Day, 0.52, 5, [4]float64{0.07, 0.13, 0.25, 0.55}},
	{"mean20_eps1", plan.Mean, 0.028, 1, [4]float64{0.10, 0.10, 0.20, 0.60}},
	{"mean20_eps5", plan.Mean, 0.52, 5, [4]float64{0.07, 0.18, 0.25, 0.50}},
}

// levelNames are the levels of the shared populations, the region first.
var levelNames = []string{"region", "10k", "1k", "feeder"}

func (t trialOf) rhos() []dp.Rho {
	var rhos []dp.Rho
	for _, part := range t.split {
		rhos = append(rhos, dp.Rho(math.Round(part*t.rho*float64(dp.RhoUnit))))
	}
	return rhos
}

// of is the view of a population that a trial measures.
func (t trialOf) of(s views) held {
	if t.product == plan.Mean {
		return s.mean
	}
	return s.day
}

// views is a population seen twice, drawn once.
type views struct{ day, mean held }

func benchReleaseCommand() *cobra.Command {
	b := &benchRelease{}
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Accuracy and speed of published totals, beside simpler mechanisms",
		Long: "Measure populations of households over a tree of a region, nodes of 10,000 and 1,000 homes and feeders of 100, as the\n" +
			"privacy engine would: weighted DCT, one clip norm a level, exact discrete Gaussian noise, common-mode correction, least\n" +
			"squares. Norms and weights are planned on a public reference alone. The error is the root mean square over nodes and\n" +
			"half-hours in percent of the level's mean load, beside what anybody knows without the release (the region's curve in\n" +
			"equal parts), Laplace noise on each reading, Gaussian noise on readings, and a whole-day clip without the tree.\n" +
			"Coverage is that of the stated 95 % intervals, over freshly generated populations.",
		Example: "  wattveil bench release --population ../shared/data/synthetic --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.rounds < 1 || b.populations < 0 || b.households < 20_000 || b.households%10_000 != 0 {
				return fmt.Errorf("--rounds must be at least 1, --populations at least 0, and --households a multiple of 10000 from 20000 on")
			}
			if err := b.run(cmd.Context(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, b.results)
			}
			return b.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&b.folder, "population", "", "folder with reference and population (default: generated)")
	cmd.Flags().IntVar(&b.households, "households", 100_000, "households of a generated population")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "draws of the noise")
	cmd.Flags().IntVar(&b.populations, "populations", 200, "fresh populations for the coverage of intervals; 0 leaves it out")
	cmd.Flags().StringVar(&b.google, "google", "", "the program of .ci/rivals/google")
	return cmd
}

func (b *benchRelease) run(ctx context.Context, progress io.Writer) error {
	reference, private, err := b.samples()
	if err != nil {
		return err
	}
	b.results = benchReleaseReport{
		RMSE: map[string]perLevel{}, Baseline: map[string]perLevel{}, Rivals: map[string]map[string]perLevel{}, Coverage: map[string]perLevel{},
		Prefix: map[int]float64{}, NotRun: []string{}, Settings: b.settings(private.day.Households()),
	}
	sizes := sizesOf(private.day.Households())
	for _, t := range trials {
		if err := b.try(ctx, progress, t, reference, private, sizes); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	if err := b.cover(ctx, progress); err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	for _, n := range []int{48, 64, 336, 1488, 17_520} {
		if b.results.Prefix[n], err = prefixRatio(n); err != nil {
			return fmt.Errorf("prefix sums of %d: %w", n, err)
		}
	}
	return b.draw(ctx)
}

// samples returns the public reference, and the population that is measured.
func (b *benchRelease) samples() (reference, private views, err error) {
	if b.folder != "" {
		if reference, err = readViews(b.folder, population.Reference); err == nil {
			private, err = readViews(b.folder, population.Private)
		}
		if n := private.day.Households(); err == nil && (n != reference.day.Households() || n%population.LargeNodeSize != 0 || n < 2*population.LargeNodeSize) {
			err = fmt.Errorf("%w: reference and population need the same number of households, a multiple of 10000 from 20000 on", population.ErrSize)
		}
		return reference, private, err
	}
	if reference, err = freshViews(b.households); err == nil {
		private, err = freshViews(b.households)
	}
	return reference, private, err
}

func readViews(folder string, draw population.Draw) (views, error) {
	s, err := population.Read(folder, draw)
	return views{hold(s.Day), hold(s.Mean)}, err
}

// freshViews draws a population that nobody has seen. A day and a mean are of
// different people, as in the shared folder.
func freshViews(households int) (views, error) {
	var s views
	for _, view := range []func(*population.Population){
		func(p *population.Population) { s.day = hold(p.Day(0)) },
		func(p *population.Population) { s.mean = hold(p.Mean(population.MeanDays)) },
	} {
		var seed [32]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return s, err
		}
		p, err := population.Generate(population.Default(), seed, households)
		if err != nil {
			return s, err
		}
		view(p)
	}
	return s, nil
}

func sizesOf(households int) []int {
	return []int{households, population.LargeNodeSize, population.SmallNodeSize, population.FeederSize}
}

// try plans a product on the reference and measures the population several times.
func (b *benchRelease) try(ctx context.Context, progress io.Writer, t trialOf, reference, private views, sizes []int) error {
	design, err := plan.Fit(t.of(reference), t.product, sizes, t.rhos())
	if err != nil {
		return err
	}
	all := make([]perLevel, 0, b.rounds)
	for round := range b.rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		outcomes, err := design.Try(t.of(private))
		if err != nil {
			return err
		}
		took := time.Since(began)
		b.results.HomeDays = max(b.results.HomeDays, float64(sizes[0])/took.Seconds())
		rmse, base := perLevel{}, perLevel{}
		for i, o := range outcomes {
			rmse[levelNames[i]], base[levelNames[i]] = 100*o.RMSE, 100*o.Baseline
		}
		all = append(all, rmse)
		b.results.Baseline[strings.TrimSuffix(strings.TrimSuffix(t.name, "_eps1"), "_eps5")] = base
		if len(b.results.Rounds) <= round {
			b.results.Rounds = append(b.results.Rounds, map[string]perLevel{})
		}
		b.results.Rounds[round][t.name] = rmse
		fmt.Fprintf(progress, "%s round %d: %s\n", t.name, round+1, rmse)
	}
	b.results.RMSE[t.name] = medianOf(all)
	for _, r := range rivals {
		if b.results.Rivals[r.name] == nil {
			b.results.Rivals[r.name] = map[string]perLevel{}
		}
		if b.results.Rivals[r.name][t.name], err = r.rmse(t, t.of(reference), t.of(private), sizes); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Fprintf(progress, "%s %s: %s\n", t.name, r.name, b.results.Rivals[r.name][t.name])
	}
	return nil
}

// String writes the levels from the region down.
func (p perLevel) String() string {
	var parts []string
	for _, name := range levelNames {
		parts = append(parts, fmt.Sprintf("%s %.3g", name, p[name]))
	}
	return strings.Join(parts, " / ")
}

func medianOf(rounds []perLevel) perLevel {
	m := perLevel{}
	for _, name := range levelNames {
		var values []float64
		for _, r := range rounds {
			values = append(values, r[name])
		}
		slices.Sort(values)
		m[name] = values[len(values)/2]
	}
	return m
}

// cover plans on one generated reference and counts, over fresh populations, how
// often the stated intervals hold the truth.
func (b *benchRelease) cover(ctx context.Context, progress io.Writer) error {
	if b.populations == 0 {
		b.results.NotRun = append(b.results.NotRun, "interval_coverage: --populations is 0")
		return nil
	}
	reference, err := freshViews(b.households)
	if err != nil {
		return err
	}
	designs := make([]*plan.Design, len(trials))
	for i, t := range trials {
		if designs[i], err = plan.Fit(t.of(reference), t.product, sizesOf(b.households), t.rhos()); err != nil {
			return err
		}
	}
	counted := &counter{covered: map[string]perLevel{}, stated: map[string]perLevel{}}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for range b.populations {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			fresh, err := freshViews(b.households)
			if err != nil {
				return err
			}
			for i, t := range trials {
				outcomes, err := designs[i].Try(t.of(fresh))
				if err != nil {
					return err
				}
				counted.add(t.name, outcomes)
			}
			if n := counted.population(); n%10 == 0 {
				fmt.Fprintf(progress, "coverage: %d of %d populations\n", n, b.populations)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.results.Coverage, b.results.Populations = counted.coverage(), b.populations
	return nil
}

// counter counts intervals. Safe for concurrent use.
type counter struct {
	mu              sync.Mutex
	covered, stated map[string]perLevel
	populations     int
}

func (c *counter) add(trial string, outcomes []plan.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.covered[trial] == nil {
		c.covered[trial], c.stated[trial] = perLevel{}, perLevel{}
	}
	for l, o := range outcomes {
		c.covered[trial][levelNames[l]] += float64(o.Covered)
		c.stated[trial][levelNames[l]] += float64(o.Stated)
	}
}

// population counts one more, and returns how many there are.
func (c *counter) population() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.populations++
	return c.populations
}

func (c *counter) coverage() map[string]perLevel {
	shares := map[string]perLevel{}
	for trial, levels := range c.stated {
		shares[trial] = perLevel{}
		for level, n := range levels {
			shares[trial][level] = c.covered[trial][level] / n
		}
	}
	return shares
}

// held is a population whose curves were drawn once and are used several times.
type held []uint16

func hold(c population.Curves) held {
	h := make(held, 0, c.Households()*population.Intervals)
	for _, wh := range c.All() {
		for _, v := range wh {
			h = append(h, uint16(v))
		}
	}
	return h
}

func (h held) Households() int { return len(h) / population.Intervals }

func (h held) Fill(household int, wh []int64) {
	for i, v := range h[household*population.Intervals:][:population.Intervals] {
		wh[i] = int64(v)
	}
}

// prefixRatio is the mean error of prefix sums over the least that any mechanism has:
// the nuclear norm of the lower triangular matrix of ones, over n.
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
	var ours, theirs []float64
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
			rate, err := googleDraws(ctx, b.google)
			if err != nil {
				return err
			}
			theirs = append(theirs, rate)
		}
	}
	slices.Sort(ours)
	b.results.Draws = ours[len(ours)/2]
	if b.google == "" {
		b.results.NotRun = append(b.results.NotRun, "google: --google names no program; .ci/rivals builds one")
		return nil
	}
	slices.Sort(theirs)
	rate := theirs[len(theirs)/2]
	ratio := b.results.Draws / rate
	b.results.Google, b.results.RatioGoogle = &rate, &ratio
	return nil
}

// googleDraws runs the child program, which times as many draws of the same σ.
func googleDraws(ctx context.Context, program string) (float64, error) {
	out, err := exec.CommandContext(ctx, program, "-draws", fmt.Sprint(drawsARound), "-sigma", fmt.Sprint(drawsSigma)).Output() //nolint:gosec // the operator names the program
	if err != nil {
		return 0, fmt.Errorf("running Google's library: %w", err)
	}
	var answer struct {
		Rate float64 `json:"draws_per_second"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return 0, fmt.Errorf("reading what Google's library did: %w", err)
	}
	return answer.Rate, nil
}

func (b *benchRelease) settings(households int) []string {
	source := "generated, model of package population"
	if b.folder != "" {
		source = "a folder"
	}
	settings := []string{
		fmt.Sprintf("%d households, %s; region / 10k / 1k / feeder of 100", households, source),
		"clip norms and weights planned on the reference alone; splits as below",
	}
	for _, t := range trials {
		settings = append(settings, fmt.Sprintf("%s: rho = %g (epsilon = %g at delta = 1e-6), split %v", t.name, t.rho, t.epsilon, t.split))
	}
	for _, r := range rivals {
		settings = append(settings, r.name+": "+r.about)
	}
	return settings
}

func (b *benchRelease) print(w io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "RMSE in %% of the level's mean load, median of %d draws: region / 10k / 1k / feeder\n", b.rounds)
	for _, t := range trials {
		fmt.Fprintf(&s, "  %-13s %s\n", t.name, b.results.RMSE[t.name])
		for _, r := range rivals {
			fmt.Fprintf(&s, "    %-18s %s\n", r.name, b.results.Rivals[r.name][t.name])
		}
		if c, ok := b.results.Coverage[t.name]; ok {
			fmt.Fprintf(&s, "    95 %% intervals hold the truth, %d populations: %s\n", b.results.Populations, c)
		}
	}
	for _, product := range []string{"one_day", "mean20"} {
		fmt.Fprintf(&s, "  region's curve in equal parts, %s: %s\n", product, b.results.Baseline[product])
	}
	fmt.Fprintf(&s, "prefix sums over the lower bound:")
	for _, n := range []int{48, 64, 336, 1488, 17_520} {
		fmt.Fprintf(&s, "  %d: %.3f", n, b.results.Prefix[n])
	}
	fmt.Fprintf(&s, "\n%.0f exact draws a second", b.results.Draws)
	if b.results.RatioGoogle != nil {
		fmt.Fprintf(&s, ", %.2f times Google's %.0f", *b.results.RatioGoogle, *b.results.Google)
	}
	fmt.Fprintf(&s, "; %.0f household-days a second, all levels\n", b.results.HomeDays)
	for _, line := range append(b.results.NotRun, b.results.Settings...) {
		fmt.Fprintf(&s, "  %s\n", line)
	}
	_, err := io.WriteString(w, s.String())
	return err
}
