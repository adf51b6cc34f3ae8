package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/wattveil/wattveil/privacy/dp"
)

// settings says on what, and how, a run was measured.
func (b *benchRelease) settings(households int) ([]string, error) {
	source := "generated"
	means := "mean20: each day clipped before it joins, and the mean again"
	if b.folder != "" {
		source = "a folder"
		means = "mean20: the folder holds means without their days, so the second clip alone was tried, with the noise of both; coverage is of generated days through both"
	}
	settings := []string{
		fmt.Sprintf("%d households, %s; region / 10k / 1k / feeder of 100; coverage on as many, generated", households, source),
		"reference and population come from one generator: on real data expect more",
		fmt.Sprintf("seed of generated populations %x, each under SHA-256 of it and a name", b.drawn),
		"norms, weights and splits planned on the reference alone; a split has the least sum of square roots of errors that a search finds, the rivals' too",
		means,
	}
	for _, view := range []string{dayView, meanView} {
		settings = append(settings, "unit of "+view+": "+units[view])
	}
	for _, t := range trials {
		bound, err := dp.Epsilon(t.rho, budgetDelta)
		if err != nil {
			return nil, fmt.Errorf("stating epsilon: %w", err)
		}
		settings = append(settings, fmt.Sprintf("%s: rho = %s, epsilon = %g at delta = %g by the exact Gaussian curve (%.2f by the bound of CKS20, which releases state), split %s",
			t.name, t.rho, t.epsilon, budgetDelta, bound, b.results.Splits[t.name]))
	}
	for _, r := range rivals {
		settings = append(settings, fmt.Sprintf("%s: %s; %d bounds tried from %d to %d Wh", r.name, r.about, len(r.bounds), r.bounds[0], r.bounds[len(r.bounds)-1]))
		for _, t := range trials {
			s := b.results.Settled[r.name][t.name]
			settings = append(settings, fmt.Sprintf("%s, %s: split %s, bounds in Wh %s", r.name, t.name, s.Split, s.Bounds))
		}
	}
	return settings, nil
}

func (b *benchRelease) print(w io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "RMSE in %% of the level's mean load, medians of %d rounds of noise on one population, the rivals' too: region / 10k / 1k / feeder\n", b.rounds)
	for _, t := range trials {
		fmt.Fprintf(&s, "  %-13s %s\n", t.name, b.results.RMSE[t.name])
		if one, ok := b.results.OneClip[t.name]; ok {
			fmt.Fprintf(&s, "    %-18s %s\n", "second clip alone", one)
		}
		for _, r := range rivals {
			fmt.Fprintf(&s, "    %-18s %s\n", r.name, b.results.Rivals[r.name][t.name])
		}
		if c, ok := b.results.Coverage[t.name]; ok {
			fmt.Fprintf(&s, "    95 %% intervals hold the truth, %d populations: %s\n", b.results.Populations, c)
		}
	}
	for _, view := range []string{dayView, meanView} {
		fmt.Fprintf(&s, "  region's curve in equal parts, %s: %s\n", view, b.results.Baseline[view])
	}
	fmt.Fprintf(&s, "prefix sums over the lower bound of factorisation (matrix) mechanisms:")
	for _, n := range prefixLengths {
		fmt.Fprintf(&s, "  %d: %.3f", n, b.results.Prefix[n])
	}
	fmt.Fprintf(&s, "\n%.0f exact draws a second", b.results.Draws)
	if b.results.RatioGoogle != nil {
		fmt.Fprintf(&s, ", %.2f times Google's %.0f", *b.results.RatioGoogle, *b.results.Google)
	}
	fmt.Fprintf(&s, "; %.0f household-days a second, all levels; medians of %d rounds\n", b.results.HomeDays, b.rounds)
	for _, line := range append(b.results.NotRun, b.results.Settings...) {
		fmt.Fprintf(&s, "  %s\n", line)
	}
	_, err := io.WriteString(w, s.String())
	return err
}
