package profile

import (
	"bytes"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// clockChanges are three household-days of half hours in Zurich: spring,
// autumn and an ordinary day, with missing intervals and extreme values.
func clockChanges(t testing.TB) []meter.Series {
	zurich := zone(t, "Europe/Zurich")
	var days []meter.Series
	for k, d := range []string{"2018-03-25", "2018-10-28", "2018-10-29"} {
		day, kind := localDayOf(date(t, d), zurich, 30*minute)
		if kind != "" {
			t.Fatal(kind)
		}
		s := meter.Series{UsagePoint: "CH-1:a", Register: meter.ActiveImport, Start: day.start(), Length: 30 * minute}
		for i := range day.intervals(30 * minute) {
			s.Values = append(s.Values, int64(i*(k+1)))
		}
		days = append(days, s)
	}
	days[1].Quality = make([]meter.Quality, 50)
	days[1].Quality[7], days[1].Values[7] = meter.Missing, 0
	days[2].UsagePoint = "CH-1:b"
	days[2].Values[0], days[2].Values[1], days[2].Values[2], days[2].Values[3] = math.MaxInt64, math.MinInt64, -36480, 1000
	return days
}

// The form itself, byte for byte: a change of it would make files of earlier
// versions mean something else.
func TestGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/clock-changes.golden.csv")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Zone: zone(t, "Europe/Zurich")}
	days := clockChanges(t)
	var written bytes.Buffer
	if err := Encode(&written, days, o); err != nil {
		t.Fatal(err)
	}
	if written.String() != string(golden) {
		t.Errorf("written:\n%swant:\n%s", written.String(), golden)
	}
	read, err := readAll(bytes.NewReader(golden), o)
	if err != nil || !reflect.DeepEqual(read, days) {
		t.Errorf("read %+v, %v; want %+v", read, err, days)
	}
}

// What the form cannot say is refused, not dropped: a lost quality or revision
// would come back as a better reading than it was.
func TestEncodeRefuses(t *testing.T) {
	zurich := zone(t, "Europe/Zurich")
	change := func(f func(s *meter.Series)) []meter.Series {
		days := clockChanges(t)
		f(&days[1])
		return days
	}
	for name, days := range map[string][]meter.Series{
		"nothing":                  nil,
		"estimated":                change(func(s *meter.Series) { s.Quality[0] = meter.Estimated }),
		"a value where missing":    change(func(s *meter.Series) { s.Values[7] = 1 }),
		"too few quality codes":    change(func(s *meter.Series) { s.Quality = s.Quality[1:] }),
		"a revision":               change(func(s *meter.Series) { s.Revision = 1 }),
		"another register":         change(func(s *meter.Series) { s.Register = meter.ActiveExport }),
		"another length":           change(func(s *meter.Series) { s.Length = 900 }),
		"an hour too late":         change(func(s *meter.Series) { s.Start += 3600 }),
		"an hour too few":          change(func(s *meter.Series) { s.Values, s.Quality = s.Values[:48], s.Quality[:48] }),
		"a household with a comma": change(func(s *meter.Series) { s.UsagePoint = "a,b" }),
		"the year 10000":           change(func(s *meter.Series) { s.Start = 253402300800 }),
		"the end of int64":         change(func(s *meter.Series) { s.Start = math.MaxInt64 }),
		"the beginning of int64":   change(func(s *meter.Series) { s.Start = math.MinInt64 }),
		"two hours":                {{UsagePoint: "a", Register: meter.ActiveImport, Length: 7200, Values: make([]int64, 12)}},
		"half a minute":            {{UsagePoint: "a", Register: meter.ActiveImport, Length: 30, Values: make([]int64, 2880)}},
		"no length":                {{UsagePoint: "a", Register: meter.ActiveImport, Values: make([]int64, 24)}},
		"a change by half an hour": {{UsagePoint: "a", Register: meter.ActiveImport, Length: 3600, Start: 1522501200, Values: make([]int64, 24)}},
	} {
		o := Options{Zone: zurich}
		if name == "a change by half an hour" {
			o.Zone = zone(t, "Australia/Lord_Howe") // 2018-04-01 begins at 2018-03-31 13:00 UTC
		}
		var w bytes.Buffer
		if err := Encode(&w, days, o); !errors.Is(err, ErrNotWide) || w.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written; want ErrNotWide and none", name, err, w.Len())
		}
	}
}

type fullDisk struct{}

var errFull = errors.New("disk full")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// A file that could not be written whole must not look written.
func TestEncodeWriteError(t *testing.T) {
	if err := Encode(fullDisk{}, clockChanges(t), Options{Zone: zone(t, "Europe/Zurich")}); !errors.Is(err, errFull) {
		t.Errorf("Encode to a full disk: %v", err)
	}
}

// No file brings the decoder down, whatever the zone; and a file it accepts is
// the same after being written and read again.
func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile("testdata/clock-changes.golden.csv")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, uint8(1), true)
	f.Add([]byte(zipped(string(golden))), uint8(1), true)
	f.Add(golden[:len(golden)-1], uint8(0), false)
	f.Add([]byte(hourly("a,2018-10-28,"+filled("1"))), uint8(1), true)
	f.Add([]byte(hourly("a,2018-11-04,"+filled("1"), "b,2018-11-05,"+filled(""))), uint8(2), false)
	f.Add([]byte(hourly("a,0000-01-01,"+filled("-1"), "b,9999-12-31,"+filled("5.0"))), uint8(3), false)
	f.Add([]byte(strings.Replace(hourly("a,2018-11-04,0,"+filled("1")), "00:00", "00:00,00:00", 1)), uint8(4), true)
	zones := []*time.Location{cet}
	for _, name := range []string{"Europe/Zurich", "America/Sao_Paulo", "Pacific/Apia", "America/Havana", "Australia/Lord_Howe"} {
		zones = append(zones, zone(f, name))
	}
	f.Fuzz(func(t *testing.T, file []byte, z uint8, kilo bool) {
		o := Options{Zone: zones[int(z)%len(zones)], Unit: Wh}
		if kilo {
			o.Unit = KWh
		}
		days, err := readAll(bytes.NewReader(file), o)
		if err != nil && explanations[faultOf(err).Kind] == "" {
			t.Fatalf("an error of no kind: %v", err)
		}
		if len(days) == 0 {
			return
		}
		var written bytes.Buffer
		if err := Encode(&written, days, o); err != nil {
			t.Fatalf("a decoded file is not encoded: %v", err)
		}
		again, err := readAll(&written, o)
		if err != nil || !slices.EqualFunc(days, again, func(a, b meter.Series) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("written and read again: %+v, %v; want %+v", again, err, days)
		}
	})
}
