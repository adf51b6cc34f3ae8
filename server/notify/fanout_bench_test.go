package notify_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

var (
	urls       = flag.Int("urls", 10_000, "receivers of BenchmarkFanOut")
	onPostgres = flag.Bool("postgres", false, "BenchmarkFanOut keeps its outbox in PostgreSQL")
)

// BenchmarkFanOut tells one thing to each of 10,000 URLs, of which a tenth takes two seconds
// to answer and a tenth is dead: it accepts connections and never says a word. Beside it the
// same is told to the others alone. What it reports is how long those who are well waited
// from the start of a round until they were told, in milliseconds: half of them, all but a
// hundredth, and all. The first round is told apart: nobody knows yet who is dead.
//
//	go test ./server/notify -run '^$' -bench FanOut -benchtime 3x
func BenchmarkFanOut(b *testing.B) {
	alone, beside := newFanOut(b, false), newFanOut(b, true)
	var plain, first, known []time.Duration
	for i := 0; b.Loop(); i++ {
		plain = append(plain, alone.round(i)...)
		if i == 0 {
			first = beside.round(i)
			continue
		}
		known = append(known, beside.round(i)...)
	}
	b.ReportMetric(0, "ns/op") // a round ends when the last dead one is given up on
	for name, waits := range map[string][]time.Duration{"alone": plain, "first": first, "beside": known} {
		slices.Sort(waits)
		if n := len(waits); n > 0 {
			for at, i := range map[string]int{"p50": n / 2, "p99": n * 99 / 100, "max": n - 1} {
				b.ReportMetric(float64(waits[i].Microseconds())/1000, name+"-"+at+"-ms")
			}
		}
	}
}

// fanOut is a hub with many third parties.
type fanOut struct {
	*hub
	d     *notify.Deliverer
	names []string

	mu    sync.Mutex
	began time.Time
	waits []time.Duration
}

func newFanOut(b *testing.B, bad bool) *fanOut {
	b.Helper()
	at := onSQLite(b)
	if *onPostgres {
		at = pgtest.Database(b)
	}
	f := &fanOut{hub: newHub(b, at)}
	well := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.waits = append(f.waits, time.Since(f.began))
	}))
	slow := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(2 * time.Second) }))
	b.Cleanup(func() { well.Close(); slow.Close() })
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	ok(b, err)
	b.Cleanup(func() { dead.Close() })
	go func() {
		for {
			if _, err := dead.Accept(); err != nil { // and nothing else
				return
			}
		}
	}()
	for i := range *urls {
		url := well.URL
		switch i % 10 {
		case 3:
			url = slow.URL
		case 7:
			url = "https://" + dead.Addr().String()
		}
		if url != well.URL && !bad {
			continue
		}
		name := fmt.Sprint("p", i)
		f.names = append(f.names, name)
		f.put(name, url+"/"+name, notify.Webhook)
	}
	f.d = f.process(func(c *notify.Config, _ *notify.Guard) { c.Patience = 0 })
	return f
}

// round tells everybody something and returns how long those who are well waited.
func (f *fanOut) round(i int) []time.Duration {
	f.t.Helper()
	f.now.Add(3600) // who failed is due again
	for _, name := range f.names {
		f.change(name, []consent.State{consent.Granted, consent.Suspended}[i%2], "of-"+name)
	}
	f.mu.Lock()
	f.began, f.waits = time.Now(), nil
	f.mu.Unlock()
	if err := f.d.DeliverDue(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := *urls / 10 * 8; len(f.waits) != want {
		f.t.Fatalf("%d of %d were told", len(f.waits), want)
	}
	return f.waits
}
