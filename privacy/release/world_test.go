package release_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// today is a Monday in 2018, as far as the worlds of these tests know.
const today = meter.Day(17_840) // 2018-11-05

const origin = "release.example/log"

// world is a hub without its edge: a store, a key service, a log, a writer that
// seals contributions as ingest does, and an engine whose clock the test moves.
type world struct {
	store  *releasetest.Memory
	keys   *releasetest.Keys
	log    *ledgertest.Log[*releasetest.Tx]
	engine *release.Engine[*releasetest.Tx]
	writer *seal.Writer
	plan   release.Catalogue
	signer ed25519.PrivateKey
	now    atomic.Int64 // unix seconds
	logged output
}

// output is a log that may be written to by several goroutines.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// newWorld makes a world at noon of today, with grid and an empty schedule.
func newWorld(t testing.TB, plan release.Catalogue) *world { return newWorldOf(t, plan, grid) }

func newWorldOf(t testing.TB, plan release.Catalogue, tree []release.Node) *world {
	t.Helper()
	roomy := plan // tests run into caps that Validate would not let come near
	roomy.YearlyCap, roomy.DailyCap = 1<<62, 1<<62
	if err := roomy.Validate(); err != nil {
		t.Fatal(err)
	}
	seed := sha256.Sum256([]byte("release_test"))
	w := &world{store: releasetest.NewMemory(origin), keys: releasetest.NewKeys(), plan: plan, signer: ed25519.NewKeyFromSeed(seed[:])}
	w.now.Store(today.Start() + 12*3600)
	var err error
	if w.writer, err = seal.NewWriter(rand.Reader, w.clock); err != nil {
		t.Fatal(err)
	}
	w.store.AddWriter(w.writer.ID(), w.writer.PublicKey())
	w.store.AddNodes(tree...)
	w.restart(t)
	return w
}

// grid is one region of two substations with two feeders each; nobody is
// registered at feeder-4.
var grid = []release.Node{
	{ID: "region", Kind: "region"},
	{ID: "sub-1", Parent: "region", Level: 1, Kind: "substation"},
	{ID: "sub-2", Parent: "region", Level: 1, Kind: "substation"},
	{ID: "feeder-1", Parent: "sub-1", Level: 2, Kind: "feeder"},
	{ID: "feeder-2", Parent: "sub-1", Level: 2, Kind: "feeder"},
	{ID: "feeder-3", Parent: "sub-2", Level: 2, Kind: "feeder"},
	{ID: "feeder-4", Parent: "sub-2", Level: 2, Kind: "feeder"},
}

func (w *world) clock() time.Time { return time.Unix(w.now.Load(), 0).UTC() }

// restart replaces engine and sequencer, as after a crash: nothing in memory is
// left.
func (w *world) restart(t testing.TB) {
	t.Helper()
	w.log = ledgertest.Start(t, w.store)
	// A leaf of its own: the sequencer has started when it is there.
	_, err := w.log.Propose(t.Context(), rand.Text(), func(context.Context, *releasetest.Tx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: "start"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.engine = w.another()
}

// another returns a further engine over the same store, as of another process.
func (w *world) another() *release.Engine[*releasetest.Tx] {
	return release.NewEngine(release.Config[*releasetest.Tx]{
		Store: w.store, Ledger: w.log, Keys: w.keys, Signer: w.signer, Catalogue: w.plan, Origin: origin,
		Now: w.clock, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(&w.logged, nil)),
	})
}

// home registers usage points at a feeder, and a household that has always lived
// at them.
func (w *world) home(h consent.Household, feeder string, points ...meter.UsagePoint) {
	for _, p := range points {
		w.store.AddPoint(p, release.Place{Node: feeder})
		w.store.Occupy(consent.Occupancy{UsagePoint: p, Household: h, From: -1 << 40})
	}
}

// open opens the window of a day.
func (w *world) open(t testing.TB, day meter.Day) {
	t.Helper()
	if _, err := w.engine.Window(t.Context(), day); err != nil {
		t.Fatalf("opening %s: %v", day, err)
	}
}

// send puts one batch's contributions into the window of a day, as ingest does.
func (w *world) send(t testing.TB, day meter.Day, contributions ...seal.Contribution) {
	t.Helper()
	w.store1(t, day, w.writer.Begin(), contributions...)
}

// store1 is send for a batch that was begun, and so accepted, before.
func (w *world) store1(t testing.TB, day meter.Day, batch seal.Batch, contributions ...seal.Contribution) {
	t.Helper()
	key, err := w.engine.Window(t.Context(), day)
	if err != nil {
		t.Fatalf("window of %s: %v", day, err)
	}
	record, err := batch.Spool(day, key, contributions)
	if err != nil {
		t.Fatal(err)
	}
	wrap, _, err := batch.Writer().SpoolKey(day, key)
	if err != nil {
		t.Fatal(err)
	}
	if !w.store.AddSpool([]seal.SpoolKeyWrap{wrap}, record) {
		t.Fatalf("window of %s took no contribution", day)
	}
}

// due moves the clock to where the day is due.
func (w *world) due(day meter.Day) {
	w.now.Store(day.End() + int64(w.plan.Watermark/time.Second))
}

// close closes what is due; want are the days that must close, without an error.
func (w *world) close(t testing.TB, want ...meter.Day) {
	t.Helper()
	closed, err := w.engine.CloseDue(t.Context())
	if err != nil {
		t.Fatalf("closing: %v", err)
	}
	if len(closed) != len(want) {
		t.Fatalf("closed %v, want %v", closed, want)
	}
	for i := range want {
		if closed[i] != want[i] {
			t.Fatalf("closed %v, want %v", closed, want)
		}
	}
}

// body returns a day's release, after checking its signature and its leaf as a
// stranger would.
func (w *world) body(t testing.TB, day meter.Day) release.Body {
	t.Helper()
	p, ok := w.store.Published(id(day))
	if !ok {
		t.Fatalf("%s is not published", day)
	}
	body, err := release.Verify(w.signer.Public().(ed25519.PublicKey), p.Body, p.Signature)
	if err != nil {
		t.Fatalf("release of %s: %v", day, err)
	}
	entry, err := w.store.ReadEntry(t.Context(), p.LeafIndex)
	if err != nil {
		t.Fatalf("leaf of %s: %v", day, err)
	}
	leaf, err := ledger.DecodePayload(entry.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Kind != ledger.KindRelease || leaf.Digest != sha256.Sum256(p.Body) || leaf.Day != int32(day) ||
		leaf.RhoNano != body.Guarantee.RhoNano || int(leaf.Nodes) != len(body.Nodes) || leaf.Product != product || leaf.Subject != "" {
		t.Errorf("the leaf of %s says something else than its release", day)
	}
	return body
}

// settled fails unless the day is closed for good: no spool, no key.
func (w *world) settled(t testing.TB, day meter.Day) {
	t.Helper()
	ctx := t.Context()
	window, err := w.store.Window(ctx, day)
	if err != nil || window.State != release.WindowClosed || len(window.WrappedPrivate) != 0 {
		t.Errorf("window of %s: state %d, %d bytes of wrapped key, %v", day, window.State, len(window.WrappedPrivate), err)
	}
	if !w.keys.Destroyed(release.KeyName(day)) {
		t.Errorf("the key of %s is still there", day)
	}
	wraps, err := w.store.SpoolKeys(ctx, day)
	if err != nil || len(wraps) != 0 {
		t.Errorf("%d spool keys of %s are left, %v", len(wraps), day, err)
	}
	records := 0
	if err := w.store.SpoolRecords(ctx, day, func(seal.SpoolRecord) error { records++; return nil }); err != nil || records != 0 {
		t.Errorf("%d spool records of %s are left, %v", records, day, err)
	}
}

// quarters is a household's day in 15-minute values, from a slot of the day on.
func quarters(h consent.Household, p meter.UsagePoint, day meter.Day, from int, values ...int64) seal.Contribution {
	return seal.Contribution{Household: h, CapWatts: meter.DefaultCapWatts, Series: meter.Series{
		UsagePoint: p, Register: meter.ActiveImport, Start: day.Start() + int64(from)*900, Length: 900, Values: values,
	}}
}

// halves is quarters for half-hours.
func halves(h consent.Household, p meter.UsagePoint, day meter.Day, from int, values ...int64) seal.Contribution {
	c := quarters(h, p, day, 0, values...)
	c.Series.Start, c.Series.Length = day.Start()+int64(from)*1800, 1800
	return c
}

// revised is a contribution of another revision.
func revised(c seal.Contribution, revision uint32) seal.Contribution {
	c.Series.Revision = revision
	return c
}

// repeated is n times v.
func repeated(v int64, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// product is the one that most worlds of these tests publish.
const product = "day-curve"

func id(day meter.Day) string { return product + "/" + day.String() }

// plain publishes day curves alone.
func plain() release.Catalogue {
	c := release.DefaultCatalogue()
	c.DailyCap = c.YearlyCap
	c.Products = []release.Product{{
		Name: product, Kind: release.Curve, Register: meter.ActiveImport, Span: release.Day, Days: release.AllDays, IntervalSeconds: 1800,
		Levels: []release.LevelPlan{
			{Kind: "region", Rho: 12_000_000, ClipWh: 12_000},
			{Kind: "substation", Rho: 4_000_000, ClipWh: 8_000},
			{Kind: "feeder", Rho: 2_000_000, ClipWh: 3_500},
		},
	}}
	return c
}

// wide is plain with bounds that clip nothing a test sends.
func wide() release.Catalogue {
	p := plain()
	for i := range p.Products[0].Levels {
		p.Products[0].Levels[i].ClipWh = 1 << 30
	}
	return p
}

// days returns the days from first to last.
func days(first, last meter.Day) []meter.Day {
	var out []meter.Day
	for d := first; d <= last; d++ {
		out = append(out, d)
	}
	return out
}

// spent is what a calendar year has been charged.
func (w *world) spent(year int) dp.Rho {
	spent, _, err := w.store.Spent(context.Background(), year, today)
	if err != nil {
		panic(err) // nobody orders it to fail here
	}
	return spent
}

// years are those that reservations have charged.
func (w *world) years() []int {
	var out []int
	for _, r := range w.store.Reservations() {
		for _, d := range r.Days {
			out = append(out, time.Unix(d.Start(), 0).UTC().Year())
		}
	}
	return slices.Compact(out)
}
