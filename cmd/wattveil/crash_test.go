package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/pgtest"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// kills is how often each test kills.
func kills() int {
	if testing.Short() {
		return 1
	}
	return 5
}

// A hub is killed (kill -9) in the middle of its work, several times, at moments
// drawn at random, while a utility streams to it; each time another is started
// on the same data. In the end every batch that was acknowledged is there once
// and whole, opens, and no nonce was used twice.
//
// It would catch an acknowledgement before the commit, a batch doubled by being
// sent again, a wrap lost between two transactions, a writer or a sequence number
// taken up again after a restart, a ledger that a restart forks.
func TestHubKilled(t *testing.T) {
	for engine, store := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "hub.db") },
		"postgres": func(t *testing.T) string { return pgtest.Start(t, pgtest.Options{Durable: true}).Database(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			c := newCrash(t, store(t))
			for range kills() {
				c.killUnderLoad(t)
				c.killStarting(t)
				c.hub = c.site.start(t)
				c.turnTo(c.hub.grpc)
			}
			c.finish(t)
		})
	}
}

// PostgreSQL itself is killed while a hub lives and a utility streams to it. The
// hub says that it cannot, goes on by itself when the server is back, and has
// lost nothing that it acknowledged.
func TestPostgresKilled(t *testing.T) {
	cluster := pgtest.Start(t, pgtest.Options{Durable: true})
	c := newCrash(t, cluster.Database(t))
	for range (kills() + 1) / 2 {
		c.underLoad(t)
		cluster.Crash(t)
		c.eventually(t, "the hub says that it is not ready", func() bool { return c.status("/readyz") == http.StatusServiceUnavailable })
		if s := c.status("/healthz"); s != http.StatusOK {
			t.Errorf("the hub lives, but /healthz answers %d", s)
		}
		// A caller is told, at once and in a way that says "later".
		if _, err := signIn(t.Context(), c.hub.http, c.codes[c.homes[0]]); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("signing in without a store: %v, want a 503", err)
		}
		cluster.Restart(t)
		c.eventually(t, "the hub is ready", func() bool { return c.status("/readyz") == http.StatusOK })
		select {
		case <-c.hub.ended:
			t.Fatalf("the hub ended with its store: %v: %s", c.hub.result, c.hub.lastWords())
		default:
		}
	}
	c.finish(t)
}

// crash is a hub on its site, and a utility that streams to whatever hub is up.
type crash struct {
	site  *site
	hub   *hubProcess
	homes []string
	codes map[string]string

	yesterday meter.Day // its window is open
	tables    *storetest.Tables

	streamed chan struct{} // closed when the stream has ended
	result   error         // of the stream; read after streamed

	mu    sync.Mutex
	addr  string
	acked map[string]bool // batches acknowledged, by id
	again int             // answers that said: stored before
	made  int             // batches made
	allow int             // make so many, then wait
	done  bool            // make no more
	more  chan struct{}   // closed and made anew when any of these changes
}

const (
	crashHomes  = 40
	crashWindow = 8 // batches under way at once
)

// newCrash starts a hub on a new site and a utility that streams to it.
func newCrash(t *testing.T, store string) *crash {
	t.Helper()
	s, err := newSite(t.Context(), t.TempDir(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := &crash{
		site: s, hub: s.start(t), yesterday: meter.DayOf(time.Now().Unix()) - 1, tables: storetest.Open(t, store),
		streamed: make(chan struct{}), acked: map[string]bool{}, more: make(chan struct{}),
	}
	c.turnTo(c.hub.grpc)
	for i := range crashHomes {
		c.homes = append(c.homes, fmt.Sprintf("home-%02d", i))
	}
	if c.codes, err = s.register(t.Context(), c.hub, c.homes, (c.yesterday - 100).Start()); err != nil {
		t.Fatal(err)
	}
	client, err := s.ca.client("utility", testUtility)
	if err != nil {
		t.Fatal(err)
	}
	client.ServerName = "localhost"
	conn, err := grpc.NewClient("passthrough:///hub",
		grpc.WithTransportCredentials(credentials.NewTLS(client)), grpc.WithContextDialer(c.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}, MinConnectTimeout: 2 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	stream := &submitter{
		client: wattveilv1.NewMeterServiceClient(conn), prefix: "stream", window: crashWindow, patience: 30 * time.Second,
		answered: func(r *wattveilv1.SubmitResponse) { c.answered(t, r) },
	}
	go func() {
		c.result = stream.run(ctx, c.next)
		close(c.streamed)
	}()
	t.Cleanup(func() {
		cancel()
		<-c.streamed
		_ = conn.Close()
	})
	return c
}

// dial connects to the hub that is up, wherever it listens.
func (c *crash) dial(ctx context.Context, _ string) (net.Conn, error) {
	c.mu.Lock()
	addr := c.addr
	c.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (c *crash) turnTo(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addr = addr
}

// Each batch is of one home: an hour of yesterday, whose window is open, and a
// whole day of the past, whose window never opens.
const (
	recentIntervals = 4
	pastIntervals   = 96
	crashIntervals  = recentIntervals + pastIntervals
	// Each kill takes at most 80 + 40 of them and what is under way then; yesterday
	// has hours enough.
	mostBatches = crashHomes * 96 / recentIntervals
)

func (c *crash) batch(n int) []*wattveilv1.Series {
	home, round := c.homes[n%crashHomes], n/crashHomes
	return []*wattveilv1.Series{
		loads(home, c.yesterday.Start()+int64(round)*recentIntervals*900, recentIntervals),
		loads(home, (c.yesterday - 3 - meter.Day(round)).Start(), pastIntervals),
	}
}

// next is a source that waits, as a meter's port does, when there is no more.
func (c *crash) next(ctx context.Context) ([]*wattveilv1.Series, error) {
	for {
		c.mu.Lock()
		made, more := c.made, c.more
		stop, wait := c.done, c.made >= min(c.allow, mostBatches)
		if !stop && !wait {
			c.made++
		}
		c.mu.Unlock()
		switch {
		case stop:
			return nil, io.EOF
		case !wait:
			return c.batch(made), nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// change changes what others wait for.
func (c *crash) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.more)
	c.more = make(chan struct{})
}

func (c *crash) answered(t *testing.T, r *wattveilv1.SubmitResponse) {
	c.change(func() { c.note(t, r) })
}

func (c *crash) note(t *testing.T, r *wattveilv1.SubmitResponse) {
	if r.GetErrorReason() != "" || r.GetAccepted() != crashIntervals || len(r.GetRefusals()) > 0 || c.acked[r.GetBatchId()] {
		t.Errorf("batch %s: answered before: %t; accepted %d, refused %d, %q", r.GetBatchId(), c.acked[r.GetBatchId()], r.GetAccepted(), len(r.GetRefusals()), r.GetErrorReason())
	}
	c.acked[r.GetBatchId()] = true
	if r.GetDuplicate() {
		c.again++
	}
}

// underLoad waits for a number of further acknowledgements drawn at random: the
// moment after it, the hub has batches in every stage of their way.
func (c *crash) underLoad(t *testing.T) {
	t.Helper()
	var want int
	c.change(func() {
		want = len(c.acked) + 1 + draw(80)
		c.allow = max(c.allow, want+2*crashWindow)
	})
	late := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		n, more := len(c.acked), c.more
		c.mu.Unlock()
		if n >= want {
			return
		}
		select {
		case <-more:
		case <-c.streamed:
			t.Fatalf("the stream ended: %v: %s", c.result, c.hub.lastWords())
		case <-late:
			t.Fatalf("%d of %d batches acknowledged after 30 s: %s", n, want, c.hub.lastWords())
		}
	}
}

// killUnderLoad kills the hub up to 5 ms after an acknowledgement.
func (c *crash) killUnderLoad(t *testing.T) {
	t.Helper()
	c.underLoad(t)
	<-time.After(time.Duration(draw(5000)) * time.Microsecond)
	c.hub.kill()
}

// killStarting starts a hub and kills it wherever it is, between the start of
// its process and the first batches.
func (c *crash) killStarting(t *testing.T) {
	t.Helper()
	c.change(func() { c.allow += 40 })
	h, err := c.site.launch()
	if err != nil {
		t.Fatal(err)
	}
	moment := time.After(time.Duration(draw(400)) * time.Millisecond)
	select {
	case <-h.ready:
		c.turnTo(h.grpc)
		<-moment
	case <-moment:
	}
	h.kill()
}

// draw returns a random number below n.
func draw(n int64) int {
	v, err := rand.Int(rand.Reader, big.NewInt(n))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(v.Int64())
}

func (c *crash) status(path string) int {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + c.hub.http + path)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func (c *crash) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatalf("not within 30 s: %s: %s", what, c.hub.lastWords())
		}
	}
}

// finish lets the stream end and checks what is left.
func (c *crash) finish(t *testing.T) {
	t.Helper()
	c.underLoad(t)
	c.change(func() { c.done = true })
	if <-c.streamed; c.result != nil {
		t.Fatalf("the stream ended: %v: %s", c.result, c.hub.lastWords())
	}
	t.Logf("%d batches over %d writers, %d of them stored before they were acknowledged", c.made, c.tables.Writers(t), c.again)
	c.checkTables(t)
	c.checkReadings(t)

	code, stdout, stderr := wattveil(t, "verify", "log", "--key", c.hub.vkey, "http://"+c.hub.http)
	if code != 0 || !strings.HasPrefix(stdout, "verified: ") {
		t.Errorf("verifying the ledger: exit code %d: %s%s", code, stdout, stderr)
	}
	if err := c.hub.stop(); err != nil {
		t.Error(err)
	}
}

// checkTables looks at the rows.
func (c *crash) checkTables(t *testing.T) {
	t.Helper()
	stored := c.tables.Batches(t)
	if len(stored) != c.made || len(c.acked) != c.made {
		t.Errorf("%d batches made, %d acknowledged, %d stored", c.made, len(c.acked), len(stored))
	}
	for id := range c.acked {
		want := storetest.Batch{Utility: testUtility, ID: id, Intervals: crashIntervals}
		if got := stored[testUtility+"/"+id]; got != want {
			t.Errorf("batch %s was acknowledged; stored is %+v", id, got)
		}
	}
	if n, want := c.tables.Slots(t), c.made*crashIntervals; n != want {
		t.Errorf("%d intervals in blocks, want %d", n, want)
	}
	if n := c.tables.Spooled(t, int(c.yesterday)); n != c.made {
		t.Errorf("%d contributions to yesterday, want %d", n, c.made)
	}
	if n := c.tables.Orphans(t); n > 0 {
		t.Errorf("%d rows that nobody can open", n)
	}
	for _, twice := range c.tables.NoncesUsedTwice(t) {
		t.Error(twice)
	}
}

// checkReadings reads everything back as the households do.
func (c *crash) checkReadings(t *testing.T) {
	t.Helper()
	want := map[string]map[int64]int64{}
	for n := range c.made {
		for _, s := range c.batch(n) {
			if want[s.GetUsagePoint()] == nil {
				want[s.GetUsagePoint()] = map[int64]int64{}
			}
			for i, v := range s.GetValues() {
				want[s.GetUsagePoint()][s.GetStart()+int64(i)*900] = v
			}
		}
	}
	for _, home := range c.homes {
		session, err := signIn(t.Context(), c.hub.http, c.codes[home])
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := readOwn(t.Context(), session, (c.yesterday - 100).Start(), c.yesterday.End())
		if err != nil {
			t.Fatalf("%s: %v: %s", home, err, c.hub.lastWords())
		}
		if !maps.Equal(got, want[home]) {
			t.Errorf("%s: %d readings came back that are not the %d sent", home, len(got), len(want[home]))
		}
	}
}
