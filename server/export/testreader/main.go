// Parquet prints a Parquet file as CSV, read with Apache Arrow's library: what somebody
// else's program makes of our tables. Timestamps must be adjusted to UTC, strings be
// marked as such, and no value may be absent.
//
//	parquet FILE
package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	r, err := file.OpenParquetFile(path, false)
	if err != nil {
		return err
	}
	defer r.Close()
	columns := r.MetaData().Schema
	out := csv.NewWriter(os.Stdout)
	header := make([]string, columns.NumColumns())
	for i := range header {
		header[i] = columns.Column(i).Name()
		if columns.Column(i).MaxDefinitionLevel() != 0 {
			return fmt.Errorf("%s may be absent", header[i])
		}
	}
	if err := out.Write(header); err != nil {
		return err
	}
	for g := range r.NumRowGroups() {
		group := r.RowGroup(g)
		rows := make([][]string, group.NumRows())
		for i := range rows {
			rows[i] = make([]string, len(header))
		}
		for c := range header {
			column, err := group.Column(c)
			if err != nil {
				return err
			}
			if err := read(column, columns.Column(c), rows, c); err != nil {
				return fmt.Errorf("%s: %w", header[c], err)
			}
		}
		if err := out.WriteAll(rows); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// read writes a column of a group into the rows.
func read(column file.ColumnChunkReader, of *schema.Column, rows [][]string, c int) error {
	switch r := column.(type) {
	case *file.ByteArrayColumnChunkReader:
		if !of.LogicalType().Equals(schema.StringLogicalType{}) {
			return fmt.Errorf("bytes are not text: %s", of.LogicalType())
		}
		return fill(r.ReadBatch, rows, c, func(v parquet.ByteArray) string { return string(v) })
	case *file.Int32ColumnChunkReader:
		return fill(r.ReadBatch, rows, c, func(v int32) string { return strconv.FormatInt(int64(v), 10) })
	case *file.Int64ColumnChunkReader:
		if t, ok := of.LogicalType().(schema.TimestampLogicalType); ok {
			if !t.IsAdjustedToUTC() || t.TimeUnit() != schema.TimeUnitMillis {
				return fmt.Errorf("not of milliseconds UTC: %s", t)
			}
			return fill(r.ReadBatch, rows, c, func(v int64) string { return time.UnixMilli(v).UTC().Format(time.RFC3339) })
		}
		return fill(r.ReadBatch, rows, c, func(v int64) string { return strconv.FormatInt(v, 10) })
	}
	return fmt.Errorf("physical type %s", of.PhysicalType())
}

func fill[V any](batch func(size int64, values []V, def, rep []int16) (total int64, valuesRead int, err error), rows [][]string, c int, text func(V) string) error {
	values := make([]V, 256)
	for at := 0; at < len(rows); {
		_, n, err := batch(int64(len(values)), values, nil, nil)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%d values for %d rows", at, len(rows))
		}
		for _, v := range values[:n] {
			rows[at][c] = text(v)
			at++
		}
	}
	return nil
}
