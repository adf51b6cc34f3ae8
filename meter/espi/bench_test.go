package espi_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
)

// year is thirteen months of quarter hours, every fiftieth estimated.
func year() meter.Series {
	s := quarters(meter.ActiveImport, spring, 38_000)
	s.Quality = make([]meter.Quality, len(s.Values))
	for i := 0; i < len(s.Quality); i += 50 {
		s.Quality[i] = meter.Estimated
	}
	return s
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// Thirteen months of one usage point as a batch.
func BenchmarkEncode(b *testing.B) {
	s, all := sub(b), year()
	b.ReportAllocs()
	for b.Loop() {
		var n counter
		batch := espi.NewBatch(&n, s)
		if err := errors.Join(
			batch.UsagePoint(espi.Point{UsagePoint: "CH-1"}),
			batch.Meter(espi.Meter{Register: meter.ActiveImport, Step: quarter}, all),
			batch.Close(),
		); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

// The same readings by encoding/xml, element for element; the rest of the feed is
// a thousandth of it.
func BenchmarkEncodingXML(b *testing.B) {
	type period struct {
		Duration int64 `xml:"duration"`
		Start    int64 `xml:"start"`
	}
	type quality struct {
		Quality int64 `xml:"quality"`
	}
	type reading struct {
		Quality []quality `xml:"ReadingQuality"`
		Period  period    `xml:"timePeriod"`
		Value   int64     `xml:"value"`
	}
	type intervalBlock struct {
		XMLName  xml.Name  `xml:"http://naesb.org/espi IntervalBlock"`
		Interval period    `xml:"interval"`
		Readings []reading `xml:"IntervalReading"`
	}
	all := year()
	b.ReportAllocs()
	for b.Loop() {
		block := intervalBlock{Interval: period{Duration: all.End() - all.Start, Start: all.Start}}
		for i, v := range all.Values {
			r := reading{Period: period{Duration: all.Length, Start: all.StartAt(i)}, Value: v}
			if all.QualityAt(i) == meter.Estimated {
				r.Quality = []quality{{8}}
			}
			block.Readings = append(block.Readings, r)
		}
		var n counter
		if err := xml.NewEncoder(&n).Encode(block); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

// Reading the same feed again.
func BenchmarkDecode(b *testing.B) {
	all := year()
	document := write(b, sub(b), func(batch *espi.Batch) error {
		return errors.Join(batch.UsagePoint(espi.Point{UsagePoint: "CH-1"}), batch.Meter(espi.Meter{Register: meter.ActiveImport, Step: quarter}, all))
	})
	b.SetBytes(int64(len(document)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := espi.NewReader(bytes.NewReader(document))
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for {
			if _, err = r.Next(); err != nil {
				break
			}
			n++
		}
		if !errors.Is(err, io.EOF) || n != len(all.Values) {
			b.Fatalf("%d values, %v", n, err)
		}
	}
}
