package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// readingService implements ReadingService: the gate, the keeper of keys, and
// the opening, in that order.
type readingService struct {
	wattveilv1.UnimplementedReadingServiceServer
	store *store.Store
	admission
	guard  keyguard.Guardian
	proofs *readProofs
	clock  Clock
	log    *slog.Logger
	// reads bounds each recipient's accesses before a leaf is written for them.
	reads   *buckets
	cursors cursorSealer
}

// seriesRequest is what both ways to read a range under a consent are asked with.
type seriesRequest interface {
	GetRequestId() string
	GetConsentId() string
	GetPurpose() string
	ownRequest
}

// ownRequest is what both ways to read a range of one's own are asked with.
type ownRequest interface {
	GetUsagePoints() []string
	GetRegisters() []string
	GetFrom() int64
	GetUntil() int64
}

// ReadSeries reads under a consent.
func (r *readingService) ReadSeries(ctx context.Context, req *wattveilv1.ReadSeriesRequest) (*wattveilv1.ReadSeriesResponse, error) {
	permit, err := r.admit(ctx, req)
	if err != nil {
		return nil, err
	}
	first, last := permit.KeyDays()
	series, receipt, err := r.open(ctx, permit, asked{registers: granted(permit), first: first, last: last})
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ReadSeriesResponse{Series: seriesToWire(series), Receipt: receipt}
	if req.GetCompleteness() {
		resp.Completeness, err = completenessOf(permit, everywhere(permit), granted(permit), series)
	}
	return resp, err
}

// admit has a read of a range under a consent decided.
func (r *readingService) admit(ctx context.Context, req seriesRequest) (consent.Permit, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return consent.Permit{}, err
	}
	if err := r.limit(caller(ctx)); err != nil {
		return consent.Permit{}, err
	}
	a := consent.Access{
		RequestID: request, Recipient: caller(ctx).Recipient(), Consent: consent.ID(req.GetConsentId()),
		Purpose: req.GetPurpose(), From: req.GetFrom(), Until: req.GetUntil(),
	}
	if a.UsagePoints, a.Registers, err = rangeOf(req); err != nil {
		return consent.Permit{}, err
	}
	if _, err := consent.ParseID(req.GetConsentId()); err != nil {
		return consent.Permit{}, about("consent_id", consent.ErrAccess)
	}
	return r.decide(ctx, a)
}

// decide has an access decided whose parameters were looked at, but for the purpose.
func (r *readingService) decide(ctx context.Context, a consent.Access) (consent.Permit, error) {
	permit, err := r.admission.admit(ctx, caller(ctx), a)
	if errors.Is(err, consent.ErrAccess) {
		err = about("purpose", err)
	}
	return permit, err
}

// rangeOf checks what of a household's readings is asked for.
func rangeOf(req ownRequest) (ps []meter.UsagePoint, rs []meter.Register, err error) {
	if ps, err = points(req.GetUsagePoints()); err != nil {
		return nil, nil, err
	}
	if rs, err = registers(req.GetRegisters()); err != nil {
		return nil, nil, err
	}
	switch {
	case len(ps) > consent.MaxUsagePoints:
		return nil, nil, about("usage_points", consent.ErrAccess)
	case len(rs) > consent.MaxRegisters:
		return nil, nil, about("registers", consent.ErrAccess)
	}
	return ps, rs, checkRange(req.GetFrom(), req.GetUntil())
}

// ReadOwnSeries reads the calling household's own readings.
func (r *readingService) ReadOwnSeries(ctx context.Context, req *wattveilv1.ReadOwnSeriesRequest) (*wattveilv1.ReadOwnSeriesResponse, error) {
	permit, ask, err := r.admitSelf(ctx, req)
	if err != nil {
		return nil, err
	}
	series, receipt, err := r.open(ctx, permit, ask)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ReadOwnSeriesResponse{Series: seriesToWire(series), Receipt: receipt}
	if req.GetCompleteness() {
		resp.Completeness, err = completenessOf(permit, ask.spans(permit), registersOf(series), series)
	}
	return resp, err
}

// admitSelf has a household's read of its own decided. The leaf names all that is the
// household's; the permit that is returned ends where the range does.
func (r *readingService) admitSelf(ctx context.Context, req ownRequest) (consent.Permit, asked, error) {
	ps, rs, err := rangeOf(req)
	if err != nil {
		return consent.Permit{}, asked{}, err
	}
	p := caller(ctx)
	permit, err := r.gate.AdmitSelf(ctx, consent.SelfAccess{Household: p.Household(), Session: p.Session})
	if err != nil {
		return consent.Permit{}, asked{}, err
	}
	return permit.Within(req.GetFrom(), req.GetUntil()), asked{ps, rs, meter.DayOf(req.GetFrom()), meter.DayOf(req.GetUntil() - 1)}, nil
}

// maxReadDays bounds one answer.
const maxReadDays = 400

func checkRange(from, until int64) error {
	if inCalendar(from) && inCalendar(until) && until > from && until-from <= maxReadDays*86400 {
		return nil
	}
	parameter := "until"
	if !inCalendar(from) {
		parameter = "from"
	}
	return about(parameter, invalid("bad_range", "the range must not be empty and at most 400 days"))
}

// A recipient may read 600 times a minute; refusals count too, so that nobody
// fills the ledger by asking for what is not granted.
const readsPerMinute = 600

func (r *readingService) limit(p Principal) error {
	if !r.reads.take(p.ID, r.clock()) {
		return &inputError{codes.ResourceExhausted, "too_many_reads", "too many reads; try again in a minute"}
	}
	return nil
}

// asked is what of a permit's scope is wanted.
type asked struct {
	usagePoints []meter.UsagePoint // empty: all
	registers   []meter.Register   // empty: all
	first, last meter.Day
}

// granted returns the registers that a permit names; none if it covers all.
func granted(permit consent.Permit) []meter.Register {
	scopes := permit.Scopes()
	if len(scopes) == 0 {
		return nil
	}
	return scopes[0].Registers // all scopes of one permit name the same
}

// points returns the usage points to fetch: those asked for, of those that the
// permit covers.
func (a asked) points(permit consent.Permit) []meter.UsagePoint {
	var out []meter.UsagePoint
	for _, s := range permit.Scopes() {
		if (len(a.usagePoints) == 0 || slices.Contains(a.usagePoints, s.UsagePoint)) && !slices.Contains(out, s.UsagePoint) {
			out = append(out, s.UsagePoint)
		}
	}
	return out
}

// days returns the first and the last UTC day that are asked for, of those that the
// permit's leaf names.
func (a asked) days(permit consent.Permit) (first, last meter.Day) {
	first, last = permit.KeyDays()
	return max(first, a.first), min(last, a.last)
}

func seriesToWire(in []meter.Series) []*wattveilv1.Series {
	out := make([]*wattveilv1.Series, len(in))
	for i, s := range in {
		w := &wattveilv1.Series{
			UsagePoint: string(s.UsagePoint), Register: s.Register.String(), Start: s.Start, LengthSeconds: s.Length,
			Values: s.Values, Revision: s.Revision,
		}
		if s.Quality != nil {
			w.Qualities = make([]byte, len(s.Quality))
			for j, q := range s.Quality {
				w.Qualities[j] = byte(q)
			}
		}
		out[i] = w
	}
	return out
}
