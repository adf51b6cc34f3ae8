package profile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wattveil/wattveil/meter"
)

var cet = time.FixedZone("CET", 3600)

// readAll decodes everything up to the end or the first error.
func readAll(r io.Reader, o Options) ([]meter.Series, error) {
	d, err := NewDecoder(r, o)
	if err != nil {
		return nil, err
	}
	var days []meter.Series
	for {
		s, err := d.Next()
		if errors.Is(err, io.EOF) {
			return days, nil
		}
		if err != nil {
			return days, err
		}
		days = append(days, s)
	}
}

// faultOf returns the fault that err is, or the zero Error.
func faultOf(err error) Error {
	if fault := (*Error)(nil); errors.As(err, &fault) {
		return *fault
	}
	return Error{}
}

func zipped(plain string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(plain)) // a bytes.Buffer takes everything
	_ = z.Close()
	return b.String()
}

// hourly is a file of hours: each row a household, a date and 24 cells.
func hourly(rows ...string) string {
	return "household_id,date," + times(60) + "\n" + strings.Join(rows, "\n") + "\n"
}

// filled is 24 cells, every one v.
func filled(v string) string { return strings.Repeat(v+",", 23) + v }

func TestDecode(t *testing.T) {
	file := hourly(
		"7855756,2018-10-29,0.03,0.68,"+strings.Repeat("1,", 20)+"-36.48,115.232",
		"7855756,2018-10-30,"+strings.Repeat("0,", 22)+",",
	)
	ones := slices.Repeat([]int64{1000}, 20)
	missing := make([]meter.Quality, 24)
	missing[22], missing[23] = meter.Missing, meter.Missing
	want := []meter.Series{
		{
			UsagePoint: "7855756", Register: meter.ActiveImport, Start: 1540767600, Length: 3600,
			Values: append(append([]int64{30, 680}, ones...), -36480, 115232),
		},
		{
			UsagePoint: "7855756", Register: meter.ActiveImport, Start: 1540854000, Length: 3600,
			Values: make([]int64, 24), Quality: missing,
		},
	}
	for name, r := range map[string]io.Reader{
		"plain":               strings.NewReader(file),
		"CRLF":                strings.NewReader(strings.ReplaceAll(file, "\n", "\r\n")),
		"byte order mark":     strings.NewReader("\uFEFF" + file),
		"gzip":                strings.NewReader(zipped(file)),
		"gzip in two members": strings.NewReader(zipped(file[:100]) + zipped(file[100:])),
		"one byte at a time":  iotest.OneByteReader(strings.NewReader(zipped(file))),
		"end with the data":   iotest.DataErrReader(strings.NewReader(file)),
		"gzip, end with data": iotest.DataErrReader(strings.NewReader(zipped(file))),
		"half reads":          iotest.HalfReader(strings.NewReader(file)),
	} {
		got, err := readAll(r, Options{Zone: cet})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestDecodeOptions(t *testing.T) {
	file := hourly("a,2018-10-29," + filled("30"))
	got, err := readAll(strings.NewReader(file), Options{Zone: time.UTC, Unit: Wh, Register: meter.ActiveExport})
	if err != nil || len(got) != 1 || got[0].Register != meter.ActiveExport || got[0].Values[23] != 30 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, o := range map[string]Options{
		"no zone":               {},
		"unknown unit":          {Zone: cet, Unit: 2},
		"a register of voltage": {Zone: cet, Register: meter.Register{1, 0, 32, 7, 0, 255}},
	} {
		if _, err := NewDecoder(strings.NewReader(file), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v, want ErrOptions", name, err)
		}
		if err := Encode(io.Discard, got, o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s, encoding: %v, want ErrOptions", name, err)
		}
	}
}

// The two days of the year on which a wall clock lies. It catches an hour of
// values moved, doubled, dropped, or invented.
func TestDecodeClockChanges(t *testing.T) {
	zurich := zone(t, "Europe/Zurich")
	plainHeader := times(60)
	doubleHeader := strings.Replace(plainHeader, "02:00,", "02:00,02:00,", 1)
	// The cell at hour h is h kWh; x stands for what is under 02:00.
	row := func(day, x string) string {
		return "h," + day + ",0,1," + x + ",3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"
	}
	hours := func(from, to int64) (v []int64) {
		for ; from <= to; from++ {
			v = append(v, from*1000)
		}
		return v
	}
	missingAt := func(n, i int) []meter.Quality {
		q := make([]meter.Quality, n)
		q[i] = meter.Missing
		return q
	}
	for _, c := range []struct {
		name, header, row string
		start             string
		values            []int64
		quality           []meter.Quality
	}{
		{"spring", plainHeader, row("2018-03-25", ""), "2018-03-24T23:00:00Z", append(hours(0, 1), hours(3, 23)...), nil},
		{"spring, second column", doubleHeader, row("2018-03-25", ","), "2018-03-24T23:00:00Z", append(hours(0, 1), hours(3, 23)...), nil},
		{"autumn, both passes", doubleHeader, row("2018-10-28", "2,99"), "2018-10-27T22:00:00Z", append(append(hours(0, 2), 99000), hours(3, 23)...), nil},
		{"autumn, second pass empty", doubleHeader, row("2018-10-28", "2,"), "2018-10-27T22:00:00Z", append(append(hours(0, 2), 0), hours(3, 23)...), missingAt(25, 3)},
		{"autumn, first pass empty", doubleHeader, row("2018-10-28", ",99"), "2018-10-27T22:00:00Z", append(append(hours(0, 1), 0, 99000), hours(3, 23)...), missingAt(25, 2)},
		{"autumn, no second column", plainHeader, row("2018-10-28", "2"), "2018-10-27T22:00:00Z", append(append(hours(0, 2), 0), hours(3, 23)...), missingAt(25, 3)},
		{"ordinary, second column", doubleHeader, row("2018-10-29", "2,"), "2018-10-28T23:00:00Z", hours(0, 23), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readAll(strings.NewReader("household_id,date,"+c.header+"\n"+c.row+"\n"), Options{Zone: zurich})
			if err != nil {
				t.Fatal(err)
			}
			start, _ := time.Parse(time.RFC3339, c.start)
			want := meter.Series{
				UsagePoint: "h", Register: meter.ActiveImport, Start: start.Unix(), Length: 3600,
				Values: c.values, Quality: c.quality,
			}
			if !reflect.DeepEqual(got, []meter.Series{want}) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}

	for _, c := range []struct {
		name, header, row string
		column            int
	}{
		{"a value in the hour that spring skips", plainHeader, row("2018-03-25", "2"), 5},
		{"a second pass in spring", doubleHeader, row("2018-03-25", ",2"), 6},
		{"a second pass on an ordinary day", doubleHeader, row("2018-10-29", "2,2"), 6},
	} {
		_, err := readAll(strings.NewReader("household_id,date,"+c.header+"\n"+c.row+"\n"), Options{Zone: zurich})
		if f := faultOf(err); f != (Error{Kind: NoSuchTime, Line: 2, Column: c.column}) {
			t.Errorf("%s: %v, want no_such_time in column %d", c.name, err, c.column)
		}
	}

	// An ordinary day after a changed one, and back: the columns' meaning must follow.
	file := hourly(row("2018-10-27", "2"), row("2018-10-28", "2"), row("2018-10-29", "2"), row("2018-03-25", ""), row("2018-03-26", "2"))
	days, err := readAll(strings.NewReader(file), Options{Zone: zurich})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{24, 25, 24, 23, 24} {
		s := days[i]
		if len(s.Values) != want || s.Values[want-1] != 23000 || s.Values[want-20] != 4000 {
			t.Errorf("day %d: %d hours: %v", i, len(s.Values), s.Values)
		}
	}
}

// Bad files: each fault by name and place, so that an operator can find it, and
// no fault taken for an earlier end of the file. What came before it stands.
func TestDecodeRefuses(t *testing.T) {
	good := "7855756,2018-10-29," + filled("0.25")
	second := func(row string) string { return hourly(good, row) }
	packed := zipped(hourly(good, good, good))
	flipped := []byte(packed)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	header, _, _ := strings.Cut(hourly(), "\n")
	for _, c := range []struct {
		name string
		file string
		want Error
		days int // decoded before the fault
	}{
		{"nothing", "", Error{Kind: Empty}, 0},
		{"gzip of nothing", zipped(""), Error{Kind: Empty}, 0},
		{"another format", "\x7fELF\x00\n", Error{Kind: BadHeader, Line: 1, Column: 1}, 0},
		{"a header cut short", header[:40], Error{Kind: UnterminatedLine, Line: 1}, 0},
		{"a row cut short within a number", strings.TrimSuffix(second(good), "5\n"), Error{Kind: UnterminatedLine, Line: 3}, 1},
		{"gzip cut within its header", packed[:5], Error{Kind: TruncatedGzip}, 0},
		{"gzip cut within its data", packed[:len(packed)/2], Error{Kind: TruncatedGzip, Line: 1}, 0},
		{"gzip cut before its checksum", packed[:len(packed)-8], Error{Kind: TruncatedGzip, Line: 5}, 3},
		{"gzip with a wrong checksum", string(flipped), Error{Kind: CorruptGzip, Line: 5}, 3},
		{"gzip with rubbish behind", packed + "rubbish behind", Error{Kind: CorruptGzip, Line: 5}, 3},
		{"gzip magic and no gzip", "\x1f\x8bhousehold_id,date,00:00", Error{Kind: CorruptGzip}, 0},
		{"a cell too few", second("a,2018-10-30," + filled("1")[2:]), Error{Kind: WrongColumnCount, Line: 3}, 1},
		{"a cell too many", second("a,2018-10-30,1," + filled("1")), Error{Kind: WrongColumnCount, Line: 3}, 1},
		{"a blank line", second("") + good + "\n", Error{Kind: WrongColumnCount, Line: 3}, 1},
		{"a decimal comma", second("a,2018-10-30," + strings.Replace(filled("1"), "1", "0,5", 1)), Error{Kind: WrongColumnCount, Line: 3}, 1},
		{"no household in the first row", hourly(",2018-10-30," + filled("1")), Error{Kind: BadUsagePoint, Line: 2, Column: 1}, 0},
		{"no household", second(",2018-10-30," + filled("1")), Error{Kind: BadUsagePoint, Line: 3, Column: 1}, 1},
		{"a household with a space", second("a b,2018-10-30," + filled("1")), Error{Kind: BadUsagePoint, Line: 3, Column: 1}, 1},
		{"a date the other way", second("a,30.10.2018," + filled("1")), Error{Kind: BadDate, Line: 3, Column: 2}, 1},
		{"no such day", second("a,2018-02-29," + filled("1")), Error{Kind: BadDate, Line: 3, Column: 2}, 1},
		{"not a number", second("a,2018-10-30," + strings.Replace(filled("1"), "1,1", "1,NaN", 1)), Error{Kind: BadNumber, Line: 3, Column: 4}, 1},
		{"a space before a number", second("a,2018-10-30, " + filled("1")), Error{Kind: BadNumber, Line: 3, Column: 3}, 1},
		{"a fraction of a Wh", second("a,2018-10-30," + filled("1") + "2.0005"), Error{Kind: FractionalWattHours, Line: 3, Column: 26}, 1},
		{"more than 64 bits", second("a,2018-10-30,9999999999999999," + filled("1")[2:]), Error{Kind: NumberOutOfRange, Line: 3, Column: 3}, 1},
		{"a line without end", second("a,2018-10-30," + strings.Repeat("1", MaxLine)), Error{Kind: LineTooLong, Line: 3}, 1},
		{"a header without end", "household_id,date," + strings.Repeat("0", MaxLine), Error{Kind: LineTooLong, Line: 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			days, err := readAll(strings.NewReader(c.file), Options{Zone: cet})
			fault := faultOf(err)
			if fault != c.want {
				t.Fatalf("%v; want %v", err, &c.want)
			}
			if len(days) != c.days {
				t.Errorf("%d days before it, want %d", len(days), c.days)
			}
			if explanations[fault.Kind] == "" {
				t.Errorf("%s has no explanation", fault.Kind)
			}
		})
	}
}

// A zone may have no such date, or change its clock within an interval: no
// instant can be given to the values of such a row.
func TestDecodeRefusesByZone(t *testing.T) {
	for _, c := range []struct {
		zone, date string
		kind       Kind
	}{
		{"Pacific/Apia", "2011-12-30", NoSuchDate},
		{"Australia/Lord_Howe", "2018-04-01", UnevenZoneChange},
	} {
		_, err := readAll(strings.NewReader(hourly("a,"+c.date+","+filled("1"))), Options{Zone: zone(t, c.zone)})
		if f := faultOf(err); f != (Error{Kind: c.kind, Line: 2, Column: 2}) {
			t.Errorf("%s in %s: %v, want %s", c.date, c.zone, err, c.kind)
		}
	}
}

// A fault stays: a caller that goes on after it must not get later rows as if
// nothing had happened.
func TestFaultStays(t *testing.T) {
	good := "a,2018-10-29," + filled("1")
	d, err := NewDecoder(strings.NewReader(hourly("bad row", good)), Options{Zone: cet})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := d.Next(); faultOf(err).Kind != WrongColumnCount {
			t.Errorf("Next: %v", err)
		}
	}
}

// The disk's own error must come through, and not as a fault of the file.
func TestReaderError(t *testing.T) {
	broken := errors.New("disk on fire")
	whole := hourly("a,2018-10-29," + filled("1"))
	for name, r := range map[string]io.Reader{
		"at once":       iotest.ErrReader(broken),
		"in the header": io.MultiReader(strings.NewReader(whole[:30]), iotest.ErrReader(broken)),
		"in a row":      io.MultiReader(strings.NewReader(whole[:200]), iotest.ErrReader(broken)),
		"in gzip":       io.MultiReader(strings.NewReader(zipped(whole)[:50]), iotest.ErrReader(broken)),
	} {
		_, err := readAll(r, Options{Zone: cet})
		if !errors.Is(err, broken) || faultOf(err).Kind != Unreadable || !strings.HasSuffix(err.Error(), ": disk on fire") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Error texts reach logs: none may repeat what a household's row says.
func TestErrorsDoNotQuote(t *testing.T) {
	for _, row := range []string{
		"household-4711,2018-10-30,987.6543," + filled("1")[2:],
		"household-4711,2018-10-30,987.65.43," + filled("1")[2:],
		"household-4711,2018-99-30," + filled("987.654"),
		"household 4711,2018-10-30," + filled("987.654"),
	} {
		_, err := readAll(strings.NewReader(hourly(row)), Options{Zone: cet})
		if err == nil || strings.Contains(err.Error(), "4711") || strings.Contains(err.Error(), "987") || strings.Contains(err.Error(), "2018") {
			t.Errorf("error: %v", err)
		}
	}
}

// A row costs what it hands over and little more: this catches an allocation
// for each cell (1.5 million of them in the sample).
func TestDecodeAllocations(t *testing.T) {
	var rows []string
	for range 200 {
		rows = append(rows, "7855756,2018-10-29,"+filled("0.25"))
	}
	d, err := NewDecoder(strings.NewReader(hourly(rows...)), Options{Zone: cet})
	if err != nil {
		t.Fatal(err)
	}
	perRow := testing.AllocsPerRun(100, func() {
		if _, err := d.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if perRow > 4 {
		t.Errorf("%v allocations a row, want at most 4", perRow)
	}
}
