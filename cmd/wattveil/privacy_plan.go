package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// planReport is what privacy plan prints with --json.
type planReport struct {
	RhoNano  uint64          `json:"rho_nano"`
	Delta    string          `json:"delta"`
	Epsilon  float64         `json:"epsilon"`
	Products []plannedReport `json:"products"`
	Source   string          `json:"reference"`
}

type plannedReport struct {
	Product string         `json:"product"`
	Levels  []plannedLevel `json:"levels"`
}

type plannedLevel struct {
	Homes    int     `json:"homes"`
	RhoNano  uint64  `json:"rho_nano"`
	ClipWh   float64 `json:"clip_wh"`
	SigmaWh  float64 `json:"sigma_wh"` // of a coefficient of weight one
	RMSE     float64 `json:"rmse_percent"`
	Baseline float64 `json:"baseline_percent"`
	Says     bool    `json:"says_more_than_baseline"`
}

// splits of a budget over levels that are tried where none is given: parts for the
// region, then less for each level the nearer to it.
var splits = [][]float64{{1, 1, 1, 1, 1, 1, 1, 1}, {1, 1.5, 3, 6, 12, 24, 48, 96}, {1, 2, 3, 5, 8, 13, 21, 34}, {1, 1, 2, 6, 12, 24, 48, 96}}

func privacyPlanCommand() *cobra.Command {
	var sizes, split, rho, folder string
	cmd := &cobra.Command{
		Use:   "plan --rho RHO",
		Short: "What error to expect on each level for a budget",
		Long: "What error to expect of a day's curve and of a mean curve over 20 days, on each level of a tree, if RHO is spent on it:\n" +
			"root mean square over nodes and half-hours, in percent of the level's mean load, beside what anybody knows without the\n" +
			"release, the region's curve in equal parts. A level that would say less than that is marked. Norms, weights and the\n" +
			"split of RHO are planned on a public reference, never on private data.",
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
			tried := splits
			if split != "" {
				parts, err := numbers(split)
				if err != nil || len(parts) != len(homes) {
					return fmt.Errorf("--split needs a part for each level of --homes")
				}
				tried = [][]float64{nil}
				for _, p := range parts {
					tried[0] = append(tried[0], float64(p))
				}
			}
			report, err := planFor(cmd.ErrOrStderr(), budget, homes, tried, folder)
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
	cmd.Flags().StringVar(&split, "split", "", "parts of RHO for the levels, such as 1,1,2,6 (default: the best of several)")
	cmd.Flags().StringVar(&folder, "reference", "", "folder with a public reference population (default: generated)")
	if err := cmd.MarkFlagRequired("rho"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// maxPlanned bounds the homes of a plan, and with them its memory and time.
const maxPlanned = 1_000_000

func numbers(list string) (ns []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > maxPlanned || len(ns) == len(splits[0]) {
			return nil, fmt.Errorf("whole numbers from 1 to %d, at most %d of them", maxPlanned, len(splits[0]))
		}
		ns = append(ns, n)
	}
	return ns, nil
}

func planFor(progress io.Writer, budget dp.Rho, homes []int, tried [][]float64, folder string) (*planReport, error) {
	epsilon, err := dp.Epsilon(budget, budgetDelta)
	if err != nil {
		return nil, fmt.Errorf("stating epsilon: %w", err)
	}
	report := &planReport{RhoNano: uint64(budget), Delta: fmt.Sprint(budgetDelta), Epsilon: epsilon, Source: "generated, model of package population"}
	var reference views
	if folder != "" {
		report.Source = "a folder"
		if reference, err = readViews(folder, population.Reference); err != nil {
			return nil, err
		}
	} else if reference, err = modelViews(homes[0]); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		name    string
		product plan.Product
		from    held
	}{{"one_day", plan.Day, reference.day}, {"mean20", plan.Mean, reference.mean}} {
		fmt.Fprintf(progress, "planning %s\n", p.name)
		study, err := plan.NewStudy(p.from, p.product, homes)
		if err != nil {
			return nil, err
		}
		best, err := bestDesign(study, budget, tried, len(homes))
		if err != nil {
			return nil, err
		}
		report.Products = append(report.Products, planned(p.name, best))
	}
	return report, nil
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

// bestDesign is that of the least error, as the levels' geometric mean.
func bestDesign(study *plan.Study, budget dp.Rho, tried [][]float64, levels int) (best *plan.Design, err error) {
	least := math.Inf(1)
	for _, parts := range tried {
		d, err := study.Design(divide(budget, parts[:levels]))
		if err != nil {
			return nil, err
		}
		total := 0.0
		for i := range d.Levels {
			total += math.Log(d.Expected(i))
		}
		if total < least {
			best, least = d, total
		}
	}
	return best, nil
}

// divide splits a budget by parts, and gives what rounding leaves to the last level.
func divide(budget dp.Rho, parts []float64) []dp.Rho {
	sum := 0.0
	for _, p := range parts {
		sum += p
	}
	rhos, left := make([]dp.Rho, len(parts)), budget
	for i, p := range parts[:len(parts)-1] {
		rhos[i] = min(left, dp.Rho(float64(budget)*p/sum))
		left -= rhos[i]
	}
	rhos[len(parts)-1] = left
	return rhos
}

func planned(name string, d *plan.Design) plannedReport {
	r := plannedReport{Product: name}
	for i, l := range d.Levels {
		sigma2, _ := l.Variance.Rat().Float64()
		level := plannedLevel{
			Homes: l.Size, RhoNano: uint64(l.Rho), ClipWh: l.ClipWh(), SigmaWh: plan.Wh(math.Sqrt(sigma2)),
			RMSE: 100 * d.Expected(i), Baseline: 100 * l.Baseline,
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
		fmt.Fprintf(&s, "%s\n", p.Product)
		for _, l := range p.Levels {
			fmt.Fprintf(&s, "  nodes of %6d homes: error %6.2f %%, without the release %6.2f %%   (ρ = %s, C = %.1f kWh)", l.Homes, l.RMSE, l.Baseline, dp.Rho(l.RhoNano), l.ClipWh/1000)
			if !l.Says {
				s.WriteString("   SAYS NOTHING that the region does not")
			}
			s.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, s.String())
	return err
}
