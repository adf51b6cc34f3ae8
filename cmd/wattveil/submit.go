package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// dial connects to a hub's gRPC door.
func dial(addr string, c *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr,
		grpc.WithTransportCredentials(credentials.NewTLS(c)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
}

// batchIntervals is how many intervals a batch of this client holds at most.
const batchIntervals = 10_000

// submitter streams batches to a hub. A batch that was not answered when a
// stream broke is sent again with its id, so that it is stored exactly once.
type submitter struct {
	client wattveilv1.MeterServiceClient
	prefix string // of batch ids; the same prefix and order make a run repeatable
	window int    // batches under way
	// answered is called for every answer, one at a time.
	answered func(*wattveilv1.SubmitResponse)
	// patience is how long the hub may be away before run gives up.
	patience time.Duration

	made  int
	input error // of the source of readings, not of the hub
}

// batcher gathers series into batches.
type batcher struct {
	series    []*wattveilv1.Series
	intervals int
}

func (b *batcher) add(s meter.Series) {
	w := &wattveilv1.Series{
		UsagePoint: string(s.UsagePoint), Register: s.Register.String(), Start: s.Start, LengthSeconds: s.Length, Values: s.Values, Revision: s.Revision,
	}
	if s.Quality != nil {
		w.Qualities = make([]byte, len(s.Quality))
		for i, q := range s.Quality {
			w.Qualities[i] = byte(q)
		}
	}
	b.series = append(b.series, w)
	b.intervals += len(s.Values)
}

// full reports whether another series of n intervals belongs into the next batch.
func (b *batcher) full(n int) bool { return len(b.series) > 0 && b.intervals+n > batchIntervals }

func (b *batcher) take() []*wattveilv1.Series {
	s := b.series
	b.series, b.intervals = nil, 0
	return s
}

// run sends what next returns until io.EOF, and returns when every batch has
// been answered. Batch ids are prefix and a counter that goes on over calls.
func (s *submitter) run(ctx context.Context, next func() ([]*wattveilv1.Series, error)) error {
	var unanswered []*wattveilv1.SubmitRequest // in the order they were made
	done := false
	var away time.Time
	for !done || len(unanswered) > 0 {
		progress, err := s.stream(ctx, &unanswered, &done, next)
		if err == nil {
			continue
		}
		if c := status.Code(err); c != codes.Unavailable && c != codes.Canceled && c != codes.Unknown || ctx.Err() != nil {
			return fmt.Errorf("submitting: %w", err)
		}
		if progress || away.IsZero() {
			away = time.Now()
		}
		if time.Since(away) > s.patience {
			return fmt.Errorf("submitting, %d batches not acknowledged: %w", len(unanswered), err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.input // what could be read before it broke off has been stored
}

// stream runs one stream: first what an earlier one left unanswered, then what
// next returns. It reports whether anything was answered.
func (s *submitter) stream(ctx context.Context, unanswered *[]*wattveilv1.SubmitRequest, done *bool, next func() ([]*wattveilv1.Series, error)) (progress bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Submit(ctx)
	if err != nil {
		return false, err
	}
	var mu sync.Mutex
	pending := make(map[string]*wattveilv1.SubmitRequest)
	slots := make(chan struct{}, s.window)
	received := make(chan error, 1)
	go func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			mu.Lock()
			_, mine := pending[resp.GetBatchId()]
			delete(pending, resp.GetBatchId())
			mu.Unlock()
			if mine {
				s.answered(resp)
				progress = true
				<-slots
			}
		}
	}()
	resend := *unanswered
	var sendErr error
	for sendErr == nil {
		var req *wattveilv1.SubmitRequest
		if len(resend) > 0 {
			req, resend = resend[0], resend[1:]
		} else if *done {
			break
		} else {
			series, err := next()
			if errors.Is(err, io.EOF) {
				*done = true
				break
			}
			if err != nil {
				s.input = err
				*done = true
				break
			}
			s.made++
			req = &wattveilv1.SubmitRequest{BatchId: fmt.Sprintf("%s-%d", s.prefix, s.made), Series: series}
		}
		mu.Lock()
		pending[req.GetBatchId()] = req
		mu.Unlock()
		select {
		case slots <- struct{}{}:
			sendErr = stream.Send(req) // io.EOF here: the cause comes from Recv
		case err := <-received:
			received <- err
			sendErr = io.EOF
		}
	}
	if sendErr == nil {
		sendErr = stream.CloseSend()
	}
	err = <-received // the answers that are still to come have come
	mu.Lock()
	defer mu.Unlock()
	left := resend
	for _, r := range pending {
		left = append(left, r)
	}
	*unanswered = left
	if errors.Is(err, io.EOF) && len(left) == 0 && sendErr == nil {
		return progress, nil
	}
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the hub ended the stream early")
	}
	return progress, err
}
