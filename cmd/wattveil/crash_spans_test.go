package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// A hub is killed (kill -9) at random moments while it closes the days of a month, its
// weeks and what comes before and after, and while readings arrive and everybody reads
// what is published. In the end there is every release that there was budget for, once,
// and as it was first seen; no account is above its cap; every charge is on record, and
// the regulator's audit finds nothing.
//
// With the default catalogue, a release whose noise was paid for and lost may be beyond
// the cap of a day: it is given up, and the hub has said so. The loud catalogue is the
// same at a thousand million times the budget, so that nothing is given up and noise
// hides nothing: there, the month's sums are those of what was sent.
//
// It would catch a running sum lost, or added twice, between two days; a release made
// anew with other noise; noise that was not paid for; a charge without its record.
func TestSpansKilled(t *testing.T) {
	for engine, store := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "hub.db") },
		"postgres": func(t *testing.T) string { return pgtest.Start(t, pgtest.Options{Durable: true}).Database(t) },
	} {
		for _, loud := range []bool{false, true} {
			t.Run(map[bool]string{false: "", true: "loud-"}[loud]+engine, func(t *testing.T) {
				c := newSpanCrash(t, store(t), loud)
				for day := spanFirst; day <= spanLast; day++ {
					c.live(t, day)
				}
				c.turn(t, spanLast.End()+int64((c.plan.Watermark+time.Hour)/time.Second), true)
				c.finish(t)
			})
		}
	}
}

// February 2026 begins on a Sunday and ends on a Saturday, a day before the week does.
var (
	spanFirst = mustDay("2026-01-31")
	spanLast  = mustDay("2026-03-02")
)

func mustDay(text string) meter.Day {
	d, err := meter.ParseDay(text)
	if err != nil {
		panic(err) // written above
	}
	return d
}

// loudness is what the loud catalogue spends more.
const loudness = 1_000_000_000

func loudCatalogue() release.Catalogue {
	c := release.DefaultCatalogue()
	c.YearlyCap, c.DailyCap = math.MaxInt64, math.MaxInt64
	for i := range c.Products {
		p := &c.Products[i]
		p.Basis = nil // raw integers are sums of Wh
		for l := range p.Levels {
			p.Levels[l].Rho *= loudness
			if p.Kind == release.Curve {
				p.Levels[l].ClipWh, p.Levels[l].Bias = 3000, nil // 12 Wh of noise at the feeder
			}
		}
	}
	return c
}

// spanCrash is a clocked hub on its site, a utility that sends to whatever hub is up,
// and readers of what is published.
type spanCrash struct {
	site  *site
	hub   *clockedProcess
	plan  release.Catalogue
	loud  bool
	homes []string
	keys  []ledger.EnvelopePrivateKey // the regulator's

	now   time.Time
	took  time.Duration // the last closing that came to its end
	kills int

	utility *grpc.ClientConn
	readers sync.WaitGroup
	stop    chan struct{}

	mu         sync.Mutex
	grpc, http string
	seen       map[string][]byte // releases as they were first answered
	changed    []string          // that were answered otherwise later
}

const spanHomes = 8

func newSpanCrash(t *testing.T, store string, loud bool) *spanCrash {
	t.Helper()
	s, err := newSite(t.Context(), t.TempDir(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := &spanCrash{
		site: s, loud: loud, plan: release.DefaultCatalogue(), now: time.Unix(spanFirst.Start(), 0), took: 50 * time.Millisecond,
		stop: make(chan struct{}), seen: map[string][]byte{},
	}
	if loud {
		c.plan = loudCatalogue()
		text, err := yaml.Marshal(c.plan)
		if err != nil {
			t.Fatal(err)
		}
		write(t, s.path("catalogue.yaml"), string(text))
		config, err := os.ReadFile(s.path("hub.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, s.path("hub.yaml"), string(config)+"catalogue: catalogue.yaml\n")
	}
	c.start(t)
	for i := range spanHomes {
		c.homes = append(c.homes, fmt.Sprintf("home-%02d", i))
	}
	if _, err := s.register(t.Context(), c.hub.hubProcess, c.homes, (spanFirst - 10).Start()); err != nil {
		t.Fatal(err)
	}
	c.postKeys(t)
	c.utility = c.client(t, "utility", testUtility)
	for range 4 {
		c.readers.Go(c.read)
	}
	t.Cleanup(c.end)
	return c
}

// start starts a hub at the time that it is.
func (c *spanCrash) start(t *testing.T) {
	t.Helper()
	c.hub = c.site.startClocked(t, c.now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grpc, c.http = c.hub.grpc, c.hub.http
}

// client connects a caller to whatever hub is up.
func (c *spanCrash) client(t *testing.T, kind, id string) *grpc.ClientConn {
	t.Helper()
	return c.site.follow(t, kind, id, func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.grpc
	})
}

// postKeys posts the regulator's keys for the whole time.
func (c *spanCrash) postKeys(t *testing.T) {
	t.Helper()
	audit := wattveilv1.NewAuditServiceClient(c.client(t, "regulator", "authority"))
	for from := c.now; from.Unix() < spanLast.End()+7*86400; from = from.AddDate(0, 0, 30) {
		key, err := ledger.NewEnvelopePrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.keys = append(c.keys, key)
		_, err = audit.PutEnvelopeKey(t.Context(), &wattveilv1.PutEnvelopeKeyRequest{
			RequestId: fmt.Sprint("key-", from.Unix()), PublicKey: key.Public(), From: from.Unix(), Until: from.AddDate(0, 0, 30).Unix(),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// steady is what a home takes in a quarter hour: never so little that a day of one home
// would be lost in the loud catalogue's noise, never so much that it is clipped.
func steady(home string, at int64) int64 { return 100 + load(home, at)%150 }

// live lets a day go by: it is sent just after it has ended, and meanwhile the hub
// closes the day whose time has come, and is killed at it.
func (c *spanCrash) live(t *testing.T, day meter.Day) {
	t.Helper()
	var sent sync.WaitGroup
	defer sent.Wait()
	c.now = time.Unix(day.End()+600, 0)
	closes := day - 2
	// A week ends on Sunday, the month's weekdays on the 27th, and its weekends with it.
	ends := time.Unix(closes.Start(), 0).UTC().Weekday() == time.Sunday || closes == mustDay("2026-02-27") || closes == mustDay("2026-02-28")
	if err := c.hub.turn(c.now); err != nil {
		t.Fatal(err)
	}
	sent.Go(func() {
		if err := c.send(t, day); err != nil {
			t.Errorf("sending %s: %v: %s", day, err, c.hub.lastWords())
		}
	})
	c.await(t, ends)
}

// send sends a day of every home, a batch each.
func (c *spanCrash) send(t *testing.T, day meter.Day) error {
	left := slices.Clone(c.homes)
	s := &submitter{
		client: wattveilv1.NewMeterServiceClient(c.utility), prefix: day.String(), window: 4, patience: 30 * time.Second,
		answered: func(r *wattveilv1.SubmitResponse) {
			if r.GetErrorReason() != "" || len(r.GetRefusals()) > 0 {
				t.Errorf("%s: batch %s: %q, %d readings refused", day, r.GetBatchId(), r.GetErrorReason(), len(r.GetRefusals()))
			}
		},
	}
	return s.run(t.Context(), func(context.Context) ([]*wattveilv1.Series, error) {
		if len(left) == 0 {
			return nil, io.EOF
		}
		home := left[0]
		left = left[1:]
		series := loads(home, day.Start(), 96)
		for i := range series.GetValues() {
			series.Values[i] = steady(home, day.Start()+int64(i)*900)
		}
		return []*wattveilv1.Series{series}, nil
	})
}

// turn sets the clock and sees the closing through.
func (c *spanCrash) turn(t *testing.T, to int64, ends bool) {
	t.Helper()
	c.now = time.Unix(to, 0)
	if err := c.hub.turn(c.now); err != nil {
		t.Fatal(err)
	}
	c.await(t, ends)
}

// await returns when the hub has done what the time brings. Until then it is killed at
// moments drawn at random, more often where a week or the month ends.
func (c *spanCrash) await(t *testing.T, ends bool) {
	t.Helper()
	left := 1
	if ends {
		left = kills()
	}
	if testing.Short() && !ends {
		left = 0
	}
	for began := time.Now(); ; {
		var moment <-chan time.Time
		if left > 0 {
			moment = time.After(time.Duration(draw(int64(c.took * 3 / 2))))
		}
		select {
		case said := <-c.hub.tended:
			if said != "" {
				t.Fatalf("tending: %s: %s", said, c.hub.lastWords())
			}
			if left == 0 {
				c.took = time.Since(began)
			}
			return
		case <-moment:
			left--
			c.kills++
			c.hub.kill()
			c.start(t)
			began = time.Now()
			if err := c.hub.turn(c.now); err != nil {
				t.Fatal(err)
			}
		case <-c.hub.ended:
			t.Fatalf("the hub ended: %v: %s", c.hub.result, c.hub.lastWords())
		case <-time.After(time.Minute):
			t.Fatalf("a day does not close within a minute: %s", c.hub.lastWords())
		}
	}
}

// read asks for everything that is published, again and again, and keeps what it is
// told.
func (c *spanCrash) read() {
	for {
		select {
		case <-c.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		infos, err := c.list()
		if err != nil {
			continue // killed
		}
		for _, info := range infos {
			if b, err := c.fetch("/v1/releases/" + info.GetId()); err == nil {
				c.see(info.GetId(), b)
			}
		}
	}
}

// see compares an answer with the first.
func (c *spanCrash) see(id string, answer []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, known := c.seen[id]; !known {
		c.seen[id] = answer
	} else if !bytes.Equal(first, answer) {
		c.changed = append(c.changed, id)
	}
}

func (c *spanCrash) fetch(path string) ([]byte, error) {
	c.mu.Lock()
	url := "http://" + c.http + path
	c.mu.Unlock()
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return b, err
}

func (c *spanCrash) list() ([]*wattveilv1.ReleaseInfo, error) {
	var page wattveilv1.ListReleasesResponse
	b, err := c.fetch("/v1/releases?page_size=500")
	if err == nil {
		err = protojson.Unmarshal(b, &page)
	}
	return page.GetReleases(), err
}

func (c *spanCrash) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.readers.Wait()
}
