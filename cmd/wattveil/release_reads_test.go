package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

const manyReaders = 500

// While days close, and weeks end, five hundred ask for what is published, all at once
// and again and again: whoever asks for a release is told the same, to the byte, and what
// is listed is there. It would catch a release that is shown before it is committed, one
// that is made twice, and an answer that depends on who asks or when.
func TestManyReadReleasesWhileDaysClose(t *testing.T) {
	for engine, store := range map[string]func(t *testing.T) string{
		"sqlite":   func(*testing.T) string { return "" },
		"postgres": func(t *testing.T) string { return pgtest.Start(t, pgtest.Options{}).Database(t) },
	} {
		t.Run(engine, func(t *testing.T) { manyRead(t, store(t)) })
	}
}

func manyRead(t *testing.T, store string) {
	t.Helper()
	a := newAuditedOn(t, store, nil)
	day := a.rig.clock.Now()
	w := &readers{
		t: t, url: "http://" + a.rig.hub.HTTPAddr(), stop: make(chan struct{}), seen: map[string][]byte{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: manyReaders}, Timeout: time.Minute},
	}
	defer w.client.CloseIdleConnections()
	before, err := w.list()
	if err != nil || len(before) == 0 {
		t.Fatalf("%d releases, %v", len(before), err)
	}
	var all sync.WaitGroup
	for n := range manyReaders {
		all.Go(func() { w.read(n) })
	}
	for range 14 { // two Sundays among them
		day = day.AddDate(0, 0, 1)
		a.rig.clock.set(day)
		if err := a.rig.hub.Tend(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(w.stop)
	all.Wait()
	after, err := w.list()
	if err != nil || len(after) < len(before)+14+2 {
		t.Errorf("%d releases, %d before, %v", len(after), len(before), err)
	}
	for _, info := range after {
		w.ask(info.GetId())
	}
	t.Logf("%d answers of %d releases, %d of them new", w.answers, len(w.seen), len(after)-len(before))
}

// readers share what they were told.
type readers struct {
	t      *testing.T
	url    string
	client *http.Client
	stop   chan struct{}

	mu      sync.Mutex
	seen    map[string][]byte
	answers int
}

// read lists releases and asks for one of them, until the test stops it; at least once.
// All ask for the newest, which is the one that may still change if any does; every
// second one also for an older one.
func (w *readers) read(n int) {
	for {
		infos, err := w.list()
		if err != nil || len(infos) == 0 {
			w.t.Errorf("reader %d: %d releases, %v", n, len(infos), err)
			return
		}
		w.ask(infos[0].GetId())
		if n%2 == 0 {
			w.ask(infos[n%len(infos)].GetId())
		}
		select {
		case <-w.stop:
			return
		default:
		}
	}
}

// ask fetches a release and compares it with what others were told.
func (w *readers) ask(id string) {
	b, err := w.get("/v1/releases/" + id)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers++
	switch first, known := w.seen[id]; {
	case err != nil:
		w.t.Errorf("%s is listed, and not there: %v", id, err)
	case !known:
		w.seen[id] = b
	case !bytes.Equal(first, b):
		w.t.Errorf("%s has two texts", id)
	}
}

func (w *readers) list() ([]*wattveilv1.ReleaseInfo, error) {
	var page wattveilv1.ListReleasesResponse
	b, err := w.get("/v1/releases?page_size=500")
	if err == nil {
		err = protojson.Unmarshal(b, &page)
	}
	return page.GetReleases(), err
}

func (w *readers) get(path string) ([]byte, error) {
	resp, err := w.client.Get(w.url + path)
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
