package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/export"
)

// tables answers reads with files: it calls the API as REST does, in parts, and writes
// each part as it comes. It opens nothing and decides nothing.
type tables struct {
	readings wattveilv1.ReadingServiceClient
	random   io.Reader
}

// exportHeader names the record of the read that an answer is of: its receipt is at
// /v1/events/INDEX/receipt.
const exportHeader = "Wattveil-Event"

// shared serves a range under a consent: GET /v1/readings/export.
func (t *tables) shared(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "format", "request_id", "consent_id", "purpose", "usage_points", "registers", "from", "until")
	if err != nil {
		failed(w, err)
		return
	}
	req := &wattveilv1.StreamSeriesRequest{
		RequestId: q.Get("request_id"), ConsentId: q.Get("consent_id"), Purpose: q.Get("purpose"),
		UsagePoints: q.Values["usage_points"], Registers: q.Values["registers"], From: q.from, Until: q.until,
	}
	if !q.Has("request_id") { // a file is not asked for again by who has it
		id, err := randomID(t.random)
		if err != nil {
			failed(w, err)
			return
		}
		req.RequestId = "export-" + id
	}
	serveTable(w, r, q, func(ctx context.Context) (func() (*wattveilv1.SeriesPart, error), error) {
		stream, err := t.readings.StreamSeries(ctx, req)
		return parts(stream, (*wattveilv1.StreamSeriesResponse).GetPart), err
	})
}

// own serves a range of the household's own: GET /v1/readings/own/export.
func (t *tables) own(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "format", "usage_points", "registers", "from", "until")
	if err != nil {
		failed(w, err)
		return
	}
	req := &wattveilv1.StreamOwnSeriesRequest{UsagePoints: q.Values["usage_points"], Registers: q.Values["registers"], From: q.from, Until: q.until}
	serveTable(w, r, q, func(ctx context.Context) (func() (*wattveilv1.SeriesPart, error), error) {
		stream, err := t.readings.StreamOwnSeries(ctx, req)
		return parts(stream, (*wattveilv1.StreamOwnSeriesResponse).GetPart), err
	})
}

// parts receives the parts of either stream.
func parts[R any](stream grpc.ServerStreamingClient[R], part func(*R) *wattveilv1.SeriesPart) func() (*wattveilv1.SeriesPart, error) {
	return func() (*wattveilv1.SeriesPart, error) {
		resp, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		return part(resp), nil
	}
}

// serveTable writes a table of what a call gives. What is wrong before the first part is
// answered as REST answers it. An error after that breaks the connection off: a file that
// ends early must not look whole.
func serveTable(w http.ResponseWriter, r *http.Request, q query, call func(context.Context) (func() (*wattveilv1.SeriesPart, error), error)) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(r.Context(), callerMetadata(r)))
	defer cancel()
	next, err := call(ctx)
	if err != nil {
		failed(w, err)
		return
	}
	first, err := next()
	if err != nil {
		failed(w, err)
		return
	}
	w.Header().Set("Content-Type", q.format.ContentType())
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", q.filename()))
	w.Header().Set(exportHeader, strconv.FormatUint(first.GetReceipt().GetIndex(), 10))
	if err := writeTable(w, q.format, next); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func writeTable(w io.Writer, f export.Format, next func() (*wattveilv1.SeriesPart, error)) error {
	table, err := export.New(w, f)
	if err != nil {
		return err
	}
	zone := time.UTC
	for {
		part, err := next()
		if errors.Is(err, io.EOF) {
			return table.Close()
		}
		if err != nil {
			return err
		}
		if part.GetZone() != zone.String() {
			if zone, err = time.LoadLocation(part.GetZone()); err != nil {
				return fmt.Errorf("zone of a usage point: %w", err)
			}
		}
		for _, s := range part.GetSeries() {
			series, wrong := fromWire(s)
			if wrong != "" {
				return errors.New("server: a part holds no series")
			}
			if err := table.Write(series, zone); err != nil {
				return err
			}
		}
	}
}

// failed answers as the REST door does.
func failed(w http.ResponseWriter, err error) {
	out, _ := toStatus(err)
	writeError(w, runtime.HTTPStatusFromCode(status.Code(out)), out)
}

// callerMetadata is what a call is made with for who sent an HTTP request: the
// Authorization it came with, and the certificate that TLS has verified, which only the
// in-process server reads.
func callerMetadata(r *http.Request) metadata.MD {
	md := principalMetadata(r)
	md.Append("authorization", r.Header.Values("Authorization")...)
	return md
}

// query is the parameters of an export.
type query struct {
	values
	format      export.Format
	from, until int64
}

// values are a query's, each parameter known.
type values struct{ url.Values }

// repeatable are the parameters that may be given more than once.
var repeatable = []string{"usage_points", "registers"}

// parseQuery reads the parameters of an export. One that is not known is an error: a
// misspelt one would be a wider read.
func parseQuery(r *http.Request, known ...string) (q query, err error) {
	if r.Method != http.MethodGet { // HEAD would record a read that nobody gets
		return q, errNoSuchCall
	}
	all, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, invalid("malformed_message", "the query does not parse")
	}
	for name, given := range all {
		if !slices.Contains(known, name) {
			return q, unknownParameter(known)
		}
		if len(given) > 1 && !slices.Contains(repeatable, name) {
			return q, about(name, invalid("bad_parameter", "a parameter is given more than once"))
		}
	}
	q.values = values{all}
	if q.format, err = export.ParseFormat(q.Get("format")); err != nil {
		return q, about("format", invalid("bad_format", "format is csv or parquet"))
	}
	for name, into := range map[string]*int64{"from": &q.from, "until": &q.until} {
		if *into, err = strconv.ParseInt(q.Get(name), 10, 64); err != nil {
			return q, about(name, invalid("bad_parameter", "a time is a whole number of Unix seconds"))
		}
	}
	return q, nil
}

// filename says what the file holds, and nothing about whose it is.
func (q query) filename() string {
	day := func(t int64) string { return time.Unix(t, 0).UTC().Format("20060102T150405Z") }
	return fmt.Sprintf("readings-%s-%s.%s", day(q.from), day(q.until), q.format)
}
