package server

import (
	"context"
	"fmt"
	"time"

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
	gate  *consent.Gate[*store.Tx]
	guard *keyguard.Guard
	clock Clock
	// reads bounds each recipient's accesses before a leaf is written for them.
	reads *lru[string, *bucket]
}

// ReadSeries reads under a consent.
func (r *readingService) ReadSeries(ctx context.Context, req *wattveilv1.ReadSeriesRequest) (*wattveilv1.ReadSeriesResponse, error) {
	request, err := requestID(ctx, req.GetRequestId())
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
	permit, err := r.gate.Admit(ctx, a)
	if err != nil {
		return nil, err
	}
	series, receipt, err := r.open(ctx, permit, a.From, a.Until)
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
	permit, err := r.gate.AdmitSelf(ctx, consent.SelfAccess{
		Household: p.Household(), Session: p.Session, UsagePoints: ps, Registers: rs, From: req.GetFrom(), Until: req.GetUntil(),
	})
	if err != nil {
		return nil, err
	}
	series, receipt, err := r.open(ctx, permit, req.GetFrom(), req.GetUntil())
	if err != nil {
		return nil, err
	}
	return &wattveilv1.ReadOwnSeriesResponse{Series: series, Receipt: receipt}, nil
}

// maxReadDays bounds one answer.
const maxReadDays = 400

func checkRange(from, until int64) error {
	if until <= from || until-from > maxReadDays*86400 {
		return invalid("bad_range", "the range must not be empty and at most 400 days")
	}
	return nil
}

// A recipient may read 600 times a minute; refusals count too, so that nobody
// fills the ledger by asking for what is not granted.
const readsPerMinute = 600

func (r *readingService) limit(p Principal) error {
	b, ok := r.reads.get(p.ID)
	if !ok {
		b = newBucket(readsPerMinute, time.Minute)
		r.reads.put(p.ID, b)
	}
	if !b.take(r.clock()) {
		return errTooManyReads
	}
	return nil
}

// open does what comes after admission: prove the leaf to the keeper of keys,
// fetch sealed blocks, open them under the permit, keep what it covers, reduce
// to the granted granularity.
func (r *readingService) open(ctx context.Context, permit consent.Permit, from, until int64) ([]*wattveilv1.Series, *wattveilv1.Receipt, error) {
	receipt, err := receiptToWire(ctx, r.store, permit.Receipt())
	if err != nil {
		return nil, nil, err
	}
	first, last := permit.KeyDays()
	first, last = max(first, meter.DayOf(from)), min(last, meter.DayOf(until-1))
	keys, err := r.guard.BlockKeys(ctx, keyguard.Request{
		Payload: receipt.GetPayload(), Nonce: permit.Receipt().Nonce, Proof: []byte(receipt.GetProof()), From: first, To: last,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("asking for block keys: %w", err)
	}
	defer keys.Clear()
	var out []*wattveilv1.Series
	for _, scope := range permit.Scopes() {
		zone, err := time.LoadLocation(scope.Zone)
		if err != nil {
			return nil, nil, fmt.Errorf("loading zone: %w", err)
		}
		for _, register := range scope.Registers {
			series, err := r.openOne(ctx, permit, keys, scope.UsagePoint, register, first, last)
			if err != nil {
				return nil, nil, err
			}
			for _, s := range series {
				for _, t := range permit.Trim(s.Trim(from, until)) {
					out = append(out, seriesToWire(consent.Reduce(t, permit.Granularity(), zone))...)
				}
			}
		}
	}
	return out, receipt, nil
}

// openOne opens all blocks of one usage point and register over the days.
func (r *readingService) openOne(ctx context.Context, permit consent.Permit, keys *keyguard.BlockKeys, point meter.UsagePoint, register meter.Register, first, last meter.Day) ([]meter.Series, error) {
	blocks, err := r.store.Blocks(ctx, permit.Household(), point, register, first, last)
	if err != nil {
		return nil, fmt.Errorf("fetching blocks: %w", err)
	}
	opened := make([]seal.Opened, 0, len(blocks))
	for _, b := range blocks {
		key, ok := keys.Key(b)
		if !ok {
			return nil, fmt.Errorf("opening block: %w", seal.ErrKeyGone)
		}
		o, err := seal.Open(permit, r.clock(), key, b.Block, b.CapWatts, b.WriterKey)
		if err != nil {
			return nil, fmt.Errorf("opening block: %w", err)
		}
		opened = append(opened, o)
	}
	series, conflicts := seal.Merge(opened)
	if conflicts > 0 {
		if err := r.store.PutConflict(ctx, point, first, conflicts, r.clock().Unix()); err != nil {
			return nil, fmt.Errorf("reporting conflict: %w", err)
		}
	}
	return series, nil
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
