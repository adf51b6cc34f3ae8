package web

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/meter/espi"
)

// A household takes its readings along as a file, in either form with the same values,
// each once. It would catch a file that ends early, an hour that is lost or doubled when
// the clocks change, and one that goes to who is not signed in.
func TestDownload(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	who := household(t, handler)
	resp := who.get("/home/download?form=csv")
	body := page(t, resp, http.StatusOK)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || len(rows) < 2 || strings.Join(rows[0], ",") != "usage_point,register,start,local_start,duration_s,value,unit,quality" {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if kind, name := resp.header.Get("Content-Type"), resp.header.Get("Content-Disposition"); !strings.HasPrefix(kind, "text/csv") || name != `attachment; filename="readings-2025-11-01.csv"` {
		t.Errorf("it is %s, %s", kind, name)
	}
	values := map[string]int64{}
	for _, r := range rows[1:] {
		v, err := strconv.ParseInt(r[5], 10, 64)
		if err != nil || r[6] != "Wh" || r[7] != "measured" {
			t.Fatalf("row %v", r)
		}
		if _, twice := values[r[2]+r[1]]; twice {
			t.Errorf("%s comes twice", r[2])
		}
		values[r[2]+r[1]] = v
	}
	feed := page(t, who.get("/home/download?form=green-button"), http.StatusOK)
	reader, err := espi.NewReader(bytes.NewReader([]byte(feed)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		v, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if wh, exact := v.Number.Int(); !exact || wh != wattHours(v.Start) || v.Unit != "Wh" {
			t.Fatalf("%d is %d %s", v.Start, wh, v.Unit)
		}
	}
	if n != len(values) {
		t.Errorf("the feed has %d values, the table %d", n, len(values))
	}
	page(t, who.get("/home/download?form=pdf"), http.StatusBadRequest)
}
