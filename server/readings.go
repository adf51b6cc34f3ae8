package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
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
	reads *buckets
}

// ReadSeries reads under a consent.
func (r *readingService) ReadSeries(ctx context.Context, req *wattveilv1.ReadSeriesRequest) (*wattveilv1.ReadSeriesResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	if err := r.limit(caller(ctx)); err != nil {
		return nil, err
	}
	a := consent.Access{
		RequestID: request, Recipient: caller(ctx).Recipient(), Consent: consent.ID(req.GetConsentId()),
		Purpose: req.GetPurpose(), From: req.GetFrom(), Until: req.GetUntil(),
	}
	if a.UsagePoints, err = points(req.GetUsagePoints()); err != nil {
		return nil, err
	}
	if a.Registers, err = registers(req.GetRegisters()); err != nil {
		return nil, err
	}
	if err := checkRange(a.From, a.Until); err != nil {
		return nil, err
	}
	permit, err := r.admit(ctx, caller(ctx), a)
	if err != nil {
		return nil, err
	}
	first, last := permit.KeyDays()
	series, receipt, err := r.open(ctx, permit, asked{registers: granted(permit), first: first, last: last})
	if err != nil {
		return nil, err
	}
	return &wattveilv1.ReadSeriesResponse{Series: series, Receipt: receipt}, nil
}

// ReadOwnSeries reads the calling household's own readings.
func (r *readingService) ReadOwnSeries(ctx context.Context, req *wattveilv1.ReadOwnSeriesRequest) (*wattveilv1.ReadOwnSeriesResponse, error) {
	ps, err := points(req.GetUsagePoints())
	if err != nil {
		return nil, err
	}
	rs, err := registers(req.GetRegisters())
	if err != nil {
		return nil, err
	}
	if err := checkRange(req.GetFrom(), req.GetUntil()); err != nil {
		return nil, err
	}
	p := caller(ctx)
	permit, err := r.gate.AdmitSelf(ctx, consent.SelfAccess{Household: p.Household(), Session: p.Session})
	if err != nil {
		return nil, err
	}
	series, receipt, err := r.open(ctx, permit, asked{ps, rs, meter.DayOf(req.GetFrom()), meter.DayOf(req.GetUntil() - 1)})
	if err != nil {
		return nil, err
	}
	series = cut(series, req.GetFrom(), req.GetUntil())
	return &wattveilv1.ReadOwnSeriesResponse{Series: series, Receipt: receipt}, nil
}

// maxReadDays bounds one answer.
const maxReadDays = 400

func checkRange(from, until int64) error {
	if !inCalendar(from) || !inCalendar(until) || until <= from || until-from > maxReadDays*86400 {
		return invalid("bad_range", "the range must not be empty and at most 400 days")
	}
	return nil
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

// open does what comes after admission: prove the leaf to the keeper of keys,
// fetch sealed blocks, open them under the permit, keep the newest revision of
// each interval, and disclose what the permit covers in its granularity. ask
// narrows the blocks that are fetched; the permit decides what leaves.
func (r *readingService) open(ctx context.Context, permit consent.Permit, ask asked) ([]*wattveilv1.Series, *wattveilv1.Receipt, error) {
	recorded := permit.Receipt()
	proved, err := r.proofs.prove(ctx, recorded)
	if err != nil {
		return nil, nil, fmt.Errorf("proving a read: %w", err)
	}
	receipt := &wattveilv1.Receipt{Index: recorded.Index, Payload: recorded.Payload, Nonce: recorded.Nonce[:], Proof: string(proved.access.Proof)}
	first, last := permit.KeyDays()
	first, last = max(first, ask.first), min(last, ask.last)
	if first > last {
		return nil, receipt, nil
	}
	blocks, err := r.store.Blocks(ctx, permit.Household(), ask.points(permit), ask.registers, first, last)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching blocks: %w", err)
	}
	if len(blocks) == 0 {
		return nil, receipt, nil // nothing to open: the leaf stays unspent
	}
	agreed, err := r.proofs.consent(ctx, proved)
	if err != nil {
		return nil, nil, fmt.Errorf("proving the consent to a read: %w", err)
	}
	points, registers := sealedUnder(blocks)
	keys, err := r.guard.BlockKeys(ctx, keyguard.Request{
		Access: proved.access, Consent: agreed, UsagePoints: points, Registers: registers, From: first, To: last,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("asking for block keys: %w", err)
	}
	defer keys.Clear()
	sealed := make([]seal.KeyedBlock, 0, len(blocks))
	for _, b := range blocks {
		if !permit.CoversDay(b.Household, b.UsagePoint, b.Register, b.Day) {
			continue
		}
		key, ok := keys.Key(b.Block)
		if !ok {
			return nil, nil, errNoBlockKey
		}
		sealed = append(sealed, seal.KeyedBlock{Block: b.Block, Key: key, WriterKey: b.WriterKey})
	}
	opened, err := seal.Open(permit, r.clock(), sealed...)
	if err != nil {
		return nil, nil, err
	}
	series, conflicts := seal.Merge(opened)
	if conflicts > 0 {
		r.reportConflicts(ctx, opened)
	}
	disclosed, err := permit.Disclose(series)
	if err != nil {
		return nil, nil, err
	}
	return seriesToWire(disclosed), receipt, nil
}

// reportConflicts tells the utilities on which usage points and days their
// batches disagree. It is on the way of a reading, which does not fail for it:
// the conflict is met again.
func (r *readingService) reportConflicts(ctx context.Context, opened []seal.Opened) {
	type place struct {
		point meter.UsagePoint
		day   meter.Day
	}
	at := map[place][]seal.Opened{}
	for _, o := range opened {
		p := place{o.Series.UsagePoint, meter.DayOf(o.Series.Start)}
		at[p] = append(at[p], o)
	}
	for p, same := range at {
		if _, n := seal.Merge(same); n > 0 {
			if err := r.store.PutConflict(ctx, p.point, p.day, n, r.clock().Unix()); err != nil {
				r.log.LogAttrs(ctx, slog.LevelWarn, "reporting conflict", slog.String("cause", err.Error()))
			}
		}
	}
}

// errNoBlockKey says that a block's day key could not be had though its
// household's key exists: the store has lost or altered a wrap.
var errNoBlockKey = errors.New("server: a block's day key is missing or damaged")

// sealedUnder returns the usage points and registers of blocks, each once.
func sealedUnder(blocks []store.StoredBlock) (points []meter.UsagePoint, registers []meter.Register) {
	for _, b := range blocks {
		if !slices.Contains(points, b.UsagePoint) {
			points = append(points, b.UsagePoint)
		}
		if !slices.Contains(registers, b.Register) {
			registers = append(registers, b.Register)
		}
	}
	return points, registers
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

// cut keeps the intervals that start in [from, until).
func cut(in []*wattveilv1.Series, from, until int64) []*wattveilv1.Series {
	var out []*wattveilv1.Series
	for _, w := range in {
		s, _ := fromWire(w) // it was made here
		if t := s.Trim(from, until); len(t.Values) > 0 {
			out = append(out, seriesToWire([]meter.Series{t})...)
		}
	}
	return out
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
