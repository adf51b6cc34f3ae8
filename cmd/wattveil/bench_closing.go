package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/population"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/plain"
)

// closingReport is how long a hub takes to close a day, beside adding up the same day
// unsealed.
type closingReport struct {
	Households int       `json:"households"`
	Nodes      int       `json:"nodes"`
	Levels     int       `json:"levels"`
	Wattveil   closing   `json:"wattveil"`
	Plain      closing   `json:"plain"`
	Ratio      float64   `json:"ratio_seconds"`
	Rounds     []float64 `json:"rounds_seconds"`
	PlainEach  []float64 `json:"plain_rounds_seconds"`
	// PerHousehold is how much heap a household more costs, by a closing of a quarter of
	// them: the register's entry for it.
	PerHousehold float64  `json:"heap_bytes_per_household"`
	Settings     []string `json:"settings"`
}

type closing struct {
	Seconds float64 `json:"seconds"`
	Heap    uint64  `json:"heap_bytes"` // the most beyond what lay there before
}

// The closing that is measured: four levels as large towns have them.
const (
	closingBatch   = 500    // households in a batch, as a head-end system sends them
	closingFeeder  = 100    // households below a node
	closingStation = 1000   // "
	closingArea    = 10_000 // "
	closingShapes  = 10_000 // different households' days, which the others repeat
)

// benchClosing measures how long a day takes to close.
type benchClosing struct {
	households, rounds int
	dir, profile       string
}

func benchClosingCommand() *cobra.Command {
	b := &benchClosing{}
	cmd := &cobra.Command{
		Use:   "closing",
		Short: "How long a day of many households takes to close",
		Long: "Close a day of households with 48 half-hours each over a tree of four levels, from the watermark to the destroyed key:\n" +
			"register read, spool opened twice, budget charged, noise drawn, days clipped, summed, estimated, signed and recorded, on\n" +
			"SQLite as durable as in production. Beside it the same day from a plain table, added up to the same four levels without\n" +
			"clip, noise or record. What is published is compared with what was sent. Takes some gigabytes in --dir.",
		Example: "  wattveil bench closing --households 1000000 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.households < 4*closingArea || b.households > 4_000_000 || b.households%closingArea != 0 || b.rounds < 1 || b.rounds > 100 {
				return fmt.Errorf("--households must be a multiple of %d from %d to 4000000, --rounds from 1 to 100", closingArea, 4*closingArea)
			}
			report, err := b.run(cmd.Context(), func(format string, a ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", a...) })
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, report)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d households, %d nodes on %d levels: closed in %.2f s, plain %.2f s (%.1f times); %d MB of heap, %.0f bytes a household\n",
				report.Households, report.Nodes, report.Levels, report.Wattveil.Seconds, report.Plain.Seconds, report.Ratio, report.Wattveil.Heap>>20, report.PerHousehold)
			return err
		},
	}
	cmd.Flags().IntVar(&b.households, "households", 1_000_000, "how many contribute")
	cmd.Flags().IntVar(&b.rounds, "rounds", 3, "days that are closed, each by a hub of its own")
	cmd.Flags().StringVar(&b.dir, "dir", "", "directory for the databases (default: a temporary one)")
	cmd.Flags().StringVar(&b.profile, "cpuprofile", "", "write a processor profile of the last round's closing to this file")
	return cmd
}

func (b *benchClosing) run(ctx context.Context, say func(string, ...any)) (r closingReport, err error) {
	dir, err := os.MkdirTemp(b.dir, "wattveil-closing-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	quarter := b.households / 4 / closingArea * closingArea
	small, _, _, err := closeOnce(ctx, filepath.Join(dir, "quarter"), quarter, "", say)
	if err != nil {
		return r, err
	}
	r = closingReport{Households: b.households, Levels: 4, Settings: []string{
		fmt.Sprintf("%d households a batch, %d different days, SQLite with synchronous=FULL, one product on four levels", closingBatch, closingShapes),
		"plain: SQLite, a row of 48 packed numbers a household",
	}}
	var whole, plainly []closing
	for i := range b.rounds {
		profile := ""
		if i == b.rounds-1 {
			profile = b.profile
		}
		c, p, nodes, err := closeOnce(ctx, filepath.Join(dir, fmt.Sprint(i)), b.households, profile, say)
		if err != nil {
			return r, err
		}
		whole, plainly, r.Nodes = append(whole, c), append(plainly, p), nodes
		r.Rounds, r.PlainEach = append(r.Rounds, c.Seconds), append(r.PlainEach, p.Seconds)
	}
	byTime := func(a, b closing) int { return cmp.Compare(a.Seconds, b.Seconds) }
	slices.SortFunc(whole, byTime)
	slices.SortFunc(plainly, byTime)
	r.Wattveil, r.Plain = whole[len(whole)/2], plainly[len(plainly)/2]
	r.Ratio = r.Wattveil.Seconds / r.Plain.Seconds
	r.PerHousehold = (float64(r.Wattveil.Heap) - float64(small.Heap)) / float64(b.households-quarter)
	return r, nil
}

// closeOnce fills a hub and a plain table with one day, and closes and adds it up.
func closeOnce(ctx context.Context, dir string, households int, profile string, say func(string, ...any)) (hub, plain closing, nodes int, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := newClosingWorld(ctx, dir, households, say)
	if err != nil {
		return hub, plain, 0, err
	}
	defer w.close()
	w.now = w.day.End() + int64(w.catalogue.Watermark/time.Second)
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return hub, plain, 0, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return hub, plain, 0, err
		}
		defer pprof.StopCPUProfile()
	}
	hub, err = measured(func() error {
		closed, err := w.engine.CloseDue(ctx)
		if err == nil && len(closed) != 1 {
			err = fmt.Errorf("%d days closed", len(closed))
		}
		return err
	})
	pprof.StopCPUProfile() // harmless when there is none
	if err != nil {
		return hub, plain, 0, err
	}
	feeders := households / closingFeeder
	plain, err = measured(func() error {
		sums, err := w.plain.Sum(ctx, feeders, []int{feeders, closingArea / closingFeeder, closingStation / closingFeeder, 1})
		total := int64(0)
		for _, v := range sums[0] {
			total += v
		}
		if err == nil && total != w.total {
			err = fmt.Errorf("the plain table adds up to %d Wh of %d", total, w.total)
		}
		return err
	})
	if err != nil {
		return hub, plain, 0, err
	}
	nodes, err = w.check(ctx)
	say("%d households, %d nodes: closed in %.2f s with %d MB of heap, plain %.2f s", households, nodes, hub.Seconds, hub.Heap>>20, plain.Seconds)
	return hub, plain, nodes, err
}

// measured times what is done, and looks how much lies on the heap meanwhile.
func measured(do func() error) (closing, error) {
	runtime.GC()
	before := heap()
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		peak := heap()
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				peak = max(peak, heap())
			case <-stop:
				tick.Stop()
				most <- peak
				return
			}
		}
	}()
	began := time.Now()
	err := do()
	c := closing{Seconds: time.Since(began).Seconds()}
	close(stop)
	peak := <-most
	c.Heap = peak - min(peak, before)
	return c, err
}

func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// closingWorld is a hub's store with one day that waits to be closed.
type closingWorld struct {
	ledgerWorld
	plain     *plain.Days
	ring      *keys.Keyring
	engine    *release.Engine[*store.Tx]
	catalogue release.Catalogue
	day       meter.Day
	now       int64
	total     int64 // Wh of all households
}

func newClosingWorld(ctx context.Context, dir string, households int, say func(string, ...any)) (_ *closingWorld, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w := &closingWorld{day: meter.DayOf(time.Now().Unix()) - 2}
	w.mapping = func() {}
	w.mapped = make(chan error, 1)
	w.mapped <- nil
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.plain, err = plain.OpenDays(ctx, dir); err != nil {
		return nil, err
	}
	if w.store, err = store.Open(ctx, "sqlite:"+filepath.Join(dir, "hub.db"), store.Options{Migrate: true}); err != nil {
		return nil, err
	}
	if err := w.store.CreateLedger(ctx, benchOrigin); err != nil {
		return nil, err
	}
	if err := w.sequence(dir); err != nil {
		return nil, err
	}
	if w.ring, err = keys.OpenKeyring(filepath.Join(dir, "keys"), rand.Reader); err != nil {
		return nil, err
	}
	_, signer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	w.catalogue = closingCatalogue()
	if err := w.catalogue.Validate(); err != nil {
		return nil, err
	}
	w.now = w.day.End() + 43_200 // when the day before it is due: the schedule begins with this one
	w.engine = release.NewEngine(release.Config[*store.Tx]{
		Store: w.store, Ledger: w.seq, Keys: w.ring, Signer: signer, Catalogue: w.catalogue, Origin: benchOrigin,
		Now: func() time.Time { return time.Unix(w.now, 0) }, Rand: rand.Reader,
	})
	began := time.Now()
	if err := w.settle(ctx, households); err != nil {
		return nil, err
	}
	if err := w.spool(ctx, households); err != nil {
		return nil, err
	}
	say("%d households moved in and sent a day in %.0f s", households, time.Since(began).Seconds())
	return w, nil
}

// closingCatalogue is a day's curve on four levels.
func closingCatalogue() release.Catalogue {
	c := release.DefaultCatalogue()
	c.Products = c.Products[:1]
	c.Products[0].Levels = nil
	for _, l := range []struct {
		kind   string
		clipWh int64
	}{{"region", 12_000}, {"area", 10_000}, {"substation", 6_000}, {"feeder", 3_000}} {
		c.Products[0].Levels = append(c.Products[0].Levels, release.LevelPlan{Kind: l.kind, Rho: 100_000, ClipWh: l.clipWh})
	}
	return c
}

// settle registers a tree and its households. They share one public key: nothing is
// sealed to them here.
func (w *closingWorld) settle(ctx context.Context, households int) error {
	if err := w.store.PutUtilities(ctx, []store.Utility{{ID: "utility", Name: "Utility"}}); err != nil {
		return err
	}
	nodes := []store.GridNode{{ID: "region", Kind: "region"}}
	for _, l := range []struct {
		kind, above string
		size, of    int
	}{{"area", "region", closingArea, households + 1}, {"substation", "area", closingStation, closingArea}, {"feeder", "substation", closingFeeder, closingStation}} {
		for i := range (households + l.size - 1) / l.size {
			parent := l.above
			if parent != "region" {
				parent = fmt.Sprintf("%s-%d", l.above, i*l.size/l.of)
			}
			level := map[string]int{"area": 1, "substation": 2, "feeder": 3}[l.kind]
			nodes = append(nodes, store.GridNode{ID: fmt.Sprintf("%s-%d", l.kind, i), Parent: parent, Level: level, Kind: l.kind})
		}
	}
	if err := w.store.PutGridNodes(ctx, nodes); err != nil {
		return err
	}
	for first := 0; first < households; first += closingArea {
		var points []store.UsagePoint
		var homes []store.NewHousehold
		for i := first; i < min(first+closingArea, households); i++ {
			p := meter.UsagePoint(benchPoint(i))
			points = append(points, store.UsagePoint{ID: p, Utility: "utility", Node: fmt.Sprintf("feeder-%d", i/closingFeeder), CapWatts: 20_000, Zone: "Europe/Zurich"})
			h := store.NewHousehold{ID: benchHousehold(i), Generation: 1, PublicKey: make([]byte, 1216), WrappedPrivate: []byte{0}, UsagePoints: []meter.UsagePoint{p}, CreatedAt: 1}
			for _, b := range [][]byte{h.SubjectKey[:], h.CodeHash[:]} {
				if _, err := rand.Read(b); err != nil {
					return err
				}
			}
			homes = append(homes, h)
		}
		if err := w.store.PutUsagePoints(ctx, points); err != nil {
			return err
		}
		if err := w.store.CreateHouseholds(ctx, homes); err != nil {
			return err
		}
	}
	return nil
}

// spool lets every household contribute its day, batch by batch.
func (w *closingWorld) spool(ctx context.Context, households int) error {
	writer, err := seal.NewWriter(rand.Reader, func() time.Time { return time.Unix(w.now, 0) })
	if err != nil {
		return err
	}
	if err := w.store.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.PutWriter(ctx, writer.ID(), writer.PublicKey(), 1, 0)
	}); err != nil {
		return err
	}
	key, err := w.engine.Window(ctx, w.day)
	if err != nil {
		return err
	}
	people, err := population.Generate(population.Default(), [32]byte{1}, min(households, closingShapes))
	if err != nil {
		return err
	}
	var shapes [][]int64
	for _, wh := range people.Day(0).All() {
		shapes = append(shapes, slices.Clone(wh))
	}
	var plainly []plain.Day
	for first := 0; first < households; first += closingBatch {
		var contributions []seal.Contribution
		for i := first; i < min(first+closingBatch, households); i++ {
			values := append([]int64(nil), shapes[i%len(shapes)]...)
			for _, v := range values {
				w.total += v
			}
			plainly = append(plainly, plain.Day{Household: string(benchHousehold(i)), Feeder: uint32(i / closingFeeder), Wh: shapes[i%len(shapes)]})
			contributions = append(contributions, seal.Contribution{Household: benchHousehold(i), CapWatts: 20_000, Series: meter.Series{
				UsagePoint: meter.UsagePoint(benchPoint(i)), Register: meter.ActiveImport, Start: w.day.Start(), Length: 1800, Values: values,
			}})
		}
		record, err := writer.Begin().Spool(w.day, key, contributions)
		if err != nil {
			return err
		}
		wrap, known, err := writer.SpoolKey(w.day, key)
		if err != nil {
			return err
		}
		b := store.Batch{Utility: "utility", ID: fmt.Sprint("batch-", first), AcceptedAt: 1, Spool: []seal.SpoolRecord{record}}
		if !known {
			b.SpoolKeys = []seal.SpoolKeyWrap{wrap}
		}
		if _, err := w.store.CommitBatches(ctx, []store.Batch{b}); err != nil {
			return err
		}
		writer.CommittedSpool(w.day)
		if len(plainly) >= closingArea {
			if err := w.plain.Load(ctx, plainly); err != nil {
				return err
			}
			plainly = plainly[:0]
		}
	}
	return w.plain.Load(ctx, plainly)
}

// check looks whether what was published is what was sent, as far as the noise lets
// anybody see, and returns how many nodes it has.
func (w *closingWorld) check(ctx context.Context) (int, error) {
	r, err := w.store.PublishedRelease(ctx, "day-curve/"+w.day.String())
	if err != nil {
		return 0, err
	}
	b, err := release.Verify(r.PublicKey, r.Body, r.Signature)
	if err != nil {
		return 0, err
	}
	var sum, low, high int64
	for _, n := range b.Nodes {
		if n.Kind == "region" {
			for i, v := range n.Estimate {
				sum, low, high = sum+v, low+n.Low[i], high+n.High[i]
			}
		}
	}
	// Clipping takes a few percent. Ends of 95 % intervals that are added up are far more
	// than noise that is added up ever is: four times that is never seen.
	reach := 4 * float64(high-low) / 2
	if off := float64(w.total - sum); off > 0.15*float64(w.total)+reach || off < -reach {
		return 0, fmt.Errorf("the region comes to %d Wh of %d sent", sum, w.total)
	}
	return len(b.Nodes), nil
}

func (w *closingWorld) close() {
	if w.plain != nil {
		_ = w.plain.Close()
	}
	if w.ring != nil {
		_ = w.ring.Close()
	}
	w.ledgerWorld.close()
}
