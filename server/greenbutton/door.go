package greenbutton

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Prefixes are where the resources stand.
var Prefixes = []string{"/espi/1_1/resource", "/DataCustodian/espi/1_1/resource"}

// Config is what the door needs of its surroundings.
type Config struct {
	// Conn reaches the hub's API. Required.
	Conn grpc.ClientConnInterface
	// As returns the metadata of a request's calls, which are made in the name of whoever
	// made it. Required.
	As func(*http.Request) metadata.MD
	// PublicURL is the scheme and host by which clients reach the hub. Required.
	PublicURL func() string
	// Now is the hub's clock, Random draws request ids: cryptographic. Required.
	Now    func() time.Time
	Random io.Reader
	// Log receives what went wrong with an answer: a route and a code. Nil discards it.
	Log *slog.Logger
}

// door serves the resources. Its fields never change.
type door struct {
	Config
	consents wattveilv1.ConsentServiceClient
	readings wattveilv1.ReadingServiceClient
	clients  wattveilv1.AuthorizationServiceClient
}

// route is a way in: a pattern below each prefix, or of its own.
type route struct {
	method, path string
	serve        func(*door, *request) error
	alone        bool // not below the prefixes
}

var routes = []route{
	{method: "GET", path: "/ReadServiceStatus", serve: (*door).serviceStatus},
	{method: "GET", path: "/ApplicationInformation", serve: (*door).applications},
	{method: "GET", path: "/ApplicationInformation/{client}", serve: (*door).application},
	{method: "GET", path: "/Authorization", serve: (*door).authorizations},
	{method: "GET", path: "/Authorization/{sub}", serve: (*door).authorization},
	{method: "PUT", path: "/Authorization/{sub}", serve: (*door).putAuthorization},
	{method: "DELETE", path: "/Authorization/{sub}", serve: (*door).deleteAuthorization},
	{method: "GET", path: "/Batch/Subscription/{sub}", serve: (*door).batch},
	{method: "GET", path: "/Batch/Subscription/{sub}/UsagePoint/{point}", serve: (*door).batch},
	{method: "GET", path: "/Batch/RetailCustomer/{sub}", serve: (*door).retailCustomer},
	{method: "GET", path: "/Batch/Bulk/{bulk}", serve: (*door).bulk},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint", serve: (*door).usagePoints},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint/{point}", serve: (*door).usagePoint},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint/{point}/MeterReading", serve: (*door).meterReadings},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint/{point}/MeterReading/{reading}", serve: (*door).meterReading},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint/{point}/MeterReading/{reading}/IntervalBlock", serve: (*door).intervalBlocks},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint/{point}/MeterReading/{reading}/IntervalBlock/{block}", serve: (*door).intervalBlock},
	{method: "GET", path: "/Subscription/{sub}/UsagePoint/{point}/UsageSummary", serve: (*door).usageSummaries},
	{method: "GET", path: "/ReadingType/{type}", serve: (*door).readingType},
	{method: "GET", path: "/LocalTimeParameters/{clock}", serve: (*door).localTime},

	{method: "GET", path: "/api/v2/meters", serve: (*door).meters, alone: true},
	{method: "GET", path: "/api/v2/meters/{meter}", serve: (*door).meter, alone: true},
	{method: "POST", path: "/api/v2/meters/historical-collection", serve: (*door).collect, alone: true},
	{method: "POST", path: "/api/v2/authorizations/{sub}/revoke", serve: (*door).revoke, alone: true},
}

// Routes returns every pattern of net/http with its handler. They are safe for concurrent
// use.
func Routes(c Config) map[string]http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &door{
		Config: c, consents: wattveilv1.NewConsentServiceClient(c.Conn), readings: wattveilv1.NewReadingServiceClient(c.Conn),
		clients: wattveilv1.NewAuthorizationServiceClient(c.Conn),
	}
	out := map[string]http.Handler{}
	for _, rt := range routes {
		prefixes := Prefixes
		if rt.alone {
			prefixes = []string{""}
		}
		for _, prefix := range prefixes {
			out[rt.method+" "+prefix+rt.path] = d.handler(rt, prefix)
		}
	}
	return out
}

// request is one request on its way.
type request struct {
	ctx  context.Context
	w    *bufio.Writer
	out  *answer
	r    *http.Request
	site espi.Site
	id   string // drawn: of what it writes into the record
}

func (r *request) value(name string) string { return r.r.PathValue(name) }

// answer is the response; until something of a body is written its status may change.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// answerTimeout bounds an answer, a bulk one aside: that ends with its caller, or with
// the time that the HTTP server gives an answer.
const answerTimeout = 5 * time.Minute

func (d *door) handler(rt route, prefix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(r.Context(), d.As(r)), answerTimeout)
		defer cancel()
		w.Header().Set("Cache-Control", "no-store")
		out := &answer{ResponseWriter: w}
		req := &request{ctx: ctx, w: bufio.NewWriterSize(out, 64<<10), out: out, r: r, site: espi.Site(d.PublicURL() + prefix)}
		var id [16]byte
		_, err := io.ReadFull(d.Random, id[:])
		if req.id = hex.EncodeToString(id[:]); err == nil {
			err = rt.serve(d, req)
		}
		if err == nil {
			err = req.w.Flush()
		}
		switch {
		case err == nil:
		case out.begun: // half an answer must not look whole
			d.Log.LogAttrs(ctx, slog.LevelWarn, "an answer was broken off", slog.String("route", rt.path), slog.String("code", status.Code(err).String()))
			panic(http.ErrAbortHandler)
		default:
			d.fail(w, err)
		}
	})
}

// notThere is what does not exist, or is not the caller's: the two look the same.
var errNotThere = status.Error(codes.NotFound, "there is no such thing for this caller")

// pendingError says that the data is on its way.
type pendingError struct{ after time.Duration }

func (p *pendingError) Error() string { return "not there yet" }

// fault is the body of an error.
type fault struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Parameter   string `json:"parameter,omitempty"`
}

// fail answers with an error.
func (d *door) fail(w http.ResponseWriter, err error) {
	var bad *parameterError
	var wait *pendingError
	f, code := fault{"internal", "", ""}, http.StatusInternalServerError
	switch {
	case errors.As(err, &bad):
		f, code = fault{"bad_parameter", bad.Error(), bad.name}, http.StatusBadRequest
	case errors.As(err, &wait):
		w.Header().Set("Retry-After", fmt.Sprint(int64(wait.after/time.Second)))
		w.WriteHeader(http.StatusAccepted)
		return
	default:
		s := status.Convert(err)
		f.Error, f.Description = reason(s), s.Message()
		switch s.Code() {
		case codes.Unauthenticated:
			code = http.StatusUnauthorized
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		case codes.NotFound:
			code = http.StatusNotFound
		case codes.PermissionDenied:
			code = http.StatusForbidden
			if f.Error == "not_consented" { // as absent as one that never was
				f.Error, f.Description, code = "not_found", "there is no such thing for this caller", http.StatusNotFound
			}
		case codes.InvalidArgument, codes.OutOfRange:
			code = http.StatusBadRequest
		case codes.FailedPrecondition, codes.AlreadyExists, codes.Aborted:
			code = http.StatusConflict
		case codes.ResourceExhausted:
			code = http.StatusTooManyRequests
			w.Header().Set("Retry-After", "60")
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
			code = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "60")
		default:
			f = fault{"internal", "", ""}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(f)
}

// reason is the stable word of an error.
func reason(s *status.Status) string {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	if s.Code() == codes.NotFound { // the door's own
		return "not_found"
	}
	return strings.ToLower(s.Code().String())
}

// atom begins an answer in XML.
func (r *request) atom() io.Writer {
	r.out.Header().Set("Content-Type", espi.MediaType)
	return r.w
}

// serviceStatus tells anybody whose token is good that the hub serves.
func (d *door) serviceStatus(r *request) error {
	if _, _, err := parseQuery(r.r.URL.RawQuery); err != nil {
		return err
	}
	if _, err := d.consents.ListConsents(r.ctx, &wattveilv1.ListConsentsRequest{PageSize: 1}); err != nil {
		return err
	}
	r.out.Header().Set("Content-Type", "application/xml")
	return espi.WriteStatus(r.w, espi.ServiceStatus{Current: 1})
}

// body reads what a client sends, at most 64 KiB.
func (r *request) body() (*bytes.Reader, error) {
	b, err := io.ReadAll(io.LimitReader(r.r.Body, 64<<10+1))
	if err != nil || len(b) > 64<<10 {
		return nil, &parameterError{"body", "is larger than 64 KiB, or broke off"}
	}
	return bytes.NewReader(b), nil
}
