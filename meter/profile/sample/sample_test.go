package sample_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/profile"
	"github.com/wattveil/wattveil/meter/profile/sample"
)

// sums are the numbers another program found in the file's text.
type sums struct {
	Households int               `json:"households"`
	Readings   int               `json:"readings"`
	Negative   int               `json:"negative"`
	Zero       int               `json:"zero"`
	Min        string            `json:"min_kwh"`
	Max        string            `json:"max_kwh"`
	Total      string            `json:"total_kwh"`
	ByDay      map[string]string `json:"total_kwh_by_local_day"`
	BySlot     map[string]string `json:"total_kwh_by_slot_2018_11_21"`
}

func decodeAll(t *testing.T, zone *time.Location) []meter.Series {
	t.Helper()
	d, err := profile.NewDecoder(sample.Open(), profile.Options{Zone: zone})
	if err != nil {
		t.Fatal(err)
	}
	var days []meter.Series
	for {
		s, err := d.Next()
		if errors.Is(err, io.EOF) {
			return days
		}
		if err != nil {
			t.Fatal(err)
		}
		days = append(days, s)
	}
}

// wattHours reads a sum, in kWh with up to three decimals, without the decoder's help.
func wattHours(t *testing.T, kWh string) int64 {
	t.Helper()
	whole, fraction, _ := strings.Cut(kWh, ".")
	wh, err := strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return wh
}

// Against the sidecar: a decoder that rounds, drops, doubles or moves a single
// value by a quarter of an hour gives another sum.
func TestSumsEqualThePublished(t *testing.T) {
	text, err := os.ReadFile("testdata/sums.json")
	if err != nil {
		t.Fatal(err)
	}
	var want sums
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}

	zone := sample.Zone()
	households := make(map[meter.UsagePoint]bool)
	byDay, bySlot := make(map[string]int64), make(map[string]int64)
	readings, negative, zero := 0, 0, 0
	total, least, most := int64(0), int64(0), int64(0)
	for _, s := range decodeAll(t, zone) {
		households[s.UsagePoint] = true
		if s.Register != meter.ActiveImport || s.Length != 900 || len(s.Values) != 96 || s.Quality != nil || s.Revision != 0 {
			t.Fatalf("a row is %d intervals of %d s, register %s", len(s.Values), s.Length, s.Register)
		}
		for i, v := range s.Values {
			at := s.At(i).Start.In(zone)
			day := at.Format(time.DateOnly)
			byDay[day] += v
			if day == "2018-11-21" {
				bySlot[at.Format("15:04")] += v
			}
			readings++
			total, least, most = total+v, min(least, v), max(most, v)
			switch {
			case v < 0:
				negative++
			case v == 0:
				zero++
			}
		}
	}

	if len(households) != sample.Households || sample.Households != want.Households {
		t.Errorf("%d households, want %d", len(households), want.Households)
	}
	if len(byDay) != sample.LocalDays {
		t.Errorf("%d local days, want %d", len(byDay), sample.LocalDays)
	}
	if readings != sample.Readings || sample.Readings != want.Readings || sample.Readings != 1_514_688 {
		t.Errorf("%d readings, want %d", readings, want.Readings)
	}
	if negative != want.Negative || zero != want.Zero {
		t.Errorf("%d negative and %d zero, want %d and %d", negative, zero, want.Negative, want.Zero)
	}
	if total != wattHours(t, want.Total) || least != wattHours(t, want.Min) || most != wattHours(t, want.Max) {
		t.Errorf("total %d, least %d, most %d Wh", total, least, most)
	}
	for name, pair := range map[string]struct {
		got  map[string]int64
		want map[string]string
	}{"day": {byDay, want.ByDay}, "slot": {bySlot, want.BySlot}} {
		wh := make(map[string]int64)
		for key, text := range pair.want {
			wh[key] = wattHours(t, text)
		}
		if !maps.Equal(pair.got, wh) {
			t.Errorf("sums by %s: %v, want %v", name, pair.got, wh)
		}
	}
}

// What the hub must accept and refuse of it, to the reading: the whole chain
// from decoding to validation, with the default cap.
func TestExactlyThe668AreRefused(t *testing.T) {
	limits := meter.Limits{
		CapWatts: meter.DefaultCapWatts,
		Now:      time.Date(2018, 12, 17, 0, 0, 0, 0, sample.Zone()).Unix(), // the end of the last interval
	}
	days := decodeAll(t, sample.Zone())
	reasons := make(map[meter.Reason]int)
	aboveCap := make(map[meter.UsagePoint]int)
	for i := range days {
		for _, r := range days[i].Validate(limits) {
			reasons[r.Reason]++
			if r.Reason == meter.AboveCap {
				aboveCap[r.UsagePoint]++
			}
		}
	}
	if want := map[meter.Reason]int{meter.NegativeDelivered: 15, meter.AboveCap: 653}; !maps.Equal(reasons, want) {
		t.Errorf("refused %v, want %v", reasons, want)
	}
	if want := map[meter.UsagePoint]int{"2046645": 650, "4952170": 2, "9717902": 1}; !maps.Equal(aboveCap, want) {
		t.Errorf("above the cap: %v, want %v", aboveCap, want)
	}

	refused, repeated := meter.RefuseConflicts(days)
	if len(refused) != 0 || repeated != 0 {
		t.Errorf("%d conflicts and %d repeats, want none", len(refused), repeated)
	}

	accepted, sum := 0, int64(0)
	utcDays := make(map[meter.Day]bool)
	for _, s := range days {
		for _, piece := range s.SplitUTCDays() {
			accepted += piece.Present()
			utcDays[meter.DayOf(piece.Start)] = true
			for _, v := range piece.Values {
				sum += v // a refused value is 0
			}
		}
	}
	if accepted != 1_514_020 || sum != 748_536_165 || len(utcDays) != 50 {
		t.Errorf("accepted %d readings, %d Wh, %d UTC days; want 1514020, 748536165, 50", accepted, sum, len(utcDays))
	}
}

// CET and the wall clock of Zurich are one over these days: a user who states
// the city gets the same instants.
func TestZoneIsZurichs(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	here, there := decodeAll(t, sample.Zone()), decodeAll(t, zurich)
	for i := range here {
		if here[i].Start != there[i].Start || len(here[i].Values) != len(there[i].Values) {
			t.Fatalf("row %d starts at %d in CET and %d in Zurich", i, here[i].Start, there[i].Start)
		}
	}
}

// The licence is kept only if the file is the one that ATTRIBUTION.md describes.
func TestFileIsThePublished(t *testing.T) {
	h := sha256.New()
	if _, err := io.Copy(h, sample.Open()); err != nil {
		t.Fatal(err)
	}
	const want = "342440e2809ed69fa531f74efdd3438a9a91f9a7a3db4beb8546f79d446cfad1"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("SHA-256 %s, want %s", got, want)
	}
}
