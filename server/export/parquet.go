package export

import (
	"fmt"
	"io"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/snappy"

	"github.com/wattveil/wattveil/meter"
)

// row is a row of a Parquet table: plain types and Snappy, which every reader knows.
type row struct {
	UsagePoint string `parquet:"usage_point,dict"`
	Register   string `parquet:"register,dict"`
	Start      int64  `parquet:"start,timestamp(millisecond:utc)"`
	StartLocal string `parquet:"start_local"`
	Duration   int32  `parquet:"duration_s"`
	Value      int64  `parquet:"value"`
	Unit       string `parquet:"unit,dict"`
	Quality    string `parquet:"quality,dict"`
	Revision   int64  `parquet:"revision"`
}

// Rows are gathered in memory until a group of them is written: about 2 MiB.
const (
	rowsPerGroup = 16_384
	rowsPerWrite = 512
)

// parquetTable writes groups of rows, and an index of them at the end.
type parquetTable struct {
	w    *parquet.GenericWriter[row]
	rows []row
}

func newParquet(w io.Writer) *parquetTable {
	return &parquetTable{
		w: parquet.NewGenericWriter[row](w,
			parquet.Compression(&snappy.Codec{}), parquet.MaxRowsPerRowGroup(rowsPerGroup), parquet.PageBufferSize(64<<10),
			parquet.DataPageVersion(1), parquet.CreatedBy("wattveil", "1", "")),
		rows: make([]row, 0, rowsPerWrite),
	}
}

// Write implements Table.
func (t *parquetTable) Write(s meter.Series, zone *time.Location) error {
	r := row{
		UsagePoint: string(s.UsagePoint), Register: s.Register.String(), Unit: s.Register.Unit().String(),
		Duration: int32(s.Length), Revision: int64(s.Revision),
	}
	for i, v := range s.Values {
		q := s.QualityAt(i)
		if q == meter.Missing {
			continue
		}
		at := s.StartAt(i)
		r.Start, r.StartLocal, r.Value, r.Quality = at*1000, time.Unix(at, 0).In(zone).Format(localLayout), v, q.String()
		if t.rows = append(t.rows, r); len(t.rows) == rowsPerWrite {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *parquetTable) flush() error {
	_, err := t.w.Write(t.rows)
	t.rows = t.rows[:0]
	if err != nil {
		return fmt.Errorf("writing Parquet: %w", err)
	}
	return nil
}

// Close implements Table.
func (t *parquetTable) Close() error {
	if err := t.flush(); err != nil {
		return err
	}
	if err := t.w.Close(); err != nil {
		return fmt.Errorf("writing Parquet: %w", err)
	}
	return nil
}
