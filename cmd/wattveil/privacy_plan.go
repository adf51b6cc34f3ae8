package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/dp/estimate"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// planReport is what privacy plan prints with --json.
type planReport struct {
	RhoNano  uint64          `json:"rho_nano"`
	Delta    string          `json:"delta"`
	Epsilon  float64         `json:"epsilon"`
	Products []plannedReport `json:"products"`
	Others   []outlookReport `json:"other_products"`
	Source   string          `json:"reference"`
}

// plannedReport is a product in the words of a hub's catalogue of products, which it can
// be pasted into: basis, and by level rho, clip_wh and bias.
type plannedReport struct {
	Product string         `json:"product"`
	Unit    string         `json:"privacy_unit"`
	Days    int            `json:"days"`
	Grid    int            `json:"interval_seconds"`
	Basis   plannedBasis   `json:"basis"`
	Levels  []plannedLevel `json:"levels"`
}

// plannedBasis is a weighted DCT as dp.NewBasis takes it.
type plannedBasis struct {
	Weights   []uint64 `json:"weights"` // in units of 2^-16, the least is 1
	Precision uint     `json:"precision"`
	Shift     uint     `json:"shift"`
}

type plannedLevel struct {
	Homes      int         `json:"homes"`
	Rho        dp.Rho      `json:"rho"`
	RhoNano    uint64      `json:"rho_nano"`
	ClipWh     int64       `json:"clip_wh"`  // of the mean day, in Wh of the coefficient of the least weight
	SigmaWh    float64     `json:"sigma_wh"` // of such a coefficient
	Bias       plannedBias `json:"bias"`
	BiasSource string      `json:"bias_source"`
	RMSE       float64     `json:"rmse_percent"`
	Baseline   float64     `json:"baseline_percent"`
	Says       bool        `json:"says_more_than_baseline"`
}

// plannedBias is how far estimates are off on the reference, noise left out, in parts
// per million of a node's mean load: the mean over nodes and intervals, and the standard
// deviation from it over nodes, intervals and populations.
type plannedBias struct {
	MeanPPM   int64 `json:"mean_ppm"`
	SpreadPPM int64 `json:"spread_ppm"`
}

func privacyPlanCommand() *cobra.Command {
	var sizes, split, rho, folder string
	cmd := &cobra.Command{
		Use:   "plan --rho RHO",
		Short: "What error to expect on each level for a budget",
		Long: "What error to expect of a day's curve and of a mean curve over 20 days, on each level of a tree, if RHO is spent on it:\n" +
			"root mean square over nodes and half-hours, in percent of the level's mean load, beside what anybody knows without the\n" +
			"release, the region's curve in equal parts. A level that would say less than that is marked. Norms, weights and the\n" +
			"split of RHO are planned on a public reference, never on private data: of all splits the one whose errors have the least\n" +
			"sum of square roots.\n\n" +
			"RHO is the price of one release for one household on one day; of a mean it is that of the household's whole span, and\n" +
			"of any one household-day of it: each day is clipped, and the mean again, and the noise is for both.\n\n" +
			"The same RHO as a span's energy, number of households, histogram, quantiles or time of peak follows, each level alone.\n\n" +
			"With --json it prints what a hub's catalogue of products needs: basis, and by level rho, clip norm and bias.",
		Example: "  wattveil privacy plan --rho 0.028\n  wattveil privacy plan --rho 0.5 --homes 40000,4000,200 --split 1,2,4",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			budget, err := dp.ParseRho(rho)
			if err != nil || budget == 0 {
				return fmt.Errorf("--rho is a number such as 0.028, above 0")
			}
			homes, err := numbers(sizes)
			if err != nil {
				return fmt.Errorf("--homes: %w", err)
			}
			if homes[0]/homes[len(homes)-1] > plan.MaxNodes {
				return fmt.Errorf("--homes: the last level may have at most %d nodes", plan.MaxNodes)
			}
			var parts []int
			if split != "" {
				if parts, err = numbers(split); err != nil || len(parts) != len(homes) {
					return fmt.Errorf("--split needs a part for each level of --homes")
				}
			}
			report, err := planFor(cmd.ErrOrStderr(), budget, homes, parts, folder)
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, report)
			}
			return report.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&rho, "rho", "", "what the release may cost a household, over all levels")
	cmd.Flags().StringVar(&sizes, "homes", "100000,10000,1000,100", "homes below a node of each level, the region first; each divides the one before")
	cmd.Flags().StringVar(&split, "split", "", "parts of RHO for the levels, such as 1,1,2,6 (default: the best one, which is searched for)")
	cmd.Flags().StringVar(&folder, "reference", "", "folder with a public reference population (default: generated)")
	if err := cmd.MarkFlagRequired("rho"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// Bounds of a plan, and with them of its memory and time.
const (
	maxPlanned       = 1_000_000 // homes
	maxPlannedLevels = 8
)

func numbers(list string) (ns []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > maxPlanned || len(ns) == maxPlannedLevels {
			return nil, fmt.Errorf("whole numbers from 1 to %d, at most %d of them", maxPlanned, maxPlannedLevels)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

func planFor(progress io.Writer, budget dp.Rho, homes, parts []int, folder string) (*planReport, error) {
	epsilon, err := dp.Epsilon(budget, budgetDelta)
	if err != nil {
		return nil, fmt.Errorf("stating epsilon: %w", err)
	}
	report := &planReport{RhoNano: uint64(budget), Delta: fmt.Sprint(budgetDelta), Epsilon: epsilon, Source: "generated, model of package population"}
	var reference views
	if folder != "" {
		report.Source = "a folder"
		if reference, err = readViews(folder, population.Reference, maxPlanned); err != nil {
			return nil, err
		}
	} else if reference, err = modelViews(homes[0]); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		name    string
		product plan.Product
		from    held
	}{{dayView, plan.Day, reference.day}, {meanView, population.MeanDays, reference.mean}} {
		fmt.Fprintf(progress, "planning %s\n", p.name)
		study, err := plan.NewStudy(p.from, p.product, homes)
		if err != nil {
			return nil, err
		}
		design, err := designFor(study, budget, parts)
		if err != nil {
			return nil, err
		}
		report.Products = append(report.Products, planned(p.name, design))
	}
	if report.Others, err = outlooks(reference.mean, budget, homes, parts); err != nil {
		return nil, err
	}
	return report, nil
}

// designFor splits a budget by the given parts, or finds the best ones.
func designFor(study *plan.Study, budget dp.Rho, parts []int) (*plan.Design, error) {
	if parts == nil {
		return study.Best(budget)
	}
	d, err := study.Design(plan.Divide(budget, parts))
	if err == nil && d.Levels[0].Load == 0 {
		return nil, plan.ErrLoad
	}
	return d, err
}

// modelViews is a reference that is the same at every run: a plan is public, and so is
// what it rests on.
func modelViews(households int) (v views, err error) {
	for i, fill := range []func(*population.Population){
		func(p *population.Population) { v.day = hold(p.Day(0)) },
		func(p *population.Population) { v.mean = hold(p.Mean(population.MeanDays)) },
	} {
		p, err := population.Generate(population.Default(), [32]byte{byte(i)}, households)
		if err != nil {
			return v, err
		}
		fill(p)
	}
	return v, nil
}

func planned(name string, d *plan.Design) plannedReport {
	r := plannedReport{
		Product: name, Unit: units[name], Days: int(d.Product), Grid: 86_400 / plan.Intervals,
		Basis: plannedBasis{Weights: d.Basis.Weights(), Precision: d.Basis.Precision(), Shift: d.Basis.Shift()},
	}
	for i, l := range d.Levels {
		sigma2, _ := l.Variance.Rat().Float64()
		mean, spread := d.StatedBias(i)
		level := plannedLevel{
			Homes: l.Size, Rho: l.Rho, RhoNano: uint64(l.Rho), ClipWh: l.ClipWh, SigmaWh: d.Wh(math.Sqrt(sigma2)),
			Bias:       plannedBias{MeanPPM: int64(math.Round(1e6 * mean)), SpreadPPM: int64(math.Ceil(1e6 * spread))},
			BiasSource: string(estimate.PublicReference),
			RMSE:       100 * d.Expected(i), Baseline: 100 * l.Baseline,
		}
		level.Says = i == 0 || level.RMSE < level.Baseline
		r.Levels = append(r.Levels, level)
	}
	return r
}

func (r *planReport) print(w io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "ρ = %s for a release (ε = %.2f at δ = %s); reference: %s\n", dp.Rho(r.RhoNano), r.Epsilon, r.Delta, r.Source)
	for _, p := range r.Products {
		fmt.Fprintf(&s, "%s: what it costs %s\n", p.Product, p.Unit)
		for _, l := range p.Levels {
			fmt.Fprintf(&s, "  nodes of %6d homes: error %6.2f %%, without the release %6.2f %%   (ρ = %s, C = %.1f kWh)", l.Homes, l.RMSE, l.Baseline, l.Rho, float64(l.ClipWh)/1000)
			if !l.Says {
				s.WriteString("   SAYS NOTHING that the region does not")
			}
			s.WriteByte('\n')
		}
	}
	for _, o := range r.Others {
		o.print(&s)
	}
	_, err := io.WriteString(w, s.String())
	return err
}
