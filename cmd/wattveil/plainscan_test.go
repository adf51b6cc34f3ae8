package main

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/pgtest"
	"github.com/wattveil/wattveil/server/store/plain"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// The promise of the whole house: no reading lies in plain on any disk of the
// hub, neither one that was stored nor one that was refused; not while its day is
// open, not when the day has been published, not after the hub has stopped. All
// files are searched: database, its log, keys, certificates, log lines at debug
// level.
//
// That the search is not blind is shown on the same kind of files: the same
// values in a plain table of the same engine are found.
func TestNothingInPlain(t *testing.T) {
	most := meter.CapValue(meter.DefaultCapWatts, 900)
	s := newScanner()
	accepted, refused := s.draw(96, 1000, most), s.draw(96, most+1, 1<<15-1)

	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		searchHub(t, dir, "sqlite:"+filepath.Join(dir, "hub.db"), s, accepted, refused)

		apart := t.TempDir()
		storetest.Plain(t, filepath.Join(apart, "plain.db"), accepted)
		if finds, _ := s.scan(t, apart); len(finds) != 1 {
			t.Errorf("in a plain table: %q", finds)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		if testing.Short() {
			t.Skip("SKIPPED in -short: searches a whole PostgreSQL cluster")
		}
		cluster := pgtest.Start(t, pgtest.Options{Durable: true})
		searchHub(t, t.TempDir(), cluster.Database(t), s, accepted, refused)

		url := cluster.Database(t)
		table, err := plain.Open(t.Context(), url, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		var household [16]byte
		_, _ = rand.Read(household[:]) // never fails
		if err := table.Load(t.Context(), []plain.Series{{Household: household, UsagePoint: "home-1", Start: 1700000100, Length: 900, Values: accepted}}); err != nil {
			t.Fatal(err)
		}
		if finds, _ := s.scan(t, storetest.Open(t, url).Folder(t)); len(finds) == 0 {
			t.Error("a plain table was not found")
		}
	})
}

// searchHub runs a hub in dir on a store, lets a day of readings pass through
// it, and searches what is on disk at every stage.
func searchHub(t *testing.T, dir, store string, s *scanner, accepted, refused []int64) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "hub.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r, err := startRig(t.Context(), rigConfig{Dir: dir, Store: store, Start: demoStart, Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(r.stop)
	defer stop()
	tables := storetest.Open(t, store)
	search := func(when string) {
		t.Helper()
		folders := []string{dir}
		if f := tables.Folder(t); f != dir {
			folders = append(folders, f)
		}
		finds, size := s.scan(t, folders...)
		for _, f := range finds {
			t.Errorf("%s: %s", when, f)
		}
		// What is not secret is where it should be: the right files were searched.
		if n := mention(t, folders, "home-accepted"); n == 0 || size < 100_000 {
			t.Errorf("%s: searched %d bytes, which name the usage point in %d files", when, size, n)
		}
	}

	day := meter.DayOf(demoStart.Unix()) + 1
	r.clock.set(time.Unix(day.End()+600, 0))
	operator, err := r.dial("operator", "test")
	if err != nil {
		t.Fatal(err)
	}
	codes, err := settle(t.Context(), wattveilv1.NewRegistryServiceClient(operator), []string{"home-accepted", "home-refused"}, demoStart.Unix())
	if err != nil {
		t.Fatal(err)
	}
	send(t, r, day, accepted, refused)
	home, err := signIn(t.Context(), r.hub.HTTPAddr(), codes["home-accepted"])
	if err != nil {
		t.Fatal(err)
	}
	readBack := func() {
		t.Helper()
		want := map[int64]int64{}
		for i, v := range accepted {
			want[day.Start()+int64(i)*900] = v
		}
		if got, _, err := readOwn(t.Context(), home, day.Start(), day.End()); err != nil || !maps.Equal(got, want) {
			t.Fatalf("the household reads %d of its 96 readings: %v", len(got), err)
		}
	}
	readBack()
	if n := tables.Spooled(t, int(day)); n != 1 {
		t.Errorf("%d contributions wait for the day's end, want 1", n)
	}
	search("while the day is open")

	r.clock.set(time.Unix(day.End(), 0).Add(r.catalogue.Watermark + time.Hour))
	if err := r.hub.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	readBack()
	if n := tables.Spooled(t, int(day)); n != 0 {
		t.Errorf("%d contributions are left after the day's end", n)
	}
	search("after the day was published")

	stop()
	search("after the hub has stopped")
}

// send streams a day of readings of two homes: one whose values are accepted,
// one whose values are all more than a connection can carry.
func send(t *testing.T, r *rig, day meter.Day, accepted, refused []int64) {
	t.Helper()
	conn, err := r.dial("utility", testUtility)
	if err != nil {
		t.Fatal(err)
	}
	answers := 0
	s := &submitter{client: wattveilv1.NewMeterServiceClient(conn), prefix: "plain", window: 1, answered: func(a *wattveilv1.SubmitResponse) {
		answers++
		if a.GetAccepted() != 96 || len(a.GetRefusals()) != 96 || a.GetRefusals()[0].GetReason() != string(meter.AboveCap) {
			t.Errorf("accepted %d, refused %d", a.GetAccepted(), len(a.GetRefusals()))
		}
	}}
	err = s.run(t.Context(), pull(func(yield func(meter.Series) error) error {
		for home, values := range map[meter.UsagePoint][]int64{"home-accepted": accepted, "home-refused": refused} {
			if err := yield(meter.Series{UsagePoint: home, Register: meter.ActiveImport, Start: day.Start(), Length: 900, Values: values}); err != nil {
				return err
			}
		}
		return nil
	}, func(int) {}))
	if err != nil || answers != 1 {
		t.Fatalf("sending: %v, %d answers", err, answers)
	}
}

// mention counts the files that hold a text.
func mention(t *testing.T, folders []string, text string) (n int) {
	t.Helper()
	eachFile(t, folders, func(_ string, b []byte) {
		if bytes.Contains(b, []byte(text)) {
			n++
		}
	})
	return n
}
