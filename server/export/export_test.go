package export

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/wattveil/wattveil/meter"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// table writes series as a table.
func table(t testing.TB, f Format, z *time.Location, series ...meter.Series) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := New(&out, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		if err := w.Write(s, z); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// lines reads a CSV table as a stranger does.
func lines(t testing.TB, b []byte) [][]string {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// parquetLines reads a Parquet table with the library that wrote it, as CSV would say it.
func parquetLines(t testing.TB, b []byte) [][]string {
	t.Helper()
	r := parquet.NewGenericReader[row](bytes.NewReader(b))
	defer func() { _ = r.Close() }()
	out := [][]string{columns}
	for buf := make([]row, 100); ; {
		n, err := r.Read(buf)
		for _, r := range buf[:n] {
			out = append(out, []string{
				text(r.UsagePoint), r.Register, time.UnixMilli(r.Start).UTC().Format(utcLayout), r.StartLocal, strconv.Itoa(int(r.Duration)),
				strconv.FormatInt(r.Value, 10), r.Unit, r.Quality, strconv.FormatInt(r.Revision, 10),
			})
		}
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

var midnight = time.Date(2026, time.March, 29, 0, 0, 0, 0, time.UTC).Unix()

// samples are values at the edges: the least and the most, every quality, a gap, a name
// that is a formula, a sum of a long day.
var samples = []meter.Series{
	{
		UsagePoint: "home-a", Register: meter.ActiveImport, Start: midnight, Length: 900, Revision: 4_294_967_295, Values: []int64{0, 1, 9, 2, 3, 1<<63 - 1},
		Quality: []meter.Quality{meter.Measured, meter.Estimated, meter.Missing, meter.Substituted, meter.Suspect, meter.Measured},
	},
	{UsagePoint: "-1", Register: meter.Register{1, 0, 16, 29, 0, 255}, Start: midnight + 3600, Length: 3600, Values: []int64{-1 << 63, -5}},
	{UsagePoint: "home-a", Register: meter.Register{1, 0, 3, 29, 0, 255}, Start: midnight - 3600, Length: 82800, Values: []int64{7}},
}

const wantCSV = `usage_point,register,start,start_local,duration_s,value,unit,quality,revision
home-a,1-0:1.29.0*255,2026-03-29T00:00:00Z,2026-03-29T01:00:00+01:00,900,0,Wh,measured,4294967295
home-a,1-0:1.29.0*255,2026-03-29T00:15:00Z,2026-03-29T01:15:00+01:00,900,1,Wh,estimated,4294967295
home-a,1-0:1.29.0*255,2026-03-29T00:45:00Z,2026-03-29T01:45:00+01:00,900,2,Wh,substituted,4294967295
home-a,1-0:1.29.0*255,2026-03-29T01:00:00Z,2026-03-29T03:00:00+02:00,900,3,Wh,suspect,4294967295
home-a,1-0:1.29.0*255,2026-03-29T01:15:00Z,2026-03-29T03:15:00+02:00,900,9223372036854775807,Wh,measured,4294967295
'-1,1-0:16.29.0*255,2026-03-29T01:00:00Z,2026-03-29T03:00:00+02:00,3600,-9223372036854775808,Wh,measured,0
'-1,1-0:16.29.0*255,2026-03-29T02:00:00Z,2026-03-29T04:00:00+02:00,3600,-5,Wh,measured,0
home-a,1-0:3.29.0*255,2026-03-28T23:00:00Z,2026-03-29T00:00:00+01:00,82800,7,varh,measured,0
`

// Every column, to the byte. It would catch a value that passes through a float, a
// missing one that comes out as 0, and a cell that a spreadsheet computes.
func TestCSV(t *testing.T) {
	if diff := cmp.Diff(wantCSV, string(table(t, CSV, zone(t, "Europe/Zurich"), samples...))); diff != "" {
		t.Error(diff)
	}
	if got := string(table(t, CSV, time.UTC)); got != strings.Join(columns, ",")+"\n" {
		t.Errorf("no readings: %q", got)
	}
}

// A Parquet table says what the CSV table says, over several groups of rows.
func TestParquet(t *testing.T) {
	z := zone(t, "Europe/Zurich")
	long := meter.Series{UsagePoint: "home-b", Register: meter.ActiveImport, Start: midnight, Length: 900, Values: make([]int64, 2*rowsPerGroup+7)}
	for i := range long.Values {
		long.Values[i] = int64(i) * 1_000_003
	}
	all := append(samples[:len(samples):len(samples)], long)
	for _, series := range [][]meter.Series{nil, samples, all} {
		if diff := cmp.Diff(lines(t, table(t, CSV, z, series...)), parquetLines(t, table(t, Parquet, z, series...))); diff != "" {
			t.Error(diff)
		}
	}
}

// Somebody else's reader, Apache Arrow's, reads of a Parquet table what the CSV table
// says: types and all. .ci/run builds it from .ci/rivals.
func TestStrangerReadsParquet(t *testing.T) {
	program := os.Getenv("WATTVEIL_TEST_PARQUET")
	if program == "" {
		if os.Getenv("WATTVEIL_REQUIRE_STRANGERS") != "" {
			t.Fatal("WATTVEIL_TEST_PARQUET names no program")
		}
		t.Skip("WATTVEIL_TEST_PARQUET names no reader; .ci/run builds one")
	}
	z := zone(t, "Australia/Lord_Howe")
	file := filepath.Join(t.TempDir(), "readings.parquet")
	if err := os.WriteFile(file, table(t, Parquet, z, samples...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := lines(t, table(t, CSV, z, samples...))
	for _, row := range want {
		row[0] = strings.TrimPrefix(row[0], "'") // there are no formulas in Parquet
	}
	if diff := cmp.Diff(want, lines(t, out)); diff != "" {
		t.Error(diff)
	}
}

// The days on which clocks change, spring and autumn, in zones that do it in five ways:
// each value once, in order, with the offset of its moment, so that the long day has its
// hour twice and nothing is ambiguous.
func TestDaysOfClockChanges(t *testing.T) {
	for name, days := range map[string]map[string]int{
		"Europe/Zurich":       {"2026-03-29": 92, "2026-10-25": 100},
		"America/New_York":    {"2026-03-08": 92, "2026-11-01": 100},
		"Australia/Lord_Howe": {"2026-04-05": 98, "2026-10-04": 94},  // by half an hour
		"America/Havana":      {"2026-03-08": 92, "2026-11-01": 100}, // at midnight
		"Pacific/Chatham":     {"2026-04-05": 100, "2026-09-27": 92}, // offset by three quarters
		"Asia/Kolkata":        {"2026-03-29": 96, "2026-10-25": 96},
	} {
		z := zone(t, name)
		for date, want := range days {
			noon, err := time.ParseInLocation("2006-01-02 15:04", date+" 12:00", z)
			if err != nil {
				t.Fatal(err)
			}
			s := meter.Series{UsagePoint: "p", Register: meter.ActiveImport, Start: noon.Add(-36*time.Hour).Unix() / 900 * 900, Length: 900, Values: make([]int64, 72*4)}
			for _, f := range []Format{CSV, Parquet} {
				read := lines
				if f == Parquet {
					read = parquetLines
				}
				n, before := 0, ""
				for _, row := range read(t, table(t, f, z, s))[1:] {
					utc, err := time.Parse(time.RFC3339, row[2])
					if err != nil {
						t.Fatal(err)
					}
					local, err := time.Parse(time.RFC3339, row[3])
					if err != nil || !local.Equal(utc) {
						t.Errorf("%s: %s is not %s", name, row[3], row[2])
					}
					if row[2] <= before {
						t.Errorf("%s: %s after %s", name, row[2], before)
					}
					before = row[2]
					if strings.HasPrefix(row[3], date) {
						n++
					}
				}
				if n != want {
					t.Errorf("%s, %s as %s: %d quarter hours, want %d", name, date, f, n, want)
				}
			}
		}
	}
}

// A table takes no more memory when it grows. It would catch rows that are kept until the
// end: 400 days of quarter hours of 256 usage points are ten million.
func TestMemoryIsConstant(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes a million rows")
	}
	s := meter.Series{UsagePoint: "p", Register: meter.ActiveImport, Length: 900, Values: make([]int64, 96*31)}
	for i := range s.Values {
		s.Values[i] = int64(i * i % 4001)
	}
	for _, f := range []Format{CSV, Parquet} {
		w, err := New(io.Discard, f)
		if err != nil {
			t.Fatal(err)
		}
		live := func() uint64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		var early uint64
		for part := range 340 {
			s.Start = int64(part) * 31 * 86400
			if err := w.Write(s, time.UTC); err != nil {
				t.Fatal(err)
			}
			if part == 39 {
				early = live()
			}
		}
		if late := live(); late > early+8<<20 {
			t.Errorf("%s: %d bytes after 120,000 rows, %d after a million", f, early, late)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A reader that goes away ends the table with its error.
func TestWriteFails(t *testing.T) {
	for _, f := range []Format{CSV, Parquet} {
		w, err := New(broken{}, f)
		for i := 0; err == nil && i < 100; i++ {
			err = w.Write(meter.Series{UsagePoint: "p", Length: 900, Values: make([]int64, 10_000)}, time.UTC)
		}
		if err == nil {
			err = w.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", f)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Names that spreadsheets compute are marked, others are as they are, and numbers stay
// numbers.
func TestNoFormulas(t *testing.T) {
	for in, want := range map[string]string{
		"home": "home", "": "", "1-0:1.29.0*255": "1-0:1.29.0*255", ".5": ".5", "-1": "'-1", "=1": "'=1", "+1": "'+1", "@a": "'@a", "\ta": "'\ta", "\ra": "'\ra", "\x00": "'\x00",
	} {
		if got := text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, f := range []Format{CSV, Parquet} {
		if got, err := ParseFormat(string(f)); got != f || err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	for _, s := range []string{"", "CSV", "json", "csv "} {
		if _, err := ParseFormat(s); err == nil {
			t.Errorf("%q is a format", s)
		}
	}
	if CSV.ContentType() == Parquet.ContentType() {
		t.Error("one media type for both")
	}
}

func BenchmarkTable(b *testing.B) {
	s := meter.Series{UsagePoint: "p", Register: meter.ActiveImport, Length: 900, Values: make([]int64, 96*31)}
	z := zone(b, "Europe/Zurich")
	for _, f := range []Format{CSV, Parquet} {
		b.Run(fmt.Sprint(f), func(b *testing.B) {
			w, err := New(io.Discard, f)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := w.Write(s, z); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(s.Values)), "ns/row")
		})
	}
}
