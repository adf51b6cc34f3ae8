package espi_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
)

// spring is 2026-03-29 00:00 in Zurich, a day of 23 hours.
const spring = 1774738800

// sub is a subscription as a hub would hand it over.
func sub(t testing.TB) espi.Subscription {
	t.Helper()
	site, err := espi.ParseSite("https://hub.example/DataCustodian/espi/1_1/resource/")
	if err != nil {
		t.Fatal(err)
	}
	return espi.Subscription{
		Site: site, ID: "00112233445566778899aabbccddeeff",
		Published: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), Updated: time.Date(2026, 4, 1, 9, 30, 0, 5, time.UTC),
	}
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// quarters returns n quarter hours of CH-1 from start, valued 100, 101 …
func quarters(r meter.Register, start int64, n int) meter.Series {
	s := meter.Series{UsagePoint: "CH-1", Register: r, Start: start, Length: 900}
	for i := range n {
		s.Values = append(s.Values, int64(100+i))
	}
	return s
}

// write returns what f writes as a batch.
func write(t testing.TB, s espi.Subscription, f func(*espi.Batch) error) []byte {
	t.Helper()
	var b bytes.Buffer
	batch := espi.NewBatch(&b, s)
	if err := f(batch); err != nil {
		t.Fatal(err)
	}
	if err := batch.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns the head and the entries of a document.
func read(t testing.TB, document []byte) (espi.Head, []espi.Entry) {
	t.Helper()
	d, err := espi.NewDecoder(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	var entries []espi.Entry
	for {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			return d.Head(), entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
}

// values returns the values of a document.
func values(t testing.TB, document []byte) (out []espi.Value) {
	t.Helper()
	r, err := espi.NewReader(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	for {
		v, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
}

var quarter = espi.Every(900)

// home writes two usage points in two zones: one with import, export and a summary, the other
// with import in days.
func home(t testing.TB) func(*espi.Batch) error {
	imported := quarters(meter.ActiveImport, spring, 8)
	imported.Quality = make([]meter.Quality, 8)
	copy(imported.Quality, []meter.Quality{meter.Missing, meter.Measured, meter.Estimated, meter.Substituted, meter.Suspect, meter.Missing, meter.Measured, meter.Missing})
	for i, q := range imported.Quality {
		if q == meter.Missing {
			imported.Values[i] = 0
		}
	}
	days := meter.Series{UsagePoint: "UK-2", Register: meter.ActiveImport, Start: 1774742400, Length: 23 * 3600, Values: []int64{9_007_199_254_741}}
	later := meter.Series{UsagePoint: "UK-2", Register: meter.ActiveImport, Start: days.End(), Length: 24 * 3600, Values: []int64{0, 12}}
	zurich, london := zone(t, "Europe/Zurich"), zone(t, "Europe/London")
	return func(b *espi.Batch) error {
		return errors.Join(
			b.UsagePoint(espi.Point{UsagePoint: "CH-1", Zone: zurich, Summaries: true}),
			b.Meter(espi.Meter{Register: meter.ActiveImport, Step: quarter}, imported),
			b.Meter(espi.Meter{Register: meter.ActiveExport, Step: quarter}, quarters(meter.ActiveExport, spring, 2), quarters(meter.ActiveExport, spring+2700, 1)),
			b.Meter(espi.Meter{Register: meter.ActiveExport, Step: espi.Every(3600)}), // of which nothing is known
			b.Summary(espi.Summary{Register: meter.ActiveImport, Start: spring, Duration: 86400, Value: 1234, Quality: meter.Estimated}),
			b.UsagePoint(espi.Point{UsagePoint: "UK-2", Zone: london}),
			b.Meter(espi.Meter{Register: meter.ActiveImport, Step: espi.Daily}, days, later),
		)
	}
}

// The feed passes both schemas and the rules of its function blocks, with and
// without the currency that no cost goes by. This is what a stranger's client
// depends on; everything below says why in single points.
func TestBatchIsValid(t *testing.T) {
	s := sub(t)
	valid(t, write(t, s, home(t)), "FB_01", "FB_04", "FB_05", "FB_08", "FB_15")
	s.Currency = 978
	valid(t, write(t, s, home(t)), "FB_01", "FB_04", "FB_05", "FB_08", "FB_15")
	// A household of which nothing is known yet: FB_04 asks for readings.
	valid(t, write(t, s, func(b *espi.Batch) error { return b.UsagePoint(espi.Point{UsagePoint: "CH-1"}) }), "FB_01")
	valid(t, write(t, s, func(*espi.Batch) error { return nil }))
}

// A bulk feed holds what the feeds of its subscriptions hold, entry for entry, and
// passes as they do. Catches a link from one household to another's.
func TestBulk(t *testing.T) {
	first, second := sub(t), sub(t)
	second.ID = "ffeeddccbbaa99887766554433221100"
	var out bytes.Buffer
	b := espi.NewBulk(&out, first.Site, "third", "7", first.Updated)
	for _, s := range []espi.Subscription{first, second} {
		if err := errors.Join(b.Subscription(s), home(t)(b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	valid(t, out.Bytes(), "FB_01", "FB_04", "FB_05", "FB_08", "FB_15")
	_, got := read(t, out.Bytes())
	_, want := read(t, write(t, first, home(t)))
	_, more := read(t, write(t, second, home(t)))
	if diff := cmp.Diff(append(want, more...), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := espi.NewBulk(io.Discard, first.Site, "third", "7", first.Updated).UsagePoint(espi.Point{}); !errors.Is(err, espi.ErrSequence) {
		t.Errorf("a usage point of no subscription: %v", err)
	}
}

// Values come back as they were given, those missing not at all, with their
// units, registers and qualities; a 23-hour day as 23 hours. Catches a shift, a
// factor, a zero invented for a gap.
func TestBatchRoundTrip(t *testing.T) {
	got := values(t, write(t, sub(t), home(t)))
	names := sub(t).Names()
	type row struct {
		Meter    string
		Register string
		Start    int64
		Duration int64
		Number   string
		Unit     string
		Quality  meter.Quality
	}
	var rows []row
	for _, v := range got {
		if !v.Known || !v.Timed {
			t.Errorf("value without register or time: %+v", v)
		}
		rows = append(rows, row{v.Meter, v.Register.String(), v.Start, v.Duration, v.Number.String(), v.Unit, v.Quality})
	}
	ch, uk := names.UsagePoint("CH-1"), names.UsagePoint("UK-2")
	imp, exp := meter.ActiveImport.String(), meter.ActiveExport.String()
	want := []row{
		{ch, imp, spring + 900, 900, "101", "Wh", meter.Measured},
		{ch, imp, spring + 1800, 900, "102", "Wh", meter.Estimated},
		{ch, imp, spring + 2700, 900, "103", "Wh", meter.Substituted},
		{ch, imp, spring + 3600, 900, "104", "Wh", meter.Suspect},
		{ch, imp, spring + 5400, 900, "106", "Wh", meter.Measured},
		{ch, exp, spring, 900, "100", "Wh", meter.Measured},
		{ch, exp, spring + 900, 900, "101", "Wh", meter.Measured},
		{ch, exp, spring + 2700, 900, "100", "Wh", meter.Measured},
		{uk, imp, 1774742400, 82800, "9007199254741", "Wh", meter.Measured},
		{uk, imp, 1774825200, 86400, "0", "Wh", meter.Measured},
		{uk, imp, 1774911600, 86400, "12", "Wh", meter.Measured},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

// What readers in the field rely on beyond the standard: an entry for each rule
// that an unmodified EDDIE and others read by.
func TestBatchForReadersInTheField(t *testing.T) {
	document := write(t, sub(t), home(t))
	head, entries := read(t, document)

	var titles []string
	selfs, ids := map[string]bool{}, map[string]bool{}
	lengths := map[string]int{} // of identifiers, by kind
	link := func(e espi.Entry, rel string) string {
		for _, l := range e.Links {
			if l.Rel == rel {
				return l.Href
			}
		}
		return ""
	}
	blocks := map[string]int{} // by the meter reading above
	meters := map[string]bool{}
	for _, e := range entries {
		titles = append(titles, e.Title)
		self := link(e, "self")
		if selfs[self] || ids[e.ID] {
			t.Errorf("%s: self link or id stands twice", e.Title)
		}
		selfs[self], ids[e.ID] = true, true
		id := self[strings.LastIndexByte(self, '/')+1:]
		if n, ok := lengths[e.Title]; ok && n != len(id) {
			t.Errorf("%s: identifiers of %d and %d characters: one may be the other's prefix", e.Title, n, len(id))
		}
		lengths[e.Title] = len(id)
		if len(e.ID) != len("urn:uuid:")+36 || e.ID == head.ID {
			t.Errorf("%s: id %s", e.Title, e.ID)
		}
		switch e.Title {
		case "MeterReading":
			meters[self] = true
		case "ReadingType":
			// The first related link is the meter reading, which has come before.
			if !meters[link(e, "related")] {
				t.Error("the first related link of a ReadingType is no MeterReading before it")
			}
		case "IntervalBlock":
			above, _, _ := strings.Cut(self, "/IntervalBlock")
			blocks[above]++
			if !meters[above] {
				t.Error("a block comes before its MeterReading")
			}
			block := e.Contents[0].(*espi.IntervalBlock)
			if start, until, ok := espi.ParseBlockID(id); !ok || start != block.Interval.Start || until != start+block.Interval.Duration || start != block.Readings[0].Start {
				t.Errorf("block %s spans %+v", id, block.Interval)
			}
		}
	}
	want := []string{
		"UsagePoint", "LocalTimeParameters", "MeterReading", "ReadingType", "IntervalBlock", "MeterReading", "ReadingType", "IntervalBlock", "UsageSummary",
		"UsagePoint", "LocalTimeParameters", "MeterReading", "ReadingType", "IntervalBlock",
	}
	if !slices.Equal(titles, want) {
		t.Errorf("entries %q", titles)
	}
	for m, n := range blocks {
		if n != 1 {
			t.Errorf("%d blocks in %s, and EDDIE reads the first", n, m)
		}
	}
	text := string(document)
	for _, must := range []string{
		`<feed xmlns="http://www.w3.org/2005/Atom">`,                                          // EDDIE looks for content without a prefix
		`<content type="application/xml"><UsagePoint xmlns="http://naesb.org/espi">`,          // ROME reads content by its type
		`<powerOfTenMultiplier>0</powerOfTenMultiplier>`, `<uom>72</uom>`, `<phase>0</phase>`, // FB_05 asks for a phase
		`<intervalLength>900</intervalLength>`, `<intervalLength>86400</intervalLength>`, // what EDDIE takes for PT15M and P1D
		`<updated>2026-04-01T09:30:00Z</updated>`,
	} {
		if !strings.Contains(text, must) {
			t.Errorf("the feed lacks %s", must)
		}
	}
	for _, personal := range []string{"CH-1", "UK-2", "<cost>", "<currency>"} {
		if strings.Contains(text, personal) {
			t.Errorf("the feed says %s", personal)
		}
	}
}

// Identifiers are the same in every process and document, and differ between
// consents: this catches one that follows a household from one to the next.
func TestIdentifiersAreStable(t *testing.T) {
	a, b := write(t, sub(t), home(t)), write(t, sub(t), home(t))
	if !bytes.Equal(a, b) {
		t.Error("the same subscription is written in two ways")
	}
	other := sub(t)
	other.ID = "ffeeddccbbaa99887766554433221100"
	_, first := read(t, a)
	_, second := read(t, write(t, other, home(t)))
	for i := range first {
		if first[i].ID == second[i].ID {
			t.Errorf("%s has one id in two subscriptions", first[i].Title)
		}
	}
	// Vectors, so that no later change renames what third parties have stored.
	names := sub(t).Names()
	for got, want := range map[string]string{
		names.UsagePoint("CH-1"):                                "ec6eb7fb-7ee4-5335-98e7-cd1d8faf056b",
		names.MeterReading("CH-1", meter.ActiveImport, quarter): "55a91f8c-5de4-56b1-b4b4-f18e0fd336dc",
	} {
		if got != want {
			t.Errorf("name %s, want %s", got, want)
		}
	}
}

// A block of another range has another id: a reader that stores by id must not
// replace Monday with Tuesday.
func TestBlocksOfTwoDaysAreTwo(t *testing.T) {
	ids := map[string]bool{}
	for day := range int64(3) {
		_, entries := read(t, write(t, sub(t), func(b *espi.Batch) error {
			return errors.Join(b.UsagePoint(espi.Point{UsagePoint: "CH-1"}),
				b.Meter(espi.Meter{Register: meter.ActiveImport, Step: quarter}, quarters(meter.ActiveImport, spring+day*86400, 96)))
		}))
		ids[entries[len(entries)-1].ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("%d ids for three days", len(ids))
	}
}

// Wrong calls and values that the schema cannot hold end the feed with their
// name, and no later call makes a whole document of it.
func TestBatchRefuses(t *testing.T) {
	point := espi.Point{UsagePoint: "CH-1"}
	m := espi.Meter{Register: meter.ActiveImport, Step: quarter}
	begin := func(b *espi.Batch) error { return errors.Join(b.UsagePoint(point), b.Begin(m, spring+86400)) }
	series := func(change func(*meter.Series)) func(*espi.Batch) error {
		return func(b *espi.Batch) error {
			s := quarters(meter.ActiveImport, spring, 4)
			change(&s)
			return errors.Join(begin(b), b.Values(s))
		}
	}
	for name, c := range map[string]struct {
		f    func(*espi.Batch) error
		want error
	}{
		"a register before a usage point": {func(b *espi.Batch) error { return b.Begin(m, spring) }, espi.ErrSequence},
		"values before a register":        {func(b *espi.Batch) error { return b.Values(quarters(meter.ActiveImport, spring, 1)) }, espi.ErrSequence},
		"a register without reading type": {func(b *espi.Batch) error {
			return errors.Join(b.UsagePoint(point), b.Begin(espi.Meter{Register: meter.Register{1, 0, 32, 7, 0, 255}, Step: quarter}, spring))
		}, espi.ErrRegister},
		"a summary that no link announces": {func(b *espi.Batch) error {
			return errors.Join(b.UsagePoint(point), b.Summary(espi.Summary{Register: meter.ActiveImport}))
		}, espi.ErrSequence},
		"a summary of export": {func(b *espi.Batch) error {
			return errors.Join(b.UsagePoint(espi.Point{UsagePoint: "CH-1", Summaries: true}), b.Summary(espi.Summary{Register: meter.ActiveExport}))
		}, espi.ErrRegister},
		"another usage point's values": {series(func(s *meter.Series) { s.UsagePoint = "CH-2" }), espi.ErrSequence},
		"another register's values":    {series(func(s *meter.Series) { s.Register = meter.ActiveExport }), espi.ErrSequence},
		"another length":               {series(func(s *meter.Series) { s.Length = 1800 }), espi.ErrStep},
		"a quality too few":            {series(func(s *meter.Series) { s.Quality = make([]meter.Quality, 3) }), espi.ErrSeries},
		"an unassigned quality":        {series(func(s *meter.Series) { s.Quality = []meter.Quality{0, 0, 4, 0} }), espi.ErrRange},
		"a value of 49 bits":           {series(func(s *meter.Series) { s.Values[3] = 140737488355329 }), espi.ErrRange},
		"a value of −49 bits":          {series(func(s *meter.Series) { s.Values[3] = -140737488355329 }), espi.ErrRange},
		"values after the block's end": {series(func(s *meter.Series) { s.Start = spring + 86400 - 900 }), espi.ErrRange},
		"values before 1970":           {series(func(s *meter.Series) { s.Start = -3600 }), espi.ErrRange},
		"an interval twice": {func(b *espi.Batch) error {
			s := quarters(meter.ActiveImport, spring, 4)
			return errors.Join(begin(b), b.Values(s), b.Values(s.Trim(s.Start+2700, s.End())))
		}, espi.ErrOrder},
		"a block of more than 32 bits of seconds": {func(b *espi.Batch) error {
			return errors.Join(b.UsagePoint(point), b.Begin(m, spring+1<<33), b.Values(quarters(meter.ActiveImport, spring, 1)))
		}, espi.ErrRange},
	} {
		var out bytes.Buffer
		b := espi.NewBatch(&out, sub(t))
		if err := c.f(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err := b.Close(); !errors.Is(err, c.want) || strings.Contains(out.String(), "</feed>") {
			t.Errorf("%s: closed with %v", name, err)
		}
	}
}

// A full disk or a reader that went away ends the feed with the writer's own error.
func TestBatchWriteError(t *testing.T) {
	gone := errors.New("reader went away")
	b := espi.NewBatch(failing{gone}, sub(t))
	err := errors.Join(b.UsagePoint(espi.Point{UsagePoint: "CH-1"}),
		b.Meter(espi.Meter{Register: meter.ActiveImport, Step: quarter}, quarters(meter.ActiveImport, spring, 2000)))
	if !errors.Is(err, gone) || !errors.Is(b.Close(), gone) {
		t.Errorf("%v, %v", err, b.Close())
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// The memory of a feed does not grow with it: 38,000 readings allocate what forty
// do. Catches a buffer that holds the document, and an allocation a value.
func TestBatchAllocations(t *testing.T) {
	s := sub(t)
	m := espi.Meter{Register: meter.ActiveImport, Step: quarter}
	count := func(n int) float64 {
		series := quarters(meter.ActiveImport, spring, n)
		series.Quality = slices.Repeat([]meter.Quality{meter.Estimated}, n)
		return testing.AllocsPerRun(5, func() {
			b := espi.NewBatch(io.Discard, s)
			if err := errors.Join(b.UsagePoint(espi.Point{UsagePoint: "CH-1"}), b.Meter(m, series), b.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := count(40), count(38_000); many > few+2 {
		t.Errorf("%v allocations for 40 readings, %v for 38,000", few, many)
	}
}
