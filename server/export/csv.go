package export

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// csvTable writes a header and a line for each value.
type csvTable struct {
	w   *csv.Writer
	row []string
}

func newCSV(w io.Writer) (*csvTable, error) {
	t := &csvTable{w: csv.NewWriter(w), row: make([]string, len(columns))}
	if err := t.w.Write(columns); err != nil {
		return nil, fmt.Errorf("writing CSV: %w", err)
	}
	return t, nil
}

// Write implements Table.
func (t *csvTable) Write(s meter.Series, zone *time.Location) error {
	t.row[0], t.row[1], t.row[6] = text(string(s.UsagePoint)), text(s.Register.String()), s.Register.Unit().String()
	t.row[4], t.row[8] = strconv.FormatInt(s.Length, 10), strconv.FormatUint(uint64(s.Revision), 10)
	for i, v := range s.Values {
		q := s.QualityAt(i)
		if q == meter.Missing {
			continue
		}
		at := time.Unix(s.StartAt(i), 0)
		t.row[2], t.row[3] = at.UTC().Format(utcLayout), at.In(zone).Format(localLayout)
		t.row[5], t.row[7] = strconv.FormatInt(v, 10), q.String()
		if err := t.w.Write(t.row); err != nil {
			return fmt.Errorf("writing CSV: %w", err)
		}
	}
	return nil
}

// Close implements Table.
func (t *csvTable) Close() error {
	t.w.Flush()
	if err := t.w.Error(); err != nil {
		return fmt.Errorf("writing CSV: %w", err)
	}
	return nil
}

// text keeps a name from being a formula (CWE-1236): spreadsheets compute a cell that
// begins with one of these, and a utility may name a usage point "-1". They hide the
// apostrophe; other programs take it off. Numbers are numbers, with their minus.
func text(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '+', '-', '@', '\t', '\r', '\n', 0:
		return "'" + s
	}
	return s
}
