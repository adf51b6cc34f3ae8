package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A message that is too large ends its stream with a clear error, and the next
// stream works. What was sent before it and has no answer is sent again, and
// stored once.
func TestOversizedMessage(t *testing.T) {
	w := newTown(t, onSQLite(t), func(c *Config) { c.Ingest.MaxMessageBytes = 16 << 10 })
	large := make([]*wattveilv1.Series, 300)
	for i := range large {
		large[i] = day(home, yesterday.AddDate(0, 0, -i), 0)
	}
	first := batch("b-1", series(home, yesterday, 1))
	_, err := submit(t.Context(), w.utility, first, batch("b-2", large...))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") { // gRPC's own words
		t.Errorf("an oversized message: %v", err)
	}
	answers, err := submit(t.Context(), w.utility, first, batch("b-2", large[:2]...))
	ok(t, err)
	if answers["b-1"].GetAccepted() != 1 || answers["b-2"].GetAccepted() != 192 {
		t.Errorf("accepted %d and %d", answers["b-1"].GetAccepted(), answers["b-2"].GetAccepted())
	}
	if n := w.slots(w.utility, home); n != 193 {
		t.Errorf("%d slots", n)
	}
}

// A message that is none ends its stream, and the next works.
func TestMalformedMessage(t *testing.T) {
	w := newTown(t, onSQLite(t))
	stream, err := w.utility.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, wattveilv1.MeterService_Submit_FullMethodName)
	ok(t, err)
	// Field 1 of a batch is text; here it holds bytes that are none.
	ok(t, stream.SendMsg(&wattveilv1.GetReceiptResponse{Receipt: &wattveilv1.Receipt{Payload: []byte{0xff, 0xfe}}}))
	if err := stream.RecvMsg(&wattveilv1.SubmitResponse{}); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "unmarshal") { // gRPC's own words
		t.Errorf("a malformed message: %v", err)
	}
	w.keep(batch("b-1", series(home, yesterday, 1)))
}

// A client that sends and never reads: the stream ends with the reason, so that
// its batches do not hold memory for ever. Nothing is lost and nothing doubled:
// sent again on a stream that is read, every batch is there once.
func TestSlowReader(t *testing.T) {
	w := newTown(t, onSQLite(t), func(c *Config) { c.Ingest.SlowReader = 50 * time.Millisecond })
	// Each answer is some 400 KB: refusals of one batch.
	sent := make([]*wattveilv1.SubmitRequest, 30)
	for i := range sent {
		sent[i] = batch(fmt.Sprintf("b-%d", i), series(home, yesterday.Add(time.Duration(i)*time.Hour/4), int64(i)), series("no-such-point", yesterday, make([]int64, 6000)...))
	}
	slow := clientOf(w.dial(w.ca.client(t, "utility", utility), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)))
	stream, err := slow.Submit(t.Context())
	ok(t, err)
	for _, b := range sent {
		if err := stream.Send(b); err != nil {
			break // the hub has ended it
		}
	}
	until(t, "the hub gives up", func() bool { return strings.Contains(string(w.log.bytes()), "code=ResourceExhausted") })
	answered := map[string]bool{}
	for {
		a, err := stream.Recv()
		if err != nil {
			refused(t, err, codes.ResourceExhausted, "slow_reader")
			break
		}
		answered[a.GetBatchId()] = true
	}
	if len(answered) == len(sent) {
		t.Fatal("every batch was answered: the client was not slow")
	}
	w.cfg.Ingest.SlowReader = 0 // the default: this machine may be slow itself
	w.restart()
	answers, err := submit(t.Context(), w.utility, sent...)
	ok(t, err)
	for _, b := range sent {
		a := answers[b.GetBatchId()]
		if a.GetAccepted() != 1 || len(a.GetRefusals()) != 6000 || answered[b.GetBatchId()] && !a.GetDuplicate() {
			t.Errorf("%s: accepted %d, duplicate %t", b.GetBatchId(), a.GetAccepted(), a.GetDuplicate())
		}
	}
	if n := w.slots(w.utility, home); n != uint64(len(sent)) {
		t.Errorf("%d slots, want %d", n, len(sent))
	}
}

// A client that sends everything, says so, and only then reads, gets all its
// answers.
func TestHalfClose(t *testing.T) {
	w := newTown(t, onSQLite(t))
	stream, err := w.utility.Submit(t.Context())
	ok(t, err)
	const batches = 50
	for i := range batches {
		ok(t, stream.Send(batch(fmt.Sprintf("b-%d", i), series(home, yesterday.Add(time.Duration(i)*time.Hour/4), 1))))
	}
	ok(t, stream.CloseSend())
	n := 0
	for {
		a, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		n += int(a.GetAccepted())
	}
	if n != batches {
		t.Errorf("%d answered", n)
	}
}

// A client that vanishes without a word: the hub lets go of everything it held
// for it, and what was acknowledged is there.
func TestHalfOpenStream(t *testing.T) {
	w := newTown(t, onSQLite(t))
	vanish := func(i int) {
		var raw net.Conn
		tlsConfig := w.ca.client(t, "utility", utility)
		conn := w.dial(tlsConfig, grpc.WithContextDialer(func(ctx context.Context, addr string) (c net.Conn, err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			raw = c
			return c, err
		}))
		stream, err := clientOf(conn).Submit(t.Context())
		ok(t, err)
		ok(t, stream.Send(batch(fmt.Sprintf("b-%d", i), series(home, yesterday.Add(time.Duration(i)*time.Hour/4), 1))))
		_, err = stream.Recv()
		ok(t, err)
		ok(t, stream.Send(batch(fmt.Sprintf("c-%d", i), series(nextDoor, yesterday, 1)))) // on its way
		ok(t, raw.Close())
		ok(t, conn.Close())
	}
	vanish(0) // whatever is made once is made now
	w.keep(batch("x", series(home, yesterday.AddDate(0, 0, -1), 1)))
	until(t, "the first stream ends", func() bool { return strings.Count(string(w.log.bytes()), "MeterService/Submit") >= 2 })
	before := runtime.NumGoroutine()
	for i := range 10 {
		vanish(i + 1)
	}
	until(t, "the hub frees the streams", func() bool { return runtime.NumGoroutine() <= before })
	if n := w.slots(w.utility, home); n != 12 {
		t.Errorf("%d slots, want the 12 that were acknowledged", n)
	}
}

// A hub that stops while batches arrive: what it has taken it stores and answers,
// what it has not taken is not there, and the next hub over the same store takes
// it. Every batch is there exactly once.
func TestStopWhileStreaming(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		stream, err := w.utility.Submit(t.Context())
		ok(t, err)
		var sent []*wattveilv1.SubmitRequest
		sending := make(chan struct{})
		go func() {
			defer close(sending)
			for i := range 20_000 {
				b := batch(fmt.Sprintf("b-%d", i), series(home, yesterday.Add(-time.Duration(i)*time.Hour/4), 1))
				if stream.Send(b) != nil {
					return
				}
				sent = append(sent, b)
			}
		}()
		answered := map[string]bool{}
		var end error
		for {
			a, err := stream.Recv()
			if err != nil {
				end = err
				break
			}
			answered[a.GetBatchId()] = true
			if len(answered) == 20 {
				go w.stop()
			}
		}
		<-sending
		w.stop()
		refused(t, end, codes.Unavailable, "closing")
		w.start()
		w.connect()
		again := sent[:min(len(sent), len(answered)+50)] // the rest was not taken either
		answers, err := submit(t.Context(), w.utility, again...)
		ok(t, err)
		for _, b := range again {
			a := answers[b.GetBatchId()]
			if a.GetAccepted() != 1 && len(a.GetRefusals()) != 1 || a.GetDuplicate() != answered[b.GetBatchId()] {
				t.Errorf("%s: answered before %t, stored before %t", b.GetBatchId(), answered[b.GetBatchId()], a.GetDuplicate())
			}
		}
		var want uint64
		for _, b := range again {
			want += answers[b.GetBatchId()].GetAccepted()
		}
		if n := w.slots(w.utility, home); n != want {
			t.Errorf("%d slots, want %d", n, want)
		}
	})
}

// A stream on which nothing happens does not hold up a hub that stops.
func TestStopWithIdleStream(t *testing.T) {
	w := newTown(t, onSQLite(t))
	stream, err := w.utility.Submit(t.Context())
	ok(t, err)
	ok(t, stream.Send(batch("b-1", series(home, yesterday, 1))))
	_, err = stream.Recv()
	ok(t, err)
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > graceful/2 {
		t.Errorf("stopping took %s", took)
	}
	_, err = stream.Recv()
	refused(t, err, codes.Unavailable, "closing")
}
