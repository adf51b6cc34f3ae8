package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// publicPage answers: how much power do all homes use together, and how sure is
// that?
type publicPage struct {
	None  bool // nothing published yet
	Day   string
	Place string
	Homes string // registered connections, public anyway
	// Low and High are the range of the highest half-hour, kW, at Peak.
	Peak, Low, High string
	Chart           chart
	Rows            []row
	OddsDay         int // in 100
	OddsYear        int
	Epsilon, Delta  string
	Rho, CapRho     string
	YearEpsilon     string
	Sigma           string
	Statement       string
	Mean            bool   // of several days
	DayRho          string // of everything that was published of the day so far
	Bias            string
	Latest          []latestRelease
	Entry           string // of the record, for people
	Raw             string // address of the release as signed
}

// publicTotal is what this page shows of a release: the mean day of the tree's root.
type publicTotal struct {
	days            []date // that it is the mean of, ascending
	place           string
	points          uint64
	interval        int64 // seconds
	wh, low, high   []int64
	rho, cap        uint64
	dayRho          uint64 // what the day's figures cost, all products together
	epsilon         string
	delta           string
	yearEpsilon     string
	statement, bias string
	sigma           string
}

// body is what this page reads of a published release; the wire's form is the hub's
// canonical JSON. Versions 1 and 2 are day curves, and name some fields otherwise.
type body struct {
	Version         int      `json:"version"`
	Kind            string   `json:"kind"`
	Day             string   `json:"day"`
	Days            []string `json:"days"`
	IntervalSeconds int64    `json:"interval_seconds"`
	Guarantee       struct {
		RhoNano          uint64      `json:"rho_nano"`
		DaySoFar         uint64      `json:"last_day_so_far_rho_nano"`
		Delta            string      `json:"delta"`
		Epsilon          json.Number `json:"epsilon"`
		YearlyCapRhoNano uint64      `json:"yearly_cap_rho_nano"`
		YearlyCapEpsilon json.Number `json:"yearly_cap_epsilon"`
		Statement        string      `json:"statement"`
	} `json:"guarantee"`
	Estimates struct {
		Bias string `json:"bias"`
	} `json:"estimates"`
	Entry struct {
		IntervalSeconds int64 `json:"interval_seconds"`
	} `json:"catalogue_entry"`
	Levels []struct {
		Level   int   `json:"level"`
		SigmaWh int64 `json:"sigma_wh"`
	} `json:"levels"`
	Nodes []struct {
		ID                string  `json:"id"`
		Level             int     `json:"level"`
		UsagePointsPublic uint64  `json:"usage_points_public"`
		Wh                []int64 `json:"wh"`
		Estimate          []int64 `json:"estimate"`
		Low               []int64 `json:"low"`
		High              []int64 `json:"high"`
	} `json:"nodes"`
}

// lookBack is how many releases this page looks back for a curve.
const lookBack = 100

func (p *portal) public(ctx context.Context, _ *http.Request) (answer, error) {
	list, err := p.releases.ListReleases(ctx, &wattveilv1.ListReleasesRequest{PageSize: lookBack})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var latest []latestRelease
	for _, r := range list.GetReleases() {
		if !seen[r.GetProduct()] {
			seen[r.GetProduct()] = true
			latest = append(latest, latestRelease{ID: r.GetId(), Raw: "/v1/releases/" + r.GetId()})
		}
	}
	for _, r := range latest {
		got, err := p.releases.GetRelease(ctx, &wattveilv1.GetReleaseRequest{Id: r.ID})
		if err != nil {
			return nil, err
		}
		var b body
		if err := json.Unmarshal([]byte(got.GetBody()), &b); err != nil {
			return nil, fmt.Errorf("reading release: %w", err)
		}
		if b.Version > 2 && b.Kind != "curve" {
			continue
		}
		t, err := b.total()
		if err != nil {
			return nil, err
		}
		page := t.draw()
		page.Entry, page.Raw, page.Latest = count(got.GetLeafIndex()), r.Raw, latest
		return show("public", "Totals for everyone", "public", page), nil
	}
	return show("public", "Totals for everyone", "public", publicPage{None: true, Latest: latest}), nil
}

// latestRelease is the newest release of a product.
type latestRelease struct{ ID, Raw string }

var errRelease = errors.New("reading release: not as published")

// total reads the curve of the tree's root.
func (b body) total() (publicTotal, error) {
	g := b.Guarantee
	t := publicTotal{
		interval: b.Entry.IntervalSeconds, rho: g.RhoNano, dayRho: g.DaySoFar, cap: g.YearlyCapRhoNano, epsilon: g.Epsilon.String(), delta: g.Delta,
		yearEpsilon: g.YearlyCapEpsilon.String(), statement: g.Statement, bias: b.Estimates.Bias,
	}
	if b.Version <= 2 {
		b.Days, t.interval, t.dayRho = []string{b.Day}, b.IntervalSeconds, g.RhoNano
	}
	for _, text := range b.Days {
		d, ok := parseDate(text)
		if !ok {
			return publicTotal{}, errRelease
		}
		t.days = append(t.days, d)
	}
	if len(t.days) == 0 || len(b.Nodes) == 0 || len(b.Levels) == 0 || t.interval <= 0 || b.Nodes[0].Level != b.Levels[0].Level {
		return publicTotal{}, errRelease
	}
	root := b.Nodes[0]
	t.place, t.points, t.wh, t.low, t.high = root.ID, root.UsagePointsPublic, root.Estimate, root.Low, root.High
	if b.Version <= 2 {
		t.around(root.Wh, b.Levels[0].SigmaWh)
	}
	if n := len(t.wh); n == 0 || len(t.low) != n || len(t.high) != n {
		return publicTotal{}, errRelease
	}
	return t, nil
}

// around takes a curve with noise of one σ: a discrete Gaussian stays within 1.960 σ 19
// times in 20; rounded up to whole Wh.
func (t *publicTotal) around(wh []int64, sigma int64) {
	reach := (sigma*1960 + 999) / 1000
	t.wh, t.low, t.high = wh, nil, nil
	for _, v := range wh {
		t.low, t.high = append(t.low, v-reach), append(t.high, v+reach)
	}
	t.sigma = kW(sigma)
}

// inner is the band that holds the truth 1 time in 2, of one that holds it 19 times in
// 20: 0.675 of 1.960 standard deviations about the same middle, rounded outwards.
func inner(low, high int64) (int64, int64) {
	cut := (high - low) * (1960 - 675) / (2 * 1960)
	return low + cut, high - cut
}

// title says which days a total is of.
func (t publicTotal) title() string {
	first, last := t.days[0], t.days[len(t.days)-1]
	if first == last {
		return first.long()
	}
	workdays, weekends := true, true
	for _, d := range t.days {
		weekend := d.utc().Weekday() == time.Saturday || d.utc().Weekday() == time.Sunday
		workdays, weekends = workdays && !weekend, weekends && weekend
	}
	kind := "Mean day"
	switch {
	case workdays:
		kind = "Mean workday"
	case weekends:
		kind = "Mean weekend day"
	}
	return kind + ", " + onDay(first).Text + " to " + onDay(last).Text + ", " + many(uint64(len(t.days)), "day", "days")
}

// draw draws the curve with its two bands.
func (t publicTotal) draw() publicPage {
	page := publicPage{
		Day: t.title(), Mean: len(t.days) > 1, Place: t.place, Homes: count(t.points), OddsDay: odds(t.dayRho), OddsYear: odds(t.cap),
		Epsilon: t.epsilon, Delta: t.delta, YearEpsilon: t.yearEpsilon, Rho: nano(t.rho), DayRho: nano(t.dayRho), CapRho: nano(t.cap),
		Sigma: t.sigma, Bias: t.bias, Statement: t.statement,
	}
	start := t.days[0].start(time.UTC)
	var steps, lows, highs, innerLows, innerHighs []step
	highest := 0
	for i, wh := range t.wh {
		from := int64(i) * t.interval
		at1 := func(v int64) step { return step{from: from, to: from + t.interval, watts: watts(v, t.interval)} }
		low, high := inner(t.low[i], t.high[i])
		steps, lows, highs = append(steps, at1(wh)), append(lows, at1(t.low[i])), append(highs, at1(t.high[i]))
		innerLows, innerHighs = append(innerLows, at1(low)), append(innerHighs, at1(high))
		page.Rows = append(page.Rows, row{
			Time:  moment{at(start+from, time.UTC).ISO, clock(start+from, time.UTC)},
			Value: kWh(wh), Lower: kWh(t.low[i]), Upper: kWh(t.high[i]),
		})
		if wh > t.wh[highest] {
			highest = i
		}
	}
	page.Peak = clock(start+int64(highest)*t.interval, time.UTC)
	page.Low, page.High = roundKW(lows[highest].watts), roundKW(highs[highest].watts)

	c := &page.Chart
	c.ID, c.Published, c.Width = "total", true, int64(len(t.wh))*t.interval
	c.Title = "Power used by all homes together: " + page.Day
	c.Desc = "Highest at " + page.Peak + ": between " + page.Low + " and " + page.High + " kW, 19 times in 20."
	lowest, most := lows[0].watts, highs[0].watts
	for i := range lows {
		lowest, most = min(lowest, lows[i].watts), max(most, highs[i].watts)
	}
	c.plan(lowest, most)
	c.draw(steps)
	c.Outer, c.Inner = c.between(lows, highs), c.between(innerLows, innerHighs)
	c.Area = ""
	c.X = dayAxis(t.days[0], time.UTC)
	return page
}

// odds bounds, in 100, how often someone who knows every other home's readings
// is right about whether one home was counted: any ρ-zCDP mechanism has total
// variation at most min(√(ρ/2), √(1-e^-ρ)) between neighbours (Bun and Steinke
// 2016 with Pinsker's and Bretagnolle and Huber's inequalities), and a guess is
// right half as often again. It is a bound for a page, rounded up; no budget
// is counted with it.
func odds(rhoNano uint64) int {
	rho := float64(rhoNano) / 1e9
	return int(math.Ceil(50 + 50*min(math.Sqrt(rho/2), math.Sqrt(-math.Expm1(-rho)))))
}

// nano writes billionths exactly, without trailing zeros.
func nano(n uint64) string {
	s := strconv.FormatUint(n/1e9, 10)
	if part := n % 1e9; part != 0 {
		s += "." + strings.TrimRight(strconv.FormatUint(1e9+part, 10)[1:], "0")
	}
	return s
}
