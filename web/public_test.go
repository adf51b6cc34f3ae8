package web

import (
	"math/big"
	"net/http"
	"strings"
	"testing"
)

// Catches totals without their range, raw values that were cut or smoothed, and
// a price that is not the release's.
func TestPublic(t *testing.T) {
	hub, handler := newPortal(t)
	v := guest(t, handler)
	says(t, page(t, v.get("/public"), http.StatusOK), "No totals yet", "How a home is protected")

	hub.set(func() { hub.release = aRelease(func(i int) int64 { return int64(i)*2000 - 5000 }) })
	body := page(t, v.get("/public"), http.StatusOK)
	sane(t, body)
	// σ is 9 kWh, so 19 times in 20 is ±17.64 kWh a half-hour; the highest,
	// 89 kWh at 23:30, is 178 kW and a little over 35 kW either way.
	says(t, body,
		"Thursday 30 October 2025", "Most at 23:30: between 142.7 and 213.3 kW",
		"00:00 −5.000 −22.640 12.640", "23:30 89.000 71.360 106.640",
		"55 times in 100", "86 times in 100", "ρ = 0.018 (zCDP), hence ε = 1.2345 at δ = 1e-9", "σ = 9 kWh", "entry 4,711")
	if !strings.Contains(body, `href="/v1/releases/day-curve/2025-10-30"`) {
		t.Error("no way to the release as signed")
	}
	if n := strings.Count(body, `<tr><th scope="row">`); n != 48 {
		t.Errorf("%d rows", n)
	}
}

// A mean curve of a month: its days in words, bands as wide as each number's own
// interval, what the day has cost so far, and every product's newest release. Catches a
// page that shows a histogram as a curve, and a band of one width for all.
func TestPublicMeanCurve(t *testing.T) {
	hub, handler := newPortal(t)
	curve := `{"version":3,"id":"weekday-curve/2025-10","product":"weekday-curve","kind":"curve","days":["2025-10-01","2025-10-30","2025-10-31"],"unit":"Wh",` +
		`"guarantee":{"delta":"1e-6","rho_nano":20000000,"epsilon":0.9,"last_day_so_far_rho_nano":41500000,"yearly_cap_rho_nano":1000000000,"yearly_cap_epsilon":7.8,"statement":"For any single household."},` +
		`"levels":[{"level":0,"kind":"region","sigma":9000}],"estimates":{"method":"m","confidence":0.95,"bias":"included, from a public reference"},` +
		`"nodes":[{"id":"region","kind":"region","level":0,"usage_points_public":322,"raw":[7],"estimate":[1000,3000],"low":[-960,1000],"high":[2960,4000]}],` +
		`"catalogue_entry":{"name":"weekday-curve","interval_seconds":43200}}`
	histogram := `{"version":3,"id":"month-histogram/2025-10","kind":"histogram","days":["2025-10-31"],"levels":[],"nodes":[]}`
	hub.set(func() {
		hub.release = histogram
		hub.others = map[string]string{"weekday-curve/2025-10": curve}
	})
	body := page(t, guest(t, handler).get("/public"), http.StatusOK)
	sane(t, body)
	says(t, body,
		"Mean workday, 1 October 2025 to 31 October 2025, 3 days", "Most at 12:00: between 0.08 and 0.33 kW",
		"00:00 1.000 −0.960 2.960", "12:00 3.000 1.000 4.000",
		"58 times in 100", "86 times in 100", "ρ = 0.02 (zCDP), hence ε = 0.9 at δ = 1e-6", "all releases so far", "ρ = 0.0415",
		"included, from a public reference", "Everything that is published")
	for _, id := range []string{"weekday-curve/2025-10", "day-curve/2025-10-30"} {
		if !strings.Contains(body, `href="/v1/releases/`+id+`"`) {
			t.Errorf("no way to %s as signed", id)
		}
	}
	hub.set(func() { hub.others = nil })
	says(t, page(t, guest(t, handler).get("/public"), http.StatusOK), "No totals yet", "day-curve/2025-10-30")
}

// Catches a release that the page cannot read shown as something else.
func TestUnreadableRelease(t *testing.T) {
	for _, body := range []string{
		"{", "{}", `{"day":"2025-10-30","interval_seconds":1800,"levels":[{"level":1}],"nodes":[{"level":0,"wh":[1]}]}`,
		`{"version":3,"kind":"curve","days":["2025-10-30"],"catalogue_entry":{"interval_seconds":1800},"levels":[{"level":0}],"nodes":[{"level":0,"estimate":[1],"low":[],"high":[2]}]}`,
		`{"version":3,"kind":"curve","days":[],"catalogue_entry":{"interval_seconds":1800},"levels":[{"level":0}],"nodes":[{"level":0,"estimate":[1],"low":[1],"high":[2]}]}`,
		`{"version":3,"kind":"curve","days":["2025-13-30"],"catalogue_entry":{"interval_seconds":1800},"levels":[{"level":0}],"nodes":[{"level":0,"estimate":[1],"low":[1],"high":[2]}]}`,
	} {
		hub, handler := newPortal(t)
		hub.set(func() { hub.release = body })
		page(t, guest(t, handler).get("/public"), http.StatusInternalServerError)
	}
}

// Catches odds below the bound they claim. The bound is recomputed at 200 bits:
// ⌈50 + 50·min(√(ρ/2), √(1-e^-ρ))⌉, the exponential by its series.
func TestOdds(t *testing.T) {
	for nanoRho, want := range map[uint64]int{0: 50, 1: 51, 18_000_000: 55, 52_500_000: 59, 1_000_000_000: 86, 10_000_000_000: 100} {
		if got := odds(nanoRho); got != want {
			t.Errorf("ρ = %s: %d in 100, want %d", nano(nanoRho), got, want)
		}
	}
	const bits = 200
	number := func(x float64) *big.Float { return new(big.Float).SetPrec(bits).SetFloat64(x) }
	for nanoRho := uint64(1_000_000); nanoRho <= 2_000_000_000; nanoRho += 7_919_777 {
		rho := new(big.Float).SetPrec(bits).Quo(number(float64(nanoRho)), number(1e9))
		exp, term := number(1), number(1)
		for k := 1; k < 80; k++ {
			term = new(big.Float).Quo(new(big.Float).Mul(term, new(big.Float).Neg(rho)), number(float64(k)))
			exp = new(big.Float).Add(exp, term)
		}
		a := new(big.Float).Sqrt(new(big.Float).Quo(rho, number(2)))
		b := new(big.Float).Sqrt(new(big.Float).Sub(number(1), exp))
		if b.Cmp(a) < 0 {
			a = b
		}
		bound := new(big.Float).Add(number(50), new(big.Float).Mul(number(50), a))
		if got := number(float64(odds(nanoRho))); got.Cmp(bound) < 0 || new(big.Float).Sub(got, number(1)).Cmp(bound) > 0 {
			t.Errorf("ρ = %s: %v in 100 for a bound of %v", nano(nanoRho), got, bound)
		}
	}
}
