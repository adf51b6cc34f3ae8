package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// ReadChanges reads what has come since a cursor. What there is to open is found out
// first, from how many blocks there are: only then is there an access to decide.
func (r *readingService) ReadChanges(ctx context.Context, req *wattveilv1.ReadChangesRequest) (*wattveilv1.ReadChangesResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	if err := r.limit(p); err != nil {
		return nil, err
	}
	a := consent.Access{RequestID: request, Recipient: p.Recipient(), Consent: consent.ID(req.GetConsentId()), Purpose: req.GetPurpose()}
	if _, err := consent.ParseID(req.GetConsentId()); err != nil {
		return nil, about("consent_id", consent.ErrAccess)
	}
	since, err := r.cursors.open(a.Recipient, req.GetCursor())
	if err != nil {
		return nil, err
	}
	now := r.clock().Unix()
	c, err := r.store.ConsentOf(ctx, ownerOf(p), a.Consent)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err != nil || p.Consent != "" && p.Consent != a.Consent || !c.Live(now) || a.Purpose != c.Terms.Purpose.Code {
		return nil, r.refuse(ctx, a, now)
	}
	if err := since.fits(c.Consent); err != nil {
		return nil, err
	}
	found, err := r.changed(ctx, c.Consent, since, now)
	if err != nil {
		return nil, err
	}
	if len(found.spans) > 0 {
		return r.deliver(ctx, a, found, req.GetCompleteness())
	}
	resp := &wattveilv1.ReadChangesResponse{Cursor: req.GetCursor()}
	if req.GetCursor() == "" || found.moved {
		resp.Cursor, err = r.cursors.seal(a.Recipient, &found.next)
	}
	return resp, err
}

// refuse has an access decided that should not be admitted: the refusal is a record,
// and its reason the gate's.
func (r *readingService) refuse(ctx context.Context, a consent.Access, now int64) error {
	a.From, a.Until = meter.DayOf(now).Start(), now+1
	if _, err := r.decide(ctx, a); err != nil {
		return err
	}
	// Granted at this very moment; nothing is opened.
	return &inputError{codes.Unavailable, "store_busy", "nothing was opened; try again with a new request id"}
}

// changes are what of a consent has changed.
type changes struct {
	terms     ledger.Hash
	spans     []span // to open, by usage point and time; none if nothing has changed
	intervals uint64 // stored in the spans' days, as metadata tell
	next      cursor
	moved     bool // next tells another number of blocks of a day, if only of what is not granted
	more      bool // beyond the spans
}

// span is a range of a usage point, of whole steps of what is granted.
type span struct {
	point       meter.UsagePoint
	from, until int64
}

// Bounds of one answer. What changed far apart is opened by an access each, so that the
// record names little more than what was opened.
const (
	maxChangedIntervals = 250_000
	maxUnchangedDays    = 7
)

// changed finds the first run of days that have changed since a cursor.
//
// A day has changed if it has another number of blocks, or if an hour, day or month
// with values in it was not over when the cursor was given, and is now. What can not be
// given yet, since it is not over, keeps its old mark, and is found then.
//
// Blocks are counted before any is read, so that what arrives in between is given with
// this answer and the next. It is given twice and never missed.
func (r *readingService) changed(ctx context.Context, c consent.Consent, since *cursor, now int64) (*changes, error) {
	found := &changes{terms: c.Terms.Hash(), next: cursor{consent: c.ID, terms: c.Terms.Hash(), at: now}}
	occupancies, err := r.store.Occupancies(ctx, c.Household)
	if err != nil {
		return nil, err
	}
	lived, err := staysOf(c, occupancies, now)
	if err != nil || len(lived) == 0 {
		return found, err
	}
	first, last := lived.days()
	all, err := r.store.BlocksByDay(ctx, c.Household, first, last)
	if err != nil || len(all) == 0 {
		return found, err
	}
	ended := lived.ended(since.at, now)
	totals := make(map[meter.Day]uint32, len(all))
	var look []meter.Day
	for _, d := range all {
		totals[d.Day] = d.Blocks
		if d.Blocks != since.mark(d.Day).all || d.Day.End() > ended {
			look = append(look, d.Day)
		}
	}
	counts, err := r.store.BlocksOnDays(ctx, c.Household, lived.points(), c.Terms.Registers, look)
	if err != nil {
		return nil, err
	}
	ours := make(map[meter.Day]store.DayBlocks, len(counts))
	for _, d := range counts {
		ours[d.Day] = d
	}
	found.keep(since, all)
	for _, day := range look {
		d := ours[day]
		d.Day = day
		if d.Blocks == since.mark(day).ours && d.Until <= ended {
			found.given(d, totals[day])
			continue
		}
		spans := lived.spans(day, now)
		if len(spans) == 0 {
			continue
		}
		if !found.takes(d, spans) {
			found.more, found.next.at = true, since.at
			break
		}
		found.spans, found.intervals = append(found.spans, spans...), found.intervals+d.Intervals
		found.given(d, totals[day])
	}
	found.spans = joined(found.spans)
	return found, nil
}

// takes reports whether a further day can be opened by the same access.
func (f *changes) takes(d store.DayBlocks, spans []span) bool {
	if len(f.spans) == 0 {
		return true
	}
	from, until := hull(append(slices.Clone(f.spans), spans...))
	_, before := hull(f.spans)
	return until-from <= consent.MaxRange && f.intervals+d.Intervals <= maxChangedIntervals && d.Day.Start()-before <= maxUnchangedDays*86400
}

// keep begins the next cursor as the one before, for the days on which anything is
// stored.
func (f *changes) keep(since *cursor, all []store.DayBlocks) {
	last := all[len(all)-1].Day
	f.next.first = max(all[0].Day, last-maxCursorDays+1)
	f.next.days = make([]dayMark, last-f.next.first+1)
	for _, d := range all {
		if d.Day >= f.next.first {
			f.next.days[d.Day-f.next.first] = since.mark(d.Day)
		}
	}
}

// given marks a day as it is now.
func (f *changes) given(d store.DayBlocks, all uint32) {
	if d.Day < f.next.first {
		return
	}
	at := &f.next.days[d.Day-f.next.first]
	now := dayMark{all: all, ours: d.Blocks}
	f.moved = f.moved || *at != now
	*at = now
}

// stay is where and when an access under a consent may read.
type stay struct {
	consent.Scope
	zone        *time.Location
	granularity consent.Granularity
}

type stays []stay

func staysOf(c consent.Consent, occupancies []consent.Occupancy, now int64) (stays, error) {
	var out stays
	for _, s := range c.Scopes(occupancies, now) {
		zone, err := time.LoadLocation(s.Zone)
		if err != nil {
			return nil, fmt.Errorf("looking for changes: zone of a usage point: %w", err)
		}
		out = append(out, stay{s, zone, c.Terms.Granularity})
	}
	return out, nil
}

// days returns the first and the last UTC day.
func (ss stays) days() (first, last meter.Day) {
	first, last = meter.DayOf(ss[0].From), meter.DayOf(ss[0].Until-1)
	for _, s := range ss {
		first, last = min(first, meter.DayOf(s.From)), max(last, meter.DayOf(s.Until-1))
	}
	return first, last
}

func (ss stays) points() []meter.UsagePoint {
	var out []meter.UsagePoint
	for _, s := range ss {
		if !slices.Contains(out, s.UsagePoint) {
			out = append(out, s.UsagePoint)
		}
	}
	return out
}

// ended returns the start of the first step that was not over at the instant at and is
// by now: values after it may never have been given. Without one it is the end of time.
func (ss stays) ended(at, now int64) int64 {
	const never = 1<<63 - 1
	ended := int64(never)
	for _, s := range ss {
		if start, end := s.granularity.Step(at, s.zone); at > 0 && s.granularity > consent.Interval && end <= now {
			ended = min(ended, start)
		}
	}
	return ended
}

// spans returns what can be given of a UTC day: for each stay the steps that touch it,
// are the household's, granted and over.
func (ss stays) spans(d meter.Day, now int64) []span {
	var out []span
	for _, s := range ss {
		from, until := s.granularity.Whole(d, s.zone)
		if s.granularity == consent.Interval {
			from, until = max(from, s.From), min(until, s.Until)
		} else {
			from, until = s.whole(from, until, min(s.Until, now))
		}
		if from < until {
			out = append(out, span{s.UsagePoint, from, until})
		}
	}
	return out
}

// whole returns the range of the steps in [from, until) that lie wholly in the stay's
// time before the instant over; an empty one if there is none.
func (s stay) whole(from, until, over int64) (first, last int64) {
	for t := from; t < until; {
		start, end := s.granularity.Step(t, s.zone)
		if start >= s.From && end <= over {
			if first >= last {
				first = start
			}
			last = end
		}
		t = end
	}
	return first, last
}

// joined sorts spans and makes one of those that touch.
func joined(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.point, b.point), cmp.Compare(a.from, b.from), cmp.Compare(a.until, b.until))
	})
	var out []span
	for _, s := range spans {
		if n := len(out) - 1; n >= 0 && out[n].point == s.point && s.from <= out[n].until {
			out[n].until = max(out[n].until, s.until)
			continue
		}
		out = append(out, s)
	}
	return out
}

func hull(spans []span) (from, until int64) {
	from, until = spans[0].from, spans[0].until
	for _, s := range spans {
		from, until = min(from, s.from), max(until, s.until)
	}
	return from, until
}

// deliver has the access to what changed decided and recorded, and opens the spans and
// nothing between them.
func (r *readingService) deliver(ctx context.Context, a consent.Access, found *changes, completeness bool) (*wattveilv1.ReadChangesResponse, error) {
	a.From, a.Until = hull(found.spans)
	for _, s := range found.spans {
		if !slices.Contains(a.UsagePoints, s.point) {
			a.UsagePoints = append(a.UsagePoints, s.point)
		}
	}
	permit, err := r.decide(ctx, a)
	if err != nil {
		return nil, err
	}
	// The gate decides on the consent as it stands. If that was narrowed since it was
	// looked at, the cursor would be of neither.
	switch terms, err := termsOf(permit); {
	case err != nil:
		return nil, err
	case terms != found.terms:
		return nil, errCursorNarrow
	}
	first, last := permit.KeyDays()
	o, err := r.begin(ctx, permit, asked{a.UsagePoints, granted(permit), first, last})
	if err != nil {
		return nil, err
	}
	defer o.close()
	resp := &wattveilv1.ReadChangesResponse{Receipt: o.receipt, More: found.more}
	var series []meter.Series
	for _, s := range found.spans {
		read, err := o.read(ctx, s.point, granted(permit), s.from, s.until)
		if err != nil {
			return nil, err
		}
		series = append(series, read...)
	}
	if completeness {
		if resp.Completeness, err = completenessOf(permit, found.spans, granted(permit), series); err != nil {
			return nil, err
		}
	}
	resp.Series = seriesToWire(series)
	resp.Cursor, err = r.cursors.seal(a.Recipient, &found.next)
	return resp, err
}

// termsOf returns the hash of the terms that the leaf of a permit names.
func termsOf(permit consent.Permit) (ledger.Hash, error) {
	p, err := ledger.DecodePayload(permit.Receipt().Payload)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("reading the leaf back: %w", err)
	}
	return p.Terms, nil
}
