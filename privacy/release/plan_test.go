package release_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// A plan that could not keep the promise, or that nobody can have meant, is
// refused before anything runs on it.
func TestPlansThatAreRefused(t *testing.T) {
	if err := release.DefaultPlan().Validate(); err != nil {
		t.Fatalf("the default plan: %v", err)
	}
	if release.DefaultPlan().IsZero() || !(release.Plan{}).IsZero() {
		t.Error("the zero plan is told from no other")
	}
	for name, spoil := range map[string]func(*release.Plan){
		"nothing":                   func(p *release.Plan) { *p = release.Plan{} },
		"no level":                  func(p *release.Plan) { p.Levels = nil },
		"17 levels":                 func(p *release.Plan) { p.Levels = make([]release.LevelPlan, 17) },
		"a level without a kind":    func(p *release.Plan) { p.Levels[1].Kind = "" },
		"a kind twice":              func(p *release.Plan) { p.Levels[1].Kind = p.Levels[0].Kind },
		"a level for nothing":       func(p *release.Plan) { p.Levels[2].Rho = 0 },
		"noise beyond all bounds":   func(p *release.Plan) { p.Levels[2].Rho, p.Levels[2].ClipWh = 1, dp.MaxBound },
		"no bound":                  func(p *release.Plan) { p.Levels[0].ClipWh = 0 },
		"a negative bound":          func(p *release.Plan) { p.Levels[0].ClipWh = -1 },
		"a bound without end":       func(p *release.Plan) { p.Levels[0].ClipWh = dp.MaxBound + 1 },
		"more a day than a year":    func(p *release.Plan) { p.YearlyCap = 17_999_999 },
		"a sum that wraps":          func(p *release.Plan) { p.Levels[0].Rho, p.Levels[1].Rho = 1<<64-1, 1 },
		"no delta":                  func(p *release.Plan) { p.Delta = "" },
		"delta zero":                func(p *release.Plan) { p.Delta = "0" },
		"a negative delta":          func(p *release.Plan) { p.Delta = "-1e-6" },
		"delta for a few people":    func(p *release.Plan) { p.Delta = "1e-3" },
		"delta that is no number":   func(p *release.Plan) { p.Delta = "NaN" },
		"delta without end":         func(p *release.Plan) { p.Delta = "+Inf" },
		"delta with a unit":         func(p *release.Plan) { p.Delta = "1e-6 " },
		"a watermark in the future": func(p *release.Plan) { p.Watermark = -time.Hour },
		"a watermark of minutes":    func(p *release.Plan) { p.Watermark = time.Hour - 1 },
		"a watermark of months":     func(p *release.Plan) { p.Watermark = 30*24*time.Hour + 1 },
	} {
		p := release.DefaultPlan()
		p.Levels = slices.Clone(p.Levels)
		spoil(&p)
		if err := p.Validate(); !errors.Is(err, release.ErrPlan) {
			t.Errorf("%s: %v, want ErrPlan", name, err)
		}
	}
}
