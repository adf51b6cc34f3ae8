package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/plain"
)

func benchCommand() *cobra.Command {
	return group("bench", "Measure this hub beside the plain alternative, interleaved in one run",
		"  wattveil bench ingest --store 'postgres://user@127.0.0.1:5432/postgres?sslmode=disable'", benchIngestCommand(), benchLedgerCommand(), benchReleaseCommand(), benchClosingCommand(), benchAccessCommand(), benchDeltaCommand())
}

// benchIngest measures sealed ingest: from the client's encoding over mutual
// TLS to the acknowledgement, beside the same readings as plain rows.
type benchIngest struct {
	store       string
	shape       string
	first       int // household that is sent first; benchAccess sends some later
	households  int
	rounds      int
	connections int
	profile     string
	profileTo   io.Writer

	log     *slog.Logger
	day     meter.Day
	results benchIngestReport
}

type benchIngestReport struct {
	Shape     string       `json:"shape"`
	Readings  int          `json:"readings_per_round"`
	Wattveil  benchSide    `json:"wattveil"`
	Plain     benchSide    `json:"plain"`
	RatioRate float64      `json:"ratio_rate"`
	RatioSize float64      `json:"ratio_bytes"`
	Rounds    []benchRound `json:"rounds"`
	Settings  []string     `json:"settings"`
}

// benchSide is one side: readings a second until acknowledged, bytes on disk of
// everything written, and (ours) processor time of hub and client together.
type benchSide struct {
	Rate  float64 `json:"rate"`
	Bytes int64   `json:"bytes"`
	CPU   float64 `json:"cpu_us_per_reading,omitempty"`
}

type benchRound struct {
	Wattveil benchSide `json:"wattveil"`
	Plain    benchSide `json:"plain"`
	Reopened int       `json:"reopened"` // readings opened again and compared
}

func benchIngestCommand() *cobra.Command {
	b := &benchIngest{}
	cmd := &cobra.Command{
		Use:   "ingest --store postgres://…",
		Short: "Sealed ingest beside plain rows in the same PostgreSQL",
		Long: "Each round makes two fresh databases on the server and stores the same readings in both: sealed, by a hub in this\n" +
			"process over gRPC with mutual TLS; and as plain rows by COPY, " + fmt.Sprint(plain.RowsPerTransaction) + " rows a transaction, over as many connections. Rounds\n" +
			"take turns in who goes first. 1 % of what was sealed is read back through the API and compared before anything is printed.",
		Example: "  wattveil bench ingest --store 'postgres://user@127.0.0.1:5432/postgres?sslmode=disable' --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !strings.HasPrefix(b.store, "postgres") {
				return fmt.Errorf("--store must be a postgres:// URL: the baseline is lib/pq's COPY")
			}
			if b.shape != "day" && b.shape != "live" {
				return fmt.Errorf("--shape must be day or live")
			}
			if b.households == 0 {
				b.households = map[string]int{"day": 10_000, "live": 2_000}[b.shape]
			}
			if b.households < 100 || b.rounds < 1 || b.connections < 1 || b.connections > maxConnections {
				return fmt.Errorf("--households must be at least 100, --rounds at least 1, --connections 1 to %d", maxConnections)
			}
			var err error
			if b.log, err = logger(cmd); err != nil {
				return err
			}
			if b.profile != "" {
				f, err := os.Create(b.profile)
				if err != nil {
					return err
				}
				defer f.Close()
				b.profileTo = f
			}
			if err := b.run(cmd.Context(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, b.results)
			}
			return b.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&b.store, "store", "", "a PostgreSQL server on which databases may be made")
	cmd.Flags().StringVar(&b.shape, "shape", "day", "day: 96 intervals of a household a series; live: one")
	cmd.Flags().IntVar(&b.households, "households", 0, "households a round, each with one day of 96 intervals (default: 10000, live: 2000)")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "rounds")
	cmd.Flags().StringVar(&b.profile, "cpuprofile", "", "write a processor profile of the last round's sealed ingest to this file")
	cmd.Flags().IntVar(&b.connections, "connections", 2, "connections to the server on either side")
	if err := cmd.MarkFlagRequired("store"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// maxConnections bounds the goroutines that load either side.
const maxConnections = 64

// dayIntervals is how many quarter hours a household sends in a round.
const dayIntervals = 96

func (b *benchIngest) run(ctx context.Context, progress io.Writer) error {
	b.day = meter.DayOf(time.Date(2026, time.January, 15, 0, 0, 0, 0, time.UTC).Unix())
	b.results = benchIngestReport{Shape: b.shape, Readings: b.households * dayIntervals}
	for _, name := range []string{"server_version", "synchronous_commit", "fsync", "full_page_writes", "wal_level", "shared_buffers"} {
		v, err := plain.Setting(ctx, b.store, name)
		if err != nil {
			return err
		}
		b.results.Settings = append(b.results.Settings, name+"="+v)
		if (name == "synchronous_commit" || name == "fsync") && v != "on" {
			return fmt.Errorf("the server has %s=%s: nothing measured on it would be durable", name, v)
		}
	}
	b.results.Settings = append(b.results.Settings, fmt.Sprintf("connections=%d", b.connections), "plain: "+strings.Join(strings.Fields(plain.Schema), " "))
	for n := range b.rounds {
		var r benchRound
		steps := []func() error{
			func() (err error) { r.Plain, err = b.plainRound(ctx, n); return err },
			func() (err error) { r.Wattveil, r.Reopened, err = b.hubRound(ctx, n); return err },
		}
		if n%2 == 1 {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return fmt.Errorf("round %d: %w", n+1, err)
			}
		}
		fmt.Fprintf(progress, "round %d: wattveil %.0f/s, plain %.0f/s\n", n+1, r.Wattveil.Rate, r.Plain.Rate)
		b.results.Rounds = append(b.results.Rounds, r)
	}
	b.summarise()
	return nil
}

// values are intervals of household h on the day: a load curve of its own, from a hash, so
// that both sides store the same and nobody needs to keep it.
func (b *benchIngest) values(h, first, n int) []int64 {
	out := make([]int64, n)
	var seed [16]byte
	binary.BigEndian.PutUint64(seed[:], uint64(b.day)<<32|uint64(h))
	for i := range out {
		binary.BigEndian.PutUint64(seed[8:], uint64(first+i)/16)
		sum := sha256.Sum256(seed[:])
		out[i] = int64(binary.BigEndian.Uint16(sum[2*((first+i)%16):])) % 1500
	}
	return out
}

// series calls yield with every series of the round in the order they are sent.
func (b *benchIngest) series(worker, workers int, yield func(household int, start int64, values []int64) error) error {
	one := func(h, first, n int) error {
		return yield(h, b.day.Start()+int64(first)*900, b.values(h, first, n))
	}
	if b.shape == "day" {
		for h := b.first + worker; h < b.households; h += workers {
			if err := one(h, 0, dayIntervals); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range dayIntervals {
		for h := b.first + worker; h < b.households; h += workers {
			if err := one(h, i, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

func benchPoint(h int) string { return fmt.Sprintf("CH%07d", h) }

// plainRound loads plain rows.
func (b *benchIngest) plainRound(ctx context.Context, _ int) (side benchSide, err error) {
	url, drop, err := plain.Scratch(ctx, b.store)
	if err != nil {
		return side, err
	}
	defer drop()
	t, err := plain.Open(ctx, url, b.connections)
	if err != nil {
		return side, err
	}
	defer t.Close()
	ids := make([][16]byte, b.households)
	for i := range ids {
		if _, err := rand.Read(ids[i][:]); err != nil {
			return side, err
		}
	}
	if err := plain.Checkpoint(ctx, b.store); err != nil {
		return side, err
	}
	var want [maxConnections]int64
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for w := range b.connections {
		g.Go(func() error {
			var group []plain.Series
			rows := 0
			err := b.series(w, b.connections, func(h int, start int64, values []int64) error {
				if rows+len(values) > plain.RowsPerTransaction {
					if err := t.Load(gctx, group); err != nil {
						return err
					}
					group, rows = group[:0], 0
				}
				for _, v := range values {
					want[w] += v
				}
				group = append(group, plain.Series{Household: ids[h], UsagePoint: benchPoint(h), Start: start, Length: 900, Values: values})
				rows += len(values)
				return nil
			})
			return errors.Join(err, t.Load(gctx, group))
		})
	}
	if err := g.Wait(); err != nil {
		return side, err
	}
	side.Rate = float64(b.results.Readings) / time.Since(began).Seconds()
	rows, sum, err := t.Sum(ctx)
	if err != nil {
		return side, err
	}
	var total int64
	for _, v := range want {
		total += v
	}
	if rows != int64(b.results.Readings) || sum != total {
		return side, errors.New("the plain table does not hold what was loaded")
	}
	side.Bytes, err = plain.Bytes(ctx, url)
	return side, err
}

// hubRound ingests into a fresh hub, then reads a sample back.
func (b *benchIngest) hubRound(ctx context.Context, n int) (side benchSide, reopened int, err error) {
	url, drop, err := plain.Scratch(ctx, b.store)
	if err != nil {
		return side, 0, err
	}
	defer drop()
	dir, err := os.MkdirTemp("", "wattveil-bench-")
	if err != nil {
		return side, 0, fmt.Errorf("making directory: %w", err)
	}
	defer os.RemoveAll(dir)
	r, err := startRig(ctx, rigConfig{Dir: dir, Store: url, Start: time.Unix(b.day.End()+600, 0), Log: b.log, Committers: b.connections})
	if err != nil {
		return side, 0, err
	}
	defer r.stop()
	codes, err := b.populate(ctx, r)
	if err != nil {
		return side, 0, err
	}
	if err := plain.Checkpoint(ctx, b.store); err != nil {
		return side, 0, err
	}
	before, err := plain.Bytes(ctx, url)
	if err != nil {
		return side, 0, err
	}
	if b.profileTo != nil && n == b.rounds-1 {
		if err := pprof.StartCPUProfile(b.profileTo); err != nil {
			return side, 0, fmt.Errorf("profiling: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	cpu := cpuTime()
	began := time.Now()
	if err := b.send(ctx, r, n); err != nil {
		return side, 0, err
	}
	took := time.Since(began)
	pprof.StopCPUProfile() // harmless when there is none
	cpu = cpuTime() - cpu
	after, err := plain.Bytes(ctx, url)
	if err != nil {
		return side, 0, err
	}
	if reopened, err = b.reopen(ctx, r, codes); err != nil {
		return side, 0, err
	}
	readings := float64(b.results.Readings)
	return benchSide{Rate: readings / took.Seconds(), Bytes: after - before, CPU: float64(cpu.Microseconds()) / readings}, reopened, nil
}

func (b *benchIngest) populate(ctx context.Context, r *rig) ([]string, error) {
	conn, err := r.dial("operator", "bench")
	if err != nil {
		return nil, err
	}
	reg := wattveilv1.NewRegistryServiceClient(conn)
	if err := registerGrid(ctx, reg); err != nil {
		return nil, err
	}
	var codes []string
	for first := 0; first < b.households; first += 1000 {
		points, homes := newHomes(first, min(first+1000, b.households), b.day.Start()-86400)
		if _, err := reg.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: points}); err != nil {
			return nil, fmt.Errorf("registering usage points: %w", err)
		}
		made, err := reg.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: homes})
		if err != nil {
			return nil, fmt.Errorf("registering households: %w", err)
		}
		for _, h := range made.GetHouseholds() {
			codes = append(codes, h.GetLetterCode())
		}
	}
	return codes, nil
}

// registerGrid registers a utility and a feeder.
func registerGrid(ctx context.Context, reg wattveilv1.RegistryServiceClient) error {
	if _, err := reg.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: []*wattveilv1.Utility{{Id: demoUtility, Name: "Bench"}}}); err != nil {
		return fmt.Errorf("registering utility: %w", err)
	}
	if _, err := reg.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: []*wattveilv1.GridNode{
		{Id: "region", Kind: "region"}, {Id: "substation-1", Parent: "region", Level: 1, Kind: "substation"}, {Id: "feeder-01", Parent: "substation-1", Level: 2, Kind: "feeder"},
	}}); err != nil {
		return fmt.Errorf("registering grid: %w", err)
	}
	return nil
}

// newHomes are households from first to the one before until, at a usage point each
// since an instant, and these points.
func newHomes(first, until int, since int64) (points []*wattveilv1.UsagePoint, homes []*wattveilv1.NewHousehold) {
	for h := first; h < until; h++ {
		points = append(points, &wattveilv1.UsagePoint{Id: benchPoint(h), Utility: demoUtility, Node: "feeder-01", Zone: "Europe/Zurich"})
		homes = append(homes, &wattveilv1.NewHousehold{UsagePoints: []string{benchPoint(h)}, From: since})
	}
	return points, homes
}

// send streams the round over as many streams as there are connections.
func (b *benchIngest) send(ctx context.Context, r *rig, round int) error {
	g, ctx := errgroup.WithContext(ctx)
	var acked [maxConnections]uint64
	for w := range b.connections {
		conn, err := r.dial("utility", demoUtility)
		if err != nil {
			return err
		}
		g.Go(func() error {
			var failed error
			s := &submitter{client: wattveilv1.NewMeterServiceClient(conn), prefix: fmt.Sprintf("bench-%d-%d", round, w), window: 8, answered: func(a *wattveilv1.SubmitResponse) {
				acked[w] += a.GetAccepted()
				if a.GetErrorReason() != "" || len(a.GetRefusals()) > 0 {
					failed = errors.New("the hub refused readings of the benchmark")
				}
			}}
			err := s.run(ctx, pull(func(yield func(meter.Series) error) error {
				return b.series(w, b.connections, func(h int, start int64, values []int64) error {
					return yield(meter.Series{UsagePoint: meter.UsagePoint(benchPoint(h)), Register: meter.ActiveImport, Start: start, Length: 900, Values: values})
				})
			}, func(int) {}))
			return errors.Join(err, failed)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var total uint64
	for _, n := range acked {
		total += n
	}
	if total != uint64(b.results.Readings) {
		return errors.New("not every reading was acknowledged")
	}
	return nil
}

// reopen reads 1 % of the households back as they would themselves, and
// compares every value.
func (b *benchIngest) reopen(ctx context.Context, r *rig, codes []string) (int, error) {
	n := 0
	for h := 0; h < b.households; h += 100 {
		c := &restClient{base: "http://" + r.hub.HTTPAddr()}
		session := &wattveilv1.OpenSessionResponse{}
		if err := c.call(ctx, http.MethodPost, "/v1/session", &wattveilv1.OpenSessionRequest{LetterCode: codes[h]}, session); err != nil {
			return 0, fmt.Errorf("signing in: %w", err)
		}
		// Sign-ins are limited by the minute of the hub's clock, which stands still
		// here.
		r.clock.set(r.clock.Now().Add(2 * time.Second))
		c.token = session.GetToken()
		got := &wattveilv1.ReadOwnSeriesResponse{}
		if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/readings/own?from=%d&until=%d", b.day.Start(), b.day.End()), nil, got); err != nil {
			return 0, fmt.Errorf("reading back: %w", err)
		}
		want := b.values(h, 0, dayIntervals)
		var have []int64
		slices.SortFunc(got.GetSeries(), func(x, y *wattveilv1.Series) int { return cmp.Compare(x.GetStart(), y.GetStart()) })
		for _, s := range got.GetSeries() {
			have = append(have, s.GetValues()...)
		}
		if !slices.Equal(want, have) {
			return 0, errors.New("what was read back is not what was sent")
		}
		n += len(have)
	}
	return n, nil
}

// cpuTime is the processor time of this process so far: client and hub.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (b *benchIngest) summarise() {
	r := &b.results
	median := func(of func(benchRound) float64) float64 {
		v := make([]float64, len(r.Rounds))
		for i, x := range r.Rounds {
			v[i] = of(x)
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	r.Wattveil = benchSide{
		Rate: median(func(x benchRound) float64 { return x.Wattveil.Rate }), Bytes: int64(median(func(x benchRound) float64 { return float64(x.Wattveil.Bytes) })),
		CPU: median(func(x benchRound) float64 { return x.Wattveil.CPU }),
	}
	r.Plain = benchSide{
		Rate: median(func(x benchRound) float64 { return x.Plain.Rate }), Bytes: int64(median(func(x benchRound) float64 { return float64(x.Plain.Bytes) })),
	}
	r.RatioRate = median(func(x benchRound) float64 { return x.Wattveil.Rate / x.Plain.Rate })
	r.RatioSize = median(func(x benchRound) float64 { return float64(x.Wattveil.Bytes) / float64(x.Plain.Bytes) })
}

func (b *benchIngest) print(w io.Writer) error {
	r := b.results
	_, err := fmt.Fprintf(w, "ingest, shape %s, %d readings a round, medians of %d rounds\n  wattveil %8.0f readings/s %6.1f bytes/reading %5.2f us CPU/reading (hub and client)\n  plain    %8.0f readings/s %6.1f bytes/reading\n  ratio    rate %.2f  bytes %.2f\n  %s\n",
		r.Shape, r.Readings, len(r.Rounds), r.Wattveil.Rate, float64(r.Wattveil.Bytes)/float64(r.Readings), r.Wattveil.CPU,
		r.Plain.Rate, float64(r.Plain.Bytes)/float64(r.Readings), r.RatioRate, r.RatioSize, strings.Join(r.Settings, "\n  "))
	return err
}
