package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
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

// comeback is how soon a hub that went away is looked for again: meters go on
// measuring, so not two minutes, which is gRPC's own bound.
var comeback = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}

// dial connects to a hub's gRPC door.
func dial(addr string, c *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr,
		grpc.WithTransportCredentials(credentials.NewTLS(c)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: comeback, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
}

// greet connects once, to learn at once of a certificate that either side does
// not accept: to gRPC that looks like a hub that is away, which is worth waiting
// for. A hub that does not answer is no error here.
func greet(ctx context.Context, addr string, c *tls.Config) error {
	c = c.Clone()
	c.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", addr)
	if err == nil {
		defer func() { _ = conn.Close() }()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the hub's verdict comes after the handshake
	}
	var theirs *tls.CertificateVerificationError
	var alert *net.OpError
	if errors.As(err, &theirs) || errors.As(err, &alert) && alert.Op == "remote error" {
		return err
	}
	return nil
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
	// waiting, if not nil, is called each time the hub turns out to be away.
	waiting func(error)

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

// source returns the next batch, or io.EOF. It may wait for its input; when ctx
// ends it returns the error of ctx and keeps its place.
type source func(ctx context.Context) ([]*wattveilv1.Series, error)

// run sends what next returns until io.EOF, and returns when every batch has
// been answered. Batch ids are prefix, a counter that goes on over calls, and
// the number of series: so the last batch of a file that was cut short has
// another name than the same batch of the whole file.
func (s *submitter) run(ctx context.Context, next source) error {
	var unanswered []*wattveilv1.SubmitRequest // in the order they were made
	done := false
	var away time.Time
	for !done || len(unanswered) > 0 {
		began := time.Now()
		progress, err := s.stream(ctx, &unanswered, &done, next)
		if err == nil {
			continue
		}
		if c := status.Code(err); c != codes.Unavailable && c != codes.Canceled && c != codes.Unknown || ctx.Err() != nil {
			return fmt.Errorf("submitting: %w", err)
		}
		if progress || away.IsZero() || time.Since(began) > livelong {
			away = time.Now()
			if s.waiting != nil {
				s.waiting(err)
			}
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

// answerDiffers is the reason by which the hub says that it has this batch, and
// would refuse other intervals of it than it did then. What it refused then is
// stored under another id, and what it has is not doubled: the same interval of
// the same revision counts once.
const answerDiffers = "batch_answer_differs"

// underWay is a batch that was sent, as the nth of its stream.
type underWay struct {
	n   int
	req *wattveilv1.SubmitRequest
}

// livelong is how long a stream on which nothing is answered shows that the hub
// is there: longer than keepalive lets one to a dead hub live.
const livelong = time.Minute

// stream runs one stream: first what an earlier one left unanswered, then what
// next returns. It reports whether anything was answered.
func (s *submitter) stream(ctx context.Context, unanswered *[]*wattveilv1.SubmitRequest, done *bool, next source) (progress bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Submit(ctx)
	if err != nil {
		return false, err
	}
	var mu sync.Mutex
	pending := make(map[string]underWay)
	var renamed []*wattveilv1.SubmitRequest // to be sent once more, under another id
	sent := 0
	slots := make(chan struct{}, s.window)
	received := make(chan error, 1)
	living, end := context.WithCancel(ctx) // while the hub may still answer
	go func() {
		defer end()
		for {
			resp, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			mu.Lock()
			b, mine := pending[resp.GetBatchId()]
			delete(pending, resp.GetBatchId())
			again := mine && resp.GetErrorReason() == answerDiffers
			if again {
				renamed = append(renamed, &wattveilv1.SubmitRequest{BatchId: resp.GetBatchId() + ":again", Series: b.req.GetSeries()})
			}
			mu.Unlock()
			if mine && !again {
				s.answered(resp)
			}
			if mine {
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
			series, err := next(living)
			if err != nil && errors.Is(err, living.Err()) {
				sendErr = io.EOF // the stream ended while there was nothing to send
				break
			}
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
			req = &wattveilv1.SubmitRequest{BatchId: fmt.Sprintf("%s-%d-%d", s.prefix, s.made, len(series)), Series: series}
		}
		sent++
		mu.Lock()
		pending[req.GetBatchId()] = underWay{sent, req}
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
	var left []*wattveilv1.SubmitRequest
	for _, b := range slices.SortedFunc(maps.Values(pending), func(a, b underWay) int { return a.n - b.n }) {
		left = append(left, b.req)
	}
	left = append(left, resend...)
	*unanswered = append(left, renamed...)
	if errors.Is(err, io.EOF) && len(left) == 0 && sendErr == nil {
		return progress, nil
	}
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the hub ended the stream early")
	}
	return progress, err
}
