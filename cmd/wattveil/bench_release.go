package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/privacy/dp"
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
	seed        string
	google      string

	drawn     [32]byte             // the seed of all populations that are generated
	rhos      map[string][]dp.Rho  // of each trial's levels, found on the reference
	baselines map[string][]float64 // of each view's levels, on the reference
	homeDays  []float64            // household-days a second, of each round of a day's curve
	results   benchReleaseReport
}

// perLevel is a figure for each level of the tree.
type perLevel map[string]float64

type benchReleaseReport struct {
	RMSE          map[string]perLevel            `json:"rmse_percent"` // medians of rounds, as all others
	OneClip       map[string]perLevel            `json:"one_clip_rmse_percent"`
	Splits        map[string]perLevel            `json:"splits"`
	Baseline      map[string]perLevel            `json:"baseline"`
	Rivals        map[string]map[string]perLevel `json:"rivals_rmse_percent"`
	Settled       map[string]map[string]settled  `json:"rivals_settings"`
	Coverage      map[string]perLevel            `json:"interval_coverage"`
	Populations   int                            `json:"coverage_populations"`
	CoverageHomes int                            `json:"coverage_households"`
	Prefix        map[int]float64                `json:"prefix_ratio_to_bound"`
	Draws         float64                        `json:"draws_per_second"`
	Google        *float64                       `json:"draws_per_second_google"` // null: not run
	RatioGoogle   *float64                       `json:"ratio_draws_google"`
	HomeDays      float64                        `json:"household_days_per_second"` // measured, clipped for every level, and added
	Rounds        []map[string]perLevel          `json:"rounds"`
	Units         map[string]string              `json:"privacy_units"`
	NotRun        []string                       `json:"not_run"`
	Settings      []string                       `json:"settings"`
}

// trialOf is one figure of the table: a product at a budget.
type trialOf struct {
	name, view string
	product    plan.Product
	rho        dp.Rho
	epsilon    float64 // at δ = 1e-6, of the exact Gaussian curve; CKS20's bound, which a release states, is higher
}

const (
	dayView  = "one_day"
	meanView = "mean20"
)

// units say what the noise of a product covers.
var units = map[string]string{
	dayView:  "one household on one day, added or removed",
	meanView: "one household over the whole span, and any one household-day of it, added or removed",
}

var trials = []trialOf{
	{"one_day_eps1", dayView, plan.Day, 28_000_000, 1},
	{"one_day_eps5", dayView, plan.Day, 520_000_000, 5},
	{"mean20_eps1", meanView, population.MeanDays, 28_000_000, 1},
	{"mean20_eps5", meanView, population.MeanDays, 520_000_000, 5},
}

// levelNames are the levels of the shared populations, the region first.
var levelNames = []string{"region", "10k", "1k", "feeder"}

// Bounds of a benchmark: memory grows with the households, time with all three.
const (
	mostBenched     = 1_000_000
	mostRounds      = 1_000
	mostPopulations = 10_000
)

func benchReleaseCommand() *cobra.Command {
	b := &benchRelease{}
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Accuracy and speed of published totals, beside simpler mechanisms",
		Long: "Measure populations of households over a tree of a region, nodes of 10,000 and 1,000 homes and feeders of 100, as the\n" +
			"privacy engine would: weighted DCT, one clip norm a level, exact discrete Gaussian noise, common-mode correction, least\n" +
			"squares. Norms, weights and the split of the budget over the levels are planned on a public reference alone. The error is\n" +
			"the root mean square over nodes and half-hours in percent of the level's mean load, beside what anybody knows without the\n" +
			"release (the region's curve in equal parts), Laplace noise on each reading, Gaussian noise on readings, and a whole-day\n" +
			"clip without the tree, each with bounds and a split planned on the same reference.\n\n" +
			"The unit of a day's curve is one household on one day; of a mean over 20 days it is a household over the whole span, and\n" +
			"any one household-day of it: each day is clipped, and the mean again. A folder holds means without their days; of those\n" +
			"the second clip alone is tried, with the noise of both.\n\n" +
			"Coverage is that of the stated 95 % intervals, over freshly generated populations. Reference and population come from one\n" +
			"generator: on real data expect more.",
		Example: "  wattveil bench release --population ../shared/data/synthetic --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return err
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
	cmd.Flags().StringVar(&b.seed, "seed", "", "64 hex digits that generated populations are drawn from (default: fresh ones, which are printed)")
	cmd.Flags().StringVar(&b.google, "google", "", "the program of .ci/rivals/google")
	return cmd
}

// check refuses what would take memory or time without end, and makes a seed.
func (b *benchRelease) check() error {
	if b.households < 2*population.LargeNodeSize || b.households > mostBenched || b.households%population.LargeNodeSize != 0 {
		return fmt.Errorf("--households must be a multiple of 10000 from 20000 to %d", mostBenched)
	}
	if b.rounds < 1 || b.rounds > mostRounds || b.populations < 0 || b.populations > mostPopulations {
		return fmt.Errorf("--rounds must be from 1 to %d, and --populations from 0 to %d", mostRounds, mostPopulations)
	}
	if b.seed == "" {
		_, err := rand.Read(b.drawn[:])
		return err
	}
	if n, err := hex.Decode(b.drawn[:], []byte(b.seed[:min(len(b.seed), 64)])); err != nil || n != len(b.drawn) || len(b.seed) != 64 {
		return fmt.Errorf("--seed must be 64 hex digits")
	}
	return nil
}

func (b *benchRelease) run(ctx context.Context, progress io.Writer) error {
	reference, private, err := b.samples()
	if err != nil {
		return err
	}
	households := private.day.Households()
	b.rhos, b.baselines = map[string][]dp.Rho{}, map[string][]float64{}
	b.results = benchReleaseReport{
		RMSE: map[string]perLevel{}, OneClip: map[string]perLevel{}, Splits: map[string]perLevel{}, Baseline: map[string]perLevel{},
		Rivals: map[string]map[string]perLevel{}, Settled: map[string]map[string]settled{}, Coverage: map[string]perLevel{},
		Prefix: map[int]float64{}, Units: units, NotRun: []string{},
	}
	for _, view := range []string{dayView, meanView} {
		if err := b.tryAll(ctx, progress, view, reference, private, sizesOf(households)); err != nil {
			return fmt.Errorf("%s: %w", view, err)
		}
	}
	b.results.HomeDays = median(b.homeDays)
	if err := b.cover(ctx, progress, households); err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	for _, n := range prefixLengths {
		if b.results.Prefix[n], err = prefixRatio(n); err != nil {
			return fmt.Errorf("prefix sums of %d: %w", n, err)
		}
	}
	if err := b.draw(ctx); err != nil {
		return err
	}
	settings, err := b.settings(households)
	b.results.Settings = append(settings, b.results.Settings...)
	return err
}

func sizesOf(households int) []int {
	return []int{households, population.LargeNodeSize, population.SmallNodeSize, population.FeederSize}
}

// tryAll studies the reference once for all budgets of a product.
func (b *benchRelease) tryAll(ctx context.Context, progress io.Writer, view string, reference, private views, sizes []int) error {
	var study *plan.Study
	for _, t := range trials {
		if t.view != view {
			continue
		}
		if study == nil {
			var err error
			if study, err = plan.NewStudy(reference.means(t), t.product, sizes); err != nil {
				return err
			}
		}
		if err := b.try(ctx, progress, t, study, private); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		for _, r := range rivals {
			if err := b.rival(ctx, progress, r, t, reference.means(t), private.means(t), sizes); err != nil {
				return fmt.Errorf("%s: %s: %w", t.name, r.name, err)
			}
		}
	}
	return nil
}

// try plans a product on the reference and measures the population several times.
func (b *benchRelease) try(ctx context.Context, progress io.Writer, t trialOf, study *plan.Study, private views) error {
	design, err := study.Best(t.rho)
	if err != nil {
		return err
	}
	split := perLevel{}
	b.rhos[t.name], b.baselines[t.view] = nil, nil
	for i, l := range design.Levels {
		b.rhos[t.name], b.baselines[t.view] = append(b.rhos[t.name], l.Rho), append(b.baselines[t.view], l.Baseline)
		split[levelNames[i]] = float64(l.Rho) / float64(t.rho)
	}
	b.results.Splits[t.name] = split
	all, base, err := b.tries(ctx, design, private.of(t))
	if err != nil {
		return err
	}
	for round, rmse := range all {
		if len(b.results.Rounds) <= round {
			b.results.Rounds = append(b.results.Rounds, map[string]perLevel{})
		}
		b.results.Rounds[round][t.name] = rmse
	}
	b.results.RMSE[t.name], b.results.Baseline[t.view] = medianOf(all), base
	fmt.Fprintf(progress, "%s: %s\n", t.name, b.results.RMSE[t.name])
	if t.product == plan.Day || private.span == nil {
		return nil
	}
	if all, _, err = b.tries(ctx, design, private.mean); err != nil {
		return err
	}
	b.results.OneClip[t.name] = medianOf(all)
	fmt.Fprintf(progress, "%s, second clip alone: %s\n", t.name, b.results.OneClip[t.name])
	return nil
}

// tries measures a population in every round, and returns the errors of each.
func (b *benchRelease) tries(ctx context.Context, design *plan.Design, private plan.Source) (all []perLevel, base perLevel, err error) {
	for range b.rounds {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		began := time.Now()
		outcomes, err := design.Try(private)
		if err != nil {
			return nil, nil, err
		}
		if design.Product == plan.Day {
			b.homeDays = append(b.homeDays, float64(private.Households())/time.Since(began).Seconds())
		}
		if outcomes[0].Load == 0 {
			return nil, nil, errNoLoad
		}
		rmse := perLevel{}
		base = perLevel{}
		for i, o := range outcomes {
			rmse[levelNames[i]], base[levelNames[i]] = 100*o.RMSE, 100*o.Baseline
		}
		all = append(all, rmse)
	}
	return all, base, nil
}

// rival measures one simpler mechanism.
func (b *benchRelease) rival(ctx context.Context, progress io.Writer, r rival, t trialOf, reference, private held, sizes []int) error {
	if b.results.Rivals[r.name] == nil {
		b.results.Rivals[r.name], b.results.Settled[r.name] = map[string]perLevel{}, map[string]settled{}
	}
	s, err := r.settle(t, reference, sizes, b.baselines[t.view])
	if err != nil {
		return err
	}
	b.results.Settled[r.name][t.name] = s
	all, err := r.rounds(ctx, t, s, private, sizes, b.rounds)
	if err != nil {
		return err
	}
	b.results.Rivals[r.name][t.name] = medianOf(all)
	fmt.Fprintf(progress, "%s %s: %s\n", t.name, r.name, b.results.Rivals[r.name][t.name])
	return nil
}

// String writes the levels from the region down.
func (p perLevel) String() string {
	var parts []string
	for _, name := range levelNames {
		parts = append(parts, name+" "+threeDigits(p[name]))
	}
	return strings.Join(parts, " / ")
}

// threeDigits are significant ones, without an exponent.
func threeDigits(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func medianOf(rounds []perLevel) perLevel {
	m := perLevel{}
	for _, name := range levelNames {
		var values []float64
		for _, r := range rounds {
			values = append(values, r[name])
		}
		m[name] = median(values)
	}
	return m
}

// median is the upper one of an even number.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
