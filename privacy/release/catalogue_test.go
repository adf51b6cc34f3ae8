package release_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// A catalogue that could not keep the promise, or that nobody can have meant, is
// refused before anything runs on it.
func TestCataloguesThatAreRefused(t *testing.T) {
	if err := release.DefaultCatalogue().Validate(); err != nil {
		t.Fatalf("the default catalogue: %v", err)
	}
	if release.DefaultCatalogue().IsZero() || !(release.Catalogue{}).IsZero() {
		t.Error("the zero catalogue is told from no other")
	}
	curve, quantiles := "weekday-curve", "month-quantiles"
	for name, spoil := range map[string]func(c *release.Catalogue, of func(name string) *release.Product){
		"nothing":                  func(c *release.Catalogue, _ func(string) *release.Product) { *c = release.Catalogue{} },
		"no product":               func(c *release.Catalogue, _ func(string) *release.Product) { c.Products = nil },
		"33 products":              func(c *release.Catalogue, _ func(string) *release.Product) { c.Products = make([]release.Product, 33) },
		"a product twice":          func(c *release.Catalogue, _ func(string) *release.Product) { c.Products[1].Name = c.Products[0].Name },
		"a product without a name": func(c *release.Catalogue, _ func(string) *release.Product) { c.Products[1].Name = "" },
		"a name that is a path":    func(c *release.Catalogue, _ func(string) *release.Product) { c.Products[1].Name = "a/b" },
		"a kind that is none":      func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Kind = "curves" },
		"no span":                  func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Span = "" },
		"a span of years":          func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Span = "year" },
		"weekends of a day":        func(_ *release.Catalogue, of func(string) *release.Product) { of("day-curve").Days = release.Weekend },
		"reactive energy": func(_ *release.Catalogue, of func(string) *release.Product) {
			of(curve).Register = meter.Register{1, 0, 3, 8, 0, 255}
		},
		"intervals of 7 minutes":    func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).IntervalSeconds = 420 },
		"intervals of a second":     func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).IntervalSeconds = 1 },
		"a curve without intervals": func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).IntervalSeconds = 0 },
		"energy in intervals":       func(_ *release.Catalogue, of func(string) *release.Product) { of("week-energy").IntervalSeconds = 1800 },
		"quantiles without edges":   func(_ *release.Catalogue, of func(string) *release.Product) { of(quantiles).EdgesWh = nil },
		"one edge":                  func(_ *release.Catalogue, of func(string) *release.Product) { of(quantiles).EdgesWh = []int64{1} },
		"edges that fall":           func(_ *release.Catalogue, of func(string) *release.Product) { of(quantiles).EdgesWh = []int64{0, 2, 1} },
		"an edge twice":             func(_ *release.Catalogue, of func(string) *release.Product) { of(quantiles).EdgesWh = []int64{0, 1, 1} },
		"edges that no float tells apart": func(_ *release.Catalogue, of func(string) *release.Product) {
			of(quantiles).EdgesWh = []int64{0, 1 << 60, 1<<60 + 1}
		},
		"edges of a curve":          func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).EdgesWh = []int64{0, 1} },
		"a basis of counts":         func(_ *release.Catalogue, of func(string) *release.Product) { of(quantiles).Basis = &release.Basis{} },
		"a basis of another length": func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Basis = flatBasis(24) },
		"no level":                  func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels = nil },
		"17 levels": func(_ *release.Catalogue, of func(string) *release.Product) {
			of(curve).Levels = make([]release.LevelPlan, 17)
		},
		"a level without a kind": func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[1].Kind = "" },
		"a kind twice": func(_ *release.Catalogue, of func(string) *release.Product) {
			of(curve).Levels[1].Kind = of(curve).Levels[0].Kind
		},
		"tariffs that nobody declares": func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[1].Kind = "tariff" },
		"a level for nothing":          func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[2].Rho = 0 },
		"noise beyond all bounds": func(_ *release.Catalogue, of func(string) *release.Product) {
			of("day-curve").Levels[0] = release.LevelPlan{Kind: "region", Rho: 1, ClipWh: dp.MaxBound}
		},
		"no bound":         func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[0].ClipWh = 0 },
		"a negative bound": func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[0].ClipWh = -1 },
		"a bound without end": func(_ *release.Catalogue, of func(string) *release.Product) {
			of("day-curve").Levels[0].ClipWh = dp.MaxBound + 1
		},
		"sums that do not fit": func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[0].ClipWh = 1 << 24 },
		"a bound on counts":    func(_ *release.Catalogue, of func(string) *release.Product) { of(quantiles).Levels[0].ClipWh = 1 },
		"a bias of more than all": func(_ *release.Catalogue, of func(string) *release.Product) {
			of(curve).Levels[0].Bias = &release.Bias{MeanPPM: -1_000_001}
		},
		"a year above its cap":      func(c *release.Catalogue, _ func(string) *release.Product) { c.YearlyCap = 890_000_000 },
		"a day above its cap":       func(c *release.Catalogue, _ func(string) *release.Product) { c.DailyCap = 41_000_000 },
		"a sum that wraps":          func(_ *release.Catalogue, of func(string) *release.Product) { of(curve).Levels[0].Rho = 1<<64 - 1 },
		"a year that wraps":         func(_ *release.Catalogue, of func(string) *release.Product) { of("day-curve").Levels[0].Rho = 1 << 60 },
		"no delta":                  func(c *release.Catalogue, _ func(string) *release.Product) { c.Delta = "" },
		"delta zero":                func(c *release.Catalogue, _ func(string) *release.Product) { c.Delta = "0" },
		"a negative delta":          func(c *release.Catalogue, _ func(string) *release.Product) { c.Delta = "-1e-6" },
		"delta for a few people":    func(c *release.Catalogue, _ func(string) *release.Product) { c.Delta = "1e-3" },
		"delta that is no number":   func(c *release.Catalogue, _ func(string) *release.Product) { c.Delta = "NaN" },
		"delta with a unit":         func(c *release.Catalogue, _ func(string) *release.Product) { c.Delta = "1e-6 " },
		"a watermark in the future": func(c *release.Catalogue, _ func(string) *release.Product) { c.Watermark = -time.Hour },
		"a watermark of minutes":    func(c *release.Catalogue, _ func(string) *release.Product) { c.Watermark = time.Hour - 1 },
		"a watermark of months":     func(c *release.Catalogue, _ func(string) *release.Product) { c.Watermark = 30*24*time.Hour + 1 },
		"a tariff twice":            func(c *release.Catalogue, _ func(string) *release.Product) { c.Tariffs = []string{"day", "day"} },
		"a tariff that is a path":   func(c *release.Catalogue, _ func(string) *release.Product) { c.Tariffs = []string{"day/night"} },
	} {
		c := release.DefaultCatalogue()
		of := func(name string) *release.Product {
			i := slices.IndexFunc(c.Products, func(p release.Product) bool { return p.Name == name })
			return &c.Products[i]
		}
		spoil(&c, of)
		if err := c.Validate(); !errors.Is(err, release.ErrCatalogue) {
			t.Errorf("%s: %v, want ErrCatalogue", name, err)
		}
	}
}

func flatBasis(n int) *release.Basis {
	b := &release.Basis{Precision: 32, Shift: 28}
	for range n {
		b.Weights = append(b.Weights, dp.WeightOne)
	}
	return b
}

// A catalogue that would overspend is refused with the sum shown, product by product.
// It would catch a sum that forgets a product, a week that touches two years, a leap
// day, or that a vote over several days costs each of them twice.
func TestWhatACatalogueCosts(t *testing.T) {
	c := release.DefaultCatalogue()
	// 366 × 0.0005 + 12 × (0.02 + 0.02) + 54 × 0.002 + 12 × (0.001 + 0.003 + 0.004 + 0.002)
	c.YearlyCap = 891_000_000
	// a workday: 0.0005 + 0.02 + 0.002 + 0.001 + 2 × (0.003 + 0.004 + 0.002)
	c.DailyCap = 41_500_000
	if err := c.Validate(); err != nil {
		t.Errorf("caps that just suffice: %v", err)
	}
	c.YearlyCap--
	err := c.Validate()
	if !errors.Is(err, release.ErrCatalogue) || !strings.Contains(err.Error(), "0.891") || !strings.Contains(err.Error(), "week-energy 54 x 0.002") {
		t.Errorf("a year of one nano-rho too little: %v", err)
	}
	c.YearlyCap++
	c.DailyCap--
	if err := c.Validate(); !errors.Is(err, release.ErrCatalogue) || !strings.Contains(err.Error(), "0.0415") {
		t.Errorf("a day of one nano-rho too little: %v", err)
	}
}
