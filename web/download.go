package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// downloadDays is how much of the past a file holds: 13 months.
const downloadDays = 397

// download gives a household its own readings as a file: Green Button's Download My Data
// (form=green-button), or a table (form=csv).
func (p *portal) download(ctx context.Context, r *http.Request) (answer, error) {
	h, err := p.sessions.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
	if err != nil {
		return nil, err
	}
	now := p.now()
	until := now.Unix() + 1
	read, err := p.readings.ReadOwnSeries(ctx, &wattveilv1.ReadOwnSeriesRequest{From: until - downloadDays*86400, Until: until})
	if err != nil {
		return nil, err
	}
	zones := map[string]*time.Location{}
	for _, o := range h.GetOccupancies() {
		zones[o.GetUsagePoint()] = zoneNamed(o.GetZone())
	}
	all, err := inOrder(read.GetSeries())
	if err != nil {
		return nil, err
	}
	day := now.UTC().Format("2006-01-02")
	switch r.URL.Query().Get("form") {
	case "green-button":
		body, err := greenButton(h.GetHousehold(), all, zones, now)
		return download{"readings-" + day + ".xml", espi.MediaType, body}, err
	case "csv":
		body, err := table(all, zones)
		return download{"readings-" + day + ".csv", "text/csv; charset=utf-8", body}, err
	}
	return nil, errBadForm
}

// inOrder returns series by usage point, register, length and time.
func inOrder(in []*wattveilv1.Series) ([]meter.Series, error) {
	var out []meter.Series
	for _, w := range in {
		register, err := meter.ParseRegister(w.GetRegister())
		if err != nil {
			return nil, err
		}
		s := meter.Series{UsagePoint: meter.UsagePoint(w.GetUsagePoint()), Register: register, Start: w.GetStart(), Length: w.GetLengthSeconds(), Values: w.GetValues()}
		for _, q := range w.GetQualities() {
			s.Quality = append(s.Quality, meter.Quality(q))
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b meter.Series) int {
		return cmp.Or(cmp.Compare(a.UsagePoint, b.UsagePoint), bytes.Compare(a.Register[:], b.Register[:]), cmp.Compare(a.Length, b.Length), cmp.Compare(a.Start, b.Start))
	})
	return out, nil
}

// here is where a file's resources would be, if they had an address: nobody fetches them.
const here = espi.Site("https://wattveil.invalid/espi/1_1/resource")

// greenButton writes the readings as an ESPI feed, whole Wh. Registers that ESPI has no
// word for are left out; the table has them.
func greenButton(household string, all []meter.Series, zones map[string]*time.Location, now time.Time) ([]byte, error) {
	var out bytes.Buffer
	b := espi.NewBatch(&out, espi.Subscription{Site: here, ID: household, Published: now, Updated: now})
	for len(all) > 0 {
		point := all[0].UsagePoint
		if err := b.UsagePoint(espi.Point{UsagePoint: point, Zone: zones[string(point)]}); err != nil {
			return nil, err
		}
		for len(all) > 0 && all[0].UsagePoint == point {
			first := all[0]
			n := slices.IndexFunc(all, func(s meter.Series) bool {
				return s.UsagePoint != point || s.Register != first.Register || s.Length != first.Length
			})
			if n < 0 {
				n = len(all)
			}
			m := espi.Meter{Register: first.Register, Step: espi.Every(first.Length)}
			if _, err := espi.ReadingTypeOf(m.Register, m.Step, 0); err == nil {
				if err := b.Meter(m, all[:n]...); err != nil {
					return nil, err
				}
			}
			all = all[n:]
		}
	}
	err := b.Close() // which writes the rest
	return out.Bytes(), err
}

// table writes the readings as CSV, a line for each that is there. Names come from the
// operator; one that a spreadsheet would take for a formula is marked as text.
func table(all []meter.Series, zones map[string]*time.Location) ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	rows := [][]string{{"usage_point", "register", "start", "local_start", "duration_s", "value", "unit", "quality"}}
	for _, s := range all {
		zone := cmp.Or(zones[string(s.UsagePoint)], time.UTC)
		for i, v := range s.Values {
			q := s.QualityAt(i)
			if q == meter.Missing {
				continue
			}
			at := time.Unix(s.StartAt(i), 0)
			name := string(s.UsagePoint)
			if strings.ContainsAny(name[:1], "=+-@") {
				name = "'" + name
			}
			rows = append(rows, []string{
				name, s.Register.String(), at.UTC().Format(time.RFC3339), at.In(zone).Format(time.RFC3339),
				strconv.FormatInt(s.Length, 10), strconv.FormatInt(v, 10), s.Register.Unit().String(), cmp.Or(qualityWords[byte(q)], "measured"),
			})
		}
	}
	err := w.WriteAll(rows)
	return out.Bytes(), err
}
