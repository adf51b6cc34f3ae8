package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// idleFolder is a folder of populations that use nothing.
func idleFolder(t *testing.T, households int) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(make([]byte, 2*population.Intervals*households)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"reference-day", "reference-mean20", "population-day", "population-mean20"} {
		if err := os.WriteFile(filepath.Join(dir, name+".u16le.gz"), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What would take memory or time without end, and what nothing can be planned on, is
// misuse: it is refused before anything is measured, in words. It would catch a
// panic, and a bound that went missing.
func TestReleasesRefused(t *testing.T) {
	idle := idleFolder(t, 20_000)
	for want, args := range map[string][]string{
		"--households must be":                  {"bench", "release", "--households", "100"},
		"--households must be a multiple":       {"bench", "release", "--households", "1010000"},
		"--rounds must be":                      {"bench", "release", "--households", "20000", "--rounds", "0"},
		"--rounds must be from 1 to 1000":       {"bench", "release", "--households", "20000", "--rounds", "1001"},
		"--populations from 0 to 10000":         {"bench", "release", "--households", "20000", "--populations", "10001"},
		"--seed must be 64":                     {"bench", "release", "--households", "20000", "--seed", "5"},
		"--seed must be 64 hex digits":          {"bench", "release", "--households", "20000", "--seed", strings.Repeat("5", 65)},
		"one_day: one_day_eps1: plan: a ref":    {"bench", "release", "--population", idle},
		"plan: a reference without load":        {"privacy", "plan", "--rho", "1", "--homes", "20000,1000", "--reference", idle},
		"without load":                          {"privacy", "plan", "--rho", "1", "--homes", "20000,1000", "--split", "1,1", "--reference", idle},
		"the last level may have at most 10000": {"privacy", "plan", "--rho", "1", "--homes", "100000,5"},
	} {
		code, _, stderr := wattveil(t, args...)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

// What a plan prints is all that a catalogue of products needs, and says the same as the
// plan: the basis can be made of it, and noise for n times the stated clip and the two
// truncations of a span is the stated one. It would catch a clip that is stated for the
// sum, or in units of its own.
func TestPlanFitsACatalogue(t *testing.T) {
	code, stdout, stderr := wattveil(t, "privacy", "--json", "plan", "--homes", "4000,400", "--rho", "0.5")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var r planReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Products {
		if p.Unit != units[p.Product] || p.Unit == "" || p.Grid*plan.Intervals != 86_400 || len(p.Basis.Weights) != plan.Intervals {
			t.Fatalf("%s: %+v", p.Product, p)
		}
		basis, err := dp.NewBasis(p.Basis.Weights, p.Basis.Precision, p.Basis.Shift)
		if err != nil {
			t.Fatal(err)
		}
		// A flat day is all in the first coefficient, whose weight is the least.
		flat := make([]int64, plan.Intervals)
		for i := range flat {
			flat[i] = 1_000
		}
		z, err := basis.Measure(flat)
		if err != nil {
			t.Fatal(err)
		}
		perWh := float64(z[0]) / (1_000 * math.Sqrt(plan.Intervals))
		for _, l := range p.Levels {
			moves := float64(l.ClipWh) * perWh * float64(p.Days)
			if p.Days > 1 {
				moves += 2 * math.Sqrt(plan.Intervals)
			}
			want := moves / math.Sqrt(2*float64(l.RhoNano)/1e9) / perWh / float64(p.Days)
			if math.Abs(l.SigmaWh/want-1) > 1e-4 || uint64(l.Rho) != l.RhoNano {
				t.Errorf("%s, nodes of %d: σ is %.3f Wh, of a clip of %d Wh and ρ = %s follow %.3f", p.Product, l.Homes, l.SigmaWh, l.ClipWh, l.Rho, want)
			}
			if l.BiasSource != "public reference" || l.Bias.MeanPPM > 0 || l.Bias.MeanPPM < -500_000 || l.Bias.SpreadPPM <= 0 {
				t.Errorf("%s, nodes of %d: %+v from %q", p.Product, l.Homes, l.Bias, l.BiasSource)
			}
		}
	}
}

// A median is the middle, whatever came first: one lucky round is none.
func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 3, 2, 1}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v", c.values, got)
		}
	}
}
