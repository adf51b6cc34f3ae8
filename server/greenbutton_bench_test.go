package server

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// BenchmarkFeed reads 13 months of quarter-hours of one usage point, 38,000 readings,
// through the whole gate: as a Green Button feed, and as ReadSeries over gRPC, which has
// the same gate and no XML. What the feed takes after the gate is the difference.
func BenchmarkFeed(b *testing.B) {
	const days = 396
	w := newTown(b, onSQLite(b))
	first := yesterday.AddDate(0, 0, -days+1)
	family := w.moveIn(first, empty)
	for d := range days {
		at := first.AddDate(0, 0, d)
		w.send(w.utility, batch("b-"+at.Format("2006-01-02"), day(empty, at, int64(d))))
	}
	h, _ := w.signIn(family)
	p := w.thirdParty("green", func(c *wattveilv1.Client) { c.Purpose.Code = "advice" })
	p.Scopes = []string{"FB=4_5_15;IntervalDuration=900;HistoryLength=34214400;SubscriptionFrequency=daily"}
	token, id := p.authorized(h)
	from, until := first.Unix(), yesterday.AddDate(0, 0, 1).Unix()
	query := "?published-min=" + first.Format(time.RFC3339) + "&published-max=" + yesterday.AddDate(0, 0, 1).Format(time.RFC3339)
	if n := len(w.get(token.AccessToken, "/espi/1_1/resource/Batch/Subscription/"+id+query).values(b)); n != 96*days {
		b.Fatalf("the feed has %d readings, want %d", n, 96*days)
	}
	as := w.bearing(token.AccessToken)
	b.Run("espi", func(b *testing.B) {
		for b.Loop() {
			w.clock.add(time.Second) // calls are counted by the minute
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+w.hub.HTTPAddr()+"/espi/1_1/resource/Batch/Subscription/"+id+query, nil)
			ok(b, err)
			req.Header.Set("Authorization", "Bearer "+token.AccessToken)
			resp, err := http.DefaultClient.Do(req)
			ok(b, err)
			n, err := io.Copy(io.Discard, resp.Body)
			ok(b, err)
			if resp.StatusCode != http.StatusOK || n < 1<<20 {
				b.Fatalf("%d, %d bytes", resp.StatusCode, n)
			}
			_ = resp.Body.Close()
		}
	})
	b.Run("grpc", func(b *testing.B) {
		n := 0
		for b.Loop() {
			w.clock.add(time.Second)
			n++
			got, err := as.ReadSeries(b.Context(), reading("b-"+string(bytes.Repeat([]byte("x"), n%40+1))+time.Now().Format("150405.000000"), id, func(r *wattveilv1.ReadSeriesRequest) {
				r.UsagePoints, r.Registers, r.From, r.Until, r.Purpose = nil, nil, from, until, "advice"
			}))
			ok(b, err)
			if len(got.GetSeries()) == 0 {
				b.Fatal("nothing was read")
			}
		}
	})
}
