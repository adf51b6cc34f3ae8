package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/release"
)

// outlookReport is what to expect of a product that is not a curve.
type outlookReport struct {
	Product string         `json:"product"`
	Of      string         `json:"percent_of"`
	Levels  []outlookLevel `json:"levels"`
}

type outlookLevel struct {
	Homes    int      `json:"homes"`
	Rho      dp.Rho   `json:"rho"`
	RhoNano  uint64   `json:"rho_nano"`
	ClipWh   int64    `json:"clip_wh,omitempty"` // of the mean day
	RMSE     float64  `json:"rmse_percent"`
	Baseline *float64 `json:"baseline_percent"` // null: nobody knows without the release
	Says     bool     `json:"says_more_than_baseline"`
}

// outlooks say what the budget would buy as each other product, split over levels as
// levels are wide: more to the finer ones, whose errors are the larger.
func outlooks(reference plan.Source, budget dp.Rho, homes, parts []int) ([]outlookReport, error) {
	if parts == nil {
		for i := range homes {
			parts = append(parts, i+1)
		}
	}
	rhos := plan.Divide(budget, parts)
	edges := defaultEdges()
	var out []outlookReport
	for _, p := range []struct {
		kind release.Kind
		of   string
		look func() ([]plan.Outlook, error)
	}{
		{release.Energy, "a node's energy", func() ([]plan.Outlook, error) { return plan.Energy(reference, homes, rhos) }},
		{release.Households, "a node's households", func() ([]plan.Outlook, error) { return plan.Households(reference, homes, rhos) }},
		{release.Histogram, "a node's households, per bin", func() ([]plan.Outlook, error) { return plan.Histogram(reference, edges, homes, rhos) }},
		{release.Quantiles, "a node's households, of a rank", func() ([]plan.Outlook, error) { return plan.Quantiles(reference, edges, homes, rhos) }},
		{release.PeakTime, "a node's households, per hour", func() ([]plan.Outlook, error) { return plan.Histogram(reference, nil, homes, rhos) }},
	} {
		levels, err := p.look()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.kind, err)
		}
		r := outlookReport{Product: string(p.kind), Of: p.of}
		for i, l := range levels {
			level := outlookLevel{Homes: l.Size, Rho: l.Rho, RhoNano: uint64(l.Rho), ClipWh: l.ClipWh, RMSE: 100 * l.Error}
			if !math.IsNaN(l.Baseline) {
				baseline := 100 * l.Baseline
				level.Baseline = &baseline
			}
			level.Says = i == 0 || level.Baseline == nil || level.RMSE < *level.Baseline
			r.Levels = append(r.Levels, level)
		}
		out = append(out, r)
	}
	return out, nil
}

// defaultEdges are those of the default catalogue.
func defaultEdges() []int64 {
	for _, p := range release.DefaultCatalogue().Products {
		if p.Kind == release.Histogram {
			return p.EdgesWh
		}
	}
	panic("the default catalogue has no histogram")
}

// print writes a product's levels.
func (r outlookReport) print(s *strings.Builder) {
	fmt.Fprintf(s, "%s: error in %% of %s, each level alone\n", r.Product, r.Of)
	for _, l := range r.Levels {
		fmt.Fprintf(s, "  nodes of %6d homes: error %6.2f %%", l.Homes, l.RMSE)
		if l.Baseline != nil {
			fmt.Fprintf(s, ", without the release %6.2f %%", *l.Baseline)
		}
		fmt.Fprintf(s, "   (ρ = %s", l.Rho)
		if l.ClipWh > 0 {
			fmt.Fprintf(s, ", C = %.1f kWh", float64(l.ClipWh)/1000)
		}
		s.WriteByte(')')
		if !l.Says {
			s.WriteString("   SAYS NOTHING that the region does not")
		}
		s.WriteByte('\n')
	}
}
