package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// Limits on one batch. The message size bounds it too.
const (
	maxSeriesPerBatch    = 20_000
	maxIntervalsPerBatch = 400_000
)

// meterService implements MeterService.
type meterService struct {
	wattveilv1.UnimplementedMeterServiceServer
	preparer  *preparer
	committer *committer
	store     *store.Store
	cfg       IngestConfig
	log       *slog.Logger
	// stopping is closed when the hub stops: streams then take no new batch,
	// answer what they have, and end.
	stopping <-chan struct{}
	// sound says why the ledger can no longer be trusted; nil while it can. A
	// stream outlives the gate that let it in.
	sound func() error
}

// Submit is one stream of batches. Every batch is prepared (checked and
// sealed), stored together with others in one transaction, and answered after
// that transaction has committed; answers come in the order of commits. When the
// client has sent its last, and when the hub stops, what is under way is still
// stored and answered. A message that is too large or does not parse ends the
// stream at once, in gRPC's own words. What a client has no answer for it sends
// again: a batch that was stored is answered again and stored once.
func (m *meterService) Submit(stream grpc.BidiStreamingServer[wattveilv1.SubmitRequest, wattveilv1.SubmitResponse]) error {
	g, ctx := errgroup.WithContext(stream.Context())
	answers := make(chan *wattveilv1.SubmitResponse, m.cfg.StreamWindow)
	var ended error
	g.Go(func() error { return m.answer(ctx, stream, answers) })
	g.Go(func() error {
		defer close(answers)
		ended = m.take(ctx, stream, answers)
		return nil // the answers so far go out first
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return ended
}

// take receives batches until the stream ends, a window of them at a time, and
// returns when all of them are in answers or given up. The error says why the
// stream ends; nil if its client has ended it.
func (m *meterService) take(ctx context.Context, stream grpc.BidiStreamingServer[wattveilv1.SubmitRequest, wattveilv1.SubmitResponse], answers chan<- *wattveilv1.SubmitResponse) error {
	utility := caller(ctx).Utility()
	work, ctx := errgroup.WithContext(ctx)
	window := make(chan struct{}, m.cfg.StreamWindow)
	batches := receive(ctx, stream)
	for {
		req, err := m.next(ctx, window, batches)
		if err != nil {
			if failed := work.Wait(); failed != nil {
				return failed
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		work.Go(func() (err error) {
			defer recovered(ctx, m.log, "batch", &err)
			if err := m.sound(); err != nil {
				return err
			}
			resp, err := m.batch(ctx, utility, req)
			if err != nil {
				return err
			}
			select {
			case answers <- resp:
				<-window
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}
}

// next waits for room in the window and for a batch. Its error is io.EOF when
// the client has sent its last.
func (m *meterService) next(ctx context.Context, window chan<- struct{}, batches <-chan received) (*wattveilv1.SubmitRequest, error) {
	closing := &inputError{codes.Unavailable, "closing", "the hub is stopping; send again what was not answered"}
	select {
	case window <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-m.stopping:
		return nil, closing
	}
	select {
	case <-m.stopping: // before a batch that waits, too
		return nil, closing
	default:
	}
	select {
	case in := <-batches:
		return in.req, in.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-m.stopping:
		return nil, closing
	}
}

type received struct {
	req *wattveilv1.SubmitRequest
	err error
}

// receive reads the stream in a goroutine of its own, so that a client that
// neither sends nor closes does not hold up a stopping hub: the goroutine ends
// with the stream.
func receive(ctx context.Context, stream grpc.BidiStreamingServer[wattveilv1.SubmitRequest, wattveilv1.SubmitResponse]) <-chan received {
	out := make(chan received)
	go func() {
		for {
			req, err := stream.Recv()
			select {
			case out <- received{req, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// answer sends responses. A client that does not read them is a slow reader:
// after cfg.SlowReader the stream ends, so that its batches stop holding
// memory.
func (m *meterService) answer(ctx context.Context, stream grpc.BidiStreamingServer[wattveilv1.SubmitRequest, wattveilv1.SubmitResponse], answers <-chan *wattveilv1.SubmitResponse) error {
	sent := make(chan error, 1)
	for {
		var resp *wattveilv1.SubmitResponse
		var open bool
		select {
		case resp, open = <-answers:
			if !open {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		go func() { sent <- stream.Send(resp) }()
		slow := time.NewTimer(m.cfg.SlowReader)
		select {
		case err := <-sent:
			slow.Stop()
			if err != nil {
				return err
			}
		case <-slow.C:
			return &inputError{codes.ResourceExhausted, "slow_reader", "answers are not being read; send again what was not answered"}
		case <-ctx.Done():
			slow.Stop()
			return context.Cause(ctx)
		}
	}
}

// batch prepares, stores and answers one batch. An error ends the stream; what
// is wrong with the batch itself is part of the answer.
func (m *meterService) batch(ctx context.Context, utility meter.Utility, req *wattveilv1.SubmitRequest) (*wattveilv1.SubmitResponse, error) {
	resp := &wattveilv1.SubmitResponse{BatchId: req.GetBatchId()}
	if reason := checkBatch(req); reason != "" {
		resp.ErrorReason = reason
		return resp, nil
	}
	p, outcome, err := m.keep(ctx, utility, req)
	if err != nil {
		return nil, err
	}
	switch outcome.Result {
	case store.Stored, store.Duplicate:
	case store.Late:
		return nil, release.ErrWindowClosed
	case store.Differs:
		resp.ErrorReason = "batch_content_differs"
		return resp, nil
	case store.Changed:
		resp.ErrorReason = "batch_answer_differs"
		return resp, nil
	}
	resp.Accepted = uint64(p.batch.Intervals)
	resp.Duplicate = outcome.Result == store.Duplicate
	resp.Refusals = make([]*wattveilv1.Refusal, len(p.refused))
	for i, r := range p.refused {
		resp.Refusals[i] = &wattveilv1.Refusal{UsagePoint: string(r.UsagePoint), Register: r.RegisterText, Start: r.Start, Reason: string(r.Reason)}
	}
	return resp, nil
}

// keep prepares and stores a batch. A day may close after a batch was sealed for it and
// before it is stored: then it is sealed again, by another writer where the day's keys
// are forgotten, and for the window that takes the day's contributions now.
func (m *meterService) keep(ctx context.Context, utility meter.Utility, req *wattveilv1.SubmitRequest) (p *prepared, outcome store.BatchOutcome, err error) {
	for range sealAttempts {
		if p, err = m.preparer.prepare(ctx, utility, req); err != nil {
			return nil, outcome, fmt.Errorf("preparing batch: %w", err)
		}
		outcome, err = m.committer.commit(ctx, p)
		switch {
		case errors.Is(err, seal.ErrWriterSpent):
		case err == nil && outcome.Result == store.Late:
			err = release.ErrWindowClosed
			for _, day := range outcome.LateDays {
				m.preparer.windows.Closed(day)
			}
		case err != nil:
			return nil, outcome, fmt.Errorf("storing batch: %w", err)
		default:
			return p, outcome, nil
		}
	}
	return nil, outcome, fmt.Errorf("storing batch: %w", err)
}

// sealAttempts is how often a batch is sealed before its stream ends: once more for
// each day that closes under it.
const sealAttempts = 3

// checkBatch returns the reason to refuse a batch as a whole, or "".
func checkBatch(req *wattveilv1.SubmitRequest) string {
	if _, err := meter.ParseUtility(req.GetBatchId()); err != nil { // one alphabet for all names
		return "bad_batch_id"
	}
	if len(req.GetSeries()) > maxSeriesPerBatch {
		return "batch_too_large"
	}
	n := 0
	for _, s := range req.GetSeries() {
		n += len(s.GetValues())
	}
	if n > maxIntervalsPerBatch {
		return "batch_too_large"
	}
	return ""
}

// Completeness reports what is stored for the caller's usage points.
func (m *meterService) Completeness(ctx context.Context, req *wattveilv1.CompletenessRequest) (*wattveilv1.CompletenessResponse, error) {
	from, err := meter.ParseDay(req.GetFromDay())
	if err != nil {
		return nil, about("from_day", invalid("bad_day", "from_day is not a day such as 2006-01-02"))
	}
	to, err := meter.ParseDay(req.GetToDay())
	if err != nil {
		return nil, about("to_day", invalid("bad_day", "to_day is not a day such as 2006-01-02"))
	}
	if to < from || to-from >= 400 {
		return nil, about("to_day", invalid("bad_range", "the range must hold 1 to 400 days"))
	}
	if n := len(req.GetUsagePoints()); n == 0 || n > 1000 {
		return nil, about("usage_points", invalid("bad_count", "between 1 and 1,000 usage points a call"))
	}
	points := make([]meter.UsagePoint, len(req.GetUsagePoints()))
	for i, s := range req.GetUsagePoints() {
		if points[i], err = meter.ParseUsagePoint(s); err != nil {
			return nil, about("usage_points", invalid("bad_usage_point", "a usage point is not well formed"))
		}
	}
	days, conflicts, err := m.store.Completeness(ctx, caller(ctx).Utility(), points, from, to)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.CompletenessResponse{}
	for _, d := range days {
		resp.Days = append(resp.Days, &wattveilv1.DayCompleteness{
			UsagePoint: string(d.UsagePoint), Register: d.Register.String(), Day: d.Day.String(), Slots: d.Slots, Revision: d.Revision,
		})
	}
	for _, c := range conflicts {
		resp.Conflicts = append(resp.Conflicts, &wattveilv1.RevisionConflict{UsagePoint: string(c.UsagePoint), Day: c.Day.String(), Intervals: c.Intervals})
	}
	return resp, nil
}
