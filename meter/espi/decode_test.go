package espi_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
)

// feedOf wraps entries' contents, each in an entry with links.
func feedOf(entries ...string) string {
	return `<feed xmlns="http://www.w3.org/2005/Atom">` + strings.Join(entries, "") + `</feed>`
}

func entryOf(links, content string) string {
	return `<entry>` + links + `<content>` + content + `</content></entry>`
}

func linked(rel, href string) string { return `<link rel="` + rel + `" href="` + href + `"/>` }

// block is a block of one reading.
func block(reading string) string {
	return `<IntervalBlock xmlns="http://naesb.org/espi"><IntervalReading>` + reading + `</IntervalReading></IntervalBlock>`
}

const period = `<timePeriod><duration>900</duration><start>1774738800</start></timePeriod>`

// all reads a document to its end or fault, by its entries and by its values.
func all(r io.Reader) (n int, err error) {
	d, err := espi.NewReader(r)
	if err != nil {
		return 0, err
	}
	for {
		if _, err := d.Next(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n++
	}
}

// faultOf returns the fault that err is, or the zero Error.
func faultOf(err error) espi.Error {
	if fault := (*espi.Error)(nil); errors.As(err, &fault) {
		return *fault
	}
	return espi.Error{}
}

func zipped(plain string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, plain) // a bytes.Buffer takes everything
	_ = z.Close()
	return b.String()
}

// The same document in the ways that XML allows: prefixes, namespaces declared at
// each content, other prefixes for each entry, CDATA, comments, gzip.
func TestDecodeForms(t *testing.T) {
	prefixed := `<a:feed xmlns:a="http://www.w3.org/2005/Atom" xmlns:e="http://naesb.org/espi"><a:id>i</a:id><a:entry><a:title> t
		</a:title><a:link rel="self" href="/s" type="x"/><a:content><e:IntervalBlock><e:interval><e:duration>900</e:duration><e:start>5</e:start></e:interval>` +
		`<e:IntervalReading><e:cost>7</e:cost><e:ReadingQuality><e:quality>8</e:quality></e:ReadingQuality><e:timePeriod><e:duration>900</e:duration><e:start>5</e:start></e:timePeriod><e:value>-12</e:value><e:tou>2</e:tou></e:IntervalReading></e:IntervalBlock></a:content></a:entry></a:feed>`
	inline := `<?xml version="1.0" encoding="utf-8" standalone="yes"?><?xml-stylesheet href="x"?><!-- c --><feed xmlns="http://www.w3.org/2005/Atom"><entry>` +
		`<link type="x" href="/s" rel="self"></link><link rel="self" href="/s" type="x"/><title type="text">t</title><author><name>n</name></author>` +
		`<content type="application/xml"><IntervalBlock xmlns="http://naesb.org/espi"><extension><value>99</value></extension>` +
		`<IntervalReading><value> -12<!-- c --></value><tou>+2</tou><cost>7</cost><cpp/><timePeriod><start><![CDATA[5.0]]></start><duration>900</duration></timePeriod>` +
		`<ReadingQuality><quality>8</quality></ReadingQuality></IntervalReading><interval><start>5</start><duration>900</duration></interval></IntervalBlock></content></entry><id>i</id></feed>`
	wantHead := espi.Head{ID: "i"}
	want := []espi.Entry{{
		Title: "t", Links: []espi.Link{{Rel: "self", Href: "/s", Type: "x"}},
		Contents: []espi.Resource{&espi.IntervalBlock{
			Interval: &espi.Period{Duration: 900, Start: 5},
			Readings: []espi.IntervalReading{{
				Start: 5, Duration: 900, Value: -12, Cost: 7, Quality: []int64{8}, TOU: 2,
				Given: espi.GivenPeriod | espi.GivenValue | espi.GivenCost | espi.GivenTOU,
			}},
		}},
	}}
	for name, r := range map[string]io.Reader{
		"prefixed":           strings.NewReader(prefixed),
		"inline":             strings.NewReader(inline),
		"byte order mark":    strings.NewReader("\uFEFF" + inline),
		"gzip":               strings.NewReader(zipped(prefixed)),
		"one byte at a time": iotest.OneByteReader(strings.NewReader(inline)),
		"end with the data":  iotest.DataErrReader(strings.NewReader(prefixed)),
	} {
		document, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		head, entries := read(t, document)
		if diff := cmp.Diff(wantHead, head); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(want, entries); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Each fault by name, at the offset where it was noticed, and none taken for the
// end of the document. Among them the documents that are built to exhaust a
// reader: entities, depth, length.
func TestDecodeRefuses(t *testing.T) {
	good := feedOf(entryOf("", block(period+`<value>1</value>`)))
	packed := zipped(good)
	flipped := []byte(packed)
	flipped[len(flipped)-6] ^= 1
	laughs := `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">]>` + feedOf(`<title>&lol2;</title>`)
	for _, c := range []struct {
		name     string
		document string
		want     espi.Kind
	}{
		{"nothing", "", espi.Empty},
		{"white space", " \n", espi.Empty},
		{"gzip of nothing", zipped(""), espi.Empty},
		{"text", "meter,value\n1,2\n", espi.NotGreenButton},
		{"another XML", `<MeterReadings xmlns="http://iec.ch/TC57/2011/MeterReadings#"/>`, espi.NotGreenButton},
		{"a feed of no namespace", `<feed><entry/></feed>`, espi.NotGreenButton},
		{"billion laughs", laughs, espi.EntityDeclaration},
		{"an external entity", `<!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + feedOf(`<title>&x;</title>`), espi.EntityDeclaration},
		{"a document type", `<!DOCTYPE feed SYSTEM "http://example.com/feed.dtd">` + good, espi.DocumentType},
		{"an entity that nobody declared", feedOf(`<title>&nbsp;</title>`), espi.UndeclaredEntity},
		{"another encoding", `<?xml version="1.0" encoding="ISO-8859-1"?>` + good, espi.UnknownEncoding},
		{"UTF-16", "\xfe\xff\x00<\x00f", espi.Malformed},
		{"bytes that are no UTF-8", feedOf("<title>\xff</title>"), espi.Malformed},
		{"tags that cross", feedOf(`<title></id>`), espi.Malformed},
		{"a prefix out of the blue", `<a:feed/>`, espi.NotGreenButton},
		{"cut short in a tag", good[:len(good)-3], espi.Truncated},
		{"cut short between tags", good[:len(good)-len("</feed>")], espi.Truncated},
		{"cut short in a number", good[:strings.Index(good, "774738800")], espi.Truncated},
		{"gzip cut short", packed[:len(packed)/2], espi.TruncatedGzip},
		{"gzip cut within its header", packed[:5], espi.TruncatedGzip},
		{"gzip with a wrong checksum", string(flipped), espi.CorruptGzip},
		{"gzip magic and no gzip", "\x1f\x8bfeed, not a gzip", espi.CorruptGzip},
		{"a second document behind", good + good, espi.TrailingContent},
		{"text behind", good + "x", espi.TrailingContent},
		{"an entry and more", entryAlone() + entryAlone(), espi.TrailingContent},
		{"depth", feedOf(strings.Repeat("<x>", espi.MaxDepth)), espi.TooDeep},
		{"depth within an entry", feedOf(entryOf("", strings.Repeat("<x>", espi.MaxDepth))), espi.TooDeep},
		{"a text of 64 KiB", feedOf(`<title>` + strings.Repeat("x", espi.MaxToken) + `</title>`), espi.PieceTooLong},
		{"a text of 64 KiB in pieces", feedOf(`<title>` + strings.Repeat(strings.Repeat("x", 60000)+"<!---->", 2) + `</title>`), espi.PieceTooLong},
		{"an attribute of 64 KiB", feedOf(`<link href="` + strings.Repeat("x", espi.MaxToken) + `"/>`), espi.PieceTooLong},
		{"a comment of 64 KiB", `<!--` + strings.Repeat("x", espi.MaxToken) + `-->`, espi.PieceTooLong},
		{"a tag that does not end", `<feed xmlns="http://www.w3.org/2005/Atom"` + strings.Repeat(` x="1"`, 20000), espi.PieceTooLong},
		{"a megabyte of text in an entry", feedOf(entryOf("", `<Authorization xmlns="http://naesb.org/espi">`+strings.Repeat(`<scope>`+strings.Repeat("x", 60000)+`</scope>`, 20)+`</Authorization>`)), espi.EntryTooLong},
		{"links without end", feedOf(entryOf(manyLinks(300), "")), espi.EntryTooLong},
		{"resources without end", feedOf(entryOf("", strings.Repeat(`<x xmlns="y"/>`, espi.MaxEntry/32+1))), espi.EntryTooLong},
		{"charges without end", feedOf(entryOf("", `<UsageSummary xmlns="http://naesb.org/espi">`+strings.Repeat(`<costAdditionalDetailLastPeriod/>`, espi.MaxEntry/16)+`</UsageSummary>`)), espi.EntryTooLong},
		{"no number", feedOf(entryOf("", block(period+`<value>12,5</value>`))), espi.BadNumber},
		{"NaN", feedOf(entryOf("", block(period+`<value>NaN</value>`))), espi.BadNumber},
		{"an exponent", feedOf(entryOf("", block(period+`<value>1e3</value>`))), espi.BadNumber},
		{"two points", feedOf(entryOf("", block(period+`<value>1.2.3</value>`))), espi.BadNumber},
		{"a sign alone", feedOf(entryOf("", block(period+`<value>-</value>`))), espi.BadNumber},
		{"more than 64 bits", feedOf(entryOf("", block(period+`<value>9223372036854775808</value>`))), espi.BadNumber},
		{"a cost with decimals", feedOf(entryOf("", block(period+`<cost>1.5</cost>`))), espi.BadNumber},
		{"a period without start", feedOf(entryOf("", block(`<timePeriod><duration>900</duration></timePeriod>`))), espi.IncompletePeriod},
		{"a period without duration", feedOf(entryOf("", block(`<timePeriod><duration/><start>5</start></timePeriod>`))), espi.IncompletePeriod},
		{"a negative duration", feedOf(entryOf("", block(`<timePeriod><duration>-1</duration><start>5</start></timePeriod>`))), espi.DurationOutOfRange},
		{"a start in another aeon", feedOf(entryOf("", block(`<timePeriod><duration>1</duration><start>999999999999999</start></timePeriod>`))), espi.TimeOutOfRange},
		{"a start that is a date", feedOf(entryOf("", block(`<timePeriod><duration>1</duration><start>2026-03-29T00:00:00Z</start></timePeriod>`))), espi.BadNumber},
		{"a multiplier that fills the disk", feedOf(entryOf("", `<ReadingType xmlns="http://naesb.org/espi"><powerOfTenMultiplier>2000000000</powerOfTenMultiplier></ReadingType>`)), espi.MultiplierOutOfRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := all(strings.NewReader(c.document))
			fault := faultOf(err)
			if fault.Kind != c.want {
				t.Fatalf("%v; want %s", err, c.want)
			}
			if fault.Offset < 0 || fault.Offset > int64(len(c.document)) && fault.Kind != espi.Empty && !strings.HasPrefix(c.document, "\x1f") {
				t.Errorf("offset %d of %d", fault.Offset, len(c.document))
			}
			if !strings.Contains(err.Error(), string(c.want)+": ") || strings.HasSuffix(err.Error(), ": ") {
				t.Errorf("the error does not explain itself: %v", err)
			}
		})
	}
}

func readingType(power string) string {
	return `<ReadingType xmlns="http://naesb.org/espi"><powerOfTenMultiplier>` + power + `</powerOfTenMultiplier><uom>72</uom></ReadingType>`
}

func entryAlone() string { return `<entry xmlns="http://www.w3.org/2005/Atom"><id>i</id></entry>` }

func manyLinks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(linked("related", "/"+strings.Repeat("x", i)))
	}
	return b.String()
}

// An offset leads to the fault: an operator can look.
func TestFaultOffset(t *testing.T) {
	document := feedOf(entryOf("", block(period+`<value>12,5</value>`)), entryOf("", block(period+`<value>1</value>`)))
	_, err := all(strings.NewReader(document))
	if at := strings.Index(document, "12,5"); faultOf(err).Offset < int64(at) || faultOf(err).Offset > int64(at)+20 {
		t.Errorf("%v; the number stands at %d", err, at)
	}
}

// A fault stays: whoever goes on after it must not get the rest as if nothing had
// been wrong.
func TestFaultStays(t *testing.T) {
	d, err := espi.NewReader(strings.NewReader(feedOf(entryOf("", block(period+`<value>x</value>`)), entryOf("", block(period+`<value>1</value>`)))))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := d.Next(); faultOf(err).Kind != espi.BadNumber {
			t.Errorf("Next: %v", err)
		}
	}
}

// The disk's own error must come through, and not as a fault of the document.
func TestReaderError(t *testing.T) {
	broken := errors.New("disk on fire")
	whole := feedOf(entryOf("", block(period)))
	for name, r := range map[string]io.Reader{
		"at once":   iotest.ErrReader(broken),
		"in a tag":  io.MultiReader(strings.NewReader(whole[:30]), iotest.ErrReader(broken)),
		"in gzip":   io.MultiReader(strings.NewReader(zipped(whole)[:50]), iotest.ErrReader(broken)),
		"in a text": io.MultiReader(strings.NewReader(whole[:strings.Index(whole, "774738800")]), iotest.ErrReader(broken)),
	} {
		_, err := all(r)
		if !errors.Is(err, broken) || faultOf(err).Kind != espi.Unreadable || !strings.HasSuffix(err.Error(), ": disk on fire") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Error texts reach logs: none may repeat what a household's feed says.
func TestErrorsDoNotQuote(t *testing.T) {
	for _, document := range []string{
		feedOf(`<secret4711>`),
		feedOf(`<title>&secret4711;</title>`),
		feedOf(entryOf("", block(period+`<value>4711,5</value>`))),
		feedOf(`<title>4711</secret>`),
		`<?xml version="1.0" encoding="secret4711"?><feed/>`,
		`<?xml version="4711"?><feed/>`,
		`<secret xmlns="4711"/>`,
		feedOf(`<title secret=4711></title>`),
		feedOf(`<link href="secret4711"`),
	} {
		if _, err := all(strings.NewReader(document)); err == nil || strings.Contains(err.Error(), "4711") || strings.Contains(err.Error(), "secret") {
			t.Errorf("error: %v", err)
		}
	}
}

// A number is what its digits and its reading type say, to the last digit, whatever
// the power of ten.
func TestNumbersAreExact(t *testing.T) {
	for _, c := range []struct{ value, power, want string }{
		{"10000", "-3", "10"},
		{"10001", "-3", "10.001"},
		{"-1", "-3", "-0.001"},
		{"123", "3", "123000"},
		{"0", "-24", "0"},
		{"-0", "3", "0"},
		{"9223372036854775807", "24", "9223372036854775807000000000000000000000000"},
		{"-9223372036854775808", "-18", "-9.223372036854775808"},
		{"0.1", "0", "0.1"},
		{"0.10", "1", "1"},
		{"12.5", "3", "12500"},
		{"1.25", "-2", "0.0125"},
		{"+7.", "0", "7"},
		{".5", "0", "0.5"},
		{"00012", "0", "12"},
		{"0.000000000000000001", "0", "0.000000000000000001"},
	} {
		document := feedOf(entryOf("", readingType(c.power)), entryOf("", block(period+`<value>`+c.value+`</value>`)))
		if v := values(t, []byte(document)); len(v) != 1 || v[0].Number.String() != c.want || v[0].Unit != "Wh" {
			t.Errorf("%s · 10^%s: %+v, want %s", c.value, c.power, v, c.want)
		}
	}
	for _, c := range []struct {
		d    espi.Decimal
		want int64
		ok   bool
	}{
		{espi.Decimal{Unscaled: 1200, Exponent: -2}, 12, true},
		{espi.Decimal{Unscaled: 1201, Exponent: -2}, 0, false},
		{espi.Decimal{Unscaled: 5, Exponent: 3}, 5000, true},
		{espi.Decimal{Unscaled: 1 << 62, Exponent: 1}, 0, false},
		{espi.Decimal{Unscaled: -9223372036854775808}, -9223372036854775808, true},
		{espi.Decimal{Exponent: 24}, 0, true},
	} {
		if got, ok := c.d.Int(); got != c.want || ok != c.ok {
			t.Errorf("%+v: %d, %v", c.d, got, ok)
		}
	}
}

// A block finds its reading type however its links are made and wherever the
// types stand; the second unit in a document is not given to the first's values.
func TestReaderFollowsLinks(t *testing.T) {
	kilo := entryOf(linked("self", "/t/2"), readingType("3"))
	plain := entryOf(linked("self", "/t/1"), readingType("0"))
	reading := func(self, types, blocks string) string {
		return entryOf(linked("self", self)+linked("related", types)+linked("related", blocks), `<MeterReading xmlns="http://naesb.org/espi"/>`)
	}
	a, b := reading("/UsagePoint/1/MeterReading/1", "/t/1", "/UsagePoint/1/MeterReading/1/IntervalBlock"), reading("/UsagePoint/1/MeterReading/10", "/t/2", "/UsagePoint/1/MeterReading/10/IntervalBlock")
	of := func(links string) string { return entryOf(links, block(period+`<value>5</value>`)) }
	byUp := of(linked("up", "/UsagePoint/1/MeterReading/1/IntervalBlock")) + of(linked("up", "/UsagePoint/1/MeterReading/10/IntervalBlock"))
	bySelf := of(linked("self", "/UsagePoint/1/MeterReading/1/IntervalBlock/7")) + of(linked("self", "/UsagePoint/1/MeterReading/10/IntervalBlock/7"))
	for name, document := range map[string]string{
		"types first":        feedOf(kilo, plain, a, b, byUp),
		"as we write":        feedOf(a, plain, of(linked("up", "/UsagePoint/1/MeterReading/1/IntervalBlock")), b, kilo, of(linked("up", "/UsagePoint/1/MeterReading/10/IntervalBlock"))),
		"types last":         feedOf(byUp, a, b, plain, kilo),
		"by their own place": feedOf(b, a, kilo, plain, bySelf),
	} {
		var got []string
		for _, v := range values(t, []byte(document)) {
			got = append(got, v.Meter+" "+v.Number.String())
		}
		if want := []string{"1 5", "1 5000"}; !cmp.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Two reading types of one address that disagree leave the numbers without a unit,
// as they stand; two that agree do not. Catches a thousandfold taken from the
// wrong one.
func TestAmbiguousReadingType(t *testing.T) {
	for _, c := range []struct{ first, second, want string }{{"0", "3", "5 "}, {"3", "0", "5 "}, {"3", "3", "5000 Wh"}} {
		v := values(t, []byte(feedOf(
			entryOf(linked("self", "/t"), readingType(c.first)), entryOf(linked("self", "/t"), readingType(c.second)),
			entryOf(linked("self", "/m")+linked("related", "/t")+linked("related", "/m/b"), `<MeterReading xmlns="http://naesb.org/espi"/>`),
			entryOf(linked("self", "/m/b/1")+linked("up", "/m/b"), block(period+`<value>5</value>`)),
		)))
		if len(v) != 1 || v[0].Number.String()+" "+v[0].Unit != c.want {
			t.Errorf("10^%s and 10^%s: %+v, want %s", c.first, c.second, v, c.want)
		}
	}
}

// What a value's quality is: its own, the default of its type, or measured.
func TestQualities(t *testing.T) {
	for _, c := range []struct {
		own, otherwise string
		want           meter.Quality
	}{
		{"", "", meter.Measured},
		{"17", "8", meter.Measured},
		{"", "8", meter.Estimated},
		{"9", "", meter.Estimated},
		{"7", "", meter.Substituted},
		{"10", "17", meter.Suspect},
		{"13", "", meter.Suspect},
		{"0", "", meter.Measured},
		{"14", "", meter.Measured},
		{"4711", "", meter.Suspect},
	} {
		typed := `<ReadingType xmlns="http://naesb.org/espi"><defaultQuality>` + c.otherwise + `</defaultQuality></ReadingType>`
		own := ""
		if c.own != "" {
			own = `<ReadingQuality><quality>17</quality></ReadingQuality><ReadingQuality><quality>` + c.own + `</quality></ReadingQuality>`
		}
		if v := values(t, []byte(feedOf(entryOf("", typed), entryOf("", block(own+`<value>1</value>`))))); len(v) != 1 || v[0].Quality != c.want || v[0].Timed {
			t.Errorf("%q, default %q: %+v, want %v", c.own, c.otherwise, v, c.want)
		}
	}
}

// No document brings the decoder down; and what it accepts is the same after being
// written and read again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(feedOf(entryOf(linked("self", "/t"), readingType("-3")), entryOf("", block(period+`<value>1.50</value><cost>3</cost>`)))))
	f.Add([]byte(entryAlone()))
	f.Add([]byte(`<BatchList xmlns="http://naesb.org/espi"><resources>https://x/y?a=1&amp;b=2</resources></BatchList>`))
	f.Add([]byte(zipped(feedOf(entryOf("", block(period))))))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "b">]><x/>`))
	f.Add([]byte(feedOf(entryOf("", `<UsageSummary xmlns="http://naesb.org/espi"><billingPeriod><duration>1</duration><start>-1.5</start></billingPeriod><costAdditionalDetailLastPeriod><note>n</note></costAdditionalDetailLastPeriod></UsageSummary>`))))
	if seeds, err := filepath.Glob(filepath.Join("testdata", "*.xml")); err == nil {
		for _, seed := range seeds {
			document, err := os.ReadFile(seed)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(document)
		}
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if _, err := all(bytes.NewReader(document)); err != nil && faultOf(err).Kind == "" {
			t.Fatalf("an error of no kind: %v", err)
		}
		d, err := espi.NewDecoder(bytes.NewReader(document))
		if err != nil {
			return
		}
		var entries []espi.Entry
		for {
			e, err := d.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			entries = append(entries, e)
		}
		var again bytes.Buffer
		w := espi.NewFeed(&again, d.Head())
		for _, e := range entries {
			if err := w.Write(e); errors.Is(err, espi.ErrText) {
				return // longer than the schema allows
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		head, same := read(t, again.Bytes())
		if !cmp.Equal(head, d.Head()) || !cmp.Equal(same, entries) {
			t.Fatalf("written and read again: %s", cmp.Diff(entries, same))
		}
	})
}
