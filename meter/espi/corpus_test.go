package espi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
)

// expected is what a sidecar of the corpus says of its document.
type expected struct {
	CSV      string `json:"expected_csv"`
	Expected struct {
		Raw struct {
			UsagePoints    int                 `json:"usage_points"`
			MeterReadings  int                 `json:"meter_readings"`
			ReadingTypes   []map[string]string `json:"reading_types"` // those that differ
			Blocks         int                 `json:"interval_blocks"`
			Readings       int                 `json:"interval_readings"`
			Services       []string            `json:"services"`
			Root           string              `json:"root"`
			Local          []map[string]string `json:"local_time"`
			UsageSummaries int                 `json:"usage_summaries"`
			First          *rawReading         `json:"first_reading"`
			Last           *rawReading         `json:"last_reading"`
			Sum            string              `json:"raw_value_sum"`
		} `json:"raw"`
		Readings []struct {
			Count int               `json:"count"`
			Total map[string]string `json:"total"`
		} `json:"meter_readings"`
	} `json:"expected"`
}

type rawReading struct {
	Start, Duration, Value string
	Cost                   *string
}

// feeds calls f with every document of the corpus and what is known of it.
func feeds(t *testing.T, f func(t *testing.T, name string, document []byte, want expected)) {
	dir := corpus(t)
	sidecars, err := filepath.Glob(filepath.Join(dir, "*.expected.json"))
	if err != nil || len(sidecars) < 20 {
		t.Fatalf("%d sidecars: %v", len(sidecars), err)
	}
	for _, sidecar := range sidecars {
		path := strings.TrimSuffix(sidecar, ".expected.json")
		t.Run(filepath.Base(path), func(t *testing.T) {
			document, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(sidecar)
			if err != nil {
				t.Fatal(err)
			}
			var want expected
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			f(t, path, document, want)
		})
	}
}

// Every feed of the corpus is read as its sidecar says, written again, and reads
// the same. None of them is marked damaged. Catches a reading or a resource lost,
// and a field that is written otherwise than it is read.
func TestCorpusRoundTrip(t *testing.T) {
	feeds(t, func(t *testing.T, _ string, document []byte, want expected) {
		head, entries := read(t, document)
		compareRaw(t, entries, want)

		var again bytes.Buffer
		f := espi.NewFeed(&again, head)
		if want.Expected.Raw.Root == "entry" {
			f = espi.NewEntry(&again)
		}
		for _, e := range entries {
			if err := f.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		head2, entries2 := read(t, again.Bytes())
		if diff := cmp.Diff(head, head2); diff != "" {
			t.Errorf("head, written and read (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(entries, entries2); diff != "" {
			t.Errorf("entries, written and read (-want +got):\n%.4000s", diff)
		}
	})
}

func compareRaw(t *testing.T, entries []espi.Entry, want expected) {
	t.Helper()
	raw := want.Expected.Raw
	count := map[string]int{}
	var readings []espi.IntervalReading
	var types []*espi.ReadingType
	for _, e := range entries {
		for _, r := range e.Contents {
			switch r := r.(type) {
			case *espi.UsagePoint:
				count["points"]++
			case *espi.MeterReading:
				count["meters"]++
				if r.Type != nil {
					types = append(types, r.Type)
				}
			case *espi.ReadingType:
				types = append(types, r)
			case *espi.IntervalBlock:
				count["blocks"]++
				readings = append(readings, r.Readings...)
			case *espi.UsageSummary:
				count["summaries"]++
			case *espi.LocalTimeParameters:
				said := map[string]string{"tzOffset": strconv.FormatInt(r.TZOffset, 10), "dstOffset": strconv.FormatInt(r.DSTOffset, 10)}
				if i := count["local"]; i >= len(raw.Local) || !maps.Equal(raw.Local[i], said) {
					t.Errorf("local time %v, want one of %v", said, raw.Local)
				}
				count["local"]++
			}
		}
	}
	for name, n := range map[string]int{
		"points": raw.UsagePoints, "meters": raw.MeterReadings, "blocks": raw.Blocks, "summaries": raw.UsageSummaries, "local": len(raw.Local),
	} {
		if count[name] != n {
			t.Errorf("%d %s, want %d", count[name], name, n)
		}
	}
	if len(readings) != raw.Readings {
		t.Fatalf("%d readings, want %d", len(readings), raw.Readings)
	}
	for _, w := range raw.ReadingTypes {
		if !slices.ContainsFunc(types, func(r *espi.ReadingType) bool { return sameType(r, w) }) {
			t.Errorf("no reading type is %v", w)
		}
	}
	if len(readings) == 0 {
		return
	}
	sum := new(big.Int)
	for _, r := range readings {
		sum.Add(sum, big.NewInt(r.Value))
	}
	if sum.String() != raw.Sum {
		t.Errorf("values add up to %s, want %s", sum, raw.Sum)
	}
	for _, c := range []struct {
		got  espi.IntervalReading
		want *rawReading
	}{{readings[0], raw.First}, {readings[len(readings)-1], raw.Last}} {
		start, _, _ := strings.Cut(c.want.Start, ".")
		if strconv.FormatInt(c.got.Start, 10) != start || strconv.FormatInt(c.got.Duration, 10) != c.want.Duration || strconv.FormatInt(c.got.Value, 10) != c.want.Value {
			t.Errorf("reading %+v, want %+v", c.got, *c.want)
		}
		if given := c.got.Given&espi.GivenCost != 0; given != (c.want.Cost != nil) || given && strconv.FormatInt(c.got.Cost, 10) != *c.want.Cost {
			t.Errorf("cost %d (%v), want %v", c.got.Cost, given, c.want.Cost)
		}
	}
}

// sameType compares what a sidecar says of a reading type.
func sameType(r *espi.ReadingType, want map[string]string) bool {
	for name, at := range map[string]*int64{
		"accumulationBehaviour": r.Accumulation, "commodity": r.Commodity, "currency": r.Currency, "dataQualifier": r.Qualifier,
		"defaultQuality": r.DefaultQuality, "flowDirection": r.FlowDirection, "intervalLength": r.IntervalLength, "kind": r.Kind,
		"phase": r.Phase, "powerOfTenMultiplier": r.PowerOfTen, "timeAttribute": r.TimeAttribute, "uom": r.UOM,
	} {
		text := ""
		if at != nil {
			text = strconv.FormatInt(*at, 10)
		}
		if text != want[name] {
			return false
		}
	}
	return true
}

// Every value of every feed is yielded, whatever its unit.
func TestCorpusCounts(t *testing.T) {
	feeds(t, func(t *testing.T, _ string, document []byte, want expected) {
		if n := len(values(t, document)); n != want.Expected.Raw.Readings {
			t.Errorf("%d values, want %d", n, want.Expected.Raw.Readings)
		}
	})
}

// The intervals, units and costs that the authors of other readers state for
// their feeds are what is read here, to the last digit.
func TestCorpusValues(t *testing.T) {
	compared := 0
	feeds(t, func(t *testing.T, path string, document []byte, want expected) {
		if len(want.Expected.Readings) == 0 {
			return
		}
		// The one whose reading type says nothing: the source's reader takes gas to
		// be in thousandths of a therm. What is not said is not said here.
		guessed := strings.Contains(path, "gas_containerized")
		rows := intervals(t, path)
		got := values(t, document)
		if len(got) != len(rows) {
			t.Fatalf("%d values, want %d", len(got), len(rows))
		}
		for i, v := range got {
			row := rows[i]
			number, unit := v.Number, v.Unit
			if guessed {
				if unit != "" || v.Type == nil {
					t.Errorf("unit %q of a type that has none", unit)
				}
				number.Exponent, unit = -3, "therm"
			}
			start := time.Unix(v.Start, 0).UTC().Format(time.RFC3339)
			if start != row[0] || strconv.FormatInt(v.Duration, 10) != row[1] || number.String() != row[2] || unit != row[3] {
				t.Fatalf("value %d: %s %d %s %s, want %v", i, start, v.Duration, number, unit, row)
			}
			if row[5] == "VALIDATED" && v.Quality != meter.Measured {
				t.Errorf("value %d: quality %v, want %s", i, v.Quality, row[5])
			}
		}
		compared += len(got)
	})
	if compared < 40_000 {
		t.Errorf("only %d values were compared", compared)
	}
}

// intervals reads the rows of a sidecar's CSV: start, seconds, value, unit, cost,
// quality.
func intervals(t *testing.T, path string) (rows [][]string) {
	t.Helper()
	base := strings.TrimSuffix(path, ".gz") + ".expected.csv"
	var r io.Reader
	if file, err := os.Open(base); err == nil {
		defer file.Close()
		r = file
	} else {
		file, err := os.Open(base + ".gz")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if r, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	c := csv.NewReader(r)
	c.Comment, c.FieldsPerRecord = '#', 6
	rows, err := c.ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	return rows[1:]
}

// What single feeds are in the corpus for.
func TestCorpusPeculiarities(t *testing.T) {
	open := func(name string) []byte {
		document, err := os.ReadFile(filepath.Join(corpus(t), name))
		if err != nil {
			t.Fatal(err)
		}
		return document
	}
	// No links anywhere: the reading type before the blocks is theirs.
	v := values(t, open("jendobson-sample_data.xml.gz"))
	if len(v) != 8727 || v[0].Unit != "Wh" || v[0].Number.String() != "385" || v[0].Known {
		t.Errorf("%d values, the first %+v", len(v), v[0])
	}
	// Blocks alone, without any reading type: numbers without a unit.
	if v = values(t, open("verdigris-PGEIntervalBlock.xml.gz")); len(v) != 2556 || v[0].Unit != "" || v[0].Type != nil || v[0].Meter != "1" {
		t.Errorf("%d values, the first %+v", len(v), v[0])
	}
	// Two reading types of one address that agree on the unit.
	if v = values(t, open("verdigris-BulkSCEUsageSummaryAndIntervalBlock.xml")); len(v) != 3 || v[0].Register != meter.ActiveImport || v[2].Number.String() != "210" {
		t.Errorf("%+v", v)
	}
	// A reading type that is Wh in one entry and W in another, of one address: what
	// points to it has no unit; the rest has.
	units := map[string]int{}
	for _, v := range values(t, open("gbcmd-1up-3meas.xml")) {
		units[v.Unit]++
	}
	if units["Wh"] != 24 || units[""] != 25 {
		t.Errorf("units %v", units)
	}
	// Both directions of one home, and durations of zero.
	registers := map[string]int{}
	for _, v := range values(t, open("gbcmd-1min-2013-12-09.xml.gz")) {
		registers[v.Register.String()]++
		if v.Duration != 0 || !v.Timed {
			t.Fatalf("%+v", v)
		}
	}
	if len(registers) != 2 {
		t.Errorf("registers %v", registers)
	}
	// Gas: cubic metres in thousandths.
	if v = values(t, open("tdresser-enbridge-gas.xml.gz")); len(v) != 20 || v[0].Unit != "m3" || v[0].Number.String() != "58" || v[0].Known {
		t.Errorf("%d values, the first %+v", len(v), v[0])
	}
	// Tokens are not kept, whoever writes them.
	_, entries := read(t, open("openespi-multi-authorization-anonymized.xml"))
	if a := entries[1].Contents[0].(*espi.Authorization); len(entries) != 2 || a.Scope != "FB=1_3_4_5_13_15" || *a.Authorized != (espi.Period{Duration: 31536000, Start: 1600000000}) {
		t.Errorf("%d entries, the last %+v", len(entries), a)
	}
	if _, err := espi.ParseDSTRule("B40E"); !errors.Is(err, espi.ErrDSTRule) {
		t.Errorf("half a rule: %v", err)
	}
}
