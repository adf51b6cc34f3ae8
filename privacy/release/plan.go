package release

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Plan declares what is published and what it costs. It is public, and fixed
// without looking at private data.
type Plan struct {
	// Levels of the grid tree, from the root down: one entry for each level that
	// is published.
	Levels []LevelPlan `yaml:"levels"`
	// YearlyCap bounds what any household can lose in a calendar year.
	YearlyCap dp.Rho `yaml:"yearly_cap"`
	// Delta is the δ at which ε is stated, such as "1e-6". It is a matter of
	// printing: budgets are in ρ.
	Delta string `yaml:"delta"`
	// Watermark is how long after a UTC day's end its window stays open.
	Watermark time.Duration `yaml:"watermark"`
}

// LevelPlan is one level's share.
type LevelPlan struct {
	// Kind is the level's kind in the grid tree.
	Kind string `yaml:"kind"`
	// Rho is spent on the level every day, for all its nodes together: a
	// household is in one of them.
	Rho dp.Rho `yaml:"rho"`
	// ClipWh is C, the bound on a household-day's L2 norm in Wh.
	ClipWh int64 `yaml:"clip_wh"`
}

// ErrPlan says that a plan is not valid.
var ErrPlan = errors.New("release: plan not valid")

// DefaultPlan spends ρ = 0.018 a day over region, substation and feeder, and at
// most ρ = 1.0 a year. The clip bounds follow from a public consideration, not
// from private data: a home that draws 1 kW all day has a norm of 3.5 kWh
// (0.5 kWh × √48), one that heats with 3.5 kW 12 kWh; the larger a group, the
// less noise counts against what clipping takes away, and the less is clipped.
func DefaultPlan() Plan {
	return Plan{
		Levels: []LevelPlan{
			{Kind: "region", Rho: 12_000_000, ClipWh: 12_000},
			{Kind: "substation", Rho: 4_000_000, ClipWh: 8_000},
			{Kind: "feeder", Rho: 2_000_000, ClipWh: 3_500},
		},
		YearlyCap: dp.RhoUnit,
		Delta:     "1e-6",
		Watermark: 36 * time.Hour,
	}
}

// IsZero reports whether nothing of the plan is set.
func (p Plan) IsZero() bool {
	return len(p.Levels) == 0 && p.YearlyCap == 0 && p.Delta == "" && p.Watermark == 0
}

// Validate checks the plan; the error is ErrPlan, with what is wrong.
func (p Plan) Validate() error {
	if len(p.Levels) == 0 || len(p.Levels) > 16 {
		return fmt.Errorf("%w: between 1 and 16 levels", ErrPlan)
	}
	kinds := map[string]bool{}
	for _, l := range p.Levels {
		if l.Kind == "" || kinds[l.Kind] {
			return fmt.Errorf("%w: every level needs a kind of its own", ErrPlan)
		}
		kinds[l.Kind] = true
		if _, err := dp.GaussianVariance(l.ClipWh, l.Rho); err != nil {
			return fmt.Errorf("%w: a level's clip bound or rho: %w", ErrPlan, err)
		}
	}
	day, err := p.DayRho()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if day > p.YearlyCap {
		return fmt.Errorf("%w: a day costs more than the yearly cap", ErrPlan)
	}
	if d, err := strconv.ParseFloat(p.Delta, 64); err != nil || !(d > 0 && d < 1e-3) {
		return fmt.Errorf("%w: delta must lie between 0 and 1e-3", ErrPlan)
	}
	if p.Watermark < time.Hour || p.Watermark > 30*24*time.Hour {
		return fmt.Errorf("%w: watermark must lie between 1 h and 30 days", ErrPlan)
	}
	return nil
}

// DayRho is what a day costs over all levels.
func (p Plan) DayRho() (dp.Rho, error) {
	var sum dp.Rho
	for _, l := range p.Levels {
		var err error
		if sum, err = sum.Add(l.Rho); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// Epsilon states ρ as ε at the plan's δ, by the bound of Canonne, Kamath and
// Steinke 2020, rounded up.
func (p Plan) Epsilon(rho dp.Rho) (float64, error) {
	delta, err := strconv.ParseFloat(p.Delta, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: delta", ErrPlan)
	}
	return dp.Epsilon(rho, delta)
}
