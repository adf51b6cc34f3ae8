package web

import (
	"context"
	"encoding/json"
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
	Entry           string // of the record, for people
	Raw             string // address of the release as signed
}

// release is what this page reads of a published release; the wire's form is
// the hub's canonical JSON.
type release struct {
	ID              string `json:"id"`
	Day             string `json:"day"`
	IntervalSeconds int64  `json:"interval_seconds"`
	Guarantee       struct {
		RhoNano          uint64      `json:"rho_nano"`
		Delta            string      `json:"delta"`
		Epsilon          json.Number `json:"epsilon"`
		YearlyCapRhoNano uint64      `json:"yearly_cap_rho_nano"`
		YearlyCapEpsilon json.Number `json:"yearly_cap_epsilon"`
		Statement        string      `json:"statement"`
	} `json:"guarantee"`
	Levels []struct {
		Level   int   `json:"level"`
		SigmaWh int64 `json:"sigma_wh"`
	} `json:"levels"`
	Nodes []struct {
		ID                string  `json:"id"`
		Level             int     `json:"level"`
		UsagePointsPublic uint64  `json:"usage_points_public"`
		Wh                []int64 `json:"wh"`
	} `json:"nodes"`
}

func (p *portal) public(ctx context.Context, _ *http.Request) (answer, error) {
	list, err := p.releases.ListReleases(ctx, &wattveilv1.ListReleasesRequest{PageSize: 1})
	if err != nil {
		return nil, err
	}
	if len(list.GetReleases()) == 0 {
		return show("public", "Totals for everyone", "public", publicPage{None: true}), nil
	}
	id := list.GetReleases()[0].GetId()
	got, err := p.releases.GetRelease(ctx, &wattveilv1.GetReleaseRequest{Id: id})
	if err != nil {
		return nil, err
	}
	var body release
	if err := json.Unmarshal([]byte(got.GetBody()), &body); err != nil {
		return nil, fmt.Errorf("reading release: %w", err)
	}
	page, err := body.draw()
	if err != nil {
		return nil, err
	}
	page.Entry = count(got.GetLeafIndex())
	page.Raw = "/v1/releases/" + id
	return show("public", "Totals for everyone", "public", page), nil
}

// draw draws the curve of the tree's root with its two bands.
func (b release) draw() (publicPage, error) {
	d, ok := parseDate(b.Day)
	if !ok || len(b.Nodes) == 0 || len(b.Levels) == 0 || b.IntervalSeconds <= 0 || len(b.Nodes[0].Wh) == 0 || b.Nodes[0].Level != b.Levels[0].Level {
		return publicPage{}, fmt.Errorf("reading release: not as published")
	}
	root, sigma := b.Nodes[0], b.Levels[0].SigmaWh
	// A discrete Gaussian stays within 1.960 σ 19 times in 20 and within
	// 0.675 σ 1 time in 2; rounded up to whole Wh.
	outer, inner := (sigma*1960+999)/1000, (sigma*675+999)/1000

	page := publicPage{
		Day: d.long(), Place: root.ID, Homes: count(root.UsagePointsPublic),
		OddsDay: odds(b.Guarantee.RhoNano), OddsYear: odds(b.Guarantee.YearlyCapRhoNano),
		Epsilon: b.Guarantee.Epsilon.String(), Delta: b.Guarantee.Delta, YearEpsilon: b.Guarantee.YearlyCapEpsilon.String(),
		Rho: nano(b.Guarantee.RhoNano), CapRho: nano(b.Guarantee.YearlyCapRhoNano),
		Sigma: kW(sigma), Statement: b.Guarantee.Statement,
	}
	start := d.start(time.UTC)
	var steps []step
	highest, lowest := 0, 0
	for i, wh := range root.Wh {
		t := int64(i) * b.IntervalSeconds
		steps = append(steps, step{from: t, to: t + b.IntervalSeconds, watts: watts(wh, b.IntervalSeconds)})
		page.Rows = append(page.Rows, row{
			Time:  moment{at(start+t, time.UTC).ISO, clock(start+t, time.UTC)},
			Value: kWh(wh), Lower: kWh(wh - outer), Upper: kWh(wh + outer),
		})
		if wh > root.Wh[highest] {
			highest = i
		}
		if wh < root.Wh[lowest] {
			lowest = i
		}
	}
	page.Peak = clock(start+int64(highest)*b.IntervalSeconds, time.UTC)
	page.Low = roundKW(watts(root.Wh[highest]-outer, b.IntervalSeconds))
	page.High = roundKW(watts(root.Wh[highest]+outer, b.IntervalSeconds))

	c := &page.Chart
	c.ID, c.Published, c.Width = "total", true, int64(len(root.Wh))*b.IntervalSeconds
	c.Title = "Power used by all homes together on " + page.Day
	c.Desc = "Highest at " + page.Peak + ": between " + page.Low + " and " + page.High + " kW, 19 times in 20."
	reach := watts(outer, b.IntervalSeconds)
	c.plan(steps[lowest].watts-reach, steps[highest].watts+reach)
	c.draw(steps)
	c.Outer, c.Inner = c.band(steps, reach), c.band(steps, watts(inner, b.IntervalSeconds))
	c.Area = ""
	c.X = dayAxis(d, time.UTC)
	return page, nil
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
