package release

import (
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// DefaultCatalogue spends at most ρ = 1.0 a year: mean weekday and weekend curves of a
// month for every level, a day's curve for the region, a week's energy, and a month's
// count, histogram, quantiles and peak times. A day costs 0.0415 at most, of a cap of
// 0.1. What is left of both pays for attempts that a crash wasted.
//
// Curves are planned on the model of package population, for nodes of about 100,000,
// 10,000 and 100 homes, by
//
//	wattveil privacy plan --rho 0.02 --homes 100000,10000,100 --split 10,20,70
//	wattveil privacy plan --rho 0.0005 --homes 100000
//
// which find the clip norms, weights and biases below. The other clip norms follow from
// a public consideration: a home that draws 1 kW all day uses 24 kWh, one that heats
// with 2.5 kW 60 kWh; the larger a group, the less noise counts against what clipping
// takes away, and the less is clipped.
func DefaultCatalogue() Catalogue {
	curve := func(name string, span Span, days Weekdays, weights []uint64, levels ...LevelPlan) Product {
		return Product{
			Name: name, Kind: Curve, Register: meter.ActiveImport, Span: span, Days: days, IntervalSeconds: 1800,
			Basis: &Basis{Weights: append([]uint64(nil), weights...), Precision: 32, Shift: 28}, Levels: levels,
		}
	}
	monthly := func() []LevelPlan {
		return []LevelPlan{
			{Kind: "region", Rho: 2_000_000, ClipWh: 19_048, Bias: &Bias{MeanPPM: -1156, SpreadPPM: 404}},
			{Kind: "substation", Rho: 4_000_000, ClipWh: 6000, Bias: &Bias{MeanPPM: -1156, SpreadPPM: 6005}},
			{Kind: "feeder", Rho: 14_000_000, ClipWh: 3000, Bias: &Bias{MeanPPM: -1156, SpreadPPM: 132_521}},
		}
	}
	levels := func(region, substation, feeder dp.Rho) []LevelPlan {
		l := []LevelPlan{{Kind: "region", Rho: region}, {Kind: "substation", Rho: substation}}
		if feeder > 0 {
			l = append(l, LevelPlan{Kind: "feeder", Rho: feeder})
		}
		return l
	}
	energy := levels(200_000, 500_000, 1_300_000)
	for i, clip := range []int64{60_000, 40_000, 25_000} {
		energy[i].ClipWh = clip
	}
	edges := func() []int64 {
		return []int64{0, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 12_000, 15_000, 20_000, 25_000, 30_000, 40_000, 60_000, 100_000}
	}
	month := func(name string, kind Kind, levels []LevelPlan) Product {
		return Product{Name: name, Kind: kind, Register: meter.ActiveImport, Span: Month, Days: AllDays, Levels: levels}
	}
	histogram, quantiles := month("month-histogram", Histogram, levels(500_000, 1_000_000, 1_500_000)), month("month-quantiles", Quantiles, levels(500_000, 1_500_000, 2_000_000))
	histogram.EdgesWh, quantiles.EdgesWh = edges(), edges()
	peak := month("month-peak-time", PeakTime, levels(500_000, 1_500_000, 0))
	peak.IntervalSeconds = 3600
	return Catalogue{
		YearlyCap: dp.RhoUnit, DailyCap: dp.RhoUnit / 10, Delta: "1e-6", Watermark: 36 * time.Hour,
		Products: []Product{
			curve("day-curve", Day, AllDays, dayWeights, LevelPlan{Kind: "region", Rho: 500_000, ClipWh: 21_551, Bias: &Bias{MeanPPM: -4551, SpreadPPM: 1515}}),
			curve("weekday-curve", Month, Workdays, meanWeights, monthly()...),
			curve("weekend-curve", Month, Weekend, meanWeights, monthly()...),
			{Name: "week-energy", Kind: Energy, Register: meter.ActiveImport, Span: Week, Days: AllDays, Levels: energy},
			month("month-households", Households, levels(100_000, 300_000, 600_000)),
			histogram,
			quantiles,
			peak,
		},
	}
}

// Weights of the 48 coefficients of a day's cosine transform, in units of 2^-16, for one
// day and for the mean of many.
var (
	dayWeights = []uint64{
		65536, 121544, 143832, 150611, 136889, 142622, 149387, 156341, 161696, 163898, 168539, 172256,
		174309, 178291, 179987, 182192, 181751, 183132, 186131, 187432, 189029, 190487, 191192, 192349,
		194018, 194645, 196168, 196819, 197766, 198501, 198856, 199256, 198634, 199423, 200219, 200400,
		200018, 199611, 200140, 199981, 200572, 199178, 200073, 200410, 201942, 198915, 189551, 202369,
	}
	meanWeights = []uint64{
		65536, 145296, 187153, 205365, 169759, 189308, 211978, 233677, 275925, 301575, 328187, 341703,
		352963, 360464, 364431, 370751, 370744, 379139, 381322, 383886, 389195, 393404, 398129, 401672,
		404108, 406719, 406669, 409247, 412320, 414703, 412880, 416256, 416653, 417009, 419957, 419813,
		417038, 419564, 419315, 419543, 419306, 421287, 418320, 419955, 422527, 417249, 399033, 422450,
	}
)
