package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/dp"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

func privacyCommand() *cobra.Command {
	return group("privacy", "What published totals cost in privacy, and what they would say",
		"  wattveil privacy plan --rho 0.028\n  wattveil privacy budget --url https://hub.example", privacyPlanCommand(), privacyBudgetCommand())
}

// budgetReport is what privacy budget prints with --json.
type budgetReport struct {
	Year     int32           `json:"year"`
	Cap      uint64          `json:"cap_nano_rho"`
	Spent    uint64          `json:"spent_nano_rho"`
	Left     uint64          `json:"left_nano_rho"`
	DayCap   uint64          `json:"daily_cap_nano_rho"`
	MostDay  string          `json:"most_charged_day,omitempty"` // of those charged in the year, the earliest of equals
	DayMost  uint64          `json:"most_charged_day_nano_rho"`
	Delta    string          `json:"delta"`
	Epsilon  float64         `json:"spent_epsilon"` // of what is spent, at delta
	CapEps   float64         `json:"cap_epsilon"`
	Products []productBudget `json:"products"`
	Checked  *int            `json:"checked"` // charges found in the ledger; null without --key
	OK       bool            `json:"ok"`
	Index    *uint64         `json:"index,omitempty"` // of the record that is not what the hub says
	What     string          `json:"what,omitempty"`
}

type productBudget struct {
	Product  string `json:"product"`
	Spent    uint64 `json:"spent_nano_rho"`
	Days     int    `json:"days"` // of the year
	Charges  int    `json:"charges"`
	Unseen   int    `json:"unseen"`   // charges beyond one a release: their noise nobody saw
	Unlogged int    `json:"unlogged"` // charges from before they were recorded in the ledger
}

// budgetDelta is the δ at which ε is stated: a matter of printing.
const budgetDelta = 1e-6

func privacyBudgetCommand() *cobra.Command {
	var url, key string
	var year int32
	cmd := &cobra.Command{
		Use:   "budget --url URL",
		Short: "What a year's releases have cost, and what is left",
		Long: "What any household can have lost to published totals in a calendar year, by product, and what is left under the cap.\n" +
			"With --key every charge is looked up in the hub's ledger, whose records and checkpoint are checked first; exit code 1\n" +
			"if one is not there as the hub says. A charge whose noise nobody saw, because the hub died, is spent like any other.",
		Example: "  wattveil privacy budget --url https://hub.example --year 2026 --key hub.vkey",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := restClient{base: strings.TrimSuffix(url, "/")}
			var answer wattveilv1.GetBudgetResponse
			if err := client.call(cmd.Context(), "GET", fmt.Sprintf("/v1/budget?year=%d", year), nil, &answer); err != nil {
				return err
			}
			report, err := budgetOf(&answer)
			if err != nil {
				return err
			}
			if key != "" {
				if err := report.check(cmd, &answer, key, url); err != nil {
					return err
				}
			}
			return report.deliver(cmd)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "the hub's address")
	cmd.Flags().Int32Var(&year, "year", 0, "calendar year, UTC (default: the hub's current one)")
	cmd.Flags().StringVar(&key, "key", "", "the hub's verifier keys, or a file of them: look every charge up in the ledger")
	if err := cmd.MarkFlagRequired("url"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// budgetOf adds a year's charges up; what the hub says of their sum is not believed.
func budgetOf(answer *wattveilv1.GetBudgetResponse) (*budgetReport, error) {
	r := &budgetReport{Year: answer.GetYear(), Cap: answer.GetCapNanoRho(), DayCap: answer.GetDailyCapNanoRho(), Delta: fmt.Sprint(budgetDelta), Products: []productBudget{}, OK: true}
	days, releases := map[string]map[string]bool{}, map[string]map[string]bool{}
	year := fmt.Sprintf("%04d-", answer.GetYear())
	perDay := map[string]dp.Rho{}
	var spent dp.Rho
	var err error
	for _, c := range answer.GetCharges() {
		at := slices.IndexFunc(r.Products, func(p productBudget) bool { return p.Product == c.GetProduct() })
		if at < 0 {
			at = len(r.Products)
			r.Products = append(r.Products, productBudget{Product: c.GetProduct()})
			days[c.GetProduct()], releases[c.GetProduct()] = map[string]bool{}, map[string]bool{}
		}
		if spent, err = spent.Add(dp.Rho(c.GetNanoRho())); err != nil {
			return nil, fmt.Errorf("adding charges up: %w", err)
		}
		p := &r.Products[at]
		for _, day := range c.GetDays() {
			if strings.HasPrefix(day, year) {
				days[p.Product][day] = true
				if perDay[day], err = perDay[day].Add(dp.Rho(c.GetDayNanoRho())); err != nil {
					return nil, fmt.Errorf("adding charges up: %w", err)
				}
			}
		}
		releases[p.Product][path.Dir(c.GetId())] = true
		p.Spent += c.GetNanoRho() // no more than spent
		p.Charges++
		p.Days = len(days[p.Product])
		p.Unseen = p.Charges - len(releases[p.Product])
		if c.GetLeafIndex() == 0 {
			p.Unlogged++
		}
	}
	slices.SortFunc(r.Products, func(a, b productBudget) int { return cmp.Compare(a.Product, b.Product) })
	r.Spent = uint64(spent)
	for _, day := range slices.Sorted(maps.Keys(perDay)) {
		if uint64(perDay[day]) > r.DayMost {
			r.MostDay, r.DayMost = day, uint64(perDay[day])
		}
	}
	switch {
	case r.Spent != answer.GetSpentNanoRho():
		r.fail(nil, fmt.Sprintf("the hub says that %d nano-rho are spent, and its charges come to %d", answer.GetSpentNanoRho(), r.Spent))
	case r.Spent > r.Cap:
		r.fail(nil, "more is spent than the cap")
	case r.DayCap > 0 && r.DayMost > r.DayCap:
		r.fail(nil, "more was charged to "+r.MostDay+" than the cap of a day")
	}
	r.Left = r.Cap - min(r.Spent, r.Cap)
	if r.Epsilon, err = dp.Epsilon(spent, budgetDelta); err != nil {
		return nil, fmt.Errorf("stating epsilon: %w", err)
	}
	if r.CapEps, err = dp.Epsilon(dp.Rho(r.Cap), budgetDelta); err != nil {
		return nil, fmt.Errorf("stating epsilon: %w", err)
	}
	return r, nil
}

func (r *budgetReport) fail(index *uint64, what string) {
	if r.OK {
		r.OK, r.Index, r.What = false, index, what
	}
}

// check looks every charge up in the ledger.
func (r *budgetReport) check(cmd *cobra.Command, answer *wattveilv1.GetBudgetResponse, key, url string) error {
	text, err := keyText(key)
	if err != nil {
		return err
	}
	v, err := ledger.NewVerifier(text)
	if err != nil {
		return err
	}
	from := logFlags{url: url}
	src, err := from.source()
	if err != nil {
		return err
	}
	leaves, _, err := leavesAt(cmd, v, src, recordsOf(answer.GetCharges()))
	if bad, ok := violated(err); ok {
		r.fail(bad.Index, bad.What)
		return nil
	}
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, c := range answer.GetCharges() {
		index := c.GetLeafIndex()
		leaf, found := leaves[index]
		what := ""
		switch {
		case index == 0:
			continue // counted as one from before they were recorded
		case seen[index]:
			what = "two charges name one record"
		case !found:
			what = "a charge names a record that the ledger does not have"
		default:
			what = misstated(c, leaf)
		}
		if seen[index] = true; what != "" {
			r.fail(&index, what)
		}
	}
	found := len(leaves)
	r.Checked = &found
	return nil
}

func (r *budgetReport) deliver(cmd *cobra.Command) error {
	if asJSON(cmd) {
		if err := printJSON(cmd, r); err != nil {
			return err
		}
	} else if err := r.print(cmd.OutOrStdout()); err != nil {
		return err
	}
	if !r.OK {
		return errNo
	}
	return nil
}

func (r *budgetReport) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: ρ = %s of %s spent, %s left (ε = %.2f of %.2f at δ = %s)\n", r.Year, dp.Rho(r.Spent), dp.Rho(r.Cap), dp.Rho(r.Left), r.Epsilon, r.CapEps, r.Delta)
	if r.MostDay != "" {
		fmt.Fprintf(&b, "  no day was charged more than ρ = %s of %s, on %s\n", dp.Rho(r.DayMost), dp.Rho(r.DayCap), r.MostDay)
	}
	for _, p := range r.Products {
		fmt.Fprintf(&b, "  %s: ρ = %s for %d days", p.Product, dp.Rho(p.Spent), p.Days)
		if p.Unseen > 0 {
			fmt.Fprintf(&b, ", %d charges of it for noise that nobody saw", p.Unseen)
		}
		if p.Unlogged > 0 {
			fmt.Fprintf(&b, ", %d charges from before charges were recorded", p.Unlogged)
		}
		b.WriteByte('\n')
	}
	if r.Checked != nil {
		fmt.Fprintf(&b, "  %d charges stand in the ledger\n", *r.Checked)
	}
	if !r.OK {
		fmt.Fprintf(&b, "  NOT TRUE: %s\n", r.What)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
