package release

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// Catalogue declares everything that a hub publishes of more than one household,
// and what it costs. It is public, and fixed without looking at private data: who
// changes it after looking at what was published may do so, who changes it after
// looking at readings breaks the promise.
type Catalogue struct {
	// YearlyCap bounds what any household can lose in a calendar year, UTC;
	// DailyCap what is published of any one UTC day can cost.
	YearlyCap dp.Rho `yaml:"yearly_cap"`
	DailyCap  dp.Rho `yaml:"daily_cap"`
	// Delta is the δ at which ε is stated, such as "1e-6". It is a matter of
	// printing: budgets are in ρ.
	Delta string `yaml:"delta"`
	// Watermark is how long after a UTC day's end its window stays open.
	Watermark time.Duration `yaml:"watermark"`
	// Tariffs are the public tariff groups that levels of the kind "tariff" publish.
	Tariffs  []string  `yaml:"tariffs"`
	Products []Product `yaml:"products"`
}

// Product is one entry of a catalogue: what is measured, over which days, at which
// groups of households. Its canonical JSON is part of every release of it.
type Product struct {
	// Name begins the IDs of its releases: 1 to 40 characters of a-z 0-9 - . _
	Name string `yaml:"name" json:"name"`
	Kind Kind   `yaml:"kind" json:"kind"`
	// Register is the energy that is measured: 1-0:1.29.0*255 is drawn from the grid,
	// 1-0:2.29.0*255 fed into it.
	Register meter.Register `yaml:"register" json:"register"`
	// Span is how many days a release is made of, Days which of them.
	Span Span     `yaml:"span" json:"span"`
	Days Weekdays `yaml:"days" json:"days"`
	// IntervalSeconds is the grid of a curve or of a vote for the peak's time: a day
	// begins at 00:00 UTC, whatever local clocks do.
	IntervalSeconds int64 `yaml:"interval_seconds" json:"interval_seconds,omitempty"`
	// LatenessSeconds is how long live load waits for readings after an interval's end.
	LatenessSeconds int64 `yaml:"lateness_seconds" json:"lateness_seconds,omitempty"`
	// Basis is what curves are measured in; absent, it is Wh by interval.
	Basis *Basis `yaml:"basis" json:"basis,omitempty"`
	// EdgesWh are the bins of a histogram or of quantiles, of the energy of a
	// household's mean day: bin k holds what is at least EdgesWh[k] and below
	// EdgesWh[k+1], the first and the last also what lies outside.
	EdgesWh []int64     `yaml:"edges_wh" json:"edges_wh,omitempty"`
	Levels  []LevelPlan `yaml:"levels" json:"levels"`
}

// Basis is a public weighted DCT, as package dp's.
type Basis struct {
	// Weights are 1 for every coefficient where absent, in units of 2^-16.
	Weights   []uint64 `yaml:"weights" json:"weights"`
	Precision uint     `yaml:"precision" json:"precision"`
	Shift     uint     `yaml:"shift" json:"shift"`
}

// LevelPlan is one level's share of a product.
type LevelPlan struct {
	// Kind is the level's kind in the grid tree, or "tariff" for the public tariff
	// groups.
	Kind string `yaml:"kind" json:"kind"`
	// Rho is spent on the level by each release, for all its nodes together: a
	// household is in one of them.
	Rho dp.Rho `yaml:"rho" json:"rho"`
	// ClipWh is C, the bound on the L2 norm of a household's mean day in Wh, in the
	// product's basis. Votes and counts have none.
	ClipWh int64 `yaml:"clip_wh" json:"clip_wh,omitempty"`
	// Bias is what the clip takes on a public reference population.
	Bias *Bias `yaml:"bias" json:"bias,omitempty"`
}

// Bias is how far estimates are off on a public reference population, clipped less
// true, in parts per million of a node's mean load.
type Bias struct {
	MeanPPM   int64 `yaml:"mean_ppm" json:"mean_ppm"`     // over nodes
	SpreadPPM int64 `yaml:"spread_ppm" json:"spread_ppm"` // standard deviation from node to node
}

// Kind is what a product measures.
type Kind string

// The kinds.
const (
	Curve      Kind = "curve"      // mean energy by interval of a day
	Energy     Kind = "energy"     // energy over the span
	Households Kind = "households" // how many stated any reading in the span
	Histogram  Kind = "histogram"  // how many by the energy of their mean day
	Quantiles  Kind = "quantiles"  // of the energy of a mean day
	PeakTime   Kind = "peak-time"  // how many by the interval of their highest load
	Live       Kind = "live"       // energy of an interval, soon after it ends
)

// tariffKind is the kind of the levels that are public tariff groups.
const tariffKind = "tariff"

// ErrCatalogue says that a catalogue is not valid.
var ErrCatalogue = errors.New("release: catalogue not valid")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCatalogue, fmt.Errorf(format, args...))
}

// IsZero reports whether nothing of the catalogue is set.
func (c Catalogue) IsZero() bool {
	return len(c.Products) == 0 && c.YearlyCap == 0 && c.DailyCap == 0 && c.Delta == "" && c.Watermark == 0 && len(c.Tariffs) == 0
}

// Validate checks the catalogue, with what it would spend in the worst year and on the
// worst day against its caps; the error is ErrCatalogue, with what is wrong.
func (c Catalogue) Validate() error {
	if len(c.Products) == 0 || len(c.Products) > 32 {
		return invalid("between 1 and 32 products")
	}
	if d, err := strconv.ParseFloat(c.Delta, 64); err != nil || !(d > 0 && d < 1e-3) {
		return invalid("delta must lie between 0 and 1e-3")
	}
	if c.Watermark < time.Hour || c.Watermark > 30*24*time.Hour {
		return invalid("watermark must lie between 1 h and 30 days")
	}
	tariffs := map[string]bool{}
	for _, t := range c.Tariffs {
		if !isName(t, 64) || tariffs[t] || len(c.Tariffs) > 1000 {
			return invalid("tariffs must be at most 1000 different names of at most 64 characters")
		}
		tariffs[t] = true
	}
	names := map[string]bool{}
	for _, p := range c.Products {
		if !isName(p.Name, 40) || strings.ToLower(p.Name) != p.Name || names[p.Name] {
			return invalid("every product needs a name of its own, of a-z, 0-9, - . and _")
		}
		names[p.Name] = true
		if err := p.validate(len(c.Tariffs) > 0); err != nil {
			return fmt.Errorf("%w: product %s: %w", ErrCatalogue, p.Name, err)
		}
	}
	year, day, err := c.Cost()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCatalogue, err)
	}
	if year > c.YearlyCap {
		return invalid("a year can cost %s, above the yearly cap of %s: %s", year, c.YearlyCap, c.bill())
	}
	if day > c.DailyCap {
		return invalid("a day can cost %s, above the daily cap of %s", day, c.DailyCap)
	}
	return nil
}

func isName(s string, most int) bool {
	outside := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.' || r == '_')
	}
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, outside)
}

// Cost is the most that the products can cost in one year and on one day, each release
// paid for once: dp.ErrOverflow where that is no amount.
func (c Catalogue) Cost() (year, day dp.Rho, err error) {
	byDay := map[bool]dp.Rho{} // by whether it is a workday
	for _, p := range c.Products {
		once, err := p.Rho()
		if err != nil {
			return 0, 0, err
		}
		all, err := once.Times(p.Span.perYear())
		if err != nil {
			return 0, 0, err
		}
		if year, err = year.Add(all); err != nil {
			return 0, 0, err
		}
		daily, err := p.DayRho()
		if err != nil {
			return 0, 0, err
		}
		for _, workday := range []bool{false, true} {
			if p.Days == AllDays || workday == (p.Days == Workdays) {
				if byDay[workday], err = byDay[workday].Add(daily); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	return year, max(byDay[false], byDay[true]), nil
}

// bill shows what the worst year is made of.
func (c Catalogue) bill() string {
	var lines []string
	for _, p := range c.Products {
		once, _ := p.Rho() // Cost has added them up
		lines = append(lines, fmt.Sprintf("%s %d x %s", p.Name, p.Span.perYear(), once))
	}
	return strings.Join(lines, ", ")
}

// Contributes reports whether some product is made of a series: of its register, in
// intervals that fit the product's.
func (c Catalogue) Contributes(s meter.Series) bool {
	return slices.ContainsFunc(c.Products, func(p Product) bool { return p.takes(s) })
}

// Epsilon states ρ as ε at the catalogue's δ, by the bound of Canonne, Kamath and
// Steinke 2020, rounded up.
func (c Catalogue) Epsilon(rho dp.Rho) (float64, error) {
	delta, err := strconv.ParseFloat(c.Delta, 64)
	if err != nil {
		return 0, invalid("delta")
	}
	return dp.Epsilon(rho, delta)
}

// Rho is what one release costs over all levels: to a household, whatever it did over
// the whole span.
func (p Product) Rho() (dp.Rho, error) {
	var sum dp.Rho
	for _, l := range p.Levels {
		var err error
		if sum, err = sum.Add(l.Rho); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// DayRho is what one release costs each of its days: what it tells of one household's
// readings on that day, given all others. Clipped sums are moved by a day no further
// than by a household. A vote over several days is moved by one day from one bin to
// another at most, at a distance of √2 times what one vote counts.
func (p Product) DayRho() (dp.Rho, error) {
	once, err := p.Rho()
	if err == nil && p.Span != Day && p.votes() {
		return once.Times(2)
	}
	return once, err
}

// votes reports whether a household is in one bin of the product.
func (p Product) votes() bool {
	return p.Kind == Histogram || p.Kind == Quantiles || p.Kind == PeakTime
}

// takes reports whether a series is what the product measures.
func (p Product) takes(s meter.Series) bool {
	return s.Register == p.Register && s.Length > 0 && p.grid()%s.Length == 0
}

// grid is the length of the intervals that a day is added up in, in seconds.
func (p Product) grid() int64 {
	if p.IntervalSeconds == 0 {
		return secondsPerDay // one interval: the day
	}
	return p.IntervalSeconds
}

const secondsPerDay = 86_400

// maxEdge keeps edges apart, and quantiles in range, when they are estimated in floats.
const maxEdge = 1 << 50

// maxLateness is in seconds; a day's last interval is published before its window can
// close, an hour after the day at the earliest, or not at all.
const maxLateness = secondsPerDay / 2

// Entry returns the product's canonical JSON and its SHA-256, by which its releases name
// it.
func (p Product) Entry() ([]byte, [sha256.Size]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("encoding a catalogue entry: %w", err)
	}
	return b, sha256.Sum256(b), nil
}

// validate checks what can be said of a product alone. Whether its noise can be drawn
// is tried on its longest span.
func (p Product) validate(tariffs bool) error {
	if p.Register != meter.ActiveImport && p.Register != meter.ActiveExport {
		return errors.New("the register must be active energy, imported or exported")
	}
	if !p.Span.known() || !p.Days.known() || p.Span == Day && p.Days != AllDays {
		return errors.New("span must be day, week or month; days all, workdays or weekend, and all for a day")
	}
	if p.Kind == Live && (p.Span != Day || p.IntervalSeconds > secondsPerDay/2) || p.Kind != Live && p.LatenessSeconds != 0 || p.LatenessSeconds < 0 || p.LatenessSeconds > maxLateness {
		return errors.New("live load is of a day, in intervals and with a lateness of half a day at most, which nothing else has")
	}
	onGrid := p.Kind == Curve || p.Kind == PeakTime || p.Kind == Live
	if onGrid != (p.IntervalSeconds != 0) || onGrid && (p.IntervalSeconds < 60 || secondsPerDay%p.IntervalSeconds != 0) {
		return errors.New("curves, peak times and live load need intervals that divide the day, at least a minute long, and nothing else has any")
	}
	if (p.Kind == Histogram || p.Kind == Quantiles) != (len(p.EdgesWh) > 0) {
		return errors.New("histograms and quantiles need edges, and nothing else has any")
	}
	if len(p.EdgesWh) == 1 || len(p.EdgesWh) > 257 || !slices.IsSorted(p.EdgesWh) || len(slices.Compact(slices.Clone(p.EdgesWh))) != len(p.EdgesWh) {
		return errors.New("edges must be 2 to 257 ascending numbers of Wh")
	}
	if len(p.EdgesWh) > 0 && (p.EdgesWh[0] < -maxEdge || p.EdgesWh[len(p.EdgesWh)-1] > maxEdge) {
		return errors.New("an edge is out of range: at most 2^50 Wh")
	}
	if p.Basis != nil && p.Kind != Curve {
		return errors.New("only curves have a basis")
	}
	if len(p.Levels) == 0 || len(p.Levels) > 16 {
		return errors.New("between 1 and 16 levels")
	}
	kinds := map[string]bool{}
	for _, l := range p.Levels {
		if l.Kind == "" || kinds[l.Kind] {
			return errors.New("every level needs a kind of its own")
		}
		kinds[l.Kind] = true
		if l.Kind == tariffKind && !tariffs {
			return errors.New("the catalogue names no tariffs")
		}
		if b := l.Bias; b != nil && (b.MeanPPM < -1_000_000 || b.MeanPPM > 1_000_000 || b.SpreadPPM < 0 || b.SpreadPPM > 10_000_000) {
			return errors.New("a level's bias is out of range")
		}
	}
	_, err := newMeasure(p, p.longest())
	return err
}
